//! Fills and starts each peer in its machine, with the configuration that its own documentation advises.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Mosh, places};

use super::peer::Peer;

/// Raise it when `fill` writes other data or a directory is made in another way: what was filled before is then not used.
const RECIPE: u32 = 2;
const PROGRAMS: [&str; 5] = ["fill", "look", "fresh", "seen", "chase"];

/// Compiles the programs and the two empty modules.
pub(super) fn programs(mosh: &Mosh) {
    for program in PROGRAMS {
        mosh.c_file(&format!("bench/{program}"), &["-O2"], &format!("/usr/local/bin/{program}"));
    }
    let folder = mosh.sh("dirname /usr/lib/*/libnss_mayfirst.so.2").success();
    for (module, found) in [("empty", 1), ("absent", 0)] {
        let name = format!("libnss_{module}.so.2");
        let (found, export) = (format!("-DFOUND={found}"), format!("-DEXPORT(x)=_nss_{module}_##x"));
        let soname = format!("-Wl,-soname,{name}");
        let options = ["-O2", "-shared", "-fPIC", "-s", &found, &export, &soname];
        mosh.c_file("bench/empty", &options, &format!("{}/{name}", folder.text()));
    }
}

/// /etc/nsswitch.conf with this service alone.
pub(super) fn name_service(mosh: &Mosh, service: &str) {
    mosh.write(
        "/etc/nsswitch.conf",
        &format!("passwd: {service}\ngroup: {service}\ninitgroups: {service}\nshadow: files\nhosts: files\n"),
    );
}

/// Fills the peer with so many logins and starts it.
pub(super) fn start(mosh: &Mosh, peer: Peer, size: u32) {
    match peer {
        Peer::Empty => {}
        Peer::Files => {
            long(mosh, &format!("fill passwd {size} >>/etc/passwd; fill group {size} >>/etc/group"));
        }
        Peer::Extrausers => {
            long(
                mosh,
                &format!(
                    "mkdir -p /var/lib/extrausers; cd /var/lib/extrausers; fill passwd {size} >passwd; fill group {size} >group; touch shadow"
                ),
            );
        }
        Peer::Ours | Peer::OursSocket => super::ours::start(mosh, peer, size),
        Peer::Nslcd => {
            slapd(mosh, size);
            nslcd(mosh);
        }
        Peer::Nscd => {
            slapd(mosh, size);
            nslcd(mosh);
            nscd(mosh, size);
        }
        Peer::Sss | Peer::SssNoCache | Peer::SssList => {
            slapd(mosh, size);
            sssd(mosh, peer, size);
        }
    }
}

/// A script that may take minutes.
pub(super) fn long(mosh: &Mosh, script: &str) {
    mosh.call(["/bin/sh", "-ec", script]).limit(Duration::from_secs(1800)).run().success();
}

/// What was filled once is kept beside the build: a file or folder of the host for each size. `None` for sizes that are filled in no time.
pub(super) fn kept(what: &str, size: u32) -> Option<PathBuf> {
    (size >= 1000).then(|| places::target().join("bench-data").join(format!("{RECIPE}-{size}-{what}")))
}

/// Puts into the machine what was kept, if there is such a thing.
pub(super) fn restore(kept: Option<&Path>, inside: &Path) -> bool {
    kept.is_some_and(|kept| kept.exists() && copy(kept, inside))
}

/// Keeps it: beside its place, then renamed, for a run may be interrupted.
pub(super) fn keep(inside: &Path, kept: Option<&Path>) {
    let Some(kept) = kept else { return };
    let fresh = kept.with_extension("new");
    let _ = std::fs::remove_dir_all(&fresh);
    if copy(inside, &fresh) {
        let _ = std::fs::rename(&fresh, kept);
    }
}

/// Copies a tree between the host and a machine, by `cp` outside: no time of the machine is spent on it.
fn copy(from: &Path, to: &Path) -> bool {
    if let Some(parent) = to.parent() {
        let _ = std::fs::create_dir_all(parent);
    }
    let copied = Command::new("cp").args(["-r", "--sparse=always", "-T"]).arg(from).arg(to).status();
    copied.is_ok_and(|status| status.success())
}

