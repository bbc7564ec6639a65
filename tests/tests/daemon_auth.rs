//! Passwords through identityd's real socket: who gets in, what a refusal tells, and what a flood of them does to the others.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use schema::wire::frame::{Op, Status};
use schema::wire::message::{Outcome, PamContext, Reply, Request, Secret, Verdict};
use tests::limit::within;
use tests::{Login, Mosh, boot};

const DB: &str = "/var/lib/identityd/directory.db";

fn context(user: &str) -> PamContext {
    PamContext { service: "sshd".into(), user: user.into(), ..PamContext::default() }
}

fn ask(mosh: &Mosh, request: &Request) -> Verdict {
    match mosh.wire(0).message(request) {
        Ok(Reply::Verdict(verdict)) => verdict,
        other => panic!("no verdict: {other:?}"),
    }
}

fn login(mosh: &Mosh, user: &str, password: &[u8]) -> Outcome {
    ask(mosh, &Request::Authenticate { context: context(user), password: Secret::new(password.to_vec()) }).outcome
}

fn change(mosh: &Mosh, old: Option<&str>, new: &str) -> Verdict {
    let old = old.map(|old| Secret::new(old.into()));
    ask(mosh, &Request::ChangePassword { context: context("ana"), old, new: Secret::new(new.into()) })
}

fn ana() -> Login {
    Login::new("ana").password("her secret")
}

fn as_identityd<'m>(mosh: &'m Mosh, argv: &[&str]) -> tests::mosh::Call<'m> {
    let prefix = ["setpriv", "--reuid=identityd", "--regid=identityd", "--clear-groups"];
    mosh.call(prefix.into_iter().chain(argv.iter().copied()))
}

fn set_hash(mosh: &Mosh, hash: &str) {
    mosh.call(["identityctl", "login", "passwd", "ana", "--hash-stdin"]).stdin(format!("{hash}\n")).run().success();
}

#[test]
fn only_the_right_password_of_an_active_login_succeeds() {
    let mosh =
        boot!(Mosh::builder().login(ana()).login(Login::new("ben").password("his secret")).login(Login::new("none")));
    assert_eq!(login(&mosh, "ana", b"her secret"), Outcome::Success);
    for (user, password) in [
        ("ana", &b"her secre"[..]),
        ("ana", b"her secret "),
        ("ana", b""),
        ("ana", b"her secret\0"),
        ("ana", b"his secret"),
        ("ana", &[b'x'; 511]),
        ("ana", &[b'x'; 5000]),
        ("nobody-here", b"her secret"),
        ("none", b""),
        ("none", b"*"),
        ("root", b""),
        ("ANA", b"her secret"),
    ] {
        assert_eq!(login(&mosh, user, password), Outcome::AuthError, "{user} {password:?}");
    }
    mosh.identityctl(["login", "lock", "ben"]).success();
    assert_eq!(login(&mosh, "ben", b"his secret"), Outcome::AuthError);
    mosh.identityctl(["login", "unlock", "ben"]).success();
    assert_eq!(login(&mosh, "ben", b"his secret"), Outcome::Success);
    // An expired login still knows its password; the account stage keeps it out.
    mosh.identityctl(["login", "expire", "ben", "2020-01-01"]).success();
    assert_eq!(login(&mosh, "ben", b"his secret"), Outcome::Success);
    assert_eq!(ask(&mosh, &Request::Account { context: context("ben") }).outcome, Outcome::AccountExpired);
}

