//! The product's place in a machine: the service user, nsswitch, PAM, sshd. The script that the product ships for it runs once for a
//! stage; what it wrote is one more layer of all machines.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Mosh, Place};
use crate::places;
use crate::skip::{self, Refusal};

const SETUP: &str = "/usr/lib/identityd/setup";
/// `tests/stage` writes a new word into it each time.
const STAMP: &str = ".staged";

impl Mosh {
    /// Boots a machine with the product installed and wired.
    pub(super) fn boot_wired(place: &Place) -> Result<Self, Refusal> {
        if let Some(obstacle) = skip::obstacle() {
            return Err(Refusal::CannotRun(obstacle));
        }
        let stage = places::stage();
        let trees = [stage.clone(), places::test_root()];
        let Ok(stamp) = fs::read_to_string(stage.join(STAMP)) else {
            return Err(Refusal::Failed(format!("there is no product in {}: run tests/stage", stage.display())));
        };
        match layer(&trees, &stamp)? {
            Some(layer) => Self::boot(&[&[layer], &trees[..]].concat(), None, place),
            None => {
                let mosh = Self::boot(&trees, None, place)?;
                mosh.wire_up();
                Ok(mosh)
            }
        }
    }

    fn wire_up(&self) {
        self.run([SETUP, "enable"]).success();
    }
}

/// The layer with what the set-up of this stage writes; made now if need be. `None` where an overlay cannot write to this disk, as on top of
/// another overlay.
fn layer(trees: &[PathBuf], stamp: &str) -> Result<Option<PathBuf>, Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::Failed(format!("cannot make the layer in {}: {error}", places::scratch().display()))
    };
    let prepared = fs::read_to_string(places::test_root().join(".prepared")).unwrap_or_default();
    let layers = places::scratch().join("wired");
    let layer = layers.join(format!("{}-{}", prepared.trim(), stamp.trim()));
    fs::create_dir_all(&layers).map_err(failed)?;
    // One test makes it, the others wait. The lock goes with the descriptor.
    let lock = File::create(places::scratch().join("wired.lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if layer.join("done").exists() {
        return Ok(Some(layer.join("upper")));
    }
    // Of an earlier stage, or of a run that was interrupted.
    for old in fs::read_dir(&layers).map_err(failed)?.flatten() {
        fs::remove_dir_all(old.path()).map_err(failed)?;
    }
    fs::create_dir(&layer).map_err(failed)?;
    match make(trees, &layer) {
        Ok(()) => fs::write(layer.join("done"), "").map_err(failed)?,
        Err(Refusal::Failed(reason)) if reason.contains("make an overlay on") => {
            eprintln!("each test machine will be wired by itself, which is slower: {reason}");
            return Ok(None);
        }
        Err(other) => return Err(other),
    }
    Ok(Some(layer.join("upper")))
}

fn make(trees: &[PathBuf], layer: &Path) -> Result<(), Refusal> {
    let mosh = Mosh::boot(trees, Some(layer), &Place::default())?;
    mosh.wire_up();
    Ok(())
}
