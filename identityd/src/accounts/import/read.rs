//! From files to candidates: what can be said without the directory.

use std::collections::HashMap;

use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::LoginName;
use schema::record::{Aging, Login, Status};

use super::lines::{Line, Reject, carriage_returns, lines, shown};
use super::passwd::{PasswdLine, PrimaryGroup};
use super::shadow::ShadowLine;
use super::{
    Candidates, Fate, File, Files, Finding, GroupCandidate, LoginCandidate, Options, Origin, group, passwd, shadow,
};
use crate::accounts::host::Host;

impl Files {
    /// Reads the files. Every line becomes a candidate or has a finding that says why not.
    #[must_use]
    pub fn read(&self, options: &Options, host: &Host) -> Candidates {
        let mut reader = Reader { options, host, out: Candidates::default() };
        let gids = reader.groups(self.group.as_ref());
        let mut shadows = reader.shadows(self.shadow.as_ref());
        let rest = reader.logins(self.passwd.as_ref(), &gids, &mut shadows);
        for (name, (origin, _)) in shadows {
            let (fate, reason) = match rest.get(name.as_str()) {
                Some((true, _)) => (Fate::Skipped, "of the system: so is its line in passwd".into()),
                Some((false, line)) => (Fate::Refused, format!("line {line} of passwd is not taken")),
                None => (Fate::Refused, "there is no line of this name in passwd".into()),
            };
            reader.finding(origin, fate, Some(name.to_string()), reason);
        }
        let mut out = reader.out;
        out.findings.sort_by(|a, b| (&a.origin.file, a.origin.line).cmp(&(&b.origin.file, b.origin.line)));
        out
    }
}

struct Reader<'a> {
    options: &'a Options,
    host: &'a Host,
    out: Candidates,
}

/// Where a gid of group(5) stands: the line that was taken, or the one that was not.
type Gids = HashMap<GroupId, Option<u64>>;
type Shadows = HashMap<LoginName, (Origin, ShadowLine)>;
/// Names whose passwd line is not taken: whether it is of the system, and the line.
type Rest = HashMap<String, (bool, u64)>;

