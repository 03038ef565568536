//! How much an overloaded server stretches the time between pictures, the same for every stream.

use std::collections::VecDeque;

use super::UNSTRETCHED;

/// When to stretch, and how far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GovernorSettings {
    /// Share of the machine that may be busy before pictures are spread out, 0 to 1.
    pub target: f64,
    /// Largest stretch in percent, at least 100.
    pub max_percent: u32,
}

/// Steps in percent. Few, so that the same load gives the same interval.
const STEPS: [u32; 7] = [100, 125, 150, 200, 250, 300, 400];
/// Measurements in a row that must leave room before the stretch shrinks by a step.
const PATIENCE: u32 = 3;
/// Measurements that one decision looks at: as long as the longest slot, within which streams that began
/// together have their pictures together and then none.
const LATELY: usize = 4;

/// Measurements in a row that are too high, and no burst.
const LASTING: usize = 3;

/// A controller from measured load to a stretch. It goes up where [`LASTING`] measurements are too high
/// or where the mean of the last ones is, at least a step and as far as the load is too high; it comes
/// down a step at a time, and only where even the step below would leave the load under the target if
/// all of it came from pictures, so that it does not swing.
#[derive(Clone, Debug)]
pub struct Control {
    settings: GovernorSettings,
    /// The last measurements, each at the stretch that was in force, as if there were none.
    lately: VecDeque<f64>,
    step: usize,
    calm: u32,
}

impl Control {
    /// Starts without a stretch.
    pub fn new(settings: GovernorSettings) -> Self {
        Self {
            settings,
            lately: VecDeque::with_capacity(LATELY),
            step: 0,
            calm: 0,
        }
    }

    /// Takes the busy share of the last seconds, 0 to 1 (a backlog counts as more than 1), and
    /// answers the stretch in percent.
    pub fn observe(&mut self, load: f64) -> u32 {
        let load = if load.is_finite() { load.max(0.0) } else { 0.0 };
        let target = self.settings.target.clamp(0.05, 1.0);
        let now = f64::from(STEPS[self.step]);
        if self.lately.len() == LATELY {
            self.lately.pop_front();
        }
        self.lately.push_back(load * now);
        let mean = self.lately.iter().sum::<f64>() / self.lately.len() as f64;
        // What the next measurements will be at each step, if all of the load comes from pictures.
        let newest = self.lately.iter().rev().take(LASTING);
        let wanted = mean.max(newest.copied().fold(f64::INFINITY, f64::min));
        let at = |step: usize| wanted / f64::from(STEPS[step]);
        let last = STEPS.len() - 1;
        if at(self.step) > target {
            self.calm = 0;
            let enough = (self.step + 1..=last).find(|step| at(*step) <= target);
            self.step = enough.unwrap_or(last);
        } else if self.step > 0 && at(self.step - 1) < target {
            self.calm += 1;
            if self.calm >= PATIENCE {
                self.calm = 0;
                self.step -= 1;
            }
        } else {
            self.calm = 0;
        }
        self.percent()
    }

    /// The stretch in percent.
    pub fn percent(&self) -> u32 {
        STEPS[self.step].min(self.settings.max_percent.max(UNSTRETCHED))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: GovernorSettings = GovernorSettings {
        target: 0.85,
        max_percent: 400,
    };

    /// A server: a part of the load that the pace does not change, and a part that it divides.
    fn settle(fixed: f64, pictures: f64, rounds: usize) -> Vec<u32> {
        let mut control = Control::new(SETTINGS);
        let mut percent = UNSTRETCHED;
        (0..rounds)
            .map(|_| {
                let load = fixed + pictures * 100.0 / f64::from(percent);
                percent = control.observe(load.min(1.2));
                percent
            })
            .collect()
    }

    #[test]
    fn with_room_nothing_is_stretched() {
        assert!(settle(0.2, 0.5, 50).iter().all(|p| *p == UNSTRETCHED));
    }

    #[test]
    fn twice_the_load_settles_below_the_target() {
        let run = settle(0.2, 1.3, 200);
        let tail = &run[100..];
        assert!(tail.iter().all(|p| (150..=250).contains(p)), "{tail:?}");
        let changes = tail.windows(2).filter(|w| w[0] != w[1]).count();
        assert_eq!(changes, 0, "{tail:?}");
    }

    #[test]
    fn it_comes_back_when_the_load_goes() {
        let mut control = Control::new(SETTINGS);
        for _ in 0..20 {
            control.observe(1.2);
        }
        assert_eq!(control.percent(), 400);
        let rounds = (0..100).take_while(|_| control.observe(0.3) > UNSTRETCHED);
        // The mean is low enough with the third.
        assert_eq!(rounds.count(), 2 + 6 * 3 - 1);
    }

    #[test]
    fn a_burst_now_and_then_stretches_nothing() {
        let mut control = Control::new(SETTINGS);
        for round in 0..100 {
            let load = if round % 4 > 1 { 1.1 } else { 0.3 };
            assert_eq!(control.observe(load), UNSTRETCHED, "{round}");
        }
        // The second half of a burst, and more.
        control.observe(1.0);
        assert!(control.observe(1.0) > UNSTRETCHED);
    }

    proptest! {
        #[test]
        fn it_stays_between_none_and_the_most(
            loads in prop::collection::vec(prop::num::f64::ANY, 0..100),
            target in -1.0f64..2.0, max_percent in 0u32..1000,
        ) {
            let mut control = Control::new(GovernorSettings { target, max_percent });
            for load in loads {
                let percent = control.observe(load);
                prop_assert!(percent >= UNSTRETCHED);
                prop_assert!(percent <= max_percent.max(UNSTRETCHED));
            }
        }

        #[test]
        fn more_load_never_means_less_stretch(load in 0.0f64..1.5, more in 0.0f64..0.5, before in 0usize..20) {
            let start = || {
                let mut control = Control::new(SETTINGS);
                (0..before).for_each(|_| { control.observe(0.95); });
                control
            };
            prop_assert!(start().observe(load) <= start().observe(load + more));
        }
    }
}
