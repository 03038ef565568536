//! Writes golden answers, and what was measured on the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use novastream_models::encoder::{Int8Classifier, pack};
use novastream_models::golden::{GOLDEN_FILE, Golden, Pair, Question, TEXTS};
use novastream_models::linear::{self, LinearChatModel};
use novastream_models::manifest::{FileSpec, Int8, Kernels, MANIFEST_FILE, Manifest};
use novastream_models::sound::CNN_FILE;
use novastream_models::store::{ArtifactStore, sha256_hex};
use serde::Serialize;

use super::LoadFailure;
use super::chat::linear_answers;
use crate::backend::{BackendError, NATIVE_ENGINE, Session};
use crate::chat::EncoderParts;
use crate::moderator::runtime;
use crate::sound::SoundClassifier;

/// Runs of every question when the kernels' speed is compared.
const ROUNDS: usize = 5;
/// The maker of answers that every engine must give alike.
pub(crate) const ANY: &str = "any";

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoldenReport {
    /// `name@version`.
    pub model: String,
    /// The file.
    pub path: PathBuf,
    /// The engine that answered.
    pub made_by: String,
    /// Questions.
    pub pairs: usize,
    /// How far the same engine may be from the answers.
    pub tolerance: f32,
    /// How far other engines may be.
    pub tolerance_elsewhere: f32,
    /// What was measured of eight-bit kernels, by name.
    pub measured: std::collections::BTreeMap<String, f64>,
}

/// Golden answers that can't be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct GoldenWriteError {
    /// The model's folder.
    pub path: PathBuf,
    /// A stable identifier.
    pub code: &'static str,
    /// Why.
    pub message: String,
}

impl GoldenWriteError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl From<BackendError> for LoadFailure {
    fn from(error: BackendError) -> Self {
        Self::new(error.code(), "", error)
    }
}

/// Asks the model in `dir` the golden questions and writes its answers beside the manifest, which
/// lists the file from then on. Of an encoder that ONNX Runtime runs here the kernels are compared as
/// well, and the manifest says what was found; a choice that it has stays.
///
/// # Errors
/// [`GoldenWriteError`]: the folder has no model that golden answers are known for, it does not run,
/// or the files can't be written.
pub fn write_golden(
    dir: &Path,
    onnxruntime: Option<&Path>,
    store: &ArtifactStore,
) -> Result<GoldenReport, GoldenWriteError> {
    write(dir, onnxruntime, store).map_err(|e| GoldenWriteError {
        path: dir.to_owned(),
        code: e.code,
        message: e.message,
    })
}

fn io(error: std::io::Error) -> LoadFailure {
    LoadFailure::new("model_unreadable", "", error)
}

fn write(
    dir: &Path,
    onnxruntime: Option<&Path>,
    store: &ArtifactStore,
) -> Result<GoldenReport, LoadFailure> {
    let path = dir.join(MANIFEST_FILE);
    let text = std::fs::read_to_string(&path).map_err(io)?;
    let manifest = Manifest::from_toml(&text, &path.display().to_string());
    let mut manifest = manifest.map_err(|e| LoadFailure::new(e.code(), "", e))?;
    let (golden, int8) = if manifest.file(linear::WEIGHTS_FILE).is_some() {
        (of_linear(dir)?, None)
    } else if manifest.file(pack::WEIGHTS_FILE).is_some() {
        let runtime = runtime(onnxruntime, store);
        of_encoder(&manifest, dir, runtime.as_ref())?
    } else if manifest.file(CNN_FILE).is_some() {
        (of_sound(dir, store)?, None)
    } else {
        let message = format!(
            "{} is no model that golden answers are kept for",
            manifest.id()
        );
        return Err(LoadFailure::new("golden_unknown", &manifest.name, message));
    };
    let json = golden.to_json();
    let json = json.map_err(|e| LoadFailure::new(e.code(), &manifest.name, e))?;
    let file = dir.join(GOLDEN_FILE);
    std::fs::write(&file, &json).map_err(io)?;
    manifest.files.retain(|f| f.path != GOLDEN_FILE);
    manifest.files.push(FileSpec {
        path: GOLDEN_FILE.to_owned(),
        sha256: sha256_hex(json.as_bytes()),
        size: json.len() as u64,
        platform: None,
    });
    let measured = int8
        .as_ref()
        .map(|i| i.measured.clone())
        .unwrap_or_default();
    if let Some(found) = int8 {
        let chosen = manifest.int8.as_ref().and_then(|i| i.kernels);
        manifest.int8 = Some(Int8 {
            kernels: chosen.or(found.kernels),
            ..found
        });
    }
    let text = manifest.to_toml();
    let text = text.map_err(|e| LoadFailure::new(e.code(), &manifest.name, e))?;
    std::fs::write(&path, text).map_err(io)?;
    Ok(GoldenReport {
        model: manifest.id(),
        path: file,
        made_by: golden.made_by.clone(),
        pairs: golden.pairs.len(),
        tolerance: golden.tolerance,
        tolerance_elsewhere: golden.tolerance_elsewhere,
        measured,
    })
}

