//! One watch from its start to its end: open, judge window by window, reconnect, give up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use novastream_features::media::{MediaError, MediaInfo, Tempo};
use novastream_inference::{Policy, StreamHistory, Verdict};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::outage::{Presence, hopeless};
use super::queue::{Item, Span};
use super::record::{WatchError, WatchRecord, WatchState};
use super::sink::{Sink, Step};
use super::source::{self, Arrived, News, Opener, Queue};
use super::timeline::{Place, Timeline};
use super::unjudged;
use crate::clock;
use crate::config::WatchSettings;
use crate::governor::Governor;
use crate::judge::{Context, Judge};
use crate::pool::Pool;
use crate::store::{Committed, NewVerdict};
use crate::telemetry::{self, names};

/// Why a session is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A caller wants no more of it.
    Caller,
    /// The process ends; the watch goes on when it starts again.
    Shutdown,
}

/// What every session needs.
#[derive(Clone)]
pub struct Tools {
    /// Opens the source.
    pub opener: Arc<dyn Opener>,
    /// Judges the windows.
    pub judge: Arc<dyn Judge>,
    /// Runs the judge.
    pub pool: Pool,
    /// Keeps the verdicts.
    pub sink: Arc<dyn Sink>,
    /// Times and sizes.
    pub settings: WatchSettings,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// How much pictures are spread out.
    pub governor: Governor,
}

/// How one attempt to read the source ended.
enum End {
    /// The source has nothing more, and never will.
    Complete,
    /// A live source ended; it may come back.
    Clean,
    Failed(MediaError),
    GivenUp,
    Asked(Stop),
}

/// A watch at work.
pub struct Session {
    tools: Tools,
    record: WatchRecord,
    timeline: Timeline,
    presence: Presence,
    backoff: Backoff,
    stop: watch::Receiver<Option<Stop>>,
    gauge: telemetry::StateGauge,
    /// Shared with the reader.
    tempo: Tempo,
}

impl Session {
    /// A session that goes on where `record` stands.
    pub fn new(tools: Tools, mut record: WatchRecord, stop: watch::Receiver<Option<Stop>>) -> Self {
        if record.position.judged_ms.is_some() {
            // The time in which nobody watched is an outage like any other.
            record.state = WatchState::Reconnecting;
        }
        let ms = Duration::from_millis;
        Self {
            timeline: Timeline::new(record.position),
            backoff: Backoff::new(
                ms(tools.settings.backoff_min_ms),
                ms(tools.settings.backoff_max_ms),
            ),
            presence: Presence::absent(),
            gauge: telemetry::StateGauge::new(record.state.as_str()),
            tools,
            record,
            stop,
            tempo: Tempo::default(),
        }
    }

    /// Works until the source ends, the watch is given up, or it is asked to stop. Gives the record
    /// as it was kept last.
    pub async fn run(mut self) -> WatchRecord {
        let (id, stream_id) = (self.record.id.clone(), self.record.stream_id.clone());
        tracing::info!(watch = %id, stream = %stream_id, "watching");
        self.keep_record().await;
        loop {
            match self.attempt().await {
                End::Asked(Stop::Shutdown) => break,
                End::Asked(Stop::Caller) => {
                    self.finish(WatchState::Stopped).await;
                    break;
                }
                End::Complete => {
                    self.record.error = None;
                    self.finish(WatchState::Ended).await;
                    break;
                }
                End::Clean => self.lose(true),
                End::Failed(error) => {
                    self.lose(false);
                    tracing::warn!(watch = %id, %error, "the source is lost");
                    self.record.error = Some(WatchError {
                        code: error.code().into(),
                        message: error.to_string(),
                    });
                    if hopeless(&error, &self.record.url, self.had_data()) {
                        self.finish(WatchState::Failed).await;
                        break;
                    }
                }
                End::GivenUp => {
                    self.give_up().await;
                    break;
                }
            }
            self.keep_record().await;
            match self.pause().await {
                None => {}
                Some(End::GivenUp) => {
                    self.give_up().await;
                    break;
                }
                Some(End::Asked(Stop::Caller)) => {
                    self.finish(WatchState::Stopped).await;
                    break;
                }
                Some(_) => break,
            }
        }
        let state = self.record.state;
        tracing::info!(watch = %id, stream = %stream_id, %state, "no longer watching");
        self.record
    }