#[test]
fn every_hash_that_debian_knows_is_verified() {
    let mosh = boot!(Mosh::builder().login(ana()));
    for setting in [
        "$y$j9T$aaaaaaaaaaaaaaaa$",
        "$gy$j9T$aaaaaaaaaaaaaaaa$",
        "$7$CU..../....aaaaaaaaaaaaaaaa$",
        "$6$abcdefgh$",
        "$6$rounds=10000$abcdefgh$",
        "$5$abcdefgh$",
        "$1$abcdefgh$",
        "$2b$05$abcdefghijklmnopqrstuu",
        "$2y$05$abcdefghijklmnopqrstuu",
        "$2a$05$abcdefghijklmnopqrstuu",
        "_J9..rasm",
        "ab",
    ] {
        // An implementation that is not ours: perl's crypt(3) is the system's libcrypt, asked as any program would ask it.
        let hash =
            mosh.run(["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", "another secret", setting]).success().stdout;
        assert!(hash.starts_with(setting.trim_end_matches('$')), "{setting}: {hash}");
        set_hash(&mosh, &hash);
        assert_eq!(login(&mosh, "ana", b"another secret"), Outcome::Success, "{setting}");
        assert_eq!(login(&mosh, "ana", b"not the secret"), Outcome::AuthError, "{setting}");
        // Traditional DES reads eight characters (crypt(5)).
        let cut = login(&mosh, "ana", b"another ");
        assert_eq!(cut == Outcome::Success, setting == "ab", "{setting}");
    }
    for locked in ["!$6$abcdefgh$x", "*", "!!"] {
        set_hash(&mosh, locked);
        assert_eq!(login(&mosh, "ana", b"another secret"), Outcome::AuthError, "{locked}");
    }
}

#[test]
fn a_hash_of_absurd_cost_is_refused_as_quickly_as_a_wrong_password() {
    let mosh = boot!(Mosh::builder().login(ana()));
    for hash in [
        "$2b$31$abcdefghijklmnopqrstuuRE6u9hUnFZ6Zt3E9v1GZ7Yw2yHl9Qmq",
        "$6$rounds=999999999$abcdefgh$x",
        "$5$rounds=999999999$abcdefgh$x",
        "$y$jzzzzz$abcdefgh$x",
        "$7$z6..../....SodiumChloride$x",
        "_zzzzrasmBYizrXnoZ9I",
    ] {
        // By SQL: identityctl might refuse some of them.
        as_identityd(&mosh, &["sqlite3", DB])
            .stdin(format!("UPDATE login SET password_hash = '{hash}' WHERE name = 'ana';"))
            .run()
            .success();
        let began = Instant::now();
        assert_eq!(login(&mosh, "ana", b"whatever it is"), Outcome::AuthError, "{hash}");
        within(Duration::from_secs(3), hash, began.elapsed());
    }
    mosh.wait_until("the log has the reason", Duration::from_secs(2), |mosh| {
        mosh.journal().contains("more than this server computes")
    });
}

/// All refusals take the same time: which it was cannot be measured. They are padded to 250 ms, so a difference would be a step of 250 ms. The shortest of each kind is compared, and they
/// take turns: what else the machine does lengthens some of them, and all kinds alike.
#[test]
fn refusals_take_the_same_time_whatever_their_reason() {
    let mosh =
        boot!(Mosh::builder().login(ana()).login(Login::new("ben").password("his secret")).login(Login::new("none")));
    mosh.identityctl(["login", "lock", "ben"]).success();
    let mut shortest = ["ana", "ben", "none", "nobody-here", "a:b"].map(|user| (user, Duration::MAX));
    for _ in 0..7 {
        for (user, shortest) in &mut shortest {
            let began = Instant::now();
            assert_eq!(login(&mosh, user, b"wrong password"), Outcome::AuthError);
            *shortest = began.elapsed().min(*shortest);
        }
    }
    println!("the shortest refusals: {shortest:?}");
    let (least, most) = shortest.iter().fold((Duration::MAX, Duration::ZERO), |(a, b), (_, t)| (a.min(*t), b.max(*t)));
    assert!(least >= Duration::from_millis(250), "{shortest:?}");
    assert!(most - least < Duration::from_millis(200), "{shortest:?}");
}

