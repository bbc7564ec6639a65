//! Who is measured, and how far each can go.

/// One way in which a server can know its logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The floor: a module that fills a constant.
    Empty,
    Files,
    Extrausers,
    Nslcd,
    Nscd,
    Sss,
    SssNoCache,
    SssList,
    Ours,
    OursSocket,
}

impl Peer {
    pub(super) const ALL: [Self; 10] = [
        Self::Empty,
        Self::Ours,
        Self::OursSocket,
        Self::Files,
        Self::Extrausers,
        Self::Nslcd,
        Self::Nscd,
        Self::Sss,
        Self::SssNoCache,
        Self::SssList,
    ];

    /// Its word in PEERS and in the table.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Files => "files",
            Self::Extrausers => "extrausers",
            Self::Nslcd => "nslcd",
            Self::Nscd => "nscd",
            Self::Sss => "sss",
            Self::SssNoCache => "sss-nocache",
            Self::SssList => "sss-list",
            Self::Ours => "mayfirst",
            Self::OursSocket => "mayfirst-socket",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty module",
            Self::Files => "files",
            Self::Extrausers => "libnss-extrausers",
            Self::Nslcd => "nslcd",
            Self::Nscd => "nscd over nslcd",
            Self::Sss => "SSSD",
            Self::SssNoCache => "SSSD, memory cache off",
            Self::SssList => "SSSD, enumerate on",
            Self::Ours => "mayfirst",
            Self::OursSocket => "mayfirst, socket only",
        }
    }

    /// Its colour in the plots: legible on white and on black.
    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Empty => "#8b949e",
            Self::Ours | Self::OursSocket => "#e5383b",
            Self::Files => "#2f81f7",
            Self::Extrausers => "#1b9aaa",
            Self::Nslcd => "#a371f7",
            Self::Nscd => "#2da44e",
            Self::Sss | Self::SssNoCache => "#fb8500",
            Self::SssList => "#9c6644",
        }
    }

    /// Whether another peer has the same colour; this one's lines are dashed.
    pub(super) fn is_variant(self) -> bool {
        matches!(self, Self::OursSocket | Self::SssNoCache)
    }

    /// The NSS service that answers.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Files => "files",
            Self::Extrausers => "extrausers",
            Self::Nslcd | Self::Nscd => "ldap",
            Self::Sss | Self::SssNoCache | Self::SssList => "sss",
            Self::Ours | Self::OursSocket => "mayfirst",
        }
    }

    /// The levels at which it can be measured. nscd is a part of glibc, asked before nsswitch.conf is looked at, and never after
    /// `__nss_configure_lookup` (nss/getXXbyYY_r.c).
    pub(super) fn levels(self) -> &'static [&'static str] {
        match self {
            Self::Nscd => &["nsswitch"],
            _ => &["direct", "dispatch", "nsswitch"],
        }
    }

    /// Where all measures but one are taken: the level without the `stat` of nsswitch.conf, if there is one.
    pub(super) fn level(self) -> &'static str {
        if self == Self::Nscd { "nsswitch" } else { "dispatch" }
    }

    pub(super) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursSocket)
    }

    /// Whether its data is in slapd.
    pub(super) fn asks_slapd(self) -> bool {
        matches!(self, Self::Nslcd | Self::Nscd | Self::Sss | Self::SssNoCache | Self::SssList)
    }

    /// Its daemons, as /proc/PID/comm has them.
    pub(super) fn daemons(self) -> &'static [&'static str] {
        match self {
            Self::Empty | Self::Files | Self::Extrausers => &[],
            Self::Nslcd => &["nslcd"],
            Self::Nscd => &["nslcd", "nscd"],
            Self::Sss | Self::SssNoCache | Self::SssList => &["sssd", "sssd_be", "sssd_nss"],
            Self::Ours | Self::OursSocket => &["identityd"],
        }
    }

    /// How many logins are asked for by name, by uid and for their groups before the clock starts, and the seconds that this may take. A cache can only be
    /// fast with what is in it.
    pub(super) fn warm(self, size: u32) -> (u32, u32) {
        match self {
            Self::Sss => (size.min(10_000), if size > 10_000 { 60 } else { 150 }),
            Self::Nscd => (size.min(10_000), 30),
            Self::SssNoCache => (size.min(1_000), 10),
            _ => (size, 5),
        }
    }

    /// What it may take with so many logins, filled before or not, until a run has shown it.
    pub(super) fn usual_seconds(self, size: u32) -> f64 {
        if self.obstacle(size).is_some() {
            return 0.0;
        }
        let slow = match self {
            Self::Empty => 12.0,
            Self::Ours => 45.0,
            Self::OursSocket | Self::Files | Self::Extrausers => 30.0,
            Self::Nslcd => 40.0,
            Self::Nscd | Self::SssNoCache => 60.0,
            Self::Sss => 90.0,
            Self::SssList => 150.0,
        };
        slow + f64::from(size) / 20_000.0
    }

    /// Why it cannot be measured with so many logins in a run of bearable length.
    pub(super) fn obstacle(self, size: u32) -> Option<String> {
        let why = match self {
            Self::Nslcd | Self::Nscd if size > 200_000 => {
                "filling slapd with a million logins takes minutes, and so do its lists"
            }
            Self::Sss if size > 200_000 => "filling slapd takes minutes, and SSSD 13 ms and more for each login",
            Self::SssNoCache if size > 20_000 => {
                "without its memory cache SSSD asks its daemon, which is no faster with more logins"
            }
            Self::SssList if size > 2_000 => "SSSD takes minutes to read the list",
            _ => return None,
        };
        // Who has the time says so.
        (std::env::var("BENCH_ALL").is_err()).then(|| format!("{why} (BENCH_ALL=1 tries)"))
    }
}
