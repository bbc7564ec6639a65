//! The whole directory as of one moment, at some microseconds an entry.
//!
//! A row that travels alone costs more than it holds: one allocation for each column, one hand-over between threads. So a page is one text, made
//! inside SQLite, with a separator between fields and one between rows. Neither is allowed in a field. A page in which a field has one all the
//! same shows it (it has more rows, or a row has more fields, than SQLite counts), and its rows are read one by one, as look-ups do; so is every
//! row that breaks a rule, because that statement knows the reason.
//!
//! Groups and capabilities of logins are streams of their own in order of uid, merged here: a subquery for each login would cost twice as much.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use schema::date::Date;
use schema::id::{GroupId, UserId};
use schema::name::LoginName;
use schema::record::{Aging, Generation, Group, Login, Status};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

use super::names::Names;
use super::rows::{bytes, group, login, select_group, select_login};
use super::{SqliteDirectory, options, reading};
use crate::directory::{DirectoryError, Entry, Stock, StockedLogin};

/// Logins of a page: some 200 kB of text.
const LOGINS_OF_A_PAGE: u32 = 2000;
/// Groups of a page: their members, who may be many, are in memory at once.
const GROUPS_OF_A_PAGE: u32 = 1000;
const FIELD: u8 = 0x1f;
const RECORD: u8 = 0x1e;

/// Aging is empty for nearly every login.
const LOGINS: &str = "SELECT CAST(group_concat(r, x'1e') AS BLOB), count(*), max(uid) FROM (SELECT l.uid AS uid, \
    l.uid || x'1f' || l.name || x'1f' || l.gid || x'1f' || l.gecos || x'1f' || l.home || x'1f' || l.shell || x'1f' || l.status || x'1f' || \
    ifnull(l.membership_id, '') || x'1f' || \
    CASE WHEN coalesce(l.last_change, l.min_days, l.max_days, l.warn_days, l.inactive_days, l.expires) IS NULL THEN '' ELSE \
    ifnull(l.last_change, '') || ',' || ifnull(l.min_days, '') || ',' || ifnull(l.max_days, '') || ',' || ifnull(l.warn_days, '') || ',' || \
    ifnull(l.inactive_days, '') || ',' || ifnull(l.expires, '') END AS r \
    FROM login AS l WHERE l.uid > ?1 ORDER BY l.uid LIMIT ?2)";
const CAPABILITIES: &str = "SELECT CAST(group_concat(uid || x'1f' || capability, x'1e') AS BLOB), count(*), 0 FROM \
    (SELECT uid, capability FROM login_capability WHERE uid > ?1 AND uid <= ?2 ORDER BY uid)";
const GIDS: &str = "SELECT CAST(group_concat(uid || x'1f' || gid, x'1e') AS BLOB), count(*), 0 FROM \
    (SELECT uid, gid FROM group_member WHERE uid > ?1 AND uid <= ?2 AND typeof(uid) = 'integer' AND typeof(gid) = 'integer' \
    ORDER BY uid, gid)";
const GROUPS: &str = "SELECT CAST(group_concat(r, x'1e') AS BLOB), count(*), max(gid) FROM (SELECT g.gid AS gid, \
    g.gid || x'1f' || g.name || x'1f' || ifnull(g.rule, '') AS r FROM unix_group AS g WHERE g.gid > ?1 ORDER BY g.gid LIMIT ?2)";
/// What is no integer (in a table that a foreign program has rebuilt) is nobody, here and above. Not the names: they would be looked up one by one, all over the table of logins. That took a third of the whole reading; [`Names`] has them.
const MEMBERS: &str = "SELECT CAST(group_concat(gid || x'1f' || uid, x'1e') AS BLOB), count(*), 0 FROM group_member \
    WHERE gid > ?1 AND gid <= ?2 AND typeof(uid) = 'integer' AND typeof(gid) = 'integer'";
/// Whether a table's own index keeps names apart. Without it (a foreign program has rebuilt the table) they are looked through.
const UNIQUE_NAME: &str = "SELECT count(*) FROM pragma_index_list(?1) AS i WHERE i.\"unique\" AND NOT i.partial \
    AND (SELECT group_concat(c.name) FROM pragma_index_info(i.name) AS c) = 'name'";
const UNIQUE_ID: &str =
    "SELECT count(*) FROM pragma_table_info(?1) WHERE pk = 1 AND name = ?2 AND upper(type) = 'INTEGER'";

