//! Decoded picture to packed RGB by swscale, with the colour matrix the stream names.
#![allow(
    unsafe_code,
    reason = "ffmpeg-next cannot set swscale's colour matrix and trusts the stream's own"
)]

use ffmpeg_next::ffi::{sws_getCoefficients, sws_setColorspaceDetails};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::{Context, Flags};
use ffmpeg_next::{Error, frame};

use crate::picture::RgbImage;

/// What a swscale context was made for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    format: Pixel,
    input: (u32, u32),
    output: (u32, u32),
    matrix: i32,
    full_range: bool,
}

/// Converts pictures and keeps the tables between pictures of one kind.
#[derive(Default)]
pub(in crate::media) struct Scaler {
    context: Option<(Key, Context)>,
}

// SAFETY: an `SwsContext` may be used from any thread, one at a time, and `Scaler` has no shared
// access to it.
unsafe impl Send for Scaler {}

impl Scaler {
    /// The picture as RGB, reduced so that its longer side is at most `max_side` (0 = as it is).
    pub(in crate::media) fn rgb(
        &mut self,
        picture: &frame::Video,
        max_side: u32,
    ) -> Result<RgbImage, Error> {
        let input = (picture.width(), picture.height());
        let output = reduced(input, max_side);
        let key = Key {
            format: picture.format(),
            input,
            output,
            matrix: matrix(picture),
            full_range: colour(picture).1 == FULL_RANGE,
        };
        if input.0 == 0 || input.1 == 0 || key.format == Pixel::None || picture.planes() == 0 {
            return Err(Error::InvalidData);
        }
        if self.context.as_ref().is_none_or(|(have, _)| *have != key) {
            self.context = Some((key, create(&key)?));
        }
        let Some((_, context)) = &mut self.context else {
            return Err(Error::Bug);
        };
        let mut rgb = frame::Video::new(Pixel::RGB24, output.0, output.1);
        if rgb.planes() == 0 {
            return Err(Error::Other {
                errno: ffmpeg_next::error::ENOMEM,
            });
        }
        context.run(picture, &mut rgb)?;
        pack(&rgb, output)
    }
}

fn create(key: &Key) -> Result<Context, Error> {
    let scaling = if key.input == key.output {
        Flags::BILINEAR
    } else {
        Flags::AREA
    };
    // Exact rounding makes the result independent of the processor's instruction set.
    let flags = scaling | Flags::ACCURATE_RND | Flags::BITEXACT;
    let mut context = Context::get(
        key.format,
        key.input.0,
        key.input.1,
        Pixel::RGB24,
        key.output.0,
        key.output.1,
        flags,
    )?;
    // SAFETY: the context is valid, the tables are static memory of libswscale. The call fails
    // without effect for formats that are not YUV.
    unsafe {
        let table = sws_getCoefficients(key.matrix);
        let _ = sws_setColorspaceDetails(
            context.as_mut_ptr(),
            table,
            i32::from(key.full_range),
            table,
            1,
            0,
            1 << 16,
            1 << 16,
        );
    }
    Ok(context)
}

/// `AVCOL_RANGE_JPEG`.
const FULL_RANGE: i32 = 2;

/// The stream's colour space and range as plain numbers. Decoders pass on what a stream says, so
/// these may be values that the C enumerations, and their Rust forms, do not have.
fn colour(picture: &frame::Video) -> (i32, i32) {
    // SAFETY: both fields are C enumerations, 32-bit integers in memory; the frame is alive.
    unsafe {
        let raw = picture.as_ptr();
        let space = (&raw const (*raw).colorspace).cast::<i32>().read();
        let range = (&raw const (*raw).color_range).cast::<i32>().read();
        (space, range)
    }
}

/// swscale's number of the YUV matrix, which is the stream's (ISO/IEC 23091-2). Streams that do not
/// name theirs follow the players' rule: HD is BT.709, smaller is BT.601.
fn matrix(picture: &frame::Video) -> i32 {
    const BT709: i32 = 1;
    const BT601: i32 = 5;
    match colour(picture).0 {
        1 => BT709,
        4 => 4,
        5 | 6 => BT601,
        7 => 7,
        9 | 10 => 9,
        _ if picture.width() >= 1280 || picture.height() > 576 => BT709,
        _ => BT601,
    }
}

fn reduced((width, height): (u32, u32), max_side: u32) -> (u32, u32) {
    let longer = width.max(height);
    if max_side == 0 || longer <= max_side {
        return (width, height);
    }
    let scale = |side: u32| {
        let exact = u64::from(side) * u64::from(max_side) + u64::from(longer) / 2;
        ((exact / u64::from(longer)) as u32).max(1)
    };
    (scale(width), scale(height))
}

/// Rows of a frame are padded; ours are not.
fn pack(rgb: &frame::Video, (width, height): (u32, u32)) -> Result<RgbImage, Error> {
    let row = width as usize * 3;
    let stride = rgb.stride(0);
    if stride < row {
        return Err(Error::Bug);
    }
    let mut data = Vec::with_capacity(row * height as usize);
    for line in rgb.data(0).chunks(stride).take(height as usize) {
        data.extend_from_slice(line.get(..row).ok_or(Error::Bug)?);
    }
    RgbImage::new(width, height, data).map_err(|_| Error::Bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_their_shape() {
        assert_eq!(reduced((1920, 1080), 1280), (1280, 720));
        assert_eq!(reduced((1080, 1920), 1280), (720, 1280));
        assert_eq!(reduced((640, 360), 1280), (640, 360));
        assert_eq!(reduced((5000, 1), 1280), (1280, 1));
        assert_eq!(reduced((5000, 5000), 0), (5000, 5000));
    }

    #[test]
    fn grey_stays_grey_and_red_is_red() {
        for (luma, cb, cr, expected) in [
            (126u8, 128u8, 128u8, [128, 128, 128]),
            (63, 102, 240, [255, 0, 0]),
        ] {
            let mut picture = frame::Video::new(Pixel::YUV420P, 1280, 720);
            picture.data_mut(0).fill(luma);
            picture.data_mut(1).fill(cb);
            picture.data_mut(2).fill(cr);
            let image = Scaler::default().rgb(&picture, 320).unwrap();
            assert_eq!((image.width, image.height), (320, 180));
            for pixel in image.data.chunks(3) {
                for (got, want) in pixel.iter().zip(expected) {
                    assert!(got.abs_diff(want) <= 3, "{pixel:?} {expected:?}");
                }
            }
        }
    }
}
