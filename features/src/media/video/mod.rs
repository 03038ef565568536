//! One video stream: decodes no more of it than the sampled pictures need.
//!
//! Packets wait in a queue until the sampler wants a picture; a keyframe that comes first empties
//! the queue, so a group of pictures costs only what lies before its last wanted one.

mod clock;
mod gallery;

use std::collections::VecDeque;

use ffmpeg_next::codec::packet::side_data::Type as SideData;
use ffmpeg_next::codec::{self, Id, decoder};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::{Dictionary, Discard, Error, Packet, Rational, frame};

use self::clock::Clock;
use self::gallery::Gallery;
use super::av;
use super::cancel::Guard;
use super::demux::{StreamInfo, to_ms};
use super::sampler::Sampler;
use super::{Frame, MediaLimits, Notice, Sampling, Tempo, VideoInfo};

/// Bounds on the packets that wait; beyond them they are decoded right away.
const MAX_QUEUE_BYTES: usize = 16 << 20;
const MAX_QUEUE_PACKETS: usize = 2048;

enum Decoder {
    /// Opened by the first packet: only then the container's headers are complete.
    Fresh,
    Open(Box<decoder::Video>),
    /// None for the codec, or the pictures are too large.
    Refused(Notice),
}

/// A decoded picture that nobody asked for, kept in case that there is no other.
struct Spare {
    picture: frame::Video,
    time: i64,
}

pub(super) struct VideoTrack {
    stream: StreamInfo,
    sampling: Sampling,
    tempo: Option<Tempo>,
    sampler: Sampler,
    clock: Clock,
    gallery: Gallery,
    decoder: Decoder,
    queue: VecDeque<Packet>,
    queue_bytes: usize,
    /// Packets were left out since the decoder's last one.
    gap: bool,
    /// The decoder has seen a keyframe since it started.
    anchored: bool,
    spare: Option<Spare>,
    decoded: u64,
    /// Since the last window: packets, and those of them that were damaged.
    arrived: u32,
    errors: u32,
}

impl VideoTrack {
    pub(super) fn new(
        stream: StreamInfo,
        sampling: &Sampling,
        tempo: Option<Tempo>,
        limits: &MediaLimits,
        origin: i64,
    ) -> Self {
        Self {
            sampling: *sampling,
            sampler: Sampler::new(sampling, tempo.clone(), origin),
            tempo,
            clock: Clock::new(stream.time_base, stream.fps, origin),
            gallery: Gallery::new(limits, stream.rotation),
            stream,
            decoder: Decoder::Fresh,
            queue: VecDeque::new(),
            queue_bytes: 0,
            gap: false,
            anchored: false,
            spare: None,
            decoded: 0,
            arrived: 0,
            errors: 0,
        }
    }

    /// Continues on a new timeline; what was sampled before is kept.
    pub(super) fn restart(&mut self, origin: i64) {
        self.clear_queue();
        self.gap = true;
        self.spare = None;
        self.sampler = Sampler::new(&self.sampling, self.tempo.clone(), origin);
        self.clock.restart(origin);
    }

    /// Lets `tempo` decide how closely to look from now on.
    pub(super) fn set_tempo(&mut self, tempo: &Tempo) {
        self.tempo = Some(tempo.clone());
        self.sampler.set_tempo(tempo.clone());
    }

    /// Whether no picture was wanted of what came.
    pub(super) fn unasked(&self) -> bool {
        !self.sampler.begun() && self.clock.progress().is_some()
    }

    /// Whether a stretch of `ms` need not have a picture of its own.
    pub(super) fn may_be_without(&self, ms: i64) -> bool {
        !self.sampler.begun() || ms < self.sampler.slot_ms()
    }

