//! Measures how busy the machine is, and spreads the pictures of all streams alike when it is too
//! busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use novastream_inference::Verdict;
use novastream_inference::pace::{Control, GovernorSettings, UNSTRETCHED};

use crate::config::SamplingSettings;
use crate::pool::Pool;
use crate::telemetry::names;

/// Time between two looks at the workers.
const TICK: Duration = Duration::from_millis(100);
/// Looks that one measurement is made of.
const TICKS: u32 = 20;
/// A backlog counts as no more than this load: how long it is says little about how much too fast
/// the work comes.
const MOST: f64 = 1.5;
/// Ticks per second in `/proc/self/stat`, fixed by Linux.
const CLOCK_HZ: f64 = 100.0;

/// The stretch in force, and the stream time that was judged. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Governor {
    percent: Arc<AtomicU32>,
    judged_ms: Arc<AtomicU64>,
}

impl Governor {
    /// What the time between two pictures of a stream is multiplied with, in percent.
    pub fn percent(&self) -> u32 {
        self.percent.load(Ordering::Relaxed).max(UNSTRETCHED)
    }

    /// Takes note of a judged stretch of a stream.
    pub fn judged(&self, verdict: &Verdict) {
        let span = verdict.end_ms.zip(verdict.start_ms);
        let ms = span.map_or(0, |(end, start)| u64::try_from(end - start).unwrap_or(0));
        self.judged_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Measures and decides, for ever. `cores` is what the process may use.
    pub async fn run(self, settings: SamplingSettings, pool: Pool, cores: usize) {
        self.run_at(TICK, settings, pool, cores).await;
    }

    async fn run_at(self, tick: Duration, settings: SamplingSettings, pool: Pool, cores: usize) {
        if settings.load_target <= 0.0 {
            return;
        }
        let steepest =
            settings.max_interval_ms.saturating_mul(100) / settings.risk_interval_ms.max(1);
        let mut control = Control::new(GovernorSettings {
            target: f64::from(settings.load_target),
            max_percent: steepest,
        });
        loop {
            let (start, cpu, judged) = (Instant::now(), cpu_seconds(), self.judged_ms());
            let mut busy = 0.0;
            for _ in 0..TICKS {
                tokio::time::sleep(tick).await;
                busy += pool.load().min(MOST) / f64::from(TICKS);
            }
            let used = cpu.zip(cpu_seconds()).map(|(before, now)| now - before);
            let wall = start.elapsed().as_secs_f64().max(1e-3);
            let share = used.map_or(0.0, |used| used / (wall * cores.max(1) as f64));
            let percent = control.observe(busy.max(share));
            let before = self
                .percent
                .swap(percent, Ordering::Relaxed)
                .max(UNSTRETCHED);
            if percent > before {
                tracing::warn!(percent, busy, share, "too busy: pictures are spread out");
            } else if percent < before {
                tracing::info!(percent, "less busy: pictures are closer together again");
            }
            metrics::gauge!(names::SAMPLING_STRETCH).set(f64::from(percent) / 100.0);
            metrics::gauge!(names::LOAD).set(busy.max(share));
            let stream_s = (self.judged_ms() - judged) as f64 / 1000.0;
            if let Some(used) = used.filter(|_| stream_s > 0.0) {
                metrics::gauge!(names::CPU_PER_STREAM_SECOND).set(used / stream_s);
            }
        }
    }

    fn judged_ms(&self) -> u64 {
        self.judged_ms.load(Ordering::Relaxed)
    }
}

/// User and system CPU seconds of this process; `None` where the system does not say.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may itself hold blanks and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / CLOCK_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reaches(governor: &Governor, there: impl Fn(u32) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !there(governor.percent()) {
            assert!(Instant::now() < end, "still at {}", governor.percent());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn busy_workers_stretch_and_idle_ones_let_go() {
        let governor = Governor::default();
        assert_eq!(governor.percent(), UNSTRETCHED);
        let pool = Pool::new(1, 8);
        // Cores without end: the workers alone decide.
        let (tick, settings) = (Duration::from_millis(1), SamplingSettings::default());
        let run = governor
            .clone()
            .run_at(tick, settings, pool.clone(), usize::MAX);
        let task = tokio::spawn(run);
        let places: Vec<_> = (0..5).map(|_| pool.admit().unwrap()).collect();
        reaches(&governor, |percent| percent > UNSTRETCHED).await;
        drop(places);
        reaches(&governor, |percent| percent == UNSTRETCHED).await;
        task.abort();
    }

    #[tokio::test]
    async fn without_a_target_nothing_is_ever_stretched() {
        let governor = Governor::default();
        let settings = SamplingSettings {
            load_target: 0.0,
            ..SamplingSettings::default()
        };
        let pool = Pool::new(1, 1);
        let _busy = (pool.admit().unwrap(), pool.admit().unwrap());
        governor.clone().run(settings, pool, 1).await;
        assert_eq!(governor.percent(), UNSTRETCHED);
    }
}
