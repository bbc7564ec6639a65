//! The socket, hostile clients included, in front of a directory in memory.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use proptest::prelude::*;
use schema::packed::PasswdHead;
use schema::record::Generation;
use schema::wire::frame::{HEADER, ListHead, Op};
use schema::wire::message::{Outcome, PamContext, Reply as Message, Request, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::auth::offline::Verifiers;
use crate::auth::{Pool, new_hash};
use crate::cache::tests::{TestDirectory, a_group, a_login, cache_of};
use crate::config::{Config, Loaded, Span};
use crate::daemon::HostParts;
use crate::feed::Feed;
use crate::local::LocalFiles;
use crate::replica::Replica;
use crate::snapshot::Places;
use crate::telemetry::Telemetry;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) directory: Arc<TestDirectory>,
    pub(crate) host: Arc<Host>,
    _stop: watch::Sender<bool>,
}

impl World {
    pub(crate) fn start(config: Config) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, false)
    }

    /// In this folder, publishing into it or not.
    pub(crate) fn start_in(folder: tempfile::TempDir, config: Config, publishes: bool) -> Self {
        let places = Places {
            live: folder.path().join("live"),
            kept: folder.path().join("kept"),
            visibility: schema::snapshot::control::Visibility::Open,
        };
        let replica = publishes.then(|| Replica::start_in(places).unwrap());
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("passwd"), "root:x:0:0:root:/root:/bin/sh\nlocal:x:1500:1500::/:/bin/sh\n").unwrap();
        std::fs::write(path("group"), "root:x:0:\n").unwrap();
        std::fs::write(path("shells"), "/bin/bash\n").unwrap();
        let directory = TestDirectory::with(
            &[a_login("ada", 2000), a_login("local", 2001), a_login("zed", 1500)],
            &[a_group("staff2", 3000, &["ada", "local"])],
        );
        let cache = cache_of(&directory, config.cache.clone());
        let host = Host::new(HostParts {
            offline: Verifiers::none(Arc::clone(cache.source())),
            cache,
            feed: Arc::new(Feed::default()),
            replica,
            pool: Pool::new(config.auth.clone()).unwrap(),
            local_files: LocalFiles { passwd: path("passwd"), group: path("group"), shells: path("shells") },
            loaded: Loaded { config, path: path("identityd.toml"), at: SystemTime::now() },
            telemetry: Telemetry::default(),
        })
        .unwrap();
        let listener = UnixListener::bind(path("socket")).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(serve(Arc::clone(&host), listener, stopped));
        Self { folder, directory, host, _stop: stop }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("socket")).await.unwrap()
    }

    async fn ask(&self, op: Op, payload: &[u8]) -> (Status, Vec<u8>) {
        ask(&mut self.connect().await, op, payload).await
    }

    /// The same of a server that may close the connection.
    async fn ask_or_fail(&self, op: Op, payload: &[u8]) -> Option<(Status, Vec<u8>)> {
        let mut stream = self.connect().await;
        let header = Header::request(op, 7, u32::try_from(payload.len()).unwrap(), 1000);
        stream.write_all(&header.to_bytes()).await.ok()?;
        stream.write_all(payload).await.ok()?;
        read(&mut stream).await.ok().map(|(status, _, payload)| (status, payload))
    }

    async fn message(&self, request: &Request) -> Message {
        let (status, payload) = self.ask(Op::Message, &postcard::to_allocvec(request).unwrap()).await;
        assert_eq!(status, Status::Found);
        postcard::from_bytes(&payload).unwrap()
    }
}

async fn ask(stream: &mut UnixStream, op: Op, payload: &[u8]) -> (Status, Vec<u8>) {
    let header = Header::request(op, 7, payload.len() as u32, 1000);
    stream.write_all(&header.to_bytes()).await.unwrap();
    stream.write_all(payload).await.unwrap();
    loop {
        let (status, id, payload) = read(stream).await.unwrap();
        assert_eq!(id, 7);
        if status != Status::Working {
            return (status, payload);
        }
    }
}

async fn read(stream: &mut UnixStream) -> std::io::Result<(Status, u64, Vec<u8>)> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await?;
    let header = Header::parse(&head).unwrap();
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload).await?;
    Ok((Status::from_raw(header.kind).unwrap(), header.id, payload))
}

