//! A packed record into libc's struct: the head by the stack, the strings straight into the caller's buffer, checked where they lie.

use core::cell::Cell;
use core::ffi::{c_char, c_long};
use core::mem::MaybeUninit;

use schema::name;
use schema::packed::{GroupHead, PackedError, PasswdHead, ShadowHead};
use schema::snapshot::Answer;
use schema::snapshot::pair::{Snapshot, Spots};
use schema::snapshot::view::{Group, Login};

use crate::buffer::Buffer;
use crate::source::{Fault, Record};
use crate::status::{Failure, Outcome};

/// What was asked, so that an answer about something else is noticed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// By name.
    Name(&'a [u8]),
    /// By uid or gid.
    Id(u32),
    /// The one with the lowest id above this: the next of a list, which last was at these spots.
    After(u32, &'a Cell<Spots>),
}

impl<'a> Asked<'a> {
    /// What is known of the entry before it is found.
    pub(crate) fn identity(self) -> Identity<'a> {
        match self {
            Self::Name(name) => Identity { name, id: None, gid: None },
            Self::Id(id) => Identity { name: &[], id: Some(id), gid: None },
            Self::After(..) => Identity { name: &[], id: None, gid: None },
        }
    }

    fn check(self, name: &[u8], id: Option<u32>) -> Result<(), Fault> {
        let right = match self {
            Self::Name(asked) => asked == name,
            Self::Id(asked) => id == Some(asked),
            Self::After(asked, _) => id.is_none_or(|id| id > asked),
        };
        if right { Ok(()) } else { Err(Fault::Protocol) }
    }
}

/// The name and the id of an entry, to look for among the local ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'b> {
    /// Its name.
    pub(crate) name: &'b [u8],
    /// Its uid or gid; a shadow entry has none.
    pub(crate) id: Option<u32>,
    /// Its primary group; only a passwd entry has one.
    pub(crate) gid: Option<u32>,
}

/// A struct of libc's that a record becomes.
pub(crate) trait Entry: Sized {
    /// Whether the snapshot holds such entries.
    const PUBLISHED: bool;

    /// The entry as it lies in the snapshot.
    type Mapped<'s>;

    /// Finds it there.
    fn find<'s>(snapshot: &Snapshot<'s>, asked: Asked<'_>) -> Answer<Self::Mapped<'s>>;

    /// As [`Self::unpack`], of what was found. Copied first, and checked in the caller's buffer: whoever has captured identityd can write into what
    /// is mapped, between a check there and the copy.
    ///
    /// Into a place of the caller's: a struct that is handed on by value is copied at each return, a third of a look-up's time.
    fn fill<'b>(
        mapped: &Self::Mapped<'_>,
        buffer: Buffer<'b>,
        asked: Asked<'_>,
        into: &mut MaybeUninit<Self>,
    ) -> Outcome<Identity<'b>>;

    /// Fills the struct and the buffer. Nothing is written when the buffer is too small.
    fn unpack<'b>(record: &mut impl Record, buffer: Buffer<'b>, asked: Asked<'_>) -> Outcome<(Self, Identity<'b>)>;
}

impl Entry for libc::passwd {
    const PUBLISHED: bool = true;
    type Mapped<'s> = Login<'s>;

    #[inline(always)]
    fn find<'s>(snapshot: &Snapshot<'s>, asked: Asked<'_>) -> Answer<Login<'s>> {
        match asked {
            Asked::Name(name) => snapshot.login_by_name(name),
            Asked::Id(uid) => snapshot.login_by_uid(uid),
            Asked::After(uid, spots) => moved(spots, |spots| snapshot.next_login(uid, spots)),
        }
    }

    #[inline]
    fn fill<'b>(
        login: &Self::Mapped<'_>,
        buffer: Buffer<'b>,
        asked: Asked<'_>,
        into: &mut MaybeUninit<Self>,
    ) -> Outcome<Identity<'b>> {
        let head = &login.head;
        let strings = crate::sys::copy(login.strings, buffer.strings(login.strings.len())?);
        let base: *mut c_char = strings.as_mut_ptr().cast();
        let starts = head.starts();
        let name = field(strings, starts[0], head.name_len);
        // The rule of names was kept by the one that was asked for.
        let good = head.keeps_rules(strings) && (matches!(asked, Asked::Name(_)) || name::is_valid(name));
        if !good {
            return Err(Fault::Protocol.into());
        }
        asked.check(name, Some(head.uid))?;
        into.write(passwd_of(head, base, starts));
        Ok(Identity { name, id: Some(head.uid), gid: Some(head.gid) })
    }

    fn unpack<'b>(record: &mut impl Record, buffer: Buffer<'b>, asked: Asked<'_>) -> Outcome<(Self, Identity<'b>)> {
        let head = PasswdHead::parse(&record.head::<{ PasswdHead::SIZE }>()?)?;
        let len = record.exactly(head.strings_len())?;
        let strings = record.read(buffer.strings(len)?)?;
        let [name, password, gecos, dir, shell] = head.check_strings(strings)?;
        let base: *mut c_char = strings.as_mut_ptr().cast();
        let identity = Identity { name: field(strings, name, head.name_len), id: Some(head.uid), gid: Some(head.gid) };
        asked.check(identity.name, identity.id)?;
        Ok((passwd_of(&head, base, [name, password, gecos, dir, shell]), identity))
    }
}

impl Entry for libc::group {
    const PUBLISHED: bool = true;
    type Mapped<'s> = Group<'s>;

    #[inline(always)]
    fn find<'s>(snapshot: &Snapshot<'s>, asked: Asked<'_>) -> Answer<Group<'s>> {
        match asked {
            Asked::Name(name) => snapshot.group_by_name(name),
            Asked::Id(gid) => snapshot.group_by_gid(gid),
            Asked::After(gid, spots) => moved(spots, |spots| snapshot.next_group(gid, spots)),
        }
    }

