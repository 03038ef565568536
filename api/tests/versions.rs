//! Versions of models, from the operator's command to what a running service answers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failure is what a test is for"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use common::process::{Server, program, serve};
use common::{real_service, settings};
use serde_json::{Value, json};

/// A zoo with the shipped linear model as 0.1.0 and, the same weights, as 0.1.1.
fn zoo(dir: &Path) -> Option<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/zoo/chat-linear/0.1.0");
    if !shipped.is_dir() {
        println!("skipped: chat-linear@0.1.0 not present");
        return None;
    }
    let zoo = dir.join("zoo");
    for version in ["0.1.0", "0.1.1"] {
        let to = zoo.join("chat-linear").join(version);
        std::fs::create_dir_all(&to).unwrap();
        for file in ["weights.nslm", "golden.json"] {
            std::fs::copy(shipped.join(file), to.join(file)).unwrap();
        }
        let text = std::fs::read_to_string(shipped.join("manifest.toml")).unwrap();
        let text = text.replace("version = \"0.1.0\"", &format!("version = \"{version}\""));
        std::fs::write(to.join("manifest.toml"), text).unwrap();
    }
    Some(zoo)
}

struct Scene {
    dir: tempfile::TempDir,
    zoo: PathBuf,
}

fn scene() -> Option<Scene> {
    let dir = tempfile::tempdir().unwrap();
    let zoo = zoo(dir.path())?;
    Some(Scene { dir, zoo })
}

