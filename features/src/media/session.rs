//! A demuxer with its decoders: what segments and live sources have in common.

use std::collections::VecDeque;
use std::sync::Arc;

use ffmpeg_next::{Packet, Rational};

use super::cancel::Guard;
use super::demux::{Demuxer, Kind, Next, to_ms};
use super::sound::AudioTrack;
use super::video::VideoTrack;
use super::{MediaInfo, MediaLimits, Notice, Sampling, Tempo, Window};

/// Bounds on what is read ahead to find where the earliest stream starts.
const MAX_AHEAD_PACKETS: usize = 256;
const MAX_AHEAD_BYTES: usize = 8 << 20;
const MAX_AHEAD_MS: i64 = 1500;

pub(super) struct Session {
    demuxer: Demuxer,
    guard: Arc<Guard>,
    sampling: Sampling,
    tempo: Option<Tempo>,
    limits: MediaLimits,
    /// Most sound that may wait, in ms.
    max_audio_ms: i64,
    ahead: VecDeque<(Kind, Packet)>,
    origin: i64,
    video: Option<VideoTrack>,
    audio: Option<AudioTrack>,
    last_was_corrupt: bool,
}

impl Session {
    pub(super) fn new(
        demuxer: Demuxer,
        sampling: &Sampling,
        limits: &MediaLimits,
        max_audio_ms: i64,
        guard: &Arc<Guard>,
    ) -> Self {
        Self {
            demuxer,
            guard: Arc::clone(guard),
            sampling: *sampling,
            tempo: None,
            limits: limits.clone(),
            max_audio_ms,
            ahead: VecDeque::new(),
            origin: 0,
            video: None,
            audio: None,
            last_was_corrupt: false,
        }
    }

    /// Lets `tempo` decide how closely to look from now on.
    pub(super) fn set_tempo(&mut self, tempo: &Tempo) {
        self.tempo = Some(tempo.clone());
        if let Some(video) = &mut self.video {
            video.set_tempo(tempo);
        }
    }

    pub(super) fn demuxer(&self) -> &Demuxer {
        &self.demuxer
    }

    /// Time in ms at which the earliest stream starts; slot 0 and the first window start there.
    pub(super) fn origin(&self) -> i64 {
        self.origin
    }

    /// Reads ahead until every stream has shown its first timestamp, and sets the origin. `None`
    /// when that worked, or how reading ended before (what was read is kept).
    pub(super) fn prime(&mut self) -> Option<Next> {
        let mut first = [None::<i64>; 2];
        let (mut bytes, mut newest) = (0, i64::MIN);
        let mut ended = None;
        loop {
            let seen = |kind| !self.demuxer.has(kind) || first[kind as usize].is_some();
            let any = first.iter().flatten().min().copied();
            let span = any.map_or(0, |oldest| newest - oldest);
            // A single kind of stream is only believed to be all after some reading.
            let both = first.iter().all(Option::is_some);
            let all = seen(Kind::Video) && seen(Kind::Audio);
            if both
                || self.ahead.len() >= MAX_AHEAD_PACKETS
                || bytes > MAX_AHEAD_BYTES
                || span > MAX_AHEAD_MS
                || (all && self.ahead.len() >= MAX_AHEAD_PACKETS / 4)
            {
                break;
            }
            match self.demuxer.next() {
                Next::Packet(kind, packet) => {
                    bytes += packet.size();
                    if let Some(time) = self.time(kind, &packet) {
                        newest = newest.max(time);
                        let slot = &mut first[kind as usize];
                        *slot = Some(slot.map_or(time, |earlier| earlier.min(time)));
                    }
                    self.ahead.push_back((kind, packet));
                }
                end => {
                    ended = Some(end);
                    break;
                }
            }
        }
        self.origin = first.iter().flatten().min().copied().unwrap_or(0);
        ended
    }

    /// The next packet, from what was read ahead first.
    pub(super) fn next(&mut self) -> Next {
        match self.ahead.pop_front() {
            Some((kind, packet)) => Next::Packet(kind, packet),
            None => self.demuxer.next(),
        }
    }

