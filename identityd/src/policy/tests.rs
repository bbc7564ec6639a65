//! One row for each rule.

use super::*;
use crate::cache::tests::a_login;

const TODAY: u32 = 20_000;

fn day(days: u32) -> Option<Date> {
    Some(Date::from_days(days))
}

fn ada(with: impl FnOnce(&mut Login)) -> Login {
    let mut login = a_login("ada", 2000);
    with(&mut login);
    login
}

fn decide(login: &Login, service: &str, config: &Config, groups: &[&str]) -> Decision {
    let groups: Vec<GroupName> = groups.iter().map(|group| group.parse().unwrap()).collect();
    account(Case { login, groups: &groups, service, today: Date::from_days(TODAY) }, config)
}

fn outcome(with: impl FnOnce(&mut Login)) -> Outcome {
    decide(&ada(with), "sshd", &Config::default(), &[]).outcome
}

#[test]
fn an_active_login_with_the_capability_may_enter() {
    assert_eq!(outcome(|_| {}), Outcome::Success);
}

#[test]
fn a_locked_login_may_not_even_with_an_aged_password() {
    let locked = outcome(|login| {
        login.status = Status::Locked;
        login.aging.last_change = day(0);
    });
    assert_eq!(locked, Outcome::PermissionDenied);
}

#[test]
fn a_login_is_closed_on_the_day_of_its_expiry_and_not_the_day_before() {
    assert_eq!(outcome(|login| login.aging.expires = day(TODAY)), Outcome::AccountExpired);
    assert_eq!(outcome(|login| login.aging.expires = day(TODAY + 1)), Outcome::Success);
}

#[test]
fn a_locked_or_expired_login_is_closed_and_an_aged_password_closes_nothing() {
    let closed = |with: &dyn Fn(&mut Login)| closed(&ada(with), Date::from_days(TODAY));
    assert_eq!(closed(&|_| {}), None);
    assert_eq!(closed(&|login| login.aging.last_change = day(0)), None);
    assert!(closed(&|login| login.status = Status::Locked).unwrap().contains("locked?"));
    assert!(closed(&|login| login.aging.expires = day(TODAY)).unwrap().contains("expired?"));
}

#[test]
fn each_service_wants_its_capability_and_an_unlisted_one_lets_nobody_in() {
    let config = Config::default();
    let mail = ada(|login| login.capabilities = ["mail".parse().unwrap()].into());
    for (service, expected) in [
        ("dovecot", Outcome::Success),
        ("passwd", Outcome::Success),
        ("sshd", Outcome::PermissionDenied),
        ("su", Outcome::PermissionDenied),
        ("cron", Outcome::PermissionDenied),
        ("never-heard-of", Outcome::PermissionDenied),
        ("*", Outcome::PermissionDenied),
        ("", Outcome::PermissionDenied),
    ] {
        assert_eq!(decide(&mail, service, &config, &[]).outcome, expected, "{service}");
    }
    assert!(decide(&mail, "sshd", &config, &[]).reason().contains("sshd needs sftp or shell; the login has mail"));
}

#[test]
fn deny_wins_over_allow_and_an_allow_list_keeps_the_others_out() {
    let ada = ada(|_| {});
    let with =
        |access: Access, groups: &[&str]| decide(&ada, "sshd", &Config { access, ..Config::default() }, groups).outcome;
    let logins = |name: &str| vec![name.parse().unwrap()];
    let groups = |name: &str| vec![name.parse().unwrap()];
    assert_eq!(with(Access { allow_logins: logins("ada"), ..Access::default() }, &[]), Outcome::Success);
    assert_eq!(with(Access { allow_logins: logins("bob"), ..Access::default() }, &[]), Outcome::PermissionDenied);
    assert_eq!(with(Access { allow_groups: groups("staff"), ..Access::default() }, &["staff"]), Outcome::Success);
    assert_eq!(
        with(Access { deny_groups: groups("staff"), ..Access::default() }, &["staff"]),
        Outcome::PermissionDenied
    );
    let both = Access { allow_logins: logins("ada"), deny_logins: logins("ada"), ..Access::default() };
    assert_eq!(with(both, &[]), Outcome::PermissionDenied);
}

#[test]
fn aging_is_that_of_shadow() {
    let aged = |changed: u32, max: Option<u32>, inactive: Option<u32>| {
        outcome(|login| {
            login.aging =
                Aging { last_change: day(changed), max_days: max, inactive_days: inactive, ..Aging::default() };
        })
    };
    assert_eq!(aged(0, None, None), Outcome::NewPasswordRequired);
    assert_eq!(aged(TODAY - 90, Some(90), None), Outcome::Success);
    assert_eq!(aged(TODAY - 91, Some(90), None), Outcome::NewPasswordRequired);
    assert_eq!(aged(TODAY - 97, Some(90), Some(7)), Outcome::NewPasswordRequired);
    assert_eq!(aged(TODAY - 98, Some(90), Some(7)), Outcome::PasswordExpired);
    assert_eq!(aged(TODAY + 5, Some(90), Some(7)), Outcome::Success);
    assert_eq!(aged(TODAY - 9000, None, Some(0)), Outcome::Success);
    assert_eq!(aged(TODAY - 1, Some(u32::MAX), Some(u32::MAX)), Outcome::Success);
}

#[test]
fn a_warning_comes_in_the_last_days() {
    let info = |age: u32| {
        let login = ada(|login| {
            login.aging =
                Aging { last_change: day(TODAY - age), max_days: Some(90), warn_days: Some(7), ..Aging::default() };
        });
        decide(&login, "sshd", &Config::default(), &[]).info
    };
    assert_eq!(info(83), None);
    assert!(info(84).unwrap().contains("6 days"));
    assert!(info(89).unwrap().contains("1 day."));
}

#[test]
fn a_young_password_stays_unless_it_must_go_or_root_resets_it() {
    let login = |changed| {
        ada(|login| {
            login.aging = Aging { last_change: day(changed), min_days: Some(7), max_days: Some(90), ..Aging::default() }
        })
    };
    let change = |login: &Login, by_root| change_password(login, by_root, Date::from_days(TODAY)).outcome;
    assert_eq!(change(&login(TODAY - 6), false), Outcome::TooSoon);
    assert_eq!(change(&login(TODAY - 7), false), Outcome::Success);
    assert_eq!(change(&login(0), false), Outcome::Success);
    assert_eq!(change(&login(TODAY - 6), true), Outcome::Success);
    let locked = ada(|login| login.status = Status::Locked);
    assert_eq!(change(&locked, false), Outcome::PermissionDenied);
    assert_eq!(change(&locked, true), Outcome::Success);
}
