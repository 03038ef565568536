//! One audio stream: decoded, mixed to mono, resampled, laid on the timeline without gaps.

use ffmpeg_next::codec::{self, decoder};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::{Dictionary, Error, Packet, Rational, frame};

use super::av::Resampler;
use super::demux::{StreamInfo, to_ms};
use super::mixdown::mixdown;
use super::{Audio, AudioInfo, Notice, SAMPLE_RATE};

/// Timestamps may be off this much without anything missing.
const JITTER_MS: f64 = 80.0;

/// A clock that goes back further is a new timeline, not an overlap.
const OVERLAP_MS: f64 = 1000.0;

/// Sample rates that are plausible, in Hz.
const RATES: std::ops::RangeInclusive<u32> = 1000..=768_000;

const SAMPLES_PER_MS: i64 = SAMPLE_RATE as i64 / 1000;

enum Decoder {
    Fresh,
    Open(Box<decoder::Audio>),
    Refused,
}

/// The source's clock: where the next sample should be.
struct Anchor {
    at_ms: f64,
    samples: u64,
    rate: u32,
}

impl Anchor {
    fn expected_ms(&self) -> f64 {
        self.at_ms + self.samples as f64 * 1000.0 / f64::from(self.rate)
    }
}

pub(super) struct AudioTrack {
    stream: StreamInfo,
    decoder: Decoder,
    resampler: Option<Resampler>,
    anchor: Option<Anchor>,
    mono: Vec<f32>,
    /// Time of `samples[0]` in ms; `None` while there is none.
    start: Option<i64>,
    samples: Vec<f32>,
    max_samples: usize,
    full: bool,
    rate: u32,
    channels: u32,
    packets: u64,
    decoded: u64,
    errors: u32,
    notices: Vec<Notice>,
    progress: Option<i64>,
}

impl AudioTrack {
    /// Holds at most `max_ms` of sound at a time.
    pub(super) fn new(stream: StreamInfo, max_ms: i64) -> Self {
        let max_samples = max_ms.max(0).saturating_mul(SAMPLES_PER_MS);
        Self {
            stream,
            decoder: Decoder::Fresh,
            resampler: None,
            anchor: None,
            mono: Vec::new(),
            start: None,
            samples: Vec::new(),
            max_samples: usize::try_from(max_samples).unwrap_or(usize::MAX),
            full: false,
            rate: 0,
            channels: 0,
            packets: 0,
            decoded: 0,
            errors: 0,
            notices: Vec::new(),
            progress: None,
        }
    }

    /// Continues on a new timeline; the sound so far should have been taken.
    pub(super) fn restart(&mut self) {
        self.resampler = None;
        self.anchor = None;
        self.start = None;
        self.samples.clear();
        self.progress = None;
        if let Decoder::Open(decoder) = &mut self.decoder {
            decoder.flush();
        }
    }

    /// Decodes the next packet of the stream.
    pub(super) fn push(&mut self, packet: &Packet) {
        self.packets += 1;
        if let Some(timestamp) = packet.dts().or(packet.pts()) {
            self.progress = Some(to_ms(timestamp, self.stream.time_base));
        }
        if matches!(self.decoder, Decoder::Fresh) {
            self.decoder = match self.open() {
                Ok(decoder) => Decoder::Open(Box::new(decoder)),
                Err(error) => {
                    tracing::debug!(%error, "no audio decoder");
                    Decoder::Refused
                }
            };
        }
        let Decoder::Open(decoder) = &mut self.decoder else {
            return;
        };
        let mut sent = decoder.send_packet(packet);
        if sent == Err(Error::Other { errno: EAGAIN }) {
            self.receive();
            if let Decoder::Open(decoder) = &mut self.decoder {
                sent = decoder.send_packet(packet);
            }
        }
        if sent.is_err() || packet.is_corrupt() {
            self.errors = self.errors.saturating_add(1);
        }
        self.receive();
    }

    /// The stream ends here: takes what decoder and resampler still hold.
    pub(super) fn finish(&mut self) {
        if let Decoder::Open(decoder) = &mut self.decoder {
            // Fails only when the end was sent before.
            let _ = decoder.send_eof();
        }
        self.receive();
        self.flush_resampler();
        if self.decoded == 0 && self.packets > 0 && matches!(self.decoder, Decoder::Open(_)) {
            self.notices.push(Notice::AudioUndecodable);
        }
    }

    /// Removes the sound before `until` (ms) and the notices so far.
    pub(super) fn take(&mut self, until: i64) -> (Option<Audio>, Vec<Notice>) {
        let mut notices = std::mem::take(&mut self.notices);
        if matches!(self.decoder, Decoder::Refused) && notices.is_empty() {
            notices.push(Notice::AudioUndecodable);
        }
        let Some(start) = self.start else {
            return (None, notices);
        };
        let count = (until - start).max(0).saturating_mul(SAMPLES_PER_MS);
        let count = usize::try_from(count).unwrap_or(0).min(self.samples.len());
        if count == 0 {
            return (None, notices);
        }
        let rest = self.samples.split_off(count);
        let samples = std::mem::replace(&mut self.samples, rest);
        self.full = false;
        self.start = if self.samples.is_empty() {
            None
        } else {
            Some(start + count as i64 / SAMPLES_PER_MS)
        };
        let audio = Audio {
            start_ms: start,
            samples,
        };
        (Some(audio), notices)
    }