fn slapd(mosh: &Mosh, size: u32) {
    const DATA: &str = "/var/lib/bench-ldap";
    // nslcd asks for memberUid or member: an index that lacks one of them is of no use for the other.
    mosh.write(
        "/etc/ldap/bench.conf",
        &format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/nis.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile /run/slapd-bench.pid\nsizelimit unlimited\ntool-threads 2\nloglevel 0\n\
             database mdb\nsuffix dc=bench\nrootdn cn=admin,dc=bench\nrootpw secret\ndirectory {DATA}\nmaxsize 8589934592\n\
             index objectClass,uid,cn,uidNumber,gidNumber,memberUid,member eq\naccess to * by * read\n"
        ),
    );
    let (kept, inside) = (kept("slapd", size), mosh.outside(DATA));
    if !restore(kept.as_deref(), &inside) {
        let _ = std::fs::remove_dir_all(&inside);
        long(mosh, &format!("mkdir -p {DATA}; fill ldif {size} | slapadd -q -f /etc/ldap/bench.conf"));
        keep(&inside, kept.as_deref());
    }
    mosh.sh("mkdir -p /run/slapd; slapd -f /etc/ldap/bench.conf -h ldap://127.0.0.1/").success();
    mosh.wait_until("slapd answers", Duration::from_secs(60), |mosh| {
        mosh.run(["ldapsearch", "-x", "-H", "ldap://127.0.0.1/", "-b", "dc=bench", "-s", "base", "-LLL", "dc"]).ok()
    });
}

fn nslcd(mosh: &Mosh) {
    mosh.write("/etc/nslcd.conf", "uid nslcd\ngid nslcd\nuri ldap://127.0.0.1/\nbase dc=bench\n");
    mosh.sh("mkdir -p /run/nslcd && chown nslcd:nslcd /run/nslcd && chmod 640 /etc/nslcd.conf && chgrp nslcd /etc/nslcd.conf && nslcd").success();
    first_answer(mosh, "ldap", Duration::from_secs(20));
}

/// Debian's settings, with room for more entries.
fn nscd(mosh: &Mosh, size: u32) {
    let buckets = size.max(1000) | 1;
    let mut text = String::from("paranoia no\n");
    for map in ["passwd", "group"] {
        text += &format!(
            "enable-cache {map} yes\npositive-time-to-live {map} 600\nnegative-time-to-live {map} 20\nsuggested-size {map} {buckets}\n\
             check-files {map} yes\npersistent {map} yes\nshared {map} yes\nmax-db-size {map} 536870912\nauto-propagate {map} yes\n"
        );
    }
    mosh.write("/etc/nscd.conf", &text);
    name_service(mosh, "ldap");
    mosh.sh("mkdir -p /run/nscd /var/cache/nscd; nscd").success();
    mosh.wait_until("nscd runs", Duration::from_secs(20), |mosh| mosh.exists("/run/nscd/socket"));
}

/// The memory cache is given room for all that is asked for, and time for the length of a run.
fn sssd(mosh: &Mosh, peer: Peer, size: u32) {
    let megabytes = if peer == Peer::SssNoCache { 0 } else { (size / 2000).clamp(8, 256) };
    let enumerate = peer == Peer::SssList;
    mosh.write(
        "/etc/sssd/sssd.conf",
        &format!(
            "[sssd]\nservices = nss\ndomains = bench\n\n[nss]\nmemcache_timeout = 3600\nmemcache_size_passwd = {megabytes}\n\
             memcache_size_group = {megabytes}\nmemcache_size_initgroups = {megabytes}\n\n[domain/bench]\nid_provider = ldap\n\
             auth_provider = none\naccess_provider = permit\nldap_uri = ldap://127.0.0.1/\nldap_search_base = dc=bench\nldap_schema = rfc2307\n\
             enumerate = {enumerate}\nentry_cache_timeout = 14400\nldap_enumeration_refresh_timeout = 14400\n"
        ),
    );
    mosh.sh("chmod 600 /etc/sssd/sssd.conf; mkdir -p /run/sssd; sssd -D").success();
    first_answer(mosh, "sss", Duration::from_secs(60));
    if enumerate {
        mosh.wait_until("SSSD has read the list", Duration::from_secs(300), |mosh| {
            mosh.call(["/bin/sh", "-c", "getent -s sss passwd | wc -l"]).run().text().parse() == Ok(size)
        });
    }
}

/// Waits until the first login is found. One process in the machine asks again and again: that is less to read when it is in vain.
pub(super) fn first_answer(mosh: &Mosh, service: &str, limit: Duration) {
    let script = format!("until getent -s {service} passwd 100000 >/dev/null; do sleep 0.01; done");
    let asked = mosh.call(["/bin/sh", "-c", &script]).limit(limit).run();
    assert!(!asked.timed_out(), "waited {} s in vain until {service} finds a login", limit.as_secs());
}
