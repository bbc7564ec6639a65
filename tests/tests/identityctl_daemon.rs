//! identityctl's questions to the daemon, as root, as the login concerned, as another one, and without a daemon.

use std::time::Duration;

use tests::limit::within;
use tests::{Login, Mosh, boot};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ana@laptop";

macro_rules! machine {
    () => {{
        let mosh = boot!(Mosh::builder().logins(["ana", "ben"].map(|name| Login::new(name).password("secret"))));
        mosh.write("/key.pub", KEY);
        mosh.identityctl(["key", "add", "ana", "/key.pub"]).success();
        mosh
    }};
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn status_tells_root_the_details_and_everybody_the_health() {
    let mosh = machine!();
    mosh.wait_until("the sweep has counted", Duration::from_secs(10), |mosh| {
        json(&mosh.identityctl(["status", "--json"]).stdout)["entries"]["logins"] == 2
    });
    let status = json(&mosh.identityctl(["status", "--json"]).success().stdout);
    assert_eq!(status["health"], "ok");
    assert_eq!(status["pid"], mosh.daemon().pid().unwrap());
    assert_eq!(status["generation"]["seen"], status["generation"]["directory"]);
    // Two user private groups and sftp-only.
    assert_eq!(status["entries"]["groups"], 3);
    assert_eq!(status["warnings"], serde_json::json!([]));
    assert_eq!(status["directory"]["location"], "/var/lib/identityd/directory.db");
    let others = mosh.sh_as("ana", "identityctl status --json").success();
    assert_eq!(json(&others.stdout)["health"], "ok");
    assert!(json(&others.stdout)["warnings"].is_null());
    let text = mosh.identityctl(["status"]).success();
    assert!(text.stdout.contains("health") && text.stdout.contains("ok"), "{text}");
}

#[test]
fn status_warns_of_quarantined_entries_and_of_logins_in_many_groups() {
    let mosh = machine!();
    mosh.sh("for n in $(seq 17); do identityctl group add g$n && identityctl group add-member g$n ana || exit; done")
        .success();
    mosh.sh("echo ben:x:1888:1888::/:/bin/sh >>/etc/passwd").success();
    mosh.wait_until("both are seen", Duration::from_secs(15), |mosh| {
        let status = mosh.identityctl(["status"]).stdout;
        status.contains("1 logins are in more than 16 groups, such as ana")
            && status.contains("entries that are not served: 1;")
    });
    let status = json(&mosh.identityctl(["status", "--json"]).stdout);
    assert_eq!(status["quarantined"], 1);
    assert_eq!(status["quarantine"][0]["name"], "ben");
    assert!(status["quarantine"][0]["reason"].as_str().unwrap().contains("/etc/passwd"), "{status}");
    let doctor = mosh.identityctl(["doctor"]);
    assert!(doctor.stdout.contains("more than 16 groups") && doctor.stdout.contains("not served"), "{doctor}");
}

#[test]
fn metrics_are_prometheus_text() {
    let mosh = machine!();
    mosh.run(["getent", "passwd", "ana"]).success();
    for output in [mosh.identityctl(["metrics"]).success(), mosh.sh_as("ben", "identityctl metrics").success()] {
        assert!(output.stdout.contains("identityd_requests_total{op=\"passwd_by_name\",result=\"found\"}"), "{output}");
        for line in output.stdout.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with("identityd_") && value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn why_explains_to_root_and_to_the_login_itself() {
    let mosh = machine!();
    mosh.identityctl(["login", "lock", "ana"]).success();
    let root = mosh.identityctl(["why", "ana", "sshd"]).success();
    assert!(root.stdout.contains("locked?") && root.stdout.contains("PAM_PERM_DENIED"), "{root}");
    assert!(mosh.sh_as("ana", "identityctl why ana sshd").success().stdout.contains("PAM_PERM_DENIED"));
    let other = mosh.sh_as("ben", "identityctl why ana").exit(1);
    assert!(other.stderr.contains("ask as root, or about yourself"), "{other}");
    let unknown = mosh.identityctl(["why", "nobody-here", "sshd"]).success();
    assert!(unknown.stdout.contains("PAM_USER_UNKNOWN"), "{unknown}");
    assert!(mosh.identityctl(["why", "root"]).stdout.contains("local accounts win"));
    assert!(mosh.identityctl(["why", "a:b"]).stdout.contains("No login can have this name"));
    let story = json(&mosh.identityctl(["why", "ben", "sshd", "--json"]).success().stdout);
    assert_eq!((story["outcome"].as_str(), story["pam_code"].as_str()), (Some("Success"), Some("PAM_SUCCESS")));
    assert!(story["passwd"].as_str().unwrap().starts_with("ben:x:"), "{story}");
}

#[test]
fn keys_are_for_root_and_the_login_itself() {
    let mosh = machine!();
    let line = format!("{KEY}\n");
    assert_eq!(mosh.identityctl(["ssh-keys", "ana"]).success().stdout, line);
    // Whoever has captured the daemon's user gets no further with it.
    let daemon = "setpriv --reuid=identityd --regid=identityd --clear-groups identityctl ssh-keys ana";
    assert_eq!(mosh.sh(daemon).stdout, "");
    assert_eq!(mosh.sh_as("ana", "identityctl ssh-keys ana").success().stdout, line);
    let other = mosh.sh_as("ben", "identityctl ssh-keys ana").exit(1);
    assert_eq!(other.stdout, "");
    for none in ["ben", "nobody-here", "root", "a:b", "-x", ""] {
        assert_eq!(mosh.identityctl(["ssh-keys", none]).success().stdout, "", "{none:?}");
    }
    mosh.identityctl(["login", "lock", "ana"]).success();
    assert_eq!(mosh.identityctl(["ssh-keys", "ana"]).success().stdout, "");
    mosh.identityctl(["login", "unlock", "ana"]).success();
    mosh.identityctl(["login", "expire", "ana", "2020-01-01"]).success();
    assert_eq!(mosh.identityctl(["ssh-keys", "ana"]).success().stdout, "");
    mosh.identityctl(["login", "expire", "ana", "never"]).success();
    assert_eq!(mosh.identityctl(["ssh-keys", "ana"]).success().stdout, line);
}

#[test]
fn reload_is_for_root() {
    let mosh = machine!();
    mosh.identityctl(["reload"]).success();
    mosh.sh_as("ana", "identityctl reload").exit(1);
}

#[test]
fn without_a_daemon_each_question_says_so_and_exits_with_4() {
    let mosh = machine!();
    mosh.daemon().stop();
    for question in ["status", "metrics", "reload", "ssh-keys ana"] {
        let output = mosh.identityctl(question.split(' ')).exit(4);
        assert!(output.stderr.contains("is it running?") && output.stdout.is_empty(), "{output}");
    }
    // A stopped process takes connections and says nothing.
    mosh.daemon().start();
    mosh.daemon().pause();
    let output = mosh.identityctl(["ssh-keys", "ana"]).exit(4);
    assert!(output.stderr.contains("did not answer"), "{output}");
    within(Duration::from_secs(4), "until it is given up", output.took);
    mosh.daemon().resume();
    mosh.identityctl(["ssh-keys", "ana"]).success();
}

#[test]
fn doctor_finds_a_daemon_that_is_away_ill_or_well() {
    let mosh = machine!();
    // On a busy machine one answer may take longer than the 200 ms of a look-up, which doctor then says.
    mosh.wait_until("it is well", Duration::from_secs(5), |mosh| {
        let well = mosh.identityctl(["doctor"]).stdout;
        well.contains("answers and is well") && well.contains("a look-up is answered in time")
    });
    mosh.sh("mkdir /away && mv /var/lib/identityd/directory.db* /away/").success();
    mosh.wait_until("it is ill", Duration::from_secs(5), |mosh| mosh.identityctl(["status"]).status == Some(1));
    let ill = mosh.identityctl(["doctor"]).exit(1);
    assert!(ill.stdout.contains("its health is"), "{ill}");
    mosh.daemon().stop();
    let away = mosh.identityctl(["doctor"]).exit(1);
    assert!(away.stdout.contains("does not answer"), "{away}");
}
