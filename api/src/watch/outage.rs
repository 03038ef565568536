//! How long a source has been away, why, and when to stop hoping.

use std::time::{Duration, Instant};

use novastream_features::media::MediaError;

use crate::config::WatchSettings;

/// No new content since `since`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    since: Instant,
    /// The source said itself that it ended, so the stream may simply be over.
    pub clean: bool,
}

/// Keeps the time of a source's absence.
#[derive(Debug)]
pub struct Presence {
    outage: Option<Outage>,
    last_data: Instant,
}

impl Presence {
    /// A source that is yet to give anything.
    pub fn absent() -> Self {
        let since = Instant::now();
        Self {
            outage: Some(Outage {
                since,
                clean: false,
            }),
            last_data: since,
        }
    }

    /// The outage that goes on.
    pub fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }

    /// New content arrived. Gives the outage that ends with it.
    pub fn returned(&mut self) -> Option<Outage> {
        self.last_data = Instant::now();
        self.outage.take()
    }

    /// Nothing new, but the source is being read towards something new.
    pub fn progress(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.since = Instant::now();
        }
    }

    /// The source gives nothing more for now; `clean` when it said so itself. `true` when that
    /// begins an outage.
    pub fn lost(&mut self, clean: bool) -> bool {
        let now = Instant::now();
        let (begins, outage) = match self.outage {
            Some(before) if before.clean || !clean => (false, before),
            // The time in which a source may come back counts from its own end.
            Some(_) => (false, Outage { since: now, clean }),
            None if clean => (true, Outage { since: now, clean }),
            None => (
                true,
                Outage {
                    since: self.last_data,
                    clean,
                },
            ),
        };
        self.outage = Some(outage);
        begins
    }

    /// When the absence has lasted for too long; `None` while the source gives something.
    pub fn give_up_at(&self, s: &WatchSettings, had_data: bool) -> Option<Instant> {
        let outage = self.outage?;
        let seconds = match (had_data, outage.clean) {
            (false, _) => s.start_timeout_s,
            (true, true) => s.end_grace_s,
            (true, false) => s.max_outage_s,
        };
        Some(outage.since + Duration::from_secs(seconds))
    }
}

/// Whether trying again cannot help: the URL can never be opened, or a file that was never read
/// is not there or holds no media.
pub fn hopeless(error: &MediaError, url: &str, had_data: bool) -> bool {
    let unreadable = matches!(
        error,
        MediaError::NotMedia
            | MediaError::NoStreams
            | MediaError::Empty
            | MediaError::TooLarge { .. }
            | MediaError::Source { .. }
    );
    let file = !url.contains("://");
    matches!(error, MediaError::UnsupportedUrl { .. }) || (file && !had_data && unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(p: &Presence, had_data: bool) -> u64 {
        let at = p.give_up_at(&WatchSettings::default(), had_data).unwrap();
        let left = at.saturating_duration_since(Instant::now()).as_secs_f64();
        left.ceil() as u64
    }

    #[test]
    fn the_kind_of_absence_decides_how_long_it_may_last() {
        let s = WatchSettings::default();
        let mut p = Presence::absent();
        assert_eq!(left(&p, false), s.start_timeout_s);
        assert!(!p.lost(false), "it was away from the start");
        assert!(p.returned().is_some() && p.returned().is_none());
        assert_eq!(p.give_up_at(&s, true), None);
        assert!(p.lost(false));
        assert_eq!(left(&p, true), s.max_outage_s);
        // Then it answers, only to say that it is over.
        assert!(!p.lost(true));
        assert_eq!(left(&p, true), s.end_grace_s);
        let since = *p.outage().unwrap();
        p.lost(false);
        p.lost(true);
        assert_eq!(
            p.outage(),
            Some(&since),
            "failing attempts prolong no grace"
        );
    }

    #[test]
    fn only_what_cannot_change_is_hopeless() {
        let gone = MediaError::Source {
            message: "no such file".into(),
        };
        assert!(hopeless(&gone, "clip.mp4", false));
        assert!(!hopeless(&gone, "clip.mp4", true));
        assert!(!hopeless(&gone, "rtmp://h/a", false));
        let bad = MediaError::UnsupportedUrl { reason: "x".into() };
        assert!(hopeless(&bad, "rtmp://h/a", true));
    }
}
