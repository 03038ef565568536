//! A finished segment in memory: read once, from front to end.

use std::sync::Arc;

use super::cancel::{Guard, Trip};
use super::demux::{Demuxer, Next};
use super::session::Session;
use super::{CancelToken, MediaError, MediaInfo, MediaLimits, Notice, Sampling, Window};

/// Containers whose header states the duration of what follows.
const TIMED_CONTAINERS: [&str; 3] = ["mov", "matroska", "avi"];

/// Demuxes and decodes a segment. Times in the result count from the segment's start (its earliest
/// timestamp), so `start_ms` is 0.
///
/// A segment with any video at or after [`Sampling::first_ms`] gives at least one picture: where a
/// stream has no usable keyframe, the best one that its decoder could draw.
///
/// # Errors
/// [`MediaError`] when nothing usable came out of the bytes, or `cancel` was cancelled. A partial
/// result is a result: it says in its notices what is missing.
pub fn read_segment(
    bytes: Arc<[u8]>,
    sampling: &Sampling,
    limits: &MediaLimits,
    cancel: &CancelToken,
) -> Result<(MediaInfo, Window), MediaError> {
    if bytes.is_empty() {
        return Err(MediaError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(MediaError::TooLarge {
            what: "bytes",
            value: bytes.len() as u64,
            limit: limits.max_bytes as u64,
        });
    }
    let guard = Guard::new(cancel, Some(limits.deadline));
    let demuxer = Demuxer::open_bytes(bytes, limits.max_streams, &guard)?;
    let mut session = Session::new(demuxer, sampling, limits, limits.max_duration_ms, &guard);
    let mut notices = Vec::new();
    let primed = session.prime();
    let end = read_all(&mut session, primed, limits);
    session.finish();
    if cancel.is_cancelled() {
        return Err(MediaError::Cancelled);
    }
    // Decoding of the last pictures may run into the deadline as well.
    let late = guard.trip() == Some(Trip::Deadline);
    match end {
        None => notices.push(Notice::DurationLimit),
        Some(Next::Broken(_)) => notices.push(Notice::Truncated),
        Some(Next::End) if ends_early(&session) => notices.push(Notice::Truncated),
        Some(_) => {}
    }
    if late {
        notices.push(Notice::Deadline);
    }
    let origin = session.origin();
    let last = session.end();
    let mut window = session.cut(origin, last.saturating_add(1));
    relative(&mut window, origin, last);
    for notice in notices {
        if !window.notices.contains(&notice) {
            window.notices.push(notice);
        }
    }
    if window.frames.is_empty() && window.audio.is_none() && !session.unasked() {
        return Err(nothing(&window.notices, limits));
    }
    Ok((session.info(), window))
}

/// Reads to the end and says which it was; `None` when the limit on the duration ended it.
fn read_all(session: &mut Session, primed: Option<Next>, limits: &MediaLimits) -> Option<Next> {
    let until = session.origin().saturating_add(limits.max_duration_ms);
    let mut ended = primed;
    loop {
        // What was read ahead comes first, also when reading has ended meanwhile.
        let next = match ended.take() {
            Some(end) if session.nothing_ahead() => end,
            waiting => {
                ended = waiting;
                session.next()
            }
        };
        match next {
            Next::Packet(kind, packet) => {
                if session.time(kind, &packet).is_some_and(|time| time > until) {
                    return None;
                }
                session.dispatch(kind, packet);
            }
            end => return Some(end),
        }
    }
}

/// The last packet is cut, or the header promised more.
fn ends_early(session: &Session) -> bool {
    if session.last_was_corrupt() {
        return true;
    }
    let container = session.demuxer().container();
    let timed = container
        .split(',')
        .any(|name| TIMED_CONTAINERS.contains(&name));
    let got = session.end() - session.origin();
    let promised = session.demuxer().duration_ms().unwrap_or(0);
    timed && got + 500 + promised / 20 < promised
}

/// From the container's clock to time since the segment's start.
fn relative(window: &mut Window, origin: i64, last: i64) {
    window.start_ms = 0;
    window.end_ms = last - origin;
    for frame in &mut window.frames {
        frame.timestamp_ms = (frame.timestamp_ms - origin).max(0);
    }
    if let Some(audio) = &mut window.audio {
        audio.start_ms = (audio.start_ms - origin).max(0);
    }
}

fn nothing(notices: &[Notice], limits: &MediaLimits) -> MediaError {
    for notice in notices {
        match notice {
            Notice::FrameTooLarge { width, height } => {
                return MediaError::TooLarge {
                    what: "pixels",
                    value: u64::from(*width) * u64::from(*height),
                    limit: limits.max_pixels,
                };
            }
            Notice::Deadline => return MediaError::Deadline,
            _ => {}
        }
    }
    MediaError::NoStreams
}
