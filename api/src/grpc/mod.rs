//! `inference.GRPCInferenceService`: the Open Inference Protocol over gRPC, on the port of everything
//! else. HTTP/2 without TLS starts with words of its own, so one listener tells the two apart, and a
//! second port would only be one more thing to open.

mod answers;
pub mod messages;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use crate::app::App;
use crate::error::ApiError;
use crate::lifecycle::Phase;
use crate::oip;
use messages as m;

/// The routes.
pub fn routes() -> Router<App> {
    Router::new().route("/inference.GRPCInferenceService/{method}", post(call))
}

async fn call(State(app): State<App>, Path(method): Path<String>, request: Request) -> Response {
    let limit = app.settings.oip.body_bytes;
    match method.as_str() {
        "ServerLive" => unary(limit, request, async |_: m::Empty| Ok(m::Yes { yes: true })).await,
        "ServerReady" => {
            let yes = app.lifecycle.phase() == Phase::Running;
            unary(limit, request, async |_: m::Empty| Ok(m::Yes { yes })).await
        }
        "ServerMetadata" => unary(limit, request, async |_: m::Empty| Ok(answers::server())).await,
        "ModelReady" => {
            unary(limit, request, async |which: m::Which| {
                let known = app.repository.known(&which.name, &which.version)?;
                Ok(m::Yes {
                    yes: known.offered(),
                })
            })
            .await
        }
        "ModelMetadata" => {
            unary(limit, request, async |which: m::Which| {
                let entry = app.repository.ready(&which.name, &which.version)?;
                let versions = app.repository.versions(&which.name);
                Ok(answers::model(entry.model.card(), versions))
            })
            .await
        }
        "ModelConfig" => {
            unary(limit, request, async |which: m::Which| {
                let entry = app.repository.ready(&which.name, &which.version)?;
                Ok(answers::config(entry.model.card()))
            })
            .await
        }
        "ModelStatistics" => {
            unary(limit, request, async |which: m::Which| {
                let model_stats = if which.name.is_empty() {
                    app.repository.all().iter().map(answers::stats).collect()
                } else {
                    let entry = app.repository.known(&which.name, &which.version)?;
                    vec![answers::stats(&entry)]
                };
                Ok(m::StatisticsResponse { model_stats })
            })
            .await
        }
        "RepositoryIndex" => {
            unary(limit, request, async |wanted: m::IndexRequest| {
                let models = app.repository.all();
                let listed = models.iter().filter(|m| m.offered() || !wanted.ready);
                Ok(m::IndexResponse {
                    models: listed.map(answers::index).collect(),
                })
            })
            .await
        }
        "RepositoryModelLoad" => {
            unary(limit, request, async |which: m::Control| {
                app.repository.load(&which.model_name).await?;
                Ok(m::Empty {})
            })
            .await
        }
        "RepositoryModelUnload" => {
            unary(limit, request, async |which: m::Control| {
                app.repository.unload(&which.model_name)?;
                Ok(m::Empty {})
            })
            .await
        }
        "ModelInfer" => {
            let most = Duration::from_millis(app.settings.limits.deadline_ms);
            let deadline =
                Instant::now() + timeout(request.headers()).map_or(most, |t| t.min(most));
            if let Err(full) = app.texts.check() {
                return status(&full).into_http();
            }
            unary(limit, request, async |asked: m::InferRequest| {
                infer(&app, asked, deadline).await
            })
            .await
        }
        other => {
            let status = Status::unimplemented(format!("`{other}` is not spoken here"));
            status.into_http()
        }
    }
}

/// One request, one answer.
async fn unary<In, Out, Work>(limit: usize, request: Request, work: Work) -> Response
where
    In: Message + Default + 'static,
    Out: Message + Default + 'static,
    Work: AsyncFnOnce(In) -> Result<Out, ApiError>,
{
    let codec = tonic_prost::ProstCodec::<Out, In>::default();
    let mut grpc = tonic::server::Grpc::new(codec)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(limit);
    let mut work = Some(work);
    let service = tower::service_fn(move |asked: tonic::Request<In>| {
        let work = work.take();
        async move {
            let work = work.ok_or_else(|| Status::internal("one request was called twice"))?;
            let answer = work(asked.into_inner()).await;
            answer.map(tonic::Response::new).map_err(|e| status(&e))
        }
    });
    grpc.unary(service, request).await.map(Body::new)
}

async fn infer(
    app: &App,
    asked: m::InferRequest,
    deadline: Instant,
) -> Result<m::InferResponse, ApiError> {
    let entry = app
        .repository
        .ready(&asked.model_name, &asked.model_version)?;
    let mut held = crate::pool::Reservation::default();
    app.budget.cover(&mut held, asked.encoded_len())?;
    let begun = Instant::now();
    let read = answers::read(asked)?;
    let reading = begun.elapsed();
    let ticket = app.texts.admit()?;
    let asked = oip::infer(
        app,
        ticket,
        &entry.model,
        read.inputs,
        read.wishes,
        deadline,
    );
    let outputs = asked.await?;
    let begun = Instant::now();
    let outputs = oip::json::chosen(&read.wanted, outputs)?;
    let answer = answers::write(entry.model.card(), read.id, &outputs);
    entry.count(reading, begun.elapsed());
    Ok(answer)
}

/// `grpc-timeout`: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// The error as gRPC has it.
fn status(error: &ApiError) -> Status {
    let code = match error.code.status().as_u16() {
        400 | 413 | 415 | 422 => Code::InvalidArgument,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        429 => Code::ResourceExhausted,
        501 => Code::Unimplemented,
        502 | 503 => Code::Unavailable,
        _ => Code::Internal,
    };
    Status::new(code, format!("{} [{}]", error.detail, error.code.as_str()))
}
