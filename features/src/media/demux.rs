//! Reading packets: which streams, in which clock, and how reading ends.

use std::sync::Arc;
use std::time::Duration;

use ffmpeg_next::codec::Parameters;
use ffmpeg_next::codec::packet::side_data::Type as SideData;
use ffmpeg_next::error::{EAGAIN, ENOMEM};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::Disposition;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, Rescale, media::Type};

use super::MediaError;
use super::access::{self, GuardedBytes, Options};
use super::av;
use super::cancel::{Guard, Trip};
use super::rotation::Rotation;

/// Damaged packets in a row before the container is given up.
const MAX_ERRORS: u32 = 64;

/// Bytes that libav takes at a time. The guard is asked at each refill, and a crafted header can
/// make the demuxer work hard on few bytes.
const IO_BUFFER: usize = 8 << 10;

/// Of the variants of an HLS playlist the best up to this many bits per second is taken; a better
/// one would only be reduced again.
const VARIANT_BIT_RATE: u64 = 6_000_000;

/// No clock in the world needs more; sums of such values cannot overflow.
const MAX_MS: i64 = 1 << 52;

/// Where a packet belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Video,
    Audio,
}

/// How a read ended.
pub(super) enum Next {
    Packet(Kind, Packet),
    /// The container's end.
    End,
    /// Cancelled or out of time.
    Stopped(Trip),
    /// Damaged beyond continuing, or the connection broke.
    Broken(Error),
}

/// What a decoder needs to know about its stream.
pub(super) struct StreamInfo {
    /// A live view: later headers show up in it.
    pub(super) parameters: Parameters,
    pub(super) time_base: Rational,
    /// By the container; 0 when it does not say.
    pub(super) fps: f64,
    pub(super) rotation: Rotation,
}

/// An open container.
pub(super) struct Demuxer {
    input: Input,
    guard: Arc<Guard>,
    max_streams: usize,
    known_streams: usize,
    video: Option<usize>,
    audio: Option<usize>,
    errors: u32,
}

impl Demuxer {
    /// Opens bytes in memory; they cannot open anything else.
    pub(super) fn open_bytes(
        bytes: Arc<[u8]>,
        max_streams: u32,
        guard: &Arc<Guard>,
    ) -> Result<Self, MediaError> {
        av::init();
        let source = GuardedBytes::new(bytes, guard);
        let io = StreamIo::from_read_seek_with_capacity(source, IO_BUFFER).map_err(internal)?;
        let options = dictionary(&access::for_bytes(max_streams));
        let input = av::open_bytes(io, options, guard).map_err(|error| match guard.trip() {
            Some(Trip::Cancelled) => MediaError::Cancelled,
            Some(_) => MediaError::Deadline,
            None if error == (Error::Other { errno: ENOMEM }) => MediaError::TooLarge {
                what: "allocation",
                value: 0,
                limit: 0,
            },
            None => MediaError::NotMedia,
        })?;
        Ok(Self::new(input, guard, max_streams))
    }

    /// Opens a URL, waiting for at most `timeout`.
    pub(super) fn open_url(
        url: &str,
        max_streams: u32,
        timeout: Duration,
        guard: &Arc<Guard>,
    ) -> Result<Self, MediaError> {
        let (target, options) = access::for_url(url, max_streams)?;
        av::init();
        guard.allow(timeout);
        let input = av::open_url(&target, dictionary(&options), guard).map_err(|error| {
            match (guard.trip(), error) {
                (Some(Trip::Cancelled), _) => MediaError::Cancelled,
                (Some(_), _) => MediaError::Stalled { after: timeout },
                (None, Error::InvalidData) => MediaError::NotMedia,
                (None, Error::ProtocolNotFound) => MediaError::UnsupportedUrl {
                    reason: "this build of libav does not know its protocol".to_owned(),
                },
                (None, error) => MediaError::Source {
                    message: error.to_string(),
                },
            }
        })?;
        Ok(Self::new(input, guard, max_streams))
    }

    fn new(input: Input, guard: &Arc<Guard>, max_streams: u32) -> Self {
        let mut demuxer = Self {
            input,
            guard: Arc::clone(guard),
            max_streams: max_streams.max(1) as usize,
            known_streams: 0,
            video: None,
            audio: None,
            errors: 0,
        };
        demuxer.select();
        demuxer
    }

    /// libav's name of the container format.
    pub(super) fn container(&self) -> String {
        self.input.format().name().to_owned()
    }

    /// The header's duration in ms, where it has one.
    pub(super) fn duration_ms(&self) -> Option<i64> {
        let duration = self.input.duration();
        (duration > 0).then_some(duration / 1000)
    }

    /// Whether the input has an end that is known now: a file, or a finished playlist.
    pub(super) fn known_end(&self) -> bool {
        if self.container().split(',').any(|name| name == "hls") {
            // The size would be the playlist's.
            return self.duration_ms().is_some();
        }
        self.duration_ms().is_some() || self.input.io_size().is_some_and(|size| size > 0)
    }

