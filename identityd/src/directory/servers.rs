//! Several servers of one directory: which to ask now. The nearest is the first of the list.
//!
//! A server that gives no answer in time counts as down, whatever it does instead: refuses, resets, is slow, takes connections and never answers. The next
//! one is asked in the same question. One that is down is tried again by itself, beside the questions, and the nearest one that is back is asked from
//! then on.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::DirectoryError;

/// The first pause of a server that is down; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest: a server that is back is asked after this at the latest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// From this failure in a row on a pause is varied by a quarter, so that a fleet does not come back all at once. Not before: a cold start, or a server that was
/// only restarted, is not made slower by it (SSSD #5609, #5635).
const STEADY: u32 = 5;

/// The servers, and what is known of each.
#[derive(Debug)]
pub struct Servers {
    states: Mutex<Vec<State>>,
    /// Longest time that one server gets for one question while there are others to ask.
    patience: Duration,
}

#[derive(Debug, Clone)]
struct State {
    name: String,
    /// How often in a row it failed; 0: it is up.
    failures: u32,
    /// When it may be tried again.
    due: Instant,
    reason: String,
}

/// Why a server gave no answer.
#[derive(Debug)]
pub enum Fault {
    /// It is down: another one is asked, and this one is left alone for a while.
    Down(DirectoryError),
    /// It answers, but not this question (it is behind, lacks a table, or cannot be written): another one is asked.
    Elsewhere(DirectoryError),
    /// This is the answer; another server is not asked (a wrong password is never tried twice).
    Final(DirectoryError),
}

impl From<DirectoryError> for Fault {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Unavailable { .. } => Self::Down(error),
            DirectoryError::Damaged { .. } => Self::Elsewhere(error),
            other => Self::Final(other),
        }
    }
}

/// A server as `identityctl status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ServerReport {
    /// As in the configuration.
    pub name: String,
    /// Whether it answered last time.
    pub up: bool,
    /// Why not; empty: it did.
    pub reason: String,
}

impl Servers {
    /// The servers of a configuration, the nearest first. None has been asked, so all count as up.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>, patience: Duration) -> Arc<Self> {
        let fresh = |name: String| State { name, failures: 0, due: Instant::now(), reason: String::new() };
        let states = names.into_iter().map(|name| fresh(name.into())).collect();
        Arc::new(Self { states: Mutex::new(states), patience })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Which to ask now, in this order: those that are up, the nearest first; if none is, those whose pause is over. Empty: not now.
    #[must_use]
    pub fn order(&self) -> Vec<usize> {
        let states = self.lock();
        let which = |wanted: &dyn Fn(&State) -> bool| -> Vec<usize> {
            states.iter().enumerate().filter(|(_, state)| wanted(state)).map(|(at, _)| at).collect()
        };
        let up = which(&|state| state.failures == 0);
        if up.is_empty() { which(&|state| state.due <= Instant::now()) } else { up }
    }

