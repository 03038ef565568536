//! The folder of a run: weights, manifest, card, configuration, figures, data hashes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use novastream_features::audio::{NET_FRAMES, YAMNET_BANDS};
use novastream_models::card::{CARD_FILE, model_card};
use novastream_models::manifest::{
    Contract, Dim, FileSpec, MANIFEST_FILE, Manifest, Task, TensorSpec,
};
use sha2::{Digest, Sha256};

use super::clips::Clips;
use super::{AudioArgs, AudioError, AudioReport, Base, Teacher, io};

/// Writes everything beside the log.
pub fn write(
    args: &AudioArgs,
    clips: &Clips,
    report: &AudioReport,
    weights: &[u8],
) -> Result<(), AudioError> {
    let put = |name: &str, bytes: &[u8]| {
        let path = args.out.join(name);
        std::fs::write(&path, bytes).map_err(io(&path))
    };
    let json = |value: String| value + "\n";
    put(args.base.weights_file(), weights)?;
    put(
        "config.json",
        json(serde_json::to_string_pretty(args)?).as_bytes(),
    )?;
    put(
        "metrics.json",
        json(serde_json::to_string_pretty(report)?).as_bytes(),
    )?;
    let hashes: BTreeMap<&str, &str> = clips
        .all
        .iter()
        .map(|c| (c.name.as_str(), c.sha256.as_str()))
        .collect();
    put(
        "data.json",
        json(serde_json::to_string_pretty(&hashes)?).as_bytes(),
    )?;
    let manifest = manifest(args, report, weights);
    put(MANIFEST_FILE, manifest.to_toml()?.as_bytes())?;
    put(CARD_FILE, card(args, clips, report, &manifest).as_bytes())
}

fn manifest(args: &AudioArgs, report: &AudioReport, weights: &[u8]) -> Manifest {
    let n = report.labels.len();
    let mut metrics = BTreeMap::from([("held_out.accuracy".to_owned(), round(report.accuracy))]);
    for (fold, figures) in &report.held_out {
        let name = format!("held_out.{}.accuracy", fold.replace(' ', "-"));
        metrics.insert(name, round(figures.accuracy));
    }
    let spec = |name: &str, shape: Vec<Dim>, description: &str| TensorSpec {
        name: name.to_owned(),
        dtype: "float32".to_owned(),
        shape,
        description: description.to_owned(),
    };
    let batch = || Dim::Named("N".to_owned());
    let fixed = |n: usize| Dim::Fixed(n as u64);
    let (task, description, limits, input) = match args.base {
        Base::Yamnet => (
            Task::SoundLabels,
            format!(
                "{n} sounds told apart by a logistic head on the mean and the highest of YAMNet's \
                 embeddings over a recording."
            ),
            "Knows its labels only and always names one of them: a sound that is none of them \
             scores like the nearest. Needs YAMNet to run.",
            spec(
                "pooled",
                vec![batch(), fixed(2048)],
                "mean, then highest, of YAMNet's embeddings over the windows that are not silent",
            ),
        ),
        Base::Cnn => (
            Task::SoundLabels,
            format!(
                "{n} sounds told apart by a convolutional network of {} blocks over log-mel \
                 windows of 2.6 s, {}, kernels in eight bits.",
                args.channels.len(),
                match args.teacher {
                    Some(Teacher::Yamnet) => "taught by YAMNet, which it does not need to run",
                    None => "trained from nothing",
                }
            ),
            "Knows its labels only and always names one of them: a sound that is none of them \
             scores like the nearest. Trained on few clips; YAMNet hears far more and hears it \
             better. It answers no category of the taxonomy that is not among its labels.",
            spec(
                "log_mel",
                vec![batch(), fixed(NET_FRAMES), fixed(YAMNET_BANDS)],
                "natural log of (mel magnitude + 0.001): 128 frames of 20 ms, 64 bands 125-7500 Hz, from 41040 samples at 16 kHz",
            ),
        ),
    };
    Manifest {
        name: args.model_name().to_owned(),
        version: args.model_version.clone(),
        task,
        licence: "Apache-2.0".to_owned(),
        description,
        limits: limits.to_owned(),
        importer: None,
        labels: report.labels.clone(),
        labels_file: None,
        metrics,
        thresholds: BTreeMap::new(),
        contract: Contract {
            inputs: vec![input],
            outputs: vec![spec(
                "scores",
                vec![batch(), fixed(n)],
                "shares of the labels, which sum to 1",
            )],
        },
        files: vec![FileSpec {
            path: args.base.weights_file().to_owned(),
            sha256: hex::encode(Sha256::digest(weights)),
            size: weights.len() as u64,
            platform: None,
        }],
        int8: None,
        sources: Vec::new(),
    }
}

fn card(args: &AudioArgs, clips: &Clips, report: &AudioReport, manifest: &Manifest) -> String {
    let mut out = model_card(manifest);
    // Writing to a string can't fail.
    let _ = sections(&mut out, args, clips, report);
    out
}

