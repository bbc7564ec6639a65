//! identityctl for programs: every command's JSON and exit code, and every command's help.

use serde_json::Value;
use tests::{Login, Mosh, boot};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5HcFgkzvMZZlSF72lbMgvCPL+NDEO5/oc5HFE5S5T0 ana@home";

/// Each in turn, on one machine; what it prints is one JSON value with this key, or a list.
const COMMANDS: &[(&str, &str)] = &[
    ("init", "generation"),
    ("membership add coop --title Cooperative", "result"),
    ("membership set coop --title Co-op", "result"),
    ("membership show coop", "logins"),
    ("membership list", ""),
    ("login add bea --membership coop", "result"),
    ("login set bea --gecos Bea --max-days 90 --allow sftp", "result"),
    ("login show bea", "aging"),
    ("login list", "logins"),
    ("login list nobody*", "logins"),
    ("login lock bea", "result"),
    ("login unlock bea", "result"),
    ("login expire bea 2031-01-01", "result"),
    ("login move bea -", "result"),
    ("login passwd bea --none", "result"),
    ("login rename bea bela", "result"),
    ("group add web", "result"),
    ("group add-member web bela", "result"),
    ("group show web", "members"),
    ("group list", "groups"),
    ("group remove-member web bela", "result"),
    ("group set web --rename www", "result"),
    ("group remove www", "result"),
    ("key add bela /root/key.pub", "result"),
    ("key list bela", ""),
    ("ssh-keys bela", ""),
    ("key remove bela SHA256:SrILsWLYgJsaHDxY1vIYtjaKTP6XrSLUFqUwGjaPBRc", "result"),
    ("login remove bela", "result"),
    ("login list --removed", ""),
    ("login restore bela", "result"),
    ("membership remove coop", "result"),
    ("import /srv", "plan"),
    ("import /srv --apply", "result"),
    ("export /root/export", "generation"),
    ("export --passwd -", "passwd"),
    ("status", "health"),
    ("why ana sshd", "steps"),
    ("metrics", "prometheus"),
    ("reload", "reloaded"),
    ("wait", "reached"),
    ("wait --all", "reached"),
    ("fleet", "hosts"),
    ("doctor", "findings"),
];

fn machine() -> tests::mosh::Builder {
    Mosh::builder()
        .login(Login::new("ana").password("secret").capabilities(["shell"]))
        .file("/root/key.pub", KEY)
        .file("/srv/passwd", "eva:x:2001:2001::/home/members/users/eva:/bin/bash\n")
        .file("/srv/group", "eva:x:2001:\n")
        .file("/srv/shadow", "eva:*:19000:0:99999:7:::\n")
}

fn run(mosh: &Mosh, line: &str) -> tests::mosh::Output {
    mosh.identityctl(line.split(' '))
}

#[test]
fn every_command_prints_one_json_value() {
    let mosh = boot!(machine());
    for (line, key) in COMMANDS {
        let output = run(&mosh, &format!("--json {line}"));
        let value: Value =
            serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}\n{output}"));
        let fits = if key.is_empty() { value.is_array() } else { value.get(key).is_some() };
        assert!(fits, "{line}: {key}\n{output}");
        for note in output.stderr.lines() {
            assert!(note.starts_with("identityctl: "), "{line}: {note}");
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_manual_page() {
    let mosh = boot!(machine());
    for (line, code) in [
        ("login show ana", 0),
        ("group remove sftp-only", 1),
        ("login add root", 1),
        ("login add ana", 1),
        ("login add x --home /root", 1),
        ("login add", 2),
        ("nonsense", 2),
        ("login list --removed --locked", 2),
        ("login show nobodyhere", 3),
        ("group show nobodyhere", 3),
        ("membership show nobodyhere", 3),
        ("key remove ana 77", 3),
        ("import /srv/none", 1),
    ] {
        let output = run(&mosh, line).exit(code);
        assert!(code == 0 || !output.stderr.is_empty(), "{line}");
    }
    mosh.write("/srv/passwd", "-rf:x:2001:2001::/home/x:/bin/sh\n");
    run(&mosh, "import /srv").exit(5);
    mosh.daemon().stop();
    run(&mosh, "status").exit(4);
    run(&mosh, "metrics").exit(4);
    mosh.sh("rm /var/lib/identityd/directory.db*").success();
    run(&mosh, "login list").exit(4);
}

#[test]
fn every_command_has_its_help() {
    let mosh = boot!(Mosh::builder().without_daemon());
    for (line, _) in COMMANDS {
        let words: Vec<&str> = line.split(' ').take_while(|word| !word.starts_with(['-', '/'])).collect();
        let groups = ["membership", "login", "group", "key"];
        let command = words.iter().take(if groups.contains(&words[0]) { 2 } else { 1 }).copied();
        let output = mosh.identityctl(command.chain(["--help"])).success();
        assert!(output.stdout.contains("Usage: identityctl"), "{line}: {output}");
    }
}

#[test]
fn an_import_on_a_terminal_shows_a_bar_and_leaves_no_trace_of_it_in_a_pipe() {
    let mosh = boot!(machine());
    mosh.sh(
        "for i in $(seq 4000); do echo \"u$i:x:$((i+3000)):$((i+3000))::/home/members/users/u$i:/bin/bash\"; done > /srv/passwd; rm /srv/group /srv/shadow",
    )
    .success();
    let plan = run(&mosh, "import /srv");
    assert!(!plan.stderr.contains('\u{1b}'), "{}", plan.stderr);
    let shown = mosh.sh("TERM=xterm script -qec 'stty cols 100; identityctl import /srv --apply' /dev/null").success();
    assert!(
        shown.stdout.contains("writing") && shown.stdout.contains("4,000"),
        "{}",
        &shown.stdout[..2000.min(shown.stdout.len())]
    );
}
