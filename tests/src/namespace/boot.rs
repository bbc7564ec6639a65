//! Boots a test machine: name spaces, the overlay, and the small init that reaps orphans and collects syslog.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{Signal, chroot, pivot_root, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{Layers, NamespaceError, SHARED, Step};

/// Makes the name spaces and starts init in them. Returns when the machine has gone.
///
/// # Errors
/// When a name space is refused. What init itself cannot do, it says on stdout.
pub fn outside(arguments: &[String]) -> Result<i32, NamespaceError> {
    let spaces =
        UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: no CLONE_FILES among the flags, and this process has one thread, so nothing shares what is taken apart.
    unsafe { unshare_unsafe(spaces) }.step("make name spaces (CAP_SYS_ADMIN is needed)")?;
    let mut init = Command::new("/proc/self/exe");
    init.arg("init").args(arguments);
    // SAFETY: prctl(2) is async-signal-safe; nothing is allocated between fork and exec.
    unsafe { init.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    let mut init = init.spawn().step("start init")?;
    println!("pid {}", init.id());
    let status = init.wait().step("wait for init")?;
    Ok(status.code().unwrap_or(137))
}

/// Process 1 of the machine: sets it up, says `ready`, and lives until its stdin is closed: by the test, or by the test's end.
///
/// # Errors
/// When a mount is refused.
pub fn init(layers: &Layers) -> Result<(), NamespaceError> {
    detach(&layers.scratch)?;
    let root = overlay(layers)?;
    populate(&root, &layers.name)?;
    share(&root, &layers.shared)?;
    change_root(&root)?;
    rustix::system::sethostname(layers.name.as_bytes()).step("set the host name")?;
    let up = Command::new("/bin/ip").args(["link", "set", "lo", "up"]).stdin(Stdio::null()).status().step("run ip")?;
    if !up.success() {
        return Err(std::io::Error::other(up.to_string())).step("bring lo up");
    }
    // SAFETY: SIG_IGN is a constant, no handler is involved. With it the kernel reaps orphans itself (wait(2), NOTES).
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let syslog = UnixDatagram::bind("/dev/log").step("bind /dev/log")?;
    fs::set_permissions("/dev/log", fs::Permissions::from_mode(0o666)).step("open /dev/log to all")?;
    println!("ready");
    live(&syslog)
}

/// Makes all mounts private, so that nothing of what follows is seen outside.
///
/// In a plain chroot (`chroot DIR make test`) the root is no mount point, and mount(2) says EINVAL. Then a private copy of the tree becomes the root.
/// Where the mount around that chroot is shared, one bind of the scratch folder onto itself stays behind outside; everything else is private.
fn detach(scratch: &Path) -> Result<(), NamespaceError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    match mount_change("/", private) {
        Err(rustix::io::Errno::INVAL) => {}
        other => return other.step("make all mounts private"),
    }
    mount_bind(scratch, scratch).step("bind the scratch folder")?;
    mount_change(scratch, private).step("make the scratch folder private")?;
    mount_bind_recursive("/", scratch).step("bind the root, which is no mount point here")?;
    chroot(scratch).step("change into the bound root")?;
    std::env::set_current_dir("/").step("change into the bound root")?;
    mount_change("/", private).step("make all mounts private")
}

fn live(syslog: &UnixDatagram) -> Result<(), NamespaceError> {
    let mut log =
        fs::OpenOptions::new().create(true).append(true).open("/var/log/syslog").step("open /var/log/syslog")?;
    let mut message = vec![0; 64 * 1024];
    let stdin = std::io::stdin();
    loop {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(syslog, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).step("wait"),
        }
        let (hung_up, logged) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if logged && let Ok(length) = syslog.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            // A full disk is something that tests do on purpose.
            let _ = writeln!(log, "{}", text.trim_end_matches(['\0', '\n']));
        }
        if hung_up {
            return Ok(());
        }
    }
}

