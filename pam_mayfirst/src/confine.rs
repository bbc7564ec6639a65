//! Files and nothing else: a seccomp(2) filter for the sshd process of a login without `shell`.
//!
//! sshd opens the session as root, before it forks the half that becomes the login, so whatever follows is under the filter, sshd's monitor
//! included: no program can be started, and none of the sockets made that forwarding needs. What sshd_config says does not matter then,
//! nor what a look-up of groups for its `Match` came to. internal-sftp(8) runs inside sshd and needs neither.
#![allow(unsafe_code, reason = "prctl(2)")]

use std::io;

/// `seccomp_data` of `linux/seccomp.h`: nr, arch, instruction pointer, six arguments of 64 bits (the low half first on x86-64).
const NR: u32 = 0;
const ARCH: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;
const THIRD: u32 = 32;

/// `linux/audit.h`.
const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
/// Numbers from here on are those of the x32 ABI (`asm/unistd.h`, `__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;
/// `linux/netlink.h`: libpam and sshd report sessions there.
const NETLINK_AUDIT: u32 = libc::NETLINK_AUDIT.cast_unsigned();

// Instructions of the classic BPF machine (linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// What to do with a call (linux/seccomp.h).
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
/// EACCES, from the low half.
const REFUSE: u32 = 0x0005_0000 | libc::EACCES.cast_unsigned();

/// Calls that start a program, wait for connections, or do either behind the filter's back.
const REFUSED: [libc::c_long; 6] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_listen,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_io_uring_setup,
];

/// Takes the calling thread, and all that it will fork, the right to start programs and to open sockets, for good.
///
/// Sockets that remain: those of the Unix domain that are close-on-exec, as the C library (syslog, NSS) and sd-bus make them and sshd's
/// forwarding does not (OpenSSH `channels.c`, `misc.c` unix_listener), and the one to the kernel's audit.
///
/// # Errors
/// The kernel takes no filter, or this is not x86-64: the caller must refuse the session.
pub(crate) fn to_files() -> io::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "there is no filter for this architecture yet"));
    }
    let mut program = filter();
    let filter = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: program.as_mut_ptr(),
    };
    // Without CAP_SYS_ADMIN, as in some containers, the kernel wants no_new_privs first; with no program to start it changes nothing.
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: `filter` points to `len` instructions that live until the call has returned; the kernel copies and checks them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn filter() -> Vec<libc::sock_filter> {
    let refused = REFUSED.iter().filter_map(|call| u32::try_from(*call).ok());
    let socket = u32::try_from(libc::SYS_socket).unwrap_or(u32::MAX);
    let mut program = vec![
        load(ARCH),
        when(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        end(KILL),
        load(NR),
        when(JUMP_AT_LEAST, X32, 0, 1),
        end(KILL),
    ];
    for call in refused {
        program.extend([when(JUMP_EQUAL, call, 0, 1), end(REFUSE)]);
    }
    program.extend([
        when(JUMP_EQUAL, socket, 1, 0),
        end(ALLOW),
        load(FIRST),
        when(JUMP_EQUAL, libc::AF_UNIX.cast_unsigned(), 0, 4),
        load(SECOND),
        when(JUMP_ANY_BIT, libc::SOCK_CLOEXEC.cast_unsigned(), 0, 1),
        end(ALLOW),
        end(REFUSE),
        when(JUMP_EQUAL, libc::AF_NETLINK.cast_unsigned(), 1, 0),
        end(REFUSE),
        load(THIRD),
        when(JUMP_EQUAL, NETLINK_AUDIT, 0, 1),
        end(ALLOW),
        end(REFUSE),
    ]);
    program
}

fn load(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: LOAD, jt: 0, jf: 0, k }
}

/// Skips `jt` instructions if it holds, else `jf`.
fn when(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn end(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: RETURN, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::Command;

    use super::*;

    /// What a thread finds that has the filter; the other threads of the test stay free.
    fn confined<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                to_files().unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    fn refused<T>(result: io::Result<T>) {
        assert_eq!(result.err().and_then(|error| error.raw_os_error()), Some(libc::EACCES));
    }

    fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<()> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::socket(family, kind, protocol) };
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    #[test]
    fn no_program_can_be_started() {
        refused(confined(|| Command::new("/bin/true").spawn()));
        // The other threads are as free as before.
        assert!(Command::new("/bin/true").status().unwrap().success());
    }

    #[test]
    fn nothing_can_be_forwarded() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        refused(confined(|| TcpStream::connect(address)));
        refused(confined(|| TcpListener::bind("127.0.0.1:0")));
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG] {
            refused(confined(|| socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0)));
        }
        refused(confined(|| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)));
        // As sshd makes them for a forwarded socket or agent.
        refused(confined(|| socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)));
        let dir = tempfile::tempdir().unwrap();
        refused(confined(|| UnixListener::bind(dir.path().join("socket"))));
    }

    #[test]
    fn libc_still_reaches_its_own_services() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        confined(|| UnixStream::connect(&path)).unwrap();
        confined(|| std::fs::read("/proc/self/status")).unwrap();
        // Refused or not by the kernel, but not by us.
        let audit = confined(|| socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_AUDIT));
        assert_ne!(audit.err().and_then(|error| error.raw_os_error()), Some(libc::EACCES));
    }
}
