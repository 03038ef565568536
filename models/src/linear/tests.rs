use proptest::prelude::*;

use super::*;

fn head(name: &str) -> Head {
    Head {
        name: name.to_owned(),
        step: 1.0,
        bias: -1.0,
        slope: 2.0,
        threshold: 0.25,
    }
}

fn small() -> LinearChatModel {
    let mut toxicity = vec![0.0; 256];
    let mut spam = vec![0.0; 256];
    toxicity[3] = 4.0;
    toxicity[255] = -2.0;
    spam[3] = 1.0;
    LinearChatModel::quantize(8, vec![head("toxicity"), head("spam")], &[toxicity, spam])
        .expect("model")
}

#[test]
fn scores_are_calibrated_weighted_sums() {
    let model = small();
    let mut out = Vec::new();
    model.logits(&[(3, 0.5), (255, 0.25), (256, 9.0)], &mut out);
    assert!(
        (out[0] - (4.0 * 0.5 - 2.0 * 0.25 - 1.0)).abs() < 0.02,
        "{out:?}"
    );
    assert!((out[1] - (0.5 - 1.0)).abs() < 0.01, "{out:?}");
    // 0.5 exactly where the logit is the threshold.
    model.score(&[(3, 1.25 / model.head_weight(0, 3))], &mut out);
    assert!((out[0] - 0.5).abs() < 1e-5, "{out:?}");
    model.score(&[], &mut out);
    assert!(out.iter().all(|p| *p > 0.0 && *p < 0.1));
}

#[test]
fn bytes_round_trip_and_are_stable() {
    let model = small();
    let bytes = model.to_bytes().expect("bytes");
    assert_eq!(bytes, model.to_bytes().expect("bytes"));
    assert_eq!(LinearChatModel::from_bytes(&bytes).expect("model"), model);
}

#[test]
fn folder_round_trip_checks_the_hash() {
    let dir = tempfile::tempdir().expect("dir");
    let model = small();
    let file = model.save(dir.path()).expect("save");
    let text = format!(
        "name = \"t\"\nversion = \"1.0.0\"\ntask = \"chat\"\nlicence = \"Apache-2.0\"\n\
         description = \"t\"\n[[files]]\npath = \"{}\"\nsha256 = \"{}\"\nsize = {}\n",
        file.path, file.sha256, file.size
    );
    std::fs::write(dir.path().join(MANIFEST_FILE), text).expect("manifest");
    assert_eq!(LinearChatModel::load(dir.path()).expect("load"), model);

    let path = dir.path().join(WEIGHTS_FILE);
    let mut bytes = std::fs::read(&path).expect("read");
    *bytes.last_mut().expect("byte") ^= 1;
    std::fs::write(&path, bytes).expect("write");
    assert_eq!(
        LinearChatModel::load(dir.path())
            .expect_err("corrupt")
            .code(),
        "model_corrupt"
    );
}

#[test]
fn missing_folder_is_an_error() {
    let error = LinearChatModel::load(Path::new("no-such-folder")).expect_err("missing");
    assert_eq!(error.code(), "manifest_unreadable");
}

#[test]
fn all_zero_weights_make_a_model() {
    let model = LinearChatModel::quantize(8, vec![head("spam")], &[vec![0.0; 256]]).expect("model");
    assert_eq!(model.non_zero(), 0);
    let bytes = model.to_bytes().expect("bytes");
    assert_eq!(LinearChatModel::from_bytes(&bytes).expect("model"), model);
}

#[test]
fn wrong_shapes_are_refused() {
    assert!(LinearChatModel::quantize(8, vec![head("spam")], &[vec![0.0; 255]]).is_err());
    assert!(LinearChatModel::quantize(8, vec![], &[]).is_err());
    assert!(LinearChatModel::quantize(30, vec![head("spam")], &[vec![]]).is_err());
}

impl LinearChatModel {
    fn head_weight(&self, head: usize, bucket: usize) -> f32 {
        f32::from(self.table[bucket * self.stride + head]) * self.heads[head].step
    }
}

proptest! {
    #[test]
    fn quantisation_error_is_within_half_a_step(weights in prop::collection::vec(-3.0_f32..3.0, 256)) {
        let model = LinearChatModel::quantize(8, vec![head("spam")], std::slice::from_ref(&weights))
            .expect("model");
        let step = model.heads()[0].step;
        for (bucket, weight) in weights.iter().enumerate() {
            let clipped = weight.clamp(-127.0 * step, 127.0 * step);
            prop_assert!((clipped - model.head_weight(0, bucket)).abs() <= 0.501 * step);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(LinearChatModel::from_bytes(&bytes).is_err());
    }

    #[test]
    fn damage_never_panics(at in 0_usize..200, with in any::<u8>()) {
        let mut bytes = small().to_bytes().expect("bytes");
        let at = at % bytes.len();
        bytes[at] = with;
        // Either refused or a model; both are fine, the manifest's hash decides in production.
        if let Ok(model) = LinearChatModel::from_bytes(&bytes) {
            prop_assert_eq!(model.heads().len(), 2);
        }
    }
}
