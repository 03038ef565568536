//! What frames are judged by: the NSFW screen, picture blocklists and text on screen.

mod blocklist;
mod change;
mod nsfw;
mod ocr;

pub use self::blocklist::{Blocklist, BlocklistError, Match};
pub(crate) use self::{
    nsfw::{NsfwModel, NsfwScore},
    ocr::{Graph, OcrEngine, ScreenLine, ScreenMemory},
};
