//! Real slapds with the product's schema, in a test machine: one or more, alone or as providers for each other.

use std::fmt::Write;
use std::time::Duration;

use super::{Mosh, Output};

/// Where each has its folder.
const FOLDER: &str = "/srv/slapd";
/// The password of the service accounts.
const PASSWORD: &str = "service-password";
const SUFFIX: &str = "dc=example,dc=org";

/// A running slapd.
#[derive(Debug, Clone, Copy)]
pub struct Slapd<'m> {
    mosh: &'m Mosh,
    /// Its name and its number; the number makes its port.
    number: u16,
}

/// A login in LDAP.
#[derive(Debug, Clone)]
pub struct LdapLogin {
    name: String,
    uid: u32,
    rest: String,
}

impl LdapLogin {
    /// With `shell`, and a home of its own.
    #[must_use]
    pub fn new(name: &str, uid: u32) -> Self {
        Self { name: name.into(), uid, rest: String::new() }.line("loginShell: /bin/bash")
    }

    /// With this capability.
    #[must_use]
    pub fn capability(self, capability: &str) -> Self {
        self.line(&format!("mayfirstCapability: {capability}"))
    }

    /// With this password, in the clear: slapd compares it as it is.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        self.line(&format!("userPassword: {password}"))
    }

    /// With one more line of LDIF.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        let _ = writeln!(self.rest, "{line}");
        self
    }

    /// Its DN.
    #[must_use]
    pub fn dn(name: &str) -> String {
        format!("uid={name},ou=logins,{SUFFIX}")
    }

    /// The entry.
    #[must_use]
    pub fn ldif(&self) -> String {
        let Self { name, uid, rest } = self;
        format!(
            "dn: {dn}\nobjectClass: account\nobjectClass: posixAccount\nobjectClass: shadowAccount\nobjectClass: ldapPublicKey\n\
             objectClass: mayfirstLogin\ncn: Name of {name}\nuid: {name}\nuidNumber: {uid}\ngidNumber: {uid}\n\
             homeDirectory: /home/members/users/{name}\n{rest}\n",
            dn = Self::dn(name)
        )
    }
}

/// `20261123052026.123456Z#000000#000#000000` in microseconds since 1970 (RFC 4533 leaves the form to the server; this is OpenLDAP's).
#[must_use]
pub fn csn_micros(csn: &str) -> Option<u64> {
    let number = |from: usize, to: usize| csn.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    // Days since 1970 of the proleptic Gregorian calendar, from the first of March of year 0.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + number(8, 10)? * 3600 + number(10, 12)? * 60 + number(12, 14)?;
    u64::try_from(seconds * 1_000_000 + number(15, 21)?).ok()
}

/// How a provider hears of what is written at another one.
fn provider(number: u16, port: u16) -> String {
    format!(
        "olcSyncrepl: rid={number:03} provider=ldap://127.0.0.1:{port} bindmethod=simple binddn=\"cn=replicator,ou=services,{SUFFIX}\" credentials={PASSWORD} \
         searchbase=\"{SUFFIX}\" type=refreshAndPersist retry=\"1 +\" starttls=critical tls_cacert={FOLDER}/tls/ca.pem\n"
    )
}

/// The entry of a group with these further lines, such as `memberUid: ana`.
#[must_use]
pub fn group_ldif(name: &str, gid: u32, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!(
        "dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: mayfirstGroup\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {gid}\n{lines}\n"
    )
}

impl<'m> Slapd<'m> {
    /// Where clients of the network find it. It insists on TLS.
    #[must_use]
    pub fn url(self) -> String {
        format!("ldap://localhost:{}", self.port())
    }

    /// Where the machine's own clients find it.
    #[must_use]
    pub fn ldapi(self) -> String {
        format!("ldapi://{}%2Fldapi", self.folder().replace('/', "%2F"))
    }

    /// Where clients of other machines that share a folder with this one find it.
    #[must_use]
    pub fn shared(self) -> String {
        format!("ldapi://%2Fsrv%2Fshared%2Fldapi{}", self.number)
    }

    /// Encrypted from the beginning.
    #[must_use]
    pub fn ldaps(self) -> String {
        format!("ldaps://localhost:{}", self.port() + 300)
    }

    /// Changes entries, as root of the machine.
    pub fn modify(self, ldif: &str) -> Output {
        self.mosh.call(["ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", &self.ldapi()]).stdin(ldif).run()
    }