/// A reading of an SQLite directory.
pub(super) struct SqliteStock {
    database: Database,
    generation: Generation,
    expected: (u64, u64),
    known: Known,
    logins: Next<Logins>,
    groups: Next<Groups>,
}

/// A connection of its own, so that look-ups keep theirs, inside one transaction.
struct Database {
    directory: SqliteDirectory,
    connection: SqliteConnection,
}

/// What is known before the logins are read, and needed for each.
struct Known {
    memberships: HashMap<i64, Vec<u8>>,
    /// gids of groups with the rule `sftp-only`.
    sftp_only: Vec<u32>,
    disputed_logins: HashSet<i64>,
    disputed_groups: HashSet<i64>,
    /// Of all logins read so far.
    names: Names,
}

/// The next page. SQLite has a thread of its own: it begins the next (its logins or groups, not what belongs to them) while the one before becomes records here.
enum Next<P> {
    /// What comes after this id.
    After(i64),
    Made(P),
    End,
    /// Something has failed on the way to it: not the end.
    BrokenOff,
}

/// A page of logins with uids above `after` and up to `last`, and what belongs to them.
struct Logins {
    after: i64,
    last: i64,
    logins: Page,
    capabilities: Option<Page>,
    gids: Option<Page>,
}

/// The same of groups, and their members.
struct Groups {
    after: i64,
    last: i64,
    groups: Page,
    members: Option<Page>,
}

impl SqliteStock {
    pub(super) async fn open(directory: &SqliteDirectory) -> Result<Self, DirectoryError> {
        let opened = async {
            let mut connection = options(directory.path())
                .immutable(directory.read_only.is_some())
                .read_only(true)
                .busy_timeout(super::READER_BUSY)
                .disable_statement_logging()
                .connect()
                .await?;
            sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
            // The first statement takes the snapshot.
            let generation = reading::newest(&mut connection).await?;
            let expected = (count(&mut connection, "login").await?, count(&mut connection, "unix_group").await?);
            let rows = sqlx::query("SELECT id, name FROM membership").fetch_all(&mut connection).await?;
            let memberships = rows.iter().filter_map(|row| Some((integer(row, 0)?, bytes(row, "name")))).collect();
            let rows = sqlx::query("SELECT gid FROM unix_group WHERE rule = 'sftp-only'").fetch_all(&mut connection);
            let sftp_only = rows.await?.iter().filter_map(|row| u32::try_from(integer(row, 0)?).ok()).collect();
            let disputed_logins = disputed(&mut connection, "login", "uid").await?;
            let disputed_groups = disputed(&mut connection, "unix_group", "gid").await?;
            Ok(Self {
                database: Database { directory: directory.clone(), connection },
                generation,
                expected,
                known: Known { memberships, sftp_only, disputed_logins, disputed_groups, names: Names::default() },
                logins: Next::After(-1),
                groups: Next::After(-1),
            })
        };
        directory.database(opened.await)
    }
}

impl Database {
    /// The page of logins after a uid. `None`: there are no more.
    async fn logins(&mut self, after: i64) -> Result<Option<Logins>, DirectoryError> {
        let Some(logins) = self.page(LOGINS, after, LOGINS_OF_A_PAGE.into()).await? else { return Ok(None) };
        let last = self.further(after, &logins, "login")?;
        let capabilities = self.page(CAPABILITIES, after, last).await?;
        let gids = self.page(GIDS, after, last).await?;
        Ok(Some(Logins { after, last, logins, capabilities, gids }))
    }

    /// The page of groups after a gid. `None`: there are no more.
    async fn groups(&mut self, after: i64) -> Result<Option<Groups>, DirectoryError> {
        let Some(groups) = self.page(GROUPS, after, GROUPS_OF_A_PAGE.into()).await? else { return Ok(None) };
        let last = self.further(after, &groups, "unix_group")?;
        let members = self.page(MEMBERS, after, last).await?;
        Ok(Some(Groups { after, last, groups, members }))
    }

    /// One page: its text and the id to go on after. `None`: there are no more.
    async fn page(&mut self, statement: &'static str, from: i64, to: i64) -> Result<Option<Page>, DirectoryError> {
        let row = sqlx::query(statement).bind(from).bind(to).fetch_one(&mut self.connection).await;
        let row = self.directory.database(row)?;
        let rows = integer(&row, 1).unwrap_or(0);
        let text = row.try_get_unchecked::<Option<Vec<u8>>, usize>(0).ok().flatten().unwrap_or_default();
        Ok((rows > 0).then(|| Page { text, rows: rows as usize, last: integer(&row, 2) }))
    }

