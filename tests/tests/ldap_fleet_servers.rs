//! The list of hosts on several slapds: each host reports to the nearest that takes it, and whoever waits for all sees all.

use std::time::Duration;

use serde_json::Value;
use tests::mosh::{LdapLogin, Slapd};
use tests::{Mosh, boot};

const SOON: Duration = Duration::from_secs(30);
const LIST: &str = "fleet_base = \"cn=fleet\"";

fn ana() -> String {
    LdapLogin::new("ana", 20_001).capability("shell").line("gecos: start").ldif()
}

fn gecos(mosh: &Mosh) -> String {
    mosh.run(["getent", "passwd", "ana"]).stdout.split(':').nth(4).unwrap_or_default().to_owned()
}

/// Changes an entry there; the number of the change.
fn write(slapd: Slapd<'_>, text: &str) -> String {
    let dn = LdapLogin::dn("ana");
    slapd.modify(&format!("dn: {dn}\nchangetype: modify\nreplace: gecos\ngecos: {text}\n")).success();
    slapd.generation_of(&dn).to_string()
}

fn listed(mosh: &Mosh) -> Vec<String> {
    let output = mosh.identityctl(["--json", "fleet"]);
    let value: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
    let hosts = value["hosts"].as_array().map_or(&[][..], Vec::as_slice);
    hosts.iter().filter_map(|host| host["host"].as_str().map(str::to_owned)).collect()
}

fn wait_for_all<'a>(generation: &'a str, limit: &'a str) -> [&'a str; 7] {
    ["--json", "wait", "--all", "--generation", generation, "--timeout", limit]
}

#[test]
fn all_are_waited_for_though_each_reports_to_another_provider() {
    let folder = tempfile::tempdir().expect("a folder to share");
    let host = |name: &str| Mosh::builder().name(name).shared(folder.path()).without_daemon();
    let web1 = boot!(host("web1"));
    let web2 = boot!(host("web2"));
    let [first, second] = web1.mirrored_slapds(&ana());
    for slapd in [first, second] {
        slapd.keep_fleet();
    }
    for (mosh, order) in [(&web1, [first, second]), (&web2, [second, first])] {
        mosh.ldap_directory(&order.map(Slapd::shared), LIST);
        mosh.configure("fleet", "heartbeat = \"2s\"");
        mosh.daemon().start();
    }
    for mosh in [&web1, &web2] {
        mosh.wait_until("both are on the list", SOON, |mosh| listed(mosh) == ["web1", "web2"]);
    }
    // On a slow machine a provider may have seemed to be away, and a host have reported to the other one.
    web1.wait_until("each reports to its nearest", SOON, |_| {
        let _ = first.remove("cn=web2,cn=fleet");
        first.hosts() == ["web1"] && second.hosts().contains(&"web2".to_owned())
    });

    web2.daemon().pause();
    let generation = write(first, "new");
    // Else it would be missing as well.
    web1.identityctl(["wait", "--hosts", "web1", "--generation", &generation, "--timeout", "50s"]).success();
    let output = web1.identityctl(wait_for_all(&generation, "3s")).exit(6);
    let value: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(value["missing"][0]["host"], "web2", "{output}");
    web2.daemon().resume();
    web1.identityctl(wait_for_all(&generation, "50s")).success();
    assert_eq!(gecos(&web2), "new");

    // Silent to the one that asks, and to nobody else: web2 goes on reporting there, however long one waits.
    web1.sh("mount --bind /dev/null /srv/shared/ldapi2").success();
    web1.daemon().stop();
    web1.daemon().start();
    let generation = write(first, "newer");
    let output = web1.identityctl(wait_for_all(&generation, "15s")).exit(6);
    assert!(output.stderr.contains(&second.shared()) && output.stderr.contains("to it alone"), "{output}");
    web1.sh("umount /srv/shared/ldapi2").success();
    web1.identityctl(wait_for_all(&generation, "50s")).success();

    // Who reported to a provider that has died reports to the other one, and is seen there; that it is dead nobody can tell from here.
    second.kill();
    let generation = write(first, "newest");
    let by_name = ["wait", "--hosts", "web1,web2", "--generation", &generation, "--timeout", "50s"];
    web1.identityctl(by_name).success();
    assert_eq!(gecos(&web2), "newest");
    assert_eq!(first.hosts(), ["web1", "web2"]);
    let output = web1.identityctl(wait_for_all(&generation, "1s")).exit(6);
    assert!(output.stderr.contains(&second.shared()) && output.stderr.contains("wait --hosts"), "{output}");

    // Both have a line of it by now.
    web2.daemon().stop();
    let refused = web1.identityctl(["fleet", "forget", "web2"]).failure();
    assert!(refused.stderr.contains("run this again"), "{refused}");
    assert_eq!(first.hosts(), ["web1"]);
    second.start();
    assert!(second.hosts().contains(&"web2".to_owned()));
    web1.identityctl(["fleet", "forget", "web2"]).success();
    assert!(!second.hosts().contains(&"web2".to_owned()));
    web1.wait_until("the second provider is back", SOON, |mosh| {
        mosh.identityctl(["--json", "fleet"]).stdout.contains("\"incomplete\": null")
    });
    assert_eq!(listed(&web1), ["web1"]);
    web1.identityctl(["fleet", "forget", "web2"]).exit(1);
}

#[test]
fn a_report_goes_to_the_provider_where_the_nearest_server_is_a_copy() {
    let mosh = boot!(Mosh::builder().without_daemon());
    let provider = mosh.slapd(&ana());
    provider.keep_fleet();
    let consumer = mosh.slapd_copy_of(&provider);
    mosh.ldap_directory(&[consumer.url(), provider.url()], LIST);
    let change = |lines: &str| {
        consumer.modify(&format!("dn: olcDatabase={{2}}mdb,cn=config\nchangetype: modify\n{lines}")).success();
    };
    for list in ["that it does not have", "that is closed for changes", "that it names another server for"] {
        match list {
            "that is closed for changes" => {
                consumer.keep_fleet();
                change("replace: olcReadOnly\nolcReadOnly: TRUE\n");
            }
            "that it names another server for" => change(&format!(
                "replace: olcReadOnly\nolcReadOnly: FALSE\n-\nadd: olcSyncrepl\nolcSyncrepl: rid=9 provider=ldap://127.0.0.1:1 searchbase=\"cn=fleet\" bindmethod=simple retry=\"60 +\"\n\
                 -\nadd: olcUpdateRef\nolcUpdateRef: {}\n",
                provider.url()
            )),
            _ => {}
        }
        mosh.daemon().start();
        mosh.wait_until(&format!("a report has gone past a list {list}"), SOON, |_| provider.hosts() == ["mosh"]);
        assert_eq!(consumer.hosts(), [""; 0], "{list}");
        let generation = write(provider, list);
        mosh.identityctl(wait_for_all(&generation, "50s")).success();
        if list == "that it does not have" {
            consumer.pause();
            mosh.wait_until("the copy is missed", SOON, |mosh| {
                mosh.journal().contains("the LDAP server does not answer")
            });
            let output = mosh.identityctl(wait_for_all(&write(provider, "without the copy"), "50s")).success();
            assert_eq!(output.stderr, "", "nobody is missing where there is no list");
            consumer.resume();
        }
        mosh.daemon().stop();
        mosh.identityctl(["fleet", "forget", "mosh"]).success();
        assert_eq!(provider.hosts(), [""; 0], "{list}");
        mosh.identityctl(["fleet", "forget", "mosh"]).exit(1);
    }
}
