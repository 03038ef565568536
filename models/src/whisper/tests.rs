use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::decode::{DecodeOptions, Stepper, decode};
use super::rules::Rules;
use super::*;

const WORDS: [&str; 6] = ["Ġhello", "Ġworld", "Ġagain", "!", "Ġl", "Ã©"];
const END: u32 = 6;
const START: u32 = 7;
const EN: u32 = 8;
const DE: u32 = 9;
const NO_SPEECH: u32 = 11;
/// 0.00 s.
const TIME: u32 = 13;
const SIZE: usize = 13 + 101;

fn tokenizer() -> Vec<u8> {
    let vocab: HashMap<&str, u32> = WORDS.into_iter().zip(0..).collect();
    let special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|de|>",
        "<|transcribe|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ];
    let added: Vec<serde_json::Value> = special
        .iter()
        .zip(END..)
        .map(|(content, id)| serde_json::json!({"id": id, "content": content, "special": true}))
        .collect();
    serde_json::to_vec(&serde_json::json!({"model": {"vocab": vocab}, "added_tokens": added}))
        .unwrap()
}

fn tokens() -> WhisperTokens {
    WhisperTokens::from_json(&tokenizer()).unwrap()
}

fn config() -> WhisperConfig {
    WhisperConfig {
        vocab_size: SIZE,
        num_mel_bins: 8,
        d_model: 16,
        encoder_layers: 2,
        encoder_attention_heads: 2,
        decoder_layers: 2,
        decoder_attention_heads: 4,
        max_source_positions: 10,
        max_target_positions: 32,
        suppress_tokens: Some(vec![4, -1]),
        begin_suppress_tokens: None,
    }
}

/// Tiny weights that look like chance, under the names of a Hugging Face checkpoint.
fn weights(c: &WhisperConfig) -> HashMap<String, Tensor> {
    let (width, inner) = (c.d_model, 24);
    let mut state = 3_u32;
    let mut all = HashMap::new();
    let mut put = |name: String, shape: &[usize]| {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.4
            })
            .collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        all.insert(format!("model.{name}"), tensor);
    };
    put("encoder.conv1.weight".into(), &[width, c.num_mel_bins, 3]);
    put("encoder.conv1.bias".into(), &[width]);
    put("encoder.conv2.weight".into(), &[width, width, 3]);
    put("encoder.conv2.bias".into(), &[width]);
    put(
        "encoder.embed_positions.weight".into(),
        &[c.max_source_positions, width],
    );
    put(
        "decoder.embed_positions.weight".into(),
        &[c.max_target_positions, width],
    );
    put("decoder.embed_tokens.weight".into(), &[c.vocab_size, width]);
    for (side, n) in [("encoder", c.encoder_layers), ("decoder", c.decoder_layers)] {
        for i in 0..n {
            let layer = format!("{side}.layers.{i}");
            let mut kinds = vec!["self_attn"];
            if side == "decoder" {
                kinds.push("encoder_attn");
            }
            for kind in kinds {
                for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                    put(format!("{layer}.{kind}.{part}.weight"), &[width, width]);
                    if part != "k_proj" {
                        put(format!("{layer}.{kind}.{part}.bias"), &[width]);
                    }
                }
                put(format!("{layer}.{kind}_layer_norm.weight"), &[width]);
                put(format!("{layer}.{kind}_layer_norm.bias"), &[width]);
            }
            put(format!("{layer}.fc1.weight"), &[inner, width]);
            put(format!("{layer}.fc1.bias"), &[inner]);
            put(format!("{layer}.fc2.weight"), &[width, inner]);
            put(format!("{layer}.fc2.bias"), &[width]);
            put(format!("{layer}.final_layer_norm.weight"), &[width]);
            put(format!("{layer}.final_layer_norm.bias"), &[width]);
        }
        put(format!("{side}.layer_norm.weight"), &[width]);
        put(format!("{side}.layer_norm.bias"), &[width]);
    }
    all
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let c = config();
    std::fs::write(dir.path().join(FILES[0]), serde_json::to_vec(&c).unwrap()).unwrap();
    std::fs::write(dir.path().join(FILES[1]), tokenizer()).unwrap();
    candle_core::safetensors::save(&weights(&c), dir.path().join(FILES[2])).unwrap();
    dir
}

fn spectrum() -> Vec<f32> {
    (0..8 * 20)
        .map(|i| ((i * 31 % 17) as f32 - 8.0) / 8.0)
        .collect()
}

