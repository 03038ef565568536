//! A URL that is pulled window by window, as long as it lasts.

use std::sync::Arc;
use std::time::Duration;

use ffmpeg_next::Packet;

use super::cancel::{Guard, Trip};
use super::demux::{Demuxer, Kind, Next};
use super::session::Session;
use super::{CancelToken, MediaError, MediaInfo, MediaLimits, Notice, Sampling, Tempo, Window};

/// A stream may lag this far behind the other one before a window goes out without it.
const LAG_MS: i64 = 1000;

/// A stream's decoding clock that jumps further ahead, or further back, starts a new timeline.
const JUMP_AHEAD_MS: i64 = 10_000;
const JUMP_BACK_MS: i64 = 1000;

/// Packets of the old timeline that may still follow a jump.
const MAX_STALE: u32 = 500;

/// Sound that may wait beyond a window's end, in ms.
const AUDIO_AHEAD_MS: i64 = 30_000;

/// Time that emptying the decoders may take when the source has failed.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Time that closing a connection may take.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How a source is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Length of a window in ms (default 2,000).
    pub window_ms: u32,
    /// Most time until the first packets have been read (default 10 s). Resolving a host name is up
    /// to the system and not included.
    pub open_timeout: Duration,
    /// Most time without any packet (default 10 s). A live HLS source gives them in bursts, one
    /// segment at a time: allow some segment lengths.
    pub read_timeout: Duration,
    /// Which pictures to take.
    pub sampling: Sampling,
    /// Bounds per window; `max_duration_ms`, `max_bytes` and `deadline` do not apply.
    pub limits: MediaLimits,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            window_ms: 2000,
            open_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            sampling: Sampling::default(),
            limits: MediaLimits::default(),
        }
    }
}

enum State {
    Reading,
    /// Everything was read; the rest of the timeline is still to be given out.
    Draining(Option<MediaError>),
    Ended(Option<MediaError>),
}

/// An open source. Blocking: one thread each.
pub struct LiveSource {
    session: Session,
    guard: Arc<Guard>,
    options: SourceOptions,
    info: MediaInfo,
    known_end: bool,
    state: State,
    /// End of what reading ahead has already shown.
    primed: Option<Next>,
    /// Start of the next window, in the source's own clock.
    start: i64,
    /// Last decoding time of each kind of stream on this timeline.
    last: [Option<i64>; 2],
    /// Where the clock jumped from, and the packet that jumped.
    jumped: Option<(i64, Kind, Packet)>,
    /// Where the timeline before this one ended.
    before: Option<i64>,
    stale: u32,
    notice: Option<Notice>,
}

impl LiveSource {
    /// Opens a URL (`file`, `http`, `https`, `rtmp`, `rtmps`, `srt`, `tcp`, `tls`) or path and reads
    /// until its streams are known.
    ///
    /// # Errors
    /// [`MediaError::UnsupportedUrl`], [`MediaError::Source`], [`MediaError::NotMedia`],
    /// [`MediaError::NoStreams`], [`MediaError::Stalled`] after `open_timeout`, or
    /// [`MediaError::Cancelled`].
    pub fn open(
        url: &str,
        options: &SourceOptions,
        cancel: &CancelToken,
    ) -> Result<Self, MediaError> {
        let guard = Guard::new(cancel, None);
        let streams = options.limits.max_streams;
        let demuxer = Demuxer::open_url(url, streams, options.open_timeout, &guard)?;
        let known_end = demuxer.known_end();
        let audio_ms = i64::from(options.window_ms) + AUDIO_AHEAD_MS;
        let mut session = Session::new(
            demuxer,
            &options.sampling,
            &options.limits,
            audio_ms,
            &guard,
        );
        let primed = session.prime();
        if let Some(Next::Stopped(trip)) = primed {
            return Err(stopped(trip, options.open_timeout));
        }
        if session.nothing_ahead() {
            return Err(match primed {
                Some(Next::Broken(error)) => MediaError::Source {
                    message: error.to_string(),
                },
                _ => MediaError::NoStreams,
            });
        }
        let start = session.origin();
        let mut source = Self {
            session,
            guard,
            options: options.clone(),
            info: MediaInfo {
                container: String::new(),
                video: None,
                audio: None,
            },
            known_end,
            state: State::Reading,
            primed,
            start,
            last: [None; 2],
            jumped: None,
            before: None,
            stale: 0,
            notice: None,
        };
        while !source.session.nothing_ahead() && source.jumped.is_none() {
            source.step();
        }
        source.info = source.session.info();
        Ok(source)
    }

    /// Lets `tempo` decide from now on how closely to look, instead of the options' sampling.
    pub fn set_tempo(&mut self, tempo: &Tempo) {
        self.session.set_tempo(tempo);
    }

    /// What the source holds, as far as its first second shows.
    pub fn info(&self) -> &MediaInfo {
        &self.info
    }

