//! Versions of the chat models that come and go while messages are judged.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod tiny;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use novastream_inference::engine::ServedModel;
use novastream_inference::registry::{RegistryConfig, write_golden};
use novastream_inference::{
    BackendChoice, Category, ModelState, ModelStatus, Moderator, ModeratorConfig, TextItem, Verdict,
};
use novastream_models::aliases::{AliasError, Aliases};
use novastream_models::store::ArtifactStore;

const LINEAR: &str = "chat-linear";
const ENCODER: &str = "chat-minilm";

const MESSAGES: [&str; 4] = [
    "can someone explain the new patch to me please",
    "first time here, love the stream",
    "that was a very good game, thanks for the stream everyone",
    "hello everyone, see you all tomorrow",
];

struct Scene {
    dir: tempfile::TempDir,
    moderator: Moderator,
}

/// Two versions of both models, told apart by their scores; 1.0.0 is production.
fn scene(config: RegistryConfig) -> Scene {
    scene_with(config, true)
}

fn scene_with(config: RegistryConfig, golden: bool) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let zoo = dir.path().join("zoo");
    tiny::put_linear(&zoo, "1.0.0", 0.3);
    tiny::put_linear(&zoo, "2.0.0", 0.7);
    tiny::put_encoder(&zoo, "1.0.0", -1.0);
    tiny::put_encoder(&zoo, "2.0.0", 1.0);
    let store = ArtifactStore::new(dir.path().join("none"), None);
    for name in [LINEAR, ENCODER].into_iter().filter(|_| golden) {
        for version in ["1.0.0", "2.0.0"] {
            write_golden(&zoo.join(name).join(version), None, &store).unwrap();
        }
    }
    let aliases = dir.path().join("aliases.toml");
    change(&aliases, |a| {
        a.promote(LINEAR, "1.0.0", None);
        a.promote(ENCODER, "1.0.0", None);
    });
    let config = ModeratorConfig {
        zoo,
        store,
        backend: BackendChoice::Candle,
        threads: 2,
        registry: RegistryConfig {
            aliases: Some(aliases),
            // Tests say themselves when to look.
            poll: Duration::from_hours(1),
            ..config
        },
        ..ModeratorConfig::from_env().unwrap()
    };
    Scene {
        moderator: Moderator::load(config).unwrap(),
        dir,
    }
}

fn change(path: &std::path::Path, change: impl FnOnce(&mut Aliases)) {
    Aliases::update(path, |a| {
        change(a);
        Ok::<_, AliasError>(())
    })
    .unwrap();
}

impl Scene {
    fn aliases(&self) -> PathBuf {
        self.dir.path().join("aliases.toml")
    }

    fn change(&self, by: impl FnOnce(&mut Aliases)) -> Vec<String> {
        change(&self.aliases(), by);
        let troubles = self.moderator.reload_models();
        troubles.into_iter().map(|t| t.code).collect()
    }

    fn both(&self, version: &str, now: &str) {
        let troubles = self.change(|a| {
            a.promote(LINEAR, version, Some(now));
            a.promote(ENCODER, version, Some(now));
        });
        assert!(troubles.is_empty(), "{troubles:?}");
    }

    fn one(&self, text: &str, channel: Option<&str>) -> Verdict {
        let item = TextItem {
            id: "1".into(),
            text: text.into(),
            channel_id: channel.map(str::to_owned),
            ..TextItem::default()
        };
        let verdict = self.moderator.text(&[item], None).remove(0);
        assert!(verdict.degraded.is_empty(), "{:?}", verdict.degraded);
        verdict
    }

    fn status(&self, name: &str, alias: &str) -> ModelStatus {
        let found = |m: &ModelStatus| m.name == name && m.alias.as_deref() == Some(alias);
        let all = self.moderator.models();
        all.iter()
            .find(|m| found(m))
            .cloned()
            .unwrap_or_else(|| panic!("{all:?}"))
    }
}

/// What the linear model and what the encoder says of a message.
fn scores(verdict: &Verdict) -> (f32, f32) {
    let of = |category| verdict.categories[&category].score.unwrap();
    (of(Category::Harassment), of(Category::Hate))
}

fn close(a: (f32, f32), b: (f32, f32)) -> bool {
    (a.0 - b.0).abs() < 1e-3 && (a.1 - b.1).abs() < 1e-3
}

/// The versions that a verdict names.
fn named(verdict: &Verdict) -> Vec<&str> {
    let models = verdict
        .evidence
        .iter()
        .filter_map(|e| e.model.split_once('@'));
    models.map(|(_, version)| version).collect()
}

fn rss_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|p| p.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0 / f64::from(1 << 20)
}

