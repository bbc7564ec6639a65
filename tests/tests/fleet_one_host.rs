//! `identityctl wait` and `identityctl fleet` where the fleet is one host: the embedded directory.

use std::time::Duration;

use serde_json::Value;
use tests::limit::wide;
use tests::{Login, Mosh, boot};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_change_is_piped_into_wait() {
    let mosh = boot!(Mosh::builder().name("web1.example.org"));
    for what in ["", "--all", "--hosts web1.example.org"] {
        let line = format!(
            "identityctl --json login add a$(date +%N) | identityctl wait {what} --generation - && \
             identityctl --json wait {what}"
        );
        let output = mosh.sh(&line).success();
        let (text, rest) = output.stdout.split_once('\n').expect("two answers");
        assert!(text.starts_with("1 host has generation "), "{output}");
        let answer = json(rest);
        assert_eq!((&answer["reached"], &answer["hosts"]), (&Value::Bool(true), &Value::from(1)), "{output}");
        assert_eq!(output.stderr, "", "quiet in a pipe");
    }
}

#[test]
fn what_does_not_come_is_named_when_the_time_is_over() {
    let mosh = boot!(Mosh::builder().name("web1"));
    for what in ["--all", "--hosts web1,elsewhere", ""] {
        let words = ["wait", "--generation", "999999", "--timeout", "300ms"].into_iter().chain(what.split_whitespace());
        let output = mosh.identityctl(words).exit(6);
        assert!(output.took < wide(Duration::from_secs(1)), "{output}");
        let expected = if what.is_empty() { "not visible yet" } else { "web1 is at " };
        assert!(output.stderr.contains(expected), "{output}");
        assert_eq!(output.stderr.contains("elsewhere has never reported"), what.contains("elsewhere"), "{output}");
    }
    let output = mosh.identityctl(["--json", "wait", "--all", "-g", "999999", "--timeout", "200ms"]).exit(6);
    let answer = json(&output.stdout);
    assert_eq!((&answer["reached"], &answer["missing"][0]["host"]), (&Value::Bool(false), &Value::from("web1")));
    mosh.identityctl(["wait", "--generation", "soon"]).exit(1);
    mosh.identityctl(["wait", "--all", "--hosts", "web1"]).exit(2);
}

#[test]
fn the_list_has_this_host_as_it_is_now() {
    let mosh = boot!(Mosh::builder().name("Web1").login(Login::new("ana")));
    let generation = json(&mosh.identityctl(["--json", "login", "lock", "ana"]).success().stdout)["generation"].clone();
    let fleet = json(&mosh.identityctl(["--json", "fleet"]).success().stdout);
    let line = &fleet["hosts"][0];
    assert_eq!(
        (&line["host"], &line["generation"], &fleet["newest"]),
        (&Value::from("web1"), &generation, &generation)
    );
    assert_eq!((&line["behind"], &line["own"], &line["trouble"]), (&Value::from(0), &Value::Bool(true), &Value::Null));
    let table = mosh.identityctl(["fleet"]).success();
    assert!(table.stdout.contains("web1") && table.stdout.contains("this host"), "{table}");
    mosh.identityctl(["fleet", "forget", "web1"]).exit(1);
    mosh.configure("fleet", "host = \"other.example.org\"");
    mosh.identityctl(["reload"]).success();
    assert!(mosh.identityctl(["fleet"]).success().stdout.contains("other.example.org"));
}

#[test]
fn the_list_is_for_root_and_needs_identityd() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")));
    for command in ["fleet", "fleet forget mosh", "wait --all", "wait"] {
        mosh.sh_as("ana", &format!("identityctl {command}")).exit(1);
    }
    mosh.daemon().stop();
    for command in ["fleet", "wait --all", "wait --generation 1"] {
        mosh.identityctl(command.split(' ')).exit(4);
    }
}

#[test]
fn a_terminal_shows_who_is_missing() {
    let mosh = boot!(Mosh::builder().name("web1"));
    let shown = mosh.sh(
        "TERM=xterm script -qec 'stty cols 120; identityctl wait --all --generation 999999 --timeout 1s' /dev/null",
    );
    assert!(shown.stdout.contains("0 of 1 hosts have generation 999999; missing: web1"), "{shown}");
}