/// Mounts the overlay with its writable layer in memory; without overlayfs, a copy in memory.
fn overlay(layers: &Layers) -> Result<std::path::PathBuf, NamespaceError> {
    let scratch = &layers.scratch;
    mount("tmpfs", scratch, "tmpfs", MountFlags::empty(), Some(c"mode=0755"))
        .step(format!("mount a tmpfs on {}", scratch.display()))?;
    let above = if layers.upper.as_os_str().is_empty() { scratch } else { &layers.upper };
    // Whatever this is, a machine must not write into it.
    if fs::read_dir(above).step(format!("read {}", above.display()))?.next().is_some() {
        return Err(std::io::Error::other("it is not empty")).step(format!("write into {}", above.display()));
    }
    let (upper, work) = (above.join("upper"), above.join("work"));
    let root = scratch.join("root");
    for directory in [&upper, &work, &root] {
        fs::create_dir(directory).step(format!("make {}", directory.display()))?;
    }
    let lower: Vec<_> = layers.lower.iter().map(|path| path.display().to_string()).collect();
    if let Some(path) = lower.iter().find(|path| path.contains([':', ',', '\\'])) {
        return Err(std::io::Error::other("overlayfs takes no ':' and no ',' in a path; move the working copy"))
            .step(format!("use {path}"));
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    let options = std::ffi::CString::new(options).map_err(std::io::Error::from).step("use these paths")?;
    let Err(refused) = mount("overlay", &root, "overlay", MountFlags::empty(), Some(options.as_c_str())) else {
        return Ok(root);
    };
    eprintln!(
        "NO OVERLAYFS HERE ({refused}): copying {} into memory, for each test machine; tests will be SLOW",
        lower.join(" + ")
    );
    mount("tmpfs", &root, "tmpfs", MountFlags::empty(), Some(c"mode=0755")).step("mount a tmpfs for the copy")?;
    for tree in layers.lower.iter().rev() {
        let copied = Command::new("cp").arg("-a").arg(tree.join(".")).arg(&root).status().step("run cp")?;
        if !copied.success() {
            return Err(std::io::Error::other(copied.to_string())).step(format!("copy {}", tree.display()));
        }
    }
    Ok(root)
}

/// `/proc`, `/dev`, `/run`, `/tmp`: what a program expects and no more. Device nodes are those of the machine, bound: mknod(2) is refused in
/// many containers.
fn populate(root: &Path, name: &str) -> Result<(), NamespaceError> {
    let on = |name: &str| root.join(name);
    let nosuid = MountFlags::NOSUID | MountFlags::NODEV;
    mount("proc", on("proc"), "proc", nosuid | MountFlags::NOEXEC, None).step("mount /proc")?;
    mount("tmpfs", on("run"), "tmpfs", nosuid, Some(c"mode=0755")).step("mount /run")?;
    mount("tmpfs", on("tmp"), "tmpfs", nosuid, Some(c"mode=1777")).step("mount /tmp")?;
    mount("tmpfs", on("dev"), "tmpfs", MountFlags::NOSUID, Some(c"mode=0755")).step("mount /dev")?;
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let node = on("dev").join(device);
        fs::write(&node, "").step("make /dev")?;
        mount_bind(Path::new("/dev").join(device), &node).step(format!("bind /dev/{device}"))?;
    }
    for directory in ["pts", "shm"] {
        fs::create_dir(on("dev").join(directory)).step("make /dev")?;
    }
    mount(
        "devpts",
        on("dev/pts"),
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"newinstance,ptmxmode=0666,mode=0620,gid=5"),
    )
    .step("mount /dev/pts")?;
    mount("tmpfs", on("dev/shm"), "tmpfs", nosuid, Some(c"mode=1777")).step("mount /dev/shm")?;
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(to, on("dev").join(name)).step("make /dev")?;
    }
    fs::write(on("etc/hostname"), format!("{name}\n")).step("write /etc/hostname")?;
    fs::write(on("etc/hosts"), format!("127.0.0.1 localhost {name}\n::1 localhost\n")).step("write /etc/hosts")?;
    fs::create_dir_all(on("run/lock")).step("make /run/lock")
}

/// The folder that machines share: a unix socket in it connects programs of two machines, whatever their networks are.
fn share(root: &Path, shared: &Path) -> Result<(), NamespaceError> {
    if shared.as_os_str().is_empty() {
        return Ok(());
    }
    let place = root.join(SHARED.trim_start_matches('/'));
    fs::create_dir_all(&place).step(format!("make {SHARED}"))?;
    mount_bind(shared, &place).step(format!("bind {} to {SHARED}", shared.display()))
}

/// Makes `root` the root, and lets go of the old one. Where our own root is no mount (inside a chroot), pivot_root(2) says EINVAL; then the
/// old mounts stay behind, out of sight.
fn change_root(root: &Path) -> Result<(), NamespaceError> {
    std::env::set_current_dir(root).step("enter the overlay")?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH).step("let go of the old root")?,
        Err(rustix::io::Errno::INVAL) => chroot(".").step("chroot")?,
        Err(error) => return Err(error).step("change the root"),
    }
    std::env::set_current_dir("/").step("enter the new root")
}
