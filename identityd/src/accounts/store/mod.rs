//! What the operations need of a directory that can be written: a small set of primitives. Rules stay above it, in one place for all directories;
//! what a database does by triggers (private groups, retired ids, the feed) a store does itself where its directory has none.

pub(crate) mod ldap;
pub(crate) mod sql;

use std::fmt::Debug;

use async_trait::async_trait;
use schema::date::Date;
use schema::hash::PasswordHash;
use schema::id::GroupId;
use schema::name::{GroupName, LoginName, MembershipName};
use schema::path::HomePath;
use schema::record::{Generation, Group, Login, Membership, SshKey, Status};

use super::group::GroupFilter;
use super::import::PlannedLogin;
use super::key::AuthorizedKey;
use super::login::LoginFilter;
use crate::directory::{Directory, DirectoryError, Entry, Kind};

/// What a primitive gives.
pub(crate) type Stored<T> = Result<T, DirectoryError>;

/// A directory that administrators work on.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Its look-ups.
    fn directory(&self) -> &dyn Directory;

    /// Begins: everything that an operation asks and writes is of one moment, and dropping it half-way leaves nothing dangerous.
    async fn begin(&self) -> Stored<Box<dyn Writing>>;

    /// Up to `limit` logins that match, by uid.
    async fn logins(&self, filter: &LoginFilter, limit: u32) -> Stored<Vec<Entry<Login>>>;

    /// Up to `limit` groups that match, by gid.
    async fn groups(&self, filter: &GroupFilter, limit: u32) -> Stored<Vec<Entry<Group>>>;

    /// The name of a group, without reading its members: a derived group may have all logins.
    async fn group_name(&self, gid: GroupId) -> Stored<Option<GroupName>>;

    /// The rule that derives a group's members, and the first hundred logins that have it as their primary group.
    async fn group_facts(&self, gid: GroupId) -> Stored<(Option<String>, Vec<LoginName>)>;

    /// Memberships and how many logins each has, by name.
    async fn memberships(&self, which: Memberships<'_>, limit: u32) -> Stored<Vec<(Membership, u64)>>;

    /// What was deleted, by id.
    async fn retired(&self, kind: Kind, name: Option<&str>) -> Stored<Vec<Retired>>;

    /// Everything, of one moment.
    async fn whole(&self, parts: Parts) -> Stored<Whole>;

    /// What is broken in it: for `identityctl doctor`. Empty: nothing.
    async fn check(&self) -> Stored<Vec<String>>;

    /// In which form a login's password is stored if crypt(5) does not take it: the directory itself may check it all the same.
    async fn foreign_password(&self, _name: &LoginName) -> Stored<Option<String>> {
        Ok(None)
    }

    /// Whether what an interrupted copy has brought stays, and another one goes on from there. Else nothing of it is there.
    fn goes_on(&self) -> bool {
        false
    }

    /// Closes its connections.
    async fn close(&self);
}

/// One operation under way.
#[async_trait]
pub trait Writing: Send {
    /// The generation at which it began.
    fn before(&self) -> Generation;

    /// A login, whole.
    async fn login(&mut self, name: &LoginName) -> Stored<Option<Entry<Login>>>;

    /// A login, whatever else its entry holds: so that a broken one can be mended or removed.
    async fn login_ref(&mut self, name: &str) -> Stored<Option<Ref>>;

    /// The name of the login of this uid.
    async fn login_of_uid(&mut self, uid: i64) -> Stored<Option<String>>;

    /// A login with this home, besides `but`.
    async fn login_of_home(&mut self, home: &HomePath, but: Option<i64>) -> Stored<Option<String>>;

    /// Stores a new login with its capabilities; its group exists. An id of its own that was retired is so no longer.
    async fn add_login(&mut self, login: &Login, password: &PasswordHash) -> Stored<()>;

    /// Stores what has changed of a login. A new name is taken over by its own group too (the group of its old name that is its primary one),
    /// unless there is another group of that name.
    async fn change_login(&mut self, old: &Login, new: &Login) -> Stored<()>;

    /// Stores a status.
    async fn set_status(&mut self, login: &Ref, status: Status) -> Stored<()>;

    /// Stores a hash and the day of the change.
    async fn set_password(&mut self, login: &Ref, hash: &PasswordHash, changed: Date) -> Stored<()>;

    /// Removes a login with all that hangs on it, and the group of its name if that was its primary one and nobody else is in it. The ids are retired.
    async fn remove_login(&mut self, login: &Ref) -> Stored<()>;

    /// A group, whole.
    async fn group(&mut self, name: &GroupName) -> Stored<Option<Entry<Group>>>;

    /// A group and the rule that derives its members, whatever else its entry holds.
    async fn group_ref(&mut self, name: &str) -> Stored<Option<(Ref, Option<String>)>>;

    /// The name of the group of this gid.
    async fn group_of_gid(&mut self, gid: i64) -> Stored<Option<String>>;

    /// How many logins have it as their primary group, and the first of them.
    async fn primary_of(&mut self, gid: i64) -> Stored<(i64, String)>;

    /// Stores a new group. A gid of its own that was retired is so no longer.
    async fn add_group(&mut self, gid: i64, name: &str) -> Stored<()>;

    /// Stores another name of a group.
    async fn rename_group(&mut self, group: &Ref, name: &GroupName) -> Stored<()>;

    /// Removes a group that is nobody's primary one. Its gid is retired.
    async fn remove_group(&mut self, group: &Ref) -> Stored<()>;

