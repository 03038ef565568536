//! `frames --model`: trained heads over folders of pictures.
//!
//! The pictures go through the same two networks and heads as the service's, screen and gate
//! included; nothing else of the pipeline takes part.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use novastream_datasets::folder::LabelledFile;
use novastream_features::picture::{ImageLimits, decode_image};
use novastream_inference::FrameScores;
use novastream_models::catalog::{zoo_dir, zoo_in};
use novastream_models::frame_heads::FrameHeads;
use novastream_models::manifest::Task;
use novastream_training::frames::head_name;
use novastream_training::metrics::{Confusion, auc, average_precision, tpr_at_fpr};
use serde::Serialize;

use super::page::{Alarm, Curve};
use super::{EXTENSIONS, FramesOptions, SUBJECT, WANTED, everyday, page};
use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;
use crate::files;
use crate::moderated::{FileError, FolderOptions, Setup};
use crate::report::{Head, Report, Table, cell};
use crate::score_file::ScoreFile;

/// Outcomes at the shipped threshold, a score of 0.5.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    /// Positives found.
    pub true_pos: u64,
    /// Negatives called positive.
    pub false_pos: u64,
    /// Negatives left alone.
    pub true_neg: u64,
    /// Positives missed.
    pub false_neg: u64,
}

/// One label's scores by one head.
#[derive(Debug, Clone, Serialize)]
pub struct LabelScores {
    /// Pictures.
    pub n: usize,
    /// Mean score.
    pub mean: f64,
    /// Share of scores of 0.5 and more.
    pub over_half_share: f64,
}

/// One head's figures.
#[derive(Debug, Clone, Serialize)]
pub struct HeadReport {
    /// Labels whose pictures are its positives.
    pub labels: Vec<String>,
    /// Pictures scored.
    pub n: usize,
    /// Positives among them.
    pub pos: usize,
    /// Chance that a positive scores above a negative; absent without one of each.
    pub auc: Option<f64>,
    /// Precision over all thresholds, weighted by the recall it adds.
    pub average_precision: Option<f64>,
    /// Share of positives above all but one in a hundred negatives.
    pub tpr_at_1_percent_fpr: Option<f64>,
    /// At 0.5.
    pub f1: f64,
    /// At 0.5.
    pub accuracy: f64,
    /// At 0.5.
    pub balanced_accuracy: Option<f64>,
    /// At 0.5.
    pub confusion: Counts,
    /// Scores by label.
    pub by_label: BTreeMap<String, LabelScores>,
}

/// The report of `frames --model`.
#[derive(Debug, Clone, Serialize)]
pub struct HeadsReport {
    /// Program, machine and models.
    #[serde(flatten)]
    pub head: Head,
    /// Always `evaluated`: anything else is an error.
    pub status: &'static str,
    /// The folder.
    pub dir: String,
    /// Pictures scored.
    pub n: usize,
    /// By head.
    pub heads: BTreeMap<String, HeadReport>,
    /// Pictures per CPU second of this process, reading and decoding them included.
    pub frames_per_cpu_second: Option<f64>,
    /// Files that could not be evaluated.
    pub error_count: usize,
    /// Each of them.
    pub errors: Vec<FileError>,
}

/// The folder of the heads that `wanted` names: a model folder, or `NAME[@VERSION]` of the zoo.
/// `None`: it names no heads.
pub(super) fn find(wanted: &str) -> Result<Option<PathBuf>, EvalError> {
    let dir = Path::new(wanted);
    if dir
        .join(novastream_models::manifest::MANIFEST_FILE)
        .is_file()
    {
        return Ok(Some(dir.to_owned()));
    }
    let zoo = zoo_in(&zoo_dir()).map_err(|e| EvalError::Load {
        message: e.to_string(),
    })?;
    let named = zoo.into_iter().rfind(|(manifest, _)| {
        manifest.task == Task::FrameHeads && (manifest.name == wanted || manifest.id() == wanted)
    });
    Ok(named.map(|(_, dir)| dir))
}

