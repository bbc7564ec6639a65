//! Cookies of RFC 4533 as OpenLDAP writes them: `rid=000,csn=CSN;CSN`, one CSN for each provider; and the short form that a snapshot's header keeps.

use std::collections::BTreeMap;
use std::fmt::Write;

use schema::record::Generation;

use super::entry::RawEntry;
use crate::directory::MAX_CURSOR;

/// Version of the short form.
const SHORT: u8 = 1;

/// How far a synchronisation has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cookie {
    /// The newest change of each provider, by its number.
    csns: BTreeMap<u16, Csn>,
    /// Of a server that writes something else.
    opaque: Option<Vec<u8>>,
}

/// The number of a change: `YYYYmmddHHMMSS.ffffffZ#cccccc#sss#mmmmmm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Csn {
    /// Microseconds since 1970.
    pub(super) micros: u64,
    count: u32,
    provider: u16,
    modification: u32,
}

impl Csn {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('#');
        let micros = micros(parts.next()?)?;
        let mut hex = || parts.next().and_then(|part| u32::from_str_radix(part, 16).ok());
        let (count, provider, modification) = (hex()?, hex()?, hex()?);
        let fits = count < 1 << 24 && modification < 1 << 24 && provider < 1 << 12;
        fits.then_some(Self { micros, count, provider: provider as u16, modification })
    }

    /// The number of the provider that it was written at.
    pub(super) const fn provider(self) -> u16 {
        self.provider
    }
}

impl std::fmt::Display for Csn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, fraction) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let (year, month, day) = schema::date::Date::from_days(u32::try_from(seconds / 86_400).unwrap_or(0)).civil();
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}.{fraction:06}Z#{:06x}#{:03x}#{:06x}",
            self.count, self.provider, self.modification
        )
    }
}

/// The number of the newest change of an entry: of its CSN, or where the server has none, of its time stamp.
pub(super) fn written(entry: &RawEntry) -> Option<Generation> {
    let csn = entry.text("entryCSN").and_then(|text| Csn::parse(&text)).map(|csn| csn.micros);
    csn.or_else(|| entry.text("modifyTimestamp").and_then(|text| micros(&text))).map(Generation)
}

impl Cookie {
    /// Takes in what a server sent: it may name the newest change of one provider only.
    pub(super) fn merge(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let list = text.split(',').find_map(|part| part.trim().strip_prefix("csn="));
        let parsed: Vec<Csn> = list.into_iter().flat_map(|list| list.split(';')).filter_map(Csn::parse).collect();
        if parsed.is_empty() {
            // `rid=…` alone says nothing.
            if !bytes.is_empty() && !text.starts_with("rid=") {
                self.opaque = Some(bytes.to_vec());
            }
            return;
        }
        for csn in parsed {
            let newest = self.csns.entry(csn.provider).or_insert(csn);
            *newest = csn.max(*newest);
        }
    }

    /// The newest change of each provider; `None`: nothing is known, or the server writes something else.
    pub(super) fn csns(&self) -> Option<&BTreeMap<u16, Csn>> {
        (self.opaque.is_none() && !self.csns.is_empty()).then_some(&self.csns)
    }

    /// The newest change, in microseconds since 1970.
    pub(super) fn newest(&self) -> u64 {
        self.csns.values().map(|csn| csn.micros).max().unwrap_or(0)
    }

    /// What to send; `None`: nothing is known yet.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        if self.opaque.is_some() {
            return self.opaque.clone();
        }
        let mut text = String::from("rid=000,csn=");
        for (at, csn) in self.csns.values().enumerate() {
            let _ = write!(text, "{}{csn}", if at == 0 { "" } else { ";" });
        }
        (!self.csns.is_empty()).then(|| text.into_bytes())
    }
}

/// The short form of the cookies of all bases; empty when it does not fit. `scope` is a digest of what is synchronised: a cookie of another configuration is useless.
pub(super) fn pack(cookies: &[Cookie], scope: u64) -> Vec<u8> {
    let Some(first) = cookies.first() else { return Vec::new() };
    let mut bytes = vec![SHORT];
    bytes.extend(scope.to_le_bytes());
    // Bases of one database have the same cookie.
    let same = cookies.iter().all(|cookie| cookie == first);
    for cookie in if same { cookies.get(..1).unwrap_or_default() } else { cookies } {
        if cookie.csns.is_empty() || cookie.opaque.is_some() {
            return Vec::new();
        }
        bytes.push(cookie.csns.len().min(255) as u8);
        for csn in cookie.csns.values() {
            bytes.extend(csn.micros.to_le_bytes());
            bytes.extend(csn.count.to_le_bytes().iter().take(3));
            bytes.extend(csn.provider.to_le_bytes());
            bytes.extend(csn.modification.to_le_bytes().iter().take(3));
        }
    }
    if bytes.len() > MAX_CURSOR { Vec::new() } else { bytes }
}

