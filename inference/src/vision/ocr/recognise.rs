//! What a line says: PP-OCRv4's recogniser and greedy CTC decoding.

use std::sync::Arc;

use novastream_features::picture::RgbImage;
use rayon::prelude::*;

use super::{
    crop::{self, Source},
    geometry::RotatedRect,
};
use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Height of what the recogniser sees, in pixels.
const HEIGHT: usize = 48;
/// Widths are rounded up to a multiple of this, so that the engine meets few different shapes.
const BUCKET: usize = 32;
/// Shorter lines are padded: the network was trained on nothing narrower.
const NARROWEST: usize = 160;
/// Longer lines are squeezed: 25 times as wide as high.
pub(super) const WIDEST: usize = 1216;
/// A box this much higher than wide holds a line turned by 90°.
const STANDING: f32 = 1.5;

/// Reads lines.
pub(super) struct Recogniser {
    session: Arc<dyn Session>,
    input: String,
    output: String,
    /// Characters of classes 1 and up; class 0 is CTC's blank.
    characters: Vec<String>,
}

/// A line as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub text: String,
    /// Mean probability of the characters, 0 to 1.
    pub confidence: f32,
}

impl Recogniser {
    /// `dictionary` has one character a line, as PP-OCR's model files carry it under `character`;
    /// a space follows as the last class.
    pub(super) fn new(
        session: Arc<dyn Session>,
        input: String,
        output: String,
        dictionary: &str,
    ) -> Self {
        let mut characters: Vec<String> = dictionary.lines().map(str::to_owned).collect();
        characters.push(" ".to_owned());
        Self {
            session,
            input,
            output,
            characters,
        }
    }

    /// Reads each box, in order, on all threads of the pool.
    pub(super) fn read(
        &self,
        image: &RgbImage,
        boxes: &[RotatedRect],
    ) -> Result<Vec<Reading>, BackendError> {
        boxes.par_iter().map(|b| self.read_one(image, b)).collect()
    }

    fn read_one(&self, image: &RgbImage, rect: &RotatedRect) -> Result<Reading, BackendError> {
        let rect = lying(*rect);
        let width = network_width(&rect);
        let padded = width.max(NARROWEST).next_multiple_of(BUCKET);
        // Padding is the middle of the range, as in training.
        let mut values = vec![0.0f32; 3 * HEIGHT * padded];
        crop::sample(
            &Source::new(image),
            &rect,
            width,
            HEIGHT,
            padded,
            &mut values,
        );
        let shape = vec![1, 3, HEIGHT, padded];
        let mut outputs = self
            .session
            .run(vec![NamedTensor::f32(&self.input, shape, values)?])?;
        let (shape, scores) = take_f32(&mut outputs, &self.output)?;
        let classes = self.characters.len() + 1;
        if shape.len() != 3 || shape[0] != 1 || shape[2] != classes {
            return Err(BackendError::Tensor {
                name: self.output.clone(),
                message: format!("has the shape {shape:?} for {classes} classes"),
            });
        }
        Ok(self.decode(&scores))
    }

    /// Greedy CTC: the best class of each step; repeats and blanks drop out.
    fn decode(&self, scores: &[f32]) -> Reading {
        let classes = self.characters.len() + 1;
        let (mut text, mut sum, mut count) = (String::new(), 0.0f32, 0u32);
        let mut last = 0;
        for step in scores.chunks_exact(classes) {
            let (mut best, mut probability) = (0, f32::MIN);
            for (class, p) in step.iter().enumerate() {
                if *p > probability {
                    (best, probability) = (class, *p);
                }
            }
            if best != 0 && best != last {
                text.push_str(&self.characters[best - 1]);
                sum += probability;
                count += 1;
            }
            last = best;
        }
        Reading {
            text: text.trim().to_owned(),
            confidence: sum / count.max(1) as f32,
        }
    }
}

/// Width at which a box is shown to the network.
pub(super) fn network_width(rect: &RotatedRect) -> usize {
    let ratio = rect.width / rect.height.max(1.0);
    ((HEIGHT as f32 * ratio).ceil() as usize).clamp(8, WIDEST)
}

/// A standing box, turned by a quarter counter-clockwise so that it reads from left to right.
fn lying(rect: RotatedRect) -> RotatedRect {
    if rect.height < rect.width * STANDING {
        return rect;
    }
    RotatedRect {
        width: rect.height,
        height: rect.width,
        ux: -rect.uy,
        uy: rect.ux,
        ..rect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;
    impl Session for Nothing {
        fn run(&self, _: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
            Ok(vec![NamedTensor::f32("y", vec![1, 1, 2], vec![0.5, 0.5])?])
        }
        fn backend(&self) -> &'static str {
            "none"
        }
    }

    fn recogniser() -> Recogniser {
        Recogniser::new(Arc::new(Nothing), "x".into(), "y".into(), "a\nb\nc")
    }

    #[test]
    fn repeats_and_blanks_drop_out() {
        let one_hot = |class: usize| (0..5).map(move |i| if i == class { 0.8 } else { 0.05 });
        let steps = [0, 1, 1, 0, 1, 2, 2, 4, 3, 0];
        let scores: Vec<f32> = steps.into_iter().flat_map(one_hot).collect();
        let reading = recogniser().decode(&scores);
        assert_eq!(reading.text, "aab c");
        assert!((reading.confidence - 0.8).abs() < 1e-6);
        assert_eq!(recogniser().decode(&[]).text, "");
    }

    #[test]
    fn a_graph_with_other_classes_is_an_error() {
        let image = RgbImage {
            width: 100,
            height: 40,
            data: vec![0; 12000],
        };
        let rect = RotatedRect {
            cx: 50.0,
            cy: 20.0,
            width: 80.0,
            height: 20.0,
            ux: 1.0,
            uy: 0.0,
        };
        assert_eq!(
            recogniser().read(&image, &[rect]).unwrap_err().code(),
            "model_tensor"
        );
    }

    #[test]
    fn widths_follow_the_box() {
        let rect = |width, height| RotatedRect {
            cx: 0.0,
            cy: 0.0,
            width,
            height,
            ux: 1.0,
            uy: 0.0,
        };
        assert_eq!(network_width(&rect(200.0, 20.0)), 480);
        assert_eq!(network_width(&rect(1e6, 1.0)), WIDEST);
        let standing = lying(rect(20.0, 200.0));
        assert_eq!((standing.width, standing.height), (200.0, 20.0));
    }
}
