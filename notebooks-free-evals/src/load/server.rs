//! What the service's process uses while it is measured: memory and processor time, out of `/proc`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cpu;
use crate::error::EvalError;

const EVERY: Duration = Duration::from_millis(500);
/// Stretches whose means tell how far a slope may be chance: looks that follow each other are alike.
const STRETCHES: usize = 12;

/// What the service's process used in the measured stretch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerUse {
    /// The process.
    pub pid: u32,
    /// CPU seconds, all its threads together.
    pub cpu_s: f64,
    /// 2xx answers per CPU second.
    pub answers_per_cpu_second: Option<f64>,
    /// Resident memory at the beginning, MiB.
    pub rss_first_mib: f64,
    /// Resident memory at the end, MiB.
    pub rss_last_mib: f64,
    /// The most that was seen, MiB.
    pub rss_most_mib: f64,
    /// Slope of a line through all looks at it (least squares), MiB a minute.
    pub rss_slope_mib_per_minute: f64,
    /// Standard error of that slope, MiB a minute, from the means of twelve stretches; `None` where
    /// there are too few looks. A slope within two of it is none.
    pub rss_slope_error_mib_per_minute: Option<f64>,
}

/// Looks at a process until it is stopped.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    begun: Instant,
    cpu: f64,
    seen: Arc<Mutex<Vec<(f64, f64)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Starts after `warmup`, on the current runtime.
    ///
    /// # Errors
    /// There is no such process, or no `/proc`.
    pub async fn start(pid: u32, warmup: Duration) -> Result<Self, EvalError> {
        let gone = || EvalError::usage(format!("--pid {pid}: /proc has no such process"));
        look(pid).ok_or_else(gone)?;
        tokio::time::sleep(warmup).await;
        let begun = Instant::now();
        let cpu = cpu::seconds_of(pid).ok_or_else(gone)?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            while let Some(mib) = look(pid) {
                let at = begun.elapsed().as_secs_f64();
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((at, mib));
                ticks.tick().await;
            }
        });
        Ok(Self {
            pid,
            begun,
            cpu,
            seen,
            task,
        })
    }

    /// What was used since the start; `None` when the process is gone.
    pub fn stop(self, accepted: u64) -> Option<ServerUse> {
        self.task.abort();
        let cpu_s = cpu::seconds_of(self.pid)? - self.cpu;
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        seen.push((self.begun.elapsed().as_secs_f64(), look(self.pid)?));
        let first = seen.first()?.1;
        Some(ServerUse {
            pid: self.pid,
            cpu_s,
            answers_per_cpu_second: cpu::per_second(accepted as usize, Some(cpu_s)),
            rss_first_mib: first,
            rss_last_mib: seen.last()?.1,
            rss_most_mib: seen.iter().map(|s| s.1).fold(first, f64::max),
            rss_slope_mib_per_minute: slope(&seen) * 60.0,
            rss_slope_error_mib_per_minute: slope_error(&seen).map(|error| error * 60.0),
        })
    }
}

/// Resident MiB.
fn look(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    (mean(|p| p.0), mean(|p| p.1))
}

/// Standard error of the slope through the means of equal stretches (batch means).
fn slope_error(points: &[(f64, f64)]) -> Option<f64> {
    let size = points.len() / STRETCHES;
    if size < 2 {
        return None;
    }
    let means: Vec<(f64, f64)> = points
        .chunks_exact(size)
        .take(STRETCHES)
        .map(mean)
        .collect();
    let (by, (x, y)) = (slope(&means), mean(&means));
    let left = |p: &(f64, f64)| (p.1 - y - by * (p.0 - x)).powi(2);
    let spread: f64 = means.iter().map(|p| (p.0 - x).powi(2)).sum();
    let variance = means.iter().map(left).sum::<f64>() / (STRETCHES - 2) as f64;
    (spread > 0.0).then(|| (variance / spread).sqrt())
}

/// Least squares; 0 for fewer than two points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let (x, y) = mean(points);
    let below: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if points.len() < 2 || below == 0.0 {
        return 0.0;
    }
    points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        let points: Vec<(f64, f64)> = (0..10)
            .map(|n| (f64::from(n), 3.0 + 0.5 * f64::from(n)))
            .collect();
        assert!((slope(&points) - 0.5).abs() < 1e-9);
        assert_eq!(slope(&points[..1]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }

    #[test]
    fn a_saw_that_does_not_rise_lies_within_the_error_of_its_slope_and_one_that_does_beyond() {
        // Up and down again every 25 looks, as swaps of models do.
        let saw = |rise: f64| -> Vec<(f64, f64)> {
            (0..1000)
                .map(|n| {
                    (
                        f64::from(n) * 0.5,
                        300.0 + f64::from(n % 25) + rise * f64::from(n),
                    )
                })
                .collect()
        };
        let flat = saw(0.0);
        let error = slope_error(&flat).unwrap();
        assert!(slope(&flat).abs() < 2.0 * error, "{} {error}", slope(&flat));
        let rising = saw(0.01);
        assert!(slope(&rising) > 2.0 * slope_error(&rising).unwrap());
        assert_eq!(slope_error(&flat[..20]), None);
    }

    #[tokio::test]
    async fn this_process_can_be_watched_and_a_missing_one_cannot() {
        if look(std::process::id()).is_none() {
            println!("skipped: /proc not present");
            return;
        }
        let watch = Watch::start(std::process::id(), Duration::ZERO)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let used = watch.stop(10).unwrap();
        assert!(used.rss_first_mib > 1.0 && used.rss_most_mib >= used.rss_last_mib);
        assert!(Watch::start(u32::MAX, Duration::ZERO).await.is_err());
    }
}
