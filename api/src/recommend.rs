//! Between the store and the recommender: which events count, and how memory is filled at start.

use std::sync::Arc;

use novastream_inference::recommend::{Recommender, Start};

use crate::clock::unix_ms;
use crate::http::events::{LiveItem, LiveRequest};
use crate::store::{BehaviourEvent, Store, StoreResult};

/// Name under which the set of live streams is kept.
pub const LIVE_STATE: &str = "live";

/// Types of events that mean the start of watching.
const START_TYPES: [&str; 5] = ["watch", "view", "play", "join", "start"];

/// Events read at once when memory is filled.
const PAGE: u32 = 10_000;

/// The starts of watching among events. One that claims to come later than now counts as now.
pub fn starts<'a>(events: impl Iterator<Item = &'a BehaviourEvent>) -> Vec<Start> {
    let now_s = unix_ms() / 1000;
    events
        .filter(|event| START_TYPES.contains(&event.kind.as_str()))
        .map(|event| Start {
            user_id: event.user_id.clone(),
            stream_id: event.stream_id.clone(),
            at_s: (event.at_ms / 1000).min(now_s),
        })
        .collect()
}

/// Feeds stored events and the live set to a fresh recommender; answers the number of events.
///
/// # Errors
/// The store cannot be read.
pub async fn refill(store: &Arc<dyn Store>, recommender: &Recommender) -> StoreResult<u64> {
    let (mut after, mut count) = (0, 0);
    loop {
        let page = store.events(after, PAGE).await?;
        let Some(last) = page.last() else {
            break;
        };
        after = last.0;
        count += page.len() as u64;
        recommender.observe(&starts(page.iter().map(|(_, event)| event)));
    }
    if let Some(json) = store.state(LIVE_STATE).await? {
        match serde_json::from_str::<LiveRequest>(&json) {
            Ok(live) => {
                recommender.set_live(live.streams.iter().map(LiveItem::stream));
            }
            // The next PUT /v1/live mends it.
            Err(error) => tracing::error!(%error, "the stored live set is damaged; none is live"),
        }
    }
    Ok(count)
}
