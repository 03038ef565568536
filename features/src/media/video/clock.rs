//! The times that a video stream's packets tell.

use ffmpeg_next::{Packet, Rational};

use crate::media::demux::to_ms;

/// Frame rates beyond this are a damaged header's.
const MAX_FPS: f64 = 1000.0;

pub(super) struct Clock {
    base: Rational,
    declared_fps: f64,
    packets: u64,
    /// Span of presentation times in ms.
    first: i64,
    last: i64,
    progress: Option<i64>,
    end: i64,
}

impl Clock {
    pub(super) fn new(base: Rational, declared_fps: f64, origin: i64) -> Self {
        let plausible = declared_fps > 0.0 && declared_fps <= MAX_FPS;
        Self {
            base,
            declared_fps: if plausible { declared_fps } else { 0.0 },
            packets: 0,
            first: i64::MAX,
            last: i64::MIN,
            progress: None,
            end: origin,
        }
    }

    /// Continues on a new timeline.
    pub(super) fn restart(&mut self, origin: i64) {
        *self = Self::new(self.base, self.declared_fps, origin);
    }

    /// Takes note of the next packet and gives its presentation time in ms. A packet without any
    /// time gets one, a frame after the last.
    pub(super) fn stamp(&mut self, packet: &mut Packet) -> i64 {
        let step = if self.declared_fps > 0.0 {
            ((1000.0 / self.declared_fps) as i64).clamp(1, 10_000)
        } else {
            40
        };
        let known = packet.pts().or(packet.dts());
        let time = known.map_or_else(
            || {
                let follows = self.packets > 0;
                let time = if follows { self.last + step } else { self.end };
                packet.set_pts(self.ticks(time));
                time
            },
            |timestamp| to_ms(timestamp, self.base),
        );
        let duration = match to_ms(packet.duration(), self.base) {
            duration @ 1..=1000 => duration,
            _ => step,
        };
        self.packets += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        self.end = self.end.max(time + duration);
        self.progress = Some(packet.dts().map_or(time, |dts| to_ms(dts, self.base)));
        time
    }

    /// No packet before this time in ms will follow.
    pub(super) fn progress(&self) -> Option<i64> {
        self.progress
    }

    /// End of the last picture in ms.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// Latest presentation time in ms.
    pub(super) fn last(&self) -> i64 {
        if self.packets > 0 {
            self.last
        } else {
            self.end
        }
    }

    /// Frames per second as declared, else as counted; 0 when unknown.
    pub(super) fn fps(&self) -> f64 {
        let span = self.last.saturating_sub(self.first);
        let fps = if self.declared_fps > 0.0 {
            self.declared_fps
        } else if self.packets > 1 && span > 0 {
            (self.packets - 1) as f64 * 1000.0 / span as f64
        } else {
            0.0
        };
        (fps * 1000.0).round() / 1000.0
    }

    fn ticks(&self, time: i64) -> Option<i64> {
        let (numerator, denominator) = (self.base.numerator(), self.base.denominator());
        let ticks =
            i128::from(time) * i128::from(denominator) / i128::from(numerator.max(1)) / 1000;
        i64::try_from(ticks).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_without_times_follow_each_other() {
        let mut clock = Clock::new(Rational(1, 90_000), 25.0, 500);
        let times: Vec<i64> = (0..4).map(|_| clock.stamp(&mut Packet::empty())).collect();
        assert_eq!(times, [500, 540, 580, 620]);
        assert_eq!(clock.end(), 660);
        assert_eq!(clock.fps(), 25.0);
    }

    #[test]
    fn absurd_times_stay_within_bounds() {
        let mut clock = Clock::new(Rational(i32::MAX, 1), 1e12, 0);
        for pts in [i64::MAX, i64::MIN + 1, 0, -1] {
            let mut packet = Packet::empty();
            packet.set_pts(Some(pts));
            packet.set_duration(i64::MAX);
            clock.stamp(&mut packet);
        }
        assert!(clock.end() > 0 && clock.fps().is_finite());
    }
}