    pub(super) fn time_base(&self) -> Rational {
        self.stream.time_base
    }

    /// Damaged packets since the last call.
    pub(super) fn take_errors(&mut self) -> u32 {
        std::mem::take(&mut self.errors)
    }

    /// No packet before this time in ms will follow.
    pub(super) fn progress(&self) -> Option<i64> {
        self.progress
    }

    /// End of the sound so far in ms; `None` while there is none.
    pub(super) fn end(&self) -> Option<i64> {
        let start = self.start?;
        let length = (self.samples.len() as i64 + SAMPLES_PER_MS - 1) / SAMPLES_PER_MS;
        Some(start + length)
    }

    pub(super) fn info(&self) -> AudioInfo {
        AudioInfo {
            codec: self.stream.parameters.id().name().to_owned(),
            sample_rate: self.rate,
            channels: self.channels,
        }
    }

    fn open(&self) -> Result<decoder::Audio, Error> {
        let codec = decoder::find(self.stream.parameters.id()).ok_or(Error::DecoderNotFound)?;
        let context = codec::Context::from_parameters(self.stream.parameters.clone())?;
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(self.stream.time_base);
        let mut options = Dictionary::new();
        options.set("threads", "1");
        decoder.open_as_with(codec, options)?.audio()
    }

    fn receive(&mut self) {
        loop {
            let mut sound = frame::Audio::empty();
            let Decoder::Open(decoder) = &mut self.decoder else {
                return;
            };
            match decoder.receive_frame(&mut sound) {
                Ok(()) => self.place(&sound),
                Err(Error::Eof | Error::Other { errno: EAGAIN }) => return,
                Err(_) => {
                    self.errors = self.errors.saturating_add(1);
                    return;
                }
            }
        }
    }

    /// Lays a decoded frame on the timeline.
    fn place(&mut self, sound: &frame::Audio) {
        let rate = sound.rate();
        let mut mono = std::mem::take(&mut self.mono);
        if RATES.contains(&rate) && mixdown(sound, &mut mono).is_some() {
            self.decoded += 1;
            self.rate = rate;
            self.channels = u32::from(sound.channels());
            let base = self.stream.time_base;
            let time = sound.timestamp().map(|timestamp| to_ms(timestamp, base));
            let overlap = self.align(time, rate, mono.len());
            let fresh = &mono[overlap..];
            if let Some(anchor) = &mut self.anchor {
                anchor.samples += fresh.len() as u64;
            }
            self.append(fresh, rate);
        } else {
            self.errors = self.errors.saturating_add(1);
        }
        self.mono = mono;
    }

    /// Compares a frame's time with where the last one ended: fills a gap with silence, returns
    /// how many of its samples were there before.
    fn align(&mut self, time: Option<i64>, rate: u32, samples: usize) -> usize {
        let expected = self.anchor.as_ref().map(Anchor::expected_ms);
        let time = time.map(|time| time as f64);
        let at = time.or(expected).unwrap_or(0.0);
        let off = expected.map_or(0.0, |expected| at - expected);
        let mut overlap = 0;
        let restart = match &self.anchor {
            None => true,
            Some(_) if off > JITTER_MS => {
                self.silence(off);
                true
            }
            Some(_) if off < -OVERLAP_MS => true,
            Some(anchor) => {
                if off < -JITTER_MS {
                    overlap = ((-off * f64::from(rate) / 1000.0) as usize).min(samples);
                }
                anchor.rate != rate
            }
        };
        if restart {
            // Without a gap or a jump the sound continues exactly where it was.
            let at_ms = match expected {
                Some(expected) if off.abs() <= JITTER_MS => expected,
                _ => at,
            };
            self.anchor = Some(Anchor {
                at_ms,
                samples: 0,
                rate,
            });
        }
        if self.start.is_none() {
            let start = if off.abs() <= JITTER_MS {
                expected.unwrap_or(at)
            } else {
                at
            };
            self.start = Some(start.round() as i64);
        }
        overlap
    }

    fn silence(&mut self, length_ms: f64) {
        self.flush_resampler();
        // At the start of a window nothing is missing: its sound just begins later.
        if self.start.is_some() && !self.samples.is_empty() {
            let count = (length_ms * SAMPLES_PER_MS as f64) as usize;
            let length = (self.samples.len() + count).min(self.max_samples);
            self.samples.resize(length.max(self.samples.len()), 0.0);
        } else {
            self.start = None;
        }
    }

    fn append(&mut self, fresh: &[f32], rate: u32) {
        if self.samples.len() >= self.max_samples {
            if !self.full {
                self.full = true;
                self.notices.push(Notice::DurationLimit);
            }
            return;
        }
        if self.resampler.as_ref().is_some_and(|r| r.from() != rate) {
            self.flush_resampler();
            self.resampler = None;
        }
        if rate == SAMPLE_RATE {
            self.samples.extend_from_slice(fresh);
            return;
        }
        if self.resampler.is_none() {
            self.resampler = Resampler::new(rate, SAMPLE_RATE).ok();
        }
        match &mut self.resampler {
            Some(resampler) => resampler.push(fresh, &mut self.samples),
            None => self.errors = self.errors.saturating_add(1),
        }
    }

    /// A flushed resampler must not be fed again: it has ended its filter.
    fn flush_resampler(&mut self) {
        if let Some(mut resampler) = self.resampler.take() {
            resampler.flush(&mut self.samples);
        }
    }
}
