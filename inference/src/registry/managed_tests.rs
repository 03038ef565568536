//! The registry's rules on versions that are made of nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use novastream_models::aliases::AliasError;

use super::*;
use crate::backend::BackendError;

/// A version that fails on demand.
struct Fake(Versions);

impl Version for Fake {
    fn versions(&self) -> &Versions {
        &self.0
    }
}

/// Versions 1 to 9 of a and b; those of `broken` do not load.
#[derive(Default)]
struct Files {
    names: Vec<String>,
    broken: Mutex<BTreeSet<String>>,
    loads: AtomicUsize,
}

impl Load<Fake> for Arc<Files> {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn available(&self, _: &str) -> Result<Vec<String>, LoadFailure> {
        Ok(vec!["1".into(), "2".into(), "3".into()])
    }

    fn load(
        &self,
        wanted: &Versions,
        _: &[Arc<Loaded<Fake>>],
        _: bool,
    ) -> Result<Fake, LoadFailure> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let broken = self.broken.lock().unwrap();
        match wanted.0.iter().find(|(_, v)| broken.contains(*v)) {
            Some((name, _)) => Err(LoadFailure::new("model_corrupt", name, "on purpose")),
            None => Ok(Fake(wanted.clone())),
        }
    }
}

struct Scene {
    files: Arc<Files>,
    managed: Managed<Fake>,
    aliases: PathBuf,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let aliases = dir.path().join("aliases.toml");
        let files = Arc::new(Files {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            ..Files::default()
        });
        let config = RegistryConfig {
            aliases: Some(aliases.clone()),
            min_requests: 20,
            ..RegistryConfig::default()
        };
        Self {
            managed: Managed::new("chat", Box::new(Arc::clone(&files)), config),
            files,
            aliases,
            _dir: dir,
        }
    }

    fn started(names: &[&str]) -> Self {
        let scene = Self::new(names);
        scene.managed.start(&Aliases::default()).unwrap();
        scene
    }

    fn change(&self, change: impl FnOnce(&mut Aliases)) -> Vec<Trouble> {
        Aliases::update(&self.aliases, |a| {
            change(a);
            Ok::<_, AliasError>(())
        })
        .unwrap();
        self.managed.forgive();
        self.follow()
    }

    fn follow(&self) -> Vec<Trouble> {
        let aliases = Aliases::load(&self.aliases).unwrap();
        self.managed.follow(&aliases, false)
    }

    fn alias(&self, name: &str) -> novastream_models::aliases::Alias {
        let aliases = Aliases::load(&self.aliases).unwrap();
        aliases.get(name).cloned().unwrap_or_default()
    }

    fn answers(&self, key: u64) -> String {
        let permit = self.managed.take(key).unwrap();
        permit.run(|v| Ok(v.0.to_string())).unwrap()
    }

    fn fail(&self, key: u64) {
        let permit = self.managed.take(key).unwrap();
        let failed = permit.run::<()>(|_| {
            Err(BackendError::Run {
                backend: "fake",
                message: "on purpose".into(),
            })
        });
        assert!(failed.is_err());
    }
}

#[test]
fn the_highest_versions_run_until_an_alias_says_otherwise() {
    let scene = Scene::started(&["a", "b"]);
    assert_eq!(scene.answers(1), "a@3+b@3");
    assert_eq!(scene.change(|a| a.promote("b", "2", Some("3"))), []);
    assert_eq!(scene.answers(1), "a@3+b@2");
    // Both at once, never one of them alone.
    scene.change(|a| {
        a.promote("a", "1", Some("3"));
        a.promote("b", "1", Some("2"));
    });
    assert_eq!(scene.answers(1), "a@1+b@1");
    scene.change(|a| drop(a.roll_back("b")));
    assert_eq!(scene.answers(1), "a@1+b@2");
}