    /// Whether the source has an end that was known when it was opened: a file, or a finished
    /// playlist. The end of any other source may be an outage.
    pub fn known_end(&self) -> bool {
        self.known_end
    }

    /// Waits for the next window. `None` is the source's end. The last window before an end or an
    /// error is shorter, and given out before it.
    ///
    /// # Errors
    /// [`MediaError::Stalled`] after `read_timeout` without a packet, [`MediaError::Source`] when
    /// the connection broke, [`MediaError::Cancelled`]; then again at every further call: open the
    /// source anew.
    pub fn next_window(&mut self) -> Result<Option<Window>, MediaError> {
        loop {
            match &mut self.state {
                State::Reading => {
                    let end = self.start + self.window_ms();
                    if self.jumped.is_some() {
                        if let Some(window) = self.end_timeline() {
                            return Ok(Some(window));
                        }
                    } else if self.session.passed(end, LAG_MS) {
                        return Ok(Some(self.cut(end)));
                    } else {
                        self.step();
                    }
                }
                State::Draining(error) => {
                    let error = error.take();
                    if let Some(window) = self.drain() {
                        self.state = State::Draining(error);
                        return Ok(Some(window));
                    }
                    self.state = State::Ended(error);
                }
                State::Ended(None) => return Ok(None),
                State::Ended(Some(error)) => return Err(error.clone()),
            }
        }
    }

    fn window_ms(&self) -> i64 {
        i64::from(self.options.window_ms.max(100))
    }

    /// Reads and decodes one packet, or takes note of how reading ended.
    fn step(&mut self) {
        self.guard.allow(self.options.read_timeout);
        let next = match self.primed.take() {
            Some(end) if self.session.nothing_ahead() => end,
            waiting => {
                self.primed = waiting;
                self.session.next()
            }
        };
        let error = match next {
            Next::Packet(kind, packet) => return self.accept(kind, packet),
            Next::End => None,
            Next::Stopped(Trip::Cancelled) => {
                self.state = State::Ended(Some(MediaError::Cancelled));
                return;
            }
            Next::Stopped(trip) => Some(stopped(trip, self.options.read_timeout)),
            Next::Broken(error) => Some(MediaError::Source {
                message: error.to_string(),
            }),
        };
        self.guard.allow(FLUSH_TIME);
        self.session.finish();
        self.state = State::Draining(error);
    }

    fn accept(&mut self, kind: Kind, packet: Packet) {
        if let Some(clock) = self.session.decoding_time(kind, &packet) {
            let last = &mut self.last[kind as usize];
            match (*last, self.before) {
                (Some(last), _) if clock > last + JUMP_AHEAD_MS || clock < last - JUMP_BACK_MS => {
                    self.jumped = Some((clock, kind, packet));
                    return;
                }
                // After a jump the other stream may still be on the old timeline for a while.
                (None, Some(before))
                    if (clock - before).abs() < (clock - self.start).abs()
                        && self.stale < MAX_STALE =>
                {
                    self.stale += 1;
                    return;
                }
                _ => *last = Some(clock),
            }
        }
        self.session.dispatch(kind, packet);
    }

    /// The clock jumped: gives out the rest of the old timeline, then starts the new one with the
    /// packet that jumped (and returns `None`).
    fn end_timeline(&mut self) -> Option<Window> {
        let (to_ms, ..) = self.jumped.as_ref()?;
        if self.notice.is_none() {
            self.guard.allow(FLUSH_TIME);
            self.session.finish();
            self.notice = Some(Notice::Discontinuity {
                from_ms: self.session.end(),
                to_ms: *to_ms,
            });
        }
        if let Some(window) = self.drain() {
            return Some(window);
        }
        let (time, kind, packet) = self.jumped.take()?;
        self.notice = None;
        self.before = Some(self.session.end());
        self.stale = 0;
        self.start = time;
        self.last = [None; 2];
        self.last[kind as usize] = Some(time);
        self.session.restart(time);
        self.session.dispatch(kind, packet);
        None
    }

    /// The next window of a timeline that has been read to its end.
    fn drain(&mut self) -> Option<Window> {
        let end = self.session.end();
        if end <= self.start {
            return None;
        }
        let mut window = self.cut(end.min(self.start + self.window_ms()));
        if end <= self.start {
            window.notices.extend(self.notice.clone());
        }
        Some(window)
    }

    fn cut(&mut self, end: i64) -> Window {
        let window = self.session.cut(self.start, end);
        self.start = end;
        self.info = self.session.info();
        window
    }
}

impl Drop for LiveSource {
    /// Bounds the farewell that some protocols send.
    fn drop(&mut self) {
        self.guard.allow(CLOSE_TIME);
    }
}

fn stopped(trip: Trip, after: Duration) -> MediaError {
    match trip {
        Trip::Cancelled => MediaError::Cancelled,
        Trip::Deadline => MediaError::Deadline,
        Trip::Stalled => MediaError::Stalled { after },
    }
}
