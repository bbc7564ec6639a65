//! When everything is read: what makes one host read its whole directory makes all hosts of a fleet, in the same moment. So each waits for a random part of a time that grows with what a
//! reading costs the server. What is published stays as it is meanwhile.

use std::time::Duration;

/// For each login: 4 times what a reading takes that has a server in LDAP to itself, 19 times one in MariaDB (75 and 16 µs a login, `docs/benchmarks/directories.md`). Where entries are few nobody waits.
const A_LOGIN: Duration = Duration::from_micros(300);
/// With 100,000 logins, and with more: longer would be felt as a change that does not come.
const AT_MOST: Duration = Duration::from_secs(30);

/// How long a host with so many logins waits before it reads; `share` (0 to 1) is its own.
pub(super) fn pause(logins: u64, share: f64) -> Duration {
    let most = A_LOGIN.saturating_mul(u32::try_from(logins).unwrap_or(u32::MAX)).min(AT_MOST);
    most.mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_reads_over_a_time_that_grows_with_the_directory_and_ends() {
        assert_eq!(pause(0, 1.0), Duration::ZERO);
        assert_eq!(pause(1_000, 1.0), Duration::from_millis(300));
        assert_eq!(pause(20_000, 0.5), Duration::from_secs(3));
        assert_eq!(pause(20_000, 0.0), Duration::ZERO);
        for many in [100_000, 10_000_000, u64::MAX] {
            assert_eq!(pause(many, 1.0), AT_MOST, "{many}");
        }
    }
}
