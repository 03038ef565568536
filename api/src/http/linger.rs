//! Requests that are answered before their body was read: the rest is read and thrown away.
//!
//! A server that closes a connection while a client still sends resets it, and the client may lose
//! the answer that came before: a refusal with `Retry-After` looks like a fault of the network. What
//! is read here is not kept, so it needs no share of the memory for bodies.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{Version, header};
use futures_util::StreamExt as _;
use http_body::{Frame, SizeHint};

/// Most bytes that are thrown away for one request.
const BYTES: usize = 64 << 20;
/// Longest time that this takes.
const TIME: Duration = Duration::from_secs(5);

/// Makes sure that the request's body is read to its end, whoever answers it. HTTP/2 ends streams by
/// itself.
pub fn linger(request: Request) -> Request {
    if request.version() >= Version::HTTP_2 {
        return request;
    }
    let waits = request.headers().contains_key(header::EXPECT);
    request.map(|body| {
        Body::new(Lingering {
            // A client that asks first has sent nothing yet, and shall not be told to.
            owed: !waits && !body.is_end_stream(),
            body,
        })
    })
}

/// A body that reads itself to the end when it is dropped.
struct Lingering {
    body: Body,
    /// Whether the client sends more.
    owed: bool,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.owed =
            matches!(frame, Poll::Pending | Poll::Ready(Some(Ok(_)))) && !self.body.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // Outside a runtime there is no connection either.
        if let (true, Ok(runtime)) = (self.owed, tokio::runtime::Handle::try_current()) {
            let rest = std::mem::take(&mut self.body);
            runtime.spawn(tokio::time::timeout(TIME, discard(rest)));
        }
    }
}

async fn discard(body: Body) {
    let mut chunks = body.into_data_stream();
    let mut read = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        read += chunk.len();
        if read > BYTES {
            return;
        }
    }
}
