//! What a stream says about its pictures before a decoder has seen them.
#![allow(unsafe_code, reason = "ffmpeg-next does not expose these fields")]

use std::ptr;

use ffmpeg_next::codec::{self, Parameters, packet::Ref};
use ffmpeg_next::ffi::{
    AV_NOPTS_VALUE, PARSER_FLAG_COMPLETE_FRAMES, av_parser_close, av_parser_init, av_parser_parse2,
};
use ffmpeg_next::format::context::Input;
use ffmpeg_next::{Discard, Packet};

/// Width and height by the container; `None` when it does not say.
pub(in crate::media) fn picture_size(parameters: &Parameters) -> Option<(u32, u32)> {
    // SAFETY: `Parameters` always holds a valid pointer.
    let (width, height) = unsafe {
        let raw = parameters.as_ptr();
        ((*raw).width, (*raw).height)
    };
    positive(width, height)
}

/// Width and height by the packet's own headers, without decoding it; `None` when there is no
/// parser for the codec or it finds none.
pub(in crate::media) fn parse_picture_size(
    parameters: &Parameters,
    packet: &Packet,
) -> Option<(u32, u32)> {
    let mut context = codec::Context::from_parameters(parameters.clone()).ok()?;
    let size = i32::try_from(packet.size()).ok()?;
    // SAFETY: the parser is checked for null and closed; the context and the packet (padded, as
    // every packet of a demuxer) live longer than the call; the output only points into them.
    unsafe {
        let codec_id = (*parameters.as_ptr()).codec_id;
        let parser = av_parser_init(codec_id as _);
        if parser.is_null() {
            return None;
        }
        (*parser).flags |= PARSER_FLAG_COMPLETE_FRAMES;
        let (mut out, mut out_size) = (ptr::null_mut(), 0);
        av_parser_parse2(
            parser,
            context.as_mut_ptr(),
            &raw mut out,
            &raw mut out_size,
            (*packet.as_ptr()).data,
            size,
            AV_NOPTS_VALUE,
            AV_NOPTS_VALUE,
            0,
        );
        let found = positive((*parser).width, (*parser).height);
        av_parser_close(parser);
        found
    }
}

fn positive(width: i32, height: i32) -> Option<(u32, u32)> {
    let width = u32::try_from(width).ok()?;
    let height = u32::try_from(height).ok()?;
    (width > 0 && height > 0).then_some((width, height))
}

/// Tells the demuxer to skip a stream, or to read it. An HLS demuxer does not download what is
/// skipped.
pub(in crate::media) fn set_discard(input: &mut Input, index: usize, discard: bool) {
    let Some(mut stream) = input.stream_mut(index) else {
        return;
    };
    let value = if discard {
        Discard::All
    } else {
        Discard::Default
    };
    // SAFETY: the stream belongs to `input`, which is borrowed mutably; the field is meant to be
    // set by callers at any time.
    unsafe {
        (*stream.as_mut_ptr()).discard = value.into();
    }
}
