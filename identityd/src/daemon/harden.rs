//! What the process gives up before it touches a password.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::config;

/// Descriptors besides the connections: database, inotify, logs, the run-time.
const OTHER_DESCRIPTORS: u64 = 128;

/// Refuses to run as root: nothing here needs it, and a mistake would cost the whole server.
pub(super) fn refuse_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Err("it must not run as root. Start it through systemd (systemctl start identityd), or: \
                    setpriv --reuid=identityd --regid=identityd --init-groups --inh-caps=-all --bounding-set=-all identityd"
            .into());
    }
    Ok(())
}

/// No core dumps, no ptrace by others of the same user: passwords pass through this memory. Files are for the owner unless said otherwise.
pub(super) fn harden() -> Result<(), String> {
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o077));
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing).map_err(|error| format!("cannot forbid core dumps: {error}"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("cannot forbid dumps and ptrace: {error}"))
}

/// No more connections than there can be descriptors: else accept(2) fails for everybody.
pub(super) fn fit(server: &mut config::Server) {
    let wanted = server.connections;
    let possible = descriptors_for(wanted);
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "the limit of open files is too low for [server] connections; raise LimitNOFILE="
        );
        server.connections = possible.max(16);
        server.reserved_for_root = server.reserved_for_root.min(possible / 2);
    }
}

/// Raises the limit of open files for so many connections. Returns how many connections it is enough for.
fn descriptors_for(connections: u32) -> u32 {
    let wanted = u64::from(connections) + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let current = limit.current.unwrap_or(u64::MAX);
    if current < wanted {
        // Failing is noticed below: what counts is what we have then.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted.min(most)), maximum: limit.maximum });
    }
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u32::try_from(have.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(u32::MAX).min(connections)
}
