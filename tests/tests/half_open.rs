//! A connection to the nearest server is up and hears no more: a firewall forgot it, a cable is out. Nothing says so, neither to identityd nor to the server. Look-ups and passwords go on
//! through the other server within two seconds.

use std::time::Duration;

use serde_json::Value;
use tests::mosh::{LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(30);
const PROMISED: Duration = Duration::from_secs(2);
/// Each is asked for once: it is in no cache.
const LOGINS: u32 = 20;

/// Over these two ports of servers, the nearest first. Published is nothing: each answer comes from a server.
fn the_other_one_is_asked(mosh: &Mosh, [nearest, other]: [u16; 2]) {
    mosh.configure("snapshot", "mode = \"lookup\"");
    mosh.daemon().start();
    let mut fresh = 0..LOGINS;
    let mut look_up = |what: &str| {
        let login = format!("u{}", fresh.next().expect("a login that was not asked for"));
        mosh.promised(PROMISED, &format!("a look-up, {what}"), |mosh| mosh.run(["getent", "passwd", &login]).ok());
    };
    let password = |what: &str| {
        mosh.promised(PROMISED, &format!("a password, {what}"), |mosh| {
            mosh.call(["pamtester", "sshd", "ana", "authenticate"]).stdin("secret of ana\n").run().ok()
        });
    };
    let lose = |port: u16| {
        mosh.wait_until("there is a connection that can hear no more", SOON, |mosh| mosh.connections(port) > 0);
        mosh.lose_packets(port)
    };
    let back = || {
        mosh.lose_no_packets();
        mosh.wait_until("both serve again", SOON, |mosh| {
            let status: Value =
                serde_json::from_str(&mosh.identityctl(["--json", "status"]).stdout).unwrap_or_default();
            let servers = status["directory"]["servers"].as_array().map_or(&[][..], Vec::as_slice);
            status["directory"]["reachable"] == true
                && servers.len() == 2
                && servers.iter().all(|one| one["up"] == true)
        });
    };

    mosh.wait_until("identityd has a server", SOON, |mosh| mosh.run(["getent", "passwd", "ana"]).ok());
    look_up("both up");
    password("both up");
    if !lose(nearest) {
        tests::skip!("this kernel has no queueing discipline HTB, and so cannot lose packets here");
    }
    look_up("the nearest hears no more");
    password("the nearest known as away");
    look_up("the same");
    back();
    look_up("the nearest back");
    let _ = lose(nearest);
    password("the nearest hears no more");
    look_up("after a password");
    back();
    look_up("the nearest back again");
    if mosh.connections(other) > 0 {
        let _ = lose(other);
        look_up("the other one hears no more");
        password("the other one hears no more");
        back();
    }
}

#[test]
fn two_slapds() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let ana = LdapLogin::new("ana", 20_001).capability("shell").password("secret of ana").ldif();
    let others: String =
        (0..LOGINS).map(|number| LdapLogin::new(&format!("u{number}"), 30_000 + number).ldif()).collect();
    let servers = mosh.mirrored_slapds(&[ana, others].concat());
    mosh.ldap_directory(&servers.map(Slapd::url), "");
    the_other_one_is_asked(&mosh, servers.map(Slapd::port));
}

#[test]
fn two_mariadb_servers() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let primary = mosh.mariadb(1);
    primary.apply_schema();
    let hash = mosh.run(["openssl", "passwd", "-6", "secret of ana"]).success().text().to_owned();
    primary.sql(&format!("CALL new_login('ana', NULL, NULL, '{hash}', NULL)"));
    for number in 0..LOGINS {
        primary.sql(&format!("CALL new_login('u{number}', NULL, NULL, NULL, NULL)"));
    }
    let replica = mosh.mariadb(2);
    replica.follow(primary);
    let last = format!("SELECT 1 FROM login WHERE name = 'u{}'", LOGINS - 1);
    mosh.wait_until("the replica has all", SOON, |_| replica.try_sql(&last).stdout.trim() == "1");
    let ports = [replica.port(), primary.port()];
    mosh.use_mariadb(&ports.map(|port| format!("127.0.0.1:{port}")), "plaintext = true");
    the_other_one_is_asked(&mosh, ports);
}
