//! The NSFW screen: one frame, five classes, one score.

use std::sync::Arc;

use novastream_features::picture::{RgbImage, resize_bilinear_align_corners};

use crate::backend::{BackendError, NamedTensor, Session, take_f32};

/// Side of the network's input in pixels.
const SIDE: u32 = 224;
/// Classes that make up the sexual score. `sexy` (clothed) does not count, and `drawing` is calm.
const SEXUAL: [&str; 2] = ["hentai", "porn"];

/// The classifier with its labels resolved.
pub(crate) struct NsfwModel {
    session: Arc<dyn Session>,
    input: String,
    output: String,
    sexual: Vec<(usize, String)>,
    classes: usize,
    /// `name@version`, for evidence.
    pub id: String,
}

/// The score of one frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NsfwScore {
    /// P(Hentai) + P(Porn), 0 to 1.
    pub sexual: f32,
    /// The likelier of the two.
    pub label: String,
    /// Its own probability.
    pub label_score: f32,
}

impl NsfwModel {
    /// # Errors
    /// [`BackendError::Tensor`] if `labels` lack a class that the score is made of.
    pub(crate) fn new(
        session: Arc<dyn Session>,
        input: String,
        output: String,
        labels: &[String],
        id: String,
    ) -> Result<Self, BackendError> {
        let sexual = SEXUAL
            .iter()
            .map(|wanted| {
                let at = labels.iter().position(|l| l.eq_ignore_ascii_case(wanted));
                at.map(|i| (i, (*wanted).to_owned()))
                    .ok_or_else(|| BackendError::Tensor {
                        name: output.clone(),
                        message: format!("the labels {labels:?} lack `{wanted}`"),
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            session,
            input,
            output,
            sexual,
            classes: labels.len(),
            id,
        })
    }

    /// Scores one frame.
    pub(crate) fn score(&self, image: &RgbImage) -> Result<NsfwScore, BackendError> {
        let side = SIDE as usize;
        let mut pixels = Vec::with_capacity(side * side * 3);
        resize_bilinear_align_corners(image, SIDE, SIDE, &mut pixels, 1.0 / 255.0);
        let input = NamedTensor::f32(&self.input, vec![1, side, side, 3], pixels)?;
        let mut outputs = self.session.run(vec![input])?;
        let (shape, shares) = take_f32(&mut outputs, &self.output)?;
        if shape != [1, self.classes] {
            return Err(BackendError::Tensor {
                name: self.output.clone(),
                message: format!("has the shape {shape:?} for {} classes", self.classes),
            });
        }
        let mut score = NsfwScore {
            sexual: 0.0,
            label: String::new(),
            label_score: f32::MIN,
        };
        for (i, label) in &self.sexual {
            score.sexual += shares[*i];
            if shares[*i] > score.label_score {
                (score.label_score, score.label) = (shares[*i], label.clone());
            }
        }
        score.sexual = score.sexual.clamp(0.0, 1.0);
        Ok(score)
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

    fn model(labels: [&str; 5]) -> Result<NsfwModel, BackendError> {
        let labels: Vec<String> = labels.map(str::to_owned).to_vec();
        NsfwModel::new(
            Arc::new(Fixed),
            "x".into(),
            "probabilities".into(),
            &labels,
            "m@1".into(),
        )
    }

    #[test]
    fn the_two_explicit_classes_add_up() {
        let model = model(["Drawing", "Hentai", "Neutral", "Porn", "Sexy"]).unwrap();
        let image = RgbImage {
            width: 64,
            height: 48,
            data: vec![128; 64 * 48 * 3],
        };
        let score = model.score(&image).unwrap();
        assert!((score.sexual - 0.6).abs() < 1e-6);
        assert_eq!((score.label.as_str(), score.label_score), ("porn", 0.4));
    }

    #[test]
    fn labels_must_hold_the_classes() {
        assert!(model(["a", "b", "c", "d", "e"]).is_err());
    }
}
