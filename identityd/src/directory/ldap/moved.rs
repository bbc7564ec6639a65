//! Groups that list an entry which got another name or is gone. slapd's overlay refint corrects them by itself, a moment later, without a new CSN and without telling anybody who synchronises
//! (slapo-refint(5)). So they are looked at again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::client::Search;
use super::feed::{Feed, Op};
use super::map::Map;
use super::node::Node;
use super::pool::Pool;
use super::{filter, node, part};

/// After these pauses: refint is done within milliseconds, and a server may be busy.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(5)];
/// Comparisons in one filter.
const CHUNK: usize = 100;

/// Looks at the groups of these gids until the pauses are over.
pub(super) async fn look_again(feed: Weak<Feed>, pool: Weak<Pool>, map: Map, gids: Vec<i64>) {
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        let (Some(feed), Some(pool)) = (feed.upgrade(), pool.upgrade()) else { return };
        for chunk in gids.chunks(CHUNK) {
            look(&feed, &pool, &map, chunk).await;
        }
    }
}

async fn look(feed: &Arc<Feed>, pool: &Arc<Pool>, map: &Map, gids: &[i64]) {
    let attribute = &map.0.attributes.group_gid;
    let any: String = gids.iter().map(|gid| filter::equal(attribute, gid.to_string().as_bytes())).collect();
    for base in map.0.group_bases() {
        let search = Search {
            base: base.clone(),
            scope: part::scope_of(&map.0),
            filter: filter::and(&map.0.group_filter, &format!("(|{any})")),
            attributes: part::index_attributes(map),
            limit: 0,
            optional: false,
        };
        let found = match pool.search(&search).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "groups that list somebody who has moved cannot be looked at now");
                return;
            }
        };
        for entry in found {
            let uuid = node::uuid_of(&entry);
            let Some(Node::Group(group)) = node::group(map, &entry, uuid) else { continue };
            let known = {
                let state = feed.locked();
                // With another CSN it is a change of its own, of which the server tells, in order.
                let same =
                    state.model.group_at(uuid).is_some_and(|known| known.stamp == group.stamp && *known != group);
                state.part_of(uuid).filter(|_| same).map(|number| (number, state.reached()))
            };
            if let Some((number, reached)) = known {
                feed.apply(number, vec![Op::Put(uuid, Some(Node::Group(group)))], reached, part::scope(&map.0));
            }
        }
    }
}
