//! A publisher that is ended at every single operation, and files that are broken behind its back: what readers find is always one of
//! the states that were published, whole.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use schema::snapshot::Answer;
use schema::snapshot::changes::{Change, Owned};
use schema::snapshot::control::{NOTHING, RETIRED, Visibility};
use schema::snapshot::layout::Pair;
use schema::snapshot::pair::Snapshot;
use schema::snapshot::verify;
use schema::snapshot::view::Kind;
use schema::snapshot::write::{WriteError, Writer};

use super::base::map;
use super::files::{ControlPage, Gate, Open, Room, Step};
use super::{Places, PublishError, Publisher, SnapshotFile};

const DIRECTORY: [u8; 16] = [5; 16];

/// Lets so many operations pass, then none: as a kill, seen from the file system.
struct Kill(AtomicUsize);

impl Gate for Kill {
    fn pass(&self, _: Step) -> io::Result<()> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("killed"))
    }
}

struct Refuse(Step);

impl Gate for Refuse {
    fn pass(&self, step: Step) -> io::Result<()> {
        if step == self.0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn places(&self) -> Places {
        Places { live: self.live(), kept: self.root.path().join("kept"), visibility: Visibility::Open }
    }

    fn live(&self) -> PathBuf {
        self.root.path().join("live")
    }

    fn open(&self) -> Publisher {
        Publisher::open(self.places(), Some(DIRECTORY)).unwrap()
    }

    /// With the logins ana 5000, bea 5001, cai 5002 and d0 … d19 at generation 1.
    fn published(&self) -> Publisher {
        let mut publisher = self.open();
        publisher.replace(1, first).unwrap();
        publisher
    }

    /// What a reader that starts now sees: every login, checked by name and by uid.
    fn seen(&self) -> Option<BTreeMap<String, u32>> {
        seen(&self.live())
    }

    fn reboot(&self) {
        std::fs::remove_dir_all(self.live()).unwrap();
    }

    fn names(&self, room: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.root.path().join(room))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn first(writer: &mut Writer<SnapshotFile>) -> Result<(), WriteError> {
    let names = ["ana", "bea", "cai"].map(String::from).into_iter().chain((0..20).map(|n| format!("d{n}")));
    for (uid, name) in (5000..).zip(names) {
        let login = login(&name, uid);
        writer.login(login.record(), login.gids())?;
    }
    Ok(())
}

fn login(name: &str, uid: u32) -> Owned {
    let passwd = schema::record::Passwd {
        name: name.parse().unwrap(),
        uid: uid.try_into().unwrap(),
        gid: uid.try_into().unwrap(),
        gecos: "A member".parse().unwrap(),
        home: format!("/home/members/users/{name}").parse().unwrap(),
        shell: "/bin/bash".parse().unwrap(),
    };
    Owned::login(&passwd, &[passwd.gid])
}

fn gone(name: &str) -> Change {
    Change::NoLoginNamed(name.parse().unwrap())
}

/// Reads as the NSS module does, with mappings of its own; fails on anything that is not whole.
fn seen(live: &Path) -> Option<BTreeMap<String, u32>> {
    let room = Room::new(live.to_owned(), 0o755, Arc::new(Open)).unwrap();
    let (page, _) = ControlPage::open(&room)?;
    let pair = match page.word() {
        NOTHING | RETIRED => return None,
        word => Pair::from_word(word),
    };
    let base = map(&room, Pair { delta: 0, ..pair }).expect("the base that the word names");
    let delta = (pair.delta != 0).then(|| map(&room, pair).expect("the delta that the word names"));
    for file in std::iter::once(&base).chain(&delta) {
        verify::full(file.file.bytes()).expect("a whole file");
    }
    let delta = delta.as_ref().map(|delta| delta.view().unwrap());
    let snapshot = Snapshot::new(base.view().unwrap(), delta).expect("a pair that fits");
    let (mut all, mut after) = (BTreeMap::new(), 0);
    while let Answer::Found(login) = snapshot.login_after(after) {
        after = login.id();
        assert!(matches!(snapshot.login_by_name(login.name()), Answer::Found(same) if same == login));
        all.insert(String::from_utf8(login.name().to_vec()).unwrap(), after);
    }
    Some(all)
}

#[test]
fn changes_are_seen_and_survive_a_restart_and_a_reboot() {
    let world = World::new();
    let mut publisher = world.published();
    assert_eq!(world.seen().unwrap().len(), 23);
    publisher.publish(2, vec![Change::Login(login("eva", 7000)), gone("bea")]).unwrap();
    let expected = world.seen().unwrap();
    assert!(expected.contains_key("eva") && !expected.contains_key("bea"));
    publisher.keep().unwrap();
    let pair = publisher.pair();
    drop(publisher);

    let publisher = world.open();
    assert_eq!((publisher.generation(), publisher.pair()), (Some(2), pair), "taken over as it was");
    drop(publisher);
    world.reboot();
    let mut publisher = Publisher::open(world.places(), None).unwrap();
    assert_eq!(publisher.generation(), Some(2));
    assert_eq!(world.seen(), Some(expected));
    publisher.publish(3, vec![gone("eva")]).unwrap();
    assert!(!world.seen().unwrap().contains_key("eva"));
}

#[test]
fn a_fold_lets_publishing_go_on_and_loses_nothing() {
    let world = World::new();
    let mut publisher = world.published();
    publisher.publish(2, vec![Change::Login(login("eva", 7000)), gone("bea")]).unwrap();
    let fold = publisher.start_fold().unwrap();
    publisher.publish(3, vec![gone("ana"), Change::Login(login("fay", 7001))]).unwrap();
    let folding = std::thread::spawn(|| fold.run());
    publisher.publish(4, vec![Change::Login(login("bea", 5001))]).unwrap();
    let before = world.seen();
    publisher.finish_fold(folding.join().unwrap()).unwrap();
    assert_eq!(world.seen(), before);
    assert_eq!(publisher.pair(), Some(Pair { base: 2, delta: 1 }));
    publisher.publish(5, vec![gone("fay")]).unwrap();
    publisher.publish(6, vec![]).unwrap();
    assert_eq!(world.names("live"), ["base.2", "control", "delta.2.2", "delta.2.3"]);
    assert!(!world.seen().unwrap().contains_key("fay"));
}

#[test]
fn a_fold_is_dropped_when_everything_was_published_anew() {
    let world = World::new();
    let mut publisher = world.published();
    let fold = publisher.start_fold().unwrap();
    publisher.replace(9, |_| Ok(())).unwrap();
    publisher.finish_fold(fold.run()).unwrap();
    assert_eq!(world.seen(), Some(BTreeMap::new()));
    assert_eq!(publisher.generation(), Some(9));
}

#[test]
fn a_fold_from_before_the_snapshot_was_shown_to_others_takes_nothing_back() {
    let world = World::new();
    let mut publisher = world.published();
    publisher.publish(2, vec![gone("bea")]).unwrap();
    let fold = publisher.start_fold().unwrap();
    publisher.publish(3, vec![gone("ana")]).unwrap();
    let folded = fold.run();
    publisher.show_to(Visibility::Members).unwrap();
    publisher.publish(4, vec![gone("cai"), Change::Login(login("eva", 7000))]).unwrap();
    publisher.finish_fold(folded).unwrap();
    let seen = world.seen().unwrap();
    assert_eq!(["ana", "bea", "cai", "eva"].map(|name| seen.contains_key(name)), [false, false, false, true]);
    assert_eq!((publisher.generation(), publisher.pair()), (Some(4), Some(Pair { base: 1, delta: 3 })));
}

#[test]
fn a_fold_that_is_still_being_written_when_the_snapshot_is_shown_to_others_shares_no_file_with_the_next() {
    let world = World::new();
    let mut publisher = world.published();
    let before = publisher.start_fold().unwrap();
    publisher.show_to(Visibility::Members).unwrap();
    let next = publisher.start_fold().unwrap();
    assert_eq!([&before, &next].map(|fold| fold.meta.pair.base), [2, 3]);
    publisher.publish(2, vec![gone("ana")]).unwrap();
    publisher.finish_fold(before.run()).unwrap();
    assert_eq!(publisher.pair(), Some(Pair { base: 1, delta: 1 }));
    publisher.finish_fold(next.run()).unwrap();
    assert!(!world.seen().unwrap().contains_key("ana"));
}

#[test]
fn a_fold_survives_a_load_that_begins_beside_it() {
    let world = World::new();
    let mut publisher = world.published();
    let fold = publisher.start_fold().unwrap();
    let load = publisher.start_load();
    let folded = fold.run();
    publisher.publish(2, vec![gone("ana")]).unwrap();
    publisher.finish_fold(folded).unwrap();
    assert_eq!(publisher.pair(), Some(Pair { base: 2, delta: 1 }));
    assert!(!world.seen().unwrap().contains_key("ana"));
    let loaded = load.write(3, |writer| writer.login(login("zoe", 8000).record(), login("zoe", 8000).gids())).unwrap();
    publisher.finish_load(loaded, 3, Vec::new()).unwrap();
    assert_eq!(world.seen().unwrap().into_keys().collect::<Vec<_>>(), ["zoe"]);
}

#[test]
fn the_pair_before_a_new_base_stays_for_one_more_publication() {
    let world = World::new();
    let mut publisher = world.published();
    publisher.publish(2, vec![gone("bea")]).unwrap();
    let fold = publisher.start_fold().unwrap();
    publisher.publish(3, vec![gone("ana")]).unwrap();
    publisher.finish_fold(fold.run()).unwrap();
    assert_eq!(world.names("live"), ["base.1", "base.2", "control", "delta.1.2", "delta.2.1"]);
    publisher.publish(4, vec![gone("cai")]).unwrap();
    assert_eq!(world.names("live"), ["base.2", "control", "delta.2.1", "delta.2.2"]);
    let load = publisher.start_load();
    let loaded = load.write(4, first).unwrap();
    publisher.finish_load(loaded, 5, vec![gone("ana")]).unwrap();
    assert_eq!(world.names("live"), ["base.2", "base.3", "control", "delta.2.2", "delta.3.1"]);
}

/// Publishes changes, folds, keeps; what was seen after each step.
fn life(publisher: &mut Publisher, mut note: impl FnMut()) -> Result<(), PublishError> {
    publisher.publish(2, vec![Change::Login(login("eva", 7000)), gone("bea")])?;
    note();
    publisher.keep()?;
    let fold = publisher.start_fold()?;
    publisher.publish(3, vec![Change::Login(login("bea", 7001))])?;
    note();
    let folded = fold.run();
    publisher.finish_fold(folded)?;
    note();
    publisher.replace(4, |writer| writer.login(login("zoe", 8000).record(), login("zoe", 8000).gids()))?;
    note();
    publisher.keep()
}

#[test]
fn killed_at_any_operation_readers_see_a_published_state_and_the_next_publisher_goes_on_from_it() {
    let world = World::new();
    let mut states = vec![None];
    let mut publisher = world.published();
    states.push(world.seen());
    life(&mut publisher, || states.push(world.seen())).unwrap();
    let mut kills = 0;
    for steps in 0.. {
        let world = World::new();
        drop(world.published());
        let gate = Arc::new(Kill(AtomicUsize::new(steps)));
        let killed = match Publisher::open_with(world.places(), Some(DIRECTORY), gate) {
            Ok(mut publisher) => life(&mut publisher, || ()),
            Err(error) => Err(error),
        };
        let left = world.seen();
        assert!(states.contains(&left), "killed after {steps} operations: {left:?}");
        let mut publisher = world.open();
        assert_eq!(world.seen(), left, "taken over after {steps} operations");
        let temporary = world.names("live").into_iter().find(|name| name.starts_with("new."));
        assert_eq!(temporary, None, "after {steps} operations");
        publisher.publish(50, vec![Change::Login(login("last", 9000))]).unwrap();
        assert!(world.seen().unwrap().contains_key("last"), "after {steps} operations");
        // And the copy on the disk, whatever the kill left of it, is a published state or none.
        world.reboot();
        drop(world.open());
        assert!(states.contains(&world.seen()), "kept, killed after {steps} operations: {:?}", world.seen());
        if killed.is_ok() {
            break;
        }
        kills += 1;
    }
    assert!(kills > 40, "{kills} operations");
}

#[test]
fn on_a_full_disk_the_old_state_stays_and_the_changes_go_out_later() {
    for step in [Step::Create, Step::Write, Step::Sync, Step::Rename, Step::Flip] {
        let world = World::new();
        drop(world.published());
        let before = world.seen();
        let mut publisher = Publisher::open_with(world.places(), Some(DIRECTORY), Arc::new(Refuse(step))).unwrap();
        assert!(publisher.publish(2, vec![gone("ana")]).is_err());
        assert_eq!(world.seen(), before, "{step:?}");
        assert_eq!(publisher.generation(), Some(1));
        // There is room again.
        publisher.live = Room::new(world.live(), 0o755, Arc::new(Open)).unwrap();
        publisher.control = ControlPage::open(&publisher.live).unwrap().0;
        publisher.publish(3, vec![gone("cai")]).unwrap();
        let seen = world.seen().unwrap();
        assert!(!seen.contains_key("ana") && !seen.contains_key("cai"), "{step:?}");
    }
}

#[test]
fn a_fold_a_load_and_a_copy_that_find_no_room_leave_none_of_it_taken() {
    for step in [Step::Write, Step::Sync, Step::Rename] {
        let world = World::new();
        let mut publisher = world.published();
        publisher.publish(2, vec![gone("ana")]).unwrap();
        let temporary = |room: &str| world.names(room).into_iter().filter(|name| name.starts_with("new.")).count();
        let full = |path: PathBuf, mode| Room::new(path, mode, Arc::new(Refuse(step))).unwrap();
        let fold = publisher.start_fold().unwrap();
        let fold = super::fold::Fold { live: full(world.live(), 0o755), ..fold };
        assert!(fold.run().is_err());
        let load = super::load::Load { live: full(world.live(), 0o755), ..publisher.start_load() };
        if let Ok(loaded) = load.write(3, first) {
            publisher.live = full(world.live(), 0o755);
            assert!(publisher.finish_load(loaded, 3, Vec::new()).is_err());
        }
        let keep = publisher.start_keep().unwrap().unwrap();
        let kept = full(world.root.path().join("kept"), 0o700);
        assert!(super::keep::Keep { kept, ..keep }.run().is_err());
        assert_eq!((temporary("live"), temporary("kept")), (0, 0), "{step:?}");
    }
}

type Breakage = fn(&Path);

/// Ways in which power loss or a hand may leave a file.
const BREAKAGES: [(&str, Breakage); 6] = [
    ("removed", |path| std::fs::remove_file(path).unwrap()),
    ("empty", |path| rewrite(path, |_| Vec::new())),
    ("cut in half", |path| rewrite(path, |bytes| bytes[..bytes.len() / 2].to_vec())),
    ("zeros", |path| rewrite(path, |bytes| vec![0; bytes.len()])),
    ("a page of zeros", |path| {
        rewrite(path, |mut bytes| {
            let end = bytes.len().min(1536);
            bytes[512..end].fill(0);
            bytes
        });
    }),
    ("one bit other", |path| {
        rewrite(path, |mut bytes| {
            let at = bytes.len() - 70;
            bytes[at] ^= 1;
            bytes
        });
    }),
];

fn rewrite(path: &Path, with: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = with(std::fs::read(path).unwrap());
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn broken_live_files_are_replaced_by_what_was_kept() {
    for (what, breakage) in BREAKAGES {
        for name in ["base.1", "delta.1.1", "control"] {
            // The page of the words has nothing behind its fixed part that could be wrong.
            if name == "control" && matches!(what, "a page of zeros" | "one bit other") {
                continue;
            }
            let world = World::new();
            let mut publisher = world.published();
            publisher.publish(2, vec![gone("ana")]).unwrap();
            publisher.keep().unwrap();
            let expected = world.seen();
            drop(publisher);
            breakage(&world.live().join(name));
            let publisher = world.open();
            assert_eq!(world.seen(), expected, "{name} {what}");
            assert_eq!(publisher.generation(), Some(2), "{name} {what}");
        }
    }
}

#[test]
fn broken_files_without_a_copy_are_not_published() {
    for (what, breakage) in BREAKAGES {
        let world = World::new();
        drop(world.published());
        breakage(&world.live().join("base.1"));
        let mut publisher = world.open();
        assert_eq!((world.seen(), publisher.generation()), (None, None), "{what}");
        publisher.replace(1, first).unwrap();
        assert_eq!(publisher.pair(), Some(Pair { base: 2, delta: 0 }), "no number is used twice");
        assert_eq!(world.seen().unwrap().len(), 23, "{what}");
    }
}

#[test]
fn a_delta_swapped_for_that_of_another_base_is_not_taken() {
    let world = World::new();
    let mut publisher = world.published();
    publisher.publish(2, vec![gone("ana")]).unwrap();
    let foreign = std::fs::read(world.live().join("delta.1.1")).unwrap();
    drop(publisher);
    let other = World::new();
    let mut publisher = other.published();
    publisher.publish(2, vec![gone("bea")]).unwrap();
    drop(publisher);
    std::fs::remove_file(other.live().join("delta.1.1")).unwrap();
    std::fs::write(other.live().join("delta.1.1"), foreign).unwrap();
    assert_eq!(other.open().generation(), None);
    assert_eq!(other.seen(), None);
}

#[test]
fn files_of_another_directory_are_not_taken_over() {
    let world = World::new();
    let publisher = world.published();
    publisher.keep().unwrap();
    drop(publisher);
    let publisher = Publisher::open(world.places(), Some([6; 16])).unwrap();
    assert_eq!((publisher.generation(), world.seen()), (None, None));
}

#[test]
fn only_identityd_can_open_the_files_of_a_members_snapshot() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mode = |name: &str| std::fs::metadata(world.live().join(name)).unwrap().permissions().mode() & 0o7777;
    drop(world.published());
    assert_eq!(["", "base.1", "control"].map(mode), [0o755, 0o444, 0o644]);
    let places = Places { visibility: Visibility::Members, ..world.places() };
    let mut publisher = Publisher::open(places, Some(DIRECTORY)).unwrap();
    publisher.replace(2, first).unwrap();
    assert_eq!(["", "base.2", "control"].map(mode), [0o700, 0o400, 0o600]);
}

#[test]
fn files_that_somebody_removed_or_replaced_are_put_back_as_they_were() {
    type Breakage = fn(&World);
    let breakages: [Breakage; 4] = [
        |world| std::fs::remove_dir_all(world.live()).unwrap(),
        |world| std::fs::remove_file(world.live().join("base.1")).unwrap(),
        |world| std::fs::remove_file(world.live().join("delta.1.1")).unwrap(),
        |world| rewrite(&world.live().join("control"), |bytes| bytes),
    ];
    for breakage in breakages {
        let world = World::new();
        let mut publisher = world.published();
        publisher.publish(2, vec![gone("ana")]).unwrap();
        let expected = world.seen();
        assert!(publisher.is_in_place());
        breakage(&world);
        assert!(!publisher.is_in_place());
        publisher.put_back().unwrap();
        assert!(publisher.is_in_place());
        assert_eq!((world.seen(), publisher.generation()), (expected, Some(2)));
        publisher.publish(3, vec![gone("bea")]).unwrap();
        assert!(!world.seen().unwrap().contains_key("bea"));
    }
}

#[test]
fn without_a_place_for_the_copy_publishing_goes_on() {
    let world = World::new();
    std::fs::write(world.root.path().join("kept"), "no directory").unwrap();
    let publisher = world.published();
    assert!(publisher.keep().is_err());
    assert_eq!(world.seen().unwrap().len(), 23);
}
