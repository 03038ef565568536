//! `novastream models promote|rollback|golden`: which versions run. The commands write the alias file;
//! a running service that reads the same file swaps the versions in by itself.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use novastream_inference::registry::write_golden;
use novastream_models::aliases::Aliases;
use novastream_models::catalog::{load_manifest, sound_zoo_in, versions_in};
use novastream_models::manifest::Task;
use novastream_models::store::read_verified;
use serde::Serialize;
use serde_json::json;

use super::args::{ModelsGoldenArgs, ModelsPromoteArgs, ModelsRollbackArgs};
use super::output;
use crate::config::Settings;
use crate::loading;

/// What became of one model.
#[derive(Debug, Serialize)]
struct Changed {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    production: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<String>,
    /// Whether a running service swaps it; if not it is used from the next start on.
    live: bool,
}

impl Changed {
    fn line(&self) -> String {
        let Self {
            name,
            production,
            was,
            candidate,
            live,
        } = self;
        let mut line = match (production, candidate) {
            (_, Some(candidate)) => format!("{name}: {candidate} is on trial"),
            (Some(now), None) => format!("{name}: {now} is production"),
            (None, None) => format!("{name}: nothing is on trial"),
        };
        if let Some(was) = was {
            line.push_str(&format!(" (was {was})"));
        }
        if !live {
            line.push_str("; used when the service starts again");
        }
        line
    }
}

/// The versions of `name`; it must have one.
fn versions(zoo: &Path, name: &str) -> anyhow::Result<Vec<String>> {
    let found = versions_in(zoo, name)?;
    if found.is_empty() {
        let mut known: Vec<String> = sound_zoo_in(zoo)?
            .into_iter()
            .map(|(m, _)| m.name)
            .collect();
        known.dedup();
        bail!(
            "the zoo {} has no model `{name}`; it has {}",
            zoo.display(),
            known.join(", ")
        );
    }
    Ok(found)
}

/// Checks every file of a version; answers whether a running service swaps it.
fn verified(zoo: &Path, name: &str, version: &str) -> anyhow::Result<bool> {
    let dir = zoo.join(name).join(version);
    let manifest = load_manifest(&dir)?;
    for file in manifest.platform_files() {
        read_verified(&manifest, &dir, &file.path)?;
    }
    Ok(manifest.task == Task::Chat)
}

/// Nothing is written unless every version named is whole.
pub(super) fn promote(settings: &Settings, args: &ModelsPromoteArgs) -> anyhow::Result<ExitCode> {
    if !(0.0..=100.0).contains(&args.canary) {
        bail!("--canary takes 0 to 100 percent");
    }
    let (zoo, path) = (settings.zoo(), settings.aliases());
    let changed = Aliases::update(&path, |aliases| {
        let one = |named: &String| one(aliases, &zoo, named, args);
        args.models
            .iter()
            .map(one)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    told(&path, &changed, args.json)
}

fn one(
    aliases: &mut Aliases,
    zoo: &Path,
    named: &str,
    args: &ModelsPromoteArgs,
) -> anyhow::Result<Changed> {
    let (name, version) = match named.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (named, None),
    };
    let versions = versions(zoo, name)?;
    let on_trial = aliases.get(name).and_then(|a| a.candidate.as_deref());
    let on_trial = on_trial.filter(|_| !args.candidate);
    let highest = versions.last().map(String::as_str);
    let version = version.or(on_trial).or(highest);
    let version = version.context("a model has a version")?.to_owned();
    if !versions.contains(&version) {
        bail!(
            "{name} has the versions {}, not {version}",
            versions.join(", ")
        );
    }
    let live = verified(zoo, name, &version)
        .with_context(|| format!("{name}@{version} is not whole; nothing was changed"))?;
    let now = aliases.production(name, &versions).map(str::to_owned);
    if args.candidate {
        if now.as_deref() == Some(version.as_str()) {
            bail!("{name}@{version} is production; a candidate must be another version");
        }
        aliases.try_out(name, &version, now.as_deref(), args.canary, args.shadow);
    } else {
        aliases.promote(name, &version, now.as_deref());
    }
    Ok(Changed {
        name: name.to_owned(),
        production: if args.candidate {
            now.clone()
        } else {
            Some(version.clone())
        },
        was: now.filter(|n| !args.candidate && *n != version),
        candidate: args.candidate.then_some(version),
        live,
    })
}

pub(super) fn rollback(settings: &Settings, args: &ModelsRollbackArgs) -> anyhow::Result<ExitCode> {
    let (zoo, path) = (settings.zoo(), settings.aliases());
    let changed = Aliases::update(&path, |aliases| {
        let one = |name: &String| -> anyhow::Result<Changed> {
            let versions = versions(&zoo, name)?;
            let before = aliases.production(name, &versions).map(str::to_owned);
            if args.candidate {
                let ended = aliases.end_trial(name)?;
                let live = is_live(&zoo, name, before.as_deref());
                return Ok(Changed {
                    name: name.clone(),
                    production: None,
                    was: Some(ended),
                    candidate: None,
                    live,
                });
            }
            let version = aliases.roll_back(name)?;
            let live = verified(&zoo, name, &version)
                .with_context(|| format!("{name}@{version} is not whole; nothing was changed"))?;
            Ok(Changed {
                name: name.clone(),
                production: Some(version),
                was: before,
                candidate: None,
                live,
            })
        };
        args.models
            .iter()
            .map(one)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    told(&path, &changed, args.json)
}

fn is_live(zoo: &Path, name: &str, version: Option<&str>) -> bool {
    version.is_some_and(|v| verified(zoo, name, v).unwrap_or(false))
}

fn told(path: &Path, changed: &[Changed], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        let value = json!({"aliases": path.display().to_string(), "models": changed});
        output::line(&value.to_string())?;
    } else {
        changed.iter().try_for_each(|c| output::line(&c.line()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn golden(settings: &Settings, args: &ModelsGoldenArgs) -> anyhow::Result<ExitCode> {
    let store = loading::artifact_store(settings);
    let library = settings.models.onnxruntime.as_deref();
    let report = write_golden(&args.dir, library, &store)?;
    if args.json {
        output::line(&serde_json::to_string(&report)?)?;
    } else {
        output::line(&format!(
            "{}: {} answers by {} in {}, tolerance {} ({} for other engines)",
            report.model,
            report.pairs,
            report.made_by,
            report.path.display(),
            report.tolerance,
            report.tolerance_elsewhere,
        ))?;
        for (name, value) in &report.measured {
            output::line(&format!("  {name} = {value}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
