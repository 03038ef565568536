//! A head of one's own: a model folder in the zoo and one line of the policy.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use novastream_features::picture::RgbImage;
use novastream_inference::{
    Category, ImageOptions, ModelState, Moderator, ModeratorConfig, Outcome, Policy, Status,
};
use novastream_models::frame_heads::{FrameHead, FrameHeads, Weights};
use novastream_models::manifest::{MANIFEST_FILE, Manifest};

/// A head that finds everything: no features count, only the biases.
fn write_head(zoo: &std::path::Path) {
    let dir = zoo.join("frames-anything/0.1.0");
    std::fs::create_dir_all(&dir).unwrap();
    let heads = FrameHeads {
        small: 1280,
        large: 1792,
        heads: vec![FrameHead {
            name: "anything".into(),
            screen: Weights {
                weights: vec![0.0; 1280],
                bias: 1.0,
            },
            gate: 0.0,
            floor: -3.0,
            joint: Weights {
                weights: vec![0.0; 1280 + 1792],
                bias: 2.0,
            },
        }],
    };
    let mut manifest = Manifest::from_toml(
        "name = \"frames-anything\"\nversion = \"0.1.0\"\ntask = \"frame-heads\"\n\
         licence = \"Apache-2.0\"\ndescription = \"d\"\nlabels = [\"anything\"]\n",
        "test",
    )
    .unwrap();
    manifest.files.push(heads.save(&dir).unwrap());
    std::fs::write(dir.join(MANIFEST_FILE), manifest.to_toml().unwrap()).unwrap();
}

#[test]
fn a_model_folder_and_one_policy_line_make_a_category() {
    if std::env::var_os("NOVASTREAM_MODELS").is_none() {
        println!("skipped: NOVASTREAM_MODELS not present");
        return;
    }
    let zoo = tempfile::tempdir().unwrap();
    write_head(zoo.path());
    let config = ModeratorConfig {
        zoo: zoo.path().to_owned(),
        ..ModeratorConfig::from_env().unwrap()
    };
    let moderator = Moderator::load(config).unwrap();
    let ready = |name: &str| {
        let models = moderator.models();
        models
            .iter()
            .any(|m| m.name == name && m.state == ModelState::Ready)
    };
    if !ready("nsfw-mobilenet-v2") || !ready("nsfw-mobilenet-v2-mid") {
        println!("skipped: nsfw-mobilenet-v2 and nsfw-mobilenet-v2-mid not present");
        return;
    }
    assert!(ready("frames-anything"));
    let picture = RgbImage::new(64, 64, vec![90; 64 * 64 * 3]).unwrap();
    let jpeg = picture.encode_jpeg(90).unwrap();

    // The built-in policy does not name the head: nothing changes.
    let verdict = moderator.image(&jpeg, &ImageOptions::default()).unwrap();
    assert_eq!(
        verdict.categories[&Category::Illicit].status,
        Status::NotEvaluated
    );

    let text = Policy::builtin().unwrap().to_toml().unwrap();
    let line = "[heads]\nanything = \"illicit\"\n";
    let policy = Policy::from_toml(&text.replacen("[heads]\n", line, 1)).unwrap();
    let options = ImageOptions {
        policy: Some(policy.into()),
        ..ImageOptions::default()
    };
    let verdict = moderator.image(&jpeg, &options).unwrap();
    let found = &verdict.categories[&Category::Illicit];
    assert!((found.score.unwrap() - 0.880_797).abs() < 1e-3, "{found:?}");
    assert_eq!(found.outcome, Outcome::None, "review starts at 0.9");
    let scores = moderator.frame_scores(&picture).unwrap();
    assert!((scores.heads["anything"] - 0.880_797).abs() < 1e-3);
}
