//! Reading request bodies: bounded, counted against the shared budget, within the deadline.

use std::pin::pin;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::{timeout, timeout_at};

use crate::error::{ApiError, ErrorCode};
use crate::pool::{ByteBudget, Pool, Reservation, Ticket};

/// How long a body that is on its way keeps a place in the queue. Longer, and clients that send
/// slowly could fill the queue with nothing.
const PROMPT: Duration = Duration::from_millis(250);

/// A body in memory, with its share of the budget.
#[derive(Debug)]
pub struct Bytes {
    /// The bytes, decompressed.
    pub data: Vec<u8>,
    /// Keep this as long as the bytes or a copy of them live.
    pub held: Reservation,
}

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Bytes after decompression.
    pub bytes: usize,
    /// The setting that holds the limit.
    pub setting: &'static str,
}

/// Reads the whole body.
///
/// # Errors
/// `body_too_large`, `empty_body`, `upload_timeout`, `invalid_encoding`, `overloaded`.
pub async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
    budget: &ByteBudget,
    deadline: Instant,
) -> Result<Bytes, ApiError> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if announced.is_some_and(|n: usize| n > limit.bytes) {
        return Err(too_large(limit));
    }
    let mut held = Reservation::default();
    let mut data = Vec::new();
    if let Some(n) = announced {
        budget.cover(&mut held, n)?;
        data.reserve_exact(n);
    }
    let mut chunks = body.into_data_stream();
    loop {
        let chunk = match timeout_at(deadline.into(), chunks.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(e))) => {
                return Err(ApiError::new(ErrorCode::InvalidEncoding, describe(&e)));
            }
            Err(_) => {
                let detail = format!("{} bytes had arrived at the deadline", data.len());
                return Err(ApiError::new(ErrorCode::UploadTimeout, detail));
            }
        };
        let length = data.len() + chunk.len();
        if length > limit.bytes {
            return Err(too_large(limit));
        }
        budget.cover(&mut held, length)?;
        data.extend_from_slice(&chunk);
    }
    if data.is_empty() {
        return Err(ApiError::new(
            ErrorCode::EmptyBody,
            "no byte came with the request",
        ));
    }
    Ok(Bytes { data, held })
}

/// Reads the body of a request that `pool` is to work on. The place is taken first: where there is
/// none, the request is refused by its head and none of its body is kept. A body that takes longer than
/// [`PROMPT`] loses the place and needs another one at its end.
///
/// # Errors
/// As [`read`]; `overloaded` also where the queue is full.
pub async fn admitted(
    pool: &Pool,
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
    budget: &ByteBudget,
    deadline: Instant,
) -> Result<(Bytes, Ticket), ApiError> {
    let place = pool.admit()?;
    let mut reading = pin!(read(headers, body, limit, budget, deadline));
    if let Ok(bytes) = timeout(PROMPT, &mut reading).await {
        return Ok((bytes?, place.renewed()));
    }
    drop(place);
    Ok((reading.await?, pool.admit()?))
}

fn too_large(limit: Limit) -> ApiError {
    let detail = format!(
        "{} allows {} bytes after decompression",
        limit.setting, limit.bytes
    );
    ApiError::new(ErrorCode::BodyTooLarge, detail)
}

/// The innermost reason: the outer ones only say that a body failed.
fn describe(error: &axum::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    format!("the body broke off or could not be decompressed: {inner}")
}

/// Parses a JSON body; the error names line and column.
///
/// # Errors
/// `unsupported_content_type`, `invalid_json`.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default();
        let essence = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if essence != "application/json" && !essence.ends_with("+json") {
            let detail = format!("the Content-Type is `{kind}`");
            return Err(ApiError::new(ErrorCode::UnsupportedContentType, detail));
        }
    }
    serde_json::from_slice(bytes).map_err(|e| ApiError::new(ErrorCode::InvalidJson, e.to_string()))
}

/// Query parameters; a wrong one is a problem with its name.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|q| Self(q.0))
            .map_err(|e| ApiError::new(ErrorCode::InvalidQuery, e.body_text()))
    }
}

/// Stream ids, item ids and keys: 1 to 256 characters without control characters.
///
/// # Errors
/// `code`, with `what` in the detail.
pub fn check_id(code: ErrorCode, what: &str, id: &str) -> Result<(), ApiError> {
    let length = id.chars().count();
    if !(1..=256).contains(&length) {
        return Err(ApiError::new(
            code,
            format!("{what} must have 1 to 256 characters"),
        ));
    }
    if id.chars().any(char::is_control) {
        return Err(ApiError::new(
            code,
            format!("{what} holds a control character"),
        ));
    }
    Ok(())
}

