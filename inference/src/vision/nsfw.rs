//! The sexual-content screen: five classes of a frame, and pooled features for heads on top.

use std::sync::Arc;

use novastream_features::picture::{RgbImage, resize_bilinear_align_corners};
use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Side of the networks' input in pixels.
pub(super) const SIDE: usize = 224;
/// Name of the graphs' second output.
const FEATURES: &str = "features";

/// A frame as the networks want it: `SIDE` × `SIDE` × RGB, 0 to 1.
pub(super) type Pixels = Vec<f32>;

/// The frame resized as TensorFlow would.
pub(super) fn pixels(image: &RgbImage) -> Pixels {
    let side = SIDE as u32;
    let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
    resize_bilinear_align_corners(image, side, side, &mut pixels, 1.0 / 255.0);
    pixels
}

/// The same frame seen in a mirror.
pub(super) fn mirrored(pixels: &[f32]) -> Pixels {
    let mut out = Vec::with_capacity(pixels.len());
    for row in pixels.as_chunks::<{ SIDE * 3 }>().0 {
        for pixel in row.as_chunks::<3>().0.iter().rev() {
            out.extend_from_slice(pixel);
        }
    }
    out
}

/// The classes that count, of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shares {
    /// P(Porn): photographs.
    pub porn: f32,
    /// P(Hentai): drawings.
    pub hentai: f32,
}

impl Shares {
    /// P(Porn) and as much of P(Hentai) as `drawn` says, 0 to 1.
    pub(crate) fn sexual(self, drawn: f32) -> f32 {
        (self.porn + drawn * self.hentai).clamp(0.0, 1.0)
    }

    /// The likelier class and its share.
    pub(crate) fn label(self) -> (&'static str, f32) {
        if self.porn > self.hentai {
            ("porn", self.porn)
        } else {
            ("hentai", self.hentai)
        }
    }

    pub(super) fn mean(self, other: Self) -> Self {
        Self {
            porn: f32::midpoint(self.porn, other.porn),
            hentai: f32::midpoint(self.hentai, other.hentai),
        }
    }
}

/// What one network says of one frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub shares: Shares,
    /// Pooled last convolution; empty where the graph has no such output.
    pub features: Vec<f32>,
}

/// One of the two networks, with its labels resolved. `sexy` (clothed) does not count, and
/// `drawing` is calm.
pub(crate) struct Network {
    session: Arc<dyn Session>,
    input: String,
    output: String,
    porn: usize,
    hentai: usize,
    classes: usize,
    /// `name@version`, for evidence.
    pub id: String,
}

impl Network {
    /// # Errors
    /// [`BackendError::Tensor`] if `labels` lack a class that the score is made of.
    pub(crate) fn new(
        session: Arc<dyn Session>,
        input: String,
        output: String,
        labels: &[String],
        id: String,
    ) -> Result<Self, BackendError> {
        let find = |wanted: &str| {
            let at = labels.iter().position(|l| l.eq_ignore_ascii_case(wanted));
            at.ok_or_else(|| BackendError::Tensor {
                name: output.clone(),
                message: format!("the labels {labels:?} lack `{wanted}`"),
            })
        };
        Ok(Self {
            porn: find("porn")?,
            hentai: find("hentai")?,
            session,
            input,
            output,
            classes: labels.len(),
            id,
        })
    }

    /// Looks at one frame.
    pub(super) fn see(&self, pixels: Pixels) -> Result<Seen, BackendError> {
        let input = NamedTensor::f32(&self.input, vec![1, SIDE, SIDE, 3], pixels)?;
        let mut outputs = self.session.run(vec![input])?;
        let (shape, shares) = take_f32(&mut outputs, &self.output)?;
        if shape != [1, self.classes] {
            return Err(BackendError::Tensor {
                name: self.output.clone(),
                message: format!("has the shape {shape:?} for {} classes", self.classes),
            });
        }
        let features = if outputs.iter().any(|o| o.name == FEATURES) {
            take_f32(&mut outputs, FEATURES)?.1
        } else {
            Vec::new()
        };
        Ok(Seen {
            shares: Shares {
                porn: shares[self.porn],
                hentai: shares[self.hentai],
            },
            features,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Session for Fixed {
        fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
            assert_eq!(inputs[0].tensor.shape, [1, 224, 224, 3]);
            let shares = vec![0.1, 0.2, 0.2, 0.4, 0.1];
            Ok(vec![NamedTensor::f32("probabilities", vec![1, 5], shares)?])
        }
        fn backend(&self) -> &'static str {
            "fixed"
        }
    }

    fn network(labels: [&str; 5]) -> Result<Network, BackendError> {
        let labels: Vec<String> = labels.map(str::to_owned).to_vec();
        Network::new(
            Arc::new(Fixed),
            "x".into(),
            "probabilities".into(),
            &labels,
            "m@1".into(),
        )
    }

    #[test]
    fn the_policy_says_how_much_a_drawing_counts() {
        let network = network(["Drawing", "Hentai", "Neutral", "Porn", "Sexy"]).unwrap();
        let image = RgbImage {
            width: 64,
            height: 48,
            data: vec![128; 64 * 48 * 3],
        };
        let seen = network.see(pixels(&image)).unwrap();
        for (drawn, score) in [(1.0, 0.6), (0.5, 0.5), (0.0, 0.4)] {
            assert!((seen.shares.sexual(drawn) - score).abs() < 1e-6);
        }
        assert_eq!(seen.shares.label(), ("porn", 0.4));
        assert!(seen.features.is_empty());
    }

    #[test]
    fn labels_must_hold_the_classes() {
        assert!(network(["a", "b", "c", "d", "e"]).is_err());
    }

    #[test]
    fn a_mirror_turns_rows_and_keeps_colours() {
        let mut image = vec![0.0; SIDE * SIDE * 3];
        image[SIDE * 3..SIDE * 3 + 3].copy_from_slice(&[0.1, 0.2, 0.3]);
        let turned = mirrored(&image);
        assert_eq!(turned[2 * SIDE * 3 - 3..2 * SIDE * 3], [0.1, 0.2, 0.3]);
        assert_eq!(mirrored(&turned), image);
    }
}
