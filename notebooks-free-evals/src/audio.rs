//! `audio`: the sound half of the segment pipeline over folders of clips.
//!
//! Every clip goes through the same demuxer, models, smoothing and policy as a posted segment; a
//! picture inside the file (cover art) is left out. On everyday sound every flag is a false alarm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use novastream_datasets::folder::LabelledFile;
use novastream_features::audio::{SILENT_DBFS, YAMNET_HOP, YAMNET_WINDOW, rms_dbfs, windows};
use novastream_features::media::{
    Audio, CancelToken, MediaLimits, SAMPLE_RATE, Sampling, read_segment,
};
use novastream_inference::{
    Category, CategoryResult, Evidence, EvidenceDetail, Modality, SegmentContext, StreamHistory,
};
use serde::Serialize;

use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;
use crate::files;
use crate::folder_report::{FolderReport, Judged};
use crate::moderated::{FileError, FolderOptions, Setup};
use crate::report::{Report, Table, cell};
use crate::score_file::ScoreFile;

/// File names that are taken for sound.
pub(crate) const EXTENSIONS: &[&str] = &["ogg", "wav", "flac", "mp3", "opus", "m4a", "aac"];
pub(crate) const WANTED: &str = "sound (ogg, wav, flac, mp3, opus, m4a, aac)";
/// The task that the evaluation is about; no other takes part.
const SUBJECT: &str = "audio-events";

/// Options of `novastream-eval audio`.
#[derive(Debug, Clone, clap::Args)]
pub struct AudioOptions {
    /// What it has in common with `frames`
    #[command(flatten)]
    pub folder: FolderOptions,
    /// Only clips whose name begins with this number and `-` (repeatable; trained models only)
    #[arg(long, value_name = "N", requires = "model")]
    pub fold: Vec<u32>,
}

impl AudioOptions {
    /// The folder of the trained model that is asked for; `None`: the pipeline is evaluated.
    pub fn trained(&self) -> Result<Option<std::path::PathBuf>, EvalError> {
        match &self.folder.model {
            Some(wanted) => crate::classified::folder(wanted),
            None => Ok(None),
        }
    }
}

/// A sound event that made a category reach its review threshold in at least one window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SoundReport {
    /// The model's label.
    pub event: String,
    /// The category that it counts for.
    pub category: Category,
    /// Clips in which it did.
    pub files: usize,
    /// Its highest score.
    pub max: f32,
}

/// The report of `audio`.
#[derive(Debug, Clone, Serialize)]
pub struct AudioReport {
    /// What every evaluation of files answers.
    #[serde(flatten)]
    pub folder: FolderReport,
    /// By label: the events behind reviews, also those that smoothing kept from counting; most
    /// clips first.
    pub events: BTreeMap<String, Vec<SoundReport>>,
    /// Seconds of sound.
    pub seconds: f64,
    /// Windows of 0.975 s, one every 0.48 s, that are not silent.
    pub windows: usize,
    /// Windows below -60 dBFS; not part of `windows`.
    pub silent_windows: usize,
    /// `windows` per CPU second of this process, reading and decoding the files included.
    pub windows_per_cpu_second: Option<f64>,
    /// Mean wall-clock milliseconds from samples to scores per window of `windows`; workers share
    /// the cores.
    pub window_ms: Option<f64>,
}

/// What is kept of one clip.
struct Clip {
    categories: BTreeMap<Category, CategoryResult>,
    evidence: Vec<Evidence>,
    audio_ms: f64,
    samples: usize,
    loud: usize,
    silent: usize,
}

impl Judged for Clip {
    fn categories(&self) -> &BTreeMap<Category, CategoryResult> {
        &self.categories
    }
}

/// Runs the evaluation that `options` describe.
pub fn run(options: &FolderOptions) -> Result<AudioReport, EvalError> {
    let scores = ScoreFile::create(options.scores.as_deref())?;
    let setup = Setup::new(options, EXTENSIONS, WANTED, SUBJECT, &[])?;
    let cpu = CpuClock::start();
    let results = setup.for_each(|file| judge(&setup, file))?;
    let cpu_seconds = cpu.elapsed();
    let mut events = BTreeMap::<String, Events>::new();
    let (mut samples, mut loud, mut silent, mut audio_ms) = (0, 0, 0, 0.0);
    let folder = FolderReport::gather(
        "audio",
        options,
        setup,
        results,
        cpu_seconds,
        scores,
        |file, clip| {
            events
                .entry(file.label.clone())
                .or_default()
                .add(&clip.evidence);
            samples += clip.samples;
            loud += clip.loud;
            silent += clip.silent;
            audio_ms += clip.audio_ms;
        },
    )?;
    // Without the model the times say nothing about it.
    let ready = folder.reason.is_none();
    Ok(AudioReport {
        folder,
        events: events.into_iter().map(|(l, e)| (l, e.report())).collect(),
        seconds: samples as f64 / f64::from(SAMPLE_RATE),
        windows: loud,
        silent_windows: silent,
        windows_per_cpu_second: per_second(loud, cpu_seconds.filter(|_| ready)),
        window_ms: (ready && loud > 0).then(|| audio_ms / loud as f64),
    })
}

