//! One clock for a stream whose source comes and goes.
//!
//! A source that was reopened may go on where it was, repeat what was judged already, or count from
//! zero again. Windows that are recognised as repeated are left out; where the old clock is gone,
//! wall-clock time fills the hole. What is in doubt is judged: twice does no harm, not at all does.

use serde::{Deserialize, Serialize};

/// A new timestamp this far before the judged end is a repetition.
const BACK_MS: i64 = 60_000;
/// A new timestamp this far after the judged end is the same clock with a hole.
const AHEAD_MS: i64 = 600_000;
/// A hole shorter than this is the jitter of timestamps.
const HOLE_MS: i64 = 1_000;

/// Where a stream's clock stands. Stored with the watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// End of what was judged, in stream time; absent before the first window.
    pub judged_ms: Option<i64>,
    /// Stream time minus the source's time.
    pub shift_ms: i64,
    /// The clock is that of a file or finished playlist: the same time is the same content.
    #[serde(default)]
    pub fixed: bool,
    /// When the last window arrived, Unix milliseconds.
    pub arrived_unix_ms: i64,
}

/// Where a window belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It was judged already.
    Repeated,
    /// It is new.
    New {
        /// What to add to the source's timestamps.
        shift_ms: i64,
        /// The stretch before it that never arrived, start and end.
        hole: Option<(i64, i64)>,
        /// The source's clock is not the one it was.
        other_clock: bool,
    },
}

/// Places windows one after another.
#[derive(Debug, Clone)]
pub struct Timeline {
    position: Position,
    known_end: bool,
    /// The next window is the first since the source was opened.
    fresh: bool,
    /// Windows may be repetitions until one is not.
    catching_up: bool,
}

impl Timeline {
    /// Goes on from `position`.
    pub fn new(position: Position) -> Self {
        Self {
            position,
            known_end: false,
            fresh: true,
            catching_up: false,
        }
    }

    /// Where the clock stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The source was opened anew; `known_end` for a file or finished playlist, whose time is fixed.
    pub fn opened(&mut self, known_end: bool) {
        self.known_end = known_end;
        self.fresh = true;
        self.catching_up = self.position.judged_ms.is_some();
    }

    /// Whether only [`super::memory::Memory`] can tell if a window that begins at `start_ms` is
    /// repeated, and up to which time of the source it could be.
    pub fn doubtful(&self, start_ms: i64) -> Option<i64> {
        let p = &self.position;
        let judged = p.judged_ms? - p.shift_ms;
        let same_file = p.fixed && self.known_end;
        (self.catching_up && !same_file && start_ms < judged).then_some(judged)
    }

    /// Places a window that covers `start_ms..end_ms` of the source's time and arrived at
    /// `arrived_unix_ms`; `recognised` says what the memory knows of it. A window that is new
    /// counts as judged from here on.
    pub fn place(
        &mut self,
        start_ms: i64,
        end_ms: i64,
        arrived_unix_ms: i64,
        recognised: bool,
    ) -> Place {
        let fixed = self.known_end;
        let Some(judged) = self.position.judged_ms else {
            self.fresh = false;
            self.position = Position {
                judged_ms: Some(end_ms),
                shift_ms: 0,
                fixed,
                arrived_unix_ms,
            };
            return Place::New {
                shift_ms: 0,
                hole: None,
                other_clock: false,
            };
        };
        let p = &mut self.position;
        let same_file = p.fixed && fixed;
        let repeated = same_file || recognised;
        let ahead = start_ms + p.shift_ms - judged;
        let fresh = std::mem::take(&mut self.fresh);
        let other_clock = if ahead > AHEAD_MS {
            // No live source jumps so far ahead; the clock is another one.
            fresh || !fixed
        } else if fresh {
            ahead < -HOLE_MS && !(same_file || (recognised && ahead >= -BACK_MS))
        } else {
            // The clock jumped back while the source stayed open: a restarted encoder.
            !self.catching_up && ahead < -HOLE_MS
        };
        if other_clock {
            let away = arrived_unix_ms - p.arrived_unix_ms - (end_ms - start_ms);
            let away = if fresh || ahead > 0 { away.max(0) } else { 0 };
            p.shift_ms = judged + away - start_ms;
            p.fixed = fixed;
            self.catching_up = false;
        }
        let end = end_ms + p.shift_ms;
        if self.catching_up && end <= judged {
            if repeated {
                return Place::Repeated;
            }
        } else {
            self.catching_up = false;
        }
        let start = start_ms + p.shift_ms;
        let hole = (start > judged + HOLE_MS).then_some((judged, start));
        p.judged_ms = Some(judged.max(end));
        p.arrived_unix_ms = arrived_unix_ms;
        Place::New {
            shift_ms: p.shift_ms,
            hole,
            other_clock,
        }
    }