#[test]
fn a_hundred_swaps_under_load_fail_nobody_mix_nothing_and_leave_nothing_behind() {
    const SWAPS: usize = 100;
    let config = RegistryConfig {
        probation: Duration::ZERO,
        ..RegistryConfig::default()
    };
    // Golden answers cost most of a load, and are not what this is about.
    let scene = scene_with(config, false);
    let versions = ["1.0.0", "2.0.0"];
    let mut expected: BTreeMap<(&str, &str), (f32, f32)> = BTreeMap::new();
    for text in MESSAGES {
        expected.insert((text, "1.0.0"), scores(&scene.one(text, None)));
    }
    scene.both("2.0.0", "1.0.0");
    for text in MESSAGES {
        expected.insert((text, "2.0.0"), scores(&scene.one(text, None)));
        let (one, two) = (expected[&(text, "1.0.0")], expected[&(text, "2.0.0")]);
        assert!(
            (one.0 - two.0).abs() > 0.1 && (one.1 - two.1).abs() > 0.1,
            "{one:?} {two:?}"
        );
    }

    let done = AtomicBool::new(false);
    let judged = AtomicU64::new(0);
    let by_version = [AtomicU64::new(0), AtomicU64::new(0)];
    let mut dropped: Vec<Weak<ServedModel>> = Vec::new();
    let mut memory = Vec::new();
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (scene, expected, done, judged, by_version) =
                (&scene, &expected, &done, &judged, &by_version);
            scope.spawn(move || {
                let channel = format!("channel-{caller}");
                for n in caller.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let text = MESSAGES[n % MESSAGES.len()];
                    let verdict = scene.one(text, Some(&channel));
                    let found = scores(&verdict);
                    let of = versions
                        .iter()
                        .position(|v| close(found, expected[&(text, *v)]));
                    let of = of.unwrap_or_else(|| panic!("{text}: {found:?} is of no version"));
                    assert!(
                        named(&verdict).iter().all(|v| *v == versions[of]),
                        "{verdict:?}"
                    );
                    by_version[of].fetch_add(1, Ordering::Relaxed);
                    judged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for swap in 0..SWAPS {
            let (to, from) = (versions[swap % 2], versions[(swap + 1) % 2]);
            dropped.extend(scene.moderator.served().iter().map(Arc::downgrade));
            scene.both(to, from);
            // At least one message between two swaps.
            let seen = judged.load(Ordering::Relaxed);
            let begun = Instant::now();
            while judged.load(Ordering::Relaxed) == seen {
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "nothing is judged"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            memory.push(rss_mib());
        }
        done.store(true, Ordering::Relaxed);
    });
    let by_version = by_version.map(AtomicU64::into_inner);
    assert!(by_version.iter().all(|n| *n >= 10), "{by_version:?}");
    // The version before the last swap is kept until somebody looks.
    let begun = Instant::now();
    while dropped.iter().any(|w| w.upgrade().is_some()) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "a version was not dropped"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // A linear model has a quarter of a megabyte: kept, they would be 19 MiB in the last three
    // quarters.
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&memory[15..35]), mean(&memory[SWAPS - 20..]));
    println!("{by_version:?} messages; resident memory {early:.1}, then {late:.1} MiB");
    assert!(
        late - early < 12.0,
        "resident memory grew from {early:.1} to {late:.1} MiB"
    );
}

#[test]
fn a_corrupt_or_missing_version_leaves_what_runs_and_says_why() {
    let scene = scene(RegistryConfig::default());
    let before = scores(&scene.one(MESSAGES[0], None));
    let weights = scene.dir.path().join("zoo/chat-linear/2.0.0/weights.nslm");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let troubles = scene.change(|a| a.promote(LINEAR, "2.0.0", Some("1.0.0")));
    assert_eq!(troubles, ["model_corrupt"]);
    assert!(close(scores(&scene.one(MESSAGES[0], None)), before));
    let status = scene.status(LINEAR, "production");
    assert_eq!(
        (status.version.as_str(), status.state),
        ("1.0.0", ModelState::Ready)
    );
    let trouble = status.trouble.unwrap();
    assert_eq!(
        (trouble.code.as_str(), trouble.version.as_str()),
        ("model_corrupt", "2.0.0")
    );
    let file = Aliases::load(&scene.aliases()).unwrap();
    assert_eq!(
        file.get(LINEAR).unwrap().production.as_deref(),
        Some("1.0.0")
    );

    let troubles = scene.change(|a| a.try_out(ENCODER, "3.0.0", Some("1.0.0"), 50.0, true));
    assert_eq!(troubles, ["model_missing"]);
    assert!(close(scores(&scene.one(MESSAGES[0], None)), before));
    assert_eq!(
        Aliases::load(&scene.aliases())
            .unwrap()
            .get(ENCODER)
            .unwrap()
            .candidate,
        None
    );

    std::fs::write(scene.aliases(), "production = 7").unwrap();
    let troubles = scene.moderator.reload_models();
    assert_eq!(troubles[0].code, "aliases_malformed");
    assert!(close(scores(&scene.one(MESSAGES[0], None)), before));
    let told = scene.status(ENCODER, "production").trouble.unwrap();
    assert!(["aliases_malformed", "model_missing"].contains(&told.code.as_str()));
}