/// Says so when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_flood_of_wrong_passwords_leaves_look_ups_and_others_alone() {
    let mosh = boot!(Mosh::builder().login(ana()).login(Login::new("ben").password("his secret")));
    let (busy, refused, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        // Also when an assertion fails: else the scope would wait for who looks up.
        let end = End(&done);
        let flood: Vec<_> = (0..20)
            .map(|thread| {
                let (mosh, busy, refused) = (&mosh, &busy, &refused);
                scope.spawn(move || {
                    for n in 0..10 {
                        // Half of them at one login, half at names that do not exist.
                        let user = if thread % 2 == 0 { "ana".into() } else { format!("guess{thread}.x{n}") };
                        let password = Secret::new(b"wrong".to_vec());
                        match mosh.wire(0).message(&Request::Authenticate { context: context(&user), password }) {
                            Ok(Reply::Verdict(verdict)) => {
                                assert_eq!(verdict.outcome, Outcome::AuthError);
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(Status::Busy) => {
                                busy.fetch_add(1, Ordering::Relaxed);
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                })
            })
            .collect();
        let watch = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
                times.push(began.elapsed());
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // Another login gets in meanwhile.
        let began = Instant::now();
        assert_eq!(login(&mosh, "ben", b"his secret"), Outcome::Success);
        println!("another login got in after {:?}", began.elapsed());
        for thread in flood {
            thread.join().unwrap();
        }
        drop(end);
        watch.join().unwrap();
    });
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    println!(
        "{} refused, {} busy; look-ups meanwhile: {} with median {:?}, p99 {:?}, worst {:?}",
        refused.load(Ordering::Relaxed),
        busy.load(Ordering::Relaxed),
        times.len(),
        at(50),
        at(99),
        at(100)
    );
    // libc would give up after 200 ms.
    within(Duration::from_millis(200), "99 of 100 look-ups", at(99));
    assert_eq!(login(&mosh, "ana", b"her secret"), Outcome::Success);
}

#[test]
fn the_interim_frame_comes_first_and_only_to_those_two_questions() {
    let mosh = boot!(Mosh::builder().login(ana()));
    let send = |request: &Request| {
        let payload = postcard::to_allocvec(request).unwrap();
        let mut wire = mosh.wire(0);
        let header = schema::wire::frame::Header::request(Op::Message, 5, payload.len() as u32, 30_000);
        wire.send(&[&header.to_bytes()[..], &payload].concat()).unwrap();
        let mut frames = Vec::new();
        while frames.last().is_none_or(|status| *status == Status::Working) {
            frames.push(wire.reply().unwrap().unwrap().0);
        }
        frames
    };
    let (password, context) = (Secret::new(b"wrong".to_vec()), context("ana"));
    let two = [Status::Working, Status::Found];
    assert_eq!(send(&Request::Authenticate { context: context.clone(), password: password.clone() }), two);
    assert_eq!(
        send(&Request::ChangePassword { context: context.clone(), old: Some(password.clone()), new: password }),
        two
    );
    assert_eq!(send(&Request::Account { context }), [Status::Found]);
}

#[test]
fn a_password_is_changed_by_its_owner_and_reset_by_root() {
    let mosh = boot!(Mosh::builder().login(ana()));
    assert_eq!(change(&mosh, Some("wrong"), "a new long password").outcome, Outcome::AuthError);
    for (new, words) in
        [("short", "at least 8"), ("her secret", "must not be the old one"), (&"x".repeat(600), "more than 511")]
    {
        let verdict = change(&mosh, Some("her secret"), new);
        assert_eq!(verdict.outcome, Outcome::PasswordRejected, "{new}");
        assert!(verdict.info.as_deref().unwrap_or_default().contains(words), "{new}: {verdict:?}");
    }
    assert_eq!(login(&mosh, "ana", b"her secret"), Outcome::Success);
    assert_eq!(change(&mosh, Some("her secret"), "a new long password").outcome, Outcome::Success);
    assert_eq!(login(&mosh, "ana", b"her secret"), Outcome::AuthError);
    assert_eq!(change(&mosh, None, "reset").outcome, Outcome::Success);
    assert_eq!(login(&mosh, "ana", b"reset"), Outcome::Success);
}

#[test]
fn a_change_while_another_program_writes_is_bounded_and_says_what_became_of_it() {
    let mosh = boot!(Mosh::builder().login(ana()));
    let script = "import sqlite3, time\ndb = sqlite3.connect('/var/lib/identityd/directory.db', isolation_level=None)\n\
                  db.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\ntime.sleep(60)\n";
    let mut writer = as_identityd(&mosh, &["python3", "-c", script]).spawn();
    mosh.wait_until("the writer holds the lock", Duration::from_secs(5), |_| writer.stdout().contains("held"));
    let began = Instant::now();
    let verdict = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| change(&mosh, Some("her secret"), "a new long password"));
        while !waiting.is_finished() {
            // Look-ups and passwords go on: they only read.
            assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
            assert_eq!(
                mosh.wire(0).ask(Op::PasswdByName, format!("unknown{}", began.elapsed().as_millis()).as_bytes()).0,
                Status::Absent
            );
            assert_eq!(login(&mosh, "ana", b"her secret"), Outcome::Success);
        }
        waiting.join().unwrap()
    });
    within(Duration::from_secs(20), "until it is given up", began.elapsed());
    assert_eq!(verdict.outcome, Outcome::Unavailable);
    assert!(verdict.info.as_deref().unwrap_or_default().contains("has not been changed"), "{verdict:?}");
    assert!(mosh.identityctl(["status"]).success().stdout.contains("ok"));
    writer.kill();
    assert_eq!(login(&mosh, "ana", b"her secret"), Outcome::Success);
    assert_eq!(change(&mosh, Some("her secret"), "a new long password").outcome, Outcome::Success);
}

