//! The frame: a header of 24 bytes and a payload.
//!
//! | at | type | field |
//! |---|---|---|
//! | 0 | u32 | magic `MFI1` |
//! | 4 | u16 | version |
//! | 6 | u16 | in a request its [`Op`], in a reply its [`Status`] |
//! | 8 | u64 | id, chosen by the client, repeated in the reply |
//! | 16 | u32 | bytes of payload |
//! | 20 | u32 | in a request: milliseconds that the client will wait; in a reply 0 |
//!
//! All little-endian.

/// The first four bytes of every frame.
pub const MAGIC: u32 = u32::from_le_bytes(*b"MFI1");
/// This version of the protocol. A peer of another version gets [`Status::Version`].
pub const VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER: usize = 24;
/// Longest payload of a request.
pub const MAX_REQUEST: u32 = 64 * 1024;
/// Longest payload of a reply: the largest group and some.
pub const MAX_REPLY: u32 = 16 * 1024 * 1024;

/// What a request asks. The payload of the look-ups is the bare name, or the id as `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Op {
    /// Name → packed passwd.
    PasswdByName = 1,
    /// uid → packed passwd.
    PasswdByUid = 2,
    /// The uid after which to go on (0: from the start) → [`list`](crate::wire::frame#lists).
    PasswdList = 3,
    /// Name → packed group.
    GroupByName = 4,
    /// gid → packed group.
    GroupByGid = 5,
    /// The gid after which to go on → list.
    GroupList = 6,
    /// Name → packed shadow. For root only.
    ShadowByName = 7,
    /// The uid after which to go on → list. For root only.
    ShadowList = 8,
    /// Name → packed gids, the primary group first.
    Initgroups = 9,
    /// A postcard [`Request`](crate::wire::message) → postcard `Reply`.
    Message = 64,
}

impl Op {
    /// The operation of this number.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::PasswdByName,
            2 => Self::PasswdByUid,
            3 => Self::PasswdList,
            4 => Self::GroupByName,
            5 => Self::GroupByGid,
            6 => Self::GroupList,
            7 => Self::ShadowByName,
            8 => Self::ShadowList,
            9 => Self::Initgroups,
            64 => Self::Message,
            _ => return None,
        })
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// The payload is the answer.
    Found = 0,
    /// There is no such entry: certain.
    Absent = 1,
    /// Could not be found out (the directory is away, too much to do, out of time). Never to be taken for [`Status::Absent`].
    Unknown = 2,
    /// The peer may not ask this.
    Denied = 3,
    /// The request could not be read.
    Malformed = 4,
    /// Too many connections or requests of this peer.
    Busy = 5,
    /// The other side speaks another version.
    Version = 6,
    /// Interim: accepted and being worked on; the real reply follows with the same id.
    Working = 7,
}

impl Status {
    /// The status of this number.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            0 => Self::Found,
            1 => Self::Absent,
            2 => Self::Unknown,
            3 => Self::Denied,
            4 => Self::Malformed,
            5 => Self::Busy,
            6 => Self::Version,
            7 => Self::Working,
            _ => return None,
        })
    }
}

/// A header, of a request or of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Version of the sender.
    pub version: u16,
    /// [`Op`] or [`Status`] as a number.
    pub kind: u16,
    /// Chosen by the client.
    pub id: u64,
    /// Bytes of payload that follow.
    pub len: u32,
    /// Milliseconds that the client will wait (request), 0 (reply).
    pub wait_ms: u32,
}

/// Bytes that are not a frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMagic;

impl core::fmt::Display for BadMagic {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the bytes are not a frame of identityd's protocol")
    }
}

impl core::error::Error for BadMagic {}

impl Header {
    /// A request of this version.
    #[must_use]
    pub const fn request(op: Op, id: u64, len: u32, wait_ms: u32) -> Self {
        Self { version: VERSION, kind: op as u16, id, len, wait_ms }
    }

    /// A reply of this version.
    #[must_use]
    pub const fn reply(status: Status, id: u64, len: u32) -> Self {
        Self { version: VERSION, kind: status as u16, id, len, wait_ms: 0 }
    }

    /// Reads a header. Version, kind and length are for the caller to judge.
    ///
    /// # Errors
    /// [`BadMagic`].
    pub const fn parse(bytes: &[u8; HEADER]) -> Result<Self, BadMagic> {
        let [m0, m1, m2, m3, v0, v1, k0, k1, i0, i1, i2, i3, i4, i5, i6, i7, l0, l1, l2, l3, w0, w1, w2, w3] = *bytes;
        if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC {
            return Err(BadMagic);
        }
        Ok(Self {
            version: u16::from_le_bytes([v0, v1]),
            kind: u16::from_le_bytes([k0, k1]),
            id: u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            wait_ms: u32::from_le_bytes([w0, w1, w2, w3]),
        })
    }

    /// The header as bytes.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; HEADER] {
        let [m0, m1, m2, m3] = MAGIC.to_le_bytes();
        let [v0, v1] = self.version.to_le_bytes();
        let [k0, k1] = self.kind.to_le_bytes();
        let [i0, i1, i2, i3, i4, i5, i6, i7] = self.id.to_le_bytes();
        let [l0, l1, l2, l3] = self.len.to_le_bytes();
        let [w0, w1, w2, w3] = self.wait_ms.to_le_bytes();
        [m0, m1, m2, m3, v0, v1, k0, k1, i0, i1, i2, i3, i4, i5, i6, i7, l0, l1, l2, l3, w0, w1, w2, w3]
    }
}

/// The head of a list reply.
///
/// # Lists
/// `u32` id to go on after (0: this was the end), `u32` count, then for each entry `u32` length and its packed record, in
/// ascending order of id. So a listing that goes on over several requests names no entry twice and leaves none out that was there all
/// the while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListHead {
    /// The id to ask with for the next page; 0: there is none.
    pub next_after: u32,
    /// Entries in this page.
    pub count: u32,
}

impl ListHead {
    /// Bytes of the head.
    pub const SIZE: usize = 8;

    /// Splits a page into its head and its entries.
    #[must_use]
    pub fn split(page: &[u8]) -> Option<(Self, &[u8])> {
        let (next_after, rest) = page.split_first_chunk::<4>()?;
        let (count, entries) = rest.split_first_chunk::<4>()?;
        Some((Self { next_after: u32::from_le_bytes(*next_after), count: u32::from_le_bytes(*count) }, entries))
    }

    /// The head as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let [n0, n1, n2, n3] = self.next_after.to_le_bytes();
        let [c0, c1, c2, c3] = self.count.to_le_bytes();
        [n0, n1, n2, n3, c0, c1, c2, c3]
    }

    /// Takes one entry off the front; the packed record and the rest.
    #[must_use]
    pub fn next_entry(entries: &[u8]) -> Option<(&[u8], &[u8])> {
        let (len, rest) = entries.split_first_chunk::<4>()?;
        rest.split_at_checked(u32::from_le_bytes(*len) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_way_to_bytes_and_back() {
        let header = Header { version: 7, kind: 9, id: 0x0102_0304_0506_0708, len: 77, wait_ms: 200 };
        assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
    }

    #[test]
    fn other_protocols_are_noticed() {
        assert_eq!(Header::parse(b"GET / HTTP/1.1\r\nHost: x\r"), Err(BadMagic));
    }
}