/// A page's length: 1 to 1000.
///
/// # Errors
/// `invalid_query`.
pub fn check_limit(limit: Option<u32>, default: u32) -> Result<u32, ApiError> {
    match limit.unwrap_or(default) {
        n @ 1..=1000 => Ok(n),
        n => {
            let detail = format!("limit must be 1 to 1000, not {n}");
            Err(ApiError::new(ErrorCode::InvalidQuery, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LIMIT: Limit = Limit {
        bytes: 8,
        setting: "limits.test",
    };

    async fn reading(body: Body) -> Result<Bytes, ApiError> {
        let deadline = Instant::now() + Duration::from_millis(100);
        read(
            &HeaderMap::new(),
            body,
            LIMIT,
            &ByteBudget::new(1 << 20),
            deadline,
        )
        .await
    }

    fn chunks(parts: &[&'static str]) -> Body {
        let parts: Vec<_> = parts.iter().map(|p| Ok::<_, std::io::Error>(*p)).collect();
        Body::from_stream(futures_util::stream::iter(parts))
    }

    #[tokio::test]
    async fn bodies_are_bounded_also_without_a_length() {
        assert_eq!(
            reading(chunks(&["1234", "5678"])).await.unwrap().data,
            b"12345678"
        );
        let e = reading(chunks(&["1234", "56789"])).await.unwrap_err();
        assert_eq!(e.code, ErrorCode::BodyTooLarge);
        assert!(e.detail.contains("limits.test"));
        assert_eq!(
            reading(Body::empty()).await.unwrap_err().code,
            ErrorCode::EmptyBody
        );
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_times_out() {
        let endless = futures_util::stream::pending::<Result<&'static str, std::io::Error>>();
        let e = reading(Body::from_stream(endless)).await.unwrap_err();
        assert_eq!(e.code, ErrorCode::UploadTimeout);
    }

    async fn admitting(pool: &Pool, body: Body) -> Result<(Bytes, Ticket), ApiError> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let budget = ByteBudget::new(1 << 20);
        admitted(pool, &HeaderMap::new(), body, LIMIT, &budget, deadline).await
    }

    #[tokio::test]
    async fn no_more_bodies_are_read_than_there_are_places() {
        let pool = Pool::new(1, 1);
        let polled = Arc::new(AtomicUsize::new(0));
        let reads = (0..10).map(|_| {
            let polled = Arc::clone(&polled);
            let chunk = async move {
                polled.fetch_add(1, Ordering::Relaxed);
                // Every other body is asked for meanwhile.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok::<_, std::io::Error>("1234")
            };
            let body = Body::from_stream(futures_util::stream::once(chunk));
            admitting(&pool, body)
        });
        let answers = futures_util::future::join_all(reads).await;
        assert_eq!(polled.load(Ordering::Relaxed), 2);
        let (read, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((read.len(), refused.len()), (2, 8));
        for answer in refused {
            assert_eq!(answer.unwrap_err().code, ErrorCode::Overloaded);
        }
        // Those that were read still have their places.
        assert!(pool.check().is_err());
        drop(read);
        pool.check().unwrap();
    }

    #[tokio::test]
    async fn a_body_that_comes_slowly_keeps_no_place() {
        let pool = Pool::new(1, 0);
        let (send, chunks) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let chunks = futures_util::stream::unfold(chunks, async |mut chunks| {
            let chunk = chunks.recv().await?;
            Some((Ok::<_, std::io::Error>(chunk), chunks))
        });
        send.send("12").unwrap();
        let p = pool.clone();
        let slow = tokio::spawn(async move { admitting(&p, Body::from_stream(chunks)).await });
        let taken = async {
            while pool.check().is_ok() {
                tokio::task::yield_now().await;
            }
            while pool.check().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), taken).await.unwrap();
        // It is read on, and finds a place at its end.
        send.send("34").unwrap();
        drop(send);
        let (bytes, _place) = slow.await.unwrap().unwrap();
        assert_eq!(bytes.data, b"1234");
        assert!(pool.check().is_err());
        assert!(admitting(&pool, Body::from("1")).await.is_err());
    }

    #[test]
    fn json_errors_have_a_position() {
        let none = HeaderMap::new();
        let e = json::<Vec<u8>>(&none, b"[1,\n 2,]").unwrap_err();
        assert_eq!(e.code, ErrorCode::InvalidJson);
        assert!(e.detail.contains("line 2 column 4"), "{}", e.detail);
        let mut form = HeaderMap::new();
        form.insert(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded".parse().unwrap(),
        );
        let e = json::<Vec<u8>>(&form, b"[1]").unwrap_err();
        assert_eq!(e.code, ErrorCode::UnsupportedContentType);
        form.insert(
            CONTENT_TYPE,
            "application/json; charset=utf-8".parse().unwrap(),
        );
        assert_eq!(json::<Vec<u8>>(&form, b"[1]").unwrap(), [1]);
    }

    #[test]
    fn ids_are_short_and_printable() {
        check_id(ErrorCode::InvalidItem, "id", "канал 7").unwrap();
        for bad in ["", "a\nb", &"x".repeat(257)] {
            assert!(check_id(ErrorCode::InvalidItem, "id", bad).is_err());
        }
    }
}
