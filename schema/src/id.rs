//! User and group ids, and the range that the directory may use.

use core::fmt;

/// The lowest uid and gid that the directory may hold (Debian policy 9.2.2: dynamically allocated user accounts).
/// Nothing below it ever leaves the NSS module, so that no daemon can mint a system account.
pub const FLOOR: u32 = 1000;

/// The highest: ids above 2³¹−1 turn negative in programs that keep them in an `int`.
pub const CEILING: u32 = i32::MAX as u32;

/// Not for accounts: 60000–64999 are allocated by Debian, 65000–65533 reserved, 65534 is nobody, 65535 is
/// `(uid16_t) -1` (Debian policy 9.2.2); systemd's dynamic users (61184–65519) lie inside.
pub const RESERVED: core::ops::RangeInclusive<u32> = 60000..=65535;

/// Whether an account of the directory may have this id. Every part asks here.
#[must_use]
#[inline(always)]
pub const fn is_usable(id: u32) -> bool {
    // Two ranges without a jump: a look-up asks this of every id.
    let reserved = id.wrapping_sub(*RESERVED.start()) <= *RESERVED.end() - *RESERVED.start();
    (id.wrapping_sub(FLOOR) <= CEILING - FLOOR) & !reserved
}

/// Why an id was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    /// Below [`FLOOR`]: a system account.
    BelowFloor(u32),
    /// Above [`CEILING`].
    AboveCeiling(u32),
    /// Inside [`RESERVED`].
    Reserved(u32),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowFloor(id) => write!(f, "id {id} is below {FLOOR}, which is for system accounts"),
            Self::AboveCeiling(id) => write!(f, "id {id} is above {CEILING}, the highest that all programs can hold"),
            Self::Reserved(id) => write!(f, "id {id} is in the reserved range 60000-65535"),
        }
    }
}

impl core::error::Error for IdError {}

const fn check(id: u32) -> Result<u32, IdError> {
    if id < FLOOR {
        Err(IdError::BelowFloor(id))
    } else if id > CEILING {
        Err(IdError::AboveCeiling(id))
    } else if !is_usable(id) {
        Err(IdError::Reserved(id))
    } else {
        Ok(id)
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(try_from = "u32", into = "u32"))]
        pub struct $name(u32);

        impl $name {
            /// The number itself.
            #[must_use]
            pub const fn raw(self) -> u32 {
                self.0
            }
        }

        impl TryFrom<u32> for $name {
            type Error = IdError;

            fn try_from(id: u32) -> Result<Self, IdError> {
                check(id).map(Self)
            }
        }

        impl From<$name> for u32 {
            fn from(id: $name) -> u32 {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id_type! {
    /// A uid that an account of the directory may have: see [`is_usable`].
    UserId
}

id_type! {
    /// A gid that a group of the directory may have: see [`is_usable`].
    GroupId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_ids_are_refused() {
        for id in [0, 1, 999] {
            assert_eq!(UserId::try_from(id), Err(IdError::BelowFloor(id)));
        }
        assert!(UserId::try_from(1000).is_ok());
    }

    #[test]
    fn nobody_and_minus_one_are_refused() {
        assert_eq!(GroupId::try_from(65534), Err(IdError::Reserved(65534)));
        assert_eq!(GroupId::try_from(65535), Err(IdError::Reserved(65535)));
        assert!(GroupId::try_from(59999).is_ok());
        assert!(GroupId::try_from(65536).is_ok());
    }

    #[test]
    fn every_end_of_a_range_is_on_its_side() {
        let usable = [FLOOR, 59_999, 65_536, CEILING];
        let others = [0, FLOOR - 1, 60_000, 65_535, CEILING + 1, u32::MAX];
        assert!(usable.iter().all(|id| is_usable(*id)) && !others.iter().any(|id| is_usable(*id)));
    }

    #[test]
    fn ids_that_are_negative_as_int_are_refused() {
        assert!(UserId::try_from(CEILING).is_ok());
        assert_eq!(UserId::try_from(1 << 31), Err(IdError::AboveCeiling(1 << 31)));
        assert_eq!(UserId::try_from(u32::MAX), Err(IdError::AboveCeiling(u32::MAX)));
    }
}
