//! Where the process is between its start and its end.

use tokio::sync::watch;

/// The stages of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes work.
    Running,
    /// Still takes work, but asks load balancers to send no more.
    Draining,
    /// Takes no new connection; open event streams end.
    Stopping,
}

/// The current phase; clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    phase: watch::Sender<Phase>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Running),
        }
    }
}

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Waits until the phase is `phase` or later.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.phase.subscribe();
        // The sender is in `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let life = Lifecycle::default();
        let other = life.clone();
        let waiting = tokio::spawn(async move { other.reached(Phase::Stopping).await });
        life.advance(Phase::Stopping);
        life.advance(Phase::Draining);
        waiting.await.unwrap();
        assert_eq!(life.phase(), Phase::Stopping);
    }
}