#[test]
fn a_version_that_does_not_load_changes_nothing_and_the_file_says_why() {
    let scene = Scene::started(&["a"]);
    scene.files.broken.lock().unwrap().insert("2".into());
    let told = scene.change(|a| a.promote("a", "2", Some("3")));
    assert_eq!(
        (told[0].code.as_str(), told[0].version.as_str()),
        ("model_corrupt", "2")
    );
    assert_eq!(scene.answers(1), "a@3");
    let alias = scene.alias("a");
    assert_eq!(alias.production.as_deref(), Some("3"));
    let back = alias.rolled_back.unwrap();
    assert_eq!(back.version, "2");
    assert!(
        back.reason.starts_with("model_corrupt: "),
        "{}",
        back.reason
    );
    assert_eq!(scene.managed.trouble("a").unwrap().code, "model_corrupt");
    // It is not tried again by itself, and is when somebody asks for it again.
    let loads = || scene.files.loads.load(Ordering::SeqCst);
    let before = loads();
    scene.follow();
    assert_eq!(loads(), before);
    scene.files.broken.lock().unwrap().clear();
    assert_eq!(scene.change(|a| a.promote("a", "2", Some("3"))), []);
    assert_eq!(scene.answers(1), "a@2");
    assert_eq!(scene.managed.trouble("a"), None);
}

#[test]
fn a_start_with_a_broken_production_takes_the_version_before() {
    let scene = Scene::new(&["a"]);
    scene.files.broken.lock().unwrap().insert("3".into());
    Aliases::update(&scene.aliases, |a| {
        a.promote("a", "3", Some("2"));
        Ok::<_, AliasError>(())
    })
    .unwrap();
    let aliases = Aliases::load(&scene.aliases).unwrap();
    scene.managed.start(&aliases).unwrap();
    assert_eq!(scene.answers(1), "a@2");
    assert_eq!(scene.alias("a").production.as_deref(), Some("2"));
    // Without one there is nothing, until something loads.
    let scene = Scene::new(&["a"]);
    scene.files.broken.lock().unwrap().insert("3".into());
    assert!(scene.managed.start(&Aliases::default()).is_err());
    assert!(scene.managed.take(1).is_none());
    assert_eq!(scene.managed.trouble("a").unwrap().version, "3");
    scene.change(|a| a.promote("a", "1", None));
    assert_eq!(scene.answers(1), "a@1");
}

#[test]
fn a_key_keeps_its_version_and_the_share_of_the_candidate_is_its_percentage() {
    let scene = Scene::started(&["a", "b"]);
    scene.change(|a| a.try_out("a", "2", Some("3"), 20.0, false));
    let keys = 1..=5_000_u64;
    let first: Vec<String> = keys.clone().map(|k| scene.answers(k)).collect();
    let tried = first.iter().filter(|v| *v == "a@2+b@3").count();
    assert!(first.iter().all(|v| v == "a@2+b@3" || v == "a@3+b@3"));
    assert!((850..=1_150).contains(&tried), "{tried}");
    let again: Vec<String> = keys.clone().map(|k| scene.answers(k)).collect();
    assert_eq!(first, again);
    assert_eq!(scene.answers(0), "a@3+b@3");
    // A larger share keeps those that are in it; the candidate is not loaded a second time.
    let loads = scene.files.loads.load(Ordering::SeqCst);
    scene.change(|a| a.try_out("a", "2", Some("3"), 50.0, false));
    assert_eq!(scene.files.loads.load(Ordering::SeqCst), loads);
    for (key, before) in keys.zip(first) {
        if before == "a@2+b@3" {
            assert_eq!(scene.answers(key), before);
        }
    }
    // A second candidate is tried together with the first, by the smaller share.
    scene.change(|a| a.try_out("b", "1", Some("3"), 1.0, false));
    let both = (1..=5_000)
        .filter(|k| scene.answers(*k) == "a@2+b@1")
        .count();
    assert!((20..=90).contains(&both), "{both}");
    // Promoted, they are production without another load.
    let loads = scene.files.loads.load(Ordering::SeqCst);
    scene.change(|a| {
        a.promote("a", "2", Some("3"));
        a.promote("b", "1", Some("3"));
    });
    assert_eq!(scene.answers(0), "a@2+b@1");
    assert!(scene.managed.trial().is_none());
    assert_eq!(scene.files.loads.load(Ordering::SeqCst), loads);
}

