//! A test that cannot run says so aloud and is counted; it never just passes.
//!
//! libtest has no third result, so a skip is a line in a file that `tests/run` counts and prints. With `CI=true` a skip is a failure.

use std::fs::OpenOptions;
use std::io::Write;

use crate::places;

/// Why a test machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// This machine cannot run it: not root, no overlay, no name spaces. The test is skipped.
    #[error("{0}")]
    CannotRun(String),
    /// It should have worked. The test fails.
    #[error("{0}")]
    Failed(String),
}

/// Starts a test machine from a builder, or leaves the test, skipped aloud.
///
/// ```ignore
/// let mosh = boot!(Mosh::builder().login(Login::new("ana").password("secret")));
/// ```
#[macro_export]
macro_rules! boot {
    ($builder:expr) => {
        match $builder.start() {
            Ok(mosh) => mosh,
            Err($crate::Refusal::CannotRun(reason)) => $crate::skip!("{reason}"),
            Err(failed) => panic!("{failed}"),
        }
    };
}

/// Leaves the test, skipped aloud: `skip!("no {program} here")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {
        return $crate::skip::skipped(&format!($($reason)*))
    };
}

/// Records that the running test is skipped. Use [`skip!`](crate::skip!).
///
/// # Panics
/// With `CI=true`, where everything must be able to run.
pub fn skipped<T: Skipped>(reason: &str) -> T {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "skipped where CI=true allows no skips: {reason}");
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(list) = std::env::var_os("TEST_SKIPS")
        && let Ok(mut list) = OpenOptions::new().create(true).append(true).open(list)
    {
        // One write: tests run at the same time.
        let _ = list.write_all(format!("{test}: {reason}\n").as_bytes());
    }
    T::skipped()
}

/// What a test function returns when it is skipped.
pub trait Skipped {
    /// Neither passed nor failed, as near as libtest can say it.
    fn skipped() -> Self;
}

impl Skipped for () {
    fn skipped() -> Self {}
}

impl<E> Skipped for Result<(), E> {
    fn skipped() -> Self {
        Ok(())
    }
}

/// Why no test machine can be started here, if so.
#[must_use]
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("test machines need root: run tests/run as root".into());
    }
    if !places::test_root().join(".prepared").exists() {
        return Some(format!("there is no prepared root {}: run tests/prepare", places::test_root().display()));
    }
    None
}

/// Records something that fails no test and has to be looked into all the same; `tests/run` prints it at its end.
pub fn noted(what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    eprintln!("NOTED {test}: {what}");
    if let Some(list) = std::env::var_os("TEST_NOTES")
        && let Ok(mut list) = OpenOptions::new().create(true).append(true).open(list)
    {
        let _ = list.write_all(format!("{test}: {what}\n").as_bytes());
    }
}
