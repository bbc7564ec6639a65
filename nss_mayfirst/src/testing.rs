//! What the unit tests share: a peer that speaks frames over a private socket, and private files of accounts; in `caller`, libc's side.

pub(crate) mod caller;
pub(crate) mod published;
pub(crate) mod records;

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use schema::wire::frame::{HEADER, Header, Op, Status};

use crate::local::filter::Filter;
use crate::snapshot::Reader;
use crate::source::{FULL_MS, Patience};

/// Where a thread's look-ups go.
#[derive(Clone)]
struct Seams {
    directory: PathBuf,
    patience: &'static Patience,
    reader: &'static Reader,
    filter: &'static Filter,
}

thread_local! {
    static SEAMS: RefCell<Option<Seams>> = const { RefCell::new(None) };
}

/// The socket of this thread's [`World`].
pub(crate) fn with_socket_path<T>(then: impl FnOnce(&CStr) -> T) -> T {
    then(&path(|directory| directory.join("socket")))
}

/// This thread's file in the place of `/etc/…`.
pub(crate) fn local_file(real: &CStr) -> CString {
    path(|directory| directory.join(real.to_str().unwrap().trim_start_matches("/etc/")))
}

/// This thread's snapshot.
pub(crate) fn reader() -> &'static Reader {
    SEAMS.with_borrow(|seams| seams.as_ref().expect("a World").reader)
}

/// This thread's filter of local accounts.
pub(crate) fn filter() -> &'static Filter {
    SEAMS.with_borrow(|seams| seams.as_ref().expect("a World").filter)
}

/// This thread's patience.
pub(crate) fn with_patience<T>(then: impl FnOnce(&Patience) -> T) -> T {
    SEAMS.with_borrow(|seams| then(seams.as_ref().expect("a World").patience))
}

fn path(make: impl FnOnce(&Path) -> PathBuf) -> CString {
    SEAMS.with_borrow(|seams| {
        CString::new(make(&seams.as_ref().expect("a World").directory).into_os_string().into_encoded_bytes()).unwrap()
    })
}

/// A request as a peer sees it.
pub(crate) struct Asked {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

impl Asked {
    /// The next request; `None` when the other side has gone.
    pub(crate) fn read(stream: &mut UnixStream) -> Option<Self> {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).ok()?;
        let header = Header::parse(&header).unwrap();
        let mut payload = vec![0; header.len as usize];
        stream.read_exact(&mut payload).ok()?;
        Some(Self { header, payload })
    }

    pub(crate) fn op(&self) -> Op {
        Op::from_raw(self.header.kind).expect("a known operation")
    }

    pub(crate) fn id(&self) -> u32 {
        u32::from_le_bytes(self.payload.as_slice().try_into().expect("an id"))
    }

    /// A whole reply frame to this request.
    pub(crate) fn reply(&self, status: Status, payload: &[u8]) -> Vec<u8> {
        let mut frame = Header::reply(status, self.header.id, payload.len() as u32).to_bytes().to_vec();
        frame.extend_from_slice(payload);
        frame
    }
}

/// A private directory with a socket and files of accounts; this thread's look-ups go there until it is dropped.
pub(crate) struct World {
    seams: Seams,
    asked: Arc<AtomicUsize>,
    stop: Arc<Mutex<bool>>,
    peer: Option<std::thread::JoinHandle<()>>,
}

impl World {
    /// No daemon, no local accounts.
    pub(crate) fn empty() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("nss_mayfirst-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        // More than a call has in earnest: a test machine may have too much to do. Tests of patience say `in_earnest`.
        let patience = Box::leak(Box::new(Patience::new(20 * FULL_MS)));
        let path = format!("{}/snapshot/", directory.display());
        let reader = Box::leak(Box::new(Reader::new(Box::leak(CString::new(path).unwrap().into_boxed_c_str()))));
        let seams = Seams { directory, patience, reader, filter: Box::leak(Box::new(Filter::new())) };
        SEAMS.set(Some(seams.clone()));
        Self { seams, asked: Arc::default(), stop: Arc::default(), peer: None }
    }

    /// A peer that sends these bytes in answer to each request, then closes.
    pub(crate) fn answering(answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Self {
        Self::serving(move |asked, stream| {
            // The other side may have gone already: a buffer was too small.
            let _ = stream.write_all(&answer(asked));
        })
    }

    /// A peer that does as it likes with each connection.
    pub(crate) fn serving(serve: impl Fn(&Asked, &mut UnixStream) + Send + 'static) -> Self {
        let mut world = Self::empty();
        let listener = UnixListener::bind(world.seams.directory.join("socket")).unwrap();
        let (stop, count) = (Arc::clone(&world.stop), Arc::clone(&world.asked));
        world.peer = Some(std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if *stop.lock().unwrap() {
                    break;
                }
                let Some(asked) = Asked::read(&mut stream) else {
                    continue;
                };
                count.fetch_add(1, Ordering::SeqCst);
                serve(&asked, &mut stream);
            }
        }));
        world
    }

    /// The same with an `/etc/passwd` and an `/etc/group` of this content.
    pub(crate) fn with_local(self, content: &str) -> Self {
        for file in ["passwd", "group"] {
            std::fs::write(self.seams.directory.join(file), content).unwrap();
        }
        self
    }

    /// Snapshot files beside the socket. Nothing is published yet.
    pub(crate) fn publishing(&self) -> published::Published {
        published::Published::at(self.seams.directory.join("snapshot"))
    }

    /// The same with the patience of the product.
    pub(crate) fn in_earnest(mut self) -> Self {
        self.seams.patience = Box::leak(Box::new(Patience::new(FULL_MS)));
        self.enter();
        self
    }

    /// Lets another thread in: its look-ups go here too.
    pub(crate) fn enter(&self) {
        SEAMS.set(Some(self.seams.clone()));
    }

    /// How many questions have come.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on nobody answers.
    pub(crate) fn hang_up(&self) {
        std::fs::rename(self.socket(), self.socket().with_file_name("away")).unwrap();
    }

    /// Where the socket is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.seams.directory.join("socket")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        if let Some(peer) = self.peer.take() {
            let _ = UnixStream::connect(self.socket())
                .or_else(|_| UnixStream::connect(self.socket().with_file_name("away")));
            let _ = peer.join();
        }
        SEAMS.set(None);
        let _ = std::fs::remove_dir_all(&self.seams.directory);
    }
}