    /// Whether everything that was read ahead has been given out.
    pub(super) fn nothing_ahead(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Presentation (else decoding) time of a packet in ms.
    pub(super) fn time(&self, kind: Kind, packet: &Packet) -> Option<i64> {
        let timestamp = packet.pts().or(packet.dts())?;
        Some(to_ms(timestamp, self.time_base(kind)?))
    }

    /// Decoding (else presentation) time of a packet in ms: never runs backwards in one stream.
    pub(super) fn decoding_time(&self, kind: Kind, packet: &Packet) -> Option<i64> {
        let timestamp = packet.dts().or(packet.pts())?;
        Some(to_ms(timestamp, self.time_base(kind)?))
    }

    fn time_base(&self, kind: Kind) -> Option<Rational> {
        match (kind, &self.video, &self.audio) {
            (Kind::Video, Some(video), _) => Some(video.time_base()),
            (Kind::Audio, _, Some(audio)) => Some(audio.time_base()),
            _ => Some(self.demuxer.stream(kind)?.time_base),
        }
    }

    /// Hands a packet to its decoder.
    pub(super) fn dispatch(&mut self, kind: Kind, packet: Packet) {
        self.last_was_corrupt = packet.is_corrupt();
        match kind {
            Kind::Video => {
                if self.video.is_none() {
                    self.video = self.demuxer.stream(kind).map(|stream| {
                        let tempo = self.tempo.clone();
                        VideoTrack::new(stream, &self.sampling, tempo, &self.limits, self.origin)
                    });
                }
                if let Some(video) = &mut self.video {
                    video.push(packet, &self.guard);
                }
            }
            Kind::Audio => {
                if self.audio.is_none() {
                    let stream = self.demuxer.stream(kind);
                    self.audio = stream.map(|stream| AudioTrack::new(stream, self.max_audio_ms));
                }
                if let Some(audio) = &mut self.audio {
                    audio.push(&packet);
                }
            }
        }
    }

    /// The timeline ends: everything that is still inside the decoders comes out.
    pub(super) fn finish(&mut self) {
        if let Some(video) = &mut self.video {
            video.finish(&self.guard);
        }
        if let Some(audio) = &mut self.audio {
            audio.finish();
        }
    }

    /// Starts a new timeline after [`Session::finish`].
    pub(super) fn restart(&mut self, origin: i64) {
        self.origin = origin;
        if let Some(video) = &mut self.video {
            video.restart(origin);
        }
        if let Some(audio) = &mut self.audio {
            audio.restart();
        }
    }

    /// Whether there was video of which no picture was wanted.
    pub(super) fn unasked(&self) -> bool {
        self.video.as_ref().is_some_and(VideoTrack::unasked)
    }

    /// Whether the last packet was cut short.
    pub(super) fn last_was_corrupt(&self) -> bool {
        self.last_was_corrupt
    }

    /// Everything between `start` and `end`, in the source's own clock.
    pub(super) fn cut(&mut self, start_ms: i64, end_ms: i64) -> Window {
        let mut window = Window {
            start_ms,
            end_ms,
            frames: Vec::new(),
            audio: None,
            notices: Vec::new(),
        };
        let (mut damaged, mut quiet) = (0, false);
        if let Some(video) = &mut self.video {
            let (frames, notices) = video.take(end_ms);
            let (arrived, errors) = video.take_counts();
            window.frames = frames;
            window.notices.extend(notices);
            damaged += errors;
            // A window shorter than a slot need not have a picture of its own.
            quiet = arrived > 0 && errors == 0 && video.may_be_without(end_ms - start_ms);
        }
        if let Some(audio) = &mut self.audio {
            let (sound, notices) = audio.take(end_ms);
            window.audio = sound;
            window.notices.extend(notices);
            damaged += audio.take_errors();
        }
        if damaged > 0 {
            window
                .notices
                .push(Notice::CorruptData { packets: damaged });
        }
        let has = |by: fn(&Notice) -> bool| window.notices.iter().any(by);
        let no_picture = |notice: &Notice| {
            matches!(
                notice,
                Notice::FrameTooLarge { .. } | Notice::VideoUndecodable
            )
        };
        let no_video = window.frames.is_empty() && !quiet && !has(no_picture);
        let no_audio = window.audio.is_none() && !has(|n| *n == Notice::AudioUndecodable);
        if no_video {
            window.notices.push(Notice::NoVideo);
        }
        if no_audio {
            window.notices.push(Notice::NoAudio);
        }
        if self.demuxer.too_many_streams() {
            window.notices.push(Notice::TooManyStreams);
        }
        window
    }

    pub(super) fn info(&self) -> MediaInfo {
        MediaInfo {
            container: self.demuxer.container(),
            video: self.video.as_ref().map(VideoTrack::info),
            audio: self.audio.as_ref().map(AudioTrack::info),
        }
    }

    /// Last time in ms that any stream reaches.
    pub(super) fn end(&self) -> i64 {
        let video = self.video.as_ref().map(VideoTrack::end);
        let audio = self.audio.as_ref().and_then(AudioTrack::end);
        video.max(audio).unwrap_or(self.origin).max(self.origin)
    }

    /// Whether all of `..until` has been read: every stream has passed it, or one of them by so
    /// much (`lag_ms`) that the others are taken to be silent there.
    pub(super) fn passed(&self, until: i64, lag_ms: i64) -> bool {
        let video = self.video.as_ref().map(VideoTrack::progress);
        let audio = self.audio.as_ref().map(AudioTrack::progress);
        let tracks = [video, audio];
        let mut present = tracks.iter().flatten();
        let newest = tracks.iter().flatten().max().copied().flatten();
        let far = newest.is_some_and(|newest| newest >= until + lag_ms);
        let all = present.all(|progress| progress.is_some_and(|progress| progress >= until));
        let waiting = self.video.as_ref().is_some_and(|v| v.undecided(until));
        newest.is_some() && (far || (all && !waiting))
    }
}
