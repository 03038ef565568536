//! One frame through both networks and the heads on top of them: the small network on every frame,
//! the large one where something was suspicious.

use novastream_features::picture::RgbImage;
use novastream_models::frame_heads::{FrameHead, Screened};
use serde::{Deserialize, Serialize};

use super::nsfw::{Network, Seen, Shares, mirrored, pixels};
use crate::backend::BackendError;

/// From this screen score on the large network is asked. Below every threshold that a policy would
/// set: the confirmed score is never above the screen's, so nothing changes for what lies below.
const SUSPECT: f32 = 0.2;

/// A head and where it comes from.
pub(crate) struct LoadedHead {
    pub head: FrameHead,
    /// `name@version` of its model.
    pub model: String,
}

/// The networks, and heads that were trained on their features.
pub(crate) struct FrameModel {
    pub screen: Network,
    /// Confirms suspects; or why it is missing.
    pub confirm: Result<Network, String>,
    pub heads: Vec<LoadedHead>,
}

/// What was seen on one frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FrameScore {
    /// The small network alone.
    pub screened: Shares,
    /// The small network over the frame and its mirror image, where it was suspicious.
    pub again: Option<Shares>,
    /// The large network over both, where the small one was suspicious.
    pub confirmed: Option<Shares>,
    /// Heads by their place in [`FrameModel::heads`], with their calibrated scores.
    pub heads: Vec<(usize, f32)>,
    /// A suspect that nobody could confirm.
    pub unconfirmed: bool,
}

impl FrameScore {
    /// The screen's own score.
    pub(crate) fn suspicion(&self, drawn: f32) -> f32 {
        self.screened.sexual(drawn)
    }

    /// The score that counts: what both networks agree on, where both were asked.
    pub(crate) fn sexual(&self, drawn: f32) -> f32 {
        match (self.again, self.confirmed) {
            (Some(again), Some(confirmed)) => again.sexual(drawn).min(confirmed.sexual(drawn)),
            _ => self.suspicion(drawn),
        }
    }

    /// The likelier class and its share, of the network that looked last.
    pub(crate) fn label(&self) -> (&'static str, f32) {
        self.confirmed.unwrap_or(self.screened).label()
    }
}

impl FrameModel {
    /// Names everything that a score of the heads that `wanted` names comes from.
    pub(crate) fn names(&self, wanted: impl Fn(&str) -> bool) -> String {
        let confirm = self.confirm.as_ref().map_or("-", |network| &network.id);
        let mut names = format!("{} {confirm}", self.screen.id);
        for (i, loaded) in self.heads.iter().enumerate() {
            if wanted(&loaded.head.name) {
                names.push_str(&format!(" {i}:{}:{}", loaded.head.name, loaded.model));
            }
        }
        names
    }