#[tokio::test]
async fn look_ups_answer_found_absent_and_unknown() {
    let world = World::start(Config::default());
    let (status, record) = world.ask(Op::PasswdByName, b"ada").await;
    assert_eq!((status, PasswdHead::parse(&record).unwrap().uid), (Status::Found, 2000));
    assert_eq!(world.ask(Op::PasswdByUid, &2000_u32.to_le_bytes()).await.0, Status::Found);
    assert_eq!(world.ask(Op::GroupByName, b"staff2").await.0, Status::Found);
    for absent in [&b"bob"[..], b"", b"a:b", b"-rf", &[b'x'; 300], b"root\0"] {
        assert_eq!(world.ask(Op::PasswdByName, absent).await.0, Status::Absent, "{absent:?}");
    }
    assert_eq!(world.ask(Op::PasswdByUid, &0_u32.to_le_bytes()).await.0, Status::Absent);
    assert_eq!(world.ask(Op::PasswdByUid, b"x").await.0, Status::Malformed);
    world.directory.down.store(true, Ordering::SeqCst);
    assert_eq!(world.ask(Op::PasswdByName, b"carol").await.0, Status::Unknown);
    assert_eq!(world.ask(Op::PasswdByName, b"ada").await.0, Status::Found);
}

#[tokio::test]
async fn local_names_and_ids_are_never_answered_for() {
    let world = World::start(Config::default());
    for name in ["local", "zed"] {
        assert_eq!(world.ask(Op::PasswdByName, name.as_bytes()).await.0, Status::Absent, "{name}");
        assert_eq!(world.ask(Op::Initgroups, name.as_bytes()).await.0, Status::Absent, "{name}");
    }
    let (_, group) = world.ask(Op::GroupByName, b"staff2").await;
    assert!(!group.windows(5).any(|part| part == b"local"));
    let (_, page) = world.ask(Op::PasswdList, &0_u32.to_le_bytes()).await;
    assert_eq!(ListHead::split(&page).unwrap().0, ListHead { next_after: 0, count: 1 });
    let (count, listed) = world.host.cache().source().quarantine().snapshot(10);
    assert_eq!(count, 2, "{listed:?}");
}

#[tokio::test]
async fn several_requests_may_follow_each_other() {
    let world = World::start(Config::default());
    let mut stream = world.connect().await;
    for _ in 0..3 {
        assert_eq!(ask(&mut stream, Op::PasswdByName, b"ada").await.0, Status::Found);
        assert_eq!(ask(&mut stream, Op::Initgroups, b"nobody3").await.0, Status::Absent);
    }
}

#[tokio::test]
async fn another_version_and_an_oversized_frame_are_told_and_closed() {
    let world = World::start(Config::default());
    for (version, len, expected) in [(2, 0, Status::Version), (1, u32::MAX, Status::Malformed)] {
        let mut stream = world.connect().await;
        let header = Header { version, kind: 1, id: 9, len, wait_ms: 0 };
        stream.write_all(&header.to_bytes()).await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap().0, expected);
        assert!(read(&mut stream).await.is_err());
    }
}

#[tokio::test]
async fn without_the_magic_there_is_no_answer() {
    let world = World::start(Config::default());
    let mut stream = world.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    assert!(read(&mut stream).await.is_err());
}

#[tokio::test]
async fn a_page_of_shadow_goes_on_where_the_last_one_ended() {
    let world = World::start(Config::default());
    let logins = (0..450).map(|n| (4000 + n, a_login(&format!("l{n}"), 4000 + n)));
    world.directory.logins.lock().unwrap().extend(logins);
    let (mut after, mut counts) = (0_u32, Vec::new());
    loop {
        let (_, page) = world.ask(Op::ShadowList, &after.to_le_bytes()).await;
        let head = ListHead::split(&page).unwrap().0;
        counts.push(head.count);
        if head.next_after == 0 {
            break;
        }
        assert!(head.next_after > after);
        after = head.next_after;
    }
    // ada, and the two that local accounts stand for are left out.
    assert_eq!(counts.iter().sum::<u32>(), 451, "{counts:?}");
}

#[tokio::test]
async fn a_request_that_trickles_is_cut_off() {
    let mut config = Config::default();
    config.server.request_timeout = Span::millis(100);
    let world = World::start(config);
    let mut stream = world.connect().await;
    stream.write_all(b"MFI1").await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), read(&mut stream)).await;
    assert!(closed.expect("closed by the server").is_err());
    assert_eq!(world.ask(Op::PasswdByName, b"ada").await.0, Status::Found);
}

