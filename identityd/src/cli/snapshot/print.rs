//! `identityctl snapshot print`.

use std::path::Path;

use schema::snapshot::Answer;
use schema::snapshot::layout::{FileKind, Section};
use schema::snapshot::view::{Group, Kind, Login, View};
use serde_json::{Value, json};

use super::super::output::{Output, json_text, printable};
use super::super::{CliError, Exit};
use super::{LIVE, entries, header};
use crate::snapshot::open::{OpenError, Part, Published, State};

/// So many bytes are gathered before they are written.
const CHUNK: usize = 1 << 16;

/// Which entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Map {
    Passwd,
    Group,
    Initgroups,
}

impl Map {
    fn of(word: &str) -> Option<Self> {
        match word {
            "passwd" => Some(Self::Passwd),
            "group" => Some(Self::Group),
            "initgroups" => Some(Self::Initgroups),
            _ => None,
        }
    }
}

/// A name, or an id where it is all digits: no name is.
enum Key {
    Name(String),
    Id(u32),
}

/// What was found at a path.
enum Found {
    Control(State),
    Delta(Box<Part>),
    Published(Box<Published>),
}

pub(super) fn run(
    output: &Output,
    from: Option<String>,
    map: Option<String>,
    key: Option<String>,
) -> Result<Exit, CliError> {
    // The place can be left out: a map in front of it is the map. A file of that name is ./passwd.
    let (from, map, key) = match from {
        Some(word) if Map::of(&word).is_some() && key.is_none() => (LIVE.to_owned(), Some(word), map),
        from => (from.unwrap_or_else(|| LIVE.to_owned()), map, key),
    };
    let map = match &map {
        None => None,
        Some(word) => match Map::of(word) {
            Some(map) => Some(map),
            None => return Err(CliError::Refused(format!("{word}: no such map; say passwd, group or initgroups"))),
        },
    };
    let found = find(Path::new(&from))?;
    let Some(map) = map else {
        headers(output, &from, &found)?;
        return Ok(Exit::Ok);
    };
    let key = key.map(|key| key.parse().map_or(Key::Name(key), Key::Id));
    match found {
        Found::Control(_) => {
            Err(CliError::Refused(format!("{from} is a control page and has no entries; name its directory")))
        }
        Found::Delta(part) => Printer::new(output).delta(&part, map, key.as_ref()),
        Found::Published(published) => Printer::new(output).published(&published, map, key.as_ref()),
    }
}

fn find(path: &Path) -> Result<Found, CliError> {
    if path.is_dir() {
        return match Published::open(path) {
            Ok(published) => Ok(Found::Published(Box::new(published))),
            // The page alone is worth showing.
            Err(OpenError::Nothing(_)) if path.join("control").exists() => {
                Ok(Found::Control(State::read(&path.join("control"))?))
            }
            Err(error) => Err(error.into()),
        };
    }
    match Part::open(path) {
        Ok(part) if part.header.kind == FileKind::Delta => Ok(Found::Delta(Box::new(part))),
        Ok(part) => Ok(Found::Published(Box::new(Published::of_base(part)))),
        Err(error) => match State::read(path) {
            Ok(state) => Ok(Found::Control(state)),
            Err(_) => Err(error.into()),
        },
    }
}

fn headers(output: &Output, from: &str, found: &Found) -> Result<(), CliError> {
    let (state, parts) = match found {
        Found::Control(state) => (Some(state), Vec::new()),
        Found::Delta(part) => (None, vec![&**part]),
        Found::Published(published) => {
            (published.state.as_ref(), std::iter::once(&published.base).chain(&published.delta).collect())
        }
    };
    let mut value = json!({"path": from});
    if let (Some(state), Some(object)) = (state, value.as_object_mut()) {
        object.insert("control".into(), header::of_state_json(state));
    }
    for part in &parts {
        if let Some(object) = value.as_object_mut() {
            object.insert(header::kind(&part.header).into(), header::of_part_json(part));
        }
    }
    output.show(&value, |output| {
        let mut text = String::new();
        let mut chapter = |title: String, pairs: &[(&str, String)]| {
            let lead = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{lead}{title}\n"));
            for line in output.pairs(pairs).lines() {
                text.push_str(&format!("  {line}\n"));
            }
        };
        if let Some(state) = state {
            chapter(format!("control page of {from}"), &header::of_state(state));
        }
        for part in parts {
            chapter(format!("{} {}", header::kind(&part.header), part.path.display()), &header::of_part(part));
        }
        text
    })
}

/// Writes entries as they come: a million of them are not gathered first.
struct Printer<'a> {
    output: &'a Output,
    pending: String,
    written: u64,
    listed: bool,
}

impl<'a> Printer<'a> {
    fn new(output: &'a Output) -> Self {
        Self { output, pending: String::new(), written: 0, listed: false }
    }

