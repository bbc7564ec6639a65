//! What a hash would cost, read before it is computed: libcrypt would work on `$2b$31$…` for days.

use schema::hash::{Method, PasswordHash};

/// bcrypt: 2^14 rounds are some 0.8 s.
const BCRYPT: u32 = 14;
/// sha256crypt, sha512crypt: a second or so.
const SHA_ROUNDS: u32 = 5_000_000;
/// yescrypt, gost-yescrypt, scrypt: bytes of memory (Debian's default is 16 MiB).
const MEMORY: u64 = 256 * 1024 * 1024;
/// Their parallelism and time factor.
const FACTOR: u32 = 4;
/// bsdicrypt (725 is its default).
const BSDI_ROUNDS: u32 = 500_000;

/// Whether the hash may be computed.
///
/// # Errors
/// What is too much, or cannot be read.
pub(super) fn check(hash: &PasswordHash) -> Result<(), String> {
    let text = hash.expose();
    let too_much = |what: String| Err(format!("its {what} is more than this server computes; set a new password"));
    match hash.method() {
        Method::Bcrypt => match text.get(4..6).and_then(|cost| cost.parse::<u32>().ok()) {
            Some(cost) if cost <= BCRYPT => Ok(()),
            Some(cost) => too_much(format!("bcrypt cost {cost}")),
            None => Err("its bcrypt cost cannot be read".into()),
        },
        Method::Sha256crypt | Method::Sha512crypt => {
            match text.get(3..).and_then(|rest| rest.strip_prefix("rounds=")) {
                None => Ok(()),
                Some(rest) => match rest.split('$').next().and_then(|rounds| rounds.parse::<u32>().ok()) {
                    Some(rounds) if rounds <= SHA_ROUNDS => Ok(()),
                    _ => too_much("number of rounds".into()),
                },
            }
        }
        Method::Yescrypt => yescrypt(text.get(3..).unwrap_or_default()),
        Method::GostYescrypt => yescrypt(text.get(4..).unwrap_or_default()),
        Method::Scrypt => scrypt(text.get(3..).unwrap_or_default().as_bytes()),
        Method::Bsdicrypt => match fixed(text.as_bytes().get(1..5).unwrap_or_default()) {
            Some(rounds) if rounds <= BSDI_ROUNDS => Ok(()),
            _ => too_much("number of rounds".into()),
        },
        Method::Md5crypt | Method::Descrypt => Ok(()),
        Method::Locked => Err("it is locked".into()),
    }
}

/// The parameters of yescrypt: flavour, log2 N, r, and a mask of what follows, each a number of variable length
/// (libxcrypt, `alg-yescrypt-common.c`).
fn yescrypt(text: &str) -> Result<(), String> {
    let bad = || "its yescrypt parameters cannot be read".to_owned();
    let params = text.split('$').next().unwrap_or_default().as_bytes();
    let mut numbers = Numbers(params);
    numbers.next(0).ok_or_else(bad)?;
    let n = numbers.next(1).ok_or_else(bad)?;
    let r = numbers.next(1).ok_or_else(bad)?;
    let (mut p, mut t) = (1, 0);
    if !numbers.0.is_empty() {
        let have = numbers.next(1).ok_or_else(bad)?;
        if have & 1 != 0 {
            p = numbers.next(2).ok_or_else(bad)?;
        }
        if have & 2 != 0 {
            t = numbers.next(1).ok_or_else(bad)?;
        }
        if have & !3 != 0 {
            return Err(
                "its yescrypt parameters use a hash upgrade or a ROM, which this server does not compute".into()
            );
        }
    }
    memory(n, r, p, t)
}

/// `$7$`: one character log2 N, five of r, five of p.
fn scrypt(text: &[u8]) -> Result<(), String> {
    let bad = || "its scrypt parameters cannot be read".to_owned();
    let n = text.get(..1).and_then(fixed).ok_or_else(bad)?;
    let r = text.get(1..6).and_then(fixed).ok_or_else(bad)?;
    let p = text.get(6..11).and_then(fixed).ok_or_else(bad)?;
    memory(n, r, p, 0)
}

fn memory(n_log2: u32, r: u32, p: u32, t: u32) -> Result<(), String> {
    let bytes =
        1_u64.checked_shl(n_log2).and_then(|n| n.checked_mul(u64::from(r))).and_then(|blocks| blocks.checked_mul(128));
    match bytes {
        Some(bytes) if n_log2 < 32 && bytes <= MEMORY && p <= FACTOR && t <= FACTOR => Ok(()),
        _ => Err("its cost is more than this server computes; set a new password".into()),
    }
}

/// Characters of crypt's base 64 as a number, least significant first.
fn fixed(text: &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for (at, byte) in text.iter().enumerate() {
        value |= digit(*byte)?.checked_shl(6 * u32::try_from(at).ok()?)?;
    }
    (!text.is_empty()).then_some(value)
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'.' => 0,
        b'/' => 1,
        b'0'..=b'9' => byte - b'0' + 2,
        b'A'..=b'Z' => byte - b'A' + 12,
        b'a'..=b'z' => byte - b'a' + 38,
        _ => return None,
    }))
}

/// Numbers whose first character says how many follow.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self, min: u32) -> Option<u32> {
        let (first, mut rest) = self.0.split_first()?;
        let first = digit(*first)?;
        let (mut start, mut end, mut bits, mut value) = (0_u32, 47_u32, 0_u32, min);
        while first > end {
            value = value.checked_add((end + 1 - start).checked_shl(bits)?)?;
            start = end + 1;
            end = start + (62 - end) / 2;
            bits += 6;
        }
        value = value.checked_add((first - start).checked_shl(bits)?)?;
        while bits > 0 {
            let (next, left) = rest.split_first()?;
            bits -= 6;
            value = value.checked_add(digit(*next)?.checked_shl(bits)?)?;
            rest = left;
        }
        self.0 = rest;
        Some(value)
    }
}
