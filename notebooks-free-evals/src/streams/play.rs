//! Sending the segments, each stream's when they are due, and counting what comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::clips::Clips;
use super::server::Service;
use super::{SEGMENT, StepReport, StreamOptions};
use crate::cpu;
use crate::error::EvalError;
use crate::load::recorder::{Outcome, Recorder};
use crate::load::server::Watch;

/// Number of a step, which makes its streams new ones, and how many there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub streams: usize,
    pub number: usize,
}

/// The parts of a verdict that are counted.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    degraded: Vec<Missing>,
    sampling: Option<Sampled>,
}

#[derive(Debug, Deserialize)]
struct Missing {
    component: String,
}

#[derive(Debug, Deserialize)]
struct Sampled {
    looked: u64,
    carried: u64,
}

/// What was counted of the measured segments.
struct Counted {
    recorder: Recorder,
    verdicts: u64,
    degraded: BTreeMap<String, u64>,
    looked: u64,
    carried: u64,
}

impl Counted {
    fn new() -> Result<Self, EvalError> {
        Ok(Self {
            recorder: Recorder::new()?,
            verdicts: 0,
            degraded: BTreeMap::new(),
            looked: 0,
            carried: 0,
        })
    }

    fn add(&mut self, outcome: Outcome, answer: Option<Answer>, sent: u64, due: Instant) {
        let end = Instant::now();
        let latency = end.saturating_duration_since(due);
        self.recorder.add(outcome, sent, latency, end);
        let Some(answer) = answer else {
            return;
        };
        self.verdicts += 1;
        let mut components: Vec<String> =
            answer.degraded.into_iter().map(|d| d.component).collect();
        components.sort();
        components.dedup();
        for component in components {
            *self.degraded.entry(component).or_default() += 1;
        }
        if let Some(sampled) = answer.sampling {
            self.looked += sampled.looked;
            self.carried += sampled.carried;
        }
    }
}

/// How long all streams play before measuring, where the warm-up is that long: beyond the time for which
/// a new one is looked at more closely.
const SETTLE: Duration = Duration::from_secs(14);

/// Plays streams against one service.
pub(super) struct Player {
    client: Client,
    endpoint: Url,
    clips: Clips,
    pid: Option<u32>,
    run: String,
    warmup: Duration,
    seconds: Duration,
    limit_ms: f64,
    stretched: f64,
}

impl Player {
    pub(super) fn new(
        client: Client,
        service: &Service,
        clips: Clips,
        options: &StreamOptions,
    ) -> Result<Arc<Self>, EvalError> {
        let address = format!("{}/v1/moderate/segment", service.target);
        let endpoint = Url::parse(&address).map_err(|e| EvalError::Target {
            target: service.target.clone(),
            reason: e.to_string(),
        })?;
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let run = since.map_or(0, |d| d.as_millis());
        Ok(Arc::new(Self {
            client,
            endpoint,
            clips,
            pid: service.pid,
            run: format!("streams-{run}"),
            warmup: Duration::from_secs_f64(options.warmup),
            seconds: Duration::from_secs_f64(options.seconds),
            limit_ms: options.limit,
            stretched: options.stretched,
        }))
    }

    /// Plays a number of streams in real time.
    pub(super) async fn step(self: &Arc<Self>, step: Step) -> Result<StepReport, EvalError> {
        let counted = Arc::new(Mutex::new(Counted::new()?));
        let start = Instant::now() + Duration::from_millis(50);
        let measure = start + self.warmup;
        let end = measure + self.seconds;
        let ramp = self.warmup.saturating_sub(SETTLE);
        let mut streams = JoinSet::new();
        for stream in 0..step.streams {
            let place = stream as f64 / step.streams as f64;
            let offset = ramp.mul_f64(place) + SEGMENT.mul_f64(place);
            let (player, counted) = (Arc::clone(self), Arc::clone(&counted));
            let name = format!("{}-{}-{stream}", self.run, step.number);
            streams.spawn(async move {
                let mut sent = JoinSet::new();
                for turn in 0.. {
                    let due = start + offset + SEGMENT * turn;
                    if due >= end {
                        break;
                    }
                    tokio::time::sleep_until(due.into()).await;
                    let (player, counted) = (Arc::clone(&player), Arc::clone(&counted));
                    let name = name.clone();
                    // The next segment is due whether this one has its verdict or not.
                    sent.spawn(async move {
                        let (outcome, answer, bytes) =
                            player.send(&name, stream, u64::from(turn)).await;
                        if due >= measure {
                            lock(&counted).add(outcome, answer, bytes, due);
                        }
                    });
                    while sent.try_join_next().is_some() {}
                }
                while sent.join_next().await.is_some() {}
            });
        }
        let watch = self.watch(measure);
        let cpu = self.cpu_between(measure, end);
        let (watch, cpu) = tokio::join!(watch, cpu);
        while let Some(stream) = streams.join_next().await {
            stream.map_err(|e| EvalError::internal(format!("a stream failed: {e}")))?;
        }
        let stream_seconds = step.streams as f64 * self.seconds.as_secs_f64();
        let elapsed = measure.elapsed().as_secs_f64();
        Ok(self.report(step.streams, stream_seconds, elapsed, &counted, watch?, cpu))
    }

