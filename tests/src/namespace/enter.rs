//! Runs a program inside a test machine, with the caller's stdin, stdout, stderr and environment.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Signal, chroot, fchdir, pidfd_open, set_parent_process_death_signal, setsid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::{NamespaceError, Step};

/// Runs `argv` in the machine whose init has this pid, in a session of its own, and returns its exit code; 128 + n for signal n.
///
/// # Errors
/// When the machine has gone, or there is no such program.
pub fn enter(init: i32, argv: &[String]) -> Result<i32, NamespaceError> {
    let [program, arguments @ ..] = argv else { return Err(NamespaceError::Usage) };
    let pid = Pid::from_raw(init).ok_or(NamespaceError::Usage)?;
    let machine = pidfd_open(pid, PidfdFlags::empty()).step("find the test machine (has it stopped?)")?;
    // Not the root of the mount name space: where init could only chroot, that is the root of the host.
    let root = File::open(format!("/proc/{init}/root")).step("open the machine's root")?;
    let spaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    move_into_thread_name_spaces(machine.as_fd(), spaces).step("enter the name spaces")?;
    fchdir(&root).step("enter the machine's root")?;
    chroot(".").step("chroot into the machine")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    // SAFETY: prctl(2) and setsid(2) are async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        command.pre_exec(|| {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            setsid()?;
            Ok(())
        });
    }
    let status = command.status().step(format!("run {program}"))?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