    /// Opens the source once and judges what it gives.
    async fn attempt(&mut self) -> End {
        let queue = Arc::new(Queue::new(self.tools.settings.queue_windows));
        let url = self.record.url.clone();
        let _reader = {
            let opener = Arc::clone(&self.tools.opener);
            source::start(opener, url, Arc::clone(&queue), self.tempo.clone())
        };
        let mut fixed_end = false;
        loop {
            let give_up = self.give_up_at();
            let item = tokio::select! {
                biased;
                stop = asked(&mut self.stop) => return End::Asked(stop),
                () = past(give_up) => {
                    return End::GivenUp;
                }
                item = queue.pop() => item,
            };
            match item {
                Item::Event(News::Opened { media, known_end }) => {
                    if known_end && self.is_over() {
                        // The playlist that ended says itself that it is finished.
                        return End::Complete;
                    }
                    fixed_end = known_end;
                    self.record.media = Some(media);
                    self.timeline.opened(known_end);
                }
                Item::Event(News::End { known_end: true }) => return End::Complete,
                Item::Event(News::End { known_end: false }) => return End::Clean,
                Item::Event(News::Failed(error)) => return End::Failed(error),
                Item::Window(arrived) => self.window(arrived, fixed_end).await,
                Item::Shed { span, windows } => self.shed(span, windows).await,
            }
        }
    }

    /// Judges one window, unless it was judged before.
    async fn window(&mut self, arrived: Arrived, fixed_end: bool) {
        let Arrived {
            mut window,
            marks,
            at,
            unix_ms,
        } = arrived;
        let (start_ms, end_ms) = (window.start_ms, window.end_ms);
        let memory = &mut self.record.memory;
        let doubtful = self.timeline.doubtful(start_ms);
        let recognised = doubtful.is_some_and(|until| memory.recognises(&marks, until));
        let place = self.timeline.place(start_ms, end_ms, unix_ms, recognised);
        let Place::New {
            shift_ms,
            hole,
            other_clock,
        } = place
        else {
            self.record.counts.repeated += 1;
            metrics::counter!(names::WATCH_WINDOWS, "outcome" => "repeated").increment(1);
            if fixed_end {
                // Reading a file again up to where it was judged is progress.
                self.presence.progress();
            }
            return;
        };
        if other_clock {
            memory.clear();
        }
        memory.note(&marks);
        let reason = self.recovered();
        if let Some((from, to)) = hole {
            self.gap(from, to, &reason).await;
        }
        window.start_ms += shift_ms;
        window.end_ms += shift_ms;
        for frame in &mut window.frames {
            frame.timestamp_ms += shift_ms;
        }
        if let Some(audio) = &mut window.audio {
            audio.start_ms += shift_ms;
        }
        let span = Span {
            start_ms: window.start_ms,
            end_ms: window.end_ms,
        };

        let Ok(mut held) = self.tools.sink.history(&self.record.stream_id).await else {
            let reason = "the stream's history could not be read";
            let verdict = self.unjudged_window(span, "store", reason);
            self.keep(
                NewVerdict {
                    verdict,
                    arrived: Some(at),
                },
                None,
            )
            .await;
            return;
        };
        let mut history = held.clone();
        let context = self.context();
        let (judge, info) = (Arc::clone(&self.tools.judge), self.media());
        let judged = self.tools.pool.run_patiently(move || {
            let verdict = judge.window(window, &info, &context, &mut history);
            (verdict, history)
        });
        let (verdict, history) = match judged.await {
            Ok((verdict, history)) => (verdict, Some(history)),
            Err(error) => (self.unjudged_window(span, "internal", &error.detail), None),
        };
        self.count_window(&verdict);
        self.tools.governor.judged(&verdict);
        metrics::counter!(names::WATCH_WINDOWS, "outcome" => "judged").increment(1);
        let kept = self
            .keep(
                NewVerdict {
                    verdict,
                    arrived: Some(at),
                },
                history.clone(),
            )
            .await;
        if let Some(history) = history {
            let stretch = self.tools.governor.percent();
            if let Some((interval, every)) = self.tools.judge.tempo(&history, stretch) {
                self.tempo.set(interval, every);
            }
            *held = history;
        }
        if kept.is_some() {
            self.record.last_latency_ms = kept.and_then(|c| c.latency_ms);
            metrics::histogram!(names::WINDOW_LATENCY_SECONDS).record(at.elapsed());
        }
    }