    /// The id that the next page begins after. An id that is no number (in a table that a foreign program has rebuilt) is above all numbers, and would be read for ever.
    fn further(&self, after: i64, page: &Page, table: &str) -> Result<i64, DirectoryError> {
        let last = page.last.unwrap_or(i64::MAX);
        if last > after {
            return Ok(last);
        }
        let reason = format!("the table {table} has an id that is no integer; see: identityctl doctor");
        Err(DirectoryError::Damaged { directory: self.directory.path().display().to_string(), reason })
    }

    fn broken_off(&self) -> DirectoryError {
        let reason = "a reading of the whole that has failed cannot go on".into();
        DirectoryError::Unavailable { directory: self.directory.path().display().to_string(), reason }
    }

    async fn login_rows(&mut self, from: i64, to: i64) -> Result<Vec<SqliteRow>, DirectoryError> {
        let query = sqlx::query(select_login!("WHERE l.uid BETWEEN ?1 AND ?2 ORDER BY l.uid, l.rowid"));
        let rows = query.bind(from).bind(to).fetch_all(&mut self.connection).await;
        self.directory.database(rows)
    }

    async fn group_rows(&mut self, from: i64, to: i64) -> Result<Vec<SqliteRow>, DirectoryError> {
        let query = sqlx::query(select_group!("WHERE g.gid BETWEEN ?1 AND ?2 ORDER BY g.gid, g.rowid"));
        let rows = query.bind(from).bind(to).fetch_all(&mut self.connection).await;
        self.directory.database(rows)
    }
}

#[async_trait]
impl Stock for SqliteStock {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn expected(&self) -> (u64, u64) {
        self.expected
    }

    async fn logins(&mut self) -> Result<Vec<StockedLogin>, DirectoryError> {
        let page = match std::mem::replace(&mut self.logins, Next::BrokenOff) {
            Next::Made(page) => Some(page),
            Next::After(uid) => self.database.logins(uid).await?,
            Next::End => None,
            Next::BrokenOff => return Err(self.database.broken_off()),
        };
        let Some(page) = page else {
            self.logins = Next::End;
            return Ok(Vec::new());
        };
        let Self { database, known, .. } = self;
        let more = async { if page.last < i64::MAX { database.logins(page.last).await } else { Ok(None) } };
        let (more, records) = tokio::join!(more, async { page.records(known) });
        let more = more?.map_or(Next::End, Next::Made);
        let Records { entries: mut stocked, again, whole } = records;
        let gids = page.gids.as_ref().filter(|_| !again.is_empty()).map(numbers).unwrap_or_default();
        for (from, to) in again {
            let rows = self.database.login_rows(from, to).await?;
            stocked.extend(rows.iter().map(|row| self.known.stocked(row, &gids)));
            if whole {
                let names: Vec<_> =
                    rows.iter().map(|row| (integer(row, 0).unwrap_or(-1), bytes(row, "name"))).collect();
                self.known.names.add(names.iter().map(|(uid, name)| (*uid, name.as_slice())));
            }
        }
        self.logins = more;
        stocked.sort_by_key(|stocked| match &stocked.entry {
            Entry::Valid(login) => i64::from(login.uid.raw()),
            Entry::Quarantined(entry) => entry.id,
        });
        Ok(stocked)
    }

    async fn groups(&mut self) -> Result<Vec<Entry<Group>>, DirectoryError> {
        let page = match std::mem::replace(&mut self.groups, Next::BrokenOff) {
            Next::Made(page) => Some(page),
            Next::After(gid) => self.database.groups(gid).await?,
            Next::End => None,
            Next::BrokenOff => return Err(self.database.broken_off()),
        };
        let Some(page) = page else {
            self.groups = Next::End;
            return Ok(Vec::new());
        };
        let Self { database, known, .. } = self;
        let more = async { if page.last < i64::MAX { database.groups(page.last).await } else { Ok(None) } };
        let (more, records) = tokio::join!(more, async { page.records(known) });
        let more = more?.map_or(Next::End, Next::Made);
        let Records { mut entries, again, .. } = records;
        for (from, to) in again {
            let rows = self.database.group_rows(from, to).await?;
            entries.extend(rows.iter().map(|row| (integer(row, 0).unwrap_or(from), group(row))));
        }
        self.groups = more;
        entries.sort_by_key(|(gid, _)| *gid);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }
}