fn sixteen_places() -> Config {
    let mut config = Config::default();
    config.server.connections = 16;
    config.server.reserved_for_root = 1;
    config
}

#[tokio::test]
async fn the_connection_that_waited_longest_makes_room_for_a_new_one() {
    let world = World::start(sixteen_places());
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(world.connect().await);
    }
    let served = async {
        while world.ask_or_fail(Op::PasswdByName, b"ada").await.is_none_or(|answer| answer.0 != Status::Found) {}
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("served although all places are taken");
    let closed = tokio::time::timeout(Duration::from_secs(5), read(held.first_mut().unwrap())).await;
    assert!(closed.expect("closed by the server").is_err());
}

#[tokio::test]
async fn connections_that_are_worked_for_stay_and_more_are_told_busy() {
    let world = World::start(sixteen_places());
    world.directory.lists_hang.store(true, Ordering::SeqCst);
    let mut held = Vec::new();
    let busy = async {
        loop {
            let mut stream = world.connect().await;
            let _ = stream.write_all(&Header::request(Op::PasswdList, 7, 4, 5000).to_bytes()).await;
            let _ = stream.write_all(&0_u32.to_le_bytes()).await;
            if let Ok(answer) = tokio::time::timeout(Duration::from_millis(20), read(&mut stream)).await {
                break answer.unwrap().0;
            }
            held.push(stream);
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), busy).await.expect("the places run out"), Status::Busy);
    assert!(world.host.limits().crowded_by().is_some());
}

#[tokio::test]
async fn a_password_is_verified_and_every_refusal_takes_the_same_time() {
    let world = World::start(Config::default());
    world.directory.hashes.lock().unwrap().insert("ada".into(), new_hash(b"correct horse").unwrap());
    let outcome = async |user: &str, password: &str| {
        let context = PamContext { service: "sshd".into(), user: user.into(), ..PamContext::default() };
        let began = Instant::now();
        let reply = world.message(&Request::Authenticate { context, password: Secret::new(password.into()) }).await;
        let Message::Verdict(verdict) = reply else { panic!("{reply:?}") };
        if verdict.outcome != Outcome::Success {
            assert!(began.elapsed() >= Duration::from_millis(250));
        }
        verdict.outcome
    };
    assert_eq!(outcome("ada", "correct horse").await, Outcome::Success);
    assert_eq!(outcome("ada", "wrong").await, Outcome::AuthError);
    assert_eq!(outcome("nobody3", "correct horse").await, Outcome::AuthError);
    assert_eq!(outcome("a:b", "").await, Outcome::AuthError);
    world.directory.logins.lock().unwrap().get_mut(&2000).unwrap().status = schema::record::Status::Locked;
    world.host.cache().flush().await;
    assert_eq!(outcome("ada", "correct horse").await, Outcome::AuthError);
}

#[test]
fn arbitrary_bytes_never_stop_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = {
        let _inside = runtime.enter();
        let mut config = Config::default();
        config.auth.refusal_after = Span::millis(0);
        World::start(config)
    };
    proptest!(ProptestConfig::with_cases(200), |(
        framed in any::<bool>(),
        kind in prop_oneof![0_u16..12, Just(64), any::<u16>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    )| {
        runtime.block_on(async {
            let mut stream = world.connect().await;
            if framed {
                let header = Header { version: 1, kind, id: 1, len: bytes.len() as u32, wait_ms: 10 };
                let _ = stream.write_all(&header.to_bytes()).await;
            }
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "the server neither answered nor closed");
            assert_eq!(world.ask(Op::PasswdByName, b"ada").await.0, Status::Found);
        });
    });
}

fn pam(user: &str) -> PamContext {
    PamContext { service: "sshd".into(), user: user.into(), ..PamContext::default() }
}