#[test]
fn a_folder_is_loaded_and_says_something_under_the_rules() {
    let dir = folder();
    let Checkpoint { model, tokens, .. } = load(dir.path()).unwrap();
    let sound = model.encode(&spectrum()).unwrap();
    let decoder = model.decoder(&sound);
    for beams in [1, 4] {
        let options = DecodeOptions {
            beams,
            temperatures: vec![0.0],
            least_log_probability: f32::NEG_INFINITY,
            most_compression: f32::INFINITY,
            ..DecodeOptions::default()
        };
        let suppress = model.config().suppress_tokens.as_deref();
        let run = || decode(&decoder, &tokens, suppress, None, &options).unwrap();
        let said = run();
        assert_eq!(run(), said);
        assert!(said.language.is_some() && said.log_probability < 0.0);
        assert!((0.0..=1.0).contains(&said.no_speech));
        let mut before = 0.0;
        for segment in &said.segments {
            assert!(segment.start >= before && segment.end >= segment.start);
            assert!(!segment.text.contains("l "), "token 4 is suppressed");
            before = segment.end;
        }
    }
}

#[test]
fn tokens_one_by_one_give_what_they_give_together() {
    let dir = folder();
    let model = load(dir.path()).unwrap().model;
    let sound = model.encode(&spectrum()).unwrap();
    let decoder = model.decoder(&sound);
    let text = [START, EN, 10, TIME, 0, 1];
    let mut together = model::Cache::default();
    let all = decoder.step(&mut together, &text).unwrap();
    let mut single = model::Cache::default();
    let mut last = Vec::new();
    for token in text {
        last = decoder.step(&mut single, &[token]).unwrap();
    }
    assert_eq!(all.len(), SIZE);
    for (a, b) in all.iter().zip(&last) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    // Another sound gives other logits.
    let other = model.encode(&vec![0.5; 8 * 20]).unwrap();
    let others = model
        .decoder(&other)
        .step(&mut model::Cache::default(), &text)
        .unwrap();
    assert!(all.iter().zip(&others).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn broken_folders_are_refused() {
    let dir = folder();
    std::fs::write(dir.path().join(FILES[1]), b"{}").unwrap();
    assert_eq!(
        load(dir.path()).err().unwrap().code(),
        "speech_model_invalid"
    );
    let dir = folder();
    std::fs::write(dir.path().join(FILES[2]), b"no tensors").unwrap();
    assert!(load(dir.path()).is_err());
    std::fs::remove_file(dir.path().join(FILES[2])).unwrap();
    assert_eq!(
        load(dir.path()).err().unwrap().code(),
        "speech_model_unreadable"
    );
    let mut odd = config();
    odd.decoder_attention_heads = 3;
    assert!(WhisperConfig::from_json(&serde_json::to_vec(&odd).unwrap()).is_err());
    let mut all = weights(&config());
    all.remove("model.decoder.layers.1.encoder_attn.q_proj.bias");
    let dir = folder();
    candle_core::safetensors::save(&all, dir.path().join(FILES[2])).unwrap();
    assert_eq!(
        load(dir.path()).err().unwrap().code(),
        "speech_model_weight"
    );
}

#[test]
fn bytes_become_characters_again() {
    let tokens = tokens();
    assert_eq!(tokens.text(&[0, 1, 3, 5, END, TIME]), " hello world!é");
    assert_eq!(
        tokens.languages,
        [("en".to_owned(), EN), ("de".to_owned(), DE)]
    );
    assert_eq!(tokens.first_timestamp(), TIME);
}

/// Answers what a script says: the tokens written so far choose the likeliest next one.
struct Script(fn(&[u32]) -> Vec<(u32, f32)>);

impl Stepper for Script {
    type State = Vec<u32>;

    fn room(&self) -> usize {
        64
    }

    fn step(&self, state: &mut Vec<u32>, tokens: &[u32]) -> Result<Vec<f32>, WhisperError> {
        state.extend(tokens);
        let mut logits = vec![-20.0; SIZE];
        // The start, the language and the task come before the answer.
        let answer = state.get(3..).unwrap_or_default();
        for (token, logit) in (self.0)(answer) {
            logits[token as usize] = logit;
        }
        if state.len() == 1 {
            logits[DE as usize] = 5.0;
            logits[NO_SPEECH as usize] = 1.0;
        }
        Ok(logits)
    }
}

fn script(answer: &[u32]) -> Vec<(u32, f32)> {
    let all = [TIME, 0, 1, TIME + 50, TIME + 50, 2, 3, TIME + 90, END];
    vec![(all[answer.len().min(all.len() - 1)], 10.0)]
}

#[test]
fn words_are_cut_at_their_times() {
    for beams in [1, 3] {
        let options = DecodeOptions {
            beams,
            ..DecodeOptions::default()
        };
        let said = decode(&Script(script), &tokens(), None, None, &options).unwrap();
        assert_eq!(said.language.as_deref(), Some("de"));
        let segment = |start, end, text: &str| Segment {
            start,
            end,
            text: text.to_owned(),
        };
        assert_eq!(
            said.segments,
            [
                segment(0.0, 1.0, "hello world"),
                segment(1.0, 1.8, "again!")
            ]
        );
        assert_eq!(said.temperature, 0.0);
    }
    let english = DecodeOptions {
        language: Some("en".to_owned()),
        ..DecodeOptions::default()
    };
    let said = decode(&Script(script), &tokens(), None, None, &english).unwrap();
    assert_eq!(said.language.as_deref(), Some("en"));
    let unknown = DecodeOptions {
        language: Some("xx".to_owned()),
        ..DecodeOptions::default()
    };
    assert!(decode(&Script(script), &tokens(), None, None, &unknown).is_err());
}

#[test]
fn beams_find_what_greed_misses() {
    // The likelier first word leads nowhere.
    fn fork(answer: &[u32]) -> Vec<(u32, f32)> {
        match answer {
            [] => vec![(TIME, 10.0)],
            [_] => vec![(0, 1.0), (1, 0.8)],
            [_, 0] => vec![(2, 0.0), (3, 0.0), (5, 0.0), (1, 0.0), (0, 0.0)],
            [_, 1] | [_, 0, _] => vec![(TIME + 10, 10.0)],
            _ => vec![(END, 10.0)],
        }
    }
    let with = |beams| {
        let options = DecodeOptions {
            beams,
            temperatures: vec![0.0],
            ..DecodeOptions::default()
        };
        decode(&Script(fork), &tokens(), None, None, &options).unwrap()
    };
    let (greedy, beam) = (with(1), with(4));
    assert!(greedy.segments[0].text.starts_with("hello"));
    assert_eq!(beam.segments[0].text, "world");
    assert!(beam.log_probability > greedy.log_probability);
}

#[test]
fn a_poor_answer_falls_back_to_chance_and_silence_says_nothing() {
    // Repeats itself for ever.
    fn stuck(answer: &[u32]) -> Vec<(u32, f32)> {
        if answer.is_empty() {
            vec![(TIME, 10.0)]
        } else {
            vec![(0, 10.0), (1, 9.0)]
        }
    }
    let options = DecodeOptions {
        temperatures: vec![0.0, 1.0],
        most_tokens: 40,
        most_compression: 2.0,
        ..DecodeOptions::default()
    };
    let said = decode(&Script(stuck), &tokens(), None, None, &options).unwrap();
    assert_eq!(said.temperature, 1.0);
    assert_eq!(
        decode(&Script(stuck), &tokens(), None, None, &options).unwrap(),
        said
    );

    // Knows nothing, and that nobody speaks.
    struct Silence;
    impl Stepper for Silence {
        type State = usize;
        fn room(&self) -> usize {
            32
        }
        fn step(&self, state: &mut usize, _: &[u32]) -> Result<Vec<f32>, WhisperError> {
            let mut logits = vec![0.0; SIZE];
            if *state == 0 {
                logits[NO_SPEECH as usize] = 20.0;
            }
            *state += 1;
            Ok(logits)
        }
    }
    let said = decode(&Silence, &tokens(), None, None, &DecodeOptions::default()).unwrap();
    assert!(said.segments.is_empty() && said.no_speech > 0.9);
}

#[test]
fn the_rules_for_times_hold() {
    let tokens = tokens();
    let rules = Rules::new(&tokens, Some(&[4]), None);
    let allowed = |written: &[u32]| {
        let mut logits = vec![0.0; SIZE];
        // So that a time is not forced for being likelier than any word.
        logits[..=END as usize].fill(9.0);
        rules.apply(written, &mut logits);
        move |t: u32| logits[t as usize].is_finite()
    };
    let first = allowed(&[]);
    assert!(first(TIME) && first(TIME + 50) && !first(TIME + 51) && !first(0) && !first(END));
    let word = allowed(&[TIME]);
    assert!(word(0) && !word(4) && !word(TIME + 1) && !word(EN));
    let inside = allowed(&[TIME + 5, 0]);
    assert!(inside(1) && inside(END) && inside(TIME + 6) && !inside(TIME + 5));
    let closed = allowed(&[TIME + 5, 0, TIME + 9]);
    assert!(!closed(0) && closed(END) && closed(TIME + 9) && !closed(TIME + 8));
    let opened = allowed(&[TIME + 5, 0, TIME + 9, TIME + 9]);
    assert!(opened(0) && !opened(TIME + 10));
    // A time that is likelier than any word is taken.
    let mut logits = vec![0.0; SIZE];
    logits[TIME as usize..].fill(1.0);
    rules.apply(&[TIME, 0], &mut logits);
    assert!(!logits[0].is_finite() && logits[TIME as usize + 1].is_finite());
}
