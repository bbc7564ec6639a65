//! Where an attempt comes from, as far as places in the queue are counted by it.

use std::net::{Ipv4Addr, Ipv6Addr};

use schema::wire::message::PamContext;

/// A hostile name must not become a large key.
const LONGEST: usize = 256;

/// The remote host for sshd, the local user for su and sudo. Of an IPv6 address its /64: who has one address of it has 2^64 (RFC 4291, 2.5.4).
#[must_use]
pub fn origin(context: &PamContext) -> Option<String> {
    let known = [&context.remote_host, &context.remote_user].into_iter().flatten().find(|origin| !origin.is_empty())?;
    let known = known.get(..known.floor_char_boundary(LONGEST)).unwrap_or_default();
    Some(network(known).unwrap_or_else(|| known.to_owned()))
}

/// `None`: it is not an IPv6 address.
fn network(host: &str) -> Option<String> {
    let address: Ipv6Addr = host.split('%').next()?.parse().ok()?;
    let [a, b, c, d, e, f, g, h] = address.segments();
    // ::ffff:0:0/96 (RFC 4291, 2.5.5.2) and 64:ff9b::/96 (RFC 6052, 2.1): each has all of IPv4 behind it.
    if matches!([a, b, c, d, e, f], [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]) {
        return Some(Ipv4Addr::from(u32::from(g) << 16 | u32::from(h)).to_string());
    }
    Some(format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str, user: &str) -> Option<String> {
        let context = PamContext {
            service: "sshd".into(),
            user: "ana".into(),
            tty: None,
            remote_host: Some(host.into()),
            remote_user: Some(user.into()),
        };
        origin(&context)
    }

    #[test]
    fn a_host_with_many_addresses_is_one() {
        assert_eq!(of("2001:db8:0:1::1", "").as_deref(), Some("2001:db8:0:1::/64"));
        assert_eq!(of("2001:0db8:0000:0001:ffff::2", ""), of("2001:db8:0:1::1", ""));
        assert_ne!(of("2001:db8:0:2::1", ""), of("2001:db8:0:1::1", ""));
        assert_eq!(of("fe80::1%eth0", "").as_deref(), Some("fe80::/64"));
        for translated in ["::ffff:192.0.2.1", "64:ff9b::192.0.2.1"] {
            assert_eq!(of(translated, "").as_deref(), Some("192.0.2.1"));
        }
    }

    #[test]
    fn anything_else_stands_for_itself() {
        assert_eq!(of("192.0.2.1", "").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("host.example.org", "ben").as_deref(), Some("host.example.org"));
        assert_eq!(of("", "ben").as_deref(), Some("ben"));
        assert_eq!(of("", ""), None);
        assert_eq!(of(&"ü".repeat(300), "").map(|key| key.len()), Some(LONGEST));
    }
}
