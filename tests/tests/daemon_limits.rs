//! What one user can do to the others through identityd's socket: nothing.

use std::time::{Duration, Instant};

use schema::wire::frame::{Op, Status};
use schema::wire::message::{Outcome, PamContext, Request, Secret};
use tests::limit::within;
use tests::{Login, Mosh, boot, mosh::Auth};

/// What libc waits for a look-up.
const NSS: Duration = Duration::from_millis(200);

macro_rules! machine {
    () => {
        boot!(Mosh::builder().logins(["ana", "ben"].map(Login::new)))
    };
}

/// Holds as many connections as it can get, again when they are closed, and says how many were answered at first (in another way than Busy).
const HOARD: &str = r#"
import resource, socket, struct, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(5)
    try:
        s.connect("/run/identityd/socket"); s.sendall(struct.pack("<IHHQII", 0x3149464d, 1, 2, 1, 4, 1000) + struct.pack("<I", 0))
        kind = struct.unpack_from("<H", s.recv(24), 6)[0]
    except (OSError, struct.error):
        kind = 5
    if kind != 5: return s
    s.close()
held = [s for s in (connect() for n in range(int(sys.argv[2]))) if s]
print(len(held), flush=True)
end = time.time() + float(sys.argv[1])
while time.time() < end:
    time.sleep(0.2)
    for s in held[:]:
        try: s.sendall(b"M")  # slow loris: the first byte of a request, and nothing more
        except OSError:
            held.remove(s); s.close()
            again = connect()
            if again: held.append(again)
"#;

/// Takes all places anew each half second: for the first 200 ms of it nobody gives way, because everybody has just come.
const TAKE_ALL: &str = r#"
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
while True:
    held = [socket.socket(socket.AF_UNIX) for n in range(int(sys.argv[1]))]
    for s in held: s.connect("/run/identityd/socket")
    print("all", flush=True)
    time.sleep(0.5)
    for s in held: s.close()
"#;

/// `su` with a wrong password again and again, stopped while it waits for the verdict: its effective uid was 0 when it connected, and who called it may
/// stop it. One that held no connection any more when it was stopped does not count.
const STOPPED_SU: &str = r#"
import itertools, signal, subprocess, time
def connections():  # the inodes of what identityd has accepted; 0 is not accepted yet
    rows = [line.split() for line in open("/proc/net/unix")]
    return {row[6] for row in rows if row[-1].startswith("/run/identityd/socket") and row[5] == "03" and row[6] != "0"}