    /// Asks one server after the other until one answers. `question` gets the server's number; it must stand being dropped.
    ///
    /// # Errors
    /// What a server said, or that none answers and why.
    pub async fn ask<T, A>(&self, question: impl Fn(usize) -> A) -> Result<T, DirectoryError>
    where
        A: Future<Output = Result<T, Fault>>,
    {
        let mut last = None;
        for at in self.order() {
            match tokio::time::timeout(self.patience, question(at)).await {
                Ok(Ok(answer)) => {
                    self.up(at);
                    return Ok(answer);
                }
                Ok(Err(Fault::Final(error))) => {
                    self.up(at);
                    return Err(error);
                }
                Ok(Err(Fault::Elsewhere(error))) => last = Some(error),
                Ok(Err(Fault::Down(error))) => {
                    self.down(at, &reason(&error));
                    last = Some(error);
                }
                Err(_) => {
                    let error = self.error(at, format!("no answer within {} ms", self.patience.as_millis()));
                    self.down(at, &reason(&error));
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| self.none()))
    }

    /// It has answered.
    pub fn up(&self, at: usize) {
        let mut states = self.lock();
        let Some(state) = states.get_mut(at).filter(|state| state.failures > 0) else { return };
        state.failures = 0;
        state.reason.clear();
        let server = state.name.clone();
        drop(states);
        tracing::info!(server, "this server of the directory answers again");
    }

    /// It has not.
    pub fn down(&self, at: usize, reason: &str) {
        let mut states = self.lock();
        let Some(state) = states.get_mut(at) else { return };
        let news = state.failures == 0;
        state.failures = state.failures.saturating_add(1);
        state.due = Instant::now() + pause(state.failures);
        reason.clone_into(&mut state.reason);
        let server = state.name.clone();
        drop(states);
        if news {
            tracing::warn!(server, reason, "this server of the directory does not answer");
        }
    }

    /// What is known of each.
    #[must_use]
    pub fn report(&self) -> Vec<ServerReport> {
        let states = self.lock();
        let one = |state: &State| ServerReport {
            name: state.name.clone(),
            up: state.failures == 0,
            reason: state.reason.clone(),
        };
        states.iter().map(one).collect()
    }

    /// Why no answer came from this server.
    #[must_use]
    pub fn error(&self, at: usize, reason: String) -> DirectoryError {
        let directory = self.lock().get(at).map(|state| state.name.clone()).unwrap_or_default();
        DirectoryError::Unavailable { directory, reason }
    }

    /// Tries those that are down whenever their pause is over, until the servers are dropped. `probe` asks one for anything at all.
    pub async fn keep_trying<A>(this: Weak<Self>, probe: impl Fn(usize) -> A)
    where
        A: Future<Output = Result<(), DirectoryError>>,
    {
        loop {
            let Some(servers) = this.upgrade() else { return };
            let (due, patience) = (servers.due(), servers.patience);
            drop(servers);
            for at in due {
                let tried = tokio::time::timeout(patience, probe(at)).await;
                let Some(servers) = this.upgrade() else { return };
                match tried {
                    Ok(Ok(())) => servers.up(at),
                    Ok(Err(error)) => servers.down(at, &reason(&error)),
                    Err(_) => servers.down(at, &format!("no answer within {} ms", patience.as_millis())),
                }
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }

    fn due(&self) -> Vec<usize> {
        let now = Instant::now();
        let states = self.lock();
        let due = states.iter().enumerate().filter(|(_, state)| state.failures > 0 && state.due <= now);
        due.map(|(at, _)| at).collect()
    }

    fn none(&self) -> DirectoryError {
        let states = self.lock();
        let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
        let reason = states.first().map(|state| state.reason.clone()).unwrap_or_default();
        DirectoryError::Unavailable { directory: names.join(", "), reason }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the name of the directory in front.
fn reason(error: &DirectoryError) -> String {
    match error {
        DirectoryError::Unavailable { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE);
    if failures < STEADY { pause } else { pause.mul_f64(rand::random_range(0.75..=1.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(60);

    fn two() -> Arc<Servers> {
        Servers::new(["near", "far"], PATIENCE)
    }

    async fn who(servers: &Servers, near: impl Fn() -> Result<(), Fault>) -> Result<usize, DirectoryError> {
        servers
            .ask(|at| {
                let answer = if at == 0 { near() } else { Ok(()) };
                async move { answer.map(|()| at) }
            })
            .await
    }

    fn gone() -> DirectoryError {
        DirectoryError::Unavailable { directory: "near".into(), reason: "connection refused".into() }
    }

    #[tokio::test]
    async fn the_nearest_is_asked_first_and_again_when_it_is_back() {
        let servers = two();
        assert_eq!(who(&servers, || Ok(())).await.unwrap(), 0);
        assert_eq!(who(&servers, || Err(gone().into())).await.unwrap(), 1);
        assert_eq!(servers.order(), [1]);
        assert!(!servers.report()[0].up && servers.report()[0].reason == "connection refused");
        tokio::spawn(Servers::keep_trying(Arc::downgrade(&servers), |_| async { Ok(()) }));
        while servers.order() != [0, 1] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_waited_for_once() {
        let servers = two();
        let stalled = |at: usize| async move {
            if at == 0 {
                std::future::pending::<()>().await;
            }
            Ok(at)
        };
        assert_eq!(servers.ask(stalled).await.unwrap(), 1);
        assert_eq!(servers.order(), [1]);
        assert!(servers.report()[0].reason.contains("no answer within 60 ms"));
    }

    #[tokio::test]
    async fn an_answer_is_final_also_when_it_is_no() {
        let servers = two();
        let refused = who(&servers, || Err(DirectoryError::Refused("no".into()).into())).await;
        assert!(matches!(refused, Err(DirectoryError::Refused(_))));
        assert_eq!(servers.order(), [0, 1]);
    }

    #[tokio::test]
    async fn one_that_is_behind_is_passed_over_and_stays_up() {
        let servers = two();
        assert_eq!(who(&servers, || Err(Fault::Elsewhere(gone()))).await.unwrap(), 1);
        assert_eq!(servers.order(), [0, 1]);
    }

    #[tokio::test]
    async fn when_all_are_down_they_are_left_alone_between_tries() {
        let servers = Servers::new(["only"], PATIENCE);
        let mut left_alone = None;
        for _ in 0..10 {
            assert!(who(&servers, || Err(gone().into())).await.is_err());
            let order = servers.order();
            // On a busy machine the pause may be over by now: then once more.
            if let Err(error) = who(&servers, || Ok(())).await {
                assert!(order.is_empty(), "{order:?}");
                left_alone = Some(error.to_string());
                break;
            }
        }
        let error = left_alone.expect("it is left alone");
        assert!(error.contains("only") && error.contains("connection refused"), "{error}");
        for _ in 0..100 {
            if matches!(who(&servers, || Ok(())).await, Ok(0)) {
                return;
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        panic!("it is never tried again");
    }

    #[test]
    fn pauses_grow_to_five_seconds_and_vary_only_in_steady_state() {
        assert_eq!(pause(1), FIRST_PAUSE);
        assert_eq!(pause(3), 4 * FIRST_PAUSE);
        assert!((0..100).all(|_| pause(50) <= LONGEST_PAUSE && pause(50) >= LONGEST_PAUSE.mul_f64(0.75)));
    }
}
