//! `identityctl snapshot restore`: the copy on the disk becomes what readers map, before anybody else is there to do it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use schema::paths::DIRECTORY_DB;
use schema::snapshot::control::Visibility;
use schema::snapshot::verify;
use serde_json::json;

use super::super::output::Output;
use super::super::{CliError, Exit};
use super::{KEPT, LIVE};
use crate::cli::session::configured;
use crate::config;
use crate::directory::sqlite::AsOwner;
use crate::snapshot::open::{Published, Raw};
use crate::snapshot::{Places, PublishError, Publisher};

/// What the unit makes with RuntimeDirectory=; made here for hosts without systemd.
const RUN: &str = "/run/identityd";

pub(super) fn run(output: &Output) -> Result<Exit, CliError> {
    if configured().is_ok_and(|config| config.snapshot.mode == config::SnapshotMode::Lookup) {
        // Nobody would maintain it.
        output.show(&json!({"restored": false, "generation": null}), |_| {
            "[snapshot] mode is \"lookup\": nothing to restore.\n".to_owned()
        })?;
        return Ok(Exit::Ok);
    }
    let generation = match usable() {
        Some(generation) => {
            let said = format!("{LIVE} is whole (generation {generation}); nothing to restore.\n");
            output.show(&json!({"restored": false, "generation": generation}), |_| said)?;
            return Ok(Exit::Ok);
        }
        None => restore()?,
    };
    match generation {
        Some(generation) => {
            let said = format!("{LIVE} is restored (generation {generation}). identityd continues from there.\n");
            output.show(&json!({"restored": true, "generation": generation}), |_| said)?;
        }
        None => {
            // A first boot is no failure: identityd reads the whole directory.
            let said = format!("{KEPT} holds no snapshot yet; identityd publishes when it has read the directory.\n");
            output.show(&json!({"restored": false, "generation": null}), |_| said)?;
        }
    }
    Ok(Exit::Ok)
}

/// The generation of what readers can map already: all bytes of it are right.
fn usable() -> Option<u64> {
    let published = Published::open(Path::new(LIVE)).ok()?;
    published.state?;
    for part in std::iter::once(&published.base).chain(&published.delta) {
        verify::checksum(Raw::open(&part.path).ok()?.bytes()).ok()?;
    }
    Some(published.snapshot().ok()?.generation())
}

fn restore() -> Result<Option<u64>, CliError> {
    may()?;
    make_run()?;
    let visibility = visibility()?;
    let _lock = lock()?;
    let _owner = AsOwner::of(Path::new(DIRECTORY_DB)).map_err(|error| CliError::Unavailable(error.to_string()))?;
    let places = Places { live: LIVE.into(), kept: KEPT.into(), visibility };
    let publisher =
        Publisher::open(places, None).map_err(|error: PublishError| CliError::Refused(error.to_string()))?;
    Ok(publisher.generation())
}

/// The lock of identityd itself, on its state directory: two publishers would remove each other's files.
fn lock() -> Result<std::fs::File, CliError> {
    let state = schema::paths::STATE_DIR;
    let directory = std::fs::File::open(state).map_err(CliError::io(format!("open {state}")))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(CliError::Refused("identityd runs and publishes itself: identityctl status says how it is".into()))
        }
        Err(error) => Err(CliError::io(format!("lock {state}"))(error.into())),
    }
}

fn visibility() -> Result<Visibility, CliError> {
    Ok(match configured()?.snapshot.visibility {
        config::Visibility::Open => Visibility::Open,
        config::Visibility::Members => Visibility::Members,
    })
}

/// Says "as root" in place of "permission denied".
fn may() -> Result<(), CliError> {
    let me = rustix::process::geteuid().as_raw();
    match std::fs::metadata(schema::paths::STATE_DIR).map(|found| found.uid()) {
        Ok(owner) if me != 0 && me != owner => {
            Err(CliError::Refused("only root and identityd can restore the snapshot; run it as root".into()))
        }
        _ => Ok(()),
    }
}

/// At an early boot /run is empty.
fn make_run() -> Result<(), CliError> {
    if Path::new(RUN).exists() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(schema::paths::STATE_DIR)
        .map_err(CliError::io(format!("look at {}", schema::paths::STATE_DIR)))?;
    let made = std::fs::DirBuilder::new().mode(0o755).create(RUN);
    made.and_then(|()| std::os::unix::fs::lchown(RUN, Some(owner.uid()), Some(owner.gid())))
        .map_err(CliError::io(format!("make {RUN}")))
}