    /// The stretch that an outage up to `now_unix_ms` has cost so far, if anything was judged.
    pub fn missing_until(&self, now_unix_ms: i64) -> Option<(i64, i64)> {
        let judged = self.position.judged_ms?;
        let away = (now_unix_ms - self.position.arrived_unix_ms).max(0);
        Some((judged, judged + away))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn new(shift_ms: i64, hole: Option<(i64, i64)>) -> Place {
        Place::New {
            shift_ms,
            hole,
            other_clock: false,
        }
    }

    fn other(shift_ms: i64, hole: Option<(i64, i64)>) -> Place {
        Place::New {
            shift_ms,
            hole,
            other_clock: true,
        }
    }

    /// A live stream judged from 30 s to 50 s, last window at wall clock 50 s; opened again.
    fn reopened() -> Timeline {
        let mut t = Timeline::new(Position::default());
        t.opened(false);
        for s in (30_000..50_000).step_by(2000) {
            assert_eq!(t.place(s, s + 2000, s + 2000, false), new(0, None));
        }
        assert_eq!(t.position().judged_ms, Some(50_000));
        t.opened(false);
        t
    }

    #[test]
    fn a_source_that_repeats_is_skipped_until_it_is_new() {
        let mut t = reopened();
        assert_eq!(t.doubtful(46_000), Some(50_000));
        assert_eq!(t.place(46_000, 48_000, 55_000, true), Place::Repeated);
        assert_eq!(t.place(48_000, 50_000, 55_000, true), Place::Repeated);
        assert_eq!(t.doubtful(50_000), None);
        assert_eq!(t.place(50_000, 52_000, 55_500, false), new(0, None));
        assert_eq!(t.place(52_000, 54_000, 57_500, false), new(0, None));
    }

    #[test]
    fn a_window_in_doubt_is_judged_in_its_place() {
        let mut t = reopened();
        assert_eq!(t.place(46_000, 48_000, 55_000, true), Place::Repeated);
        assert_eq!(t.place(48_000, 50_000, 55_000, false), new(0, None));
        assert_eq!(t.position().judged_ms, Some(50_000));
        assert_eq!(t.place(50_000, 52_000, 55_000, false), new(0, None));
    }

    #[test]
    fn a_source_that_goes_on_later_leaves_a_hole() {
        let mut t = reopened();
        let place = t.place(70_000, 72_000, 72_000, false);
        assert_eq!(place, new(0, Some((50_000, 70_000))));
        assert_eq!(t.position().judged_ms, Some(72_000));
    }

    #[test]
    fn an_unknown_window_of_the_past_is_a_restarted_source() {
        for start in [0, 30_000, 44_000] {
            let mut t = reopened();
            // Twelve seconds after the last window, two of which this one lasts.
            let place = t.place(start, start + 2000, 62_000, false);
            let shift = 60_000 - start;
            assert_eq!(place, other(shift, Some((50_000, 60_000))), "{start}");
            let next = t.place(start + 2000, start + 4000, 64_000, false);
            assert_eq!(next, new(shift, None));
            assert_eq!(t.position().judged_ms, Some(64_000));
        }
    }

    #[test]
    fn a_clock_far_away_is_another_clock_whatever_the_memory_says() {
        for start in [5_000_000, -90_000] {
            let mut t = reopened();
            let place = t.place(start, start + 2000, 57_000, true);
            assert_eq!(place, other(55_000 - start, Some((50_000, 55_000))));
        }
    }

    #[test]
    fn a_file_is_read_again_from_its_beginning_and_needs_no_memory() {
        let mut t = Timeline::new(Position::default());
        t.opened(true);
        for s in (0..100_000).step_by(2000) {
            t.place(s, s + 2000, 0, false);
        }
        t.opened(true);
        for s in (0..100_000).step_by(2000) {
            assert_eq!(t.doubtful(s), None);
            assert_eq!(t.place(s, s + 2000, 5, false), Place::Repeated, "{s}");
        }
        assert_eq!(t.place(100_000, 102_000, 5, false), new(0, None));
    }

    #[test]
    fn a_finished_playlist_is_not_the_live_one_it_was() {
        let mut t = reopened();
        t.opened(true);
        assert_eq!(t.doubtful(40_000), Some(50_000));
        assert_eq!(t.place(40_000, 42_000, 60_000, true), Place::Repeated);
        let mut t = reopened();
        t.opened(true);
        let place = t.place(40_000, 42_000, 60_000, false);
        assert_eq!(place, other(18_000, Some((50_000, 58_000))));
    }

    #[test]
    fn jumps_inside_an_open_source_are_holes_or_restarts() {
        let mut t = reopened();
        t.place(50_000, 52_000, 52_000, false);
        let place = t.place(58_000, 60_000, 60_000, false);
        assert_eq!(place, new(0, Some((52_000, 58_000))));
        assert_eq!(t.place(0, 2000, 62_000, false), other(60_000, None));
        assert_eq!(t.place(2000, 4000, 64_000, false), new(60_000, None));
        let far = t.place(9_000_000, 9_002_000, 66_000, false);
        assert_eq!(far, other(64_000 - 9_000_000, None));
    }

    #[test]
    fn an_outage_is_measured_by_the_wall_clock() {
        let t = reopened();
        assert_eq!(t.missing_until(80_000), Some((50_000, 80_000)));
        let nothing = Timeline::new(Position::default());
        assert_eq!(nothing.missing_until(5), None);
    }

    proptest! {
        /// Whatever a source does, what was judged stays judged, holes begin where it ends, and a
        /// window that nobody recognised is never left out.
        #[test]
        fn nothing_new_is_left_out(
            steps in prop::collection::vec(
                (-200_000i64..2_000_000, any::<bool>(), any::<bool>(), any::<bool>()), 1..60,
            ),
        ) {
            let mut t = Timeline::new(Position::default());
            let mut wall = 1_000_000;
            for (start, reopen, known_end, recognised) in steps {
                if reopen {
                    t.opened(known_end);
                }
                wall += 3000;
                let before = t.position();
                match t.place(start, start + 2000, wall, recognised) {
                    Place::Repeated => {
                        prop_assert!(recognised || before.fixed);
                        prop_assert_eq!(t.position(), before);
                    }
                    Place::New { shift_ms, hole, .. } => {
                        let judged = before.judged_ms.unwrap_or(start);
                        if let Some((from, to)) = hole {
                            prop_assert!(from == judged && to == start + shift_ms && to > from);
                        }
                        prop_assert!(t.position().judged_ms >= Some(start + 2000 + shift_ms));
                    }
                }
                prop_assert!(t.position().judged_ms >= before.judged_ms);
            }
        }
    }
}