fn pairs(
    questions: Vec<Question>,
    mut answer: impl FnMut(&Question) -> Result<Vec<f32>, BackendError>,
) -> Result<Vec<Pair>, BackendError> {
    questions
        .into_iter()
        .map(|question| {
            let values = answer(&question)?;
            Ok(Pair { question, values })
        })
        .collect()
}

fn texts() -> Vec<Question> {
    TEXTS.iter().map(|t| Question::text(t)).collect()
}

fn of_linear(dir: &Path) -> Result<Golden, LoadFailure> {
    let model = LinearChatModel::load(dir).map_err(|e| LoadFailure::new(e.code(), "", e))?;
    Ok(Golden {
        made_by: "linear".to_owned(),
        // Sums of floats in one order: nothing but the last digits may differ.
        tolerance: 1e-4,
        tolerance_elsewhere: 1e-4,
        outputs: model.heads().iter().map(|h| h.name.clone()).collect(),
        pairs: pairs(texts(), linear_answers(&model))?,
    })
}

/// Largest and mean distance of two lists of answers.
fn apart(a: &[Pair], b: &[Pair]) -> (f64, f64) {
    let values = |pairs: &[Pair]| -> Vec<f32> {
        pairs
            .iter()
            .flat_map(|p| p.values.iter().copied())
            .collect()
    };
    let (a, b) = (values(a), values(b));
    let gaps = a.iter().zip(&b).map(|(a, b)| f64::from((a - b).abs()));
    let (largest, sum) = gaps.fold((0.0_f64, 0.0), |(l, s), g| (l.max(g), s + g));
    (largest, sum / a.len().max(1) as f64)
}

/// How far ONNX Runtime's exact kernels may be from themselves on another processor.
const EXACT_TOLERANCE: f64 = 0.1;