    /// Takes the next packet of the stream, and decodes what has become necessary.
    pub(super) fn push(&mut self, mut packet: Packet, guard: &Guard) {
        let time = self.clock.stamp(&mut packet);
        self.arrived = self.arrived.saturating_add(1);
        if matches!(self.decoder, Decoder::Refused(_)) {
            return;
        }
        let key = packet.is_key();
        let running = self.sampler.earliest().is_some();
        self.sampler.observe(time, key);
        let owed = self.sampler.earliest().is_some_and(|moment| moment < time);
        if key && !running && !owed {
            self.gap |= !self.queue.is_empty();
            self.clear_queue();
        }
        let new_headers = packet
            .side_data()
            .any(|data| data.kind() == SideData::NewExtraData);
        self.queue_bytes += packet.size();
        self.queue.push_back(packet);
        let long = self.queue_bytes > MAX_QUEUE_BYTES || self.queue.len() > MAX_QUEUE_PACKETS;
        if self.gallery.full() {
            self.clear_queue();
            self.gap = true;
        } else if self.sampler.earliest().is_some() || new_headers || long {
            self.decode_queue(guard);
        }
    }

    /// The stream ends here: takes the pictures that are still owed.
    pub(super) fn finish(&mut self, guard: &Guard) {
        self.sampler.finish(self.clock.end());
        if !self.sampler.begun()
            || self.gallery.full()
            || matches!(self.decoder, Decoder::Refused(_))
        {
            self.clear_queue();
            return;
        }
        if self.sampler.earliest().is_some() || self.gallery.is_empty() {
            self.decode_queue(guard);
            if let Decoder::Open(decoder) = &mut self.decoder {
                // Fails only when the end was sent before.
                let _ = decoder.send_eof();
            }
            self.receive();
            // A decoder that has been told the end must be flushed before it goes on.
            self.gap = true;
            if self.sampler.earliest().is_some() || self.gallery.is_empty() {
                self.use_spare();
            }
        }
        if self.decoded == 0 && matches!(self.decoder, Decoder::Open(_)) {
            self.gallery.note(Notice::VideoUndecodable);
        }
    }

    /// Removes the pictures before `until`, in order of time, and the notices so far.
    pub(super) fn take(&mut self, until: i64) -> (Vec<Frame>, Vec<Notice>) {
        if !self.gallery.any_before(until) {
            self.use_spare();
        }
        if let Decoder::Refused(notice) = &self.decoder {
            self.gallery.note(notice.clone());
        }
        self.gallery.take(until)
    }

    /// Packets since the last call, and how many of them were damaged.
    pub(super) fn take_counts(&mut self) -> (u32, u32) {
        let arrived = std::mem::take(&mut self.arrived);
        (arrived, std::mem::take(&mut self.errors))
    }

    /// Whether a picture before `until` is still on its way through the decoder.
    pub(super) fn undecided(&self, until: i64) -> bool {
        self.sampler.earliest().is_some_and(|moment| moment < until)
    }

    /// No packet before this time in ms will follow.
    pub(super) fn progress(&self) -> Option<i64> {
        self.clock.progress()
    }

    /// End of the last packet in ms.
    pub(super) fn end(&self) -> i64 {
        self.clock.end()
    }

    pub(super) fn time_base(&self) -> Rational {
        self.stream.time_base
    }

    pub(super) fn info(&self) -> VideoInfo {
        let coded = match &self.decoder {
            Decoder::Open(decoder) if decoder.width() > 0 => {
                Some((decoder.width(), decoder.height()))
            }
            _ => None,
        };
        let size = coded.or_else(|| av::picture_size(&self.stream.parameters));
        let (width, height) = size.unwrap_or((0, 0));
        VideoInfo {
            codec: self.stream.parameters.id().name().to_owned(),
            width,
            height,
            fps: self.clock.fps(),
        }
    }

    fn decode_queue(&mut self, guard: &Guard) {
        while let Some(packet) = self.queue.pop_front() {
            if guard.trip().is_some() || self.gallery.full() {
                self.gap = true;
                continue;
            }
            self.decode(&packet);
        }
        self.queue_bytes = 0;
    }

