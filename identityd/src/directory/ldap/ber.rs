//! BER as LDAP uses it (RFC 4511 §5.1), read without trust: every length is checked, nothing recurses without a bound, nothing panics.

/// Deepest nesting: an entry has six levels, a filter that we send more, but nobody sends us filters.
const MAX_DEPTH: u32 = 12;

/// Universal tags.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The bytes are not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a message that is not LDAP: {0}")]
pub(crate) struct Malformed(pub(super) &'static str);

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    /// The identifier octet.
    pub(super) tag: u8,
    /// What is in it.
    pub(super) content: &'a [u8],
}

/// The head of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) tag: u8,
    /// Bytes of the head itself.
    pub(super) head: usize,
    /// Bytes of the content.
    pub(super) content: usize,
}

/// The head at the beginning of these bytes; `None`: there are too few of them yet.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let [tag, length, rest @ ..] = bytes else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(Malformed("a tag above 30"));
    }
    if *length < 0x80 {
        return Ok(Some(Head { tag: *tag, head: 2, content: usize::from(*length) }));
    }
    let count = usize::from(length & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed("an indefinite or absurd length"));
    }
    let Some(octets) = rest.get(..count) else { return Ok(None) };
    let content = octets.iter().fold(0_usize, |all, octet| all << 8 | usize::from(*octet));
    Ok(Some(Head { tag: *tag, head: 2 + count, content }))
}

/// Reads elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let head = head(self.0)?.ok_or(Malformed("an element without an end"))?;
        let end = head.head.checked_add(head.content).ok_or(Malformed("an absurd length"))?;
        let content = self.0.get(head.head..end).ok_or(Malformed("an element longer than what holds it"))?;
        self.0 = self.0.get(end..).unwrap_or_default();
        Ok(Some(Element { tag: head.tag, content }))
    }

    /// The next element, which must be there and have this tag.
    pub(super) fn expect(&mut self, tag: u8, what: &'static str) -> Result<Element<'a>, Malformed> {
        self.next()?.filter(|element| element.tag == tag).ok_or(Malformed(what))
    }

    /// The next element if it has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        let mut ahead = *self;
        match ahead.next()? {
            Some(element) if element.tag == tag => {
                *self = ahead;
                Ok(Some(element))
            }
            _ => Ok(None),
        }
    }
}

impl<'a> Element<'a> {
    pub(super) const fn inside(&self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The value of an INTEGER or ENUMERATED that is not negative.
    pub(super) fn number(&self) -> Result<u32, Malformed> {
        let significant = match self.content {
            [] => return Err(Malformed("a number without digits")),
            [0, rest @ ..] => rest,
            all => all,
        };
        if significant.len() > 4 || self.content.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(Malformed("a number out of range"));
        }
        Ok(significant.iter().fold(0, |all, octet| all << 8 | u32::from(*octet)))
    }

    pub(super) fn boolean(&self) -> Result<bool, Malformed> {
        self.content.first().map(|octet| *octet != 0).ok_or(Malformed("a boolean without a value"))
    }

    pub(super) fn text(&self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.content).map_err(|_| Malformed("a text that is not UTF-8"))
    }
}

/// Looks through a whole message, so that a parser without bounds can be let at it; how many elements it has.
pub(super) fn check(bytes: &[u8]) -> Result<usize, Malformed> {
    check_depth(bytes, 0)
}

fn check_depth(bytes: &[u8], depth: u32) -> Result<usize, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed("nested too deep"));
    }
    let (mut reader, mut count) = (Reader::new(bytes), 0);
    while let Some(element) = reader.next()? {
        count += 1;
        if element.tag & 0x20 != 0 {
            count += check_depth(element.content, depth + 1)?;
        }
    }
    Ok(count)
}

/// Writes an element.
pub(super) fn write(into: &mut Vec<u8>, tag: u8, content: &[u8]) {
    into.push(tag);
    match u32::try_from(content.len()).unwrap_or(u32::MAX) {
        short @ 0..=0x7f => into.push(short as u8),
        long => {
            let octets = long.to_be_bytes();
            let first = octets.iter().position(|octet| *octet != 0).unwrap_or(3);
            into.push(0x80 | (4 - first) as u8);
            into.extend(octets.iter().skip(first));
        }
    }
    into.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let mut bytes = Vec::new();
            write(&mut bytes, OCTET_STRING, &vec![7; length]);
            let element = Reader::new(&bytes).next().unwrap().unwrap();
            assert_eq!((element.tag, element.content.len()), (OCTET_STRING, length));
        }
    }

    #[test]
    fn elements_are_counted_in_all_levels() {
        let mut inside = Vec::new();
        write(&mut inside, OCTET_STRING, b"a");
        write(&mut inside, OCTET_STRING, b"");
        let mut bytes = Vec::new();
        write(&mut bytes, SEQUENCE, &inside);
        assert_eq!(check(&bytes), Ok(3));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(check(&[0x30, 0x80]).is_err());
        assert!(check(&[0x30, 0x85, 1, 1, 1, 1, 1]).is_err());
        assert!(check(&[0x30, 0x03, 0x04, 0x05, 1]).is_err());
        assert!(check(&[0x1f, 0x00]).is_err());
    }

    #[test]
    fn a_message_nested_without_end_is_refused() {
        let mut bytes = vec![4, 0];
        for _ in 0..10_000 {
            let mut outer = Vec::new();
            write(&mut outer, SEQUENCE, &bytes);
            bytes = outer;
        }
        assert_eq!(check(&bytes), Err(Malformed("nested too deep")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = check(&bytes);
            let _ = head(&bytes);
        }
    }
}
