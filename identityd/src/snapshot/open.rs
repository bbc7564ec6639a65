//! Opens what is published, for looking: nothing is changed, nobody is disturbed, and files that somebody else controls are met with care.

use super::files::{Mapped, name_of, pair_of};
use schema::snapshot::control::{Control, GENERATION, HEARTBEAT, NOTHING, RETIRED, SIZE, WORD};
use schema::snapshot::layout::{Defect, FileKind, Header, Pair};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::View;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A publisher removes a pair one publication after it stopped being current: who looks in between looks again.
const TRIES: u32 = 20;

/// Why something cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {defect}")]
    Defect {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        defect: Defect,
    },
    /// No snapshot is there.
    #[error("{0}: no snapshot is published here")]
    Nothing(PathBuf),
}

/// A base or delta.
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// Its checked header.
    pub header: Header,
    file: Mapped,
}

/// What the control page says at one moment.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// The fixed part.
    pub control: Control,
    /// The current pair, as [`State::pair`] reads it.
    pub word: u64,
    /// Seconds of `CLOCK_MONOTONIC`.
    pub heartbeat: u64,
    /// Of the pair.
    pub generation: u64,
}

/// A base, and its delta where there is one.
pub struct Published {
    /// Where they are.
    pub directory: PathBuf,
    /// What the control page says; `None`: there is none, as beside the copy on the disk.
    pub state: Option<State>,
    /// Every entry.
    pub base: Part,
    /// What has changed since.
    pub delta: Option<Part>,
}

impl Part {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = map(path)?;
        let header = Header::parse(file.bytes()).map_err(|defect| OpenError::Defect { path: path.into(), defect })?;
        Ok(Self { path: path.into(), header, file })
    }

    /// Where the directory's feed goes on, beside the generation.
    #[must_use]
    pub fn cursor(&self) -> &[u8] {
        self.header.cursor(self.file.bytes())
    }

    /// A view on it.
    ///
    /// # Errors
    /// [`OpenError::Defect`].
    pub fn view(&self) -> Result<View<'_>, OpenError> {
        let wrong = || OpenError::Defect { path: self.path.clone(), defect: Defect::Length };
        View::new(self.file.bytes(), &self.header).ok_or_else(wrong)
    }
}

impl State {
    /// Reads a control page.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        let wrong = |defect| OpenError::Defect { path: path.into(), defect };
        let mut page = Vec::with_capacity(SIZE);
        regular(path).map_err(io)?.take(SIZE as u64 + 1).read_to_end(&mut page).map_err(io)?;
        if page.len() != SIZE {
            return Err(wrong(Defect::Length));
        }
        let control = Control::parse(page.first_chunk().ok_or_else(|| wrong(Defect::Short))?).map_err(wrong)?;
        let word =
            |at: usize| page.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word));
        Ok(Self { control, word: word(WORD), heartbeat: word(HEARTBEAT), generation: word(GENERATION) })
    }

    /// The current pair. `None`: nothing is published, or the page is out of use.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        (self.word != NOTHING && self.word != RETIRED).then(|| Pair::from_word(self.word))
    }
}

impl Published {
    /// Opens the current pair of a directory; without a control page the newest pair whose headers fit.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let control = directory.join("control");
        if !control.exists() {
            return Self::newest(directory);
        }
        let mut tries = 0;
        loop {
            let state = State::read(&control)?;
            let pair = state.pair().ok_or_else(|| OpenError::Nothing(directory.into()))?;
            tries += 1;
            match Self::pair(directory, pair) {
                Ok((base, delta)) => return Ok(Self { directory: directory.into(), state: Some(state), base, delta }),
                Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && tries < TRIES => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A base alone.
    #[must_use]
    pub fn of_base(base: Part) -> Self {
        let directory = base.path.parent().unwrap_or(Path::new("")).into();
        Self { directory, state: None, base, delta: None }
    }

    /// The two as one directory.
    ///
    /// # Errors
    /// [`OpenError::Defect`].
    pub fn snapshot(&self) -> Result<Snapshot<'_>, OpenError> {
        let delta = self.delta.as_ref().map(Part::view).transpose()?;
        let wrong = |defect| OpenError::Defect { path: self.newest_part().path.clone(), defect };
        Snapshot::new(self.base.view()?, delta).map_err(wrong)
    }

    /// The delta, else the base.
    #[must_use]
    pub fn newest_part(&self) -> &Part {
        self.delta.as_ref().unwrap_or(&self.base)
    }

    fn newest(directory: &Path) -> Result<Self, OpenError> {
        let mut pairs = names(directory)?.iter().filter_map(|name| pair_of(name)).collect::<Vec<_>>();
        pairs.sort_unstable_by(|one, other| other.cmp(one));
        let mut first = None;
        for pair in pairs {
            match Self::pair(directory, pair) {
                Ok((base, delta)) => return Ok(Self { directory: directory.into(), state: None, base, delta }),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| OpenError::Nothing(directory.into())))
    }

    fn pair(directory: &Path, pair: Pair) -> Result<(Part, Option<Part>), OpenError> {
        let part = |pair: Pair| {
            let part = Part::open(&directory.join(name_of(pair)))?;
            let kind = if pair.delta == 0 { FileKind::Base } else { FileKind::Delta };
            let right = part.header.pair == pair && part.header.kind == kind;
            if right { Ok(part) } else { Err(OpenError::Defect { path: part.path, defect: Defect::Foreign }) }
        };
        let base = part(Pair { delta: 0, ..pair })?;
        let delta = (pair.delta != 0).then(|| part(pair)).transpose()?;
        if let Some(delta) = &delta {
            let foreign = |defect| OpenError::Defect { path: delta.path.clone(), defect };
            base.header.check_delta(&delta.header).map_err(foreign)?;
        }
        Ok((base, delta))
    }
}

/// A file mapped as it is, whatever is in it.
pub struct Raw(Mapped);

impl Raw {
    /// Opens it.
    ///
    /// # Errors
    /// [`OpenError::Io`]; [`OpenError::Defect`] for an empty one.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        map(path).map(Self)
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The names of the files in a directory, sorted.
///
/// # Errors
/// [`OpenError::Io`].
pub fn names(directory: &Path) -> Result<Vec<String>, OpenError> {
    let io = |source| OpenError::Io { path: directory.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        names.extend(entry.map_err(io)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// The pair that a file name stands for: `base.<n>`, `delta.<n>.<m>`.
#[must_use]
pub fn pair_of_name(name: &str) -> Option<Pair> {
    pair_of(name)
}

fn map(path: &Path) -> Result<Mapped, OpenError> {
    let file = regular(path).map_err(|source| OpenError::Io { path: path.into(), source })?;
    Mapped::of(&file).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::Defect { path: path.into(), defect: Defect::Short },
        _ => OpenError::Io { path: path.into(), source },
    })
}

/// Opens a regular file. The directory may belong to a captured daemon: no link to elsewhere is followed, no pipe waited for.
fn regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}
