//! The mapped files of one generation: control page, base, delta.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use schema::snapshot::control::{self, Control, HEARTBEAT, NOTHING, RETIRED, WORD};
use schema::snapshot::layout::{Header, Pair};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::view::View;

use crate::sys::{Errno, Mapping};

/// How often the word is read again because its files were gone before they could be opened.
const TRIES: u32 = 4;
/// Bytes of the longest path: the directory, `delta.`, two numbers, NUL.
const PATH: usize = 128;

/// A base and its delta, and the control page that named them.
pub(super) struct Generation {
    word: u64,
    control: Mapping,
    /// `None`: given back, see [`Generation::emptied`].
    base: Option<File>,
    delta: Option<File>,
}

/// A mapped file and its checked header.
#[derive(Clone, Copy)]
struct File {
    mapping: Mapping,
    header: Header,
}

impl Generation {
    /// Maps what the directory holds now, taking over from `old` what is the same. `None`: nothing is there that can be used.
    pub(super) fn open(directory: &CStr, old: Option<&Self>) -> Option<Self> {
        let control = match old {
            Some(old) if old.current_word() != RETIRED && old.is_at(directory) != Some(false) => old.control,
            _ => match open_control(directory) {
                Ok(control) => control,
                Err(errno) => return old.filter(|_| errno == Errno::EACCES).and_then(Self::emptied),
            },
        };
        let new = Self::open_pair(directory, control, old);
        if new.is_none() && old.is_none_or(|old| old.control != control) {
            // SAFETY: mapped just now, and shown to nobody.
            unsafe { control.unmap() };
        }
        new
    }

    /// What is left when its page was retired for one that is not for us to read: the page alone, and no answers. What everybody could read once is not
    /// kept, and no longer takes memory.
    fn emptied(&self) -> Option<Self> {
        let retired = self.base.is_some() && self.current_word() == RETIRED;
        retired.then_some(Self { word: RETIRED, control: self.control, base: None, delta: None })
    }

    /// Whether it is what its control page names now.
    #[inline]
    pub(super) fn is_current(&self) -> bool {
        self.current_word() == self.word
    }

    fn open_pair(directory: &CStr, control: Mapping, old: Option<&Self>) -> Option<Self> {
        // SAFETY: mapped; the caller unmaps it only after this.
        let word_at = unsafe { control.word(WORD) }?;
        for _ in 0..TRIES {
            let word = word_at.load(Ordering::Acquire);
            if word == NOTHING || word == RETIRED {
                return None;
            }
            let pair = Pair::from_word(word);
            let same_base = old.filter(|old| old.control == control).and_then(|old| old.base.as_ref());
            let same_base = same_base.filter(|base| base.header.pair.base == pair.base);
            let base = match same_base {
                Some(base) => Some(*base),
                None => File::open(&path(directory, b"base.", pair.base, None)?),
            };
            let delta = match pair.delta {
                1.. if base.is_some() => File::open(&path(directory, b"delta.", pair.base, Some(pair.delta))?),
                _ => None,
            };
            let complete = base.as_ref().is_some_and(|base| {
                let right_base = base.header.pair == Pair { base: pair.base, delta: 0 };
                right_base
                    && delta.as_ref().map_or(pair.delta == 0, |delta| {
                        delta.header.pair == pair && base.header.check_delta(&delta.header).is_ok()
                    })
            });
            if complete {
                return Some(Self { word, control, base, delta });
            }
            if let Some(delta) = delta {
                // SAFETY: mapped just now, and shown to nobody.
                unsafe { delta.mapping.unmap() };
            }
            if let Some(base) = base.as_ref().filter(|_| same_base.is_none()) {
                // SAFETY: as above.
                unsafe { base.mapping.unmap() };
            }
            // Gone or another's: the word may have moved on meanwhile.
        }
        None
    }