#[test]
fn a_new_version_that_fails_is_taken_back_by_itself() {
    let scene = Scene::started(&["a"]);
    scene.change(|a| a.promote("a", "2", Some("3")));
    for _ in 0..19 {
        scene.fail(1);
    }
    scene.managed.look(Instant::now());
    assert_eq!(scene.answers(1), "a@2", "too few to conclude anything");
    scene.fail(1);
    scene.managed.look(Instant::now());
    assert_eq!(scene.answers(1), "a@3");
    let alias = scene.alias("a");
    assert_eq!(
        (alias.production.as_deref(), alias.previous),
        (Some("3"), None)
    );
    let back = alias.rolled_back.unwrap();
    assert_eq!(back.version, "2");
    assert!(
        back.reason.starts_with("error_rate: 20 of 21 "),
        "{}",
        back.reason
    );
    // There is nothing to go back to from here: it goes on.
    for _ in 0..50 {
        scene.fail(1);
    }
    scene.managed.look(Instant::now());
    assert_eq!(scene.answers(1), "a@3");
}

#[test]
fn few_failures_and_no_place_are_no_reason_to_go_back() {
    let scene = Scene::started(&["a"]);
    scene.change(|a| a.promote("a", "2", Some("3")));
    for n in 0..400 {
        let permit = scene.managed.take(1).unwrap();
        let outcome = permit.run(|_| match n % 40 {
            0 => Err(BackendError::Panicked("on purpose".into())),
            1..=20 => Err(BackendError::Overloaded),
            _ => Ok(()),
        });
        assert_eq!(outcome.is_ok(), n % 40 > 20);
    }
    scene.managed.look(Instant::now());
    assert_eq!(scene.answers(1), "a@2");
}

#[test]
fn a_panic_counts_as_a_failure_of_the_version() {
    let scene = Scene::started(&["a"]);
    scene.change(|a| a.promote("a", "2", Some("3")));
    for _ in 0..20 {
        let permit = scene.managed.take(1).unwrap();
        let run = || permit.run::<()>(|_| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    }
    scene.managed.look(Instant::now());
    assert_eq!(scene.answers(1), "a@3");
}

#[test]
fn a_candidate_that_fails_is_taken_off_and_production_stays() {
    let scene = Scene::started(&["a"]);
    scene.change(|a| a.try_out("a", "2", Some("3"), 100.0, false));
    for key in 1..=25 {
        scene.fail(key);
    }
    scene.managed.look(Instant::now());
    assert_eq!(scene.answers(1), "a@3");
    let alias = scene.alias("a");
    assert_eq!(alias.candidate, None);
    assert!(alias.rolled_back.unwrap().reason.starts_with("error_rate"));
    assert_eq!(scene.managed.trouble("a").unwrap().code, "error_rate");
}

#[test]
fn a_version_goes_with_its_last_request_once_its_successor_has_held() {
    let scene = Scene::started(&["a"]);
    let old = Arc::downgrade(&scene.managed.production().unwrap());
    let request = scene.managed.take(1).unwrap();
    scene.change(|a| a.promote("a", "2", Some("3")));
    scene.managed.look(Instant::now());
    drop(request);
    assert!(old.upgrade().is_some(), "kept to go back to");
    let request = scene.managed.take(1).unwrap();
    let held = Instant::now() + scene.managed.config.probation + Duration::from_secs(1);
    scene.managed.look(held);
    assert!(old.upgrade().is_none());
    let old = Arc::downgrade(&scene.managed.production().unwrap());
    scene.change(|a| a.promote("a", "1", Some("2")));
    let held = Instant::now() + scene.managed.config.probation + Duration::from_secs(1);
    scene.managed.look(held);
    assert!(old.upgrade().is_some(), "a request still has it");
    assert_eq!(request.value().0.to_string(), "a@2");
    drop(request);
    assert!(old.upgrade().is_none());
}