/// The cookies of so many bases; `None`: they are not for this.
pub(super) fn unpack(bytes: &[u8], scope: u64, bases: usize) -> Option<Vec<Cookie>> {
    if bytes.get(1..9) != Some(&scope.to_le_bytes()) {
        return None;
    }
    let cookies = unpack_any(bytes)?;
    match cookies.as_slice() {
        [only] => Some(vec![only.clone(); bases]),
        all if all.len() == bases => Some(cookies),
        _ => None,
    }
}

/// The cookies of a short form, whatever they are for; one where all are the same.
pub(super) fn unpack_any(bytes: &[u8]) -> Option<Vec<Cookie>> {
    let (head, mut rest) = bytes.split_at_checked(9)?;
    if head.first() != Some(&SHORT) {
        return None;
    }
    let mut cookies = Vec::new();
    while let [count, tail @ ..] = rest {
        let mut cookie = Cookie::default();
        let (csns, tail) = tail.split_at_checked(usize::from(*count) * 16)?;
        for csn in csns.chunks_exact(16) {
            let number = |from: usize, to: usize| {
                csn.get(from..to).unwrap_or_default().iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte))
            };
            let (micros, count, provider, modification) = (number(0, 8), number(8, 11), number(11, 13), number(13, 16));
            let csn = Csn { micros, count: count as u32, provider: provider as u16, modification: modification as u32 };
            cookie.csns.insert(csn.provider, csn);
        }
        cookies.push(cookie);
        rest = tail;
    }
    Some(cookies)
}

/// Microseconds since 1970 of a generalized time with or without a fraction (RFC 4517 §3.3.13).
pub(super) fn micros(time: &str) -> Option<u64> {
    let time = time.trim().strip_suffix('Z')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    if whole.len() != 14
        || !whole.bytes().all(|byte| byte.is_ascii_digit())
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<u64>().ok();
    let date = format!("{}-{}-{}", whole.get(..4)?, whole.get(4..6)?, whole.get(6..8)?);
    let days = u64::from(date.parse::<schema::date::Date>().ok()?.days());
    let seconds = days * 86_400 + part(8, 10)? * 3600 + part(10, 12)? * 60 + part(12, 14)?;
    let fraction: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(seconds * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "20261123045155.123456Z#000001#001#000000";
    const TWO: &str = "20261123045156.000001Z#000000#002#00000a";

    #[test]
    fn a_number_survives_the_way_to_text_and_back() {
        for text in [ONE, TWO] {
            assert_eq!(Csn::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Csn::parse("20261123045155Z#000001#001#000000").unwrap().micros % 1_000_000, 0);
        assert!(Csn::parse("yesterday#0#0#0").is_none());
    }

    #[test]
    fn cookies_of_several_providers_are_merged() {
        let mut cookie = Cookie::default();
        assert_eq!(cookie.bytes(), None);
        cookie.merge(format!("rid=123,sid=001,csn={ONE}").as_bytes());
        cookie.merge(format!("rid=123,csn={TWO}").as_bytes());
        cookie.merge(b"rid=123");
        assert_eq!(cookie.bytes().unwrap(), format!("rid=000,csn={ONE};{TWO}").into_bytes());
        assert_eq!(cookie.newest(), micros("20261123045156.000001Z").unwrap());
    }

    #[test]
    fn the_short_form_brings_them_back_for_the_same_configuration_only() {
        let mut cookie = Cookie::default();
        cookie.merge(format!("csn={ONE};{TWO}").as_bytes());
        let other = {
            let mut other = Cookie::default();
            other.merge(format!("csn={TWO}").as_bytes());
            other
        };
        for cookies in [vec![cookie.clone()], vec![cookie.clone(), cookie.clone()], vec![cookie, other]] {
            let bytes = pack(&cookies, 7);
            assert!(!bytes.is_empty() && bytes.len() <= MAX_CURSOR);
            assert_eq!(unpack(&bytes, 7, cookies.len()), Some(cookies));
            assert_eq!(unpack(&bytes, 8, 1), None);
        }
        assert_eq!(unpack(b"", 7, 1), None);
    }
}
