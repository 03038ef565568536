//! `novastream models`: what is known, what is here, fetch, verify, export; the rest is in `versions`.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use novastream_models::encoder::{ChatEncoder, pack};
use novastream_models::import::MODEL_FILE;
use novastream_models::manifest::Manifest;
use novastream_models::sound::{CNN_FILE, SoundCnn};
use novastream_models::store::{
    ArtifactState, ArtifactStore, PullEvent, catalog, read_verified, zoo_in,
};
use serde::Serialize;
use serde_json::json;

use super::args::{ModelsArgs, ModelsCommand, ModelsExportArgs, ModelsPullArgs};
use super::{output, versions};
use crate::config::Settings;
use crate::loading;

/// Runs the command.
///
/// # Errors
/// The settings cannot be read, or a name is not known. A model that fails is not an error but an
/// exit status.
pub fn run(args: ModelsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ModelsCommand::List(a) => list(&super::local_settings(a.config.as_deref())?, a.json),
        ModelsCommand::Pull(a) => pull(&super::local_settings(a.config.as_deref())?, &a),
        ModelsCommand::Export(a) => export(&super::local_settings(a.config.as_deref())?, &a),
        ModelsCommand::Promote(a) => {
            versions::promote(&super::local_settings(a.config.as_deref())?, &a)
        }
        ModelsCommand::Rollback(a) => {
            versions::rollback(&super::local_settings(a.config.as_deref())?, &a)
        }
        ModelsCommand::Golden(a) => {
            versions::golden(&super::local_settings(a.config.as_deref())?, &a)
        }
        ModelsCommand::Verify(a) => verify(&super::local_settings(a.config.as_deref())?, &a),
    }
}

/// One line of `list` and `verify`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    version: String,
    task: &'static str,
    /// `catalog` for third-party models, `zoo` for ours.
    origin: &'static str,
    licence: String,
    #[serde(flatten)]
    state: ArtifactState,
    dir: String,
}

impl Row {
    fn new(m: &Manifest, origin: &'static str, dir: &Path, state: ArtifactState) -> Self {
        Self {
            name: m.name.clone(),
            version: m.version.clone(),
            task: m.task.as_str(),
            origin,
            licence: m.licence.clone(),
            state,
            dir: dir.display().to_string(),
        }
    }

    fn print(&self) -> anyhow::Result<()> {
        let (state, reason) = match &self.state {
            ArtifactState::Ready => ("ready", ""),
            ArtifactState::Missing => ("missing", ""),
            ArtifactState::Corrupt { reason } => ("corrupt", reason.as_str()),
        };
        let Self {
            name,
            version,
            task,
            origin,
            licence,
            ..
        } = self;
        let row = format!(
            "{name:<20} {version:<10} {task:<14} {origin:<8} {licence:<11} {state:<8} {reason}"
        );
        output::line(row.trim_end())
    }
}

/// Every known model, third-party ones first.
fn rows(settings: &Settings) -> anyhow::Result<Vec<Row>> {
    let store = loading::artifact_store(settings);
    let mut rows: Vec<Row> = store
        .list()
        .into_iter()
        .map(|s| Row::new(&s.manifest, "catalog", &store.dir(&s.manifest), s.state))
        .collect();
    let zoo = settings.zoo();
    for (manifest, dir) in zoo_in(&zoo).with_context(|| format!("the zoo {}", zoo.display()))? {
        let bad = manifest
            .platform_files()
            .find_map(|file| read_verified(&manifest, &dir, &file.path).err());
        let state = match bad {
            None => ArtifactState::Ready,
            Some(error) => ArtifactState::Corrupt {
                reason: error.to_string(),
            },
        };
        rows.push(Row::new(&manifest, "zoo", &dir, state));
    }
    Ok(rows)
}

fn list(settings: &Settings, as_json: bool) -> anyhow::Result<ExitCode> {
    let rows = rows(settings)?;
    show(&rows, as_json)?;
    Ok(ExitCode::SUCCESS)
}

fn show(rows: &[Row], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::line(&json!({"models": rows}).to_string());
    }
    rows.iter().try_for_each(Row::print)
}

