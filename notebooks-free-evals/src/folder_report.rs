//! The part of a report that evaluations of files have in common.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use novastream_datasets::folder::LabelledFile;
use novastream_inference::{Category, CategoryResult};
use serde::Serialize;

use crate::error::EvalError;
use crate::moderated::{FileError, FolderOptions, MissingModel, Setup};
use crate::report::Head;
use crate::score_file::ScoreFile;
use crate::tally::{Tally, TallyReport};

/// What every evaluation of files answers; flattened into its JSON object.
#[derive(Debug, Clone, Serialize)]
pub struct FolderReport {
    /// Program, machine and models.
    #[serde(flatten)]
    pub head: Head,
    /// `evaluated`, or `not_evaluated` when the model that it is about is not loaded.
    pub status: &'static str,
    /// Why it was not evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The folder.
    pub dir: String,
    /// `id@version` of the policy whose thresholds count.
    pub policy: String,
    /// Files that were evaluated.
    pub n: usize,
    /// Shares and scores by label and category.
    #[serde(flatten)]
    pub tally: TallyReport,
    /// CPU seconds of this process for all files, reading and decoding them included.
    pub cpu_seconds: Option<f64>,
    /// The engine of each model.
    pub engines: BTreeMap<String, String>,
    /// Models that would have taken part and are not loaded.
    pub missing: Vec<MissingModel>,
    /// How many files could not be evaluated.
    pub error_count: usize,
    /// Each of them.
    pub errors: Vec<FileError>,
}

/// What is kept of one file's verdict.
pub trait Judged {
    /// The verdict's categories.
    fn categories(&self) -> &BTreeMap<Category, CategoryResult>;
}

impl FolderReport {
    /// Adds up `results`, one a file in the files' order, writes their score lines to `scores`, and
    /// hands every file that was judged to `each`.
    pub fn gather<J: Judged>(
        command: &'static str,
        options: &FolderOptions,
        setup: Setup,
        results: Vec<Result<J, FileError>>,
        cpu_seconds: Option<f64>,
        mut scores: Option<ScoreFile>,
        mut each: impl FnMut(&LabelledFile, &J),
    ) -> Result<Self, EvalError> {
        let (mut tally, mut errors) = (Tally::default(), Vec::new());
        for (file, result) in setup.files.iter().zip(results) {
            if let Some(out) = &mut scores {
                out.add(
                    file,
                    result
                        .as_ref()
                        .map(J::categories)
                        .map_err(|e| e.code.as_str()),
                )?;
            }
            match result {
                Ok(judged) => {
                    tally.add(&file.label, judged.categories());
                    each(file, &judged);
                }
                Err(error) => errors.push(error),
            }
        }
        if let Some(out) = scores {
            out.finish()?;
        }
        let n = setup.files.len() - errors.len();
        if let (0, Some(first)) = (n, errors.first()) {
            let first = format!("{}: {}", first.file, first.error);
            return Err(EvalError::NothingEvaluated {
                files: errors.len(),
                first,
            });
        }
        Ok(Self {
            head: Head::new(command, setup.models),
            status: if setup.subject.is_ok() {
                "evaluated"
            } else {
                "not_evaluated"
            },
            reason: setup.subject.err(),
            dir: options.dir.display().to_string(),
            policy: setup.moderator.policy().label(),
            n,
            tally: tally.report(&setup.targets),
            cpu_seconds,
            engines: setup.engines,
            missing: setup.missing,
            error_count: errors.len(),
            errors,
        })
    }

    /// The lines above an evaluation's own; `noun` names the files.
    pub fn write_start(&self, out: &mut String, noun: &str) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        writeln!(
            out,
            "{} · {} {noun}, {} unreadable · policy {}",
            self.dir, self.n, self.error_count, self.policy
        )?;
        if let Some(reason) = &self.reason {
            writeln!(out, "NOT EVALUATED: {reason}")?;
        }
        out.push('\n');
        self.tally.write_text(out)
    }

    /// The lines below them.
    pub fn write_end(&self, out: &mut String) -> std::fmt::Result {
        for missing in &self.missing {
            writeln!(out, "  not loaded: {} ({})", missing.model, missing.reason)?;
        }
        for error in &self.errors {
            writeln!(out, "  {}: {} ({})", error.file, error.error, error.code)?;
        }
        Ok(())
    }

    /// An error if the model that the evaluation is about is not loaded.
    pub fn done(&self) -> Result<(), EvalError> {
        match &self.reason {
            None => Ok(()),
            Some(reason) => Err(EvalError::NotEvaluated {
                reason: reason.clone(),
            }),
        }
    }
}
