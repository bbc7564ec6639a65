//! The real programs that serve members: sshd, cron, Dovecot, php-fpm.

use std::time::Duration;

use super::command::Call;
use super::{Mosh, Output};

/// What sshd writes to stderr.
pub(super) const SSHD_LOG: &str = "/var/log/sshd.log";
const SOON: Duration = Duration::from_secs(10);

/// What an ssh client shows to get in.
#[derive(Debug, Clone, Copy)]
pub enum Auth<'a> {
    /// The method `password`.
    Password(&'a str),
    /// The method `keyboard-interactive`.
    Interactive(&'a str),
    /// A private key in this file of the machine.
    Key(&'a str),
}

/// A running sshd.
#[derive(Debug, Clone, Copy)]
pub struct Sshd<'m>(&'m Mosh);

impl Sshd<'_> {
    /// Runs a command through ssh; an empty one asks for a login shell without a terminal.
    pub fn ssh(self, login: &str, auth: Auth<'_>, command: &str) -> Output {
        let mut argv = client("ssh", auth);
        argv.extend([format!("{login}@127.0.0.1")]);
        if !command.is_empty() {
            argv.push(command.into());
        }
        self.client(argv, auth).run()
    }

    /// Runs commands of sftp(1), one a line.
    pub fn sftp(self, login: &str, auth: Auth<'_>, batch: &str) -> Output {
        let mut argv = client("sftp", auth);
        // `-b -` would set BatchMode, and with it refuse a password; commands from a stdin that is no terminal do the same work.
        argv.extend([format!("{login}@127.0.0.1")]);
        self.client(argv, auth).stdin(format!("{batch}\n")).run()
    }

    /// What sshd has logged.
    #[must_use]
    pub fn log(self) -> String {
        self.0.try_read(SSHD_LOG).unwrap_or_default()
    }

    fn client(&self, argv: Vec<String>, auth: Auth<'_>) -> Call<'_> {
        let call = self.0.call(argv);
        match auth {
            Auth::Password(password) | Auth::Interactive(password) => call.env("SSHPASS", password),
            Auth::Key(_) => call,
        }
    }
}

/// The options that make a client try this one method, once, and ask nobody.
fn client(program: &str, auth: Auth<'_>) -> Vec<String> {
    let mut argv: Vec<String> = Vec::new();
    let method = match auth {
        Auth::Password(_) => "password",
        Auth::Interactive(_) => "keyboard-interactive",
        Auth::Key(_) => "publickey",
    };
    if !matches!(auth, Auth::Key(_)) {
        argv.extend(["sshpass", "-e"].map(String::from));
    }
    argv.push(program.into());
    let options = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "NumberOfPasswordPrompts=1",
        "ConnectTimeout=30",
        &format!("PreferredAuthentications={method}"),
    ];
    for option in options {
        argv.extend(["-o".into(), option.into()]);
    }
    if let Auth::Key(file) = auth {
        argv.extend(["-i", file, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"].map(String::from));
    }
    argv
}

impl Mosh {
    /// Starts Debian's sshd with Debian's configuration, the product's additions and these options (`"MaxAuthTries 1"`).
    ///
    /// # Panics
    /// When it does not listen within 10 s.
    #[track_caller]
    pub fn sshd(&self, options: &[&str]) -> Sshd<'_> {
        let options: String = options.iter().map(|option| format!(" -o '{option}'")).collect();
        self.background(&format!("mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e{options} 2>>{SSHD_LOG}"));
        self.listening(22);
        Sshd(self)
    }

    /// Starts cron.
    #[track_caller]
    pub fn cron(&self) {
        self.background("exec cron -f -L 15");
    }

    /// Starts Dovecot with IMAP on port 143, passwords through PAM, users through NSS, and these lines of configuration.
    ///
    /// # Panics
    /// When it does not listen within 10 s.
    #[track_caller]
    pub fn dovecot(&self, configuration: &str) {
        self.write(
            "/etc/dovecot/dovecot.conf",
            &format!(
                "protocols = imap\nlisten = 127.0.0.1\nssl = no\ndisable_plaintext_auth = no\nlog_path = /var/log/dovecot.log\n\
                 mail_location = maildir:~/Maildir\nfirst_valid_uid = 1000\n\
                 passdb {{\n driver = pam\n args = session=yes dovecot\n}}\nuserdb {{\n driver = passwd\n}}\n{configuration}\n"
            ),
        );
        self.background("exec dovecot -F");
        self.listening(143);
    }

    /// Starts php-fpm with one pool that runs as this login and listens at `/run/php/LOGIN.sock`.
    ///
    /// # Panics
    /// When it does not start within 10 s.
    #[track_caller]
    pub fn php_fpm(&self, login: &str) {
        self.sh("rm -f /etc/php/8.2/fpm/pool.d/*.conf; mkdir -p /run/php").success();
        self.write(
            &format!("/etc/php/8.2/fpm/pool.d/{login}.conf"),
            &format!("[{login}]\nuser = {login}\nlisten = /run/php/{login}.sock\npm = static\npm.max_children = 1\n"),
        );
        self.background("exec php-fpm8.2 -F");
        let socket = format!("/run/php/{login}.sock");
        self.listening_at(&socket);
    }

    /// Runs a script until the machine ends.
    ///
    /// # Panics
    /// When it ends at once.
    #[track_caller]
    pub fn background(&self, script: &str) {
        let running = self.call(["/bin/sh", "-c", script]).spawn();
        self.note(format!("$ {script} &"));
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((script.to_string(), running));
    }

    /// A program in the background that a test has ended is no mistake: forgets that of this script when it has. Whether it has.
    pub(super) fn forget_if_ended(&self, script: &str) -> bool {
        let mut all = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.retain_mut(|(other, running)| other != script || running.alive());
        all.iter().all(|(other, _)| other != script)
    }

    /// Waits until something listens on this port.
    ///
    /// # Panics
    /// When nothing does within 10 s, or a program in the background has ended.
    #[track_caller]
    pub fn listening(&self, port: u16) {
        let wanted = format!(":{port:04X} 00000000:0000 0A");
        self.wait_until(&format!("port {port} is listened on"), SOON, |mosh| {
            for (script, running) in mosh.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter_mut() {
                assert!(running.alive(), "it ended: {}", running.finish(SOON).to_string() + script);
            }
            // /proc/net/tcp of its init: the same name space, no process needed (proc(5)).
            mosh.try_read("/proc/1/net/tcp").unwrap_or_default().contains(&wanted)
        });
    }

    /// Waits until something listens at this unix socket. Its file is there before that.
    ///
    /// # Panics
    /// When nothing does within 10 s.
    #[track_caller]
    pub fn listening_at(&self, socket: &str) {
        self.wait_until(&format!("{socket} is listened at"), SOON, |mosh| {
            // Flags: __SO_ACCEPTCON (proc_net_unix in proc(5)).
            let listens = |line: &str| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.get(3) == Some(&"00010000") && words.last() == Some(&socket)
            };
            mosh.try_read("/proc/1/net/unix").unwrap_or_default().lines().any(listens)
        });
    }
}