/// Evaluates the heads in `dir`.
pub(super) fn run(options: &FramesOptions, dir: &Path) -> Result<HeadsReport, EvalError> {
    let unusable = |e: &dyn std::fmt::Display| EvalError::Model {
        wanted: dir.display().to_string(),
        hint: e.to_string(),
    };
    let (heads, manifest) = FrameHeads::load(dir).map_err(|e| unusable(&e))?;
    let names: Vec<String> = heads.heads.iter().map(|h| h.name.clone()).collect();
    let mut scores = ScoreFile::create(options.folder.scores.as_deref())?;
    let folder = FolderOptions {
        model: None,
        ..options.folder.clone()
    };
    let setup = Setup::with_heads(
        &folder,
        EXTENSIONS,
        WANTED,
        SUBJECT,
        &["nsfw-confirm"],
        vec![dir.to_owned()],
    )?;
    if let Err(reason) = &setup.subject {
        return Err(EvalError::NotEvaluated {
            reason: reason.clone(),
        });
    }
    let cpu = CpuClock::start();
    let results = setup.for_each(|file| judge(&setup, file))?;
    let cpu_seconds = cpu.elapsed();

    let mut errors = Vec::new();
    let mut scored: Vec<(&LabelledFile, FrameScores)> = Vec::new();
    for (file, result) in setup.files.iter().zip(results) {
        if let Some(out) = &mut scores {
            let named = result
                .as_ref()
                .map(|found| score_line(&setup, &names, found))
                .map_err(|e| e.code.as_str());
            out.add_named(file, named.as_ref().map_err(|code| *code))?;
        }
        match result {
            Ok(found) => scored.push((file, found)),
            Err(error) => errors.push(error),
        }
    }
    if let Some(out) = scores {
        out.finish()?;
    }
    if let (true, Some(first)) = (scored.is_empty(), errors.first()) {
        return Err(EvalError::NothingEvaluated {
            files: errors.len(),
            first: format!("{}: {}", first.file, first.error),
        });
    }

    let (mut reports, mut curves, mut alarms) = (BTreeMap::new(), Vec::new(), Vec::new());
    for name in &names {
        let positive = |label: &str| is_positive(&setup, name, label);
        let points: Vec<(f32, bool)> = scored
            .iter()
            .filter_map(|(file, s)| Some((*s.heads.get(name)?, positive(&file.label))))
            .collect();
        for (file, found) in &scored {
            if let (Some(score), true, false) = (
                found.heads.get(name),
                everyday(&options.folder.dir, &file.label),
                positive(&file.label),
            ) {
                alarms.push(Alarm {
                    what: name.clone(),
                    score: *score,
                    path: file.path.clone(),
                });
            }
        }
        reports.insert(name.clone(), report(&points, name, &scored, &setup));
        curves.push(Curve {
            title: name.clone(),
            points,
        });
    }
    let report = HeadsReport {
        head: Head::new(
            "frames",
            [vec![manifest.id()], setup.models.clone()].concat(),
        ),
        status: "evaluated",
        dir: options.folder.dir.display().to_string(),
        n: scored.len(),
        heads: reports,
        frames_per_cpu_second: per_second(scored.len(), cpu_seconds),
        error_count: errors.len(),
        errors,
    };
    if let Some(path) = &options.html {
        page::write(path, &report.text(), &curves, alarms)?;
    }
    Ok(report)
}

fn judge(setup: &Setup, file: &LabelledFile) -> Result<FrameScores, FileError> {
    let error = |code: &str, error: String| FileError {
        file: file.path.display().to_string(),
        code: code.into(),
        error,
    };
    let bytes = files::read(file).map_err(|e| error("io", e))?;
    let image = decode_image(&bytes, &ImageLimits::default())
        .map_err(|e| error(e.code(), e.to_string()))?;
    let scores = setup.moderator.frame_scores(&image);
    scores.map_err(|e| error(e.code(), e.to_string()))
}

