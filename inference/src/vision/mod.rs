//! What frames are judged by: the NSFW screen and trained heads, picture blocklists and
//! text on screen.

mod blocklist;
mod change;
mod frame;
mod hash_index;
mod hash_list;
mod nsfw;
mod ocr;
mod video_match;

pub use self::{
    blocklist::{Blocklists, ListState, Match},
    hash_list::{BlocklistError, HashList},
    video_match::{FrameHash, VideoMatch, VideoMatcher},
};
pub(crate) use self::{
    frame::{FrameModel, FrameScore, LoadedHead},
    nsfw::Network,
    ocr::{Graph, OcrEngine, ScreenLine, ScreenMemory, Turn},
};
