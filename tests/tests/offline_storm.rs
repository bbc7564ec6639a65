//! The directory is stopped for the whole of a login storm: 16 people who were here before log in by ssh at once, and all get in.

use std::time::Duration;

use tests::mosh::{Auth, Sshd};
use tests::{Login, Mosh, boot};

const PEOPLE: usize = 16;
const DIRECTORY: &str = "/var/lib/identityd/directory.db";

fn name(n: usize) -> String {
    format!("user{n:02}")
}

/// All at once; how long each took, in ascending order.
fn storm(sshd: &Sshd<'_>, password: &str, success: bool) -> Vec<Duration> {
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let logins: Vec<_> = (0..PEOPLE)
            .map(|n| {
                scope.spawn(move || {
                    let output = sshd.ssh(&name(n), Auth::Password(password), "id -un");
                    assert_eq!(output.ok() && output.text() == name(n), success, "{output}");
                    output.took
                })
            })
            .collect();
        logins.into_iter().map(|login| login.join().expect("a login")).collect()
    });
    times.sort_unstable();
    times
}

fn ms(times: &[Duration], share: usize) -> u128 {
    times[(times.len() * share / 100).min(times.len() - 1)].as_millis()
}

#[test]
fn people_who_were_here_before_get_in_while_the_directory_is_away() {
    let people = (0..PEOPLE).map(|n| Login::new(&name(n)).password("secret"));
    // All from one address, which may have a quarter of the queue, and as patient as can be.
    let queue = "sed -i 's/^\\[auth\\]$/&\\nqueue = 256\\ndeadline = \"25s\"/' /etc/identityd/identityd.toml";
    let mosh = boot!(Mosh::builder().prepare(queue).logins(people).login(Login::new("stranger").password("secret")));
    let sshd = mosh.sshd(&["MaxStartups 200", "LoginGraceTime 120"]);
    let with = storm(&sshd, "secret", true);
    // In the background, with what the logins leave of the processors.
    mosh.wait_until("all of them are kept", Duration::from_secs(20), |mosh| {
        mosh.sh("sqlite3 /var/lib/identityd/offline.db 'SELECT count(*) FROM record'").text() == PEOPLE.to_string()
    });
    mosh.sh(&format!("cd /var/lib/identityd && for f in {DIRECTORY}*; do mv $f $f.away; done")).success();
    mosh.wait_until("identityd has noticed", Duration::from_secs(10), |mosh| {
        mosh.identityctl(["--json", "status"]).stdout.contains("\"reachable\": false")
    });
    let without = storm(&sshd, "secret", true);
    println!(
        "{PEOPLE} logins by ssh at once, whole session: with the directory median {} ms, worst {} ms; without it median {} ms, worst {} ms",
        ms(&with, 50),
        ms(&with, 100),
        ms(&without, 50),
        ms(&without, 100)
    );
    // What keeps working for those is no open door.
    assert!(!sshd.ssh(&name(0), Auth::Password("wrong"), "true").ok());
    assert!(!sshd.ssh("stranger", Auth::Password("secret"), "true").ok(), "has never been here");
    mosh.sh(&format!("cd /var/lib/identityd && for f in {DIRECTORY}*.away; do mv $f ${{f%.away}}; done")).success();
    mosh.wait_until("the directory is back", Duration::from_secs(10), |mosh| {
        mosh.identityctl(["--json", "status"]).stdout.contains("\"reachable\": true")
    });
    assert!(sshd.ssh("stranger", Auth::Password("secret"), "true").ok());
}
