//! Ids: the counter of new ones, and those that a deleted login or group had. Nobody gets one of these again, but its own name.

use std::collections::BTreeSet;
use std::time::SystemTime;

use schema::date::Date;
use schema::id::{CEILING, FLOOR, RESERVED};

use super::super::{Retired, Stored};
use super::work::LdapWork;
use super::{NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT, failed, fields, read, refused, unless};
use crate::directory::Kind;
use crate::directory::ldap::admin::{Attributes, NEXT_ID};
use crate::directory::ldap::client::{LdapFailure, Search};
use crate::directory::ldap::{LdapDirectory, RawEntry, filter};

/// So often others may be faster.
const TRIES: u32 = 200;
/// What is asked of the entry of a retired id.
pub(super) const ATTRIBUTES: [&str; 7] =
    ["cn", "uid", fields::KIND, "uidNumber", "gidNumber", fields::RESTORE, "createTimestamp"];
/// Comparisons in one filter.
const CHUNK: usize = 100;

impl LdapWork {
    /// Takes the next id that was never a uid or gid. The counter goes from what was read to what follows, or not at all if somebody was faster (compare and swap): so no two get one.
    pub(super) async fn take_id(&mut self) -> Stored<Option<i64>> {
        let counter = self.directory.config().counter();
        for _ in 0..TRIES {
            let begins = begins(&self.directory).await?;
            let Some(id) = free_from(&self.directory, begins).await? else { return Ok(None) };
            let next = (id + 1).min(i64::from(CEILING));
            match self.writer.modify(&counter, fields::counted(begins, next), false).await {
                Ok(()) => return Ok(Some(id)),
                Err(LdapFailure::Said { code: NO_SUCH_ATTRIBUTE, .. }) => {}
                Err(failure) => return Err(failed(&self.directory, &format!("the counter {counter}"), &failure)),
            }
        }
        refused(format!("others take ids out of {counter} without end; try again"))
    }

    /// Has new ids begin at this one, or above it.
    pub(super) async fn begin_ids_at(&mut self, id: i64) -> Stored<()> {
        let counter = self.directory.config().counter();
        for _ in 0..TRIES {
            let begins = begins(&self.directory).await?;
            if begins >= id {
                return Ok(());
            }
            let swapped = self.writer.modify(&counter, fields::counted(begins, id), false).await;
            let swapped = unless(swapped, &[NO_SUCH_ATTRIBUTE])
                .map_err(|failure| failed(&self.directory, &format!("the counter {counter}"), &failure))?;
            if swapped {
                return Ok(());
            }
        }
        refused(format!("others take ids out of {counter} without end; try again"))
    }

    /// Puts an id down as used, before what has it is removed. One that is down already stays as it is.
    pub(super) async fn retire(&mut self, kind: Kind, retired: &Retired) -> Stored<()> {
        let dn = fields::retired_dn(self.directory.config(), kind, retired.id);
        let entry = fields::retired(kind, retired);
        self.writer.put_down(&dn, entry, fields::retired_number(kind)).await.map_err(|failure| {
            failed(&self.directory, &format!("the retired id {dn} cannot be kept, so nothing is removed"), &failure)
        })
    }

    /// Adds an entry that has an id. What its own name had before it may have again: then the retired entry lets go of the number first, because the server lets no two have it (slapo-unique).
    pub(super) async fn add_with_id(
        &mut self,
        dn: &str,
        entry: Attributes,
        (kind, id): (Kind, i64),
        name: &str,
    ) -> Result<(), LdapFailure> {
        match self.writer.add(dn, entry.clone(), true).await {
            Err(LdapFailure::Said { code: 19, text }) if text.contains("unique") => {
                if !self.let_go(kind, id, name).await? {
                    return Err(LdapFailure::Said { code: 19, text });
                }
                self.writer.add(dn, entry, true).await
            }
            other => other,
        }
    }

    /// The entry of a retired id stays, without its number; `false`: this name had it not, or nobody.
    async fn let_go(&mut self, kind: Kind, id: i64, name: &str) -> Result<bool, LdapFailure> {
        let dn = fields::retired_dn(self.directory.config(), kind, id);
        let entry = self.directory.entry(&dn, &ATTRIBUTES).await;
        let entry = entry.map_err(|error| LdapFailure::Away(error.to_string()))?;
        let own = entry.as_ref().and_then(fields::read_retired).is_some_and(|(_, retired)| retired.name == name);
        if !own {
            return Ok(false);
        }
        let mods = vec![fields::one_less(fields::retired_number(kind), &id.to_string())];
        unless(self.writer.modify(&dn, mods, false).await, &[NO_SUCH_ATTRIBUTE])
    }

    /// Its own name has taken it back.
    pub(super) async fn unretire(&mut self, kind: Kind, id: i64) -> Stored<()> {
        let dn = fields::retired_dn(self.directory.config(), kind, id);
        let gone = self.writer.delete(&dn, false).await;
        unless(gone, &[NO_SUCH_OBJECT]).map(|_| ()).map_err(|failure| failed(&self.directory, &dn, &failure))
    }
}

/// Where the search for a new id begins.
pub(super) async fn begins(directory: &LdapDirectory) -> Stored<i64> {
    let counter = directory.config().counter();
    let entry = directory.entry(&counter, &[NEXT_ID]).await?;
    match entry.and_then(|entry| entry.text(NEXT_ID)).and_then(|text| text.parse().ok()) {
        Some(begins) => Ok(begins),
        None => refused(format!(
            "there is no counter of new ids at {counter} (schema/ldap/tree.ldif has it; [directory.write] counter names another); or give the id yourself"
        )),
    }
}