fn export(settings: &Settings, args: &ModelsExportArgs) -> anyhow::Result<ExitCode> {
    let name = &args.name;
    let store = loading::artifact_store(settings);
    let zoo = settings.zoo();
    let ours = zoo_in(&zoo).with_context(|| format!("the zoo {}", zoo.display()))?;
    let graph = if let Some((manifest, dir)) = ours.iter().rfind(|(m, _)| m.name == *name) {
        graph(manifest, dir)?
    } else {
        let known = catalog();
        let names: Vec<String> = known.iter().map(|m| m.name.clone()).collect();
        check_names(std::slice::from_ref(name), &names)?;
        let manifest = known.iter().find(|m| m.name == *name);
        let manifest = manifest.context("a known name has a manifest")?;
        store.read(manifest, MODEL_FILE)?
    };
    std::fs::write(&args.out, &graph).with_context(|| format!("writing {}", args.out.display()))?;
    output::note(&format!(
        "{name}: {} bytes written to {}",
        graph.len(),
        args.out.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The graph that is made of a network's weights, as it is when the network is loaded.
fn graph(manifest: &Manifest, dir: &Path) -> anyhow::Result<Vec<u8>> {
    let weights = |file| read_verified(manifest, dir, file);
    Ok(if manifest.file(pack::WEIGHTS_FILE).is_some() {
        ChatEncoder::from_bytes(&weights(pack::WEIGHTS_FILE)?)?.to_onnx()?
    } else if manifest.file(CNN_FILE).is_some() {
        SoundCnn::from_bytes(&weights(CNN_FILE)?)?.to_onnx()
    } else {
        bail!("{} runs without an ONNX graph", manifest.id())
    })
}

/// Without names everything that is here must be whole; a named model must be here as well.
fn verify(settings: &Settings, args: &ModelsPullArgs) -> anyhow::Result<ExitCode> {
    let mut rows = rows(settings)?;
    let known: Vec<String> = rows.iter().map(|r| r.name.clone()).collect();
    check_names(&args.names, &known)?;
    if !args.names.is_empty() {
        rows.retain(|r| args.names.contains(&r.name));
    }
    show(&rows, args.json)?;
    let strict = args.all || !args.names.is_empty();
    let bad = rows.iter().filter(|r| match r.state {
        ArtifactState::Ready => false,
        ArtifactState::Missing => strict,
        ArtifactState::Corrupt { .. } => true,
    });
    Ok(if bad.count() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What became of one pull.
#[derive(Debug, Serialize)]
struct Pulled {
    name: String,
    version: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn pull(settings: &Settings, args: &ModelsPullArgs) -> anyhow::Result<ExitCode> {
    let store = loading::artifact_store(settings);
    let mut wanted = catalog();
    let known: Vec<String> = wanted.iter().map(|m| m.name.clone()).collect();
    check_names(&args.names, &known)?;
    if !args.names.is_empty() {
        wanted.retain(|m| args.names.contains(&m.name));
    }
    let pulled: Vec<Pulled> = wanted.iter().map(|m| pull_one(&store, m)).collect();
    if args.json {
        output::line(&json!({"models": pulled}).to_string())?;
    } else {
        for p in pulled.iter().filter(|p| p.ok) {
            let dir = p.dir.as_deref().unwrap_or_default();
            output::line(&format!("{:<20} {:<10} {dir}", p.name, p.version))?;
        }
    }
    let failed = pulled.iter().filter(|p| !p.ok).count();
    if failed > 0 {
        output::note(&format!(
            "{failed} of {} models could not be fetched",
            pulled.len()
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn pull_one(store: &ArtifactStore, manifest: &Manifest) -> Pulled {
    let id = manifest.id();
    let mut progress = Progress {
        id: id.clone(),
        told: None,
    };
    let result = store.pull(manifest, &mut |event| progress.tell(event));
    let (name, version) = (manifest.name.clone(), manifest.version.clone());
    match result {
        Ok(dir) => {
            let dir = Some(dir.display().to_string());
            Pulled {
                name,
                version,
                ok: true,
                dir,
                code: None,
                error: None,
            }
        }
        Err(error) => {
            output::note(&format!("{id}: failed [{}]: {error}", error.code()));
            let (code, error) = (Some(error.code()), Some(error.to_string()));
            Pulled {
                name,
                version,
                ok: false,
                dir: None,
                code,
                error,
            }
        }
    }
}

/// Tells of a pull on stderr, not more than a line a second for bytes.
struct Progress {
    id: String,
    told: Option<Instant>,
}

impl Progress {
    fn tell(&mut self, event: PullEvent) {
        let text = match event {
            PullEvent::AlreadyPresent => "already here, verified".to_owned(),
            PullEvent::Trying { source } => format!("trying {source}"),
            PullEvent::Failed { source, reason } => format!("{source} did not deliver: {reason}"),
            PullEvent::Importing { importer } => format!("converting ({importer})"),
            PullEvent::Ready => "ready".to_owned(),
            PullEvent::Progress {
                file,
                received,
                total,
            } => {
                let recent = self
                    .told
                    .is_some_and(|t| t.elapsed() < Duration::from_secs(1));
                if recent && received < total {
                    return;
                }
                self.told = Some(Instant::now());
                let percent = received * 100 / total.max(1);
                format!("{file} {percent:>3} % of {:.1} MB", total as f64 / 1e6)
            }
        };
        output::note(&format!("{}: {text}", self.id));
    }
}

fn check_names(names: &[String], known: &[String]) -> anyhow::Result<()> {
    if let Some(name) = names.iter().find(|n| !known.contains(n)) {
        bail!("there is no model `{name}`; known are {}", known.join(", "));
    }
    Ok(())
}
