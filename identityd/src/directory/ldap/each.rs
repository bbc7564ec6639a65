//! What is asked of all servers at once, since each may know something that the others do not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Client, Found, LdapFailure, Search};
use super::pool::{ATTEMPT, Pool};
use super::position::Position;
use crate::directory::DirectoryError;

impl Pool {
    /// What is committed: the newest change of each provider that any server knows of. All that are up are asked at once; at least one answers.
    pub(super) async fn committed(self: &Arc<Self>) -> Result<Position, DirectoryError> {
        let mut asked = JoinSet::new();
        for server in self.order.candidates() {
            let pool = Arc::clone(self);
            asked.spawn(async move { pool.position_of(server).await });
        }
        let (mut found, mut reason) = (None, String::new());
        while let Some(ended) = asked.join_next().await {
            match ended {
                Ok(Ok(position)) => found.get_or_insert_with(Position::default).merge(&position),
                Ok(Err(failure)) => reason = failure.to_string(),
                Err(error) => reason = error.to_string(),
            }
        }
        found.ok_or_else(|| self.unavailable(reason))
    }

    pub(super) async fn position_of(&self, server: usize) -> Result<Position, LdapFailure> {
        let limit = Instant::now() + ATTEMPT;
        let ask = async |mut client: Client| {
            let position = tokio::time::timeout_at(limit, self.position_at(&mut client)).await;
            let position =
                position.map_err(|_| LdapFailure::Away(format!("{} does not answer in time", self.url(server))))??;
            self.keep(client);
            Ok(position)
        };
        let mut found = Err(LdapFailure::Away(String::new()));
        if let Some(client) = self.kept(server) {
            found = ask(client).await;
        }
        if matches!(&found, Err(LdapFailure::Away(_))) && Instant::now() < limit {
            found = match self.bound(server, limit).await {
                Ok(client) => ask(client).await,
                Err(failure) => Err(failure),
            };
        }
        match &found {
            Ok(_) => self.up(server),
            Err(failure) if failure.is_away() => drop(self.down(server, failure)),
            Err(_) => {}
        }
        found
    }

    /// A search at each server that is up, and what each says, the nearest first.
    pub(super) async fn search_each(self: &Arc<Self>, search: &Search) -> Vec<(usize, Result<Found, LdapFailure>)> {
        let candidates = self.order.candidates();
        // Nobody else waits for the only one.
        let time = if candidates.len() > 1 { ATTEMPT } else { self.config.timeout.0 };
        let limit = Instant::now() + time;
        let ask = |server| {
            let (pool, search) = (Arc::clone(self), search.clone());
            (server, tokio::spawn(async move { pool.search_at(server, &search, limit).await }))
        };
        let asked: Vec<_> = candidates.into_iter().map(ask).collect();
        let mut answers = Vec::new();
        for (server, answer) in asked {
            let answer = answer.await.unwrap_or_else(|error| Err(LdapFailure::Away(error.to_string())));
            match &answer {
                Err(failure) if failure.is_away() => drop(self.down(server, failure)),
                _ => self.up(server),
            }
            answers.push((server, answer));
        }
        answers
    }

    /// The servers that do not answer, and why; without these.
    pub(super) fn who_is_silent(&self, without: &BTreeSet<usize>) -> Vec<String> {
        let down = self.order.down().into_iter().filter(|(server, _)| !without.contains(server));
        down.map(|(server, reason)| self.named(server, reason)).collect()
    }

    /// Every server but these, and why it was not heard.
    pub(super) fn unheard(&self, heard: &BTreeSet<usize>) -> Vec<String> {
        let down: BTreeMap<usize, String> = self.order.down().into_iter().collect();
        // It came back after the others had been asked.
        let reason = |server: &usize| down.get(server).cloned().unwrap_or_else(|| "is only just back".into());
        let unheard = (0..self.endpoints.len()).filter(|server| !heard.contains(server));
        unheard.map(|server| self.named(server, reason(&server))).collect()
    }

    fn named(&self, server: usize, reason: String) -> String {
        let url = self.url(server);
        if reason.contains(url) { reason } else { format!("{url}: {reason}") }
    }
}