impl Groups {
    fn records(&self, known: &Known) -> Records<(i64, Entry<Group>)> {
        let members = self.members.as_ref().map(numbers).unwrap_or_default();
        let Some(fields) = self.groups.fields::<3>() else {
            return Records { entries: Vec::new(), again: vec![(self.after + 1, self.last)], whole: true };
        };
        let (mut entries, mut again) = (Vec::with_capacity(self.groups.rows), Vec::new());
        for [gid, name, rule] in fields {
            let id = parsed::<i64>(gid).unwrap_or(-1);
            let members = members.get(&id).map(Vec::as_slice).unwrap_or_default();
            let undisputed = !known.disputed_groups.contains(&id)
                && !members.iter().any(|uid| known.disputed_logins.contains(&i64::from(*uid)));
            let names = members.iter().filter_map(|uid| known.names.of(*uid));
            match parse_group(gid, name, names).filter(|_| rule.is_empty() && undisputed) {
                Some(group) => entries.push((id, Entry::Valid(group))),
                None => again.push((id, id)),
            }
        }
        again.dedup();
        Records { entries, again, whole: false }
    }
}

/// What a page has become.
struct Records<T> {
    /// What keeps the rules.
    entries: Vec<T>,
    /// Ids, from and to, of rows that are to be read one by one.
    again: Vec<(i64, i64)>,
    /// These are all of the page: its text cannot be read.
    whole: bool,
}

impl Logins {
    fn records(&self, known: &mut Known) -> Records<StockedLogin> {
        let capabilities = self.capabilities.as_ref().map_or_else(|| Some(HashMap::new()), by_id);
        let (Some(fields), Some(capabilities)) = (self.logins.fields::<9>(), capabilities) else {
            return Records { entries: Vec::new(), again: vec![(self.after + 1, self.last)], whole: true };
        };
        let gids = self.gids.as_ref().map(numbers).unwrap_or_default();
        known.names.add(fields.iter().map(|fields| (parsed(fields[0]).unwrap_or(-1), fields[1])));
        let (mut stocked, mut again) = (Vec::with_capacity(self.logins.rows), Vec::new());
        for fields in fields {
            let uid = parsed::<i64>(fields[0]).unwrap_or(-1);
            let capabilities = capabilities.get(fields[0]).map(Vec::as_slice).unwrap_or_default();
            let undisputed = !known.disputed_logins.contains(&uid);
            match parse_login(&fields, capabilities, &known.memberships).filter(|_| undisputed) {
                Some(login) => {
                    let gids = known.gids_of(&login, gids.get(&uid));
                    stocked.push(StockedLogin { entry: Entry::Valid(login), gids });
                }
                None => again.push((uid, uid)),
            }
        }
        again.dedup();
        Records { entries: stocked, again, whole: false }
    }
}

impl Known {
    /// The gids of a login, the primary first: as `reading::gids_of`.
    fn gids_of(&self, login: &Login, listed: Option<&Vec<u32>>) -> Vec<GroupId> {
        let has = |wanted: &str| login.capabilities.iter().any(|has| has.as_str() == wanted);
        let by_rule: &[u32] =
            if !self.sftp_only.is_empty() && has("sftp") && !has("shell") { &self.sftp_only } else { &[] };
        let listed = listed.map(Vec::as_slice).unwrap_or_default();
        if listed.is_empty() && by_rule.is_empty() {
            return vec![login.gid];
        }
        let others: BTreeSet<GroupId> = listed
            .iter()
            .chain(by_rule)
            .filter_map(|gid| GroupId::try_from(*gid).ok())
            .filter(|gid| *gid != login.gid)
            .collect();
        std::iter::once(login.gid).chain(others).collect()
    }

    fn stocked(&self, row: &SqliteRow, gids: &BTreeMap<i64, Vec<u32>>) -> StockedLogin {
        let entry = login(row);
        let gids = match &entry {
            Entry::Valid(login) => self.gids_of(login, gids.get(&i64::from(login.uid.raw()))),
            Entry::Quarantined(_) => Vec::new(),
        };
        StockedLogin { entry, gids }
    }
}

/// The text of one page.
struct Page {
    text: Vec<u8>,
    /// As SQLite counted them.
    rows: usize,
    last: Option<i64>,
}

impl Page {
    /// The fields of each row. `None`: a field has a separator in it.
    fn fields<const N: usize>(&self) -> Option<Vec<[&[u8]; N]>> {
        let mut rows = Vec::with_capacity(self.rows);
        for record in self.text.split(|byte| *byte == RECORD) {
            let mut fields = [&[][..]; N];
            let mut parts = record.split(|byte| *byte == FIELD);
            for field in &mut fields {
                *field = parts.next()?;
            }
            if parts.next().is_some() {
                return None;
            }
            rows.push(fields);
        }
        (rows.len() == self.rows).then_some(rows)
    }
}

