//! What a snapshot costs: building, publishing a change, looking up. `cargo run --release -p schema --example snapshot_bench [DIR [LOGINS…]]`
//!
//! An answer is a look-up, the check of every string, and one copy into a buffer: all that a module does but set libc's pointers. The
//! files are mapped as a reader maps them. Times are the best of five rounds, because other programs run beside it.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use schema::id::GroupId;
use schema::record::Passwd;
use schema::snapshot::Answer;
use schema::snapshot::changes::{Change, Changes, Owned};
use schema::snapshot::hash::Key;
use schema::snapshot::layout::{HEADER, Header, Pair};
use schema::snapshot::pair::Snapshot;
use schema::snapshot::verify;
use schema::snapshot::view::{Kind, Login, View};
use schema::snapshot::write::{Meta, Tombstones, Writer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts what is allocated, for the peak.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A file mapped as readers map it.
struct Mapped {
    at: *mut core::ffi::c_void,
    len: usize,
}

impl Mapped {
    fn open(path: &Path) -> Self {
        let file = File::open(path).expect("open");
        let len = file.metadata().expect("stat").len() as usize;
        // SAFETY: a new mapping where the kernel likes.
        let at = unsafe { mmap(core::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, &file, 0) };
        Self { at: at.expect("mmap"), len }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes, mapped as long as self, of a file that nobody changes.
        unsafe { core::slice::from_raw_parts(self.at.cast(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: ours, and used by nobody afterwards.
        let _ = unsafe { munmap(self.at, self.len) };
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut counts: Vec<u32> = arguments.map(|count| count.parse().expect("a number of logins")).collect();
    if counts.is_empty() {
        counts = vec![1_000, 100_000, 1_000_000];
    }
    for count in counts {
        bench(&dir, count);
    }
}

fn bench(dir: &Path, count: u32) {
    println!("== {count} logins, each with a group of its own, in {}", dir.display());
    let path = dir.join(format!("snapshot-bench-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("create");
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    let mut writer = Writer::new(file, meta(1, 0)).expect("write");
    for n in 0..count {
        let login = login(n, 0);
        writer.login(login.record(), login.gids()).expect("write");
    }
    for n in 0..count {
        let group = schema::record::Group { name: name(n).parse().expect("name"), gid: gid(n), members: Vec::new() };
        writer.group(Owned::group(&group).expect("group").record()).expect("write");
    }
    let (file, header) = writer.finish(&Tombstones::default(), keys()).expect("write");
    drop(file);
    println!(
        "build            {:8.0} ms, {:.1} MB of private memory at most; file {:.1} MB, {:.0} bytes a login",
        start.elapsed().as_secs_f64() * 1e3,
        (PEAK.load(Ordering::Relaxed) - before) as f64 / 1e6,
        header.len as f64 / 1e6,
        header.len as f64 / f64::from(count)
    );
    let base = Mapped::open(&path);
    let start = Instant::now();
    verify::checksum(base.bytes()).expect("verify");
    println!("checksum         {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    verify::full(base.bytes()).expect("verify");
    println!("full check       {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let view = View::new(base.bytes(), &header).expect("view");

    for pending in [1, 100, 4000] {
        let mut changes = Changes::default();
        for n in 0..pending.min(count) {
            changes.apply(&view, Change::Login(login(n.wrapping_mul(7919) % count, 1))).expect("apply");
        }
        let path = dir.join(format!("snapshot-bench-delta-{}", std::process::id()));
        let start = Instant::now();
        changes.apply(&view, Change::Login(login(count / 2, 1))).expect("apply");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("create");
        let (_, written) = changes.write(file, &header, meta(1, 1), keys()).expect("write");
        let took = start.elapsed();
        println!("delta of {pending:5}   {:8.2} ms, {:.1} kB", took.as_secs_f64() * 1e3, written.len as f64 / 1e3);
        let delta = Mapped::open(&path);
        std::fs::remove_file(&path).expect("remove");
        if pending == 100 {
            look_up("with a delta of 100", base.bytes(), &header, Some(delta.bytes()), count);
        }
    }
    look_up("base alone", base.bytes(), &header, None, count);
    std::fs::remove_file(&path).expect("remove");
    let head = base.bytes().get(..HEADER).expect("header").to_vec();
    println!(
        "header check     {:8.0} ns",
        best(1000, |_| Header::parse(&head) != Err(schema::snapshot::layout::Defect::Length))
    );
}

fn look_up(what: &str, base: &[u8], header: &Header, delta: Option<&[u8]>, count: u32) {
    let base = View::new(base, header).expect("view");
    let delta_header = delta.map(|delta| Header::parse(delta).expect("delta"));
    let delta = delta.zip(delta_header.as_ref()).map(|(bytes, header)| View::new(bytes, header).expect("view"));
    let snapshot = Snapshot::new(base, delta).expect("pair");
    println!("-- {what}, ns each");
    let rounds = 200_000_usize;
    let mut random = 88_172_645_463_325_252_u64;
    let order: Vec<u32> = (0..rounds)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % u64::from(count)) as u32
        })
        .collect();
    let names: Vec<String> = order.iter().map(|n| name(*n)).collect();
    let strangers: Vec<String> = order.iter().map(|n| format!("stranger{n}")).collect();
    let mut buffer = [0; 1024];
    let hot = name(count / 3);
    println!("getpwnam, one    {:8.1}", best(rounds, |_| answer(snapshot.login_by_name(hot.as_bytes()), &mut buffer)));
    println!("getpwnam, find   {:8.1}", best(rounds, |_| snapshot.login_by_name(hot.as_bytes()) == Answer::Absent));
    println!(
        "getpwnam, random {:8.1}",
        best(rounds, |n| answer(snapshot.login_by_name(names[n].as_bytes()), &mut buffer))
    );
    println!("getpwuid, random {:8.1}", best(rounds, |n| answer(snapshot.login_by_uid(uid(order[n])), &mut buffer)));
    println!(
        "miss, random     {:8.1}",
        best(rounds, |n| snapshot.login_by_name(strangers[n].as_bytes()) != Answer::Absent)
    );
    println!(
        "miss, uid        {:8.1}",
        best(rounds, |n| snapshot.login_by_uid(order[n] / 2 + 2_000_000_000) != Answer::Absent)
    );
    println!(
        "initgroups       {:8.1}",
        best(rounds, |n| match snapshot.initgroups(names[n].as_bytes()) {
            Answer::Found(gids) => gids.iter().fold(0, |sum: u32, gid| sum.wrapping_add(gid)) == 0,
            _ => true,
        })
    );
    let (mut after, mut seen) = (0, 0);
    let start = Instant::now();
    while let Answer::Found(login) = snapshot.login_after(after) {
        black_box(answer(Answer::Found(login), &mut buffer));
        after = login.id();
        seen += 1;
    }
    println!("enumeration      {:8.1} ({seen} logins)", start.elapsed().as_nanos() as f64 / f64::from(seen));
}

/// Nanoseconds of one call, the best of five rounds. The calls return whether something is wrong.
fn best(rounds: usize, mut call: impl FnMut(usize) -> bool) -> f64 {
    let round = |call: &mut dyn FnMut(usize) -> bool| {
        let start = Instant::now();
        let wrong = (0..rounds).filter(|n| black_box(call(*n))).count();
        let took = start.elapsed().as_nanos() as f64 / rounds as f64;
        assert_eq!(wrong, 0);
        took
    };
    (0..5).map(|_| round(&mut call)).fold(f64::INFINITY, f64::min)
}

#[inline]
fn answer(found: Answer<Login<'_>>, buffer: &mut [u8; 1024]) -> bool {
    let Answer::Found(login) = found else {
        return true;
    };
    let starts = login.head.check_strings(login.strings);
    buffer[..login.strings.len()].copy_from_slice(login.strings);
    black_box(&buffer);
    black_box(&starts).is_err()
}

fn name(n: u32) -> String {
    // Scattered, of seven to ten bytes.
    format!("m{:x}-{}", n.wrapping_mul(0x9e37_79b1) >> 16, n)
}

fn uid(n: u32) -> u32 {
    100_000 + n
}

fn gid(n: u32) -> GroupId {
    GroupId::try_from(uid(n)).expect("gid")
}

fn login(n: u32, version: u32) -> Owned {
    let name = name(n);
    let passwd = Passwd {
        uid: uid(n).try_into().expect("uid"),
        gid: gid(n),
        gecos: format!("Member number {n}.{version}").parse().expect("gecos"),
        home: format!("/home/members/users/{name}").parse().expect("home"),
        shell: "/bin/bash".parse().expect("shell"),
        name: name.parse().expect("name"),
    };
    Owned::login(&passwd, &[gid(n), gid(n / 2)])
}

fn meta(base: u32, delta: u32) -> Meta {
    let identity = [base as u8; 16];
    Meta {
        directory: [9; 16],
        identity,
        base_identity: [0; 16],
        pair: Pair { base, delta },
        generation: 7,
        created: 1,
        notes: Default::default(),
    }
}

fn keys() -> impl FnMut() -> Key {
    let mut n = 0;
    move || {
        n += 1;
        Key(0x0123_4567_89ab_cdef * n, 0x0fed_cba9_8765_4321 + n)
    }
}