fn sections(
    out: &mut String,
    args: &AudioArgs,
    clips: &Clips,
    report: &AudioReport,
) -> std::fmt::Result {
    writeln!(out, "\n## How it was made\n")?;
    match args.base {
        Base::Yamnet => {
            let l2 = report.chosen.get("l2").copied().unwrap_or_default();
            let how = if args.l2.is_some() {
                "given"
            } else {
                "chosen by leaving out each training fold in turn"
            };
            writeln!(
                out,
                "`novastream-train audio --base yamnet`: multinomial logistic regression on \
                 standardised features, pull {l2} ({how})."
            )?;
        }
        Base::Cnn => {
            writeln!(
                out,
                "`novastream-train audio --base cnn` with seed {}: {} passes, {} clips a step, AdamW with a \
             rate of at most {:e} that falls along a cosine, pull {}, channels {:?}, dropout {}, {:.0} % of \
             the examples mixed with another clip. Examples are stretches at another time, pace, pitch, \
             loudness and colour, with noise, and with bands and moments left out. The last step's \
             network is what is judged and shipped: nothing was chosen on the held-out clips.",
                args.seed,
                args.epochs,
                args.batch,
                args.learning_rate,
                args.weight_decay,
                args.channels,
                args.dropout,
                100.0 * args.mixup,
            )?;
            if args.clean_norms {
                writeln!(
                    out,
                    "\nThe norms are averages over the training clips as they are judged."
                )?;
            }
            if args.heights {
                writeln!(
                    out,
                    "\nBeside the spectrum the first block sees a map of how high each band lies."
                )?;
            }
            if let Some(Teacher::Yamnet) = args.teacher {
                writeln!(
                    out,
                    "\nWhile it trained, one more layer said from the pooled features what YAMNet \
                     (Apache-2.0, by Google, as `novastream models pull yamnet` brings it) hears in \
                     the same stretch of the clip as it was recorded: the mean of its embeddings, \
                     standardised over the training clips. The mean square of what it got wrong \
                     counted {} times beside the loss by the labels. That layer is not part of the \
                     model, and YAMNet's weights are not in it.",
                    args.teacher_weight,
                )?;
            }
        }
    }
    let folds = if clips.named_folds {
        "Folds are the numbers that file names begin with."
    } else {
        "Folds follow from a hash of each file, so that copies fall into one."
    };
    let refit = if report.refit {
        "What ships was then fitted on all clips, so these figures are those of its siblings."
    } else {
        "What ships is what was judged."
    };
    writeln!(
        out,
        "\n`config.json`, `metrics.json` and `data.json` of the run hold every option, figure and hash."
    )?;
    if let Some(note) = &args.note {
        writeln!(out, "\n{}", note.trim())?;
    }
    writeln!(
        out,
        "\n## Held-out figures\n\n{folds} {refit}\n\n\
         | held out | clips | accuracy | mean average precision |\n|---|---|---|---|"
    )?;
    for (fold, f) in &report.held_out {
        writeln!(
            out,
            "| {fold} | {} | {:.4} | {:.4} |",
            f.n, f.accuracy, f.mean_average_precision
        )?;
    }
    writeln!(out, "\n| label | average precision |\n|---|---|")?;
    for label in &report.labels {
        let all: Vec<f64> = report
            .held_out
            .values()
            .filter_map(|f| f.average_precision.get(label).copied())
            .collect();
        let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
        writeln!(out, "| {label} | {mean:.4} |")?;
    }
    writeln!(
        out,
        "\n## Training data\n\n{} clips, {:.0} s of sound; SHA-256 over names and contents `{}`.",
        report.clips, report.seconds, report.data_sha256
    )
}

/// Four decimals: what the card shows.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_says_who_taught() {
        let of = |rest: &[&str]| {
            let args =
                AudioArgs::of(&[&["--base", "cnn", "--out", "o"][..], rest].concat()).unwrap();
            let clips = Clips {
                labels: vec!["a".to_owned(), "b".to_owned()],
                all: Vec::new(),
                named_folds: true,
            };
            let report = AudioReport {
                model: "m@0.1.0".to_owned(),
                base: Base::Cnn,
                labels: clips.labels.clone(),
                clips: 0,
                seconds: 0.0,
                data_sha256: clips.sha256(),
                held_out: BTreeMap::new(),
                accuracy: 0.5,
                refit: true,
                chosen: BTreeMap::new(),
                weights_bytes: 0,
                cpu_seconds: 0.0,
            };
            card(&args, &clips, &report, &manifest(&args, &report, b""))
        };
        let (plain, taught) = (
            of(&[]),
            of(&[
                "--heights",
                "--clean-norms",
                "--teacher",
                "yamnet",
                "--teacher-weight",
                "3",
            ]),
        );
        assert!(plain.contains("trained from nothing") && !plain.contains("taught"));
        assert!(!plain.contains("counted") && !plain.contains("high each band"));
        for words in [
            "taught by YAMNet",
            "counted 3 times",
            "how high each band lies",
            "as they are judged",
        ] {
            assert!(taught.contains(words), "{words}");
        }
        assert!(!taught.contains("from nothing"));
    }
}