    /// Plays streams as fast as they are answered until so much of them went through.
    pub(super) async fn soak(
        self: &Arc<Self>,
        streams: usize,
        stream_seconds: f64,
    ) -> Result<StepReport, EvalError> {
        let counted = Arc::new(Mutex::new(Counted::new()?));
        let wanted = (stream_seconds / SEGMENT.as_secs_f64()).ceil() as u64;
        let turns = Arc::new(AtomicU64::new(0));
        let (start, before) = (Instant::now(), self.pid.and_then(cpu::seconds_of));
        let watch = self.watch(start).await?;
        let mut playing = JoinSet::new();
        for stream in 0..streams {
            let (player, counted, turns) =
                (Arc::clone(self), Arc::clone(&counted), Arc::clone(&turns));
            let name = format!("{}-soak-{stream}", self.run);
            playing.spawn(async move {
                let mut turn = 0;
                while turns.fetch_add(1, Ordering::Relaxed) < wanted {
                    let due = Instant::now();
                    let (outcome, answer, bytes) = player.send(&name, stream, turn).await;
                    let refused = answer.is_none();
                    lock(&counted).add(outcome, answer, bytes, due);
                    turn += 1;
                    if refused {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(30));
        loop {
            tokio::select! {
                done = playing.join_next() => match done {
                    None => break,
                    Some(Ok(())) => {}
                    Some(Err(e)) => return Err(EvalError::internal(format!("a stream failed: {e}"))),
                },
                _ = ticks.tick() => {
                    let hours = turns.load(Ordering::Relaxed).min(wanted) as f64 / 1800.0;
                    eprintln!("{hours:.2} hours of streams in {:.0} s", start.elapsed().as_secs_f64());
                }
            }
        }
        let cpu = self.pid.and_then(cpu::seconds_of).zip(before);
        let played = lock(&counted).verdicts as f64 * SEGMENT.as_secs_f64();
        let elapsed = start.elapsed().as_secs_f64();
        let cpu = cpu.map(|(now, before)| now - before);
        Ok(self.report(streams, played, elapsed, &counted, watch, cpu))
    }

    async fn watch(&self, from: Instant) -> Result<Option<Watch>, EvalError> {
        match self.pid {
            None => Ok(None),
            Some(pid) => {
                let warmup = from.saturating_duration_since(Instant::now());
                Watch::start(pid, warmup).await.map(Some)
            }
        }
    }

    /// CPU seconds of the service between two moments.
    async fn cpu_between(&self, from: Instant, to: Instant) -> Option<f64> {
        let pid = self.pid?;
        tokio::time::sleep_until(from.into()).await;
        let before = cpu::seconds_of(pid)?;
        tokio::time::sleep_until(to.into()).await;
        Some(cpu::seconds_of(pid)? - before)
    }

    fn report(
        &self,
        streams: usize,
        stream_seconds: f64,
        elapsed_s: f64,
        counted: &Mutex<Counted>,
        watch: Option<Watch>,
        cpu_s: Option<f64>,
    ) -> StepReport {
        let counted = lock(counted);
        let recorder = &counted.recorder;
        let server = watch.and_then(|watch| watch.stop(recorder.accepted()));
        let share = |n: u64| n as f64 / counted.verdicts.max(1) as f64;
        let latency_ms = recorder.accepted_latency();
        let refused = recorder.rejected();
        let answered = recorder.answered();
        let failed = answered - recorder.accepted() - refused + recorder.errors().total();
        let stretched = counted.degraded.get("sampling").copied().map_or(0.0, share);
        let seconds = stream_seconds.max(f64::MIN_POSITIVE);
        let in_time = latency_ms.is_some_and(|l| l.p95 <= self.limit_ms);
        let growth = server.map(|s| s.rss_slope_mib_per_minute * elapsed_s / 60.0);
        StepReport {
            streams,
            good: in_time && refused == 0 && failed == 0 && stretched <= self.stretched,
            stream_seconds,
            elapsed_s,
            latency_ms,
            refused,
            failed,
            degraded: counted
                .degraded
                .iter()
                .map(|(c, n)| (c.clone(), share(*n)))
                .collect(),
            stretched,
            pictures_per_stream_second: counted.looked as f64 / seconds,
            carried_per_stream_second: counted.carried as f64 / seconds,
            cpu_s_per_stream_second: cpu_s.map(|cpu| cpu / seconds),
            server,
            rss_slope_mib_per_stream_hour: growth.map(|mib| mib / (seconds / 3600.0)),
        }
    }

    /// Sends one segment and waits for its verdict.
    async fn send(&self, name: &str, stream: usize, turn: u64) -> (Outcome, Option<Answer>, u64) {
        let bytes = self.clips.segment(stream, turn);
        let sent = bytes.len() as u64;
        let mut url = self.endpoint.clone();
        url.query_pairs_mut()
            .append_pair("stream_id", name)
            .append_pair("sequence", &turn.to_string())
            .append_pair("start_ms", &(turn * SEGMENT.as_millis() as u64).to_string());
        let exchanged = async {
            let response = self.client.post(url).body(bytes).send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        match exchanged.await {
            Ok((status, body)) => {
                let accepted = (200..300).contains(&status);
                let answer = accepted
                    .then(|| serde_json::from_slice(&body).ok())
                    .flatten();
                let received = body.len() as u64;
                (Outcome::Answered { status, received }, answer, sent)
            }
            Err(e) if e.is_timeout() => (Outcome::TimedOut, None, sent),
            Err(e) if e.is_connect() => (Outcome::NotConnected(e.to_string()), None, sent),
            Err(e) => (Outcome::Broken(e.to_string()), None, sent),
        }
    }
}

fn lock(counted: &Mutex<Counted>) -> std::sync::MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every segment after `delay` with a verdict, every fourth of them thinned out.
    async fn service(delay: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::new(AtomicU64::new(0));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut buffer = vec![0u8; 4096];
                    while socket.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        tokio::time::sleep(delay).await;
                        let thin = count.fetch_add(1, Ordering::Relaxed) % 4 == 3;
                        let degraded = if thin {
                            r#"{"component":"sampling","reason":"x"}"#
                        } else {
                            ""
                        };
                        let body = format!(
                            r#"{{"degraded":[{degraded}],"sampling":{{"looked":1,"carried":2}}}}"#
                        );
                        let head =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        if socket.write_all((head + &body).as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        target
    }

    async fn player(delay: Duration, limit_ms: f64, stretched: f64) -> Arc<Player> {
        let target = service(delay).await;
        Arc::new(Player {
            client: Client::builder().no_proxy().build().unwrap(),
            endpoint: Url::parse(&format!("{target}/v1/moderate/segment")).unwrap(),
            clips: Clips::of(vec![vec![bytes::Bytes::from_static(b"segment")]]),
            pid: Some(std::process::id()),
            run: "test".into(),
            warmup: Duration::ZERO,
            seconds: Duration::from_secs(4),
            limit_ms,
            stretched,
        })
    }

    #[tokio::test]
    async fn streams_are_paced_and_verdicts_are_counted() {
        let player = player(Duration::from_millis(30), 1000.0, 0.3).await;
        let start = Instant::now();
        let step = player
            .step(Step {
                streams: 4,
                number: 0,
            })
            .await
            .unwrap();
        assert!(start.elapsed() >= Duration::from_secs(3), "real time");
        let latency = step.latency_ms.unwrap();
        // Four streams with a segment every two seconds, four seconds long.
        assert_eq!(latency.count, 8);
        assert!(latency.p50 >= 30.0 && step.failed == 0 && step.refused == 0);
        assert_eq!(step.stretched, 0.25);
        assert_eq!(step.pictures_per_stream_second, 0.5);
        assert!(step.good, "{step:?}");
    }

    #[tokio::test]
    async fn late_or_thinned_out_verdicts_make_a_step_bad() {
        let step = Step {
            streams: 2,
            number: 0,
        };
        let slow = player(Duration::from_millis(120), 100.0, 1.0).await;
        assert!(!slow.step(step).await.unwrap().good);
        let thin = player(Duration::ZERO, 1000.0, 0.1).await;
        assert!(!thin.step(step).await.unwrap().good);
    }

    #[tokio::test]
    async fn a_soak_ends_when_enough_went_through() {
        let player = player(Duration::from_millis(1), 1000.0, 1.0).await;
        let soak = player.soak(3, 200.0).await.unwrap();
        assert_eq!(soak.stream_seconds, 200.0);
        assert!(soak.rss_slope_mib_per_stream_hour.is_some() || !cfg!(target_os = "linux"));
    }
}
