//! CPU seconds of this process, the unit in which speed is reported.

/// Ticks per second of the times in `/proc/self/stat`. The kernel fixes it at 100 on every
/// architecture that we build for, whatever its own timer runs at.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system CPU seconds that this process has used, all threads together, in steps of 10 ms.
/// `None` where the system does not say (no `/proc`).
pub fn process_seconds() -> Option<f64> {
    seconds_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// The same of another process.
pub fn seconds_of(pid: u32) -> Option<f64> {
    seconds_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `utime` and `stime` (fields 14 and 15) from a line of `proc(5)`'s `stat`.
fn seconds_in(stat: &str) -> Option<f64> {
    // The second field is the program's name in brackets and may itself hold blanks and brackets.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Measures the CPU seconds between its making and [`CpuClock::elapsed`].
#[derive(Debug, Clone, Copy)]
pub struct CpuClock(Option<f64>);

impl CpuClock {
    /// Starts now.
    pub fn start() -> Self {
        Self(process_seconds())
    }

    /// CPU seconds since the start; `None` where the system does not say.
    pub fn elapsed(&self) -> Option<f64> {
        Some(process_seconds()? - self.0?)
    }
}

/// `count` per CPU second; `None` when the time is unknown or below one step of the clock.
pub fn per_second(count: usize, seconds: Option<f64>) -> Option<f64> {
    seconds
        .filter(|s| *s >= 1.0 / TICKS_PER_SECOND)
        .map(|s| count as f64 / s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_nothing() {
        let line = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(seconds_in(line), Some(3.0));
        assert_eq!(seconds_in("42 (a) S 1 2"), None);
        assert_eq!(seconds_in(""), None);
    }

    #[test]
    fn work_moves_the_clock() {
        let clock = CpuClock::start();
        if clock.elapsed().is_none() {
            println!("skipped: /proc not present");
            return;
        }
        let wall = std::time::Instant::now();
        let mut sum = 0_u64;
        while clock.elapsed().unwrap_or(1.0) < 0.05 && wall.elapsed().as_secs() < 30 {
            sum = std::hint::black_box((0..100_000_u64).fold(sum, u64::wrapping_add));
        }
        let used = clock.elapsed().unwrap();
        assert!(used >= 0.05, "{used}");
        assert!(per_second(10, Some(0.5)).is_some_and(|r| (r - 20.0).abs() < 1e-9));
        assert_eq!(per_second(10, Some(0.0)), None);
    }
}