stopped = []
for attempt in itertools.count():
    before = connections()
    su = subprocess.Popen(["su", "dan", "-c", "true"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    su.stdin.write(b"wrong\n"); su.stdin.flush()
    while not (held := connections() - before) and su.poll() is None: time.sleep(0.001)
    time.sleep(attempt % 5 * 0.04)  # a verdict takes 250 ms
    su.send_signal(signal.SIGSTOP)
    if held & connections(): stopped.append(su)
    else: su.kill(); su.wait()
    if len(stopped) == 300: break
time.sleep(60)
"#;

/// Connects and leaves, as fast as it can.
const STORM: &str = r#"
import socket, sys, time
end = time.time() + float(sys.argv[1])
while time.time() < end:
    s = socket.socket(socket.AF_UNIX); s.settimeout(1)
    try: s.connect("/run/identityd/socket")
    except OSError: pass
    s.close()
"#;

fn quick_look_up(mosh: &Mosh, uid: u32) -> Status {
    let began = Instant::now();
    let status = mosh.wire(uid).ask(Op::PasswdByName, b"ana").0;
    within(NSS, "a look-up", began.elapsed());
    status
}

fn connections(mosh: &Mosh) -> f64 {
    let metrics = mosh.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("identityd_connections ")).expect("the metric");
    line.parse().unwrap()
}

#[test]
fn a_user_with_thousands_of_connections_keeps_nobody_out_and_has_no_more_than_its_share() {
    let mosh = machine!();
    mosh.write("/hoard.py", HOARD);
    let (ana, ben) = (mosh.uid("ana"), mosh.uid("ben"));
    let hoard = mosh.call(["python3", "/hoard.py", "20", "3000"]).user("ana").spawn();
    mosh.wait_until("it has all it gets", Duration::from_secs(20), |_| hoard.stdout().contains('\n'));
    assert!(connections(&mosh) <= 260.0, "{}", connections(&mosh));
    for _ in 0..20 {
        assert_eq!(quick_look_up(&mosh, 0), Status::Found);
        assert_eq!(quick_look_up(&mosh, ben), Status::Found);
    }
    mosh.run(["id", "ana"]).success();
    mosh.sh_as("ben", "id ana").success();
    // Not even itself, with what is not its own doing: what waits gives way to what asks.
    mosh.wait_until("ana is served", Duration::from_secs(10), |mosh| {
        mosh.wire(ana).ask(Op::PasswdByName, b"ana").0 == Status::Found
    });
    assert!(mosh.metrics().contains(r#"connections_closed_for_others_total{limit="user"}"#), "{}", mosh.metrics());
    assert!(mosh.journal().contains("the places of the socket run out"), "{}", mosh.journal());
}

/// What one person with several logins can do, and with programs that are root: sshd asks for a key as the login that knocks.
#[test]
fn idle_connections_of_root_and_of_four_users_on_every_place_keep_nobody_out() {
    let logins = ["ana", "ben", "cleo", "dan"];
    let eva = Login::new("eva").password("sesame").capabilities(["shell", "sftp"]);
    let mosh = boot!(
        Mosh::builder()
            .logins(logins.map(Login::new))
            .login(eva)
            .prepare("ssh-keygen -q -t ed25519 -N '' -f /root/key")
    );
    mosh.identityctl(["key", "add", "eva", "/root/key.pub"]).success();
    let sshd = mosh.sshd(&[]);
    mosh.write("/hoard.py", HOARD);
    let hoards: Vec<_> = ["root", "ana", "ben", "cleo", "dan"]
        .into_iter()
        .map(|user| {
            mosh.call(["python3", "/hoard.py", "300", if user == "root" { "1100" } else { "256" }]).user(user).spawn()
        })
        .collect();
    mosh.wait_until("they have all they get", Duration::from_secs(60), |_| {
        hoards.iter().all(|hoard| hoard.stdout().contains('\n'))
    });
    // Those that are cut off come back.
    mosh.wait_until("they have nearly all places", Duration::from_secs(60), |mosh| connections(mosh) >= 900.0);
    for uid in [0, mosh.uid("eva"), 12_345] {
        mosh.wait_until("a look-up is answered", Duration::from_secs(5), |mosh| {
            mosh.wire(uid).ask(Op::PasswdByName, b"ana").0 == Status::Found
        });
    }
    assert_eq!(sshd.ssh("eva", Auth::Key("/root/key"), "id -un").success().text(), "eva");
    assert_eq!(sshd.ssh("eva", Auth::Password("sesame"), "id -un").success().text(), "eva");
    assert!(mosh.metrics().contains("connections_closed_for_others_total"), "{}", mosh.metrics());
    assert!(mosh.identityctl(["status"]).success().text().contains("the places of the socket run out"));
}

#[test]
fn stopped_programs_of_root_keep_nobody_out() {
    let mosh = boot!(
        Mosh::builder()
            .logins(["ana", "ben", "dan"].map(|name| Login::new(name).password("sesame").capabilities(["shell"])))
            .without_daemon()
    );
    mosh.configure("server", "connections = 32\nreserved_for_root = 8\nconnections_per_user = 16");
    mosh.daemon().start();
    mosh.write("/stopped.py", STOPPED_SU);
    let _stopped = mosh.call(["python3", "/stopped.py"]).user("ana").limit(Duration::from_secs(120)).spawn();
    // From half of all on they are closed after a second.
    mosh.wait_until("they have half of the places", Duration::from_secs(60), |mosh| connections(mosh) >= 16.0);
    for uid in [0, mosh.uid("ben"), 12_345].into_iter().cycle().take(30) {
        assert_eq!(quick_look_up(&mosh, uid), Status::Found, "{uid}");
    }
    mosh.expect_as("ben", r#"spawn su ben -c {id -un}; want {Password:}; send "sesame\r"; want {ben}; finish"#)
        .success();
}

#[test]
fn who_finds_no_place_at_once_comes_back() {
    let mosh = boot!(
        Mosh::builder()
            .login(Login::new("ana").password("sesame").capabilities(["shell"]))
            .without_daemon()
            .prepare("ssh-keygen -q -t ed25519 -N '' -f /root/key")
    );
    mosh.configure("server", "connections = 32\nreserved_for_root = 8\nconnections_per_user = 16");
    mosh.daemon().start();
    mosh.identityctl(["key", "add", "ana", "/root/key.pub"]).success();
    mosh.write("/take_all.py", TAKE_ALL);
    let taker = mosh.call(["python3", "/take_all.py", "32"]).spawn();
    mosh.wait_until("all places are taken", Duration::from_secs(10), |_| taker.stdout().contains("all"));
    mosh.wait_until("there is no place even for root", Duration::from_secs(30), |mosh| {
        mosh.wire(0).ask(Op::PasswdByName, b"ana").0 == Status::Busy
    });
    for _ in 0..10 {
        mosh.call(["pamtester", "sshd", "ana", "authenticate", "acct_mgmt"]).stdin("sesame\n").run().success();
        let keys = mosh.call(["identityctl", "ssh-keys", "ana"]).user("ana").run().success().stdout.clone();
        assert!(keys.contains("ssh-ed25519"), "{keys}");
    }
}

#[test]
fn all_users_together_leave_room_for_root() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")).without_daemon());
    mosh.configure("server", "connections = 32\nreserved_for_root = 8\nconnections_per_user = 16");
    mosh.daemon().start();
    let mut held = Vec::new();
    for uid in 5000..5003 {
        for _ in 0..10 {
            let mut wire = mosh.wire(uid);
            if wire.ask(Op::PasswdByUid, &[0; 4]).0 == Status::Absent {
                held.push(wire);
            }
        }
    }
    assert!(held.len() >= 24, "{}", held.len());
    assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
    // Who comes late is served all the same: an idle connection of those who hold most gives way.
    mosh.wait_until("somebody else is served", Duration::from_secs(5), |mosh| {
        mosh.wire(6000).ask(Op::PasswdByName, b"ana").0 == Status::Found
    });
    assert!(connections(&mosh) <= 32.0);
}

#[test]
fn a_storm_of_connections_does_not_stop_the_look_ups_of_others() {
    let mosh = machine!();
    mosh.write("/storm.py", STORM);
    let _storm = mosh.call(["python3", "/storm.py", "3"]).user("ana").spawn();
    let ben = mosh.uid("ben");
    for _ in 0..30 {
        assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
        assert_eq!(mosh.wire(ben).ask(Op::PasswdByName, b"ana").0, Status::Found);
    }
    for _ in 0..5 {
        mosh.run(["getent", "passwd", "ana"]).success();
    }
}

#[test]
fn a_request_that_does_not_come_to_its_end_is_cut_off_and_counted() {
    let mosh = machine!();
    let mut wire = mosh.wire(mosh.uid("ana"));
    wire.send(b"MFI1").unwrap();
    assert_eq!(wire.reply().unwrap(), None);
    assert!(mosh.metrics().contains(r#"frames_refused_total{reason="time"} 1"#), "{}", mosh.metrics());
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.configure("server", "idle_timeout = \"300ms\"");
    mosh.daemon().start();
    assert_eq!(mosh.wire(0).reply().unwrap(), None);
}

#[test]
fn a_reply_that_nobody_takes_holds_nobody_up() {
    let mosh = machine!();
    let mut deaf = mosh.wire(mosh.uid("ana"));
    let metrics = postcard_of(&Request::Metrics);
    let mut frame =
        schema::wire::frame::Header::request(Op::Message, 1, metrics.len() as u32, 1000).to_bytes().to_vec();
    frame.extend_from_slice(&metrics);
    // Until the buffers of both sides are full; the server then waits for this client alone.
    let many = frame.repeat(100);
    let mut sent = 0;
    deaf.limit_writes(Duration::from_millis(200));
    while sent < 50 && deaf.send(&many).is_ok() {
        sent += 1;
    }
    assert!(sent < 50, "the server took {sent} times 100 requests without an answer being read");
    assert_eq!(quick_look_up(&mosh, 0), Status::Found);
    assert_eq!(quick_look_up(&mosh, mosh.uid("ben")), Status::Found);
}

#[test]
fn hostile_names_cost_nothing_but_an_answer() {
    let mosh = machine!();
    let ana = mosh.uid("ana");
    for user in ["", "\0", "root", "../../etc/passwd", "a' OR 1=1 --", "ana\n", "Ana", "\u{1F600}", &"x".repeat(200)] {
        let context = PamContext { service: user.into(), user: user.into(), ..PamContext::default() };
        assert_eq!(mosh.wire(ana).message(&Request::Account { context: context.clone() }).unwrap_err(), Status::Denied);
        let reply = mosh.wire(0).message(&Request::Account { context }).unwrap();
        let schema::wire::message::Reply::Verdict(verdict) = reply else { panic!("{reply:?}") };
        assert_eq!(verdict.outcome, Outcome::UserUnknown, "{user:?}");
        assert_eq!(mosh.wire(0).ask(Op::PasswdByName, user.as_bytes()).0, Status::Absent, "{user:?}");
    }
    // What would fill the log is refused before anything is done with it.
    let huge = "x".repeat(20_000);
    let context = PamContext { service: "sshd".into(), user: huge.clone(), ..PamContext::default() };
    assert_eq!(mosh.wire(0).message(&Request::Account { context }).unwrap_err(), Status::Malformed);
    assert_eq!(mosh.wire(0).ask(Op::PasswdByName, huge.as_bytes()).0, Status::Absent);
}

#[test]
fn what_a_user_says_about_itself_is_logged_as_what_that_uid_says() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana").password("sesame").capabilities(["shell"])));
    let ana = mosh.uid("ana");
    let context = |service: &str| PamContext {
        service: service.into(),
        user: "ana".into(),
        remote_host: Some("192.0.2.80".into()),
        ..PamContext::default()
    };
    let verdict = |request: &Request| match mosh.wire(ana).message(request) {
        Ok(schema::wire::message::Reply::Verdict(verdict)) => verdict.outcome,
        other => panic!("{other:?}"),
    };
    for (password, outcome) in [("wrong", Outcome::AuthError), ("sesame", Outcome::Success)] {
        let password = Secret::new(password.into());
        assert_eq!(verdict(&Request::Authenticate { context: context("sshd"), password }), outcome);
    }
    // The service is still the one that is judged.
    assert_eq!(verdict(&Request::Account { context: context("vlock") }), Outcome::Success);
    assert_eq!(verdict(&Request::Account { context: context("cron") }), Outcome::PermissionDenied);
    let journal = mosh.journal();
    assert!(!journal.contains("192.0.2.80") && !journal.contains("service=sshd"), "{journal}");
    assert_eq!(journal.matches(&format!("uid {ana} says: sshd")).count(), 2, "{journal}");
}

fn postcard_of(request: &Request) -> Vec<u8> {
    postcard::to_allocvec(request).unwrap()
}