#[test]
fn a_version_that_gives_other_answers_than_its_golden_ones_is_not_swapped_in() {
    for (name, file) in [(LINEAR, "weights.nslm"), (ENCODER, "encoder.safetensors")] {
        let scene = scene(RegistryConfig::default());
        // The files of 1.0.0 under the name of 2.0.0, whole by their hashes: the answers differ.
        let zoo = scene.dir.path().join("zoo").join(name);
        std::fs::copy(zoo.join("1.0.0").join(file), zoo.join("2.0.0").join(file)).unwrap();
        let of = |version: &str| {
            let text = std::fs::read_to_string(zoo.join(version).join("manifest.toml")).unwrap();
            novastream_models::manifest::Manifest::from_toml(&text, "test").unwrap()
        };
        let (one, mut two) = (of("1.0.0"), of("2.0.0"));
        let spec = two.files.iter_mut().find(|f| f.path == file).unwrap();
        spec.clone_from(one.file(file).unwrap());
        std::fs::write(zoo.join("2.0.0/manifest.toml"), two.to_toml().unwrap()).unwrap();
        let before = scores(&scene.one(MESSAGES[1], None));
        let troubles = scene.change(|a| a.promote(name, "2.0.0", Some("1.0.0")));
        assert_eq!(troubles, ["golden_failed"], "{name}");
        assert!(close(scores(&scene.one(MESSAGES[1], None)), before));
        let file = Aliases::load(&scene.aliases()).unwrap();
        let back = file.get(name).unwrap().rolled_back.clone().unwrap();
        assert!(
            back.reason.starts_with("golden_failed: "),
            "{}",
            back.reason
        );
    }
}

#[test]
fn a_channel_keeps_its_version_and_verdicts_name_the_one_that_judged() {
    let scene = scene(RegistryConfig::default());
    let one = scores(&scene.one(MESSAGES[2], None));
    let troubles = scene.change(|a| {
        a.try_out(LINEAR, "2.0.0", Some("1.0.0"), 30.0, false);
        a.try_out(ENCODER, "2.0.0", Some("1.0.0"), 30.0, false);
    });
    assert!(troubles.is_empty(), "{troubles:?}");
    let verdict = |n: usize| scene.one(MESSAGES[2], Some(&format!("channel-{n}")));
    let first: Vec<Verdict> = (0..60).map(verdict).collect();
    let tried = first.iter().filter(|v| !close(scores(v), one)).count();
    assert!((6..=32).contains(&tried), "{tried} of 60");
    for (n, before) in first.iter().enumerate() {
        let again = verdict(n);
        assert!(close(scores(&again), scores(before)));
        let version = if close(scores(&again), one) {
            "1.0.0"
        } else {
            "2.0.0"
        };
        let named = named(&again);
        assert!(named.iter().all(|v| *v == version), "{again:?}");
        // Only the second version's scores are high enough to be shown.
        assert_eq!(named.is_empty(), version == "1.0.0", "{again:?}");
    }
    let candidate = scene.status(ENCODER, "candidate");
    assert_eq!(candidate.canary_percent, Some(30.0));
    // Other programs may call both.
    let served = scene.moderator.served();
    let of = |name: &str| -> Vec<String> {
        let named = served.iter().filter(|m| m.card().name == name);
        named.map(|m| m.card().version.clone()).collect()
    };
    assert_eq!(of(ENCODER), ["1.0.0", "2.0.0"]);
    assert_eq!(of("chat"), ["1.0.0+1.0.0", "2.0.0+2.0.0"]);
}

#[test]
fn a_shadow_judges_nothing_and_its_differences_are_counted() {
    let scene = scene(RegistryConfig {
        shadow_per_second: 1_000,
        ..RegistryConfig::default()
    });
    let before = scores(&scene.one(MESSAGES[0], Some("c")));
    let troubles = scene.change(|a| a.try_out(LINEAR, "2.0.0", Some("1.0.0"), 0.0, true));
    assert!(troubles.is_empty(), "{troubles:?}");
    for n in 0..40 {
        let verdict = scene.one(MESSAGES[n % 4], Some("c"));
        assert!(close((scores(&verdict).0, 0.0), (before.0, 0.0)));
    }
    let begun = Instant::now();
    let report = loop {
        let report = scene.status(LINEAR, "candidate").shadow.unwrap();
        if report.scored + report.dropped >= 40 {
            break report;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{report:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(report.scored > 0 && report.failed == 0, "{report:?}");
    let harassment = &report.heads["harassment"];
    assert!((harassment.mean - 0.4).abs() < 1e-3, "{harassment:?}");
    assert_eq!(harassment.flips, report.scored);
    let hate = &report.heads["hate"];
    assert_eq!((hate.flips, hate.max < 1e-3), (0, true), "{hate:?}");
    scene.change(|a| drop(a.end_trial(LINEAR)));
    assert!(
        scene
            .moderator
            .models()
            .iter()
            .all(|m| m.alias.as_deref() != Some("candidate"))
    );
}
