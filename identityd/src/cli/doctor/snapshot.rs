//! Is the snapshot there, whole, current, for the right readers, and is there room for the next one?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schema::snapshot::control::{STALE_SECONDS, Visibility as Published};
use schema::snapshot::verify;
use schema::wire::message::{Reply, Request};
use serde_json::Value;

use super::Finding;
use crate::cli::snapshot::{KEPT, LIVE, heartbeat_age};
use crate::client::Client;
use crate::config::{self, SnapshotMode, Visibility};
use crate::snapshot::open::{OpenError, Published as Files, Raw};

const CHECK: &str = "snapshot";
/// Publication follows a change within milliseconds; a busy host gets so many tries of 100 ms.
const TRIES: u32 = 20;

/// What is seen of the files.
#[derive(Debug, Clone)]
struct Facts {
    visibility: Published,
    heartbeat_age: Option<u64>,
    generation: u64,
    /// Of the base, in bytes.
    base: u64,
    /// Free where they are, in bytes.
    room: u64,
    /// The first file that is not whole, and why.
    damaged: Option<String>,
    /// Path and mode of directory, control page and files.
    modes: Vec<(PathBuf, u32)>,
}

pub(super) fn check(service_uid: Option<u32>) -> Vec<Finding> {
    let configured =
        config::Loaded::from_file(Path::new(schema::paths::CONFIG)).ok().map(|loaded| loaded.config.snapshot);
    if configured.as_ref().is_some_and(|snapshot| snapshot.mode == SnapshotMode::Lookup) {
        return vec![Finding::ok(CHECK, "not used: [snapshot] mode is \"lookup\"")];
    }
    let facts = match gather() {
        Ok(facts) => facts,
        Err(error) => return vec![away(&error)],
    };
    let mut findings = judge(&facts, configured.as_ref().map(|snapshot| snapshot.visibility));
    findings.extend(owners(&facts, service_uid));
    findings.extend(current(facts.generation));
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{LIVE} is whole and current (generation {})", facts.generation)));
    }
    if let Ok(kept) = Files::open(Path::new(KEPT)) {
        findings.push(Finding::ok(
            CHECK,
            format!("a copy of generation {} is on the disk", kept.newest_part().header.generation),
        ));
    }
    findings
}

fn gather() -> Result<Facts, OpenError> {
    let live = Path::new(LIVE);
    let files = Files::open(live)?;
    let state = files.state.ok_or_else(|| OpenError::Nothing(live.into()))?;
    let parts: Vec<_> = std::iter::once(&files.base).chain(&files.delta).collect();
    let damaged = parts.iter().find_map(|part| {
        let wrong = Raw::open(&part.path).map(|raw| verify::checksum(raw.bytes()).err());
        // Swept away since: no damage.
        wrong.ok().flatten().map(|defect| format!("{}: {defect}", part.path.display()))
    });
    let paths = [live.to_owned(), live.join("control")].into_iter().chain(parts.iter().map(|part| part.path.clone()));
    let modes = paths.filter_map(|path| Some((path.clone(), std::fs::metadata(&path).ok()?.mode() & 0o7777))).collect();
    let room = rustix::fs::statvfs(live).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize));
    Ok(Facts {
        visibility: state.control.visibility,
        heartbeat_age: heartbeat_age(state.heartbeat),
        generation: files.newest_part().header.generation,
        base: files.base.header.len as u64,
        room,
        damaged,
        modes,
    })
}

fn away(error: &OpenError) -> Finding {
    match error {
        OpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Finding::unknown(CHECK, format!("{error}"), "run identityctl doctor as root")
        }
        OpenError::Defect { .. } => {
            Finding::error(CHECK, error.to_string(), "restart identityd: it verifies its files and writes them anew")
        }
        _ => Finding::error(
            CHECK,
            format!("{error}; look-ups go over the socket, and end with identityd"),
            "identityctl status says why nothing is published; if identityd cannot start: identityctl snapshot restore",
        ),
    }
}

