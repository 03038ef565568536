//! Accepts connections and speaks HTTP/1 and HTTP/2 on them: `axum::serve` with the bounds that it
//! leaves open.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower::ServiceExt as _;

/// What one connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes that are read or written at once, and the longest head of an HTTP/1 request.
    pub buffer: usize,
    /// Time until the head of the first request is there, and on HTTP/1 until that of each next one;
    /// the connection is closed after it. Over HTTP/2 a peer that has nothing to say is asked whether
    /// it still lives, in half of it.
    pub head: Duration,
}

impl Default for Bounds {
    /// 64 KiB: with hyper's 400 a few hundred clients that send pictures are a hundred megabytes. Two
    /// minutes: clients and proxies close idle connections sooner, so that no request meets a
    /// connection that is being closed.
    fn default() -> Self {
        Self {
            buffer: 64 << 10,
            head: Duration::from_mins(2),
        }
    }
}

/// Serves `router` until `stopping` ends; then takes no more connections and lets the requests in
/// flight finish.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stopping: impl Future<Output = ()>,
) {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(bounds.buffer);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.head / 2);
    let open = GracefulShutdown::new();
    let mut stopping = pin!(stopping);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut stopping => break,
        };
        // Events are small and must not wait for more of them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let asked = Arc::new(AtomicBool::new(false));
        let service = router.clone().map_request({
            let asked = Arc::clone(&asked);
            move |request: Request<Incoming>| {
                asked.store(true, Ordering::Relaxed);
                request
            }
        });
        let service = TowerToHyperService::new(service);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = match timeout(bounds.head, &mut connection).await {
                Ok(ended) => ended,
                // hyper's limits begin when it knows the protocol.
                Err(_) if !asked.load(Ordering::Relaxed) => return,
                Err(_) => connection.await,
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, error, "a connection broke off");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Answers how many bytes came, after `pause`.
    async fn started(
        bounds: Bounds,
        pause: Duration,
    ) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counted = move |body: Bytes| async move {
            sleep(pause).await;
            body.len().to_string()
        };
        let router = Router::new().route("/", post(counted));
        let (stop, stopping) = oneshot::channel();
        let stopping = async move { stopping.await.unwrap() };
        let server = tokio::spawn(serve(listener, router, bounds, stopping));
        (address, stop, server)
    }

    /// What comes back for `bytes` until the server ends the connection.
    async fn said(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that ends it before all was read resets it; what it said comes first.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn request(headers: &str, body: usize) -> Vec<u8> {
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let head = format!("{head}{headers}content-length: {body}\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.resize(bytes.len() + body, b'x');
        bytes
    }

    #[tokio::test]
    async fn bodies_may_be_larger_than_the_buffer_and_heads_may_not() {
        let (address, _stop, _server) = started(Bounds::default(), Duration::ZERO).await;
        let answer = said(address, &request("", 1 << 20)).await;
        assert!(answer.ends_with("\r\n\r\n1048576"), "{answer}");
        let long = format!("x-long: {}\r\n", "x".repeat(100 << 10));
        let answer = said(address, &request(&long, 0)).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_hung_up_on() {
        let bounds = Bounds {
            head: Duration::from_millis(100),
            ..Bounds::default()
        };
        let (address, _stop, _server) = started(bounds, Duration::ZERO).await;
        for silence in [
            &b""[..],
            b"POST / HT",
            b"PRI * HTT",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let begun = Instant::now();
            let answer = said(address, silence).await;
            assert!(!answer.contains(" 200 "), "{answer}");
            assert!(begun.elapsed() >= bounds.head);
        }
    }

    #[tokio::test]
    async fn requests_in_flight_are_answered_before_the_end() {
        let (address, stop, server) = started(Bounds::default(), Duration::from_millis(300)).await;
        // An idle connection does not hold up the end.
        let _idle = TcpStream::connect(address).await.unwrap();
        let asked = tokio::spawn(async move { said(address, &request("", 3)).await });
        sleep(Duration::from_millis(100)).await;
        stop.send(()).unwrap();
        let answer = asked.await.unwrap();
        assert!(answer.ends_with("\r\n\r\n3"), "{answer}");
        timeout(SOON, server).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