#[tokio::test]
async fn lists_that_hang_hold_up_neither_look_ups_nor_logins() {
    let world = World::start(Config::default());
    world.directory.hashes.lock().unwrap().insert("ada".into(), new_hash(b"correct horse").unwrap());
    world.directory.lists_hang.store(true, Ordering::SeqCst);
    let mut listers = Vec::new();
    for _ in 0..200 {
        let mut stream = world.connect().await;
        let header = Header::request(Op::PasswdList, 7, 4, 5000);
        stream.write_all(&header.to_bytes()).await.unwrap();
        stream.write_all(&0_u32.to_le_bytes()).await.unwrap();
        listers.push(stream);
    }
    assert_eq!(world.ask(Op::PasswdByName, b"ada").await.0, Status::Found);
    for at in 0..100 {
        assert_eq!(world.ask(Op::PasswdByName, format!("cold{at}").as_bytes()).await.0, Status::Absent);
    }
    let password = Secret::new(b"correct horse".to_vec());
    let reply = world.message(&Request::Authenticate { context: pam("ada"), password }).await;
    assert!(matches!(reply, Message::Verdict(verdict) if verdict.outcome == Outcome::Success));
    assert!(world.host.cache().source().health().reachable);
}

#[tokio::test]
async fn a_page_is_made_once_until_something_changes() {
    let world = World::start(Config::default());
    let asked = || world.directory.questions.load(Ordering::SeqCst);
    let zero = 0_u32.to_le_bytes();
    let first = world.ask(Op::PasswdList, &zero).await;
    let before = asked();
    assert_eq!(world.ask(Op::PasswdList, &zero).await, first);
    assert_eq!(asked(), before);
    world.directory.put(a_login("bob", 2005));
    world.host.cache().flush().await;
    assert_ne!(world.ask(Op::PasswdList, &zero).await, first);
    let again = asked();
    std::fs::write(world.folder.path().join("passwd"), "root:x:0:0:root:/root:/bin/sh\nbob:x:1500:1500::/:/bin/sh\n")
        .unwrap();
    world.host.read_local().unwrap();
    world.ask(Op::PasswdList, &zero).await;
    assert!(asked() > again);
}

#[tokio::test]
async fn each_user_has_one_page_made_at_a_time() {
    let pages = Pages::default();
    let turn = pages.turn(2000).await.unwrap();
    let soon = Duration::from_millis(10);
    assert!(tokio::time::timeout(soon, pages.turn(2000)).await.is_err());
    assert!(tokio::time::timeout(Duration::from_secs(5), pages.turn(2001)).await.is_ok());
    drop(turn);
    assert!(tokio::time::timeout(Duration::from_secs(5), pages.turn(2000)).await.is_ok());
}

#[tokio::test]
async fn a_login_without_shell_enters_only_while_its_groups_are_known() {
    let world = World::start(Config::default());
    let mut web = a_login("web", 2007);
    web.capabilities = ["sftp".parse().unwrap()].into();
    world.directory.logins.lock().unwrap().insert(2007, web);
    world.directory.groups.lock().unwrap().insert(3007, a_group("sftp-only", 3007, &["web"]));
    world.directory.no_groups.store(true, Ordering::SeqCst);
    let outcome = async || match world.message(&Request::Account { context: pam("web") }).await {
        Message::Verdict(verdict) => verdict.outcome,
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome().await, Outcome::Unavailable);
    world.directory.no_groups.store(false, Ordering::SeqCst);
    assert_eq!(outcome().await, Outcome::Success);
    // Everything that the decision and sshd need is here now.
    world.directory.down.store(true, Ordering::SeqCst);
    assert_eq!(outcome().await, Outcome::Success);
    assert_eq!(world.ask(Op::Initgroups, b"web").await.0, Status::Found);
    assert_eq!(world.ask(Op::GroupByGid, &3007_u32.to_le_bytes()).await.0, Status::Found);
    // One whose groups have never been seen does not enter, whatever else is known of it.
    world.host.cache().flush().await;
    assert_eq!(outcome().await, Outcome::Unavailable);
}