    /// Looks at one frame. Only the heads that `wanted` names are asked.
    pub(crate) fn score(
        &self,
        image: &RgbImage,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<FrameScore, BackendError> {
        let pixels = pixels(image);
        let small = self.screen.see(pixels.clone())?;
        let suspect = small.shares.sexual(1.0) >= SUSPECT;
        let mut score = FrameScore {
            screened: small.shares,
            ..FrameScore::default()
        };
        let mut suspects = Vec::new();
        for (i, loaded) in self.heads.iter().enumerate() {
            if !wanted(&loaded.head.name) {
                continue;
            }
            match self.fitting(loaded, &small)?.screen(&small.features) {
                Screened::Clear(clear) => score.heads.push((i, clear)),
                Screened::Suspect => suspects.push(i),
            }
        }
        if !suspect && suspects.is_empty() {
            return Ok(score);
        }
        let Ok(confirm) = &self.confirm else {
            score.unconfirmed = true;
            return Ok(score);
        };
        let mirror = suspect.then(|| mirrored(&pixels));
        let large = confirm.see(pixels)?;
        for i in suspects {
            let head = &self.heads[i].head;
            if head.joint.weights.len() != small.features.len() + large.features.len() {
                return Err(
                    self.misfit(&self.heads[i], small.features.len() + large.features.len())
                );
            }
            score
                .heads
                .push((i, head.confirm(&small.features, &large.features)));
        }
        if let Some(mirror) = mirror {
            let again = self.screen.see(mirror.clone())?;
            let confirmed = confirm.see(mirror)?;
            score.again = Some(small.shares.mean(again.shares));
            score.confirmed = Some(large.shares.mean(confirmed.shares));
        }
        Ok(score)
    }

    fn fitting<'a>(
        &self,
        loaded: &'a LoadedHead,
        small: &Seen,
    ) -> Result<&'a FrameHead, BackendError> {
        if loaded.head.screen.weights.len() == small.features.len() {
            Ok(&loaded.head)
        } else {
            Err(self.misfit(loaded, small.features.len()))
        }
    }

    fn misfit(&self, loaded: &LoadedHead, features: usize) -> BackendError {
        BackendError::Tensor {
            name: "features".to_owned(),
            message: format!(
                "{} of {} was trained on other features than the {features} of {}",
                loaded.head.name, loaded.model, self.screen.id
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use novastream_models::frame_heads::Weights;

    use super::*;
    use crate::backend::{NamedTensor, Session, TensorData};

    /// Explicit as far as the top left pixel is red; its features are that pixel's red and green.
    #[derive(Default)]
    struct Fake(AtomicUsize);
    impl Session for Fake {
        fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let TensorData::F32(pixels) = &inputs[0].tensor.data else {
                panic!("floats expected")
            };
            let (red, green) = (pixels[0], pixels[1]);
            Ok(vec![
                NamedTensor::f32("p", vec![1, 3], vec![1.0 - red, 0.0, red])?,
                NamedTensor::f32("features", vec![1, 2], vec![red, green])?,
            ])
        }
        fn backend(&self) -> &'static str {
            "fake"
        }
    }

    fn network(session: &Arc<Fake>) -> Network {
        let labels = ["neutral", "hentai", "porn"].map(str::to_owned);
        let session = session.clone();
        Network::new(session, "x".into(), "p".into(), &labels, "n@1".into()).unwrap()
    }

    fn head(gate: f32) -> LoadedHead {
        LoadedHead {
            model: "h@1".into(),
            head: FrameHead {
                name: "green".into(),
                screen: Weights {
                    weights: vec![0.0, 1.0],
                    bias: 0.0,
                },
                gate,
                floor: -4.0,
                joint: Weights {
                    weights: vec![0.0, 0.0, 0.0, 2.0],
                    bias: 0.0,
                },
            },
        }
    }

    /// `left` and `right` half of a picture in (red, green).
    fn picture(left: [u8; 2], right: [u8; 2]) -> RgbImage {
        let row = (0..224).map(|x| if x < 112 { left } else { right });
        let row: Vec<u8> = row.flat_map(|[r, g]| [r, g, 0]).collect();
        RgbImage::new(224, 224, row.repeat(224)).unwrap()
    }

    #[test]
    fn a_calm_frame_costs_one_run_of_the_small_network() {
        let (small, large) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let model = FrameModel {
            screen: network(&small),
            confirm: Ok(network(&large)),
            heads: vec![head(0.5)],
        };
        let score = model.score(&picture([10, 10], [10, 10]), |_| true).unwrap();
        assert_eq!(
            (
                small.0.load(Ordering::SeqCst),
                large.0.load(Ordering::SeqCst)
            ),
            (1, 0)
        );
        assert!(score.confirmed.is_none() && score.sexual(1.0) < 0.1);
        assert!(score.heads[0].1 < 0.02, "{score:?}");
    }

    #[test]
    fn a_suspect_is_looked_at_again_in_a_mirror_by_both() {
        let (small, large) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let model = FrameModel {
            screen: network(&small),
            confirm: Ok(network(&large)),
            heads: vec![head(0.5)],
        };
        let score = model.score(&picture([255, 0], [51, 0]), |_| true).unwrap();
        assert_eq!(
            (
                small.0.load(Ordering::SeqCst),
                large.0.load(Ordering::SeqCst)
            ),
            (2, 2)
        );
        assert_eq!(score.suspicion(1.0), 1.0);
        assert!((score.sexual(1.0) - 0.6).abs() < 1e-6, "{score:?}");
    }

    #[test]
    fn a_head_asks_the_large_network_only_above_its_gate() {
        let (small, large) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
        let model = FrameModel {
            screen: network(&small),
            confirm: Ok(network(&large)),
            heads: vec![head(0.5)],
        };
        let score = model.score(&picture([0, 255], [0, 255]), |_| true).unwrap();
        assert_eq!(
            (
                small.0.load(Ordering::SeqCst),
                large.0.load(Ordering::SeqCst)
            ),
            (1, 1)
        );
        assert!((score.heads[0].1 - 1.0 / (1.0 + (-2.0_f32).exp())).abs() < 1e-6);
        let nobody = model
            .score(&picture([0, 255], [0, 255]), |_| false)
            .unwrap();
        assert!(nobody.heads.is_empty());
    }

    #[test]
    fn a_suspect_without_the_large_network_says_so() {
        let model = FrameModel {
            screen: network(&Arc::new(Fake::default())),
            confirm: Err("not pulled".into()),
            heads: Vec::new(),
        };
        let calm = model.score(&picture([10, 0], [10, 0]), |_| true).unwrap();
        assert!(!calm.unconfirmed);
        let suspect = model.score(&picture([200, 0], [200, 0]), |_| true).unwrap();
        assert!(suspect.unconfirmed && suspect.sexual(1.0) > 0.7);
    }

    #[test]
    fn a_head_of_other_features_is_an_error() {
        let mut wrong = head(0.0);
        wrong.head.screen.weights.push(1.0);
        let model = FrameModel {
            screen: network(&Arc::new(Fake::default())),
            confirm: Ok(network(&Arc::new(Fake::default()))),
            heads: vec![wrong],
        };
        assert!(model.score(&picture([0, 0], [0, 0]), |_| true).is_err());
    }
}