/// The first id from here on that was never a uid or gid. One question at a time is the usual case; a block that was taken from elsewhere is read at once.
async fn free_from(directory: &LdapDirectory, begins: i64) -> Stored<Option<i64>> {
    let first = allowed(begins.max(i64::from(FLOOR)));
    if first.is_none_or(|id| id > i64::from(CEILING)) {
        return Ok(None);
    }
    let Some(first) = first else { return Ok(None) };
    if !is_used(directory, first).await? {
        return Ok(Some(first));
    }
    let used = used_from(directory, first).await?;
    let mut id = first;
    while used.contains(&id) {
        match allowed(id + 1) {
            Some(next) => id = next,
            None => return Ok(None),
        }
    }
    Ok(Some(id))
}

/// This id, or the next one outside of what is reserved.
fn allowed(id: i64) -> Option<i64> {
    let inside = id >= i64::from(*RESERVED.start()) && id <= i64::from(*RESERVED.end());
    let id = if inside { i64::from(*RESERVED.end()) + 1 } else { id };
    (id <= i64::from(CEILING)).then_some(id)
}

async fn is_used(directory: &LdapDirectory, id: i64) -> Stored<bool> {
    let (config, number) = (directory.config(), id.to_string());
    Ok(!read::logins(directory, &filter::equal(&config.attributes.uid, number.as_bytes())).await?.is_empty()
        || !read::groups(directory, &filter::equal(&config.attributes.group_gid, number.as_bytes())).await?.is_empty()
        || directory.entry(&fields::retired_dn(config, Kind::Login, id), &["1.1"]).await?.is_some()
        || directory.entry(&fields::retired_dn(config, Kind::Group, id), &["1.1"]).await?.is_some())
}

async fn used_from(directory: &LdapDirectory, from: i64) -> Stored<BTreeSet<i64>> {
    let config = directory.config();
    let mut used = BTreeSet::new();
    let mut note = |entry: &RawEntry, attribute: &str| {
        used.extend(entry.text(attribute).and_then(|text| text.parse::<i64>().ok()));
    };
    let (logins, groups) = (config.login_bases().iter(), config.group_bases().iter());
    let logins = logins.map(|base| (base, &config.login_filter, &config.attributes.uid));
    let groups = groups.map(|base| (base, &config.group_filter, &config.attributes.group_gid));
    for (base, all, attribute) in logins.chain(groups) {
        let search = Search {
            base: base.clone(),
            scope: directory.scope(),
            filter: filter::and(all, &format!("({attribute}>={from})")),
            attributes: vec![attribute.clone()],
            limit: 0,
            optional: false,
        };
        directory.find_all(search, |entry| note(&entry, attribute)).await?;
    }
    for entry in
        read::children(directory, config.retired(), format!("(objectClass={})", fields::RETIRED), &ATTRIBUTES).await?
    {
        used.extend(fields::read_retired(&entry).map(|(_, retired)| retired.id));
    }
    Ok(used)
}

/// Deleted entries of one kind, and of one id or one name if given, by id. What lives (again) under its name is none, although an interruption may have left its mark.
pub(super) async fn retired(
    directory: &LdapDirectory,
    kind: Kind,
    id: Option<i64>,
    name: Option<&str>,
) -> Stored<Vec<Retired>> {
    let config = directory.config();
    let entries = match id {
        Some(id) => directory.entry(&fields::retired_dn(config, kind, id), &ATTRIBUTES).await?.into_iter().collect(),
        None => {
            let of_kind = filter::equal(fields::KIND, fields::kind_text(kind).as_bytes());
            let of_name = name.map(|name| filter::equal("uid", name.as_bytes())).unwrap_or_default();
            let wanted = format!("(&(objectClass={}){of_kind}{of_name})", fields::RETIRED);
            read::children(directory, config.retired(), wanted, &ATTRIBUTES).await?
        }
    };
    let mut retired: Vec<Retired> = entries
        .iter()
        .filter_map(fields::read_retired)
        .filter(|(of, one)| *of == kind && name.is_none_or(|name| name == one.name))
        .map(|(_, one)| one)
        .collect();
    let living = living(directory, kind, &retired).await?;
    retired.retain(|one| !living.contains(&(one.id, one.name.clone())));
    retired.sort_by_key(|one| one.id);
    Ok(retired)
}

async fn living(directory: &LdapDirectory, kind: Kind, retired: &[Retired]) -> Stored<BTreeSet<(i64, String)>> {
    let (map, names) = (directory.map(), &directory.config().attributes);
    let mut living = BTreeSet::new();
    for chunk in retired.chunks(CHUNK) {
        let any = |attribute: &str| {
            let all: String = chunk.iter().map(|one| filter::equal(attribute, one.id.to_string().as_bytes())).collect();
            format!("(|{all})")
        };
        match kind {
            Kind::Login => {
                let found = read::logins(directory, &any(&names.uid)).await?;
                living.extend(found.iter().map(|entry| (map.uid(entry), map.login_name(entry))));
            }
            Kind::Group => {
                let found = read::groups(directory, &any(&names.group_gid)).await?;
                living.extend(found.iter().map(|entry| (map.gid(entry), map.group_name(entry))));
            }
        }
    }
    Ok(living)
}

/// Now, as SQL writes it.
pub(super) fn now() -> String {
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", Date::of(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_passed_over_and_the_end_is_the_end() {
        assert_eq!(allowed(1000), Some(1000));
        assert_eq!(allowed(60_000), Some(65_536));
        assert_eq!(allowed(65_535), Some(65_536));
        assert_eq!(allowed(2_147_483_647), Some(2_147_483_647));
        assert_eq!(allowed(2_147_483_648), None);
    }

    #[test]
    fn now_has_the_form_of_the_other_stores() {
        let now = now();
        assert!(now.len() == 20 && now.ends_with('Z') && now.as_bytes()[10] == b'T', "{now}");
    }
}
