//! Examples for the OpenAPI document. A test parses them as what they are examples of.

use serde_json::{Value, json};

use super::openai::Moderation;

/// Body of an events request.
pub fn behaviour() -> Value {
    json!({"events": [{
        "id": "e-1", "user_id": "user-9", "stream_id": "channel-7", "type": "watch",
        "at": "2026-11-22T16:00:00Z",
    }]})
}

/// Body that says what is live.
pub fn live() -> Value {
    json!({"streams": [
        {"stream_id": "channel-7", "category": "speedruns", "tags": ["retro"],
         "title": "any% all night", "language": "en", "started_at": "2026-11-22T16:00:00Z"},
        {"stream_id": "channel-9"},
    ]})
}

/// Answer to a request for recommendations.
pub fn recommendations() -> Value {
    json!({
        "items": [
            {"stream_id": "channel-7", "score": 0.41, "reason": "watched-before"},
            {"stream_id": "channel-9", "score": 0.2, "reason": "similar-viewers"},
        ],
        "model": "recommender@0.1.0",
    })
}

/// Body of a text request.
pub fn text_request() -> Value {
    json!({
        "items": [
            {"id": "m-1", "text": "hello everyone", "user_id": "user-9", "channel_id": "channel-7"},
            {"id": "m-2", "text": "you are an idiot", "channel_id": "channel-7",
             "previous": ["hello everyone"]},
        ],
    })
}

fn categories(category: &str, score: f32, outcome: &str, severity: u8) -> Value {
    json!({
        category: {
            "status": "scored", "score": score, "review": 0.5, "act": 0.8,
            "severity": severity, "outcome": outcome,
        },
        "spoiler": {"status": "not_evaluated", "review": 0.5, "act": 0.8, "outcome": "none"},
    })
}

