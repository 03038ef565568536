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

/// Steps down that were taken back so soon were too early, in measurements.
const SOON: u32 = 8;
/// Longest patience, in measurements.
const LONGEST: u32 = 16 * PATIENCE;

/// A controller from measured load to a stretch. It goes up where [`LASTING`] measurements are too high
/// or where the mean of the last ones is, at least a step and as far as the load is too high; it comes
/// down a step at a time, and only where that leaves the load under the target if half of it came from
/// pictures. Where that was wrong it waits twice as long before the next step down, so that it does not
/// swing.
#[derive(Clone, Debug)]
pub struct Control {
    settings: GovernorSettings,
    /// The last measurements, and the stretch in percent at which they were made.
    lately: VecDeque<(f64, f64)>,
    step: usize,
    calm: u32,
    patience: u32,
    /// Measurements since the last step down.
    since_down: u32,
}

impl Control {
    /// Starts without a stretch.
    pub fn new(settings: GovernorSettings) -> Self {
        Self {
            settings,
            lately: VecDeque::with_capacity(LATELY),
            step: 0,
            calm: 0,
            patience: PATIENCE,
            since_down: SOON,
        }
    }

    /// Takes the busy share of the last seconds, 0 to 1 (a backlog counts as more than 1), and
    /// answers the stretch in percent.
    pub fn observe(&mut self, load: f64) -> u32 {
        let load = if load.is_finite() { load.max(0.0) } else { 0.0 };
        let target = self.settings.target.clamp(0.05, 1.0);
        if self.lately.len() == LATELY {
            self.lately.pop_front();
        }
        self.lately.push_back((load, f64::from(STEPS[self.step])));
        self.since_down = self.since_down.saturating_add(1);
        let last = STEPS.len() - 1;
        if self.expected(self.step) > target {
            let enough = (self.step + 1..=last).find(|step| self.expected(*step) <= target);
            let step = enough.unwrap_or(last);
            if step > self.step {
                self.patience = if self.since_down < SOON {
                    (self.patience * 2).min(LONGEST)
                } else {
                    PATIENCE
                };
            }
            (self.step, self.calm) = (step, 0);
        } else if self.step > 0 && self.expected(self.step - 1) < target {
            self.calm += 1;
            if self.calm >= self.patience {
                self.step -= 1;
                (self.calm, self.since_down) = (0, 0);
            }
        } else {
            self.calm = 0;
        }
        self.percent()
    }

    /// What the next measurements will be at a step: half of the load comes from pictures.
    fn expected(&self, step: usize) -> f64 {
        let at =
            |(load, stretch): &(f64, f64)| load * (1.0 + stretch / f64::from(STEPS[step])) / 2.0;
        let mean = self.lately.iter().map(at).sum::<f64>() / self.lately.len().max(1) as f64;
        let newest = self.lately.iter().rev().take(LASTING).map(at);
        mean.max(newest.fold(f64::INFINITY, f64::min))
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
        let run = settle(0.2, 1.2, 200);
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
        // Six steps of three, once the load of before is forgotten.
        let rounds = rounds.count();
        assert!((17..=20).contains(&rounds), "{rounds}");
    }

    #[test]
    fn what_was_taken_back_is_tried_less_and_less_often() {
        // Even a little more than now is too much, which nobody can know from below.
        let mut control = Control::new(SETTINGS);
        let mut percent = UNSTRETCHED;
        let mut changes = Vec::new();
        for round in 0..600 {
            let before = percent;
            percent = control.observe(if percent < 200 { 1.3 } else { 0.6 });
            if percent < 200 && before >= 200 {
                changes.push(round);
            }
        }
        let gaps: Vec<i32> = changes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((4..25).contains(&changes.len()), "{changes:?}");
        assert!(
            gaps.last() >= gaps.first().map(|gap| gap * 3).as_ref(),
            "{gaps:?}"
        );
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
