//! The four files as they were before accounts moved, with the names of the lines that were taken out. One folder for each time, numbered.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::{self, Files, Lines, Sort};
use crate::cli::CliError;

/// Root's, beside what the wiring script keeps.
pub(super) const FOLDER: &str = "/var/lib/identityd-setup/accounts";
/// The names of the lines that were taken out and not put back yet.
const TAKEN: &str = "taken.json";

/// One of them.
#[derive(Debug)]
pub(super) struct Backup {
    pub(super) folder: PathBuf,
    /// What was taken out of them and not put back.
    pub(super) taken: Lines,
}

impl Backup {
    /// Keeps the files; on the disk when it returns.
    ///
    /// # Errors
    /// Nothing may be changed then.
    pub(super) fn create(files: &Files, taken: &Lines) -> Result<Self, CliError> {
        let root = Path::new(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(CliError::io(format!("make {FOLDER}")))?;
        let next = numbers(root)?.last().map_or(1, |last| last + 1);
        let backup = Self { folder: root.join(next.to_string()), taken: taken.clone() };
        backup.fill(files).map_err(CliError::io(format!("write {}", backup.folder.display())))?;
        Ok(backup)
    }

    fn fill(&self, files: &Files) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.folder)?;
        for (sort, file) in files.iter() {
            write(&self.folder.join(sort.name()), &file.bytes())?;
        }
        self.note()?;
        let root = self.folder.parent().unwrap_or(&self.folder);
        for folder in [self.folder.as_path(), root] {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Writes down what is still taken out.
    pub(super) fn note(&self) -> io::Result<()> {
        let new = self.folder.join("taken.json.new");
        write(&new, &serde_json::to_vec_pretty(&self.taken)?)?;
        fs::rename(&new, self.folder.join(TAKEN))
    }

    /// Nothing came of it.
    pub(super) fn discard(self) {
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// All of which something has not been put back, the newest first.
    ///
    /// # Errors
    /// One cannot be read.
    pub(super) fn all() -> Result<Vec<Self>, CliError> {
        let root = Path::new(FOLDER);
        let mut all = Vec::new();
        for number in numbers(root)?.into_iter().rev() {
            let folder = root.join(number.to_string());
            let path = folder.join(TAKEN);
            let read = match fs::read(&path) {
                // It ended before it was complete: nothing was changed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                read => read.and_then(|bytes| Ok(serde_json::from_slice::<Lines>(&bytes)?)),
            };
            let taken = read.map_err(CliError::io(format!("read {}", path.display())))?;
            if !taken.is_empty() {
                all.push(Self { folder, taken });
            }
        }
        Ok(all)
    }

    /// One of its files as it was.
    pub(super) fn file(&self, sort: Sort) -> Result<files::File, CliError> {
        let path = self.folder.join(sort.name());
        let bytes = fs::read(&path).map_err(CliError::io(format!("read {}", path.display())))?;
        Ok(files::File::new(sort, &bytes))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn numbers(root: &Path) -> Result<Vec<u32>, CliError> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(CliError::io(format!("read {}", root.display())))?,
    };
    let mut numbers: Vec<u32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}