/// Neither the command line nor the environment of any process of the machine has it, at any moment of the change.
#[test]
fn a_password_is_in_no_command_line_environment_or_log() {
    let mosh = boot!(Mosh::builder().login(ana()));
    const PASSWORD: &str = "Tellme-Nowhere-4711";
    let scan = r#"
        while ! test -e /stop; do
            for p in /proc/[0-9]*; do
                tr "\0" "\n" <$p/cmdline; tr "\0" "\n" <$p/environ
            done 2>/dev/null >>/seen
            echo x >>/rounds
        done"#;
    mosh.sh("touch /seen /rounds").success();
    mosh.background(scan);
    mosh.wait_until("the scan has begun", Duration::from_secs(5), |mosh| mosh.read("/rounds").len() > 2);
    for _ in 0..3 {
        mosh.call(["identityctl", "login", "passwd", "ana", "--stdin"]).stdin(format!("{PASSWORD}\n")).run().success();
        assert_eq!(login(&mosh, "ana", PASSWORD.as_bytes()), Outcome::Success);
        assert_eq!(login(&mosh, "ana", format!("{PASSWORD}x").as_bytes()), Outcome::AuthError);
    }
    assert_eq!(change(&mosh, Some(PASSWORD), &format!("{PASSWORD}-2")).outcome, Outcome::Success);
    let seen = mosh.read("/seen");
    mosh.sh("touch /stop");
    assert!(seen.contains("identityd"), "the scan saw nothing");
    assert!(!seen.contains("Tellme"), "the password was on a command line or in an environment");
    for log in [mosh.journal(), mosh.syslog()] {
        assert!(!log.contains("Tellme"), "{log}");
        assert!(!log.contains("$y$"), "a hash is in the log: {log}");
    }
    // And the memory image of a crash is never written.
    let pid = mosh.daemon().pid().unwrap();
    assert!(
        mosh.read(&format!("/proc/{pid}/limits"))
            .lines()
            .any(|line| line.starts_with("Max core file size") && line.contains("0 "))
    );
}
