//! `frames`: the pipeline of single pictures over folders of pictures.
//!
//! Every picture goes through the same call as `POST /v1/moderate/image`: the NSFW screen, text on
//! screen, and the policy. On pictures of everyday things every flag is a false positive.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use novastream_datasets::folder::LabelledFile;
use novastream_inference::{Category, CategoryResult, ImageOptions, Timings};
use serde::Serialize;

use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;
use crate::files;
use crate::folder_report::{FolderReport, Judged};
use crate::moderated::{FileError, FolderOptions, Setup};
use crate::report::{Report, cell};
use crate::score_file::ScoreFile;

/// File names that are taken for pictures.
const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "gif", "bmp"];
const WANTED: &str = "pictures (jpg, png, webp, gif, bmp)";
/// The task that the evaluation is about, and those that take part in it.
const SUBJECT: &str = "nsfw";
const OTHERS: &[&str] = &["ocr-detect", "ocr-recognise", "chat"];

/// Mean wall-clock milliseconds a picture; stages overlap, and workers share the cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StageTimes {
    /// Decoding the picture.
    pub decode: f64,
    /// The NSFW screen.
    pub screen: f64,
    /// Finding and reading text.
    pub ocr: f64,
    /// Judging the text.
    pub text: f64,
}

/// The report of `frames`.
#[derive(Debug, Clone, Serialize)]
pub struct FramesReport {
    /// What every evaluation of files answers.
    #[serde(flatten)]
    pub folder: FolderReport,
    /// Pictures per CPU second of this process, reading and decoding the files included.
    pub frames_per_cpu_second: Option<f64>,
    /// Where the time went.
    pub stage_ms: StageTimes,
}

/// What is kept of one picture.
struct Picture {
    categories: BTreeMap<Category, CategoryResult>,
    timings: Timings,
}

impl Judged for Picture {
    fn categories(&self) -> &BTreeMap<Category, CategoryResult> {
        &self.categories
    }
}

/// Runs the evaluation that `options` describe.
pub fn run(options: &FolderOptions) -> Result<FramesReport, EvalError> {
    let scores = ScoreFile::create(options.scores.as_deref())?;
    let setup = Setup::new(options, EXTENSIONS, WANTED, SUBJECT, OTHERS)?;
    let cpu = CpuClock::start();
    let results = setup.for_each(|file| judge(&setup, file))?;
    let cpu_seconds = cpu.elapsed();
    let mut sum = StageTimes::default();
    let folder = FolderReport::gather(
        "frames",
        options,
        setup,
        results,
        cpu_seconds,
        scores,
        |_, picture| sum.add(&picture.timings),
    )?;
    Ok(FramesReport {
        // Without the model the time says nothing about it.
        frames_per_cpu_second: per_second(
            folder.n,
            cpu_seconds.filter(|_| folder.reason.is_none()),
        ),
        stage_ms: sum.divided_by(folder.n as f64),
        folder,
    })
}

fn judge(setup: &Setup, file: &LabelledFile) -> Result<Picture, FileError> {
    let error = |code: &str, error: String| FileError {
        file: file.path.display().to_string(),
        code: code.into(),
        error,
    };
    let bytes = files::read(file).map_err(|e| error("io", e))?;
    let verdict = setup
        .moderator
        .image(&bytes, &ImageOptions::default())
        .map_err(|e| error(e.code(), e.to_string()))?;
    Ok(Picture {
        categories: verdict.categories,
        timings: verdict.timings,
    })
}

impl StageTimes {
    fn add(&mut self, timings: &Timings) {
        self.decode += f64::from(timings.decode_ms);
        self.screen += f64::from(timings.frames_ms);
        self.ocr += f64::from(timings.ocr_ms);
        self.text += f64::from(timings.text_ms);
    }

    fn divided_by(self, n: f64) -> Self {
        Self {
            decode: self.decode / n,
            screen: self.screen / n,
            ocr: self.ocr / n,
            text: self.text / n,
        }
    }
}

impl Report for FramesReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        self.folder.write_start(out, "pictures")?;
        let per_second = cell(self.frames_per_cpu_second, 1);
        let [decode, screen, read] = [
            self.stage_ms.decode,
            self.stage_ms.screen,
            self.stage_ms.ocr,
        ]
        .map(|ms| cell(Some(ms), 1));
        writeln!(
            out,
            "\n  {per_second} pictures per CPU second; mean {decode} ms to decode, {screen} ms to \
             screen, {read} ms to read text"
        )?;
        self.folder.write_end(out)
    }

    fn done(&self) -> Result<(), EvalError> {
        self.folder.done()
    }
}