    /// Records windows that analysis had no time for.
    async fn shed(&mut self, span: Span, windows: u32) {
        let now = clock::unix_ms();
        let place = self.timeline.place(span.start_ms, span.end_ms, now, false);
        let Place::New {
            shift_ms,
            hole,
            other_clock,
        } = place
        else {
            self.record.counts.repeated += u64::from(windows);
            return;
        };
        if other_clock {
            self.record.memory.clear();
        }
        let reason = self.recovered();
        if let Some((from, to)) = hole {
            self.gap(from, to, &reason).await;
        }
        let span = Span {
            start_ms: span.start_ms + shift_ms,
            end_ms: span.end_ms + shift_ms,
        };
        tracing::warn!(watch = %self.record.id, windows, "analysis lags; windows were shed");
        metrics::counter!(names::WATCH_WINDOWS, "outcome" => "shed").increment(windows.into());
        self.record.counts.shed += u64::from(windows);
        let reason = format!("shed: analysis fell behind by {windows} windows");
        let verdict = self.unjudged_window(span, "source", &reason);
        self.keep(verdict.into(), None).await;
    }

    /// Records a stretch that never arrived.
    async fn gap(&mut self, start_ms: i64, end_ms: i64, reason: &str) {
        tracing::warn!(watch = %self.record.id, start_ms, end_ms, reason, "gap");
        self.record.counts.gaps += 1;
        let span = Span { start_ms, end_ms };
        let verdict = unjudged::gap(&self.context(), &self.tools.policy, span, reason);
        let Ok(mut held) = self.tools.sink.history(&self.record.stream_id).await else {
            self.keep(verdict.into(), None).await;
            return;
        };
        // What was seen before the gap confirms nothing after it.
        let mut history = held.clone();
        history.forget();
        self.keep(verdict.into(), Some(history.clone())).await;
        *held = history;
    }

    fn media(&self) -> MediaInfo {
        let unknown = || MediaInfo {
            container: String::new(),
            video: None,
            audio: None,
        };
        self.record.media.clone().unwrap_or_else(unknown)
    }

    fn unjudged_window(&mut self, span: Span, component: &str, reason: &str) -> Verdict {
        let context = self.context();
        unjudged::window(&context, &self.tools.policy, span, component, reason)
    }

    fn count_window(&mut self, verdict: &Verdict) {
        self.record.counts.windows += 1;
        if unjudged::notable(verdict) {
            self.record.counts.notable += 1;
        }
    }

    /// What the next verdict is about; uses up a sequence number.
    fn context(&mut self) -> Context {
        let sequence = self.record.sequence;
        self.record.sequence += 1;
        Context {
            stream_id: Some(self.record.stream_id.clone()),
            sequence: Some(sequence),
            start_ms: None,
            stretch_percent: self.tools.governor.percent(),
            policy: self.tools.policy.clone(),
        }
    }