    /// Adds entries, as root of the machine.
    pub fn add_entries(self, ldif: &str) -> Output {
        self.mosh.call(["ldapadd", "-Q", "-Y", "EXTERNAL", "-H", &self.ldapi()]).stdin(ldif).run()
    }

    /// Removes an entry.
    pub fn remove(self, dn: &str) -> Output {
        self.mosh.run(["ldapdelete", "-Q", "-Y", "EXTERNAL", "-H", &self.ldapi(), dn])
    }

    /// What is stored, as LDIF: entries below the suffix that a filter finds, all their attributes, hashes too.
    #[must_use]
    pub fn stored(self, filter: &str) -> String {
        let root =
            ["-Q", "-LLL", "-o", "ldif-wrap=no", "-Y", "EXTERNAL", "-H", &self.ldapi(), "-b", SUFFIX, filter, "*", "+"];
        self.mosh.run(std::iter::once("ldapsearch").chain(root)).success().stdout
    }

    /// The number of the newest change of an entry, as a write returns it.
    ///
    /// # Panics
    /// When there is no such entry.
    #[track_caller]
    pub fn generation_of(self, dn: &str) -> u64 {
        let uri = self.ldapi();
        let search =
            ["ldapsearch", "-Q", "-LLL", "-o", "ldif-wrap=no", "-Y", "EXTERNAL", "-H", &uri, "-s", "base", "-b"];
        let found = self.mosh.run(search.into_iter().chain([dn, "entryCSN"])).success();
        let csn = found.stdout.lines().find_map(|line| line.strip_prefix("entryCSN: ").and_then(csn_micros));
        csn.unwrap_or_else(|| panic!("no entryCSN: {found}"))
    }

    /// It hears no more of what is written at the other provider: it looks for it where nobody is.
    pub fn cut_off(self) {
        self.provider(&provider(99, 0));
    }

    /// It hears of it again.
    pub fn join(self, other: Slapd<'_>) {
        self.provider(&provider(other.number, other.port()));
    }

    fn provider(self, line: &str) {
        self.modify(&format!("dn: olcDatabase={{1}}mdb,cn=config\nchangetype: modify\nreplace: olcSyncrepl\n{line}"))
            .success();
    }

    /// Gives it the list of hosts, as `schema/ldap/README.md` says for a server that runs.
    pub fn keep_fleet(self) {
        let folder = self.folder();
        let script = format!(
            "set -e; mkdir -p {folder}/fleet; cd /usr/share/identityd/ldap
             sed 's#/var/lib/ldap-fleet#{folder}/fleet#' fleet.ldif | ldapadd -Q -Y EXTERNAL -H {}",
            self.ldapi()
        );
        self.mosh.sh(&script).success();
        self.kill();
        self.mosh
            .sh(&format!("slapadd -n 2 -F {folder}/config -l /usr/share/identityd/ldap/fleet-tree.ldif 2>&1"))
            .success();
        self.start();
    }

    /// Who is on its list of hosts.
    #[must_use]
    pub fn hosts(self) -> Vec<String> {
        let uri = self.ldapi();
        let search = ["ldapsearch", "-Q", "-LLL", "-Y", "EXTERNAL", "-H", &uri, "-b", "cn=fleet", "-s", "one", "cn"];
        let found = self.mosh.run(search);
        found.stdout.lines().filter_map(|line| line.strip_prefix("cn: ").map(str::to_owned)).collect()
    }

    /// Runs a program of ldap-utils as a service account, such as `panel`, or `web1,cn=identityd`.
    pub fn as_account(self, account: &str, program: &[&str], stdin: &str) -> Output {
        let dn = format!("cn={account},ou=services,{SUFFIX}");
        let url = self.url();
        let bind = ["-x", "-ZZ", "-H", &url, "-D", &dn, "-w", PASSWORD];
        let words = program.iter().take(1).chain(bind.iter()).chain(program.iter().skip(1)).copied();
        self.mosh.call(words).env("LDAPTLS_CACERT", &format!("{FOLDER}/tls/ca.pem")).stdin(stdin).run()
    }

    /// What it has logged: each operation.
    #[must_use]
    pub fn log(self) -> String {
        self.mosh.try_read(&format!("{}/log", self.folder())).unwrap_or_default()
    }

