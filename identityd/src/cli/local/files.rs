//! The four files as lines. What is not understood exactly is never touched, and every other byte stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::CliError;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sort {
    Passwd,
    Shadow,
    Group,
    Gshadow,
}

impl Sort {
    pub(super) const ALL: [Self; 4] = [Self::Passwd, Self::Shadow, Self::Group, Self::Gshadow];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passwd => "passwd",
            Self::Shadow => "shadow",
            Self::Group => "group",
            Self::Gshadow => "gshadow",
        }
    }

    pub(super) fn path(self, etc: &Path) -> PathBuf {
        etc.join(self.name())
    }

    /// passwd(5), shadow(5), group(5), gshadow(5).
    fn fields(self) -> usize {
        match self {
            Self::Passwd => 7,
            Self::Shadow => 9,
            Self::Group | Self::Gshadow => 4,
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/etc/{}", self.name())
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    sort: Sort,
    /// With their newlines.
    lines: Vec<Vec<u8>>,
}

impl File {
    pub(super) fn new(sort: Sort, bytes: &[u8]) -> Self {
        Self { sort, lines: bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect() }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// Every name, in the order of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| name(line))
    }

    pub(super) fn has(&self, wanted: &str) -> bool {
        self.names().any(|name| name == wanted)
    }

    /// The fields of the one line with this name; `None`: there is none.
    ///
    /// # Errors
    /// Why it cannot be taken out: there are several, or it is not exactly as its manual page says.
    pub(super) fn fields(&self, wanted: &str) -> Result<Option<Vec<String>>, String> {
        let mut lines = self.lines.iter().enumerate().filter(|(_, line)| name(line) == Some(wanted));
        let Some((at, line)) = lines.next() else { return Ok(None) };
        if let Some((other, _)) = lines.next() {
            return Err(format!("{} has its name in line {} and in line {}", self.sort, at + 1, other + 1));
        }
        let odd = || format!("line {} of {} is not exactly as {}(5) says", at + 1, self.sort, self.sort.name());
        // Full names may be in any encoding.
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        let fields: Vec<_> = text.split(':').map(str::to_owned).collect();
        let plain = fields.len() == self.sort.fields()
            && fields.first().is_some_and(|name| name == wanted)
            && schema::name::check(wanted.as_bytes()).is_ok()
            && !text.contains(char::is_control);
        if plain { Ok(Some(fields)) } else { Err(odd()) }
    }

    /// The line with this name.
    pub(super) fn line(&self, wanted: &str) -> Option<&[u8]> {
        self.lines.iter().find(|line| name(line) == Some(wanted)).map(Vec::as_slice)
    }

    /// The number in the third field of the first line with this name.
    pub(super) fn id_of(&self, wanted: &str) -> Option<u32> {
        self.lines.iter().find(|line| name(line) == Some(wanted)).and_then(|line| id(line))
    }

    /// Who has this number in the third field, whatever else is in the line.
    pub(super) fn names_of_id(&self, id: u32) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(move |line| self::id(line) == Some(id)).filter_map(|line| name(line))
    }

    /// The file without the lines of these names.
    pub(super) fn without(&self, names: &BTreeSet<String>) -> Self {
        let goes = |line: &&Vec<u8>| name(line).is_some_and(|name| names.contains(name));
        Self { sort: self.sort, lines: self.lines.iter().filter(|line| !goes(line)).cloned().collect() }
    }

    /// Puts the lines of these names back where they stood in `before`: behind the nearest line above them that is still there.
    pub(super) fn put_back(&mut self, before: &Self, names: &BTreeSet<String>) {
        let mut above: Vec<&Vec<u8>> = Vec::new();
        for line in &before.lines {
            if name(line).is_some_and(|name| names.contains(name) && !self.has(name)) {
                let found = above.iter().rev().find_map(|above| self.lines.iter().position(|line| same(line, above)));
                let at = found.map_or(0, |found| found + 1);
                let mut line = line.clone();
                let last = at == self.lines.len();
                if !last && !line.ends_with(b"\n") {
                    line.push(b'\n');
                }
                if let Some(previous) = at.checked_sub(1).and_then(|at| self.lines.get_mut(at))
                    && !previous.ends_with(b"\n")
                {
                    previous.push(b'\n');
                }
                self.lines.insert(at, line);
            }
            above.push(line);
        }
    }
}

/// Whether two lines are of one account, or the same without being of any.
fn same(one: &[u8], other: &[u8]) -> bool {
    match (name(one), name(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one == other,
        _ => false,
    }
}

/// The name of a line, as glibc reads it: blanks before it are skipped (nss/nss_files/files-parse.c). `None`: no account (comments, NIS, empty lines).
fn name(line: &[u8]) -> Option<&str> {
    let line = line.trim_ascii_start();
    let name = line.get(..line.iter().position(|byte| *byte == b':')?)?;
    std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))
}

fn id(line: &[u8]) -> Option<u32> {
    name(line)?;
    std::str::from_utf8(line.split(|byte| *byte == b':').nth(2)?).ok()?.parse().ok()
}

/// The groups that are the primary group of one of these accounts.
pub(super) fn primary_groups(passwd: &File, group: &File, accounts: &BTreeSet<String>) -> BTreeSet<String> {
    let accounts = accounts.iter().filter_map(|name| passwd.fields(name).ok().flatten());
    let gids: BTreeSet<u32> = accounts.filter_map(|fields| fields.get(3)?.parse().ok()).collect();
    gids.iter().flat_map(|gid| group.names_of_id(*gid)).map(str::to_owned).collect()
}