    /// New content arrived. Gives the reason for an outage that ends with it.
    fn recovered(&mut self) -> String {
        let reason = match (self.presence.returned(), self.record.error.take()) {
            (None, _) => "the source's clock jumped".to_owned(),
            (Some(outage), None) if outage.clean => "the source ended and came back".to_owned(),
            (Some(_), None) => "nobody watched".to_owned(),
            (Some(_), Some(e)) => format!("{}: {}", e.code, e.message),
        };
        self.backoff.reset();
        self.set_state(WatchState::Running);
        reason
    }

    /// The source gives nothing more for now; `clean` when it said so itself.
    fn lose(&mut self, clean: bool) {
        if self.presence.lost(clean) {
            self.record.counts.outages += 1;
            metrics::counter!(names::WATCH_OUTAGES).increment(1);
        }
        if self.had_data() {
            self.set_state(WatchState::Reconnecting);
        }
    }

    fn had_data(&self) -> bool {
        self.timeline.position().judged_ms.is_some()
    }

    /// Whether the stream came to an end, rather than broke.
    fn is_over(&self) -> bool {
        self.had_data() && self.presence.outage().is_some_and(|o| o.clean)
    }

    fn give_up_at(&self) -> Option<Instant> {
        let had_data = self.had_data();
        self.presence.give_up_at(&self.tools.settings, had_data)
    }

    /// Waits before the next attempt; gives what ended the waiting early.
    async fn pause(&mut self) -> Option<End> {
        let pause = self.backoff.next_pause();
        let give_up = self.give_up_at();
        tokio::select! {
            stop = asked(&mut self.stop) => Some(End::Asked(stop)),
            () = past(give_up) => Some(End::GivenUp),
            () = tokio::time::sleep(pause) => None,
        }
    }

    async fn give_up(&mut self) {
        if self.is_over() {
            self.record.error = None;
            self.finish(WatchState::Ended).await;
            return;
        }
        if self.record.error.is_none() {
            let message = "the source gave nothing".to_owned();
            self.record.error = Some(WatchError {
                code: "source_stalled".into(),
                message,
            });
        }
        if let Some((from, to)) = self.timeline.missing_until(clock::unix_ms()) {
            let why = self.record.error.as_ref().map_or("", |e| e.code.as_str());
            self.gap(from, to, &format!("given up: {why}")).await;
        }
        self.finish(WatchState::Failed).await;
    }

    async fn finish(&mut self, state: WatchState) {
        self.set_state(state);
        self.keep_record().await;
    }

    fn set_state(&mut self, state: WatchState) {
        self.record.state = state;
        self.gauge.change(state.as_str());
    }

    async fn keep_record(&mut self) {
        self.keep_step(None, None).await;
    }

    async fn keep(
        &mut self,
        verdict: NewVerdict,
        history: Option<StreamHistory>,
    ) -> Option<Committed> {
        self.keep_step(Some(verdict), history).await
    }

    /// Keeps a step; tries again until it is kept, because what is not kept is lost. Gives up only
    /// when the watch is asked to stop: then nothing was acknowledged, and the stretch is read
    /// again or becomes a gap.
    async fn keep_step(
        &mut self,
        verdict: Option<NewVerdict>,
        history: Option<StreamHistory>,
    ) -> Option<Committed> {
        self.record.updated_unix_ms = clock::unix_ms();
        self.record.position = self.timeline.position();
        let step = Step {
            verdict,
            history,
            record: self.record.clone(),
        };
        loop {
            match self.tools.sink.keep(step.clone()).await {
                Ok(committed) => return committed,
                Err(error) => tracing::error!(watch = %self.record.id, %error, "not stored"),
            }
            tokio::select! {
                _ = asked(&mut self.stop) => return None,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}

/// Waits until `at`; forever when there is no such time.
async fn past(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until the session is asked to stop. A requester that is gone counts as a shutdown.
async fn asked(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(reason) => reason.unwrap_or(Stop::Shutdown),
        Err(_) => Stop::Shutdown,
    }
}