fn verdict(seq: i64, kind: &str, more: Value) -> Value {
    let mut verdict = json!({
        "seq": seq,
        "id": "0199f3a2-7a4e-7000-8000-000000000001",
        "kind": kind,
        "stream_id": "channel-7",
        "action": "allow",
        "review": false,
        "categories": categories("toxicity", 0.02, "none", 0),
        "evidence": [],
        "policy": "default@1",
        "timings": {
            "decode_ms": 0.0, "frames_ms": 0.0, "ocr_ms": 0.0, "audio_ms": 0.0, "text_ms": 0.1,
            "policy_ms": 0.0, "total_ms": 0.1,
        },
        "created_at": "2026-11-22T16:00:00.000Z",
        "content_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    });
    if let (Some(verdict), Value::Object(more)) = (verdict.as_object_mut(), more) {
        verdict.extend(more);
    }
    verdict
}

/// Answer to a text request.
pub fn results() -> Value {
    json!({"results": [
        verdict(121, "text", json!({"item_id": "m-1"})),
        verdict(122, "text", json!({
            "item_id": "m-2",
            "action": "hold",
            "review": true,
            "categories": categories("toxicity", 0.71, "review", 2),
            "evidence": [{
                "category": "toxicity", "modality": "text", "score": 0.71,
                "model": "chat-linear@1.0.0",
            }],
        })),
    ]})
}

/// Answer to a segment.
pub fn segment_verdict() -> Value {
    verdict(
        123,
        "segment",
        json!({
            "sequence": 42, "start_ms": 84_000, "end_ms": 86_000,
            "action": "flag",
            "review": true,
            "categories": categories("scam", 0.9, "act", 3),
            "evidence": [{
                "category": "scam", "modality": "screen_text", "start_ms": 84_400, "end_ms": 85_400,
                "peak_ms": 84_400, "score": 0.9, "model": "rules@1",
                "clip": "8c1f0e9a7b6d5c4f3e2d1c0b9a897867",
            }],
            "media": {
                "container": "mpegts",
                "video": {"codec": "h264", "width": 1280, "height": 720, "fps": 30.0},
                "audio": {"codec": "aac", "sample_rate": 48_000, "channels": 2},
            },
        }),
    )
}

/// Answer to an image.
pub fn image_verdict() -> Value {
    verdict(124, "image", json!({"item_id": "thumbnail-3"}))
}

/// A page of verdicts.
pub fn page() -> Value {
    json!({"verdicts": [segment_verdict()], "next_after": 123, "has_more": false})
}

/// Some events.
pub fn events() -> Value {
    json!(
        "id: 123\nevent: verdict\ndata: {\"seq\":123,\"kind\":\"window\",…}\n\n\
           event: watch\ndata: {\"id\":\"0199f3a2-…\",\"state\":\"ended\",…}\n\n"
    )
}

/// Body of a watch request.
pub fn watch_request() -> Value {
    json!({"url": "https://media.example/live.m3u8", "stream_id": "channel-7"})
}

/// A watch that runs.
pub fn watch() -> Value {
    json!({
        "id": "0199f3a2-7a4e-7000-8000-000000000000",
        "stream_id": "channel-7",
        "url": "https://media.example/live.m3u8",
        "state": "running",
        "created_at": "2026-11-22T16:00:00.000Z",
        "updated_at": "2026-11-22T16:00:42.000Z",
        "verdicts_after": 120,
        "counts": {
            "windows": 21, "notable": 2, "shed": 0, "repeated": 0, "gaps": 0, "outages": 0,
        },
        "last_latency_ms": 310.5,
        "judged_ms": 42_000,
    })
}

/// The same watch after its end.
pub fn watch_stopped() -> Value {
    let mut watch = watch();
    watch["state"] = json!("stopped");
    watch
}

/// A list of watches.
pub fn watches() -> Value {
    json!({"watches": [watch()]})
}

/// Models and their states.
pub fn models() -> Value {
    json!({"models": [
        {"name": "chat-linear", "version": "1.0.0", "task": "chat", "state": "ready",
         "backend": "linear", "alias": "production"},
        {"name": "chat-linear", "version": "1.1.0", "task": "chat", "state": "ready",
         "backend": "linear", "alias": "candidate", "canary_percent": 5.0,
         "shadow": {"scored": 812, "dropped": 3, "failed": 0,
                    "heads": {"toxicity": {"mean": 0.011, "max": 0.42, "flips": 4}}}},
        {"name": "yamnet", "version": "1", "task": "audio-events", "state": "not_loaded",
         "reason": "not pulled: run `novastream models pull yamnet`"},
    ]})
}

/// A problem.
pub fn problem() -> Value {
    json!({
        "type": "urn:novastream:error:overloaded",
        "title": "The work queue is full",
        "status": 429,
        "detail": "every worker is busy and no more requests may wait",
        "instance": "/v1/moderate/text",
        "code": "overloaded",
        "hint": "Wait for Retry-After seconds, then try again with back-off.",
        "request_id": "0199f3a2-7a4e-7000-8000-000000000002",
    })
}

/// Body of an OpenAI-compatible request.
pub fn moderation_request() -> Value {
    json!({"model": "omni-moderation-latest", "input": ["you are an idiot"]})
}

/// Answer to an OpenAI-compatible request.
pub fn moderation() -> Value {
    let every = |of: &dyn Fn(&str) -> Value| -> Value {
        Moderation::of(&[])
            .categories
            .into_keys()
            .map(|name| (name.clone(), of(&name)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    json!({
        "id": "modr-0199f3a2-7a4e-7000-8000-000000000001",
        "model": "chat-linear@0.1.0",
        "results": [{
            "flagged": true,
            "categories": every(&|name| json!(name == "harassment")),
            "category_scores": every(&|name| json!(match name {
                "harassment" => 0.71,
                "violence/graphic" => 0.0,
                _ => 0.02,
            })),
            "category_applied_input_types": every(&|name| match name {
                "violence/graphic" => json!([]),
                _ => json!(["text"]),
            }),
            "not_evaluated": ["violence/graphic"],
            "novastream": {
                "verdict_ids": ["0199f3a2-7a4e-7000-8000-000000000001"],
                "action": "flag", "review": true, "policy": "default@1",
                "category_scores": {"toxicity": 0.93, "spam": 0.01},
                "flagged": ["toxicity"], "degraded": [],
            },
        }],
    })
}

/// An error as OpenAI's clients get it.
pub fn openai_error() -> Value {
    json!({"error": {
        "message": "`input` is empty", "type": "invalid_request_error", "param": "input",
        "code": "invalid_item",
    }})
}

/// Body of a Perspective-compatible request.
pub fn analyze_request() -> Value {
    json!({
        "comment": {"text": "You are late. You are an idiot."},
        "languages": ["en"],
        "requestedAttributes": {"TOXICITY": {}, "THREAT": {"scoreThreshold": 0.5}},
        "spanAnnotations": true,
        "doNotStore": true,
    })
}

/// Answer to a Perspective-compatible request.
pub fn analyze() -> Value {
    let score = |value: f32| json!({"value": value, "type": "PROBABILITY"});
    json!({
        "attributeScores": {"TOXICITY": {
            "spanScores": [
                {"begin": 0, "end": 13, "score": score(0.04)},
                {"begin": 14, "end": 31, "score": score(0.95)},
            ],
            "summaryScore": score(0.93),
        }},
        "languages": ["en"],
    })
}

/// An error as Google's clients get it.
pub fn google_error() -> Value {
    json!({"error": {
        "code": 400,
        "message": "Comment must be non-empty.",
        "status": "INVALID_ARGUMENT",
        "details": [
            {
                "@type": "type.googleapis.com/google.commentanalyzer.v1alpha1.Error",
                "errorType": "COMMENT_EMPTY",
            },
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "COMMENT_EMPTY", "domain": "novastream",
                "metadata": {
                    "code": "comment_empty", "hint": "Send some text in comment.text.",
                    "requestId": "0199f3a2-7a4e-7000-8000-000000000002",
                },
            },
        ],
    }})
}

/// The beginning of a discovery document.
pub fn discovery() -> Value {
    json!({
        "kind": "discovery#restDescription", "name": "commentanalyzer", "version": "v1alpha1",
        "rootUrl": "http://localhost:8080/", "resources": {}, "schemas": {},
    })
}

#[cfg(test)]
mod tests {
    use super::super::openai::{ModerationAnswer, ModerationRequest};
    use super::super::perspective::{AnalyzeRequest, AnalyzeResponse};
    use super::super::record::{Page, Results, VerdictRecord};
    use super::super::text::TextRequest;
    use super::super::watches::WatchRequest;
    use super::*;
    use crate::watch::Watch;

    #[test]
    fn examples_are_what_they_claim() {
        let request: TextRequest = serde_json::from_value(text_request()).unwrap();
        assert_eq!(request.items.len(), 2);
        let results: Results = serde_json::from_value(results()).unwrap();
        assert_eq!(results.results[1].seq, 122);
        for one in [segment_verdict(), image_verdict()] {
            serde_json::from_value::<VerdictRecord>(one).unwrap();
        }
        let page: Page = serde_json::from_value(page()).unwrap();
        assert_eq!(
            (page.verdicts.len(), page.next_after, page.has_more),
            (1, 123, false)
        );
        serde_json::from_value::<ModerationRequest>(moderation_request()).unwrap();
        let answer: ModerationAnswer = serde_json::from_value(moderation()).unwrap();
        assert_eq!(answer.results[0].categories.len(), 13);
        let request: AnalyzeRequest = serde_json::from_value(analyze_request()).unwrap();
        assert_eq!(request.check().unwrap().len(), 2);
        serde_json::from_value::<AnalyzeResponse>(analyze()).unwrap();
        serde_json::from_value::<WatchRequest>(watch_request()).unwrap();
        for one in [watch(), watch_stopped()] {
            serde_json::from_value::<Watch>(one).unwrap();
        }
    }
}
