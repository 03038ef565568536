//! Pauses between attempts: doubling, bounded, spread at random.

use std::time::Duration;

use rand::Rng as _;

/// The next pause, and how many there were.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// From `min`, doubling up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            attempt: 0,
        }
    }

    /// The pause before the next attempt: between half and all of the present step, so that many
    /// watches of one server do not come back in the same instant.
    pub fn next_pause(&mut self) -> Duration {
        let factor = 2u32.saturating_pow(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        let step = self.min.saturating_mul(factor).min(self.max);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Begins again at the shortest pause.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_vary() {
        let ms = Duration::from_millis;
        let mut b = Backoff::new(ms(100), ms(1000));
        let mut step = 100;
        for _ in 0..40 {
            let pause = b.next_pause();
            assert!(
                pause >= ms(step / 2) && pause <= ms(step),
                "{pause:?} at {step}"
            );
            step = (step * 2).min(1000);
        }
        b.reset();
        assert!(b.next_pause() <= ms(100));
        let mut many = Backoff::new(ms(1000), ms(1000));
        let first = many.next_pause();
        assert!((0..20).any(|_| many.next_pause() != first));
    }
}
