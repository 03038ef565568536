//! Time by stage.

use std::collections::BTreeMap;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Seconds of one stage.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Seconds {
    /// By the clock on the wall.
    pub wall: f64,
    /// Of processor time, over all threads.
    pub cpu: f64,
}

/// A stopwatch that remembers stages by name.
#[derive(Debug)]
pub struct Stages {
    wall: Instant,
    cpu: f64,
    /// Where the next part of the running stage begins.
    part: (Instant, f64),
    /// Finished stages.
    pub done: BTreeMap<String, Seconds>,
}

impl Stages {
    /// Starts the first stage.
    pub fn start() -> Self {
        let (now, cpu) = (Instant::now(), cpu_seconds());
        Self {
            wall: now,
            cpu,
            part: (now, cpu),
            done: BTreeMap::new(),
        }
    }

    /// Ends the running stage under a name and starts the next.
    pub fn end(&mut self, name: &str) -> Seconds {
        let cpu = cpu_seconds();
        let seconds = Seconds {
            wall: self.wall.elapsed().as_secs_f64(),
            cpu: cpu - self.cpu,
        };
        self.wall = Instant::now();
        self.cpu = cpu;
        self.part = (self.wall, cpu);
        self.done.insert(name.to_owned(), seconds);
        seconds
    }

    /// Notes a part of the running stage, from the end of the part before.
    pub fn part(&mut self, name: &str) {
        let (now, cpu) = (Instant::now(), cpu_seconds());
        let seconds = Seconds {
            wall: now.duration_since(self.part.0).as_secs_f64(),
            cpu: cpu - self.part.1,
        };
        self.part = (now, cpu);
        self.done.insert(name.to_owned(), seconds);
    }
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
