//! Clips in memory and the folds they fall into.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use novastream_datasets::folder::labelled_files;
use novastream_features::audio::SAMPLE_RATE;
use novastream_features::media::{CancelToken, MediaLimits, Sampling, read_segment};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{AudioArgs, AudioError, io};

/// File names that are taken for sound.
const EXTENSIONS: &[&str] = &["ogg", "wav", "flac", "mp3", "opus", "m4a"];
/// Folds where file names have none.
const HASHED_FOLDS: u32 = 5;

/// One clip.
#[derive(Clone, Debug)]
pub struct Clip {
    /// `LABEL/FILE`.
    pub name: String,
    /// Index into [`Clips::labels`].
    pub label: usize,
    /// Its fold.
    pub fold: u32,
    /// Of the file's bytes, hex.
    pub sha256: String,
    /// 16 kHz mono.
    pub samples: Vec<f32>,
}

/// Every clip of a folder.
#[derive(Clone, Debug)]
pub struct Clips {
    /// Names of the folders, sorted.
    pub labels: Vec<String>,
    /// By label, then by name.
    pub all: Vec<Clip>,
    /// Whether the folds are those of the file names.
    pub named_folds: bool,
}

/// Which clips are learned from and which are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// `fold 1`.
    pub name: String,
    /// Indices into [`Clips::all`].
    pub train: Vec<usize>,
    /// The same.
    pub judge: Vec<usize>,
}

impl Clips {
    /// Reads and decodes `dir/LABEL/FILE`. A clip that cannot be decoded is an error: a set with
    /// holes is another set.
    ///
    /// A clip's fold is the number that its name begins with, followed by `-` (`3-1234-A.ogg`),
    /// where all names do; otherwise it follows from a hash of the bytes, so that copies of a clip
    /// fall into one fold.
    pub fn read(dir: &Path) -> Result<Self, AudioError> {
        let files: Vec<_> = labelled_files(dir, EXTENSIONS)?
            .into_iter()
            .filter(|file| !file.label.is_empty())
            .collect();
        let labels: BTreeSet<&str> = files.iter().map(|f| f.label.as_str()).collect();
        let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
        if labels.len() < 2 {
            return Err(AudioError::NoClips(format!(
                "{} has {} folders with sound",
                dir.display(),
                labels.len()
            )));
        }
        let file_name = |path: &Path| {
            path.file_name()
                .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
        };
        let folds: Option<Vec<u32>> = files.iter().map(|f| fold_of(&file_name(&f.path))).collect();
        let named_folds = folds
            .as_ref()
            .is_some_and(|f| f.iter().collect::<BTreeSet<_>>().len() > 1);
        let mut all: Vec<Clip> = files
            .par_iter()
            .map(|file| {
                let bytes = std::fs::read(&file.path).map_err(io(&file.path))?;
                let digest = Sha256::digest(&bytes);
                Ok(Clip {
                    name: format!("{}/{}", file.label, file_name(&file.path)),
                    label: labels.binary_search(&file.label).unwrap_or_default(),
                    fold: u32::from(digest[0]) % HASHED_FOLDS + 1,
                    sha256: hex::encode(digest),
                    samples: decode(&file.path, bytes)?,
                })
            })
            .collect::<Result<_, AudioError>>()?;
        if let Some(folds) = folds.filter(|_| named_folds) {
            for (clip, fold) in all.iter_mut().zip(folds) {
                clip.fold = fold;
            }
        }
        Ok(Self {
            labels,
            all,
            named_folds,
        })
    }

    /// Seconds of sound.
    pub fn seconds(&self) -> f64 {
        let samples: usize = self.all.iter().map(|c| c.samples.len()).sum();
        samples as f64 / f64::from(SAMPLE_RATE)
    }

    /// One hash for names and contents.
    pub fn sha256(&self) -> String {
        let mut lines = String::new();
        for clip in &self.all {
            // Writing to a string can't fail.
            let _ = writeln!(lines, "{}  {}", clip.sha256, clip.name);
        }
        hex::encode(Sha256::digest(lines))
    }