    /// Kills it, as a crash would.
    pub fn kill(self) {
        let script = self.script();
        self.signal("KILL");
        // Who has started it hears of its end after that.
        self.mosh.wait_until("slapd has ended", Duration::from_secs(10), |mosh| {
            !self.alive() && mosh.forget_if_ended(&script)
        });
    }

    /// Stops it in mid-air: connections are taken by the kernel, nothing answers.
    pub fn pause(self) {
        self.signal("STOP");
    }

    /// Goes on after [`Slapd::pause`].
    pub fn resume(self) {
        self.signal("CONT");
    }

    /// Starts it again.
    pub fn start(self) {
        self.mosh.background(&self.script());
        self.mosh.listening(self.port());
    }

    /// It listens at these places one after the other: when it does at the last, it does at all.
    fn script(self) -> String {
        let (folder, port) = (self.folder(), self.port());
        let shared = if self.mosh.exists("/srv/shared") { self.shared() + " " } else { String::new() };
        format!(
            "echo $$ >{folder}/pid; exec slapd -d stats -F {folder}/config -h '{} {} {shared}ldap://127.0.0.1:{port}' 2>>{folder}/log",
            self.ldaps(),
            self.ldapi()
        )
    }

    fn alive(self) -> bool {
        self.mosh.sh(&format!("kill -0 $(cat {}/pid)", self.folder())).ok()
    }

    fn signal(self, signal: &str) {
        self.mosh.sh(&format!("kill -{signal} $(cat {}/pid)", self.folder())).success();
    }

    fn folder(self) -> String {
        format!("{FOLDER}/{}", self.number)
    }

    /// Its port on 127.0.0.1, in the clear until TLS is asked for.
    #[must_use]
    pub fn port(self) -> u16 {
        1388 + self.number
    }
}

