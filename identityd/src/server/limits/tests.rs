//! Whose connection is admitted, and which gives way to it.

use super::super::held::GRACE;
use super::*;

const MOMENT: Duration = Duration::from_millis(1);

fn limits(connections: u32, reserved_for_root: u32, connections_per_user: u32) -> Arc<Limits> {
    let config = config::Server { connections, reserved_for_root, connections_per_user, ..config::Server::default() };
    Limits::new(config)
}

fn small() -> Arc<Limits> {
    limits(10, 4, 4)
}

fn working(limits: &Arc<Limits>, uid: u32, now: Instant) -> Place {
    let place = limits.admit(uid, now).unwrap();
    place.works().unwrap();
    place
}

#[test]
fn one_user_gets_its_share_and_no_more() {
    let (limits, now) = (small(), Instant::now());
    let places: Vec<_> = (0..4).map(|_| working(&limits, 2000, now)).collect();
    assert_eq!(limits.admit(2000, now + GRACE).unwrap_err(), Full::User);
    assert!(limits.admit(2001, now).is_ok());
    drop(places);
    assert!(limits.admit(2000, now).is_ok());
    assert_eq!(limits.connections(), 0);
}

#[test]
fn all_users_together_cannot_keep_root_out() {
    let (limits, now) = (small(), Instant::now());
    let users: Vec<_> = (0..6).map(|uid| working(&limits, 2000 + uid, now)).collect();
    assert_eq!(limits.admit(3000, now + GRACE).unwrap_err(), Full::Users);
    let root: Vec<_> = (0..4).map(|_| working(&limits, 0, now)).collect();
    assert_eq!(limits.admit(0, now + GRACE).unwrap_err(), Full::Total);
    drop((users, root));
}

#[test]
fn what_is_roots_takes_no_place_of_the_users() {
    let (limits, now) = (small(), Instant::now());
    let _root: Vec<_> = (0..10).map(|_| limits.admit(0, now).unwrap()).collect();
    // Stopped programs of root, all of them: the users have six places of ten.
    let users: Vec<_> = (0..6).map(|uid| limits.admit(2000 + uid, now + GRACE).unwrap()).collect();
    assert_eq!(users.len(), 6);
    assert_eq!(limits.connections(), 10);
}

#[test]
fn the_longest_idle_connection_of_who_holds_most_gives_way() {
    let (limits, now) = (small(), Instant::now());
    let few = limits.admit(2001, now).unwrap();
    let many: Vec<_> = (1..=4).map(|n| limits.admit(2000, now + MOMENT * n).unwrap()).collect();
    let _one = limits.admit(2002, now).unwrap();
    let _new = limits.admit(2003, now + 2 * GRACE).unwrap();
    assert_eq!(many.iter().map(Place::works).collect::<Vec<_>>(), [Err(Taken), Ok(()), Ok(()), Ok(())]);
    assert_eq!(few.works(), Ok(()));
    assert_eq!(limits.connections(), 6);
}

#[test]
fn nobody_gives_way_who_holds_fewer_who_is_worked_for_or_who_has_just_come() {
    let (limits, now) = (limits(20, 4, 16), Instant::now());
    let _many: Vec<_> = (0..14).map(|_| working(&limits, 2000, now)).collect();
    let one = limits.admit(2001, now).unwrap();
    assert_eq!(one.works(), Ok(()));
    let just_come = limits.admit(2002, now + GRACE).unwrap();
    assert_eq!(limits.admit(2000, now + 3 * GRACE).unwrap_err(), Full::Users);
    assert_eq!(limits.admit(2003, now + 2 * GRACE - MOMENT).unwrap_err(), Full::Users);
    assert!(limits.admit(2003, now + 2 * GRACE).is_ok());
    assert_eq!((one.works(), just_come.works()), (Ok(()), Err(Taken)));
}

#[test]
fn a_user_at_its_own_limit_closes_its_own_idle_ones() {
    let (limits, now) = (small(), Instant::now());
    let other = limits.admit(2001, now).unwrap();
    let own: Vec<_> = (0..4).map(|_| limits.admit(2000, now).unwrap()).collect();
    assert_eq!(limits.admit(2000, now).unwrap_err(), Full::User);
    assert!(limits.admit(2000, now + GRACE).is_ok());
    assert_eq!(own.iter().filter(|place| place.works().is_err()).count(), 1);
    assert_eq!(other.works(), Ok(()));
}

#[test]
fn several_users_at_work_leave_places_for_who_holds_few() {
    // 16 for the users, two of them for who holds fewer than four.
    let (limits, now) = (limits(20, 4, 8), Instant::now());
    let many: Vec<_> = (0..14).map(|n| working(&limits, 2000 + n % 2, now)).collect();
    for uid in [2000, 2001] {
        assert_eq!(limits.admit(uid, now).unwrap_err(), Full::Users);
    }
    let _first = working(&limits, 2002, now);
    let _second = working(&limits, 2003, now);
    assert_eq!(limits.admit(2004, now).unwrap_err(), Full::Users);
    drop(many);
}

#[test]
fn root_goes_before_users_who_have_just_come() {
    let (limits, now) = (small(), Instant::now());
    let _root: Vec<_> = (0..4).map(|_| working(&limits, 0, now)).collect();
    let users: Vec<_> = (0..6).map(|uid| limits.admit(2000 + uid, now).unwrap()).collect();
    assert!(limits.admit(0, now).is_ok());
    assert_eq!(users.iter().filter(|place| place.works().is_err()).count(), 1);
}

#[tokio::test]
async fn a_silent_client_has_less_time_when_places_become_few() {
    let (limits, now) = (small(), Instant::now());
    limits.set(config::Server { idle_timeout: config::Span::millis(1), ..limits.config() });
    let place = limits.admit(2000, now).unwrap();
    place.silent_too_long().await;
    limits.set(config::Server { idle_timeout: config::Span::secs(10), ..limits.config() });
    assert_eq!(limits.longest_wait(), Duration::from_secs(10));
    let _others: Vec<_> = (0..4).map(|uid| limits.admit(3000 + uid, now).unwrap()).collect();
    assert_eq!(limits.longest_wait(), UNDER_PRESSURE);
}
