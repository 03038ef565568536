//! `novastream serve`: start, run, stop.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::accept::{self, Bounds};
use crate::app::App;
use crate::config::Settings;
use crate::evidence::Clips;
use crate::http;
use crate::lifecycle::{Lifecycle, Phase};
use crate::loading;
use crate::recommend;
use crate::store::{SqliteStore, Store};
use crate::telemetry::{self, names};

/// Time at the end for evidence clips that are still to be stored.
const CLIP_GRACE: Duration = Duration::from_secs(5);

/// Runs the service until SIGTERM or SIGINT. Prints `listening on http://ADDR` on stdout once it
/// takes requests; `ready_file`, when given, gets the same URL.
///
/// # Errors
/// The address, the data folder, the database, a policy or a list cannot be used. A missing model
/// is no error.
pub async fn run(settings: Settings, ready_file: Option<PathBuf>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("making the data folder {}", settings.data_dir.display()))?;
    let _lock = lock(&settings.database())?;
    // First, so that a port in use is known before the models are loaded.
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("listening on {} (setting `listen`)", settings.listen))?;
    let address = listener.local_addr()?;

    let metrics = telemetry::metrics()?;
    let policies = loading::policies(&settings)?;
    let secret = loading::sampling_secret(&settings.data_dir)?;
    let (loaded, key) = (settings.clone(), secret.clone());
    let load = move || loading::moderator(&loaded, key);
    let mut moderator = tokio::task::spawn_blocking(load).await??;
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&settings.database(), &settings.store).await?);
    let clips = Clips::open(&settings.evidence, Arc::clone(&store))?;
    if let Some(clips) = &clips {
        moderator = moderator.with_clips(Arc::new(clips.clone()));
    }
    let opener = Arc::new(loading::opener(&settings, secret.clone()));
    let recommender = Arc::new(loading::recommender(&settings)?);
    let events = recommend::refill(&store, &recommender).await?;
    if events > 0 {
        tracing::info!(events, "behaviour events are back in memory");
    }
    let mut app = App::new(
        settings,
        Arc::new(moderator),
        policies,
        Arc::clone(&store),
        opener,
        recommender,
        metrics,
    );
    if let Some(clips) = &clips {
        let interval = Duration::from_secs(app.settings.retention.interval_s);
        tokio::spawn(clips.clone().keep_within_bounds(interval));
    }
    app.clips.clone_from(&clips);

    tokio::spawn(telemetry::upkeep(app.metrics.clone()));
    tokio::spawn(prune(app.clone()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let governor = app.governor.clone();
    tokio::spawn(governor.run(app.settings.sampling.clone(), app.pool.clone(), cores));
    tokio::spawn(signals(
        app.lifecycle.clone(),
        app.settings.shutdown.drain_delay_ms,
    ));
    let resumed = app.watches.resume().await?;
    if resumed > 0 {
        tracing::info!(watches = resumed, "watches go on");
    }
    announce(address, ready_file.as_deref())?;
    serve(listener, &app).await;

    app.watches.suspend_all().await;
    if let Some(clips) = &clips
        && !clips.flush(CLIP_GRACE).await
    {
        tracing::warn!("some evidence clips that verdicts name were not stored in time");
    }
    app.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// One process a database: two would both pull the same watches.
fn lock(database: &Path) -> anyhow::Result<File> {
    if let Some(folder) = database.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
    }
    let path = database.with_extension("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "{} is in use by another novastream: stop it, or set data_dir",
                database.display()
            )
        }
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("locking {}", path.display()))
        }
    }
}

#[allow(
    clippy::print_stdout,
    reason = "programs that start the service read this line"
)]
fn announce(address: SocketAddr, ready_file: Option<&Path>) -> anyhow::Result<()> {
    println!("listening on http://{address}");
    tracing::info!(%address, "listening");
    if let Some(path) = ready_file {
        std::fs::write(path, format!("http://{address}\n"))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Serves until the lifecycle says stop, then lets requests in flight finish.
async fn serve(listener: TcpListener, app: &App) {
    let life = app.lifecycle.clone();
    let stopping = async move { life.reached(Phase::Stopping).await };
    let router = http::router(app.clone());
    let server = accept::serve(listener, router, Bounds::default(), stopping);
    let grace = Duration::from_secs(app.settings.shutdown.grace_s);
    tokio::select! {
        () = server => {}
        () = async {
            app.lifecycle.reached(Phase::Stopping).await;
            tokio::time::sleep(grace).await;
        } => {
            tracing::warn!(seconds = grace.as_secs(), "requests in flight did not finish in time");
        }
    }
}

/// Turns the first SIGTERM or SIGINT into an orderly end, and the second into an immediate one.
async fn signals(life: Lifecycle, drain_delay_ms: u64) {
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("no signal handler; only SIGKILL will stop this process");
        return;
    };
    let mut first = true;
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if !first {
            tracing::warn!("second signal: stopping at once; watches go on at the next start");
            std::process::exit(130);
        }
        first = false;
        tracing::info!("stopping");
        life.advance(Phase::Draining);
        let life = life.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(drain_delay_ms)).await;
            life.advance(Phase::Stopping);
        });
    }
}

/// Applies the retention rules now and then.
async fn prune(app: App) {
    let rules = &app.settings.retention;
    loop {
        tokio::time::sleep(Duration::from_secs(rules.interval_s)).await;
        match app.store.prune(rules.clone()).await {
            Ok(gone) if gone.verdicts + gone.others > 0 => {
                metrics::counter!(names::STORE_PRUNED).increment(gone.verdicts + gone.others);
                tracing::info!(verdicts = gone.verdicts, others = gone.others, "pruned");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "pruning failed; it is tried again"),
        }
    }
}