fn judge(setup: &Setup, file: &LabelledFile) -> Result<Clip, FileError> {
    let error = |code: &str, error: String| FileError {
        file: file.path.display().to_string(),
        code: code.into(),
        error,
    };
    let bytes: Arc<[u8]> = files::read(file).map_err(|e| error("io", e))?.into();
    let limits = MediaLimits::default();
    let (info, mut window) =
        read_segment(bytes, &Sampling::default(), &limits, &CancelToken::new())
            .map_err(|e| error(e.code(), e.to_string()))?;
    window.frames.clear();
    let Some(audio) = window.audio.as_ref().filter(|a| !a.samples.is_empty()) else {
        return Err(error(
            "no_audio",
            "the file holds no sound that can be decoded".into(),
        ));
    };
    let samples = audio.samples.len();
    let (loud, silent) = count_windows(audio);
    let mut history = StreamHistory::default();
    let verdict = setup
        .moderator
        .window(window, &info, &SegmentContext::default(), &mut history);
    Ok(Clip {
        audio_ms: f64::from(verdict.timings.audio_ms),
        categories: verdict.categories,
        evidence: verdict.evidence,
        samples,
        loud,
        silent,
    })
}

/// Windows that are loud enough to listen to, and those that are not.
fn count_windows(audio: &Audio) -> (usize, usize) {
    let all = windows(audio.samples.len(), YAMNET_WINDOW, YAMNET_HOP);
    let (loud, silent): (Vec<_>, Vec<_>) =
        all.partition(|w| rms_dbfs(&audio.samples[w.clone()]) >= SILENT_DBFS);
    (loud.len(), silent.len())
}

/// Clips and highest score by event and category.
#[derive(Default)]
struct Events(BTreeMap<(String, Category), (usize, f32)>);

impl Events {
    /// Adds one clip's reasons.
    fn add(&mut self, evidence: &[Evidence]) {
        let mut here: BTreeMap<(String, Category), f32> = BTreeMap::new();
        for e in evidence.iter().filter(|e| e.modality == Modality::Audio) {
            if let Some(EvidenceDetail::Sound { label, score, .. }) = &e.detail {
                let best = here.entry((label.clone(), e.category)).or_insert(0.0);
                *best = best.max(*score);
            }
        }
        for (key, score) in here {
            let (files, max) = self.0.entry(key).or_insert((0, 0.0));
            *files += 1;
            *max = max.max(score);
        }
    }

    fn report(self) -> Vec<SoundReport> {
        let report = |((event, category), (files, max))| SoundReport {
            event,
            category,
            files,
            max,
        };
        let mut all: Vec<SoundReport> = self.0.into_iter().map(report).collect();
        all.sort_by(|a, b| b.files.cmp(&a.files).then(b.max.total_cmp(&a.max)));
        all
    }
}

impl Report for AudioReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        self.folder.write_start(out, "clips")?;
        let mut table = Table::new(["label", "event", "clips", "max"]);
        for (label, events) in &self.events {
            for e in events {
                let name = format!("{} ({})", e.event, e.category);
                let max = cell(Some(f64::from(e.max)), 3);
                table.row([label.clone(), name, e.files.to_string(), max]);
            }
        }
        if self.events.values().any(|e| !e.is_empty()) {
            writeln!(
                out,
                "\n  heard at or over the review threshold in some window:"
            )?;
            out.push_str(&table.render());
        }
        writeln!(
            out,
            "\n  {:.0} s of sound; {} windows ({} silent ones left out), {} per CPU second, {} ms each",
            self.seconds,
            self.windows,
            self.silent_windows,
            cell(self.windows_per_cpu_second, 1),
            cell(self.window_ms, 2)
        )?;
        self.folder.write_end(out)
    }

    fn done(&self) -> Result<(), EvalError> {
        self.folder.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(label: &str, score: f32) -> Evidence {
        Evidence {
            category: Category::DangerousSound,
            modality: Modality::Audio,
            start_ms: None,
            end_ms: None,
            peak_ms: None,
            score,
            model: "m@1".into(),
            carried_ms: None,
            clip: None,
            detail: Some(EvidenceDetail::Sound {
                group: "siren".into(),
                label: label.into(),
                score,
            }),
        }
    }

    #[test]
    fn an_event_counts_once_a_clip() {
        let mut events = Events::default();
        events.add(&[
            heard("Siren", 0.6),
            heard("Siren", 0.8),
            heard("Explosion", 0.9),
        ]);
        events.add(&[heard("Siren", 0.7)]);
        let report = events.report();
        assert_eq!(report.len(), 2);
        assert_eq!(
            (report[0].event.as_str(), report[0].files, report[0].max),
            ("Siren", 2, 0.8)
        );
        assert_eq!(
            (report[1].event.as_str(), report[1].files),
            ("Explosion", 1)
        );
    }

    #[test]
    fn silent_windows_are_counted_apart() {
        let mut samples = vec![0.0_f32; YAMNET_WINDOW * 4];
        for (i, s) in samples[..YAMNET_WINDOW].iter_mut().enumerate() {
            *s = (i as f32 * 0.1).sin() * 0.3;
        }
        let all = windows(samples.len(), YAMNET_WINDOW, YAMNET_HOP).count();
        let (loud, silent) = count_windows(&Audio {
            start_ms: 0,
            samples,
        });
        assert!(loud >= 2 && silent >= 2, "{loud} {silent}");
        assert_eq!(loud + silent, all);
    }
}
