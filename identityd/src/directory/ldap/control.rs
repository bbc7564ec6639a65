//! Controls and messages that ldap3 has no safe parser for: content synchronisation (RFC 4533), password policy, pages (RFC 2696).

use ldap3::controls::RawControl;

use super::ber::{self, BOOLEAN, ENUMERATED, INTEGER, Malformed, OCTET_STRING, Reader, SEQUENCE, SET};
use super::model::Uuid;

/// draft-behera-ldap-password-policy.
pub(super) const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
const PAGED: &str = "1.2.840.113556.1.4.319";

/// What an entry is in a synchronisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncState {
    Present,
    Add,
    Modify,
    Delete,
}

/// What stands between entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SyncInfo {
    NewCookie,
    /// The phase in which what is gone is named is over; `done`: and with it the refresh.
    Deletes {
        done: bool,
    },
    /// The phase in which what is there is named is over.
    Presents {
        done: bool,
    },
    /// Names without entries: they are gone, or there.
    Names {
        gone: bool,
        uuids: Vec<Uuid>,
    },
}

/// Asks to be told of everything after the cookie, and then to be kept told.
pub(super) fn sync_request(cookie: Option<&[u8]>) -> RawControl {
    let mut inside = Vec::new();
    ber::write(&mut inside, ENUMERATED, &[3]);
    if let Some(cookie) = cookie {
        ber::write(&mut inside, OCTET_STRING, cookie);
    }
    let mut value = Vec::new();
    ber::write(&mut value, SEQUENCE, &inside);
    RawControl { ctype: SYNC_REQUEST.into(), crit: true, val: Some(value) }
}

/// Whether a server's own entry says that it can be synchronised with.
pub(super) fn offers_sync(controls: &[Vec<u8>]) -> bool {
    controls.iter().any(|control| control == SYNC_REQUEST.as_bytes())
}

/// The state of an entry, its name for life, and maybe a cookie.
pub(super) fn sync_state(controls: &[RawControl]) -> Result<(SyncState, Uuid, Option<Vec<u8>>), Malformed> {
    let value = value(controls, SYNC_STATE).ok_or(Malformed("an entry of a synchronisation without its state"))?;
    let mut inside = Reader::new(value).expect(SEQUENCE, "no state")?.inside();
    let state = match inside.expect(ENUMERATED, "no state")?.number()? {
        0 => SyncState::Present,
        1 => SyncState::Add,
        2 => SyncState::Modify,
        3 => SyncState::Delete,
        _ => return Err(Malformed("an unknown state of an entry")),
    };
    let uuid = uuid(inside.expect(OCTET_STRING, "an entry without a UUID")?.content)?;
    let cookie = inside.take(OCTET_STRING)?.map(|cookie| cookie.content.to_vec());
    Ok((state, uuid, cookie))
}

/// An intermediate message and the cookie with it.
pub(super) type Told = (SyncInfo, Option<Vec<u8>>);

/// An intermediate response; `None`: of another kind.
pub(super) fn sync_info(name: &str, value: &[u8]) -> Result<Option<Told>, Malformed> {
    if name != SYNC_INFO {
        return Ok(None);
    }
    let element = Reader::new(value).next()?.ok_or(Malformed("an empty message"))?;
    if element.tag == 0x80 {
        return Ok(Some((SyncInfo::NewCookie, Some(element.content.to_vec()))));
    }
    let mut inside = element.inside();
    let cookie = inside.take(OCTET_STRING)?.map(|cookie| cookie.content.to_vec());
    let mut flag = |default| inside.take(BOOLEAN).and_then(|flag| flag.map_or(Ok(default), |flag| flag.boolean()));
    let info = match element.tag {
        0xa1 => SyncInfo::Deletes { done: flag(true)? },
        0xa2 => SyncInfo::Presents { done: flag(true)? },
        0xa3 => {
            let gone = flag(false)?;
            let mut set = inside.expect(SET, "no names")?.inside();
            let mut uuids = Vec::new();
            while let Some(element) = set.next()? {
                uuids.push(uuid(element.content)?);
            }
            SyncInfo::Names { gone, uuids }
        }
        _ => return Err(Malformed("an unknown message of a synchronisation")),
    };
    Ok(Some((info, cookie)))
}

/// A UUID of 16 bytes.
fn uuid(bytes: &[u8]) -> Result<Uuid, Malformed> {
    bytes.try_into().map(Uuid).map_err(|_| Malformed("a UUID that is none"))
}

