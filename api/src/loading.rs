//! From settings to policies, models and sources.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use novastream_features::media::{Sampling, SourceOptions};
use novastream_inference::pace::PaceSettings;
use novastream_inference::recommend::{Recommender, RecommenderLimits};
use novastream_inference::registry::RegistryConfig;
use novastream_inference::{BackendChoice as Backend, Moderator, ModeratorConfig};
use novastream_models::manifest::{MANIFEST_FILE, Manifest};
use novastream_models::recommender::RecommenderBundle;
use novastream_models::store::ArtifactStore;

use crate::config::{BackendChoice, SamplingSettings, Settings};
use crate::policies::Policies;
use crate::watch::LibavOpener;

/// The folder of pulled models: the setting, then `NOVASTREAM_MODELS`, then `DATA_DIR/models`.
pub fn artifact_store(settings: &Settings) -> ArtifactStore {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let root = settings
        .models
        .dir
        .clone()
        .or_else(|| variable("NOVASTREAM_MODELS"))
        .unwrap_or_else(|| settings.data_dir.join("models"));
    ArtifactStore::new(root, variable("NOVASTREAM_MIRROR"))
}

/// The policies that the settings name.
///
/// # Errors
/// A file that is no policy.
pub fn policies(settings: &Settings) -> anyhow::Result<Policies> {
    Policies::load(settings.policy.as_ref(), &settings.policies).context("loading the policies")
}

/// Loads what is there; what is not is reported and left out.
///
/// # Errors
/// A list that cannot be read, or an engine that was demanded and does not load.
pub fn moderator(settings: &Settings, sampling_secret: Vec<u8>) -> anyhow::Result<Moderator> {
    let mut config = ModeratorConfig::from_env().context("the built-in policy")?;
    config.zoo = settings.zoo();
    config.store = artifact_store(settings);
    config.policy = policies(settings)?.default_policy().as_ref().clone();
    config.blocklists.clone_from(&settings.blocklists);
    config.text_lists.clone_from(&settings.text_lists);
    config.onnxruntime.clone_from(&settings.models.onnxruntime);
    config.speech.clone_from(&settings.models.speech);
    if settings.models.threads > 0 {
        config.threads = settings.models.threads;
    }
    config.backend = match settings.models.backend {
        BackendChoice::Auto => Backend::Auto,
        BackendChoice::Onnx => Backend::Onnx,
        BackendChoice::Candle => Backend::Candle,
    };
    config.registry = registry(settings);
    config.sampling.interval_ms = settings.watch.frame_interval_ms;
    config.pace = pace(&settings.sampling);
    config.sampling_secret = sampling_secret;
    config.media_limits.deadline = config
        .media_limits
        .deadline
        .min(Duration::from_millis(settings.limits.deadline_ms));
    config.media_limits.max_bytes = config
        .media_limits
        .max_bytes
        .max(settings.limits.segment_bytes);
    config.image_limits.max_bytes = config
        .image_limits
        .max_bytes
        .max(settings.limits.image_bytes);
    let moderator = Moderator::load(config).context("loading the models and lists")?;
    for model in moderator.models() {
        let reason = model.reason.as_deref().unwrap_or_default();
        tracing::info!(
            name = model.name, version = model.version, state = ?model.state,
            backend = model.backend.as_deref(), reason, "model",
        );
    }
    Ok(moderator)
}

/// How versions of models are swapped.
fn registry(settings: &Settings) -> RegistryConfig {
    let m = &settings.models;
    RegistryConfig {
        aliases: Some(settings.aliases()),
        poll: Duration::from_millis(m.poll_ms),
        probation: Duration::from_secs(m.probation_s),
        error_window: Duration::from_secs(m.error_window_s),
        max_error_rate: m.max_error_rate,
        min_requests: m.min_requests,
        shadow_per_second: m.shadow_per_second,
    }
}

fn pace(s: &SamplingSettings) -> PaceSettings {
    PaceSettings {
        risk_interval_ms: s.risk_interval_ms,
        risk_share: s.risk_share,
        cooldown_ms: s.cooldown_ms,
        new_ms: s.new_ms,
        extra_every: s.extra_every,
        still_after: s.still_after,
        still_interval_ms: s.still_interval_ms,
        read_interval_ms: s.read_interval_ms,
        read_idle_interval_ms: s.read_idle_interval_ms,
        near_bits: s.near_bits,
        max_interval_ms: s.max_interval_ms,
    }
}

/// The recommender with the model that the settings name, or with none.
///
/// # Errors
/// A folder that is no sound recommender.
pub fn recommender(settings: &Settings) -> anyhow::Result<Recommender> {
    let s = &settings.recommend;
    let limits = RecommenderLimits {
        users: s.users,
        streams: s.streams,
        ..RecommenderLimits::default()
    };
    let model = match &s.model {
        Some(dir) => {
            let failed = || format!("loading the recommender {}", dir.display());
            let bundle = RecommenderBundle::load(dir).with_context(failed)?;
            let path = dir.join(MANIFEST_FILE);
            let text = std::fs::read_to_string(&path).with_context(failed)?;
            let manifest = Manifest::from_toml(&text, &path.display().to_string())?;
            tracing::info!(model = manifest.id(), "recommender");
            Some((bundle, manifest.id()))
        }
        None => None,
    };
    Recommender::new(model, limits).context("the serving clock")
}

/// Opens what a watch is to see.
pub fn opener(settings: &Settings, secret: Vec<u8>) -> LibavOpener {
    let w = &settings.watch;
    let options = SourceOptions {
        window_ms: w.window_ms,
        open_timeout: Duration::from_millis(w.open_timeout_ms),
        read_timeout: Duration::from_millis(w.read_timeout_ms),
        sampling: Sampling {
            interval_ms: w.frame_interval_ms,
            ..Sampling::default()
        },
        ..SourceOptions::default()
    };
    LibavOpener { options, secret }
}

/// The secret from which the places of extra frames are drawn. Kept in the data folder, so that the
/// same segment is looked at in the same places after a restart.
///
/// # Errors
/// The file cannot be read or made.
pub fn sampling_secret(data_dir: &Path) -> anyhow::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = data_dir.join("sampling.key");
    match std::fs::read(&path) {
        Ok(secret) if secret.len() >= 16 => return Ok(secret),
        Ok(_) => tracing::warn!(path = %path.display(), "too short; making a new one"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
    }
    let secret: [u8; 32] = rand::random();
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options
        .open(&path)
        .with_context(|| format!("making {}", path.display()))?;
    file.write_all(&secret)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(secret.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = sampling_secret(dir.path()).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(sampling_secret(dir.path()).unwrap(), first);
    }
}