impl Scene {
    fn models(&self, args: &[&str]) -> Output {
        let data = self.dir.path().join("data");
        program()
            .arg("models")
            .args(args)
            .env("NOVASTREAM__DATA_DIR", data)
            .env("NOVASTREAM__MODELS__ZOO", &self.zoo)
            .output()
            .unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.models(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.models(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn aliases(&self) -> PathBuf {
        self.dir.path().join("data/aliases.toml")
    }

    fn serve(&self) -> Server {
        let data = self.dir.path().join("data");
        let zoo = self.zoo.to_str().unwrap();
        let env = [
            ("NOVASTREAM__MODELS__ZOO", zoo),
            ("NOVASTREAM__MODELS__POLL_MS", "50"),
            // Else the version before stays in memory, and what happens to its files does not matter.
            ("NOVASTREAM__MODELS__PROBATION_S", "0"),
        ];
        serve(&data, &env)
    }
}

/// The model of that alias, once it is as wanted.
fn until(server: &Server, alias: &str, wanted: impl Fn(Option<&Value>) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let models = server.get("/v1/models");
        let all = models["models"].as_array().unwrap();
        let found = all.iter().find(|m| m["alias"] == alias);
        if wanted(found) {
            return found.cloned().unwrap_or_default();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{models}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn version(wanted: &str) -> impl Fn(Option<&Value>) -> bool + '_ {
    move |m| m.is_some_and(|m| m["version"] == wanted)
}

#[test]
fn promote_and_rollback_write_what_they_say() {
    let Some(scene) = scene() else { return };
    let told = scene.done(&["promote", "chat-linear@0.1.0"]);
    assert!(told.contains("0.1.0 is production (was 0.1.1)"), "{told}");
    let told = scene.done(&[
        "promote",
        "chat-linear",
        "--candidate",
        "--canary",
        "12.5",
        "--shadow",
        "--json",
    ]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["models"][0]["candidate"], "0.1.1");
    assert_eq!(told["models"][0]["live"], true);
    let text = std::fs::read_to_string(scene.aliases()).unwrap();
    for line in ["canary = 12.5", "shadow = true", "candidate = \"0.1.1\""] {
        assert!(text.contains(line), "{text}");
    }
    // Without a version the candidate is meant.
    scene.done(&["promote", "chat-linear"]);
    let text = std::fs::read_to_string(scene.aliases()).unwrap();
    assert!(
        text.contains("production = \"0.1.1\"") && !text.contains("candidate"),
        "{text}"
    );
    let told = scene.done(&["rollback", "chat-linear"]);
    assert!(told.contains("0.1.0 is production (was 0.1.1)"), "{told}");

    let before = std::fs::read_to_string(scene.aliases()).unwrap();
    let refused = scene.refused(&["rollback", "chat-linear"]);
    assert!(refused.contains("no previous version"), "{refused}");
    let refused = scene.refused(&["rollback", "chat-linear", "--candidate"]);
    assert!(refused.contains("no candidate"), "{refused}");
    let refused = scene.refused(&["promote", "nobody"]);
    assert!(refused.contains("it has chat-linear"), "{refused}");
    let refused = scene.refused(&["promote", "chat-linear@9.9.9"]);
    assert!(refused.contains("0.1.0, 0.1.1"), "{refused}");
    let refused = scene.refused(&["promote", "chat-linear@0.1.0", "--candidate"]);
    assert!(refused.contains("is production"), "{refused}");
    std::fs::write(scene.zoo.join("chat-linear/0.1.1/weights.nslm"), b"short").unwrap();
    let refused = scene.refused(&["promote", "chat-linear@0.1.1"]);
    assert!(refused.contains("nothing was changed"), "{refused}");
    assert_eq!(std::fs::read_to_string(scene.aliases()).unwrap(), before);
}

#[test]
fn a_running_service_follows_the_commands_and_outlives_a_broken_version() {
    let Some(scene) = scene() else { return };
    scene.done(&["promote", "chat-linear@0.1.0"]);
    let server = scene.serve();
    until(&server, "production", version("0.1.0"));
    let rude = || -> String {
        let body = json!({"items": [{"text": "shut up you worthless idiot", "channel_id": "c"}]});
        let answer = ureq::post(format!("{}/v1/moderate/text", server.url))
            .header("content-type", "application/json")
            .send(body.to_string().as_bytes());
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        let verdict: Value = serde_json::from_str(&text).unwrap();
        let evidence = verdict["results"][0]["evidence"]
            .as_array()
            .unwrap()
            .clone();
        let mut models = evidence.iter().filter_map(|e| e["model"].as_str());
        let linear = models.find(|m| m.starts_with("chat-linear@"));
        linear.unwrap_or_else(|| panic!("{verdict}")).to_owned()
    };
    assert_eq!(rude(), "chat-linear@0.1.0");
    scene.done(&["promote", "chat-linear", "--candidate", "--shadow"]);
    let candidate = until(&server, "candidate", version("0.1.1"));
    assert!(candidate["shadow"].is_object(), "{candidate}");
    assert_eq!(rude(), "chat-linear@0.1.0");
    scene.done(&["promote", "chat-linear"]);
    until(&server, "production", version("0.1.1"));
    assert_eq!(rude(), "chat-linear@0.1.1");
    let index = ureq::post(format!("{}/v2/repository/index", server.url)).send_empty();
    let index = index.unwrap().body_mut().read_to_string().unwrap();
    assert!(index.contains("\"version\":\"0.1.1\""), "{index}");
    scene.done(&["rollback", "chat-linear"]);
    until(&server, "production", version("0.1.0"));
    assert_eq!(rude(), "chat-linear@0.1.0");

    // Broken after the command looked at it, as a disk does it.
    let text = "[chat-linear]\nproduction = \"0.1.1\"\n";
    std::fs::write(scene.zoo.join("chat-linear/0.1.1/weights.nslm"), b"short").unwrap();
    std::fs::write(scene.aliases(), text).unwrap();
    let refused = until(&server, "production", |m| {
        m.is_some_and(|m| m["trouble"]["code"] == "model_corrupt")
    });
    assert_eq!(refused["version"], "0.1.0");
    assert_eq!(rude(), "chat-linear@0.1.0");
    let text = std::fs::read_to_string(scene.aliases()).unwrap();
    assert!(
        text.contains("production = \"0.1.0\"") && text.contains("rolled_back"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_over_the_protocol_follows_the_alias_file_at_once() {
    let Some(scene) = scene() else { return };
    scene.done(&["promote", "chat-linear@0.1.0"]);
    let mut settings = settings();
    settings.oip.control = true;
    settings.models.zoo = Some(scene.zoo.clone());
    settings.models.aliases = Some(scene.aliases());
    settings.models.poll_ms = 3_600_000;
    let s = real_service(settings).await;
    let version = async || s.get("/v2/models/chat").await["versions"].clone();
    assert_eq!(version().await, json!(["0.1.0"]));
    scene.done(&["promote", "chat-linear@0.1.1", "--candidate"]);
    let load = s.at("/v2/repository/models/chat/load");
    let answer = s.client.post(&load).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(version().await, json!(["0.1.0", "0.1.1"]));
    let url = s.at("/v2/models/chat/versions/0.1.1/infer");
    let body = json!({"inputs": [
        {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello everyone"]}]});
    let answer = s.client.post(url).json(&body).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["model_version"], "0.1.1", "{answer}");

    std::fs::write(scene.aliases(), "[chat-linear]\nproduction = \"7.7.7\"\n").unwrap();
    let answer = s.client.post(&load).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let answer: Value = answer.json().await.unwrap();
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.contains("model_missing") && error.contains("model_load_failed"),
        "{error}"
    );
    assert_eq!(version().await[0], "0.1.0");
}
