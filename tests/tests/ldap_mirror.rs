//! Two slapds that provide for each other (mirror mode): one killed, stopped, cut off and back, with changes on either side. No change is lost, and no old answer is given.

use std::time::Duration;

use tests::mosh::{LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(20);
/// What is asked for, or has changed, is there within this while a server is away.
const PROMISED: Duration = Duration::from_secs(2);

fn world() -> String {
    (0..20).map(|number| login(number).ldif()).collect()
}

fn login(number: u32) -> LdapLogin {
    LdapLogin::new(&format!("u{number}"), 30_000 + number).capability("shell").line("gecos: start")
}

fn start(mosh: &Mosh, servers: &[Slapd<'_>]) {
    let urls: Vec<String> = servers.iter().map(|slapd| slapd.url()).collect();
    mosh.ldap_directory(&urls, "");
    mosh.daemon().start();
    mosh.wait_until("all is published", SOON, |mosh| gecos(mosh, "u0") == "start");
}

fn gecos(mosh: &Mosh, login: &str) -> String {
    mosh.run(["getent", "passwd", login]).stdout.split(':').nth(4).unwrap_or_default().to_owned()
}

/// Changes the gecos of a login at this server.
fn write(slapd: Slapd<'_>, login: &str, text: &str) {
    slapd
        .modify(&format!("dn: {}\nchangetype: modify\nreplace: gecos\ngecos: {text}\n", LdapLogin::dn(login)))
        .success();
}

fn visible(mosh: &Mosh, what: &str, login: &str, text: &str) {
    mosh.promised(PROMISED, what, |mosh| gecos(mosh, login) == text);
}

/// Asks for a login again and again, and keeps each answer that is another one than the last.
fn watch(mosh: &Mosh, login: &str) {
    mosh.write(
        "/tmp/watch.py",
        "import pwd, sys, time\nlast = None\nwhile True:\n    try:\n        now = pwd.getpwnam(sys.argv[1]).pw_gecos\n    except KeyError:\n        now = 'ABSENT'\n    \
         if now != last:\n        print(now, flush=True)\n        last = now\n    time.sleep(0.005)\n",
    );
    mosh.background(&format!("exec python3 /tmp/watch.py {login} >/tmp/watched 2>&1"));
    mosh.wait_until("somebody watches", SOON, |mosh| mosh.try_read("/tmp/watched").is_ok_and(|text| !text.is_empty()));
}

/// All the answers that the watcher had, once it has had the last one: it sleeps between two, and may be behind.
fn watched(mosh: &Mosh, last: &str) -> Vec<String> {
    let all = |mosh: &Mosh| -> Vec<String> { mosh.read("/tmp/watched").lines().map(Into::into).collect() };
    mosh.wait_until("the watcher has seen the last change", SOON, |mosh| {
        all(mosh).last().is_some_and(|seen| seen == last)
    });
    all(mosh)
}

/// A change of u1 is visible, and the watcher has seen it, who would else miss what is replaced before its next look.
fn watched_as_well(mosh: &Mosh, what: &str, text: &str) {
    visible(mosh, what, "u1", text);
    let _ = watched(mosh, text);
}

fn follows(mosh: &Mosh, server: Slapd<'_>) -> bool {
    let journal = mosh.journal();
    let last =
        journal.lines().rev().find(|line| line.contains("following the directory's changes")).unwrap_or_default();
    last.contains(&server.url())
}

#[test]
fn changes_made_while_the_nearest_is_away_are_seen_and_stay() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let [first, second] = mosh.mirrored_slapds(&world());
    start(&mosh, &[first, second]);
    watch(&mosh, "u1");
    write(first, "u1", "1 both up");
    watched_as_well(&mosh, "a change at the nearest", "1 both up");

    // Else it would lack what was seen, and be waited for.
    let other_has = |text: &str| {
        mosh.wait_until("the other one has it as well", SOON, |_| second.stored("(uid=u1)").contains(text));
    };
    other_has("1 both up");
    first.kill();
    write(second, "u1", "2 the first is dead");
    watched_as_well(&mosh, "the nearest is dead: a change at the other", "2 the first is dead");
    second.add_entries(&login(100).ldif()).success();
    mosh.promised(PROMISED, "a new login is there", |mosh| gecos(mosh, "u100") == "start");

    // It comes back, and hears of all that from the other one.
    first.start();
    mosh.wait_until("the nearest is followed again", SOON, |mosh| follows(mosh, first));
    write(first, "u1", "3 the first is back");
    watched_as_well(&mosh, "a change at the nearest that is back", "3 the first is back");

    other_has("3 the first is back");
    // Stopped in mid-air: it takes connections and never answers.
    first.pause();
    write(second, "u1", "4 the first hangs");
    watched_as_well(&mosh, "the nearest hangs: a change at the other", "4 the first hangs");
    first.resume();
    mosh.wait_until("the nearest is followed again", SOON, |mosh| follows(mosh, first));

    second.kill();
    write(first, "u1", "5 the second is dead");
    visible(&mosh, "a change at the nearest while the other is dead", "u1", "5 the second is dead");
    second.start();

    let seen = watched(&mosh, "5 the second is dead");
    let ordered: Vec<String> = seen.iter().filter_map(|text| text.split(' ').next().map(Into::into)).collect();
    assert_eq!(ordered, ["start", "1", "2", "3", "4", "5"], "an old answer came back, or one was lost: {seen:?}");
    assert_eq!(gecos(&mosh, "u100"), "start");
}

#[test]
fn a_server_that_comes_back_without_what_the_other_has_is_not_asked() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let [first, second] = mosh.mirrored_slapds(&world());
    start(&mosh, &[first, second]);
    first.cut_off();
    first.kill();
    mosh.wait_until("the other one is followed", SOON, |mosh| follows(mosh, second));
    write(second, "u1", "new");
    visible(&mosh, "a change at the other", "u1", "new");
    watch(&mosh, "u1");
    // It is up, and does not know of the change.
    first.start();
    mosh.wait_until("it was looked at", SOON, |mosh| {
        mosh.journal().contains("it has not yet what another server has shown")
    });
    write(second, "u3", "newer");
    visible(&mosh, "a change at the other one goes on being seen", "u3", "newer");
    assert!(follows(&mosh, second), "{}", mosh.journal());

    first.join(second);
    mosh.wait_until("the nearest has caught up, and is followed", SOON, |mosh| follows(mosh, first));
    second.kill();
    write(first, "u1", "newest");
    visible(&mosh, "a change at the nearest", "u1", "newest");
    assert_eq!(watched(&mosh, "newest"), ["new", "newest"]);
    assert_eq!(gecos(&mosh, "u3"), "newer");
    second.start();
}

/// What is written at a provider that the followed one does not hear of has a number as well. A later change of the followed one has a larger number, and says nothing about it.
#[test]
fn who_waits_for_a_change_at_another_provider_waits_until_it_is_here() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let [first, second] = mosh.mirrored_slapds(&world());
    start(&mosh, &[first, second]);
    first.cut_off();
    write(second, "u1", "at the second");
    let generation = second.generation_of(&LdapLogin::dn("u1")).to_string();
    write(first, "u2", "at the first");
    visible(&mosh, "a later change", "u2", "at the first");
    assert!(first.generation_of(&LdapLogin::dn("u2")) > generation.parse().unwrap());
    mosh.identityctl(["wait", "-g", &generation, "--timeout", "2s"]).exit(6);
    assert_eq!(gecos(&mosh, "u1"), "start");

    first.join(second);
    mosh.identityctl(["wait", "-g", &generation, "--timeout", "20s"]).success();
    assert_eq!(gecos(&mosh, "u1"), "at the second");
}