/// The next `size` entries after a page's cookie. Not critical: a server without pages sends everything.
/// What else would break a rule of the server is to be done, if the account has the right to manage there (draft-zeilenga-ldap-relax). Whoever does not know it leaves it out.
pub(super) fn relax() -> RawControl {
    RawControl { ctype: "1.3.6.1.4.1.4203.666.5.12".into(), crit: false, val: None }
}

pub(super) fn page(size: u32, cookie: &[u8]) -> RawControl {
    let mut inside = Vec::new();
    ber::write(&mut inside, INTEGER, &(size & 0x7fff_ffff).to_be_bytes());
    ber::write(&mut inside, OCTET_STRING, cookie);
    let mut value = Vec::new();
    ber::write(&mut value, SEQUENCE, &inside);
    RawControl { ctype: PAGED.into(), crit: false, val: Some(value) }
}

/// The cookie of the next page; empty or `None`: that was the last.
pub(super) fn next_page(controls: &[RawControl]) -> Option<Vec<u8>> {
    let mut inside = Reader::new(value(controls, PAGED)?).expect(SEQUENCE, "").ok()?.inside();
    inside.expect(INTEGER, "").ok()?;
    Some(inside.expect(OCTET_STRING, "").ok()?.content.to_vec())
}

/// What a password policy says with the answer to a bind or a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PolicyAnswer {
    /// Seconds until the password ends.
    pub(super) ends_in: Option<u32>,
    /// Binds that are left with an expired password.
    pub(super) grace: Option<u32>,
    /// draft-behera §6.2: 0 expired, 1 locked, 2 to be changed, 3 change not allowed, 4 old one needed, 5 bad quality, 6 too short, 7 too young, 8 in history.
    pub(super) error: Option<u32>,
}

/// Asks for it.
pub(super) fn policy_request() -> RawControl {
    RawControl { ctype: PASSWORD_POLICY.into(), crit: false, val: None }
}

/// Its answer; nothing where there is none.
pub(super) fn policy_answer(controls: &[RawControl]) -> Result<PolicyAnswer, Malformed> {
    let mut answer = PolicyAnswer::default();
    let Some(value) = value(controls, PASSWORD_POLICY) else { return Ok(answer) };
    let mut inside = Reader::new(value).expect(SEQUENCE, "a policy that is none")?.inside();
    while let Some(element) = inside.next()? {
        match element.tag {
            0xa0 => {
                let warning = element.inside().next()?.ok_or(Malformed("an empty warning"))?;
                match warning.tag {
                    0x80 => answer.ends_in = Some(warning.number()?),
                    0x81 => answer.grace = Some(warning.number()?),
                    _ => {}
                }
            }
            0x81 => answer.error = Some(element.number()?),
            _ => {}
        }
    }
    Ok(answer)
}

fn value<'a>(controls: &'a [RawControl], name: &str) -> Option<&'a [u8]> {
    controls.iter().find(|control| control.ctype == name)?.val.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn control(name: &str, value: &[u8]) -> Vec<RawControl> {
        vec![RawControl { ctype: name.into(), crit: false, val: Some(value.to_vec()) }]
    }

    #[test]
    fn a_policy_says_warning_and_error() {
        let grace = [0x30, 8, 0xa0, 3, 0x81, 1, 2, 0x81, 1, 0];
        let answer = policy_answer(&control(PASSWORD_POLICY, &grace)).unwrap();
        assert_eq!(answer, PolicyAnswer { ends_in: None, grace: Some(2), error: Some(0) });
        assert_eq!(policy_answer(&[]), Ok(PolicyAnswer::default()));
    }

    #[test]
    fn names_that_are_gone_are_read() {
        let mut set = Vec::new();
        ber::write(&mut set, OCTET_STRING, &[7; 16]);
        let mut inside = vec![BOOLEAN, 1, 0xff];
        ber::write(&mut inside, SET, &set);
        let mut value = Vec::new();
        ber::write(&mut value, 0xa3, &inside);
        let info = sync_info(SYNC_INFO, &value).unwrap();
        assert_eq!(info, Some((SyncInfo::Names { gone: true, uuids: vec![Uuid([7; 16])] }, None)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = sync_state(&control(SYNC_STATE, &bytes));
            let _ = sync_info(SYNC_INFO, &bytes);
            let _ = next_page(&control(PAGED, &bytes));
            let _ = policy_answer(&control(PASSWORD_POLICY, &bytes));
        }
    }
}
