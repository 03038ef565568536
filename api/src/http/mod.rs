//! The HTTP surface: routes, the layers around them, and the document that describes them.

mod body;
mod commit;
mod envelope;
pub(crate) mod events;
mod evidence;
mod examples;
mod image;
mod linger;
mod oip;
mod openai;
mod ops;
mod perspective;
mod recommend;
mod record;
mod render;
mod segment;
mod sse;
mod streams;
mod text;
mod watches;

use axum::http::StatusCode;
use axum::{Router, middleware};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;
use utoipa::OpenApi as _;
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

pub use envelope::{PROBLEM_JSON, Problem, REQUEST_ID};
pub use record::{Page, Results, VerdictRecord};
pub use render::{GoogleError, OpenAiError, Rendering};
pub use segment::REPLAYED;

use crate::app::App;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "NovaStream",
        description = "Moderation of live streams and their chat, and recommendations. Errors are RFC 9457 problems \
                       with a stable `code`; docs/errors.md explains each. Every answer carries \
                       `x-request-id`; bodies may be gzip or zstd both ways.",
    ),
    tags(
        (name = "moderation", description = "Judge content"),
        (name = "compatible", description = "The same models for clients of other services"),
        (name = "watches", description = "Pull live URLs"),
        (name = "verdicts", description = "Read what was decided"),
        (name = "recommendations", description = "What to watch next"),
        (name = "operations", description = "Run the service"),
    ),
    components(schemas(Problem, OpenAiError, GoogleError)),
)]
struct Document;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(text::moderate_text))
        .routes(routes!(image::moderate_image))
        .routes(routes!(segment::moderate_segment))
        .routes(routes!(openai::create_moderation))
        .routes(routes!(perspective::analyze_comment))
        .routes(routes!(perspective::suggest_score))
        .routes(routes!(perspective::discovery::discovery))
        .routes(routes!(watches::create_watch, watches::list_watches))
        .routes(routes!(watches::get_watch, watches::delete_watch))
        .routes(routes!(streams::stream_verdicts))
        .routes(routes!(streams::list_reviews))
        .routes(routes!(evidence::stream_evidence))
        .routes(routes!(events::post_events))
        .routes(routes!(events::put_live))
        .routes(routes!(recommend::recommendations))
        .routes(routes!(ops::list_models))
        .routes(routes!(ops::livez))
        .routes(routes!(ops::readyz))
        .routes(routes!(ops::metrics))
}

/// The OpenAPI document of the service.
pub fn document() -> OpenApi {
    with_problems(routes().split_for_parts().1)
}

/// Every route can answer with an error; said once here instead of at each.
fn with_problems(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let rendering = Rendering::of(path);
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            operation
                .responses
                .responses
                .insert("default".to_owned(), error_response(rendering));
        }
    }
    document
}

fn error_response(rendering: Rendering) -> RefOr<Response> {
    let example = match rendering {
        Rendering::Problem => examples::problem(),
        Rendering::OpenAi => examples::openai_error(),
        Rendering::Google => examples::google_error(),
        Rendering::Oip => serde_json::json!({"error": "there is no model `x`"}),
    };
    let content = Content::builder()
        .schema(Some(Ref::from_schema_name(rendering.schema())))
        .example(Some(example))
        .build();
    let response = ResponseBuilder::new()
        .description("An error; its `code` says which, docs/errors.md explains it")
        .content(rendering.content_type(), content)
        .build();
    RefOr::T(response)
}

/// The whole service as a router.
pub fn router(app: App) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = with_problems(document);
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn(envelope::wrap))
        .map_request(linger::linger)
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(envelope::panicked))
        .layer(RequestDecompressionLayer::new());
    router
        .merge(oip::routes())
        .merge(crate::grpc::routes())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(layers)
        .with_state(app)
}
