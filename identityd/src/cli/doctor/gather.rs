//! Looks at the files of this host and has them judged.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use super::host::{self, Fact, Kind};
use super::{Finding, namesakes, network, nsswitch, pam, sshd, sudoers};
use schema::snapshot::Answer;

use crate::cli::mentions;
use crate::cli::session::chosen;
use crate::cli::snapshot::LIVE;
use crate::snapshot::open::Published;

/// Where the embedded directory is by default.
const DATABASE: &str = schema::paths::DIRECTORY_DB;

/// All findings that need no daemon.
pub(super) fn all() -> Vec<Finding> {
    let passwd = read("/etc/passwd");
    // A configuration with a mistake is the directory's finding.
    let directory = chosen();
    let mut findings = vec![host::check_user(&passwd)];
    findings.extend(files(
        host::service_uid(&passwd),
        directory.as_ref().map_or(Some(Path::new(DATABASE)), |config| config.file()),
    ));
    findings.push(module("libnss_mayfirst.so.2", ""));
    findings.push(module("pam_mayfirst.so", "security"));
    findings.extend(nsswitch::check(&read("/etc/nsswitch.conf")));
    findings.extend(pam::check(&pam_files()));
    if Path::new("/usr/sbin/sshd").exists() {
        findings.extend(sshd_findings());
    }
    if Path::new("/etc/sudoers").exists() {
        findings.extend(sudoers::check(&sudoers_files(), &read("/etc/group")));
    }
    if let Ok(published) = Published::open(Path::new(LIVE)) {
        let is_login = |name: &str| {
            let snapshot = published.snapshot();
            snapshot.is_ok_and(|snapshot| matches!(snapshot.login_by_name(name.as_bytes()), Answer::Found(_)))
        };
        let mut named = mentions::all(&sudoers_files(), &sshd_text());
        named.extend(mentions::passwords(&read("/etc/shadow")));
        findings.extend(namesakes::check(&named, &passwd, is_login));
    }
    // Where unscd and nscd listen (nscd(8)).
    let nscd = fs::symlink_metadata("/var/run/nscd/socket").is_ok();
    let userdbd = fs::symlink_metadata("/run/systemd/userdb/io.systemd.Multiplexer").is_ok();
    findings.extend(host::check_caches(nscd, userdbd));
    let changed = |path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let newest = [changed(DATABASE), changed("/var/lib/identityd/directory.db-wal")];
    findings.push(host::check_clock(SystemTime::now(), newest.into_iter().flatten().max()));
    // sd_booted(3). Without systemd nothing confines identityd.
    if Path::new("/run/systemd/system").exists()
        && let Ok(config) = directory
    {
        findings.extend(network::check(&config, &unit()));
    }
    findings
}

/// identityd's unit and its drop-ins (systemd.unit(5)): of two of one name the administrator's is read, and all in the order of their names.
fn unit() -> String {
    const PLACES: [&str; 3] = ["/usr/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"];
    let main = PLACES.iter().rev().find_map(|place| lossy(&Path::new(place).join("identityd.service")));
    let mut drop_ins = BTreeMap::new();
    for place in PLACES {
        for entry in fs::read_dir(Path::new(place).join("identityd.service.d")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "conf") {
                drop_ins.insert(entry.file_name(), lossy(&entry.path()).unwrap_or_default());
            }
        }
    }
    let texts: Vec<String> = main.into_iter().chain(drop_ins.into_values()).collect();
    texts.join("\n")
}

/// The uid of identityd's user.
pub(super) fn service_uid() -> Option<u32> {
    host::service_uid(&read("/etc/passwd"))
}

/// `database`: the embedded directory's file, where there is one.
fn files(service_uid: Option<u32>, database: Option<&Path>) -> Vec<Finding> {
    let wanted =
        host::PATHS.iter().filter(|expected| expected.path != DATABASE || database == Some(Path::new(DATABASE)));
    let judged = wanted.filter_map(|expected| host::check_path(expected, fact(expected.path), service_uid));
    let mut findings: Vec<_> = judged.collect();
    if findings.is_empty() {
        findings.push(Finding::ok("files", "configuration, state and socket have their owners and modes"));
    }
    findings
}

fn fact(path: &str) -> Fact {
    match fs::symlink_metadata(path) {
        Ok(meta) => {
            let kind = match meta.file_type() {
                kind if kind.is_file() => Kind::File,
                kind if kind.is_dir() => Kind::Folder,
                kind if kind.is_socket() => Kind::Socket,
                _ => Kind::Other,
            };
            Fact::There { kind, uid: meta.uid(), gid: meta.gid(), mode: meta.mode() }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Fact::Missing,
        Err(_) => Fact::Hidden,
    }
}

/// The places of a multiarch host: /usr/lib/<triplet>/[folder/]name.
fn module(name: &str, folder: &str) -> Finding {
    let mut found = Vec::new();
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        let path = entry.path().join(folder).join(name);
        // The link of a development name is not another copy.
        if path.is_file() {
            let head = fs::read(&path).unwrap_or_default();
            let path = path.display().to_string();
            found.push((path.clone(), fact(&path), head));
        }
    }
    host::check_module(name, &found)
}

/// The files of `/etc/pam.d`, by name.
pub(super) fn pam_files() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/etc/pam.d").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, lossy(&entry.path())?))).collect()
}

/// Those that can be read; others than root read none.
pub(crate) fn sudoers_files() -> Vec<(String, String)> {
    let folder = fs::read_dir("/etc/sudoers.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = folder.chain(["/etc/sudoers".into()]).collect();
    paths.sort();
    paths.iter().filter_map(|path| Some((path.display().to_string(), lossy(path)?))).collect()
}

const SSHD: &str = "/etc/ssh/sshd_config";

/// sshd_config(5) with its includes; empty if it cannot be read.
pub(crate) fn sshd_text() -> String {
    with_includes(&read(SSHD), 0)
}

fn sshd_findings() -> Vec<Finding> {
    match lossy(Path::new(SSHD)) {
        Some(text) => sshd::check(&with_includes(&text, 0)),
        None => vec![Finding::unknown("sshd", format!("{SSHD} cannot be read"), "run as root")],
    }
}

/// Puts included files in their place. Only `*` at the start of a file name is understood, as Debian writes it.
fn with_includes(text: &str, depth: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let included = words.next().is_some_and(|word| word.eq_ignore_ascii_case("include")) && depth < 16;
        if !included {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        for file in words.flat_map(matching) {
            out.push_str(&with_includes(&lossy(&file).unwrap_or_default(), depth + 1));
        }
    }
    out
}

fn matching(pattern: &str) -> Vec<std::path::PathBuf> {
    // sshd_config(5): relative to /etc/ssh.
    let path = Path::new("/etc/ssh").join(pattern);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(end) = name.strip_prefix('*') else {
        return vec![path];
    };
    let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    files
}

fn read(path: &str) -> String {
    lossy(Path::new(path)).unwrap_or_default()
}

fn lossy(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