impl Mosh {
    /// A slapd of its own with the product's configuration and these entries. `more` is LDIF for its database in `cn=config`, such as `olcSizeLimit: 5`.
    ///
    /// # Panics
    /// When the schema does not load or slapd does not start.
    #[track_caller]
    pub fn slapd(&self, entries: &str) -> Slapd<'_> {
        self.slapd_with(1, entries, "")
    }

    /// Starts the second slapd: a copy of `source` that follows it, and names it to who wants to write.
    ///
    /// # Panics
    /// As [`Self::slapd_with`].
    #[track_caller]
    pub fn slapd_copy_of(&self, source: &Slapd<'_>) -> Slapd<'_> {
        let more = format!("{}olcUpdateRef: {}\n", provider(source.number, source.port()), source.url());
        self.slapd_with(2, "", &more)
    }

    /// The same with a number, and further lines of its database in `cn=config`. From the second on it begins with what the first has: the same entries, not entries of the same names.
    ///
    /// # Panics
    /// When the schema does not load or slapd does not start.
    #[track_caller]
    pub fn slapd_with(&self, number: u16, entries: &str, more: &str) -> Slapd<'_> {
        let slapd = Slapd { mosh: self, number };
        let folder = slapd.folder();
        self.test_authority();
        self.sh(&format!("mkdir -p {folder}/config {folder}/data")).success();
        self.write(&format!("{folder}/entries.ldif"), entries);
        self.write(&format!("{folder}/more"), &more.lines().map(|line| format!("{line}\n")).collect::<String>());
        let script = format!(
            "set -e; cd {folder}
             sed -e 's#/var/lib/ldap#{folder}/data#' -e '/^olcPidFile/d' -e '/^olcArgsFile/d' \\
                 -e 's/^olcServerID: 1$/olcServerID: {number}/' \\
                 -e '/^olcDbMaxSize/r more' /usr/share/identityd/ldap/slapd.ldif >slapd.ldif
             slapadd -n 0 -F config -l slapd.ldif
             if test {number} = 1; then sed 's/{{CRYPT}}\\*/{PASSWORD}/' /usr/share/identityd/ldap/tree.ldif >tree.ldif
             else slapcat -n 1 -F {FOLDER}/1/config -l tree.ldif; fi
             slapadd -n 1 -F config -l tree.ldif 2>&1
             test ! -s entries.ldif || slapadd -q -n 1 -F config -l entries.ldif 2>&1"
        );
        // Some ten thousand entries take a while.
        self.call(["sh", "-c", &script]).limit(Duration::from_secs(600)).run().success();
        slapd.start();
        slapd
    }

    /// Two slapds that provide for each other (mirror mode); the entries are added to the first and have arrived at the second.
    #[track_caller]
    pub fn mirrored_slapds(&self, entries: &str) -> [Slapd<'_>; 2] {
        let first = self.slapd_with(1, "", &format!("{}olcMultiProvider: TRUE\n", provider(2, 1390)));
        let second = self.slapd_with(2, "", &format!("{}olcMultiProvider: TRUE\n", provider(1, 1389)));
        first.add_entries(entries).success();
        let count = entries.matches("dn: ").count();
        self.wait_until("the second slapd has all entries", Duration::from_secs(20), |mosh| {
            let listed = mosh.run([
                "ldapsearch",
                "-Q",
                "-LLL",
                "-Y",
                "EXTERNAL",
                "-H",
                &second.ldapi(),
                "-b",
                SUFFIX,
                "(objectClass=posixAccount)",
                "1.1",
            ]);
            listed.stdout.matches("dn: ").count() >= entries.matches("objectClass: posixAccount").count().min(count)
        });
        [first, second]
    }

    /// identityd follows these servers, with these further lines of `[directory]`.
    pub fn ldap_directory(&self, servers: &[String], more: &str) {
        const CONFIG: &str = "/etc/identityd/identityd.toml";
        self.write("/etc/identityd/ldap-password", &format!("{PASSWORD}\n"));
        self.sh("chown root:identityd /etc/identityd/ldap-password; chmod 0640 /etc/identityd/ldap-password").success();
        let ca = if more.contains("ca_file") { String::new() } else { format!("ca_file = \"{FOLDER}/tls/ca.pem\"\n") };
        let bind = if more.contains("sasl") {
            String::new()
        } else {
            format!(
                "bind_dn = \"cn=identityd,ou=services,{SUFFIX}\"\nbind_password_file = \"/etc/identityd/ldap-password\"\n"
            )
        };
        // identityctl is an administrator of its own.
        self.write("/etc/identityd/ldap-admin.password", &format!("{PASSWORD}\n"));
        self.sh("chmod 0600 /etc/identityd/ldap-admin.password").success();
        let admin = match more.contains("admin_dn") {
            true => String::new(),
            false => format!("admin_dn = \"cn=identityctl,ou=services,{SUFFIX}\"\n"),
        };
        let lines = format!("type = \"ldap\"\nservers = {servers:?}\nbase = \"{SUFFIX}\"\n{ca}{bind}{admin}{more}\n");
        let old = self.read(CONFIG);
        assert!(old.contains("type = \"sqlite\"\n"), "{CONFIG} names another directory already");
        self.write(CONFIG, &old.replace("type = \"sqlite\"\n", &lines));
    }

    /// A configuration file names another server than before.
    ///
    /// # Panics
    /// When it names none.
    #[track_caller]
    pub fn ldap_directory_is(&self, config: &str, server: &str) {
        self.ldap_directory_is_at(config, &[server.to_owned()]);
    }

    /// The same with several.
    ///
    /// # Panics
    /// When it names none.
    #[track_caller]
    pub fn ldap_directory_is_at(&self, config: &str, servers: &[String]) {
        let old = self.read(config);
        let line = old.lines().find(|line| line.starts_with("servers = ")).expect("a line of servers");
        self.write(config, &old.replace(line, &format!("servers = {servers:?}")));
    }

    /// An authority, a certificate of `localhost` by it, and another authority that nobody trusts; once.
    fn test_authority(&self) {
        if self.exists(&format!("{FOLDER}/tls/server.pem")) {
            return;
        }
        self.sh(&format!(
            "set -e; mkdir -p {FOLDER}/tls; cd {FOLDER}/tls
             new() {{ openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj \"/CN=$2\" -keyout $1.key -out $1.pem 2>/dev/null; }}
             new ca 'authority of the tests'; new other 'another authority'
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr 2>/dev/null
             printf 'subjectAltName=DNS:localhost,DNS:mosh,IP:127.0.0.1\\n' >ext
             openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out server.pem 2>/dev/null
             chmod 0644 *.pem
             ln -s {FOLDER}/tls /etc/ldap/tls"
        ))
        .success();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_csn_is_a_time() {
        assert_eq!(super::csn_micros("20010909014640.000007Z#000000#000#000000"), Some(1_000_000_000_000_007));
        assert_eq!(super::csn_micros("nonsense"), None);
    }
}