fn judge(facts: &Facts, wanted: Option<Visibility>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(damaged) = &facts.damaged {
        findings.push(Finding::error(
            CHECK,
            damaged,
            "restart identityd: it verifies its files and writes them anew; identityctl snapshot verify says more",
        ));
    }
    let old = || format!("answers are those of generation {}", facts.generation);
    match facts.heartbeat_age {
        Some(age) if age <= STALE_SECONDS => {}
        Some(age) => findings.push(Finding::error(
            CHECK,
            format!("nobody has maintained {LIVE} for {age} s; {}", old()),
            "start identityd",
        )),
        None => findings.push(Finding::error(
            CHECK,
            format!("nobody has maintained {LIVE} since the boot; {}", old()),
            "start identityd",
        )),
    }
    let members = facts.visibility == Published::Members;
    if wanted.is_some_and(|wanted| (wanted == Visibility::Members) != members) {
        findings.push(Finding::error(
            CHECK,
            format!(
                "{LIVE} is published for {}, the configuration says otherwise",
                if members { "members" } else { "everybody" }
            ),
            "restart identityd",
        ));
    }
    for (path, mode) in &facts.modes {
        let is_control = path.ends_with("control");
        let right = match (path.as_path() == Path::new(LIVE), is_control, members) {
            (true, _, false) => 0o755,
            (true, _, true) => 0o700,
            (_, true, false) => 0o644,
            (_, true, true) => 0o600,
            (_, _, false) => 0o444,
            (_, _, true) => 0o400,
        };
        if *mode != right {
            findings.push(Finding::error(
                CHECK,
                format!("{} has mode {mode:04o}, not {right:04o}", path.display()),
                format!("chmod {right:04o} {}", path.display()),
            ));
        }
    }
    if facts.room < facts.base {
        findings.push(Finding::warning(
            CHECK,
            format!("{} MB are free in {LIVE}, a second base needs {} MB: changes will stop being published", facts.room >> 20, (facts.base >> 20) + 1),
            "make room in /run, or mount a tmpfs of its own on /run/identityd/snapshot, or remount /run with more size=",
        ));
    }
    findings
}

/// Who else owns them decides who every program believes.
fn owners(facts: &Facts, service_uid: Option<u32>) -> Option<Finding> {
    let uid = service_uid?;
    let foreign = facts.modes.iter().find(|(path, _)| std::fs::metadata(path).is_ok_and(|found| found.uid() != uid))?;
    let what = format!("{} does not belong to identityd", foreign.0.display());
    Some(Finding::error(CHECK, what, format!("find out who made it; then stop identityd, rm -r {LIVE}, start it")))
}

/// Whether what the directory has is published.
fn current(mut published: u64) -> Option<Finding> {
    let directory = directory_generation()?;
    for _ in 0..TRIES {
        if published >= directory {
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
        published = Files::open(Path::new(LIVE)).ok()?.newest_part().header.generation;
    }
    Some(Finding::error(
        CHECK,
        format!("generation {published} is published, the directory is at {directory}"),
        "identityctl status says what keeps identityd from publishing",
    ))
}

fn directory_generation() -> Option<u64> {
    let Ok(Reply::Status(text)) = Client::new().ask(&Request::Status) else { return None };
    serde_json::from_str::<Value>(&text).ok()?.get("generation")?.get("directory")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, worst};
    use super::*;

    fn well() -> Facts {
        Facts {
            visibility: Published::Open,
            heartbeat_age: Some(3),
            generation: 7,
            base: 1 << 20,
            room: 1 << 30,
            damaged: None,
            modes: vec![
                (LIVE.into(), 0o755),
                (format!("{LIVE}/control").into(), 0o644),
                (format!("{LIVE}/base.1").into(), 0o444),
            ],
        }
    }

    #[test]
    fn a_snapshot_that_is_well_gives_no_finding() {
        assert_eq!(judge(&well(), Some(Visibility::Open)), []);
        let modes = [0o700, 0o600, 0o400].into_iter().zip(well().modes).map(|(mode, (path, _))| (path, mode)).collect();
        let members = Facts { visibility: Published::Members, modes, ..well() };
        assert_eq!(judge(&members, Some(Visibility::Members)), []);
    }

    #[test]
    fn each_trouble_is_told() {
        let says = |facts: &Facts, severity, part: &str| {
            let findings = judge(facts, Some(Visibility::Open));
            assert_eq!(worst(&findings), severity, "{findings:?}");
            assert!(findings.iter().any(|finding| finding.what.contains(part)), "{part}: {findings:?}");
        };
        says(&Facts { heartbeat_age: Some(500), ..well() }, Severity::Error, "for 500 s");
        says(&Facts { heartbeat_age: None, ..well() }, Severity::Error, "since the boot");
        says(&Facts { damaged: Some("base.1: broken".into()), ..well() }, Severity::Error, "base.1");
        says(&Facts { room: 1000, ..well() }, Severity::Warning, "a second base");
        says(&Facts { modes: vec![(LIVE.into(), 0o777)], ..well() }, Severity::Error, "0777, not 0755");
        says(&Facts { visibility: Published::Members, modes: Vec::new(), ..well() }, Severity::Error, "otherwise");
    }

    #[test]
    fn a_missing_snapshot_is_an_error_and_a_hidden_one_is_unknown() {
        assert_eq!(away(&OpenError::Nothing(LIVE.into())).severity, Severity::Error);
        let hidden = OpenError::Io { path: LIVE.into(), source: std::io::ErrorKind::PermissionDenied.into() };
        assert_eq!(away(&hidden).severity, Severity::Unknown);
    }
}
