//! A stream's verdicts as server-sent events.
//!
//! A client is served from the store at its own pace: what it has not taken yet is a number, not a
//! buffer, so a slow one costs no memory and misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::lifecycle::Phase;
use crate::store::{PageQuery, StoreResult, StoredVerdict, Subscription};
use crate::telemetry::{Count, names};
use crate::watch::{Watch, WatchRecord};

/// Verdicts read from the store at once.
const CHUNK: u32 = 32;

/// Begins the events of `page.stream_id` after `page.after`.
///
/// # Errors
/// `too_many_clients`.
pub fn respond(app: App, page: PageQuery) -> Result<Response, ApiError> {
    let place = std::sync::Arc::clone(&app.sse_places)
        .try_acquire_owned()
        .map_err(|_| {
            let detail = format!("sse.max_clients allows {}", app.settings.sse.max_clients);
            ApiError::new(ErrorCode::TooManyClients, detail)
        })?;
    let keep_alive = KeepAlive::new()
        .interval(Duration::from_secs(app.settings.sse.keep_alive_s))
        .text("keep-alive");
    let events = Events {
        news: app.store.topics().subscribe(&page.stream_id),
        app,
        page: PageQuery {
            limit: CHUNK,
            ..page
        },
        ready: VecDeque::new(),
        shown: None,
        ended: false,
        _place: place,
        _count: Count::up(names::SSE_CLIENTS),
    };
    let events = stream::unfold(events, |mut events| async move {
        events
            .next()
            .await
            .map(|event| (Ok::<_, Infallible>(event), events))
    });
    let no_buffering = [("cache-control", "no-cache"), ("x-accel-buffering", "no")];
    Ok((no_buffering, Sse::new(events).keep_alive(keep_alive)).into_response())
}

struct Events {
    app: App,
    page: PageQuery,
    /// Subscribed before the first read, so that nothing committed in between is missed.
    news: Subscription,
    ready: VecDeque<Event>,
    /// The watch as the client knows it.
    shown: Option<String>,
    ended: bool,
    _place: OwnedSemaphorePermit,
    _count: Count,
}

impl Events {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            match self.read().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    // The client comes back with its last id and misses nothing.
                    tracing::warn!(stream = self.page.stream_id, %error, "an event stream broke");
                    return None;
                }
            }
            tokio::select! {
                () = self.news.changed() => {}
                () = self.app.lifecycle.reached(Phase::Stopping) => return None,
            }
        }
    }

    /// Reads what is new into `ready`; `false` when there was nothing.
    async fn read(&mut self) -> StoreResult<bool> {
        // First the watch, then the verdicts: the verdicts of a watch that has ended are all there.
        let watch = self.app.store.watch_of(self.page.stream_id.clone()).await?;
        let watch = watch.as_ref().map(WatchRecord::from_row).transpose()?;
        let rows = self.app.store.page(self.page.clone()).await?;
        for row in &rows {
            self.page.after = row.seq;
            self.ready.push_back(verdict_event(row));
        }
        let drained = rows.len() < CHUNK as usize;
        if let Some(record) = watch {
            let over = !record.state.is_active();
            let face = format!("{} {} {:?}", record.id, record.state, record.error);
            // The end comes last, after every verdict.
            if self.shown.as_ref() != Some(&face) && (!over || drained) {
                self.shown = Some(face);
                self.ready.push_back(watch_event(record));
            }
            self.ended = over && drained;
        }
        Ok(!self.ready.is_empty() || self.ended)
    }
}

fn verdict_event(row: &StoredVerdict) -> Event {
    let name = if row.kind == "gap" { "gap" } else { "verdict" };
    Event::default()
        .id(row.seq.to_string())
        .event(name)
        .data(row.to_json())
}

fn watch_event(record: WatchRecord) -> Event {
    let json = serde_json::to_string(&Watch::from(record)).unwrap_or_default();
    Event::default().event("watch").data(json)
}