/// What belongs to each id. The id stays text: it is compared with another text of the same database.
fn by_id(page: &Page) -> Option<HashMap<&[u8], Vec<&[u8]>>> {
    let mut all: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
    for [id, value] in page.fields::<2>()? {
        all.entry(id).or_default().push(value);
    }
    Some(all)
}

/// Pairs of numbers, by the first.
fn numbers(page: &Page) -> BTreeMap<i64, Vec<u32>> {
    let mut all: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for [id, value] in page.fields::<2>().unwrap_or_default() {
        if let (Some(id), Some(value)) = (parsed(id), parsed(value)) {
            all.entry(id).or_default().push(value);
        }
    }
    all
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `None`: it breaks a rule; the statement of a look-up says which.
fn parse_login(fields: &[&[u8]; 9], capabilities: &[&[u8]], memberships: &HashMap<i64, Vec<u8>>) -> Option<Login> {
    let [uid, name, gid, gecos, home, shell, status, membership, aging] = fields;
    let membership = match membership {
        [] => None,
        id => match memberships.get(&parsed(id)?) {
            Some(name) => Some(parsed(name)?),
            None => None,
        },
    };
    Some(Login {
        name: LoginName::from_bytes(name).ok()?,
        uid: UserId::try_from(parsed::<u32>(uid)?).ok()?,
        gid: GroupId::try_from(parsed::<u32>(gid)?).ok()?,
        gecos: parsed(gecos)?,
        home: parsed(home)?,
        shell: parsed(shell)?,
        status: match *status {
            b"active" => Status::Active,
            b"locked" => Status::Locked,
            _ => return None,
        },
        capabilities: capabilities.iter().map(|token| parsed(token)).collect::<Option<BTreeSet<_>>>()?,
        aging: parse_aging(aging)?,
        membership,
    })
}

fn parse_aging(text: &[u8]) -> Option<Aging> {
    if text.is_empty() {
        return Some(Aging::default());
    }
    let mut days = [None; 6];
    let mut parts = text.split(|byte| *byte == b',');
    for slot in &mut days {
        *slot = match parts.next()? {
            [] => None,
            number => Some(parsed::<u32>(number).filter(|days| i32::try_from(*days).is_ok())?),
        };
    }
    let [last_change, min_days, max_days, warn_days, inactive_days, expires] = days;
    Some(Aging {
        last_change: last_change.map(Date::from_days),
        min_days,
        max_days,
        warn_days,
        inactive_days,
        expires: expires.map(Date::from_days),
    })
}

fn parse_group<'a>(gid: &[u8], name: &[u8], members: impl Iterator<Item = &'a [u8]>) -> Option<Group> {
    let mut members: Vec<LoginName> = members.filter_map(|name| LoginName::from_bytes(name).ok()).collect();
    members.sort_unstable();
    members.dedup();
    Some(Group { name: parsed(name)?, gid: GroupId::try_from(parsed::<u32>(gid)?).ok()?, members })
}

async fn count(connection: &mut SqliteConnection, table: &'static str) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM {table}"))).fetch_one(connection).await?;
    Ok(integer(&query, 0).and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
}

/// Ids of entries whose name or id another entry has as well.
async fn disputed(
    connection: &mut SqliteConnection,
    table: &'static str,
    id: &'static str,
) -> Result<HashSet<i64>, sqlx::Error> {
    let names = sqlx::query(UNIQUE_NAME).bind(table).fetch_one(&mut *connection).await?;
    let ids = sqlx::query(UNIQUE_ID).bind(table).bind(id).fetch_one(&mut *connection).await?;
    if integer(&names, 0) > Some(0) && integer(&ids, 0) > Some(0) {
        return Ok(HashSet::new());
    }
    let statement = format!(
        "SELECT {id} FROM {table} WHERE name IN (SELECT name FROM {table} GROUP BY name HAVING count(*) > 1) \
         OR {id} IN (SELECT {id} FROM {table} GROUP BY {id} HAVING count(*) > 1)"
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(connection).await?;
    Ok(rows.iter().filter_map(|row| integer(row, 0)).collect())
}

fn integer(row: &SqliteRow, at: usize) -> Option<i64> {
    row.try_get_unchecked::<Option<i64>, usize>(at).ok().flatten()
}
