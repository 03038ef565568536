//! Ctrl-C, SIGTERM and `--seconds`: one question, asked often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Whether the command should come to its end.
#[derive(Debug, Clone)]
pub struct StopSign {
    asked: Arc<AtomicBool>,
    until: Option<Instant>,
}

impl StopSign {
    /// Listens for signals on `runtime`; `seconds` from now the sign is up by itself.
    pub fn new(runtime: &tokio::runtime::Runtime, seconds: Option<u64>) -> Self {
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        runtime.spawn(async move {
            let mut times = 0;
            while signalled().await {
                flag.store(true, Ordering::Relaxed);
                times += 1;
                if times > 1 {
                    std::process::exit(130);
                }
            }
        });
        let until = seconds.map(|s| Instant::now() + Duration::from_secs(s));
        Self { asked, until }
    }

    /// Whether the end was asked for.
    pub fn is_up(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.until.is_some_and(|t| t <= Instant::now())
    }

    /// Waits for the end.
    pub async fn up(&self) {
        while !self.is_up() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn signalled() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return false;
    };
    tokio::select! {
        ctrl_c = tokio::signal::ctrl_c() => ctrl_c.is_ok(),
        asked = term.recv() => asked.is_some(),
    }
}
