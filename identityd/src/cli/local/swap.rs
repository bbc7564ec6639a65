//! Puts new files in the places of the old ones. All of them are complete and on the disk before the first is renamed; each old one is kept as a link, made when it is
//! renamed over, until all is over: going back needs no room.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::files::{Files, Sort};
use crate::cli::CliError;

/// A file may be replaced in two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    First,
    Second,
}

/// New files that are ready.
#[derive(Debug)]
pub(super) struct Swap {
    etc: PathBuf,
    step: Step,
    ready: Vec<Sort>,
    /// Those in place, in that order.
    done: Vec<Sort>,
}

impl Swap {
    /// Writes those that differ beside their places.
    ///
    /// # Errors
    /// A full disk, for one. Nothing has changed.
    pub(super) fn prepare(etc: &Path, step: Step, before: &Files, after: &Files) -> Result<Self, CliError> {
        let mut swap = Self { etc: etc.into(), step, ready: Vec::new(), done: Vec::new() };
        for (sort, file) in after.iter() {
            // What an interrupted run has left.
            swap.remove(sort);
            if before.get(sort) == Some(file) {
                continue;
            }
            swap.ready.push(sort);
            swap.write(sort, &file.bytes())
                .map_err(CliError::io(format!("write {}", swap.complete(sort).display())))?;
        }
        Ok(swap)
    }

    fn write(&self, sort: Sort, bytes: &[u8]) -> io::Result<()> {
        let path = sort.path(&self.etc);
        let before = fs::metadata(&path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.complete(sort))?;
        file.write_all(bytes)?;
        fchown(&file, Some(before.uid()), Some(before.gid()))?;
        file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
        file.sync_all()
    }

    /// Puts these into their places, one right after the other, as far as they differ. On the disk when it returns.
    pub(super) fn replace(&mut self, sorts: &[Sort]) -> Result<(), CliError> {
        for sort in sorts.iter().copied().filter(|sort| self.ready.contains(sort)).collect::<Vec<_>>() {
            let path = sort.path(&self.etc);
            let failed = CliError::io(format!("replace {}", path.display()));
            let replaced =
                fs::hard_link(&path, self.before(sort)).and_then(|()| fs::rename(self.complete(sort), &path));
            replaced.map_err(failed)?;
            self.done.push(sort);
        }
        self.sync().map_err(CliError::io(format!("write {}", self.etc.display())))
    }

    /// Puts the old ones back, the last first.
    ///
    /// # Errors
    /// Which could not be; its link is kept then.
    pub(super) fn undo(&mut self) -> Result<(), CliError> {
        while let Some(sort) = self.done.last().copied() {
            let path = sort.path(&self.etc);
            if let Err(error) = fs::rename(self.before(sort), &path) {
                self.ready.retain(|ready| !self.done.contains(ready));
                let old = self.before(sort);
                return Err(CliError::io(format!(
                    "put {} back (do it by hand: mv {} {})",
                    path.display(),
                    old.display(),
                    path.display()
                ))(error));
            }
            self.done.pop();
        }
        self.sync().map_err(CliError::io(format!("write {}", self.etc.display())))
    }

    /// Puts both steps back, the second one first.
    ///
    /// # Errors
    /// As for [`undo`](Self::undo).
    pub(super) fn undo_both(first: &mut Self, second: &mut Self) -> Result<(), CliError> {
        // The first goes on all the same: it has what was there before both.
        let undone = (second.undo(), first.undo());
        undone.0.and(undone.1)
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.etc)?.sync_all()
    }

    fn complete(&self, sort: Sort) -> PathBuf {
        self.beside(sort, "new")
    }

    fn before(&self, sort: Sort) -> PathBuf {
        self.beside(sort, "old")
    }

    fn beside(&self, sort: Sort, what: &str) -> PathBuf {
        let step = if self.step == Step::First { "" } else { "-2" };
        self.etc.join(format!("{}.identityctl-{what}{step}", sort.name()))
    }

    fn remove(&self, sort: Sort) {
        for path in [self.complete(sort), self.before(sort)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    eprintln!("identityctl: warning: remove {}: {error}", path.display());
                }
                _ => {}
            }
        }
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        for sort in self.ready.clone() {
            self.remove(sort);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::File;
    use super::*;

    #[test]
    fn files_keep_owner_and_mode_and_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shadow");
        fs::write(&path, "ana:*:::::::\nben:*:::::::\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let before = Files::of([File::new(Sort::Shadow, &fs::read(&path).unwrap())]);
        let after = Files::of([File::new(Sort::Shadow, b"ben:*:::::::\n")]);
        let mut swap = Swap::prepare(dir.path(), Step::First, &before, &after).unwrap();
        swap.replace(&[Sort::Shadow]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"ben:*:::::::\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        swap.undo().unwrap();
        drop(swap);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// /etc/group with the first text, and the two steps to the others.
    fn two_steps(etc: &Path, texts: [&str; 3]) -> (Swap, Swap) {
        fs::write(etc.join("group"), texts[0]).unwrap();
        let [before, middle, after] = texts.map(|text| Files::of([File::new(Sort::Group, text.as_bytes())]));
        let first = Swap::prepare(etc, Step::First, &before, &middle).unwrap();
        (first, Swap::prepare(etc, Step::Second, &middle, &after).unwrap())
    }

    #[test]
    fn two_steps_are_undone_through_the_state_between_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("group");
        let texts = ["ana:x:2001:\nweb:x:3000:ana\n", "web:x:3000:ana\n", ""];
        let (mut first, mut second) = two_steps(dir.path(), texts);
        first.replace(&[Sort::Group]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), texts[1]);
        second.replace(&[Sort::Group]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), texts[2]);
        second.undo().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), texts[1]);
        Swap::undo_both(&mut first, &mut second).unwrap();
        drop((first, second));
        assert_eq!(fs::read_to_string(&path).unwrap(), texts[0]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_undone_keeps_the_links_of_both_steps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("group");
        let texts = ["one:x:2001:\ntwo:x:2002:\n", "two:x:2002:\n", ""];
        let (mut first, mut second) = two_steps(dir.path(), texts);
        first.replace(&[Sort::Group]).unwrap();
        second.replace(&[Sort::Group]).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("in the way")).unwrap();
        assert!(Swap::undo_both(&mut first, &mut second).is_err());
        drop((first, second));
        assert_eq!(fs::read_to_string(dir.path().join("group.identityctl-old")).unwrap(), texts[0]);
        assert_eq!(fs::read_to_string(dir.path().join("group.identityctl-old-2")).unwrap(), texts[1]);
    }
}
