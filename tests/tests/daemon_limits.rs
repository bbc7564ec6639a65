//! What one user can do to the others through identityd's socket: nothing.

use std::time::{Duration, Instant};

use schema::wire::frame::{Op, Status};
use schema::wire::message::{PamContext, Request};
use tests::limit::within;
use tests::{Login, Mosh, boot};

/// What libc waits for a look-up.
const NSS: Duration = Duration::from_millis(200);

macro_rules! machine {
    () => {
        boot!(Mosh::builder().logins(["ana", "ben"].map(Login::new)))
    };
}

/// Holds as many connections as it can get and says how many were answered (in another way than Busy).
const HOARD: &str = r#"
import resource, socket, struct, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held, served, refused = [], 0, 0
for n in range(3000):
    s = socket.socket(socket.AF_UNIX); s.settimeout(5)
    try:
        s.connect("/run/identityd/socket"); s.sendall(struct.pack("<IHHQII", 0x3149464d, 1, 2, n, 4, 1000) + struct.pack("<I", 0))
        kind = struct.unpack_from("<H", s.recv(24), 6)[0]
    except OSError:
        kind = 5
    if kind == 5: refused += 1; s.close()
    else: served += 1; held.append(s)
print(served, refused, flush=True)
end = time.time() + float(sys.argv[1])
while time.time() < end:
    time.sleep(0.2)
    for s in held[:]:
        try: s.sendall(b"M")  # slow loris: the first byte of a request, and nothing more
        except OSError: held.remove(s)
"#;

/// Connects and leaves, as fast as it can.
const STORM: &str = r#"
import socket, sys, time
end = time.time() + float(sys.argv[1])
while time.time() < end:
    s = socket.socket(socket.AF_UNIX); s.settimeout(1)
    try: s.connect("/run/identityd/socket")
    except OSError: pass
    s.close()
"#;

fn quick_look_up(mosh: &Mosh, uid: u32) -> Status {
    let began = Instant::now();
    let status = mosh.wire(uid).ask(Op::PasswdByName, b"ana").0;
    within(NSS, "a look-up", began.elapsed());
    status
}

