//! The names of logins by uid, while the whole directory is read: its groups list members by uid.

use schema::name::MAX_LEN;

/// Added page by page in order of uid: 16 MB for a million of eight bytes. A uid beyond 32 bits is none, and of a disputed uid, which is there twice, one name is found: groups with such a member are read
/// one by one.
#[derive(Default)]
pub(super) struct Names {
    uids: Vec<u32>,
    /// Where each name ends.
    ends: Vec<u32>,
    text: Vec<u8>,
}

impl Names {
    /// Adds the names of one page, in whatever order. A name that is too long is none.
    pub(super) fn add<'a>(&mut self, page: impl Iterator<Item = (i64, &'a [u8])>) {
        let mut page: Vec<_> = page.filter(|(_, name)| name.len() <= MAX_LEN).collect();
        page.sort_by_key(|(uid, _)| *uid);
        for (uid, name) in page {
            let end = u32::try_from(self.text.len() + name.len());
            if let (Ok(uid), Ok(end)) = (u32::try_from(uid), end) {
                self.uids.push(uid);
                self.ends.push(end);
                self.text.extend_from_slice(name);
            }
        }
    }

    /// The name of this uid. Of one that is there twice, which is disputed, any.
    pub(super) fn of(&self, uid: u32) -> Option<&[u8]> {
        let at = self.guessed(uid).or_else(|| self.uids.binary_search(&uid).ok())?;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.text.get(start..*self.ends.get(at)? as usize)
    }

    /// Where a uid is if they are spread evenly, as those are that were given out one after the other.
    fn guessed(&self, uid: u32) -> Option<usize> {
        let (low, high) = (*self.uids.first()?, *self.uids.last()?);
        let share = u64::from(uid.checked_sub(low)?) * (self.uids.len() as u64 - 1);
        let at = usize::try_from(share.checked_div(u64::from(high.checked_sub(low)?))?).ok()?;
        (self.uids.get(at) == Some(&uid)).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &Names, uid: u32) -> Option<&str> {
        names.of(uid).map(|name| std::str::from_utf8(name).unwrap())
    }

    #[test]
    fn names_are_found_by_uid_however_uids_are_spread() {
        assert_eq!(of(&Names::default(), 5000), None);
        for step in [1, 2, 7, 1000] {
            let mut names = Names::default();
            let all: Vec<(i64, String)> = (0..100).map(|n| (5000 + n * n % step + n * step, format!("m{n}"))).collect();
            for page in all.chunks(30) {
                // Within a page the order does not matter.
                names.add(page.iter().rev().map(|(uid, name)| (*uid, name.as_bytes())));
            }
            for (uid, name) in &all {
                assert_eq!(of(&names, *uid as u32), Some(name.as_str()), "step {step}");
            }
            for free in (5000..5000 + 100 * step).filter(|uid| all.iter().all(|(other, _)| other != uid)) {
                assert_eq!(of(&names, free as u32), None, "step {step}, uid {free}");
            }
            for none in [0, 4999, 5000 + 200 * step as u32, u32::MAX] {
                assert_eq!(of(&names, none), None, "step {step}, uid {none}");
            }
        }
    }

    #[test]
    fn what_can_be_no_name_or_uid_is_left_out() {
        let mut names = Names::default();
        let long = [b'a'; MAX_LEN + 1];
        let one: [(i64, &[u8]); 4] = [(-1, b"no"), (5000, b"ana"), (5001, &long), (5002, b"ben")];
        names.add(one.into_iter());
        assert_eq!([5000, 5001, 5002].map(|uid| of(&names, uid)), [Some("ana"), None, Some("ben")]);
    }
}