    /// Puts a login into a group, if it is not in it. In how many groups it is listed then.
    async fn add_member(&mut self, group: &Ref, login: &Ref) -> Stored<usize>;

    /// Takes a login out of a group. `false`: it is not listed there.
    async fn remove_member(&mut self, group: &Ref, login: &Ref) -> Stored<bool>;

    /// What was deleted: of one kind, and of one id or one name if given, by id.
    async fn retired(&mut self, kind: Kind, id: Option<i64>, name: Option<&str>) -> Stored<Vec<Retired>>;

    /// Takes the next id that was never a uid or gid; nobody else gets it. `None`: none is left.
    async fn next_id(&mut self) -> Stored<Option<i64>>;

    /// A membership.
    async fn membership(&mut self, name: &MembershipName) -> Stored<Option<Membership>>;

    /// How many logins belong to a membership.
    async fn logins_of(&mut self, membership: &MembershipName) -> Stored<i64>;

    /// Stores a new membership.
    async fn add_membership(&mut self, membership: &Membership) -> Stored<()>;

    /// Stores another name or title of a membership; its logins stay in it.
    async fn change_membership(&mut self, name: &MembershipName, new: &Membership) -> Stored<()>;

    /// Removes a membership without logins.
    async fn remove_membership(&mut self, name: &MembershipName) -> Stored<()>;

    /// The number of a key.
    async fn key_number(&mut self, login: &Ref, fingerprint: &str) -> Stored<Option<i64>>;

    /// Stores a key; its number.
    async fn add_key(&mut self, login: &Ref, key: &AuthorizedKey, added: Date) -> Stored<i64>;

    /// Removes a key by number or fingerprint. `false`: there is none such.
    async fn remove_key(&mut self, login: &Ref, number: i64, fingerprint: &str) -> Stored<bool>;

    /// Stores many new entries. `progress` gets the steps done, of [`Bulk::steps`].
    async fn add_all(&mut self, bulk: Bulk<'_>, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()>;

    /// Stores everything of another directory in this one, which is empty. `progress` gets the steps done, of [`Whole::steps`].
    async fn take_over(&mut self, whole: &Whole, progress: &mut (dyn FnMut(u64) + Send)) -> Stored<()>;

    /// Ends it: the generation in which it is visible, and whether anything changed.
    async fn commit(self: Box<Self>) -> Stored<(Generation, bool)>;
}

/// A login or group by its id and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// As stored, which may be outside the range.
    pub id: i64,
    /// As stored.
    pub name: String,
}

/// Which memberships.
#[derive(Debug, Clone, Copy)]
pub enum Memberships<'a> {
    /// This one.
    Named(&'a MembershipName),
    /// Those behind this one; `None`: from the first on.
    After(Option<&'a MembershipName>),
}

/// A deleted login or group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retired {
    /// The id that nobody else gets.
    pub id: i64,
    /// Its last name.
    pub name: String,
    /// When, UTC.
    pub when: String,
    /// A login's primary group.
    pub gid: Option<i64>,
    /// A login's full name.
    pub gecos: String,
    /// A login's home.
    pub home: String,
    /// A login's shell.
    pub shell: String,
}

/// Many new entries at once. None of them is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bulk<'a> {
    /// Memberships.
    pub memberships: &'a [Membership],
    /// Groups, without their members.
    pub groups: &'a [Group],
    /// Logins; their groups and memberships are there or in this.
    pub logins: &'a [PlannedLogin],
    /// Members of groups.
    pub members: &'a [(GroupId, LoginName)],
}

impl Bulk<'_> {
    /// How many steps it is.
    #[must_use]
    pub fn steps(&self) -> u64 {
        u64::try_from(self.memberships.len() + self.groups.len() + self.logins.len()).unwrap_or(u64::MAX)
    }
}

/// What of a whole directory is wanted besides logins with their hashes and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// For an export.
    Accounts,
    /// For a plan: retired ids, reserved names, memberships as well.
    Names,
    /// For a copy: keys and the next id as well.
    All,
}

/// A whole directory.
#[derive(Default)]
pub struct Whole {
    /// All changes up to this are in it.
    pub generation: Generation,
    /// The logins, by uid.
    pub logins: Vec<WholeLogin>,
    /// The groups, by gid.
    pub groups: Vec<WholeGroup>,
    /// The memberships, by name.
    pub memberships: Vec<Membership>,
    /// The deleted logins and groups.
    pub retired: Vec<(Kind, Retired)>,
    /// Names that no login or group may have.
    pub reserved: Vec<String>,
    /// The keys, by the uid of their login.
    pub keys: Vec<(i64, SshKey)>,
    /// Where the search for a never-used id begins.
    pub next_id: i64,
    /// Logins whose password is stored in a form that crypt(5) does not take, and which form: here they have none.
    pub foreign: Vec<(String, String)>,
}

impl Whole {
    /// How many steps it is to store it.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let groups = self.groups.iter().filter(|group| group.rule.is_none()).count();
        let all = self.memberships.len() + groups + self.logins.len() + self.keys.len() + self.retired.len();
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

/// A login with what only administrators see.
pub struct WholeLogin {
    /// As stored.
    pub at: Ref,
    /// The login.
    pub entry: Entry<Login>,
    /// Its password.
    pub password: PasswordHash,
}

/// A group with its rule.
pub struct WholeGroup {
    /// As stored.
    pub at: Ref,
    /// The group.
    pub entry: Entry<Group>,
    /// What derives its members.
    pub rule: Option<String>,
}