    /// Whether streams beyond the limit were ignored.
    pub(super) fn too_many_streams(&self) -> bool {
        self.input.nb_streams() as usize > self.max_streams
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.index(kind).is_some()
    }

    /// The chosen stream of a kind.
    pub(super) fn stream(&self, kind: Kind) -> Option<StreamInfo> {
        let stream = self.input.stream(self.index(kind)?)?;
        let rate = stream.avg_frame_rate();
        let fps = if rate.numerator() > 0 && rate.denominator() > 0 {
            f64::from(rate)
        } else {
            0.0
        };
        let matrix = stream
            .side_data()
            .find(|data| data.kind() == SideData::DisplayMatrix);
        Some(StreamInfo {
            parameters: stream.parameters(),
            time_base: stream.time_base(),
            fps,
            rotation: matrix
                .map(|data| Rotation::from_display_matrix(data.data()))
                .unwrap_or_default(),
        })
    }

    fn index(&self, kind: Kind) -> Option<usize> {
        match kind {
            Kind::Video => self.video,
            Kind::Audio => self.audio,
        }
    }

    /// Reads the next packet of a chosen stream.
    pub(super) fn next(&mut self) -> Next {
        loop {
            if let Some(trip) = self.guard.trip() {
                return Next::Stopped(trip);
            }
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {
                    self.errors = 0;
                    // Some containers only announce a stream with its first packet.
                    if self.known_streams != self.input.nb_streams() as usize {
                        self.select();
                    }
                    let index = Some(packet.stream());
                    if index == self.video {
                        return Next::Packet(Kind::Video, packet);
                    }
                    if index == self.audio {
                        return Next::Packet(Kind::Audio, packet);
                    }
                }
                Err(error) => {
                    // An interrupted read may come back as any error, also as the end.
                    if let Some(trip) = self.guard.trip() {
                        return Next::Stopped(trip);
                    }
                    self.errors += 1;
                    let passing =
                        error == Error::InvalidData || error == (Error::Other { errno: EAGAIN });
                    match error {
                        Error::Eof => return Next::End,
                        _ if passing && self.errors < MAX_ERRORS => {}
                        error => return Next::Broken(error),
                    }
                }
            }
        }
    }

    /// Chooses one video and one audio stream; a choice once made stays.
    fn select(&mut self) {
        let count = self.input.nb_streams() as usize;
        self.known_streams = count;
        let within = count.min(self.max_streams);
        if self.video.is_none() {
            self.video = self.choose_video(within);
        }
        if self.audio.is_none() {
            self.audio = self.choose_audio(within);
        }
        for index in 0..count {
            let chosen = Some(index) == self.video || Some(index) == self.audio;
            av::set_discard(&mut self.input, index, !chosen);
        }
    }

    /// The first video stream, as players do; of an HLS playlist's variants a good one; a cover
    /// picture only when there is nothing else.
    fn choose_video(&self, within: usize) -> Option<usize> {
        let streams = || {
            let streams = self.input.streams().take(within);
            streams.filter(|stream| stream.parameters().medium() == Type::Video)
        };
        let rank = |index: usize| {
            let rate = self.variant_bit_rate(index).unwrap_or(0);
            // Within the bound more is better, beyond it less.
            if rate <= VARIANT_BIT_RATE {
                (1, i128::from(rate))
            } else {
                (0, -i128::from(rate))
            }
        };
        let mut best: Option<usize> = None;
        for stream in streams() {
            let index = stream.index();
            let cover = stream.disposition().contains(Disposition::ATTACHED_PIC);
            if !cover && best.is_none_or(|other| rank(index) > rank(other)) {
                best = Some(index);
            }
        }
        best.or_else(|| streams().next().map(|stream| stream.index()))
    }

    /// The first audio stream, of the same variant as the video where there are variants.
    fn choose_audio(&self, within: usize) -> Option<usize> {
        let rate = self.video.and_then(|index| self.variant_bit_rate(index));
        let streams = || {
            let streams = self.input.streams().take(within);
            streams
                .filter(|stream| stream.parameters().medium() == Type::Audio)
                .map(|stream| stream.index())
        };
        streams()
            .find(|index| self.variant_bit_rate(*index) == rate)
            .or_else(|| streams().next())
    }

    fn variant_bit_rate(&self, index: usize) -> Option<u64> {
        let stream = self.input.stream(index)?;
        stream.metadata().get("variant_bitrate")?.parse().ok()
    }
}

fn dictionary(options: &Options) -> Dictionary<'static> {
    let mut dictionary = Dictionary::new();
    for (name, value) in options {
        dictionary.set(name, value);
    }
    dictionary
}

fn internal(error: Error) -> MediaError {
    MediaError::Internal {
        message: error.to_string(),
    }
}

/// A timestamp in ms, kept within bounds that arithmetic can rely on.
pub(super) fn to_ms(timestamp: i64, time_base: Rational) -> i64 {
    timestamp
        .rescale(time_base, Rational(1, 1000))
        .clamp(-MAX_MS, MAX_MS)
}
