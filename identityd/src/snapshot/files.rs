//! The file operations of publishing, each of which may be the last: a [`Gate`] is asked before every one, so that tests can end
//! a publisher anywhere.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use schema::snapshot::control::{Control, GENERATION, HEARTBEAT, SIZE, WORD};
use schema::snapshot::layout::Pair;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Asked before each operation on files; an error ends the publication there.
pub(super) trait Gate: Send + Sync {
    /// What is about to be done.
    fn pass(&self, step: Step) -> io::Result<()>;
}

/// An operation on files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A temporary file is created.
    Create,
    /// Bytes are written to it.
    Write,
    /// It, or a directory, is brought to the disk.
    Sync,
    /// It gets its name.
    Rename,
    /// The word of the control page is stored.
    Flip,
    /// An old file is removed.
    Remove,
}

/// Lets everything pass.
pub(super) struct Open;

impl Gate for Open {
    fn pass(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

/// A directory of snapshot files.
#[derive(Clone)]
pub(super) struct Room {
    path: PathBuf,
    /// Mode of its files.
    mode: u32,
    gate: Arc<dyn Gate>,
}

impl Room {
    /// Makes the directory if it is missing, with this mode; its files have the same without the execute bits.
    pub(super) fn new(path: PathBuf, directory_mode: u32, gate: Arc<dyn Gate>) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let room = Self { path, mode: directory_mode & 0o444, gate };
        room.make(directory_mode)?;
        // Whatever the umask was. On a file system that can only be read it is right from before.
        if fs::metadata(&room.path)?.permissions().mode() & 0o7777 != directory_mode {
            fs::set_permissions(&room.path, fs::Permissions::from_mode(directory_mode))?;
        }
        Ok(room)
    }

    /// Makes the directory if it is missing.
    pub(super) fn make(&self, directory_mode: u32) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        match fs::DirBuilder::new().mode(directory_mode).create(&self.path) {
            // mkdir(2) of a directory that is there says so even where nothing can be written.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Like [`Room::new`] where the directory need not be there now: a disk that is full or can only be read keeps nobody from publishing.
    pub(super) fn new_if_possible(path: PathBuf, directory_mode: u32, gate: Arc<dyn Gate>) -> Self {
        match Self::new(path.clone(), directory_mode, gate.clone()) {
            Ok(room) => room,
            Err(error) => {
                tracing::warn!(directory = %path.display(), %error, "no copy of the snapshot can be kept here now");
                Self { path, mode: directory_mode & 0o444, gate }
            }
        }
    }

    /// The same directory, made again if it is gone.
    pub(super) fn made_again(&self, directory_mode: u32) -> io::Result<Self> {
        Self::new(self.path.clone(), directory_mode, self.gate.clone())
    }

    /// Who is asked before each operation here.
    pub(super) fn gate(&self) -> Arc<dyn Gate> {
        self.gate.clone()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn path_of(&self, pair: Pair) -> PathBuf {
        self.path(&name_of(pair))
    }

    /// A new temporary file, one for each name.
    pub(super) fn create(&self, name: &str) -> io::Result<Output> {
        self.gate.pass(Step::Create)?;
        let path = self.path(&format!("new.{name}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(self.mode | 0o600);
        let file = options.open(&path)?;
        Ok(Output { file, path, gate: self.gate.clone(), named: false })
    }

    /// Brings a temporary file to the disk, takes away the right to write, and gives it its name.
    pub(super) fn publish(&self, output: &mut Output, name: &str) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        output.file.set_permissions(fs::Permissions::from_mode(self.mode))?;
        self.gate.pass(Step::Sync)?;
        output.file.sync_all()?;
        self.gate.pass(Step::Rename)?;
        fs::rename(&output.path, self.path(name))?;
        output.named = true;
        self.gate.pass(Step::Sync)?;
        File::open(&self.path)?.sync_all()
    }

    /// Gives a published file the mode of this room.
    pub(super) fn set_mode(&self, pair: Pair) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path_of(pair), fs::Permissions::from_mode(self.mode))
    }

    /// Copies a file of another room, under the same name.
    pub(super) fn copy_from(&self, from: &Self, pair: Pair) -> io::Result<()> {
        self.copy(&from.open(pair)?, pair)
    }

    /// A published file, to be read from its start.
    pub(super) fn open(&self, pair: Pair) -> io::Result<File> {
        File::open(self.path_of(pair))
    }

    /// Copies an open file under the name of this pair.
    pub(super) fn copy(&self, mut source: &File, pair: Pair) -> io::Result<()> {
        let mut output = self.create(&name_of(pair))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let len = source.read(&mut buffer)?;
            if len == 0 {
                return self.publish(&mut output, &name_of(pair));
            }
            output.write_all(buffer.get(..len).unwrap_or_default())?;
        }
    }

    /// The pairs that have a file here. A base is a pair without a delta.
    pub(super) fn pairs(&self) -> io::Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pairs),
            entries => entries?,
        };
        for entry in entries {
            pairs.extend(entry?.file_name().to_str().and_then(pair_of));
        }
        Ok(pairs)
    }

    /// Removes what a publisher left behind that was ended.
    pub(super) fn remove_temporary(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("new.")) {
                self.gate.pass(Step::Remove)?;
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Removes every base and delta that belongs to none of these pairs.
    pub(super) fn sweep(&self, keep: &[Pair]) -> io::Result<()> {
        let kept = |pair: Pair| keep.iter().any(|keep| pair == *keep || pair == Pair { base: keep.base, delta: 0 });
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if pair_of(name).is_some_and(|pair| !kept(pair)) {
                self.gate.pass(Step::Remove)?;
                fs::remove_file(self.path(name))?;
            }
        }
        Ok(())
    }
}

