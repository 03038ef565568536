//! Small data that we wrote or made ourselves: enough for every test to run with nothing else at
//! hand.

mod viewers;

use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use std::io::Write;

use crate::DatasetError;

pub use viewers::{
    VIEWERS_DAYS, VIEWERS_LATEST_DEBUT, VIEWERS_SEED, VIEWERS_START, ViewersSample, viewers_sample,
};

/// Restrained chat, half of it innocent with look-alikes of abuse, half insults, spam and scams,
/// some disguised; the columns are those of [`load_chat`](crate::chat::load_chat).
pub const CHAT_SAMPLE: &str = include_str!("../samples/chat.jsonl");

/// File of the invented viewers' events.
pub const VIEWERS_FILE: &str = "viewers.csv.gz";
/// File of what the channels of [`VIEWERS_FILE`] say of themselves.
pub const VIEWERS_ITEMS_FILE: &str = "viewers-items.csv";

/// The chat sample as a file of the source tree.
pub fn chat_sample_path() -> PathBuf {
    samples().join("chat.jsonl")
}

/// The invented viewers' events, `user,item,time,group`, as a file of the source tree.
pub fn viewers_sample_path() -> PathBuf {
    samples().join(VIEWERS_FILE)
}

/// What their channels say of themselves, `item_id,title,tags,category`, as a file of the source
/// tree.
pub fn viewers_items_path() -> PathBuf {
    samples().join(VIEWERS_ITEMS_FILE)
}

fn samples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples")
}

/// Writes the invented viewers of a seed into `dir` and answers the files.
pub fn write_viewers(dir: &Path, seed: u64) -> Result<Vec<PathBuf>, DatasetError> {
    let sample = viewers_sample(seed);
    let io = |path: &Path, source| DatasetError::Io {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(|error| io(dir, error))?;
    let events = dir.join(VIEWERS_FILE);
    // No name and no time in the head: the same rows give the same bytes.
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
    let packed = packed
        .write_all(sample.events.as_bytes())
        .and_then(|()| packed.finish())
        .map_err(|error| io(&events, error))?;
    std::fs::write(&events, packed).map_err(|error| io(&events, error))?;
    let items = dir.join(VIEWERS_ITEMS_FILE);
    std::fs::write(&items, sample.items).map_err(|error| io(&items, error))?;
    Ok(vec![events, items])
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::chat::load_chat;

    #[test]
    fn sample_is_balanced_and_labelled() {
        let rows = load_chat(&chat_sample_path()).expect("sample");
        assert_eq!(rows.len(), CHAT_SAMPLE.lines().count());
        for head in ["toxicity", "spam"] {
            let count = |label| {
                rows.iter()
                    .filter(|row| row.label(head) == Some(label))
                    .count()
            };
            assert!(count(true) >= 15 && count(false) >= 30, "{head}");
        }
    }

    #[test]
    fn viewers_that_ship_are_what_the_generator_makes() {
        let made = viewers_sample(VIEWERS_SEED);
        let packed = std::fs::read(viewers_sample_path()).expect("sample");
        assert!(packed.len() < 300_000);
        let mut events = String::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_string(&mut events)
            .expect("gzip");
        // Not `assert_eq`: a difference would print it all.
        assert!(events == made.events, "make it anew: data sample-viewers");
        let items = std::fs::read_to_string(viewers_items_path()).expect("sample");
        assert_eq!(items, made.items);
    }

    #[test]
    fn viewers_are_written_with_the_same_bytes_every_time() {
        let bytes = || {
            let dir = tempfile::tempdir().expect("folder");
            let files = write_viewers(dir.path(), 3).expect("writes");
            files
                .iter()
                .map(|file| std::fs::read(file).expect("reads"))
                .collect::<Vec<_>>()
        };
        assert!(bytes() == bytes());
    }
}
