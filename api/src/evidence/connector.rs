//! HTTP for the object store through the client that the program has, so that it needs no second one.

use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use ureq::http::{Request, Response};

/// Clips are far smaller; a page of a listing is as well.
const MOST_BYTES: u64 = 64 << 20;
/// Time for one exchange.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes clients; one agent keeps its connections.
#[derive(Debug)]
pub struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .build();
        Ok(HttpClient::new(Client(config.into())))
    }
}

#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), MOST_BYTES as usize)
            .await
            .map_err(|e| HttpError::new(HttpErrorKind::Request, e))?;
        let agent = self.0.clone();
        let exchange = tokio::task::spawn_blocking(move || {
            let response = if body.is_empty() {
                agent.run(Request::from_parts(parts, ()))?
            } else {
                agent.run(Request::from_parts(parts, body.to_vec()))?
            };
            let (parts, mut body) = response.into_parts();
            let bytes = body.with_config().limit(MOST_BYTES).read_to_vec()?;
            Ok(Response::from_parts(parts, HttpResponseBody::from(bytes)))
        });
        let exchanged: Result<_, ureq::Error> = exchange
            .await
            .map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        exchanged.map_err(|error| {
            let kind = match &error {
                ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
                ureq::Error::Io(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
                    HttpErrorKind::Connect
                }
                _ => HttpErrorKind::Unknown,
            };
            HttpError::new(kind, error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{Method, StatusCode, Uri, header};
    use axum::response::IntoResponse as _;
    use futures_util::StreamExt as _;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt as _};

    use super::*;

    type Held = Arc<Mutex<HashMap<String, axum::body::Bytes>>>;

    /// As much of S3 as keeping single objects takes; refuses what is not signed.
    async fn bucket(
        State(held): State<Held>,
        method: Method,
        uri: Uri,
        headers: axum::http::HeaderMap,
        body: axum::body::Bytes,
    ) -> axum::response::Response {
        if !headers.contains_key(header::AUTHORIZATION) {
            return StatusCode::FORBIDDEN.into_response();
        }
        let mut held = held.lock().unwrap();
        let key = uri.path().to_owned();
        let tagged = [
            (header::ETAG, "\"1\""),
            (header::LAST_MODIFIED, "Thu, 26 Nov 2026 00:00:00 GMT"),
        ];
        match method {
            Method::PUT => {
                held.insert(key, body);
                tagged.into_response()
            }
            Method::GET => match held.get(&key) {
                Some(bytes) => (tagged, bytes.clone()).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            Method::DELETE => {
                held.remove(&key);
                StatusCode::NO_CONTENT.into_response()
            }
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    #[tokio::test]
    async fn objects_go_to_a_bucket_signed_and_come_back() {
        let held = Held::default();
        let service = Router::new().fallback(bucket).with_state(Arc::clone(&held));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, service).await });
        let store = object_store::aws::AmazonS3Builder::new()
            .with_bucket_name("clips")
            .with_endpoint(&endpoint)
            .with_allow_http(true)
            .with_disable_bulk_delete(true)
            .with_region("here")
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_http_connector(Connector)
            .build()
            .unwrap();
        let place = Path::from("clips/ab/x.wav");
        store.put(&place, vec![1u8, 2, 3].into()).await.unwrap();
        assert_eq!(held.lock().unwrap().len(), 1);
        let found = store.get(&place).await.unwrap().bytes().await.unwrap();
        assert_eq!(found.as_ref(), [1, 2, 3]);
        let gone = futures_util::stream::iter([Ok(place.clone())]).boxed();
        let gone: Vec<_> = store.delete_stream(gone).collect().await;
        assert!(gone.iter().all(Result::is_ok) && held.lock().unwrap().is_empty());
        let missing = store.get(&place).await;
        assert!(matches!(missing, Err(object_store::Error::NotFound { .. })));
    }
}
