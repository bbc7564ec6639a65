//! Entries of one kind, each in one place. The indexes hold the number of that place and nothing else: four bytes and one of control for each way by which an entry is found.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::LazyLock;

use hashbrown::HashTable;

use super::super::dn::DnKey;
use super::Uuid;

/// Where an entry is, as long as it is there.
pub(super) type Place = u32;

/// Keyed afresh in each process, so that nobody chooses names that collide.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    KEY.hash_one(value)
}

/// What an entry is found by.
pub(super) trait Node {
    fn uuid(&self) -> Uuid;
    fn name(&self) -> &str;
    fn id(&self) -> i64;
    fn dn(&self) -> DnKey;
}

/// All entries of a kind.
#[derive(Debug)]
pub(super) struct Table<N> {
    nodes: Vec<Option<N>>,
    free: Vec<Place>,
    uuids: HashTable<Place>,
    names: HashTable<Place>,
    ids: HashTable<Place>,
    dns: HashTable<Place>,
}

impl<N> Default for Table<N> {
    fn default() -> Self {
        let index = HashTable::new;
        Self { nodes: Vec::new(), free: Vec::new(), uuids: index(), names: index(), ids: index(), dns: index() }
    }
}

impl<N: Node> Table<N> {
    /// Takes an entry in that is not there.
    pub(super) fn insert(&mut self, node: N) -> Place {
        let hashes = [hash(&node.uuid()), hash(node.name()), hash(&node.id()), hash(&node.dn())];
        let place = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            (self.nodes.len() - 1) as Place
        });
        if let Some(slot) = self.nodes.get_mut(place as usize) {
            *slot = Some(node);
        }
        let nodes = &self.nodes;
        let of = |place: &Place| nodes.get(*place as usize).and_then(Option::as_ref);
        let [uuid, name, id, dn] = hashes;
        self.uuids.insert_unique(uuid, place, |place| of(place).map_or(0, |node| hash(&node.uuid())));
        self.names.insert_unique(name, place, |place| of(place).map_or(0, |node| hash(node.name())));
        self.ids.insert_unique(id, place, |place| of(place).map_or(0, |node| hash(&node.id())));
        self.dns.insert_unique(dn, place, |place| of(place).map_or(0, |node| hash(&node.dn())));
        place
    }

    /// Takes an entry out; where it was, and it.
    pub(super) fn remove(&mut self, uuid: Uuid) -> Option<(Place, N)> {
        let place = self.place(uuid)?;
        let node = self.nodes.get_mut(place as usize)?.take()?;
        let hashes = [hash(&node.uuid()), hash(node.name()), hash(&node.id()), hash(&node.dn())];
        let indexes = [&mut self.uuids, &mut self.names, &mut self.ids, &mut self.dns];
        for (index, hash) in indexes.into_iter().zip(hashes) {
            if let Ok(found) = index.find_entry(hash, |other| *other == place) {
                found.remove();
            }
        }
        self.free.push(place);
        Some((place, node))
    }

    pub(super) fn place(&self, uuid: Uuid) -> Option<Place> {
        self.uuids.find(hash(&uuid), |place| self.at(*place).is_some_and(|node| node.uuid() == uuid)).copied()
    }

    pub(super) fn at(&self, place: Place) -> Option<&N> {
        self.nodes.get(place as usize)?.as_ref()
    }

    pub(super) fn get(&self, uuid: Uuid) -> Option<&N> {
        self.at(self.place(uuid)?)
    }

    /// Those of this name.
    pub(super) fn named<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a N> + use<'a, 'n, N> {
        self.found(&self.names, hash(name)).map(|(_, node)| node).filter(move |node| node.name() == name)
    }

    /// Those with this id.
    pub(super) fn numbered(&self, id: i64) -> impl Iterator<Item = &N> {
        self.found(&self.ids, hash(&id)).map(|(_, node)| node).filter(move |node| node.id() == id)
    }

    /// Those with this DN: one, but for an instant between two messages.
    pub(super) fn called(&self, dn: DnKey) -> impl Iterator<Item = (Place, &N)> {
        self.found(&self.dns, hash(&dn)).filter(move |(_, node)| node.dn() == dn)
    }

    fn found<'a>(&'a self, index: &'a HashTable<Place>, hash: u64) -> impl Iterator<Item = (Place, &'a N)> {
        index.iter_hash(hash).filter_map(|place| Some((*place, self.at(*place)?)))
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &N> {
        self.nodes.iter().flatten()
    }

    /// After many were taken in: gives back what was kept for more.
    pub(super) fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        let nodes = &self.nodes;
        let of = |place: &Place| nodes.get(*place as usize).and_then(Option::as_ref);
        self.uuids.shrink_to_fit(|place| of(place).map_or(0, |node| hash(&node.uuid())));
        self.names.shrink_to_fit(|place| of(place).map_or(0, |node| hash(node.name())));
        self.ids.shrink_to_fit(|place| of(place).map_or(0, |node| hash(&node.id())));
        self.dns.shrink_to_fit(|place| of(place).map_or(0, |node| hash(&node.dn())));
    }
}

/// Which groups list something, by its key.
#[derive(Debug, Default)]
pub(super) struct Listing(HashTable<(u64, Place)>);

impl Listing {
    pub(super) fn add(&mut self, key: u64, place: Place) {
        self.0.insert_unique(key, (key, place), |(key, _)| *key);
    }

    pub(super) fn take(&mut self, key: u64, place: Place) {
        if let Ok(found) = self.0.find_entry(key, |listed| *listed == (key, place)) {
            found.remove();
        }
    }

    pub(super) fn get(&self, key: u64) -> impl Iterator<Item = Place> {
        self.0.iter_hash(key).filter(move |(listed, _)| *listed == key).map(|(_, place)| *place)
    }

    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit(|(key, _)| *key);
    }
}