/// A number as every program writes it.
pub(super) fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// All four. shadow and gshadow may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<Sort, File>);

impl Files {
    /// Reads what is in this folder.
    ///
    /// # Errors
    /// A file that is missing, cannot be read, or is a link: it would be replaced by a file.
    pub(super) fn read(etc: &Path) -> Result<Self, CliError> {
        let mut files = BTreeMap::new();
        for sort in Sort::ALL {
            let path = sort.path(etc);
            match std::fs::symlink_metadata(&path) {
                Ok(found) if !found.is_file() => {
                    return Err(CliError::Refused(format!(
                        "{} is not a plain file: change what it stands for by hand",
                        path.display()
                    )));
                }
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && matches!(sort, Sort::Shadow | Sort::Gshadow) =>
                {
                    continue;
                }
                _ => {}
            }
            let bytes = std::fs::read(&path).map_err(CliError::io(format!("read {}", path.display())))?;
            files.insert(sort, File::new(sort, &bytes));
        }
        Ok(Self(files))
    }

    #[cfg(test)]
    pub(super) fn of(files: impl IntoIterator<Item = File>) -> Self {
        Self(files.into_iter().map(|file| (file.sort, file)).collect())
    }

    /// Nothing if the file is missing.
    pub(super) fn get(&self, sort: Sort) -> Option<&File> {
        self.0.get(&sort)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Sort, &File)> {
        self.0.iter().map(|(sort, file)| (*sort, file))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Sort, &mut File)> {
        self.0.iter_mut().map(|(sort, file)| (*sort, file))
    }

    /// Puts lines of one of them back ([`File::put_back`]).
    pub(super) fn put_back(&mut self, sort: Sort, before: &File, names: &BTreeSet<String>) {
        if let Some(file) = self.0.get_mut(&sort) {
            file.put_back(before, names);
        }
    }

    /// Without the lines of these names.
    pub(super) fn without(&self, lines: &Lines) -> Self {
        let without = |(sort, file): (&Sort, &File)| (*sort, file.without(lines.of(*sort)));
        Self(self.0.iter().map(without).collect())
    }
}

/// Names of lines of each file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lines {
    #[serde(default)]
    pub(super) passwd: BTreeSet<String>,
    #[serde(default)]
    pub(super) shadow: BTreeSet<String>,
    #[serde(default)]
    pub(super) group: BTreeSet<String>,
    #[serde(default)]
    pub(super) gshadow: BTreeSet<String>,
}

impl Lines {
    pub(super) fn of(&self, sort: Sort) -> &BTreeSet<String> {
        match sort {
            Sort::Passwd => &self.passwd,
            Sort::Shadow => &self.shadow,
            Sort::Group => &self.group,
            Sort::Gshadow => &self.gshadow,
        }
    }

    pub(super) fn of_mut(&mut self, sort: Sort) -> &mut BTreeSet<String> {
        match sort {
            Sort::Passwd => &mut self.passwd,
            Sort::Shadow => &mut self.shadow,
            Sort::Group => &mut self.group,
            Sort::Gshadow => &mut self.gshadow,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        Sort::ALL.iter().all(|sort| self.of(*sort).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n# note\nana:x:2001:2001::/home/ana:/bin/sh\nben:x:2002:2002::/home/ben:/bin/sh\n+::::::\nlast:x:2003:2003::/home/last:/bin/sh";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn without(taken: &[&str]) -> File {
        File::new(Sort::Passwd, PASSWD).without(&names(taken))
    }

    #[test]
    fn what_is_taken_out_and_put_back_is_the_same_to_the_byte() {
        let before = File::new(Sort::Passwd, PASSWD);
        assert_eq!(before.bytes(), PASSWD);
        for taken in [&["ana"][..], &["ben"], &["ana", "ben"], &["last"], &["root", "ana", "ben", "last"], &[]] {
            let mut file = without(taken);
            assert_eq!(file.lines.len() + taken.len(), before.lines.len());
            file.put_back(&before, &names(taken));
            assert_eq!(String::from_utf8_lossy(&file.bytes()), String::from_utf8_lossy(PASSWD), "{taken:?}");
        }
    }

    #[test]
    fn a_line_goes_back_to_its_place_in_a_file_that_has_changed_meanwhile() {
        let before = File::new(Sort::Passwd, PASSWD);
        let now = b"root:x:0:0:root:/root:/bin/zsh\nnew:x:999:999::/:/bin/false\nlast:x:2003:2003::/home/last:/bin/sh";
        let mut file = File::new(Sort::Passwd, now);
        file.put_back(&before, &names(&["ana", "ben"]));
        assert_eq!(file.names().collect::<Vec<_>>(), ["root", "ana", "ben", "new", "last"]);
    }

    #[test]
    fn only_a_line_that_is_exactly_as_the_manual_says_is_understood() {
        let of = |text: &str| File::new(Sort::Group, text.as_bytes()).fields("web").map(|fields| fields.is_some());
        assert_eq!(of("web:x:3000:ana\n"), Ok(true));
        assert_eq!(of("web:x:3000:ana"), Ok(true));
        assert_eq!(of("weby:x:3000:\n#web:x:1:\n+web:::\n"), Ok(false));
        for odd in [" web:x:3000:\n", "web:x:3000\n", "web:x:3000::\n", "web:x:3000:\r\n", "web:x:1:\nweb:x:1:\n"] {
            assert!(of(odd).is_err(), "{odd:?}");
        }
    }
}