    #[inline]
    fn fill<'b>(
        group: &Self::Mapped<'_>,
        buffer: Buffer<'b>,
        asked: Asked<'_>,
        into: &mut MaybeUninit<Self>,
    ) -> Outcome<Identity<'b>> {
        let head = &group.head;
        let members = (head.members as usize).saturating_add(1);
        let (pointers, space) = buffer.pointers_and_strings(members, group.strings.len())?;
        let strings = crate::sys::copy(group.strings, space);
        let base: *mut c_char = strings.as_mut_ptr().cast();
        let [name, password] = head.point_at_members(strings, base, pointers)?;
        let identity = Identity { name: field(strings, name, head.name_len), id: Some(head.gid), gid: None };
        asked.check(identity.name, identity.id)?;
        into.write(Self {
            gr_name: base.wrapping_add(name),
            gr_passwd: base.wrapping_add(password),
            gr_gid: head.gid,
            gr_mem: pointers.as_mut_ptr().cast(),
        });
        Ok(identity)
    }

    fn unpack<'b>(record: &mut impl Record, buffer: Buffer<'b>, asked: Asked<'_>) -> Outcome<(Self, Identity<'b>)> {
        let head = GroupHead::parse(&record.head::<{ GroupHead::SIZE }>()?)?;
        let len = record.exactly(head.strings_len())?;
        let members = (head.members as usize).saturating_add(1);
        let (pointers, strings) = buffer.pointers_and_strings(members, len)?;
        let strings = record.read(strings)?;
        let base: *mut c_char = strings.as_mut_ptr().cast();
        let [name, password] = head.point_at_members(strings, base, pointers)?;
        let identity = Identity { name: field(strings, name, head.name_len), id: Some(head.gid), gid: None };
        asked.check(identity.name, identity.id)?;
        let entry = Self {
            gr_name: base.wrapping_add(name),
            gr_passwd: base.wrapping_add(password),
            gr_gid: head.gid,
            gr_mem: pointers.as_mut_ptr().cast(),
        };
        Ok((entry, identity))
    }
}

impl Entry for libc::spwd {
    /// Everybody reads the snapshot.
    const PUBLISHED: bool = false;
    type Mapped<'s> = core::convert::Infallible;

    fn find<'s>(_: &Snapshot<'s>, _: Asked<'_>) -> Answer<Self::Mapped<'s>> {
        Answer::Unusable
    }

    fn fill<'b>(
        mapped: &Self::Mapped<'_>,
        _: Buffer<'b>,
        _: Asked<'_>,
        _: &mut MaybeUninit<Self>,
    ) -> Outcome<Identity<'b>> {
        match *mapped {}
    }

    fn unpack<'b>(record: &mut impl Record, buffer: Buffer<'b>, asked: Asked<'_>) -> Outcome<(Self, Identity<'b>)> {
        let head = ShadowHead::parse(&record.head::<{ ShadowHead::SIZE }>()?)?;
        let len = record.exactly(head.strings_len())?;
        let strings = record.read(buffer.strings(len)?)?;
        let [name, hash] = head.check_strings(strings)?;
        let base: *mut c_char = strings.as_mut_ptr().cast();
        let identity = Identity { name: field(strings, name, head.name_len), id: None, gid: None };
        asked.check(identity.name, identity.id)?;
        let entry = Self {
            sp_namp: base.wrapping_add(name),
            sp_pwdp: base.wrapping_add(hash),
            sp_lstchg: c_long::from(head.last_change),
            sp_min: c_long::from(head.min),
            sp_max: c_long::from(head.max),
            sp_warn: c_long::from(head.warn),
            sp_inact: c_long::from(head.inactive),
            sp_expire: c_long::from(head.expire),
            // "Reserved": glibc's files gives all ones for an empty field (nss/nss_files/files-spwd.c).
            sp_flag: core::ffi::c_ulong::MAX,
        };
        Ok((entry, identity))
    }
}

#[inline(always)]
fn moved<T>(spots: &Cell<Spots>, next: impl FnOnce(&mut Spots) -> T) -> T {
    let mut now = spots.get();
    let found = next(&mut now);
    spots.set(now);
    found
}

#[inline(always)]
fn passwd_of(head: &PasswdHead, base: *mut c_char, [name, password, gecos, dir, shell]: [usize; 5]) -> libc::passwd {
    libc::passwd {
        pw_name: base.wrapping_add(name),
        pw_passwd: base.wrapping_add(password),
        pw_uid: head.uid,
        pw_gid: head.gid,
        pw_gecos: base.wrapping_add(gecos),
        pw_dir: base.wrapping_add(dir),
        pw_shell: base.wrapping_add(shell),
    }
}

/// What every [`Record`] can do with its two primitives.
trait RecordExt: Record {
    fn head<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        if self.left() < N {
            return Err(Fault::Protocol);
        }
        let mut head = [MaybeUninit::uninit(); N];
        let bytes = self.read(&mut head)?;
        <[u8; N]>::try_from(&*bytes).map_err(|_| Fault::Protocol)
    }

    fn exactly(&self, len: usize) -> Result<usize, Fault> {
        if self.left() == len { Ok(len) } else { Err(Fault::Protocol) }
    }
}

impl<R: Record> RecordExt for R {}

#[inline(always)]
fn field(strings: &[u8], at: usize, len: u16) -> &[u8] {
    strings.get(at..).and_then(|rest| rest.get(..usize::from(len))).unwrap_or_default()
}

impl From<PackedError> for Failure {
    fn from(_: PackedError) -> Self {
        Fault::Protocol.into()
    }
}