    fn decode(&mut self, packet: &Packet) {
        if matches!(self.decoder, Decoder::Fresh) {
            self.decoder = self.open();
        }
        let gap = std::mem::take(&mut self.gap);
        let base = self.stream.time_base;
        let Decoder::Open(decoder) = &mut self.decoder else {
            return;
        };
        if gap {
            decoder.flush();
        }
        // Pictures that no other one is built on need no decoding before the wanted moment.
        let time = packet.pts().or(packet.dts()).map(|pts| to_ms(pts, base));
        let early = match (self.sampler.earliest(), time) {
            (Some(moment), Some(time)) => time < moment,
            (None, _) => true,
            (Some(_), None) => false,
        };
        decoder.skip_frame(if early {
            Discard::NonReference
        } else {
            Discard::Default
        });
        let mut sent = decoder.send_packet(packet);
        if sent == Err(Error::Other { errno: EAGAIN }) {
            self.receive();
            if let Decoder::Open(decoder) = &mut self.decoder {
                sent = decoder.send_packet(packet);
            }
        }
        self.anchored |= packet.is_key();
        if sent.is_err() || packet.is_corrupt() {
            self.errors = self.errors.saturating_add(1);
        }
        if sent.is_err() && packet.is_key() {
            let size = av::parse_picture_size(&self.stream.parameters, packet);
            self.gallery.check_size(size);
        }
        self.receive();
    }

    /// Takes all pictures that the decoder has ready.
    fn receive(&mut self) {
        let base = self.stream.time_base;
        loop {
            let mut picture = frame::Video::empty();
            let Decoder::Open(decoder) = &mut self.decoder else {
                return;
            };
            match decoder.receive_frame(&mut picture) {
                Ok(()) => {}
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return,
                Err(_) => {
                    self.errors = self.errors.saturating_add(1);
                    return;
                }
            }
            self.decoded += 1;
            let timestamp = picture.timestamp();
            let time = timestamp.map_or(self.clock.last(), |pts| to_ms(pts, base));
            let wanted = self.sampler.accept(time);
            // Before its first keyframe a decoder draws on grey: better than nothing, no more. An
            // H.264 decoder knows itself when a stream without keyframes has become whole.
            let whole =
                self.anchored || (self.stream.parameters.id() == Id::H264 && !picture.is_corrupt());
            self.spare = Some(Spare { picture, time });
            if wanted && whole {
                self.use_spare();
            }
        }
    }

    /// Keeps the last decoded picture after all.
    fn use_spare(&mut self) {
        let spare = self.spare.take();
        if spare.is_some_and(|spare| !self.gallery.keep(&spare.picture, spare.time)) {
            self.errors = self.errors.saturating_add(1);
        }
    }

    fn clear_queue(&mut self) {
        self.queue.clear();
        self.queue_bytes = 0;
    }

    fn open(&mut self) -> Decoder {
        if let Some((width, height)) = av::picture_size(&self.stream.parameters)
            && !self.gallery.check_size(Some((width, height)))
        {
            return Decoder::Refused(Notice::FrameTooLarge { width, height });
        }
        match self.open_decoder() {
            Ok(decoder) => Decoder::Open(Box::new(decoder)),
            Err(error) => {
                tracing::debug!(%error, "no video decoder");
                Decoder::Refused(Notice::VideoUndecodable)
            }
        }
    }

    fn open_decoder(&self) -> Result<decoder::Video, Error> {
        let codec = decoder::find(self.stream.parameters.id()).ok_or(Error::DecoderNotFound)?;
        let mut context = codec::Context::from_parameters(self.stream.parameters.clone())?;
        context.set_flags(codec::Flags::OUTPUT_CORRUPT);
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(self.stream.time_base);
        let mut options = Dictionary::new();
        // libav counts the padding to whole blocks as well; the exact check follows on the picture.
        let limit = self.gallery.max_pixels();
        let padded = limit.saturating_add(limit / 8 + (1 << 16));
        options.set("max_pixels", &padded.min(i64::MAX as u64).to_string());
        options.set("threads", "1");
        decoder.open_as_with(codec, options)?.video()
    }
}
