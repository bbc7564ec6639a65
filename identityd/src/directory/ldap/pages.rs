//! Long lists, in pages: every entry of every base, or an error. Never a part.

use std::time::Duration;

use super::client::{Client, LdapFailure, Search, said};
use super::control;
use super::entry::{Item, RawEntry};
use super::pool::Pool;
use crate::directory::DirectoryError;

/// Entries of a page: below the 500 that servers often allow at a time.
const PAGE: u32 = 500;
/// Between two entries, and before the first of a page.
const PATIENCE: Duration = Duration::from_secs(20);

/// Goes through all entries of these searches on one connection.
pub(super) async fn all(
    pool: &Pool,
    searches: &[Search],
    mut each: impl FnMut(RawEntry) + Send,
) -> Result<(), DirectoryError> {
    let mut client = pool.connect(false).await?;
    for search in searches {
        if let Err(failure) = one(&mut client, search, &mut each).await {
            let reason =
                format!("{}: a list below {:?} was not complete: {failure}", pool.url(client.server), search.base);
            if failure.is_away() {
                pool.down(client.server, &failure);
            }
            return Err(pool.unavailable(match failure {
                LdapFailure::Said { code: 3 | 4 | 11, .. } => {
                    format!(
                        "{reason}; raise the limits of identityd's service account (olcLimits, schema/ldap/slapd.ldif)"
                    )
                }
                _ => reason,
            }));
        }
    }
    pool.keep(client);
    Ok(())
}

async fn one(
    client: &mut Client,
    search: &Search,
    each: &mut (impl FnMut(RawEntry) + Send),
) -> Result<(), LdapFailure> {
    let mut cookie = Vec::new();
    loop {
        let mut incoming = client.stream(search, vec![control::page(PAGE, &cookie)]).await?;
        loop {
            let item = tokio::time::timeout(PATIENCE, incoming.next()).await;
            match item.map_err(|_| LdapFailure::Away("it stopped in the middle of a list".into()))?? {
                Some(Item::Entry(entry, _)) => each(entry),
                Some(Item::Reference(_) | Item::Intermediate(..)) => {}
                None => break,
            }
        }
        let result = incoming.result().await;
        said(&result)?;
        let controls: Vec<_> = result.ctrls.into_iter().map(|control| control.1).collect();
        match control::next_page(&controls) {
            Some(next) if !next.is_empty() => cookie = next,
            _ => return Ok(()),
        }
    }
}