    /// The splits that the options ask for, after leaving out the folds of `--without`, whose clips
    /// are dropped from every split.
    pub fn splits(&self, args: &AudioArgs) -> Result<Vec<Split>, AudioError> {
        let kept = |clip: &Clip| !args.without.contains(&clip.fold);
        let mut folds: BTreeMap<u32, usize> = BTreeMap::new();
        for clip in self.all.iter().filter(|c| kept(c)) {
            *folds.entry(clip.fold).or_default() += 1;
        }
        let known = || {
            let names: Vec<String> = folds.keys().map(u32::to_string).collect();
            names.join(", ")
        };
        if folds.len() < 2 {
            return Err(AudioError::NoClips(format!(
                "there is one fold only ({}), so nothing to judge by",
                known()
            )));
        }
        if !args.without.is_empty() && !args.no_refit {
            return Err(AudioError::Usage(
                "--without goes with --no-refit: what ships would be fitted on those clips"
                    .to_owned(),
            ));
        }
        let wanted: Vec<u32> = match args.held_out {
            Some(fold) if folds.contains_key(&fold) => vec![fold],
            Some(fold) => {
                let message = format!("--held-out {fold}: there are the folds {}", known());
                return Err(AudioError::Usage(message));
            }
            None if args.folds => folds.keys().copied().collect(),
            None => folds.keys().copied().take(1).collect(),
        };
        let split = |fold: u32| {
            let of = |inside: bool| {
                (0..self.all.len())
                    .filter(|i| kept(&self.all[*i]) && (self.all[*i].fold == fold) == inside)
                    .collect::<Vec<usize>>()
            };
            Split {
                name: format!("fold {fold}"),
                train: of(false),
                judge: of(true),
            }
        };
        Ok(wanted.into_iter().map(split).collect())
    }
}

/// `3-1234-A.ogg` → 3.
fn fold_of(name: &str) -> Option<u32> {
    let (fold, rest) = name.split_once('-')?;
    (!rest.is_empty()).then(|| fold.parse().ok()).flatten()
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<Vec<f32>, AudioError> {
    let clip = |message: String| AudioError::Clip {
        file: path.display().to_string(),
        message,
    };
    let limits = MediaLimits::default();
    let read = read_segment(
        bytes.into(),
        &Sampling::default(),
        &limits,
        &CancelToken::new(),
    );
    let (_, window) = read.map_err(|e| clip(e.to_string()))?;
    match window.audio {
        Some(audio) if !audio.samples.is_empty() => Ok(audio.samples),
        _ => Err(clip("it holds no sound that can be decoded".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(rest: &[&str]) -> AudioArgs {
        AudioArgs::of(&[&["--base", "cnn", "--out", "o"][..], rest].concat()).unwrap()
    }

    fn clips() -> Clips {
        let clip = |i: usize| Clip {
            name: format!("l/{i}"),
            label: i % 2,
            fold: i as u32 % 3 + 1,
            sha256: String::new(),
            samples: vec![0.0; 16],
        };
        Clips {
            labels: vec!["a".into(), "b".into()],
            all: (0..12).map(clip).collect(),
            named_folds: true,
        }
    }

    #[test]
    fn folds_are_read_off_file_names() {
        assert_eq!(fold_of("3-1234-A.ogg"), Some(3));
        assert_eq!(fold_of("dog-1.ogg"), None);
        assert_eq!(fold_of("12.ogg"), None);
    }

    #[test]
    fn what_is_judged_is_never_learned_from() {
        let clips = clips();
        let all = clips.splits(&args(&["--folds"])).unwrap();
        assert_eq!(all.len(), 3);
        let mut judged: Vec<usize> = Vec::new();
        for split in &all {
            assert!(split.train.iter().all(|i| !split.judge.contains(i)));
            assert_eq!(split.train.len() + split.judge.len(), 12);
            judged.extend(&split.judge);
        }
        judged.sort_unstable();
        assert_eq!(judged, (0..12).collect::<Vec<_>>());
        assert_eq!(clips.splits(&args(&[])).unwrap()[0].name, "fold 1");
        let inner = clips
            .splits(&args(&["--held-out", "2", "--without", "1", "--no-refit"]))
            .unwrap();
        assert_eq!((inner[0].train.len(), inner[0].judge.len()), (4, 4));
        assert!(inner[0].train.iter().all(|i| clips.all[*i].fold == 3));
        assert!(clips.splits(&args(&["--held-out", "9"])).is_err());
        assert!(clips.splits(&args(&["--without", "1"])).is_err());
    }
}
