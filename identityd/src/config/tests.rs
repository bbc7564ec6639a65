//! Configurations, good and bad.

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("identityd.toml")).map_err(|error| error.to_string())
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.cache, Cache::default());
    assert_eq!(config.nss.shadow_hash, ShadowHash::Nobody);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_keys_there_are() {
    let text = error("[cache]\npositive = \"5m\"\npositiv = \"5m\"\n");
    assert!(text.contains("identityd.toml, line 3, key \"cache.positiv\""), "{text}");
    assert!(text.contains("positive"), "{text}");
}

#[test]
fn an_unknown_section_is_refused() {
    assert!(error("[caches]\n").contains("caches"));
    assert!(error("[directory]\ntype = \"sqlite\"\npaht = \"/x\"\n").contains("paht"));
}

#[test]
fn a_wrong_length_of_time_is_refused_with_an_example() {
    let text = error("[cache]\n\npositive = \"5 minutes\"\n");
    assert!(text.contains("line 3") && text.contains("\"30s\""), "{text}");
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    let text = error("[server]\nconnections = 3\n");
    assert!(text.contains("server.connections") && text.contains("16 to 65536"), "{text}");
}

#[test]
fn metrics_never_listen_to_the_network() {
    assert!(error("[metrics]\nlisten = \"0.0.0.0:9100\"\n").contains("loopback"));
    assert!(parse("[metrics]\nlisten = \"127.0.0.1:9100\"\n").is_ok());
    assert!(parse("[metrics]\nlisten = \"/run/identityd/metrics\"\n").is_ok());
}

#[test]
fn a_line_of_services_replaces_only_that_service() {
    let services = parse("[services]\nsshd = [\"shell\"]\ngit = \"any\"\n").unwrap().services;
    let sftp_only = ["sftp".parse().unwrap()].into();
    assert!(!services.need("sshd").is_met_by(&sftp_only));
    assert!(services.need("git").is_met_by(&sftp_only));
    assert!(!services.need("su").is_met_by(&sftp_only));
    assert_eq!(services.need("something-else"), &Need::Nobody);
}

#[test]
fn a_service_that_is_misspelt_is_refused() {
    assert!(error("[services]\nsshd = \"shell\"\n").contains("[\"shell\"]"));
    assert!(error("[services]\nsshd = []\n").contains("none"));
}

#[test]
fn a_file_that_others_may_write_is_refused_with_the_remedy() {
    assert!(check_owner(Path::new("/f"), 0, 0o100_640).is_ok());
    assert!(check_owner(Path::new("/f"), 0, 0o100_660).unwrap_err().to_string().contains("chmod 0640 /f"));
    assert!(check_owner(Path::new("/f"), 1000, 0o100_640).unwrap_err().to_string().contains("chown root:identityd /f"));
}

#[test]
fn the_packaged_file_says_what_the_defaults_are() {
    let text = include_str!("../../../packaging/identityd.toml");
    let active = parse(text).unwrap();
    // Every commented key, taken in, must be known and must be the default.
    let all: String = text
        .lines()
        .map(|line| line.strip_prefix("#= ").unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n");
    let full = parse(&all).unwrap();
    for config in [active, full] {
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}

#[test]
fn only_what_makes_other_entries_is_another_meaning_of_the_directory() {
    let meaning = |lines: &str| parse(&format!("[directory]\n{lines}")).unwrap().directory.meaning();
    let ldap = "type = \"ldap\"\nservers = [\"ldaps://one\"]\nbase = \"dc=example\"\n";
    let elsewhere = ldap.replace("one", "two") + "poll = \"5s\"\nadmin_dn = \"cn=other\"\n";
    assert_eq!(meaning(ldap), meaning(&elsewhere));
    for other in [
        "[directory.overrides]\nshell = \"/bin/sh\"",
        "[directory.defaults]\nhome = \"/home/{name}\"",
        "[[directory.capabilities]]\ncapability = \"shell\"",
        "[[directory.locked]]\nattribute = \"pwdAccountLockedTime\"",
        "login_filter = \"(uid=*)\"",
        "bind_dn = \"cn=reader\"\nbind_password_file = \"/etc/identityd/ldap.password\"",
    ] {
        assert_ne!(meaning(&format!("{ldap}{other}\n")), meaning(ldap), "{other}");
    }
    let mysql = "type = \"mysql\"\nservers = [\"one\"]\n";
    assert_eq!(meaning(mysql), meaning(&(mysql.replace("one", "two") + "timeout = \"9s\"\n")));
    let query = |shell: &str| {
        let keys = [
            "login_by_name",
            "login_by_uid",
            "logins_after",
            "group_by_name",
            "group_by_gid",
            "groups_after",
            "gids_of",
            "password_hash",
        ];
        let keys = keys.map(|key| format!("{key} = \"SELECT '{shell}'\"\n")).concat();
        meaning(&format!("{mysql}[directory.queries]\n{keys}"))
    };
    assert_ne!(query("/bin/sh"), query("/bin/bash"));
    assert_ne!(meaning(mysql), meaning(ldap));
}

#[test]
fn without_a_feed_nobody_enters_while_the_directory_is_away() {
    let ldap = "[directory]\ntype = \"ldap\"\nservers = [\"ldapi:///\"]\nbase = \"dc=example\"\nfeed = \"off\"\n[snapshot]\nmode = \"lookup\"\n";
    let text = error(ldap);
    assert!(text.contains("auth.offline_days") && text.contains("replaced password"), "{text}");
    assert!(parse(&format!("{ldap}[auth]\noffline_days = 0\n")).is_ok());
}
