//! The few calls into libav that `ffmpeg-next` has no safe form for. All `unsafe` code of this
//! crate is in this folder; everything outside works with its safe functions.

mod open;
mod parameters;
mod resample;
mod scale;

pub(super) use open::{open_bytes, open_url};
pub(super) use parameters::{parse_picture_size, picture_size, set_discard};
pub(super) use resample::Resampler;
pub(super) use scale::Scaler;

use std::sync::Once;

use ffmpeg_next::{ffi, format, log};

/// Largest single block that libav may allocate. A header can claim sizes that the limits only see
/// afterwards; an 8K picture's planes stay well below this.
const MAX_BLOCK_BYTES: usize = 96 << 20;

/// Prepares libav once per process: silent (its messages name the input's bytes and cannot be
/// told apart by source; errors are reported by value), networking on, allocations bounded.
pub(super) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = ffmpeg_next::init() {
            tracing::warn!(%error, "libav did not initialise cleanly");
        }
        log::set_level(log::Level::Quiet);
        format::network::init();
        // SAFETY: sets one process-wide number; valid at any time.
        #[allow(unsafe_code, reason = "no safe form in ffmpeg-next")]
        unsafe {
            ffi::av_max_alloc(MAX_BLOCK_BYTES as _);
        }
    });
}