/// Whether pictures of `label` are positives of a head: it has the head's name, or stands for the
/// category that the policy gives the head.
fn is_positive(setup: &Setup, head: &str, label: &str) -> bool {
    let category = setup.moderator.policy().head(head);
    let category = category.or_else(|| setup.targets.category(head));
    head_name(label) == head || (category.is_some() && setup.targets.category(label) == category)
}

/// Scores by the heads' names, by the categories that they count for, and the screen's.
fn score_line(setup: &Setup, names: &[String], found: &FrameScores) -> BTreeMap<String, f32> {
    let mut line = BTreeMap::from([("sexual".to_owned(), found.sexual)]);
    for name in names {
        let Some(score) = found.heads.get(name) else {
            continue;
        };
        let category = setup.moderator.policy().head(name);
        if let Some(category) = category.or_else(|| setup.targets.category(name)) {
            let known = line.entry(category.to_string()).or_default();
            *known = known.max(*score);
        }
        line.insert(name.clone(), *score);
    }
    line
}

fn report(
    points: &[(f32, bool)],
    name: &str,
    scored: &[(&LabelledFile, FrameScores)],
    setup: &Setup,
) -> HeadReport {
    let counts = Confusion::at(0.5, points);
    let mut labels: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (file, found) in scored {
        if let Some(score) = found.heads.get(name) {
            labels.entry(file.label.clone()).or_default().push(*score);
        }
    }
    let positive = labels.keys().filter(|l| is_positive(setup, name, l));
    HeadReport {
        labels: positive.cloned().collect(),
        n: points.len(),
        pos: points.iter().filter(|p| p.1).count(),
        auc: auc(points),
        average_precision: average_precision(points),
        tpr_at_1_percent_fpr: tpr_at_fpr(points, 0.01),
        f1: counts.f1(),
        accuracy: counts.accuracy(),
        balanced_accuracy: counts.balanced_accuracy(),
        confusion: Counts {
            true_pos: counts.true_pos,
            false_pos: counts.false_pos,
            true_neg: counts.true_neg,
            false_neg: counts.false_neg,
        },
        by_label: labels
            .into_iter()
            .map(|(label, scores)| {
                let n = scores.len() as f64;
                let over = scores.iter().filter(|s| **s >= 0.5).count();
                let figures = LabelScores {
                    n: scores.len(),
                    mean: scores.iter().map(|s| f64::from(*s)).sum::<f64>() / n,
                    over_half_share: over as f64 / n,
                };
                (label, figures)
            })
            .collect(),
    }
}

impl Report for HeadsReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        writeln!(
            out,
            "{} · {} pictures, {} unreadable · {} per CPU second\n",
            self.dir,
            self.n,
            self.error_count,
            cell(self.frames_per_cpu_second, 1)
        )?;
        for (name, head) in &self.heads {
            let counts = &head.confusion;
            writeln!(
                out,
                "  {name}: AUC {}, average precision {}, TPR at 1 % FPR {} ({} of {} pictures)",
                cell(head.auc, 4),
                cell(head.average_precision, 4),
                cell(head.tpr_at_1_percent_fpr, 3),
                head.pos,
                head.n
            )?;
            writeln!(
                out,
                "  at 0.5: {} found, {} missed, {} false alarms, {} rightly left alone",
                counts.true_pos, counts.false_neg, counts.false_pos, counts.true_neg
            )?;
            let mut table = Table::new(["label", "n", "mean", ">= 0.5"]);
            for (label, scores) in &head.by_label {
                table.row([
                    if label.is_empty() {
                        "(none)".to_owned()
                    } else {
                        label.clone()
                    },
                    scores.n.to_string(),
                    cell(Some(scores.mean), 4),
                    crate::report::percent(Some(scores.over_half_share)),
                ]);
            }
            out.push_str(&table.render());
            out.push('\n');
        }
        for error in &self.errors {
            writeln!(out, "  {}: {} ({})", error.file, error.error, error.code)?;
        }
        Ok(())
    }
}
