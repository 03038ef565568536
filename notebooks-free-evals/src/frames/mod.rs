//! `frames`: the pipeline of single pictures over folders of pictures.
//!
//! Every picture goes through the same call as `POST /v1/moderate/image`: the NSFW screen, the heads,
//! text on screen, and the policy. On pictures of everyday things every flag is a false positive. With
//! `--model` naming trained heads, those alone are evaluated (see [`heads`]).

pub mod heads;
mod page;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use novastream_datasets::folder::LabelledFile;
use novastream_features::picture::{ImageLimits, decode_image};
use novastream_inference::{Category, CategoryResult, ImageOptions, Timings};
use serde::Serialize;

use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;
use crate::files;
use crate::folder_report::{FolderReport, Judged};
use crate::moderated::{FileError, FolderOptions, Setup};
use crate::report::{Report, cell, percent};
use crate::score_file::ScoreFile;

/// File names that are taken for pictures.
const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "webp", "gif", "bmp"];
const WANTED: &str = "pictures (jpg, png, webp, gif, bmp)";
/// The task that the evaluation is about, and those that take part in it.
const SUBJECT: &str = "nsfw";
const OTHERS: &[&str] = &[
    "nsfw-confirm",
    "frame-heads",
    "ocr-detect",
    "ocr-recognise",
    "chat",
];

/// Options of `novastream-eval frames`.
#[derive(Debug, Clone, Args)]
pub struct FramesOptions {
    /// The folder and what every evaluation of files takes
    #[command(flatten)]
    pub folder: FolderOptions,
    /// Write the report as a page with curves and the worst false alarms among everyday pictures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What the two stages of the screen say at 0.5.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ScreenReport {
    /// Pictures.
    pub n: usize,
    /// Share with P(Hentai) + P(Porn) above 0.5 by the screen alone.
    pub screen_over_half_share: f64,
    /// The same after the confirming network had its say.
    pub confirmed_over_half_share: f64,
    /// Share that the confirming network was asked about.
    pub asked_share: f64,
}

/// Either report.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "made once a run")]
pub enum AnyReport {
    /// The pipeline.
    Pipeline(FramesReport),
    /// Trained heads alone.
    Heads(heads::HeadsReport),
}

impl Report for AnyReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        match self {
            Self::Pipeline(report) => report.write_text(out),
            Self::Heads(report) => report.write_text(out),
        }
    }

    fn done(&self) -> Result<(), EvalError> {
        match self {
            Self::Pipeline(report) => report.done(),
            Self::Heads(report) => report.done(),
        }
    }
}

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
    /// The two stages of the screen; absent when one is not loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<ScreenReport>,
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
pub fn run(options: &FramesOptions) -> Result<AnyReport, EvalError> {
    if let Some(wanted) = &options.folder.model
        && let Some(dir) = heads::find(wanted)?
    {
        return heads::run(options, &dir).map(AnyReport::Heads);
    }
    pipeline(options).map(AnyReport::Pipeline)
}

/// The whole path of pictures.
pub fn pipeline(options: &FramesOptions) -> Result<FramesReport, EvalError> {
    let folder = &options.folder;
    let scores = ScoreFile::create(folder.scores.as_deref())?;
    let setup = Setup::new(folder, EXTENSIONS, WANTED, SUBJECT, OTHERS)?;
    let cpu = CpuClock::start();
    let results = setup.for_each(|file| judge(&setup, file))?;
    let cpu_seconds = cpu.elapsed();
    // Apart, so that the times above are the pipeline's own.
    let screen = screen(&setup)?;
    let (curves, alarms) = match options.html {
        Some(_) => plots(&setup, folder, &results),
        None => (Vec::new(), Vec::new()),
    };
    let mut sum = StageTimes::default();
    let gathered = FolderReport::gather(
        "frames",
        folder,
        setup,
        results,
        cpu_seconds,
        scores,
        |_, picture| sum.add(&picture.timings),
    )?;
    let report = FramesReport {
        // Without the model the time says nothing about it.
        frames_per_cpu_second: per_second(
            gathered.n,
            cpu_seconds.filter(|_| gathered.reason.is_none()),
        ),
        stage_ms: sum.divided_by(gathered.n as f64),
        folder: gathered,
        screen,
    };
    if let Some(path) = &options.html {
        page::write(path, &report.text(), &curves, alarms)?;
    }
    Ok(report)
}

/// Both stages of the screen on every picture; `None` when one of them is not loaded.
fn screen(setup: &Setup) -> Result<Option<ScreenReport>, EvalError> {
    let found = setup.for_each(|file| {
        let bytes = files::read(file).ok()?;
        let image = decode_image(&bytes, &ImageLimits::default()).ok()?;
        Some(setup.moderator.frame_scores(&image).ok())
    })?;
    let readable: Vec<_> = found.into_iter().flatten().collect();
    let scores: Option<Vec<_>> = readable.into_iter().collect();
    Ok(scores.filter(|s| !s.is_empty()).map(|scores| {
        let n = scores.len();
        let share = |count: usize| count as f64 / n as f64;
        ScreenReport {
            n,
            screen_over_half_share: share(scores.iter().filter(|s| s.screen > 0.5).count()),
            confirmed_over_half_share: share(scores.iter().filter(|s| s.sexual > 0.5).count()),
            asked_share: share(scores.iter().filter(|s| s.asked).count()),
        }
    }))
}

/// Curves of the categories that labels stand for, and the highest scores of everyday pictures.
fn plots(
    setup: &Setup,
    options: &FolderOptions,
    results: &[Result<Picture, FileError>],
) -> (Vec<page::Curve>, Vec<page::Alarm>) {
    let pairs = || setup.files.iter().zip(results);
    let (mut curves, mut alarms) = (Vec::new(), Vec::new());
    for category in Category::ALL {
        let score = |picture: &Picture| picture.categories.get(&category)?.score;
        let points: Vec<(f32, bool)> = pairs()
            .filter_map(|(file, result)| {
                let positive = setup.targets.category(&file.label) == Some(category);
                Some((score(result.as_ref().ok()?)?, positive))
            })
            .collect();
        if points.iter().any(|p| p.1) {
            curves.push(page::Curve {
                title: category.to_string(),
                points,
            });
        }
        let harmless = pairs().filter(|(file, _)| everyday(&options.dir, &file.label));
        alarms.extend(harmless.filter_map(|(file, result)| {
            Some(page::Alarm {
                what: category.to_string(),
                score: score(result.as_ref().ok()?)?,
                path: file.path.clone(),
            })
        }));
    }
    (curves, alarms)
}

/// Whether a label's pictures may be shown: those of everyday things.
fn everyday(dir: &Path, label: &str) -> bool {
    label == "everyday" || (label.is_empty() && dir.file_name().is_some_and(|n| n == "everyday"))
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
        if let Some(screen) = &self.screen {
            writeln!(
                out,
                "  P(Hentai) + P(Porn) > 0.5: {} by the screen, {} confirmed; confirmation asked for {}",
                percent(Some(screen.screen_over_half_share)),
                percent(Some(screen.confirmed_over_half_share)),
                percent(Some(screen.asked_share)),
            )?;
        }
        self.folder.write_end(out)
    }

    fn done(&self) -> Result<(), EvalError> {
        self.folder.done()
    }
}