#[tokio::test]
async fn a_group_with_a_local_name_among_its_members_is_packed_once() {
    let world = World::start(Config::default());
    let gid = 3000.try_into().unwrap();
    let reply = async || match world.host.group_by_gid(gid, Duration::from_secs(5)).await {
        crate::cache::Answer::Found(reply) => reply.payload().as_ptr(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reply().await, reply().await);
}

#[tokio::test]
async fn a_directory_that_answers_but_shows_no_changes_is_named() {
    let world = World::start(Config::default());
    world.ask(Op::PasswdByName, b"ada").await;
    *world.directory.unfollowed.lock().unwrap() = Some((Duration::from_secs(60), "they cannot be numbered".into()));
    let status: serde_json::Value = serde_json::from_str(&world.host.status(true).await).unwrap();
    assert_eq!((&status["health"], &status["directory"]["reachable"]), (&"degraded".into(), &true.into()));
    assert!(status["warnings"].to_string().contains("they cannot be numbered"), "{status}");
    assert!(world.host.own_report().is_none_or(|report| report.trouble.contains("do not come")));
}

/// Ids of a page.
fn ids(page: &[u8]) -> Vec<u32> {
    let (_, mut rest) = ListHead::split(page).unwrap();
    let mut ids = Vec::new();
    while let Some((len, more)) = rest.split_first_chunk::<4>() {
        let (record, more) = more.split_at(u32::from_le_bytes(*len) as usize);
        ids.push(PasswdHead::parse(record).unwrap().uid);
        rest = more;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_member_sees_is_found_out_once_for_each_generation_and_one_page_at_a_time() {
    let wait = Duration::from_secs(30);
    let config = Config::parse("[snapshot]\nvisibility = \"members\"\n", "identityd.toml".as_ref()).unwrap();
    let world = World::start_in(tempfile::tempdir().unwrap(), config, true);
    world.directory.groups.lock().unwrap().insert(3001, a_group("team", 3001, &["ada", "bea"]));
    world.directory.put(a_login("bea", 2010));
    world.directory.put(a_login("cyd", 2011));
    crate::feed::tests::follow(&world);
    world.host.refresh(Generation(2), wait).await.unwrap();
    let (host, ada) = (&world.host, Peer { uid: 2000, pid: None });
    let list = |after| published::page(host, Op::PasswdList, after, ada);
    let deadline = Instant::now() + wait;
    while host.replica().unwrap().published().is_none() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(ids(&list(0).await.unwrap()), [2000, 2010]);
    assert_eq!(ids(&list(2000).await.unwrap()), [2010]);
    let pair = host.replica().unwrap().published().unwrap().pair;
    assert!(host.pages.own(2000, pair).is_some());
    // While one page is being made, another one of the same user waits.
    let turn = host.pages.turn(2000).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), list(0)).await.is_err());
    drop(turn);
    world.directory.groups.lock().unwrap().insert(3001, a_group("team", 3001, &["ada", "cyd"]));
    world.directory.note(crate::directory::Kind::Group, "team", 3001);
    world.host.refresh(Generation(3), wait).await.unwrap();
    assert_eq!(ids(&list(0).await.unwrap()), [2000, 2011]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_group_is_sent_from_where_it_is_published_and_not_copied() {
    let world = World::start_in(tempfile::tempdir().unwrap(), Config::default(), true);
    let members: Vec<String> = (0..2000).map(|number| format!("m{number:05}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    world.directory.groups.lock().unwrap().insert(3001, a_group("large", 3001, &members));
    crate::feed::tests::follow(&world);
    world.host.refresh(Generation(0), Duration::from_secs(30)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let reply = loop {
        assert!(Instant::now() < deadline, "published");
        if let Some(reply) = published::look_up(&world.host, Op::GroupByName, b"large")
            && reply.status == Status::Found
        {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let by_gid = published::look_up(&world.host, Op::GroupByGid, &3001_u32.to_le_bytes()).unwrap();
    assert!(reply.payload().len() > 10_000);
    assert_eq!(reply.payload().as_ptr(), by_gid.payload().as_ptr());
    assert_eq!(world.ask(Op::GroupByName, b"large").await, (Status::Found, reply.payload().to_vec()));
    // What is answered stays mapped although something else is published.
    let before = reply.payload().to_vec();
    world.directory.put(a_login("bea", 2010));
    world.host.refresh(Generation(1), Duration::from_secs(30)).await.unwrap();
    assert_eq!(reply.payload(), before);
}

#[tokio::test]
async fn pages_that_a_user_does_not_take_are_few() {
    let pages = Pages::default();
    let mut held = Vec::new();
    let soon = Duration::from_millis(10);
    while let Ok(turn) = tokio::time::timeout(soon, pages.unread(2000)).await {
        held.push(turn);
    }
    assert_eq!(held.len(), 8);
    assert!(tokio::time::timeout(Duration::from_secs(5), pages.unread(2001)).await.is_ok());
    held.pop();
    assert!(tokio::time::timeout(Duration::from_secs(5), pages.unread(2000)).await.is_ok());
}