    /// The word that named this pair.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        self.word
    }

    /// The word of now.
    #[inline(always)]
    pub(super) fn current_word(&self) -> u64 {
        self.load(WORD)
    }

    /// When the page was last maintained, in seconds of CLOCK_MONOTONIC.
    #[inline(always)]
    pub(super) fn heartbeat(&self) -> u64 {
        self.load(HEARTBEAT)
    }

    /// Whether the control page is still the one at its path.
    pub(super) fn is_at(&self, directory: &CStr) -> Option<bool> {
        self.control.is_at(CStr::from_bytes_until_nul(&control_path(directory)?).ok()?)
    }

    /// Base and delta together.
    #[inline(always)]
    pub(super) fn snapshot(&self) -> Option<Snapshot<'_>> {
        let delta = match &self.delta {
            Some(delta) => Some(delta.view()?),
            None => None,
        };
        Some(Snapshot::checked_before(self.base.as_ref()?.view()?, delta))
    }

    #[inline(always)]
    fn load(&self, at: usize) -> u64 {
        // SAFETY: mapped as long as self is in use.
        unsafe { self.control.word(at) }.map_or(NOTHING, |word: &AtomicU64| word.load(Ordering::Acquire))
    }
}

/// Unmaps what the generation that stays does not share.
pub(super) fn release(old: Generation, stays: Option<&Generation>) {
    let shared = |mapping: Mapping| {
        stays.is_some_and(|stays| {
            stays.control == mapping
                || stays.base.as_ref().is_some_and(|base| base.mapping == mapping)
                || stays.delta.as_ref().is_some_and(|delta| delta.mapping == mapping)
        })
    };
    let mappings =
        [Some(old.control), old.base.as_ref().map(|base| base.mapping), old.delta.as_ref().map(|delta| delta.mapping)];
    for mapping in mappings.into_iter().flatten().filter(|mapping| !shared(*mapping)) {
        // SAFETY: the hand-over gives a generation to be released when nobody uses it, and the one that stays does not share this.
        unsafe { mapping.unmap() };
    }
}

impl File {
    fn open(path: &[u8; PATH]) -> Option<Self> {
        let mapping = Mapping::open(CStr::from_bytes_until_nul(path).ok()?).ok()?;
        // SAFETY: mapped, used only here; a published file is never written.
        let header = Header::parse(unsafe { mapping.bytes() });
        match header {
            Ok(header) => Some(Self { mapping, header }),
            Err(_) => {
                // SAFETY: mapped just now, and shown to nobody.
                unsafe { mapping.unmap() };
                None
            }
        }
    }

    #[inline(always)]
    fn view(&self) -> Option<View<'_>> {
        // SAFETY: mapped as long as self is in use; a published file is never written.
        View::new(unsafe { self.mapping.bytes() }, &self.header)
    }
}

fn open_control(directory: &CStr) -> Result<Mapping, Errno> {
    let path = control_path(directory).ok_or(Errno::EINVAL)?;
    let mapping = Mapping::open(CStr::from_bytes_until_nul(&path).map_err(|_| Errno::EINVAL)?)?;
    // SAFETY: mapped; the fixed part is never written after publication.
    let fixed = unsafe { mapping.front::<{ Control::FIXED }>() };
    if mapping.len() == control::SIZE && fixed.is_some_and(|fixed| Control::parse(fixed).is_ok()) {
        return Ok(mapping);
    }
    // SAFETY: mapped just now, and shown to nobody.
    unsafe { mapping.unmap() };
    Err(Errno::EPROTO)
}

fn control_path(directory: &CStr) -> Option<[u8; PATH]> {
    join([directory.to_bytes(), b"control", b"", b"", b""])
}

/// `base.<base>` or `delta.<base>.<delta>` in the directory.
fn path(directory: &CStr, stem: &[u8], base: u32, delta: Option<u32>) -> Option<[u8; PATH]> {
    let (base, delta) = (decimal(base), delta.map(decimal));
    let dot: &[u8] = if delta.is_some() { b"." } else { b"" };
    let delta = delta.as_ref().map_or(&[][..], |delta| trim(delta));
    join([directory.to_bytes(), stem, trim(&base), dot, delta])
}

/// Puts the parts together, with a NUL behind.
fn join(parts: [&[u8]; 5]) -> Option<[u8; PATH]> {
    let mut path = [0; PATH];
    let mut at = 0_usize;
    for part in parts {
        let end = at.checked_add(part.len())?;
        if end >= PATH {
            return None;
        }
        path.get_mut(at..end)?.copy_from_slice(part);
        at = end;
    }
    Some(path)
}

/// Ten digits.
fn decimal(mut number: u32) -> [u8; 10] {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.wrapping_add(number.wrapping_rem(10) as u8);
        number = number.wrapping_div(10);
    }
    digits
}

/// Without leading zeros.
fn trim(digits: &[u8; 10]) -> &[u8] {
    let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(9);
    digits.get(first..).unwrap_or_default()
}
