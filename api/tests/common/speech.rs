//! A tiny network of our own making that hears one sentence, and something for it to hear.

use std::path::Path;

use serde_json::{Value, json};

const WIDTH: usize = 4;
const TOKENS: usize = 7 + 101;

/// Writes a checkpoint whose decoder, whatever it hears, says its one word.
pub fn checkpoint(dir: &Path) {
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
pub fn wave(seconds: usize, loud: bool) -> Vec<u8> {
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