    fn published(mut self, published: &Published, map: Map, key: Option<&Key>) -> Result<Exit, CliError> {
        let snapshot = published.snapshot()?;
        let path = &published.newest_part().path;
        if let Some(key) = key {
            let found = match (map, key) {
                (Map::Group, Key::Name(name)) => self.one(snapshot.group_by_name(name.as_bytes()), Self::group, path),
                (Map::Group, Key::Id(gid)) => self.one(snapshot.group_by_gid(*gid), Self::group, path),
                (map, Key::Name(name)) => {
                    self.one(snapshot.login_by_name(name.as_bytes()), |out, login| out.login(map, login), path)
                }
                (map, Key::Id(uid)) => self.one(snapshot.login_by_uid(*uid), |out, login| out.login(map, login), path),
            }?;
            self.flush()?;
            return Ok(if found { Exit::Ok } else { Exit::NotFound });
        }
        self.begin()?;
        let mut after = 0;
        if map == Map::Group {
            while self.one(
                snapshot.group_after(after),
                |out, group| {
                    after = group.id();
                    out.group(group)
                },
                path,
            )? {}
        } else {
            while self.one(
                snapshot.login_after(after),
                |out, login| {
                    after = login.id();
                    out.login(map, login)
                },
                path,
            )? {}
        }
        self.end()?;
        Ok(Exit::Ok)
    }

    /// Hands on what was found; whether something was.
    fn one<T>(
        &mut self,
        answer: Answer<T>,
        print: impl FnOnce(&mut Self, &T) -> Result<bool, CliError>,
        path: &Path,
    ) -> Result<bool, CliError> {
        let damaged =
            || CliError::Unavailable(format!("{} is damaged here; run: identityctl snapshot verify", path.display()));
        match answer {
            Answer::Found(entry) => match print(self, &entry)? {
                true => Ok(true),
                false => Err(damaged()),
            },
            Answer::Absent => Ok(false),
            Answer::Unusable => Err(damaged()),
        }
    }

    /// What a delta says, without its base.
    fn delta(mut self, part: &Part, map: Map, key: Option<&Key>) -> Result<Exit, CliError> {
        let view = part.view()?;
        if !self.output.is_json() {
            let area = if map == Map::Group { Section::Groups } else { Section::Logins };
            for gone in gone(&view, area, key) {
                self.write(&format!("# gone: {gone}\n"))?;
                self.written += 1;
            }
        }
        self.begin()?;
        if map == Map::Group {
            for group in view.entries::<Group<'_>>().filter(|group| matches(key, group)) {
                self.group(&group)?;
            }
        } else {
            for login in view.entries::<Login<'_>>().filter(|login| matches(key, login)) {
                self.login(map, &login)?;
            }
        }
        let found = self.written > 0 || key.is_none();
        self.end()?;
        Ok(if found { Exit::Ok } else { Exit::NotFound })
    }

    fn login(&mut self, map: Map, login: &Login<'_>) -> Result<bool, CliError> {
        if map == Map::Initgroups {
            self.entry(|| entries::initgroups(login), || entries::initgroups_json(login))
        } else {
            self.entry(|| entries::passwd(login), || entries::passwd_json(login))
        }
    }

    fn group(&mut self, group: &Group<'_>) -> Result<bool, CliError> {
        self.entry(|| entries::group(group), || entries::group_json(group))
    }

    /// Writes one entry. False: it is damaged.
    fn entry(
        &mut self,
        line: impl FnOnce() -> Option<String>,
        value: impl FnOnce() -> Option<Value>,
    ) -> Result<bool, CliError> {
        // A file that is read here may be anybody's: its names and fields are not checked as the directory's are.
        let text = match self.output.is_json() {
            true => value().map(|value| json_text(value.to_string())),
            false => line().map(|line| printable(&line)),
        };
        let Some(text) = text else { return Ok(false) };
        let lead = if self.listed && self.written > 0 { ",\n" } else { "" };
        let end = if self.listed { "" } else { "\n" };
        self.write(&format!("{lead}{text}{end}"))?;
        self.written += 1;
        Ok(true)
    }

    fn begin(&mut self) -> Result<(), CliError> {
        self.listed = self.output.is_json();
        if self.listed { self.write("[") } else { Ok(()) }
    }

    fn end(mut self) -> Result<(), CliError> {
        if self.listed {
            self.write("]\n")?;
        }
        self.flush()
    }

    fn write(&mut self, text: &str) -> Result<(), CliError> {
        self.pending.push_str(text);
        if self.pending.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.output.raw(&std::mem::take(&mut self.pending))
    }
}

fn matches<'a, K: Kind<'a>>(key: Option<&Key>, entry: &K) -> bool {
    match key {
        None => true,
        Some(Key::Name(name)) => entry.name() == name.as_bytes(),
        Some(Key::Id(id)) => entry.id() == *id,
    }
}

/// The names and ids that a delta says are gone.
fn gone(view: &View<'_>, area: Section, key: Option<&Key>) -> Vec<String> {
    let names = view.dead_names(area).filter(|name| match key {
        Some(Key::Name(key)) => key.as_bytes() == *name,
        Some(Key::Id(_)) => false,
        None => true,
    });
    let ids = view.dead_ids(if area == Section::Logins { Section::LoginIds } else { Section::GroupIds });
    let ids = ids.filter(|id| match key {
        Some(Key::Id(key)) => key == id,
        Some(Key::Name(_)) => false,
        None => true,
    });
    let label = if area == Section::Logins { "uid" } else { "gid" };
    let mut all: Vec<_> =
        names.map(|name| format!("name {}", String::from_utf8_lossy(name).escape_default())).collect();
    let mut ids: Vec<_> = ids.collect();
    ids.sort_unstable();
    all.extend(ids.iter().map(|id| format!("{label} {id}")));
    all
}