#[test]
fn a_user_with_thousands_of_connections_is_told_busy_and_keeps_nobody_out() {
    let mosh = machine!();
    mosh.write("/hoard.py", HOARD);
    let (ana, ben) = (mosh.uid("ana"), mosh.uid("ben"));
    let hoard = mosh.call(["python3", "/hoard.py", "20"]).user("ana").spawn();
    mosh.wait_until("it has all it gets", Duration::from_secs(20), |_| hoard.stdout().contains('\n'));
    let counts: Vec<u32> = hoard.stdout().split_whitespace().map(|count| count.parse().unwrap()).collect();
    assert!(counts[0] <= 256 && counts[0] > 200 && counts[0] + counts[1] == 3000, "{counts:?}");
    assert_eq!(mosh.wire(ana).ask(Op::PasswdByName, b"ana").0, Status::Busy);
    for _ in 0..20 {
        assert_eq!(quick_look_up(&mosh, 0), Status::Found);
        assert_eq!(quick_look_up(&mosh, ben), Status::Found);
    }
    mosh.run(["id", "ana"]).success();
    mosh.sh_as("ben", "id ana").success();
    // Its half requests are cut off after request_timeout (2 s): then it is served again.
    mosh.wait_until("ana is served again", Duration::from_secs(10), |mosh| {
        mosh.wire(ana).ask(Op::PasswdByName, b"ana").0 == Status::Found
    });
    let metrics = mosh.metrics();
    for counted in [r#"connections_refused_total{limit="user"}"#, r#"frames_refused_total{reason="time"}"#] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
}

#[test]
fn all_users_together_leave_room_for_root() {
    let mosh = boot!(Mosh::builder().login(Login::new("ana")).without_daemon());
    mosh.configure("server", "connections = 32\nreserved_for_root = 8\nconnections_per_user = 16");
    mosh.daemon().start();
    let mut held = Vec::new();
    for uid in 5000..5003 {
        for _ in 0..10 {
            let mut wire = mosh.wire(uid);
            if wire.ask(Op::PasswdByUid, &[0; 4]).0 == Status::Absent {
                held.push(wire);
            }
        }
    }
    assert_eq!(held.len(), 24);
    assert_eq!(mosh.wire(6000).ask(Op::PasswdByName, b"ana").0, Status::Busy);
    assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
    // The held connections still work, and a place that is given back is there for others.
    assert_eq!(held[0].ask(Op::PasswdByName, b"ana").0, Status::Found);
    held.clear();
    mosh.wait_until("there is room again", Duration::from_secs(5), |mosh| {
        mosh.wire(6000).ask(Op::PasswdByName, b"ana").0 == Status::Found
    });
}

#[test]
fn a_storm_of_connections_does_not_stop_the_look_ups_of_others() {
    let mosh = machine!();
    mosh.write("/storm.py", STORM);
    let _storm = mosh.call(["python3", "/storm.py", "3"]).user("ana").spawn();
    let ben = mosh.uid("ben");
    for _ in 0..30 {
        assert_eq!(mosh.wire(0).ask(Op::PasswdByName, b"ana").0, Status::Found);
        assert_eq!(mosh.wire(ben).ask(Op::PasswdByName, b"ana").0, Status::Found);
    }
    for _ in 0..5 {
        mosh.run(["getent", "passwd", "ana"]).success();
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mosh = boot!(Mosh::builder().without_daemon());
    mosh.configure("server", "idle_timeout = \"300ms\"");
    mosh.daemon().start();
    assert_eq!(mosh.wire(0).reply().unwrap(), None);
}

#[test]
fn a_reply_that_nobody_takes_holds_nobody_up() {
    let mosh = machine!();
    let mut deaf = mosh.wire(mosh.uid("ana"));
    let metrics = postcard_of(&Request::Metrics);
    let mut frame =
        schema::wire::frame::Header::request(Op::Message, 1, metrics.len() as u32, 1000).to_bytes().to_vec();
    frame.extend_from_slice(&metrics);
    // Until the buffers of both sides are full; the server then waits for this client alone.
    let many = frame.repeat(100);
    let mut sent = 0;
    deaf.limit_writes(Duration::from_millis(200));
    while sent < 50 && deaf.send(&many).is_ok() {
        sent += 1;
    }
    assert!(sent < 50, "the server took {sent} times 100 requests without an answer being read");
    assert_eq!(quick_look_up(&mosh, 0), Status::Found);
    assert_eq!(quick_look_up(&mosh, mosh.uid("ben")), Status::Found);
}

#[test]
fn hostile_names_cost_nothing_but_an_answer() {
    let mosh = machine!();
    let ana = mosh.uid("ana");
    for user in ["", "\0", "root", "../../etc/passwd", "a' OR 1=1 --", "ana\n", "Ana", "\u{1F600}", &"x".repeat(200)] {
        let context = PamContext { service: user.into(), user: user.into(), ..PamContext::default() };
        assert_eq!(mosh.wire(ana).message(&Request::Account { context: context.clone() }).unwrap_err(), Status::Denied);
        let reply = mosh.wire(0).message(&Request::Account { context }).unwrap();
        let schema::wire::message::Reply::Verdict(verdict) = reply else { panic!("{reply:?}") };
        assert_eq!(verdict.outcome, schema::wire::message::Outcome::UserUnknown, "{user:?}");
        assert_eq!(mosh.wire(0).ask(Op::PasswdByName, user.as_bytes()).0, Status::Absent, "{user:?}");
    }
    // What would fill the log is refused before anything is done with it.
    let huge = "x".repeat(20_000);
    let context = PamContext { service: "sshd".into(), user: huge.clone(), ..PamContext::default() };
    assert_eq!(mosh.wire(0).message(&Request::Account { context }).unwrap_err(), Status::Malformed);
    assert_eq!(mosh.wire(0).ask(Op::PasswdByName, huge.as_bytes()).0, Status::Absent);
}

fn postcard_of(request: &Request) -> Vec<u8> {
    postcard::to_allocvec(request).unwrap()
}
