//! `POST /v1/moderate/segment`

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use novastream_features::media::CancelToken;
use novastream_inference::StreamHistory;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout_at;

use super::body::{self, Bytes, Limit, Params};
use super::examples;
use super::record::{DeadlineHeader, VerdictRecord};
use crate::app::App;
use crate::error::{ApiError, ErrorCode};
use crate::histories;
use crate::judge::{Context, Tally};
use crate::pool::{self, Ticket};
use crate::store::{IdempotencyKey, NewVerdict, StoredVerdict, Write, with_place};
use tracing::Instrument as _;

/// Says that the answer is a stored one.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What the segment is.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SegmentQuery {
    /// The stream. Segments of one stream are judged one after another, each with what was seen
    /// before; without it the segment stands alone.
    #[param(example = "channel-7")]
    pub stream_id: Option<String>,
    /// The segment's number in its stream.
    #[param(example = 42)]
    pub sequence: Option<u64>,
    /// Stream time at which the segment begins, milliseconds; 0 when absent.
    #[param(example = 84_000)]
    pub start_ms: Option<i64>,
    /// A policy that is loaded, as `id` or `id@version`; the default policy when absent.
    #[param(example = "default")]
    pub policy: Option<String>,
}

/// Headers of a segment.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only describes the header")]
pub struct SegmentHeaders {
    /// Names this request: sent again with the same stream and sequence it is answered with the
    /// stored verdict instead of a second one. Needs `stream_id`.
    #[param(rename = "idempotency-key", required = false, example = "7c1f-42")]
    pub idempotency_key: String,
}

/// Judge a segment of a stream.
///
/// The body is a container that libav reads: MPEG-TS, fragmented MP4, WebM and so on. The answer
/// is sent after the verdict was committed.
#[utoipa::path(
    post,
    path = "/v1/moderate/segment",
    tag = "moderation",
    params(SegmentQuery, SegmentHeaders, DeadlineHeader),
    request_body(content = Vec<u8>, content_type = "application/octet-stream",
        description = "The segment's bytes, at most limits.segment_bytes",
        example = "(bytes of an MPEG-TS segment)"),
    responses((status = 200, body = VerdictRecord, description = "The stored verdict",
        headers(("idempotent-replayed" = String, description = "`true` when the verdict is an earlier one")),
        example = json!(examples::segment_verdict()))),
)]
pub async fn moderate_segment(
    State(app): State<App>,
    Params(query): Params<SegmentQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let limits = &app.settings.limits;
    let deadline = pool::wanted_deadline(&headers, limits.deadline_ms)?;
    if let Some(id) = &query.stream_id {
        body::check_id(ErrorCode::InvalidQuery, "stream_id", id)?;
    }
    let policy = Arc::clone(app.policies.get(query.policy.as_deref())?);
    let key = idempotency_key(&headers, &query)?;
    let limit = Limit {
        bytes: limits.segment_bytes,
        setting: "limits.segment_bytes",
    };
    let read = body::admitted(&app.pool, &headers, body, limit, &app.budget, deadline);
    let (bytes, ticket) = read.await?;
    // A segment that stands alone is no stream that others must share the machine with.
    let stretch_percent = match &query.stream_id {
        Some(_) => app.governor.percent(),
        None => 0,
    };
    let context = Context {
        stream_id: query.stream_id,
        sequence: query.sequence,
        start_ms: query.start_ms,
        stretch_percent,
        policy,
    };

    // The work goes on in a task of its own, so that a connection that breaks cannot end it between
    // the verdict and its commit; until there is a verdict, the token ends it.
    let cancel = CancelOnDrop(CancelToken::new());
    let work = Work {
        app,
        context,
        key,
        deadline,
        cancel: cancel.0.clone(),
    };
    let answer = tokio::spawn(work.run(bytes, ticket).in_current_span())
        .await
        .map_err(ApiError::internal)??;
    let json = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    Ok(match answer {
        Answer::New(text) => (json, text).into_response(),
        Answer::Replayed(stored) => {
            let replayed = [(REPLAYED, HeaderValue::from_static("true"))];
            (json, replayed, stored.to_json()).into_response()
        }
    })
}

struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

enum Answer {
    New(String),
    Replayed(StoredVerdict),
}

struct Work {
    app: App,
    context: Context,
    key: Option<IdempotencyKey>,
    deadline: Instant,
    cancel: CancelToken,
}

impl Work {
    async fn run(self, bytes: Bytes, ticket: Ticket) -> Result<Answer, ApiError> {
        let late = |_| {
            let detail = "the deadline passed behind other segments of the stream";
            ApiError::new(ErrorCode::DeadlineExceeded, detail)
        };
        let stream_id = self.context.stream_id.clone();
        let mut held = match &stream_id {
            Some(id) => {
                let lock = self.app.histories.lock(id);
                Some(
                    timeout_at(self.deadline.into(), lock)
                        .await
                        .map_err(late)??,
                )
            }
            None => None,
        };
        // Under the lock, so that two requests with one key cannot both be new.
        if let Some(key) = &self.key
            && let Some(stored) = self.app.store.answered(key.clone()).await?
        {
            same_bytes(&stored, &bytes.data)?;
            return Ok(Answer::Replayed(stored));
        }
        let mut history: StreamHistory = held.as_deref().cloned().unwrap_or_default();
        let Bytes {
            data,
            held: reservation,
        } = bytes;
        let (judge, context, cancel) = (
            Arc::clone(&self.app.judge),
            self.context.clone(),
            self.cancel.clone(),
        );
        let judged = self.app.pool.run(ticket, self.deadline, move || {
            // As long as the job works, its bytes count.
            let _reservation = reservation;
            let verdict = judge.segment(Arc::from(data), &context, &mut history, &cancel)?;
            Ok::<_, ApiError>((verdict, history))
        });
        let (verdict, history) = match judged.await {
            Ok(judged) => judged?,
            Err(error) => {
                self.cancel.cancel();
                return Err(error);
            }
        };
        let tally = Tally::of(&verdict);
        self.app.governor.judged(&verdict);
        let json = serde_json::to_string(&verdict).map_err(ApiError::internal)?;
        let write = Write {
            verdicts: vec![NewVerdict::from(verdict)],
            history: stream_id
                .as_ref()
                .and_then(|id| histories::row(id, &history)),
            idempotency: self.key,
            ..Write::default()
        };
        let written = self.app.store.write(write).await?;
        if let Some(held) = &mut held {
            **held = history;
        }
        tally.count();
        let Some(place) = written.verdicts.first() else {
            return Err(ApiError::internal("the store gave no place for a verdict"));
        };
        Ok(Answer::New(with_place(*place, &json)))
    }
}

fn idempotency_key(
    headers: &HeaderMap,
    query: &SegmentQuery,
) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let code = ErrorCode::InvalidHeader;
    let key = value
        .to_str()
        .map_err(|_| ApiError::new(code, "Idempotency-Key must be printable ASCII"))?;
    body::check_id(code, "Idempotency-Key", key)?;
    let Some(stream_id) = query.stream_id.clone() else {
        return Err(ApiError::new(
            code,
            "Idempotency-Key needs the parameter stream_id",
        ));
    };
    let sequence = query.sequence.map(|n| n.to_string()).unwrap_or_default();
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        stream_id,
        sequence,
    }))
}

/// The stored verdict must be about these bytes.
fn same_bytes(stored: &StoredVerdict, bytes: &[u8]) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Digested {
        content_sha256: String,
    }
    let Digested { content_sha256 } =
        serde_json::from_str(&stored.json).map_err(ApiError::internal)?;
    if content_sha256 == hex::encode(Sha256::digest(bytes)) {
        return Ok(());
    }
    let detail = format!("verdict {} is about other bytes", stored.seq);
    Err(ApiError::new(ErrorCode::IdempotencyMismatch, detail))
}
