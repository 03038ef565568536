//! A logistic head on YAMNet's embeddings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use novastream_features::audio::{
    LogMel, YAMNET_BANDS, YAMNET_FRAMES, YAMNET_HOP, YAMNET_WINDOW, loud_spans,
};
use novastream_models::candle_graph::CandleGraph;
use novastream_models::catalog::catalog_entry;
use novastream_models::import::MODEL_FILE;
use novastream_models::sound::{SoundHead, pool};
use novastream_models::store::{ArtifactStore, StoreError};
use rayon::prelude::*;

use super::clips::{Clip, Clips};
use super::figures::highest;
use super::logistic::Problem;
use super::{AudioArgs, AudioError, Fitted};
use crate::chat::export::RunLog;

/// The catalogue's name of the network below the head.
pub const BASE: &str = "yamnet";
/// Pulls that are tried, weakest first.
const PULLS: [f64; 6] = [0.1, 1.0, 10.0, 30.0, 100.0, 300.0];
/// Added to deviations, so that an embedding that never fires is no feature.
const SMALL: f32 = 0.05;

/// Clips as pooled embeddings.
pub struct HeadTrainer<'a> {
    clips: &'a Clips,
    l2: Option<f64>,
    pooled: Vec<Vec<f32>>,
}

impl<'a> HeadTrainer<'a> {
    /// Runs YAMNet over all clips.
    pub fn new(args: &AudioArgs, clips: &'a Clips, log: &mut RunLog) -> Result<Self, AudioError> {
        let (id, graph) = base(log)?;
        let mel = LogMel::yamnet();
        log.line(&format!("running {id} over the clips"))?;
        let pooled = clips
            .all
            .par_iter()
            .map(|clip| embed(&graph, &mel, clip))
            .collect::<Result<_, AudioError>>()?;
        Ok(Self {
            clips,
            l2: args.l2,
            pooled,
        })
    }

    /// Fits a head; the pull is the one that does best when each fold of `train` is left out in
    /// turn.
    pub fn fit(&self, train: &[usize], log: &mut RunLog) -> Result<Fitted, AudioError> {
        let l2 = if let Some(l2) = self.l2 {
            l2
        } else {
            let l2 = self.choose(train)?;
            log.line(&format!("pull chosen on the training folds: {l2}"))?;
            l2
        };
        let head = self.head(train, l2)?;
        Ok(Fitted {
            weights: head.to_bytes()?,
            chosen: BTreeMap::from([("l2".to_owned(), l2)]),
        })
    }

    fn choose(&self, train: &[usize]) -> Result<f64, AudioError> {
        let folds: BTreeSet<u32> = train.iter().map(|i| self.clips.all[*i].fold).collect();
        if folds.len() < 2 {
            return Ok(PULLS[2]);
        }
        let of = |fold: u32, inside: bool| -> Vec<usize> {
            let inner = train.iter().copied();
            inner
                .filter(|i| (self.clips.all[*i].fold == fold) == inside)
                .collect()
        };
        let losses: Vec<f64> = PULLS
            .par_iter()
            .map(|l2| {
                let mut loss = 0.0;
                for fold in &folds {
                    let head = self.head(&of(*fold, false), *l2)?;
                    for i in of(*fold, true) {
                        let scores = head.scores(&self.pooled[i]);
                        let own = scores[self.clips.all[i].label];
                        // Mistakes first, then how sure it was.
                        let wrong = highest(&scores) != Some(self.clips.all[i].label);
                        loss += f64::from(u8::from(wrong)) - 0.1 * f64::from(own.max(1e-6)).ln();
                    }
                }
                Ok::<f64, AudioError>(loss)
            })
            .collect::<Result<_, _>>()?;
        let best = PULLS.iter().zip(&losses).min_by(|a, b| a.1.total_cmp(b.1));
        Ok(best.map_or(PULLS[2], |(l2, _)| *l2))
    }