/// `base.<n>` or `delta.<n>.<m>`.
pub(super) fn name_of(pair: Pair) -> String {
    match pair.delta {
        0 => format!("base.{}", pair.base),
        delta => format!("delta.{}.{delta}", pair.base),
    }
}

pub(super) fn pair_of(name: &str) -> Option<Pair> {
    let pair = match name.split_once('.')? {
        ("base", base) => Pair { base: base.parse().ok()?, delta: 0 },
        ("delta", numbers) => {
            let (base, delta) = numbers.split_once('.')?;
            Pair { base: base.parse().ok()?, delta: delta.parse().ok()? }
        }
        _ => return None,
    };
    // Not `base.07` and not `delta.1.0`.
    (name_of(pair) == name).then_some(pair)
}

/// A temporary file. Dropped before it got its name, it is removed: on a full disk the next try, under another number, finds the room again.
pub struct Output {
    file: File,
    path: PathBuf,
    gate: Arc<dyn Gate>,
    named: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.named && self.gate.pass(Step::Remove).is_ok() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gate.pass(Step::Write)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}

impl Seek for Output {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A file mapped for reading.
pub(super) struct Mapped {
    at: *mut core::ffi::c_void,
    len: usize,
}

// SAFETY: memory that is only read, until the one owner unmaps it.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(&File::open(path)?)
    }

    pub(super) fn of(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping where the kernel likes.
        let at = unsafe { mmap(core::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, 0) }?;
        Ok(Self { at, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped as long as self, `len` bytes, and a published file is never written.
        unsafe { core::slice::from_raw_parts(self.at.cast(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody afterwards.
        let _ = unsafe { munmap(self.at, self.len) };
    }
}

/// The control page, mapped for writing.
pub(super) struct ControlPage {
    at: *mut core::ffi::c_void,
    /// Device and inode.
    file: (u64, u64),
    gate: Arc<dyn Gate>,
}

// SAFETY: only its atomics are written.
unsafe impl Send for ControlPage {}
// SAFETY: as above.
unsafe impl Sync for ControlPage {}

impl ControlPage {
    /// The page of a room, and what its fixed part says. `None`: there is none, or not one of ours.
    pub(super) fn open(room: &Room) -> Option<(Self, Control)> {
        let file = File::options().read(true).write(true).open(room.path("control")).ok()?;
        let mut fixed = [0; Control::FIXED];
        (&file).read_exact(&mut fixed).ok()?;
        let control = Control::parse(&fixed).ok()?;
        let whole = file.metadata().is_ok_and(|metadata| metadata.len() == SIZE as u64);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the kernel likes.
        let at = unsafe { mmap(core::ptr::null_mut(), SIZE, access, MapFlags::SHARED, &file, 0) };
        let file = file.metadata().map(|found| (found.dev(), found.ino())).ok()?;
        whole.then_some((Self { at: at.ok()?, file, gate: room.gate.clone() }, control))
    }

    /// Puts a new page, with nothing published, in the place of whatever is there.
    pub(super) fn create(room: &Room, control: Control) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let mut output = room.create("control")?;
        output.write_all(&control.to_page())?;
        room.publish(&mut output, "control")?;
        // The one file that is written later, by its owner.
        output.file.set_permissions(fs::Permissions::from_mode(room.mode | 0o200))?;
        let page = Self::open(room).map(|(page, _)| page);
        page.ok_or_else(|| {
            io::Error::other("the control page just written is not there; is another identityd running?")
        })
    }

    /// Whether it is what readers find in this room.
    pub(super) fn is_in(&self, room: &Room) -> bool {
        fs::metadata(room.path("control")).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }

    pub(super) fn word(&self) -> u64 {
        self.at(WORD).load(Ordering::Acquire)
    }

    /// Makes a pair the current one.
    pub(super) fn flip(&self, word: u64, generation: u64) -> io::Result<()> {
        self.gate.pass(Step::Flip)?;
        self.at(WORD).store(word, Ordering::Release);
        self.at(GENERATION).store(generation, Ordering::Release);
        Ok(())
    }

    pub(super) fn heartbeat(&self, seconds: u64) {
        self.at(HEARTBEAT).store(seconds, Ordering::Release);
    }

    fn at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= SIZE && offset.is_multiple_of(8));
        let word = self.at.cast::<u8>().wrapping_add(offset).cast::<AtomicU64>();
        // SAFETY: one of three aligned places in a mapped page, only ever accessed as atomics.
        unsafe { &*word }
    }
}

impl Drop for ControlPage {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody afterwards.
        let _ = unsafe { munmap(self.at, SIZE) };
    }
}
