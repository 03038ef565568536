//! From `models.speech` to a verdict about what was said, with a tiny network of our own making.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::path::Path;

use common::{real_service, settings};
use serde_json::{Value, json};

const WIDTH: usize = 4;
const TOKENS: usize = 7 + 101;

/// Writes a checkpoint whose decoder, whatever it hears, says its one word.
fn checkpoint(dir: &Path) {
    let config = json!({
        "vocab_size": TOKENS, "num_mel_bins": 8, "d_model": WIDTH,
        "encoder_layers": 1, "encoder_attention_heads": 1,
        "decoder_layers": 1, "decoder_attention_heads": 1,
        "max_source_positions": 50, "max_target_positions": 8,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|transcribe|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ];
    let added = special.iter().zip(1..);
    let added: Vec<Value> = added
        .map(|(content, id)| json!({"id": id, "content": content}))
        .collect();
    let tokenizer = json!({
        "model": {"vocab": {"ĠyouĠareĠanĠidiot": 0}},
        "added_tokens": added,
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();

    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("encoder.conv1.weight".into(), vec![WIDTH, 8, 3]),
        ("encoder.conv1.bias".into(), vec![WIDTH]),
        ("encoder.conv2.weight".into(), vec![WIDTH, WIDTH, 3]),
        ("encoder.conv2.bias".into(), vec![WIDTH]),
        ("encoder.embed_positions.weight".into(), vec![50, WIDTH]),
        ("decoder.embed_positions.weight".into(), vec![8, WIDTH]),
        ("decoder.embed_tokens.weight".into(), vec![TOKENS, WIDTH]),
    ];
    for (side, kinds) in [
        ("encoder", &["self_attn"][..]),
        ("decoder", &["self_attn", "encoder_attn"]),
    ] {
        for part in ["weight", "bias"] {
            shapes.push((format!("{side}.layer_norm.{part}"), vec![WIDTH]));
            let last = format!("{side}.layers.0.final_layer_norm.{part}");
            shapes.push((last, vec![WIDTH]));
            for kind in kinds {
                let norm = format!("{side}.layers.0.{kind}_layer_norm.{part}");
                shapes.push((norm, vec![WIDTH]));
            }
        }
        for kind in kinds {
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                let name = format!("{side}.layers.0.{kind}.{part}");
                shapes.push((format!("{name}.weight"), vec![WIDTH, WIDTH]));
                shapes.push((format!("{name}.bias"), vec![WIDTH]));
            }
        }
        for part in ["fc1", "fc2"] {
            let name = format!("{side}.layers.0.{part}");
            shapes.push((format!("{name}.weight"), vec![WIDTH, WIDTH]));
            shapes.push((format!("{name}.bias"), vec![WIDTH]));
        }
    }
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, shape) in shapes {
        let mut values = vec![0.0_f32; shape.iter().product()];
        // The decoder ends with this vector, and only the word points its way.
        match name.as_str() {
            "decoder.layer_norm.bias" => values[0] = 1.0,
            "decoder.embed_tokens.weight" => values[0] = 9.0,
            _ => {}
        }
        let from = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(format!("model.{name}"), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    std::fs::write(dir.join("model.safetensors"), file).unwrap();
}

/// Seconds of a tone, or of silence, as a WAV file: 16 kHz, mono, 16 bits.
fn wave(seconds: usize, loud: bool) -> Vec<u8> {
    let samples = 16_000 * seconds;
    let bytes = samples as u32 * 2;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend([16, 0, 0, 0, 1, 0, 1, 0]);
    out.extend(16_000_u32.to_le_bytes());
    out.extend(32_000_u32.to_le_bytes());
    out.extend([2, 0, 16, 0]);
    out.extend(b"data");
    out.extend(bytes.to_le_bytes());
    for i in 0..samples {
        let value = if loud {
            (i as f32 * 0.2).sin() * 8000.0
        } else {
            0.0
        };
        out.extend((value as i16).to_le_bytes());
    }
    out
}

#[tokio::test]
async fn what_is_said_in_a_segment_is_judged_and_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("tiny");
    std::fs::create_dir(&folder).unwrap();
    checkpoint(&folder);
    let list = dir.path().join("words.tsv");
    std::fs::write(&list, "harassment\t3\tidiot\n").unwrap();
    let mut settings = settings();
    settings.models.speech = Some(folder);
    // No pulled models: without a voice detector what is loud is transcribed.
    settings.models.dir = Some(dir.path().join("none"));
    settings.text_lists = vec![list];
    let s = real_service(settings).await;

    let models = s.get("/v1/models").await;
    let model = models["models"].as_array().unwrap().iter();
    let mut model = model.filter(|m| m["task"] == "speech-to-text");
    let model = model.next().unwrap();
    assert_eq!(
        (&model["name"], &model["state"]),
        (&json!("tiny"), &json!("ready"))
    );
    let version = model["version"].as_str().unwrap();

    let said = |verdict: &Value| -> Vec<Value> {
        let evidence = verdict["evidence"].as_array().cloned().unwrap_or_default();
        evidence
            .into_iter()
            .filter(|e| e["modality"] == "speech")
            .collect()
    };
    let send = async |bytes: Vec<u8>| -> Value {
        let query = "stream_id=s&start_ms=60000";
        let response = s.post_segment(query, bytes).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    };
    let verdict = send(wave(2, true)).await;
    let words = said(&verdict);
    let insult = words.iter().find(|e| e["detail"]["matched"] == "idiot");
    let insult = insult.unwrap_or_else(|| panic!("{verdict:#}"));
    assert_eq!(insult["category"], "harassment");
    assert_eq!(insult["detail"]["reader"], format!("tiny@{version}"));
    let text = insult["detail"]["text"].as_str().unwrap();
    assert!(text.starts_with("you are an idiot"), "{text}");
    let times = (insult["start_ms"].as_i64(), insult["end_ms"].as_i64());
    assert!(
        times.0 >= Some(60_000) && times.1 <= Some(62_000),
        "{times:?}"
    );
    assert_ne!(verdict["action"], "allow");
    // It is stored as it was answered.
    let stored = s.get("/v1/streams/s/verdicts").await;
    assert_eq!(said(&stored["verdicts"][0]), words);

    assert_eq!(said(&send(wave(2, false)).await), [] as [Value; 0]);
}

#[tokio::test]
async fn a_speech_model_that_is_not_there_degrades_what_has_sound() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.models.speech = Some(dir.path().join("absent"));
    let s = real_service(settings).await;
    let response = s.post_segment("stream_id=s", wave(1, true)).send();
    let verdict: Value = response.await.unwrap().json().await.unwrap();
    let degraded = verdict["degraded"].as_array().unwrap();
    let speech = degraded
        .iter()
        .find(|d| d["component"] == "speech")
        .unwrap();
    let reason = speech["reason"].as_str().unwrap();
    assert!(reason.starts_with("speech_model_unreadable"), "{reason}");
    assert_eq!(verdict["review"], true);
}