    fn head(&self, train: &[usize], l2: f64) -> Result<SoundHead, AudioError> {
        let width = self.pooled.first().map_or(0, Vec::len);
        let n = train.len().max(1) as f32;
        let mut mean = vec![0.0_f32; width];
        let mut deviation = vec![0.0_f32; width];
        for i in train {
            for (mean, x) in mean.iter_mut().zip(&self.pooled[*i]) {
                *mean += x / n;
            }
        }
        for i in train {
            let row = self.pooled[*i].iter().zip(&mean);
            for (deviation, (x, mean)) in deviation.iter_mut().zip(row) {
                *deviation += (x - mean) * (x - mean) / n;
            }
        }
        let scale: Vec<f32> = deviation.iter().map(|v| 1.0 / (v.sqrt() + SMALL)).collect();
        let rows: Vec<Vec<f32>> = train
            .iter()
            .map(|i| {
                let row = self.pooled[*i].iter().zip(mean.iter().zip(&scale));
                row.map(|(x, (mean, scale))| (x - mean) * scale).collect()
            })
            .collect();
        let problem = Problem {
            rows: rows.iter().map(Vec::as_slice).collect(),
            classes: train.iter().map(|i| self.clips.all[*i].label).collect(),
            labels: self.clips.labels.len(),
        };
        let fitted = problem.fit(l2, None);
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for row in fitted.chunks_exact(width + 1) {
            let folded: Vec<f32> = row.iter().zip(&scale).map(|(w, s)| *w as f32 * s).collect();
            let shift: f32 = folded.iter().zip(&mean).map(|(w, m)| w * m).sum();
            bias.push(row[width] as f32 - shift);
            weights.extend(folded);
        }
        Ok(SoundHead::new(self.clips.labels.clone(), weights, bias)?)
    }

    /// Scores by label of the clips `judge`.
    pub fn scores(&self, weights: &[u8], judge: &[usize]) -> Result<Vec<Vec<f32>>, AudioError> {
        let head = SoundHead::from_bytes(weights)?;
        Ok(judge
            .iter()
            .map(|i| head.scores(&self.pooled[*i]))
            .collect())
    }
}

/// YAMNet's `name@version` and graph; pulled where it is missing.
pub(super) fn base(log: &mut RunLog) -> Result<(String, CandleGraph), AudioError> {
    let missing = |message: String| AudioError::NoBase(message);
    let entry = catalog_entry(BASE).ok_or_else(|| missing("no such model".to_owned()))?;
    let store = ArtifactStore::from_env();
    let bytes = match store.read(&entry, MODEL_FILE) {
        Err(StoreError::NotPulled { .. }) => {
            log.line(&format!("pulling {}", entry.id()))?;
            store
                .pull(&entry, &mut |_| {})
                .and_then(|_| store.read(&entry, MODEL_FILE))
        }
        known => known,
    };
    let bytes = bytes.map_err(|e| missing(e.to_string()))?;
    Ok((entry.id(), CandleGraph::load(&bytes)?))
}

/// Width of an embedding, and YAMNet's embeddings of the windows `spans`, one after the other.
pub(super) fn embeddings(
    graph: &CandleGraph,
    mel: &LogMel,
    samples: &[f32],
    spans: &[Range<usize>],
) -> Result<(usize, Vec<f32>), AudioError> {
    let mut values = Vec::with_capacity(spans.len() * YAMNET_FRAMES * YAMNET_BANDS);
    for span in spans {
        mel.window(&samples[span.clone()], &mut values);
    }
    let shape = vec![spans.len(), YAMNET_FRAMES, YAMNET_BANDS];
    let outputs = graph.run(vec![("log_mel".to_owned(), shape, values)])?;
    let embeddings = outputs.into_iter().find(|(name, ..)| name == "embeddings");
    let Some((_, shape, embeddings)) = embeddings else {
        return Err(AudioError::NoBase("the graph has no embeddings".to_owned()));
    };
    Ok((shape.last().copied().unwrap_or(1), embeddings))
}

/// Mean and highest of YAMNet's embeddings over the windows that are not silent.
fn embed(graph: &CandleGraph, mel: &LogMel, clip: &Clip) -> Result<Vec<f32>, AudioError> {
    let spans = loud_spans(&clip.samples, YAMNET_WINDOW, YAMNET_HOP);
    let (width, embeddings) = embeddings(graph, mel, &clip.samples, &spans)?;
    Ok(pool(&embeddings, width))
}
