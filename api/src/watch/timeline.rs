//! One clock for a stream whose source comes and goes.
//!
//! A source that was reopened may go on where it was, repeat what was judged already, or count from
//! zero again. The stream's own time never jumps back: repeated windows are left out, and where the
//! old clock is gone, wall-clock time fills the hole.

use serde::{Deserialize, Serialize};

/// A new timestamp this far before the judged end is a repetition.
const BACK_MS: i64 = 60_000;
/// A new timestamp this far after the judged end is the same clock with a hole.
const AHEAD_MS: i64 = 600_000;
/// A live source that counts from within this distance of where it first began was restarted.
const RESTART_MS: i64 = 5_000;
/// A hole shorter than this is the jitter of timestamps.
const HOLE_MS: i64 = 1_000;

/// Where a stream's clock stands. Stored with the watch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// End of what was judged, in stream time; absent before the first window.
    pub judged_ms: Option<i64>,
    /// Stream time minus the source's time.
    pub shift_ms: i64,
    /// The source's time at which its present clock began.
    pub origin_ms: i64,
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

    /// Places a window that covers `start_ms..end_ms` of the source's time and arrived at
    /// `arrived_unix_ms`. A window that is new counts as judged from here on.
    pub fn place(&mut self, start_ms: i64, end_ms: i64, arrived_unix_ms: i64) -> Place {
        let Some(judged) = self.position.judged_ms else {
            self.fresh = false;
            self.position = Position {
                judged_ms: Some(end_ms),
                shift_ms: 0,
                origin_ms: start_ms,
                arrived_unix_ms,
            };
            return Place::New {
                shift_ms: 0,
                hole: None,
            };
        };
        let p = &mut self.position;
        if std::mem::take(&mut self.fresh) && !continues(p, judged, start_ms, self.known_end) {
            let away = arrived_unix_ms - p.arrived_unix_ms - (end_ms - start_ms);
            p.shift_ms = judged + away.max(0) - start_ms;
            p.origin_ms = start_ms;
            self.catching_up = false;
        }
        if self.catching_up && end_ms + p.shift_ms <= judged {
            return Place::Repeated;
        }
        if !self.catching_up && start_ms + p.shift_ms < judged - HOLE_MS {
            // The clock jumped back while the source stayed open: a restarted encoder.
            p.shift_ms = judged - start_ms;
            p.origin_ms = start_ms;
        }
        self.catching_up = false;
        let start = start_ms + p.shift_ms;
        let hole = (start > judged + HOLE_MS).then_some((judged, start));
        p.judged_ms = Some(judged.max(end_ms + p.shift_ms));
        p.arrived_unix_ms = arrived_unix_ms;
        Place::New {
            shift_ms: p.shift_ms,
            hole,
        }
    }

    /// The stretch that an outage up to `now_unix_ms` has cost so far, if anything was judged.
    pub fn missing_until(&self, now_unix_ms: i64) -> Option<(i64, i64)> {
        let judged = self.position.judged_ms?;
        let away = (now_unix_ms - self.position.arrived_unix_ms).max(0);
        Some((judged, judged + away))
    }
}

