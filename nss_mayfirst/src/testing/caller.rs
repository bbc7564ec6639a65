//! libc's side of a call: a buffer that ends where memory ends, and an answer read the way a program reads it.

use std::ffi::{CStr, CString, c_char, c_int};

/// What a call gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `enum nss_status`.
    pub(crate) status: c_int,
    /// `*errnop`; [`UNTOUCHED`] when nothing was written there.
    pub(crate) errno: c_int,
    /// The entry as a line of its file; none unless the status is success.
    pub(crate) line: Option<String>,
}

/// errno before each call.
pub(crate) const UNTOUCHED: c_int = 4321;

/// The three that come up all the time.
pub(crate) fn not_found() -> Answer {
    Answer { status: 0, errno: libc::ENOENT, line: None }
}

pub(crate) fn too_small() -> Answer {
    Answer { status: -2, errno: libc::ERANGE, line: None }
}

pub(crate) fn unavailable(errno: c_int) -> Answer {
    Answer { status: -1, errno, line: None }
}

pub(crate) fn found(line: &str) -> Answer {
    Answer { status: 1, errno: UNTOUCHED, line: Some(line.into()) }
}

/// The end of a list.
pub(crate) fn end() -> Answer {
    Answer { status: 0, errno: UNTOUCHED, line: None }
}

type ByName<E> = unsafe extern "C" fn(*const c_char, *mut E, *mut c_char, usize, *mut c_int) -> c_int;
type ById<E> = unsafe extern "C" fn(u32, *mut E, *mut c_char, usize, *mut c_int) -> c_int;

/// Calls `getXXnam_r` with a buffer of `len` bytes.
pub(crate) fn by_name<E: Line>(symbol: ByName<E>, name: &str, len: usize) -> Answer {
    let name = CString::new(name).unwrap();
    // SAFETY: what glibc would hand over.
    call(len, |entry, buffer, errno| unsafe { symbol(name.as_ptr(), entry, buffer, len, errno) })
}

/// Calls `getXXid_r` with a buffer of `len` bytes.
pub(crate) fn by_id<E: Line>(symbol: ById<E>, id: u32, len: usize) -> Answer {
    // SAFETY: what glibc would hand over.
    call(len, |entry, buffer, errno| unsafe { symbol(id, entry, buffer, len, errno) })
}

/// Runs a call on a struct, a guarded buffer and an errno.
pub(crate) fn call<E: Line>(len: usize, call: impl FnOnce(*mut E, *mut c_char, *mut c_int) -> c_int) -> Answer {
    let guarded = Guarded::new(len);
    // SAFETY: all zero is a valid value of these structs.
    let mut entry: E = unsafe { std::mem::zeroed() };
    let mut errno = UNTOUCHED;
    let status = call(&mut entry, guarded.start(), &mut errno);
    guarded.assert_intact();
    let line = (status == 1).then(|| entry.line(&guarded));
    Answer { status, errno, line }
}

const PAGE: usize = 4096;
const PAGES: usize = 3;
const GUARD: u8 = 0xa5;

/// A buffer with no memory after its end and known bytes before its start, whose alignment changes with its length.
pub(crate) struct Guarded {
    map: *mut u8,
    len: usize,
}

impl Guarded {
    fn new(len: usize) -> Self {
        assert!(len < PAGE * (PAGES - 1));
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), PAGE * PAGES, access, kind, -1, 0) }.cast::<u8>();
        // SAFETY: inside the mapping.
        unsafe { map.write_bytes(GUARD, PAGE * (PAGES - 1)) };
        // SAFETY: the last page of the mapping.
        assert_eq!(unsafe { libc::mprotect(map.wrapping_add(PAGE * (PAGES - 1)).cast(), PAGE, libc::PROT_NONE) }, 0);
        Self { map, len }
    }

    fn start(&self) -> *mut c_char {
        self.map.wrapping_add(PAGE * (PAGES - 1) - self.len).cast()
    }

    fn assert_intact(&self) {
        let before = PAGE * (PAGES - 1) - self.len;
        // SAFETY: inside the mapping.
        let bytes = unsafe { std::slice::from_raw_parts(self.map, before) };
        assert!(bytes.iter().all(|byte| *byte == GUARD), "written before the buffer");
    }

    fn holds<T>(&self, at: *const T) -> bool {
        let start = self.start().addr();
        at.is_aligned() && (start..start + self.len).contains(&at.addr())
    }

    fn text(&self, at: *const c_char) -> String {
        assert!(self.holds(at), "a string outside the buffer");
        // SAFETY: inside the buffer; without a NUL the guard page would end the test.
        unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { libc::munmap(self.map.cast(), PAGE * PAGES) };
    }
}

/// An entry as a line of its file.
pub(crate) trait Line {
    fn line(&self, buffer: &Guarded) -> String;
}

impl Line for libc::passwd {
    fn line(&self, buffer: &Guarded) -> String {
        let text = |at| buffer.text(at);
        format!(
            "{}:{}:{}:{}:{}:{}:{}",
            text(self.pw_name),
            text(self.pw_passwd),
            self.pw_uid,
            self.pw_gid,
            text(self.pw_gecos),
            text(self.pw_dir),
            text(self.pw_shell)
        )
    }
}

impl Line for libc::group {
    fn line(&self, buffer: &Guarded) -> String {
        let mut members = Vec::new();
        let mut at: *const *mut c_char = self.gr_mem;
        loop {
            assert!(buffer.holds(at), "the array of members is outside the buffer or not aligned");
            // SAFETY: inside the buffer and aligned.
            let member = unsafe { *at };
            if member.is_null() {
                break;
            }
            members.push(buffer.text(member));
            at = at.wrapping_add(1);
        }
        format!("{}:{}:{}:{}", buffer.text(self.gr_name), buffer.text(self.gr_passwd), self.gr_gid, members.join(","))
    }
}

impl Line for libc::spwd {
    fn line(&self, buffer: &Guarded) -> String {
        let days = |value: libc::c_long| if value == -1 { String::new() } else { value.to_string() };
        format!(
            "{}:{}:{}:{}:{}:{}:{}:{}:",
            buffer.text(self.sp_namp),
            buffer.text(self.sp_pwdp),
            days(self.sp_lstchg),
            days(self.sp_min),
            days(self.sp_max),
            days(self.sp_warn),
            days(self.sp_inact),
            days(self.sp_expire)
        )
    }
}