fn of_encoder(
    manifest: &Manifest,
    dir: &Path,
    runtime: Result<&crate::backend::OnnxRuntime, &String>,
) -> Result<(Golden, Option<Int8>), LoadFailure> {
    let parts = EncoderParts::read(manifest, dir)?;
    let mut questions = texts();
    questions.push(Question::Text {
        text: "you too".to_owned(),
        previous: vec!["good game".to_owned(), "that was fun".to_owned()],
    });
    let ask = |session: Arc<dyn Session>| -> Result<(Vec<Pair>, f64), LoadFailure> {
        let full = parts.on(session, manifest.id())?;
        let answers = pairs(questions.clone(), |q| full.golden(q))?;
        let begun = thread_time();
        for _ in 0..ROUNDS {
            pairs(questions.clone(), |q| full.golden(q))?;
        }
        Ok((answers, thread_time().saturating_sub(begun).as_secs_f64()))
    };
    let outputs: Vec<String> = {
        let heads = parts.model.description.heads.iter();
        heads.map(|h| h.name.clone()).collect()
    };
    let (floats, _) = ask(parts.candle()?)?;
    let native = Int8Classifier::is_fast()
        .then(|| ask(parts.native()?))
        .transpose()?;
    let Ok(runtime) = runtime else {
        let (made_by, pairs) = match native {
            Some((answers, _)) => (NATIVE_ENGINE, answers),
            None => ("candle", floats),
        };
        // Eight bits in another engine round otherwise; ours and floats are in the middle of that.
        let golden = Golden {
            made_by: made_by.to_owned(),
            tolerance: 0.01,
            tolerance_elsewhere: 1.0,
            outputs,
            pairs,
        };
        return Ok((golden, None));
    };
    let graph = parts.graph()?;
    let (exact, exact_s) = ask(Arc::new(runtime.exact_session(&graph, 1, 1)?))?;
    let (fast, fast_s) = ask(Arc::new(runtime.session(&graph, 1, 1)?))?;
    let (float_largest, float_mean) = apart(&floats, &exact);
    let (fast_largest, fast_mean) = apart(&fast, &exact);
    // What saturates differs from processor to processor, and scores must not.
    let differs = fast_largest > EXACT_TOLERANCE;
    let mut measured = std::collections::BTreeMap::new();
    let mut note = |name: &str, value: f64| {
        measured.insert(name.to_owned(), (value * 1e4).round() / 1e4);
    };
    note("floats_from_exact_largest", float_largest);
    note("floats_from_exact_mean", float_mean);
    let golden = if let Some((answers, native_s)) = native {
        let (largest, mean) = apart(&floats, &answers);
        note("floats_from_native_largest", largest);
        note("floats_from_native_mean", mean);
        note("exact_cpu_over_native", exact_s / native_s.max(1e-9));
        let (elsewhere, _) = apart(&exact, &answers);
        Golden {
            made_by: NATIVE_ENGINE.to_owned(),
            tolerance: 0.01,
            tolerance_elsewhere: (2.0 * elsewhere.max(largest)).max(0.5) as f32,
            outputs,
            pairs: answers,
        }
    } else {
        Golden {
            made_by: "onnxruntime".to_owned(),
            // Other instructions for the floats between the products move a rounding now and then.
            tolerance: EXACT_TOLERANCE as f32,
            tolerance_elsewhere: (2.0 * float_largest).max(0.5) as f32,
            outputs,
            pairs: exact,
        }
    };
    let cost = exact_s / fast_s.max(1e-9);
    let mut kernels = None;
    if runtime.saturates() {
        note("fast_from_exact_largest", fast_largest);
        note("fast_from_exact_mean", fast_mean);
        note("exact_cpu_over_fast", cost);
        kernels = differs.then_some(Kernels::Exact);
    }
    Ok((golden, Some(Int8 { kernels, measured })))
}

/// Processor time of this thread. Sessions of one thread compute on the caller's.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

fn of_sound(dir: &Path, store: &ArtifactStore) -> Result<Golden, LoadFailure> {
    let model = SoundClassifier::load(dir, store);
    let model = model.map_err(|e| LoadFailure::new(e.code(), "", e))?;
    let tone = |from_hz, to_hz, amplitude| Question::Tone {
        from_hz,
        to_hz,
        amplitude,
        samples: 41_040,
    };
    let questions = vec![
        tone(440.0, 440.0, 0.3),
        tone(200.0, 4_000.0, 0.3),
        tone(3_100.0, 2_900.0, 0.6),
        tone(60.0, 120.0, 0.8),
    ];
    Ok(Golden {
        // Floats throughout, in whatever engine.
        made_by: ANY.to_owned(),
        tolerance: 0.01,
        tolerance_elsewhere: 0.01,
        outputs: model.labels().to_vec(),
        pairs: pairs(questions, |q| model.scores(&q.samples()))?,
    })
}