impl Reader<'_> {
    fn groups(&mut self, file: Option<&File>) -> Gids {
        let mut gids = Gids::new();
        let mut names: HashMap<String, u64> = HashMap::new();
        let Some(file) = file else {
            return gids;
        };
        self.begin(file);
        for line in lines(&file.content) {
            let origin = origin(file, &line);
            let parsed = match group::parse(line.bytes, self.options.floor) {
                Ok(parsed) => parsed,
                Err(reject) => {
                    // A login whose primary group is this one must not end up in another.
                    if reject.fate == Fate::Refused
                        && let Some(gid) = field(line.bytes, 2).and_then(|text| text.parse::<u32>().ok())
                        && let Ok(gid) = GroupId::try_from(gid)
                    {
                        gids.entry(gid).or_insert(Some(line.number));
                    }
                    self.reject(origin, line.bytes, reject);
                    continue;
                }
            };
            let name = parsed.group.name.to_string();
            if let Some(first) = names.get(&name) {
                self.finding(origin, Fate::Refused, Some(name), format!("line {first} has the same name"));
                continue;
            }
            if gids.contains_key(&parsed.group.gid) {
                let reason = format!("the gid {} is in an earlier line", parsed.group.gid);
                self.finding(origin, Fate::Refused, Some(name), reason);
                continue;
            }
            names.insert(name.clone(), line.number);
            gids.insert(parsed.group.gid, None);
            for note in parsed.notes {
                self.finding(origin.clone(), Fate::Noted, Some(name.clone()), note);
            }
            self.out.groups.push(GroupCandidate { origin, group: parsed.group });
        }
        gids
    }

    fn shadows(&mut self, file: Option<&File>) -> Shadows {
        let mut shadows = Shadows::new();
        let Some(file) = file else {
            return shadows;
        };
        self.begin(file);
        let mut broken = Vec::new();
        for line in lines(&file.content) {
            let origin = origin(file, &line);
            match shadow::parse(line.bytes) {
                Ok(parsed) => match shadows.get(&parsed.name) {
                    Some((first, _)) => {
                        let reason = format!("line {} has the same name", first.line);
                        self.finding(origin, Fate::Refused, Some(parsed.name.to_string()), reason);
                    }
                    None => {
                        shadows.insert(parsed.name.clone(), (origin, parsed));
                    }
                },
                Err(reject) => {
                    // Only a valid name is shown: the line may hold a hash anywhere.
                    let name =
                        line.bytes.split(|byte| *byte == b':').next().and_then(|name| LoginName::from_bytes(name).ok());
                    if let Some(name) = name.as_ref().filter(|_| reject.fate == Fate::Refused) {
                        broken.push((name.clone(), line.number));
                    }
                    self.finding(origin, reject.fate, name.map(String::from), reject.reason);
                }
            }
        }
        // Fail closed: who might be expired must not come back to life.
        for (name, line) in broken {
            if let Some((origin, _)) = shadows.remove(&name) {
                let reason = format!("line {line} has the same name and is broken: which of them holds is unknown");
                self.finding(origin, Fate::Refused, Some(name.to_string()), reason);
            }
        }
        shadows
    }

    fn logins(&mut self, file: Option<&File>, gids: &Gids, shadows: &mut Shadows) -> Rest {
        let mut rest = Rest::new();
        let mut names: HashMap<LoginName, u64> = HashMap::new();
        let mut uids: HashMap<u32, u64> = HashMap::new();
        let mut own = Gids::new();
        let Some(file) = file else {
            return rest;
        };
        self.begin(file);
        for line in lines(&file.content) {
            let origin = origin(file, &line);
            let parsed = match passwd::parse(line.bytes, self.options, self.host) {
                Ok(parsed) => parsed,
                Err(reject) => {
                    if let Some(name) = field(line.bytes, 0) {
                        rest.entry(name.into()).or_insert((passwd::is_of_the_system(&reject), line.number));
                    }
                    self.reject(origin, line.bytes, reject);
                    continue;
                }
            };
            let name = parsed.name.clone();
            let refusal = if let Some(first) = names.get(&name) {
                Some(format!("line {first} has the same name"))
            } else if let Some(first) = uids.get(&parsed.uid.raw()) {
                Some(format!("line {first} has the same uid {}: two names for one owner of files", parsed.uid))
            } else if let PrimaryGroup::Gid(gid) = parsed.gid
                && let Some(Some(line)) = gids.get(&gid)
            {
                Some(format!("its primary group {gid} is line {line} of group, which is not taken"))
            } else {
                None
            };
            if let Some(reason) = refusal {
                if !names.contains_key(&name) {
                    rest.insert(name.to_string(), (false, line.number));
                }
                self.finding(origin, Fate::Refused, Some(name.to_string()), reason);
                continue;
            }
            names.insert(name.clone(), line.number);
            uids.insert(parsed.uid.raw(), line.number);
            let shadow = shadows.remove(&name);
            let candidate = self.login(origin, parsed, shadow, gids, &mut own);
            self.out.logins.push(candidate);
        }
        rest
    }

    fn login(
        &mut self,
        origin: Origin,
        line: PasswdLine,
        shadow: Option<(Origin, ShadowLine)>,
        gids: &Gids,
        own: &mut Gids,
    ) -> LoginCandidate {
        let name = Some(line.name.to_string());
        for note in line.notes {
            self.finding(origin.clone(), Fate::Noted, name.clone(), note);
        }
        let (status, password, aging, shadow) = match (line.password.as_slice(), shadow) {
            (b"x", Some((at, shadow))) => {
                for note in shadow.notes {
                    self.finding(at.clone(), Fate::Noted, name.clone(), note);
                }
                (shadow.password.status, shadow.password.hash, shadow.aging, Some(at))
            }
            (b"x", None) => {
                let note = "there is no usable line in shadow: it is imported locked, without a password";
                self.finding(origin.clone(), Fate::Noted, name.clone(), note.into());
                (Status::Locked, PasswordHash::none(), Aging::default(), None)
            }
            (field, shadow) => {
                let found = shadow::password(field);
                if let Some(note) = found.note {
                    self.finding(origin.clone(), Fate::Noted, name.clone(), note);
                }
                let at = shadow.map(|(at, shadow)| {
                    let note =
                        "passwd has a password field other than x, which counts; only the aging is taken from here";
                    self.finding(at.clone(), Fate::Noted, name.clone(), note.into());
                    (at, shadow.aging)
                });
                let (at, aging) = at.map_or((None, Aging::default()), |(at, aging)| (Some(at), aging));
                (found.status, found.hash, aging, at)
            }
        };
        let (gid, own_group) = match line.gid {
            PrimaryGroup::Gid(gid) if gids.contains_key(&gid) || own.contains_key(&gid) => (gid, false),
            PrimaryGroup::Gid(gid) => {
                own.insert(gid, None);
                let note = format!("its primary group {gid} has no line in group: a group of the login's name is made");
                self.finding(origin.clone(), Fate::Noted, name, note);
                (gid, true)
            }
            // A number that is right for a uid is right for a gid.
            PrimaryGroup::Own => {
                (GroupId::try_from(line.uid.raw()).unwrap_or_else(|_| unreachable!("one rule for ids")), true)
            }
        };
        LoginCandidate {
            origin,
            shadow,
            login: Login {
                name: line.name,
                uid: line.uid,
                gid,
                gecos: line.gecos,
                home: line.home,
                shell: line.shell,
                status,
                capabilities: line.capabilities,
                aging,
                membership: line.membership,
            },
            password,
            own_group,
        }
    }

    fn begin(&mut self, file: &File) {
        let count = u64::try_from(lines(&file.content).count()).unwrap_or(u64::MAX);
        self.out.lines.push((file.name.clone(), count));
        self.out.findings.extend(carriage_returns(&file.name, &file.content));
    }

    fn reject(&mut self, origin: Origin, line: &[u8], reject: Reject) {
        let name = line.split(|byte| *byte == b':').next().filter(|name| !name.is_empty()).map(shown);
        let name = name.filter(|_| line.contains(&b':'));
        self.finding(origin, reject.fate, name, reject.reason);
    }

    fn finding(&mut self, origin: Origin, fate: Fate, name: Option<String>, reason: String) {
        self.out.findings.push(Finding { origin, fate, name, reason });
    }
}

fn origin(file: &File, line: &Line<'_>) -> Origin {
    Origin { file: file.name.clone(), line: line.number }
}

fn field(line: &[u8], at: usize) -> Option<&str> {
    line.split(|byte| *byte == b':').nth(at).and_then(|field| std::str::from_utf8(field).ok())
}
