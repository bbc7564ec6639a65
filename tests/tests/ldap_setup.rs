//! The steps of `schema/ldap/README.md` as they stand there, on two machines with the slapd of Debian as its package has set it up.

use std::process::Command;
use std::time::Duration;

use tests::administrator::json;
use tests::{Mosh, boot, skip};

const SOON: Duration = Duration::from_secs(60);
const NAMES: [&str; 2] = ["ldap1", "ldap2"];
const README: &str = include_str!("../../schema/ldap/README.md");

/// The commands of a step.
fn step(number: u32) -> &'static str {
    let (_, rest) = README.split_once(&format!("\n### {number}. ")).expect("the step");
    let section = rest.split("\n#").next().expect("its section");
    let (_, rest) = section.split_once("```sh\n").expect("its commands");
    rest.split_once("```").expect("their end").0
}

fn follow(mosh: &Mosh, steps: &[u32]) {
    for number in steps {
        let script = format!("set -e\ncd /root\n{}", step(*number));
        mosh.call(["sh", "-c", &script]).limit(SOON).run().success();
    }
}

/// A cable between the two, by the ip(8) of the machines' Debian: here there may be none.
fn connect(machines: [&Mosh; 2]) -> Result<(), String> {
    let [one, other] = machines.map(|mosh| mosh.init_pid().to_string());
    let link = ["link", "add", "mf0", "netns", &one, "type", "veth", "peer", "name", "mf0", "netns", &other];
    let made = Command::new("chroot").arg(tests::places::test_root()).arg("/bin/ip").args(link).output();
    let made = made.map_err(|error| format!("chroot(8): {error}"))?;
    if !made.status.success() {
        return Err(format!("no network between two machines: {}", String::from_utf8_lossy(&made.stderr)));
    }
    for (number, mosh) in (1..).zip(machines) {
        mosh.sh(&format!("ip address add 10.0.0.{number}/24 dev mf0 && ip link set mf0 up")).success();
        mosh.sh("printf '10.0.0.%s ldap%s.example.org\n' 1 1 2 2 >>/etc/hosts").success();
    }
    Ok(())
}

/// `server.pem`, `server.key` and `ca.pem` in /root of each, by one authority.
fn certificates(machines: [&Mosh; 2]) {
    let [first, second] = machines;
    first
        .sh("set -e; cd /root
             openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=authority' -keyout ca.key -out ca.pem 2>/dev/null
             for name in ldap1 ldap2; do
                 openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr 2>/dev/null
                 printf 'subjectAltName=DNS:%s.example.org\n' $name >ext
                 openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out $name.pem 2>/dev/null
             done")
        .success();
    for (mosh, name) in [(first, "ldap1"), (second, "ldap2")] {
        for (from, to) in
            [("ca.pem", "ca.pem"), (&format!("{name}.pem"), "server.pem"), (&format!("{name}.key"), "server.key")]
        {
            carry(first, &format!("/root/{from}"), mosh, &format!("/root/{to}"));
        }
    }
}

/// Brings a file from one machine to the other.
fn carry(from: &Mosh, path: &str, to: &Mosh, new: &str) {
    to.write(new, &from.read(path));
}

/// An identityd with its tool on each, whose nearest server is its own.
fn identityd(mosh: &Mosh, urls: &[String]) {
    mosh.sh("install -m 0644 /root/ca.pem /etc/identityd/ca.pem").success();
    mosh.ldap_directory(urls, "ca_file = \"/etc/identityd/ca.pem\"\nfleet_base = \"cn=fleet\"");
    mosh.sh("set -e; cd /root/ldap
             install -o root -g identityd -m 0640 identityd.password /etc/identityd/ldap-password
             install -m 0600 identityctl.password /etc/identityd/ldap-admin.password")
        .success();
    mosh.daemon().start();
}

#[test]
fn the_steps_of_the_readme_make_two_providers_out_of_debians_slapd() {
    let host = |name: &str| Mosh::builder().name(name).without_daemon();
    let first = boot!(host(NAMES[0]));
    let second = boot!(host(NAMES[1]));
    if let Err(reason) = connect([&first, &second]) {
        skip!("{reason}");
    }
    certificates([&first, &second]);
    for mosh in [&first, &second] {
        // As the package leaves it.
        mosh.sh("service slapd start").success();
        mosh.wait_until("slapd listens", Duration::from_secs(10), |mosh| {
            mosh.sh("ldapsearch -Q -Y EXTERNAL -H ldapi:/// -b cn=config -s base").ok()
        });
    }
    follow(&first, &[1, 2, 3, 4, 5]);
    follow(&first, &[6]);
    follow(&second, &[1, 2]);
    for file in ["entries.ldif", "replicator.password", "identityd.password", "identityctl.password"] {
        carry(&first, &format!("/root/ldap/{file}"), &second, &format!("/root/ldap/{file}"));
    }
    follow(&second, &[7, 4]);
    follow(&first, &[8]);
    follow(&second, &[8]);

    let urls = NAMES.map(|name| format!("ldaps://{name}.example.org"));
    identityd(&first, &urls);
    identityd(&second, &[urls[1].clone(), urls[0].clone()]);
    // Written at the first, heard of at the second, and the other way round.
    let added = json(&first, "login add ana --capabilities shell");
    let generation = added["generation"].to_string();
    first.wait_until("both are on the list", SOON, |mosh| {
        let listed = mosh.identityctl(["fleet"]).stdout;
        NAMES.iter().all(|name| listed.contains(name))
    });
    first.identityctl(["wait", "--all", "--generation", &generation, "--timeout", "50s"]).success();
    second.run(["getent", "passwd", "ana"]).success();
    let changed = json(&second, "login set ana --gecos Ana");
    second.identityctl(["wait", "--all", "-g", &changed["generation"].to_string(), "--timeout", "50s"]).success();
    assert!(first.run(["getent", "passwd", "ana"]).success().text().contains(":Ana:"));
    second.call(["identityctl", "login", "passwd", "ana", "--stdin"]).stdin("secret of ana\n").run().success();
    let stored = |mosh: &Mosh| mosh.sh("slapcat -n 1 -F /etc/ldap/slapd.d -a '(uid=ana)'").stdout;
    first.wait_until("a hash has come over", SOON, |mosh| stored(mosh).contains("userPassword:: "));
    for mosh in [&first, &second] {
        let doctor = mosh.identityctl(["doctor"]);
        assert!(doctor.stdout.lines().any(|line| line.starts_with("ok") && line.contains("is whole")), "{doctor}");
        mosh.identityctl(["directory", "check"]).success();
        // The account that reads all writes nothing; and without TLS nobody binds.
        let bind = "-D cn=replicator,ou=services,dc=example,dc=org -y /root/ldap/replicator.password";
        let change = format!(
            "printf 'dn: uid=ana,ou=logins,dc=example,dc=org\nchangetype: modify\nreplace: gecos\ngecos: x\n' | \
             LDAPTLS_CACERT=/root/ca.pem ldapmodify -x -H ldaps://$(hostname).example.org {bind}"
        );
        mosh.sh(&change).exit(50);
        mosh.sh(&format!("ldapwhoami -x -H ldap://$(hostname).example.org {bind}")).exit(13);
        mosh.sh("service slapd stop").success();
    }
}
