//! `watch` without a service: the same session, with the terminal for a store.

use std::process::ExitCode;
use std::sync::{Arc, Mutex as StdMutex};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use novastream_inference::{Policy, StreamHistory};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};

use super::args::WatchArgs;
use super::stop::StopSign;
use super::watch::Printer;
use crate::loading;
use crate::pool::Pool;
use crate::store::{Committed, StoreError, StoreResult, with_place};
use crate::watch::address::{self, Asker};
use crate::watch::{Session, Sink, Step, Stop, Tools, Watch, WatchRecord, WatchState};

/// Watches until the source ends or the command is stopped.
///
/// # Errors
/// The settings, policy or models cannot be loaded, or stdout cannot be written.
pub fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let mut settings = super::local_settings(args.config.as_deref())?;
    if let Some(path) = &args.policy {
        settings.policy = Some(path.into());
    }
    let runtime = super::runtime()?;
    let stop = StopSign::new(&runtime, args.seconds);
    let url = runtime
        .block_on(address::check(&args.url, &settings.watch, Asker::Local))
        .map_err(|e| anyhow::anyhow!("{} ({})", e.detail, e.code.hint()))?;
    let policy: Arc<Policy> = Arc::clone(loading::policies(&settings)?.default_policy());
    let secret = rand::random::<[u8; 32]>().to_vec();
    let moderator = loading::moderator(&settings, secret.clone())?;

    let (lines, printed) = mpsc::channel(16);
    let sink = Arc::new(TerminalSink {
        history: Arc::new(Mutex::new(StreamHistory::default())),
        lines,
        next: StdMutex::new(0),
    });
    let tools = Tools {
        governor: crate::governor::Governor::default(),
        opener: Arc::new(loading::opener(&settings, secret)),
        judge: Arc::new(moderator),
        pool: Pool::new(settings.workers(), 1),
        sink,
        settings: settings.watch.clone(),
        policy,
    };
    let stream_id = args.stream_id.clone().unwrap_or_else(|| "local".to_owned());
    let record = WatchRecord::new(stream_id, url, None, 0);
    let (end, ended) = watch::channel(None);
    runtime.block_on(async {
        let session = tokio::spawn(Session::new(tools, record, ended).run());
        tokio::spawn(async move {
            stop.up().await;
            let _ = end.send(Some(Stop::Caller));
            // The session may wait for it until its end.
            std::future::pending::<()>().await;
        });
        let printer = print(printed, Printer::new(args.json)).await?;
        let record = session.await.context("the watch broke off")?;
        Ok(printer.finish(record.state))
    })
}

enum Line {
    Verdict(String),
    State(Box<Watch>),
}

/// Prints until the session drops its sink.
async fn print(mut lines: mpsc::Receiver<Line>, mut printer: Printer) -> anyhow::Result<Printer> {
    let mut shown: Option<(WatchState, Option<String>)> = None;
    while let Some(line) = lines.recv().await {
        match line {
            Line::Verdict(text) => printer.verdict(&text)?,
            Line::State(watch) => {
                let face = (watch.state, watch.error.as_ref().map(|e| e.code.clone()));
                if shown.as_ref() != Some(&face) {
                    Printer::state(&watch);
                    shown = Some(face);
                }
            }
        }
    }
    Ok(printer)
}

struct TerminalSink {
    history: Arc<Mutex<StreamHistory>>,
    lines: mpsc::Sender<Line>,
    next: StdMutex<i64>,
}

impl TerminalSink {
    fn place(&self, latency_ms: Option<f64>) -> Committed {
        let mut next = self
            .next
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *next += 1;
        Committed {
            seq: *next,
            latency_ms,
        }
    }
}

impl Sink for TerminalSink {
    fn history<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, StoreResult<OwnedMutexGuard<StreamHistory>>> {
        Arc::clone(&self.history).lock_owned().map(Ok).boxed()
    }

    fn keep(&self, step: Step) -> BoxFuture<'_, StoreResult<Option<Committed>>> {
        async move {
            let watch = Box::new(Watch::from(step.record));
            let Some(new) = step.verdict else {
                self.lines
                    .send(Line::State(watch))
                    .await
                    .map_err(|_| StoreError::Closed)?;
                return Ok(None);
            };
            let json = serde_json::to_string(&new.verdict).map_err(|e| StoreError::Damaged {
                what: "verdict",
                message: e.to_string(),
            })?;
            let place = self.place(new.arrived.map(|at| at.elapsed().as_secs_f64() * 1000.0));
            let text = with_place(place, &json);
            self.lines
                .send(Line::State(watch))
                .await
                .map_err(|_| StoreError::Closed)?;
            self.lines
                .send(Line::Verdict(text))
                .await
                .map_err(|_| StoreError::Closed)?;
            Ok(Some(place))
        }
        .boxed()
    }
}