/// Whether a reopened source goes on with the clock it had.
fn continues(p: &Position, judged: i64, start_ms: i64, known_end: bool) -> bool {
    let ahead = start_ms + p.shift_ms - judged;
    if ahead > AHEAD_MS {
        return false;
    }
    if known_end {
        // A file is read again from its beginning, however long ago that was judged.
        return true;
    }
    // Taking a restarted source for a repetition would leave new content unjudged, so a live source
    // that is back near its first timestamp counts as restarted; judging twice does no harm.
    let restarted = ahead < 0 && start_ms <= p.origin_ms + RESTART_MS;
    ahead >= -BACK_MS && !restarted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Place = Place::New {
        shift_ms: 0,
        hole: None,
    };

    /// A live stream judged from 30 s to 50 s, last window at wall clock 50 s.
    fn live() -> Timeline {
        let mut t = Timeline::new(Position::default());
        t.opened(false);
        for s in (30_000..50_000).step_by(2000) {
            assert_eq!(t.place(s, s + 2000, s + 2000), NEW);
        }
        assert_eq!(t.position().judged_ms, Some(50_000));
        t
    }

    #[test]
    fn a_source_that_repeats_is_skipped_until_it_is_new() {
        let mut t = live();
        t.opened(false);
        assert_eq!(t.place(46_000, 48_000, 55_000), Place::Repeated);
        assert_eq!(t.place(48_000, 50_000, 55_000), Place::Repeated);
        assert_eq!(t.place(50_000, 52_000, 55_500), NEW);
        assert_eq!(t.place(52_000, 54_000, 57_500), NEW);
    }

    #[test]
    fn a_source_that_goes_on_later_leaves_a_hole() {
        let mut t = live();
        t.opened(false);
        let place = t.place(70_000, 72_000, 72_000);
        assert_eq!(
            place,
            Place::New {
                shift_ms: 0,
                hole: Some((50_000, 70_000))
            }
        );
        assert_eq!(t.position().judged_ms, Some(72_000));
    }

    #[test]
    fn a_restarted_live_source_is_moved_by_the_wall_clock() {
        let mut t = live();
        t.opened(false);
        // Counts from 30 s again, ten seconds after the last window.
        let place = t.place(30_000, 32_000, 62_000);
        assert_eq!(
            place,
            Place::New {
                shift_ms: 30_000,
                hole: Some((50_000, 60_000))
            }
        );
        assert_eq!(
            t.place(32_000, 34_000, 64_000),
            Place::New {
                shift_ms: 30_000,
                hole: None
            }
        );
        assert_eq!(t.position().judged_ms, Some(64_000));
    }

    #[test]
    fn a_clock_far_away_is_another_clock() {
        for start in [5_000_000, -90_000] {
            let mut t = live();
            t.opened(false);
            let Place::New { shift_ms, hole } = t.place(start, start + 2000, 57_000) else {
                panic!("{start} was taken for a repetition");
            };
            assert_eq!(start + shift_ms, 55_000);
            assert_eq!(hole, Some((50_000, 55_000)));
        }
    }

    #[test]
    fn a_file_is_read_again_from_its_beginning() {
        let mut t = Timeline::new(Position::default());
        t.opened(true);
        for s in (0..100_000).step_by(2000) {
            t.place(s, s + 2000, 0);
        }
        t.opened(true);
        for s in (0..100_000).step_by(2000) {
            assert_eq!(t.place(s, s + 2000, 5), Place::Repeated, "{s}");
        }
        assert_eq!(t.place(100_000, 102_000, 5), NEW);
    }

    #[test]
    fn jumps_inside_an_open_source_are_holes_or_restarts() {
        let mut t = live();
        assert_eq!(
            t.place(58_000, 60_000, 60_000),
            Place::New {
                shift_ms: 0,
                hole: Some((50_000, 58_000))
            }
        );
        assert_eq!(
            t.place(0, 2000, 62_000),
            Place::New {
                shift_ms: 60_000,
                hole: None
            }
        );
        assert_eq!(
            t.place(2000, 4000, 64_000),
            Place::New {
                shift_ms: 60_000,
                hole: None
            }
        );
    }

    #[test]
    fn an_outage_is_measured_by_the_wall_clock() {
        let t = live();
        assert_eq!(t.missing_until(80_000), Some((50_000, 80_000)));
        assert_eq!(Timeline::new(Position::default()).missing_until(5), None);
    }

    proptest! {
        /// Whatever a source does, new windows never lie before what was judged by more than jitter.
        #[test]
        fn stream_time_never_goes_back(
            steps in prop::collection::vec((-200_000i64..2_000_000, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let mut t = Timeline::new(Position::default());
            let mut wall = 1_000_000;
            for (start, reopen, known_end) in steps {
                if reopen {
                    t.opened(known_end);
                }
                wall += 3000;
                let before = t.position().judged_ms;
                if let Place::New { shift_ms, hole } = t.place(start, start + 2000, wall) {
                    let judged = before.unwrap_or(start);
                    prop_assert!(start + 2000 + shift_ms > judged - HOLE_MS);
                    if let Some((from, to)) = hole {
                        prop_assert!(from == judged && to == start + shift_ms && to > from);
                    }
                }
                prop_assert!(t.position().judged_ms >= before);
            }
        }
    }
}
