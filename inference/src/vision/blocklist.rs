//! Pictures that must not be shown, found again by their PDQ hash.

use std::{
    fs,
    path::{Path, PathBuf},
};

use novastream_features::{
    pdq::{PdqHash, PdqResult, pdq},
    picture::{ImageLimits, decode_image},
};

/// Differing bits of 256 up to which two pictures are the same one, as PDQ's authors recommend
/// (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019).
pub const MAX_DISTANCE: u32 = 31;
/// Hashes of this quality or less come from pictures with too little detail to tell apart.
pub const POOR_QUALITY: u8 = 49;

/// Hashes with labels.
#[derive(Clone, Debug, Default)]
pub struct Blocklist {
    name: String,
    hashes: Vec<[u64; 4]>,
    labels: Vec<String>,
}

/// A picture near one of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The list's name.
    pub list: String,
    /// The entry's label.
    pub label: String,
    /// Differing bits, at most [`MAX_DISTANCE`].
    pub distance: u32,
}

impl Match {
    /// 1 − distance / 64: 1 for the same hash, above 0.5 for every match.
    pub fn score(&self) -> f32 {
        1.0 - self.distance as f32 / 64.0
    }
}

/// Why a blocklist was not taken. A list with a bad line is refused as a whole: a block that
/// silently does not hold is worse than a start that fails.
#[derive(Debug, thiserror::Error)]
pub enum BlocklistError {
    /// The file or folder could not be read.
    #[error("cannot read the blocklist {path}: {source}", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not `HASH` or `HASH,LABEL`.
    #[error("{path}, line {line}: {problem} (write 64 hex digits, a comma, a label)", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A picture of a folder cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl BlocklistError {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "blocklist_unreadable",
            Self::Line { .. } => "blocklist_line",
            Self::Picture { .. } => "blocklist_picture",
        }
    }
}

impl Blocklist {
    /// Loads a list: a file with one `HASH,LABEL` a line (label optional, `#` begins a comment),
    /// or a folder of pictures that are hashed now. The list is named after the file or folder.
    ///
    /// # Errors
    /// [`BlocklistError`]; see there why nothing is skipped. Files of a folder that are no
    /// pictures by their name are left alone.
    pub fn load(path: &Path) -> Result<Self, BlocklistError> {
        let name = path
            .file_stem()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut list = Self {
            name,
            ..Self::default()
        };
        if path.is_dir() {
            list.load_folder(path)?;
        } else {
            list.load_file(path)?;
        }
        Ok(list)
    }

    fn load_file(&mut self, path: &Path) -> Result<(), BlocklistError> {
        let text = fs::read_to_string(path).map_err(|source| BlocklistError::Read {
            path: path.to_owned(),
            source,
        })?;
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (hash, label) = line
                .split_once([',', '\t', ' '])
                .map_or((line, ""), |(h, l)| (h, l.trim()));
            let hash: PdqHash = hash.trim().parse().map_err(|e| BlocklistError::Line {
                path: path.to_owned(),
                line: i + 1,
                problem: format!("{e}"),
            })?;
            self.push(&hash, label);
        }
        Ok(())
    }

    fn load_folder(&mut self, path: &Path) -> Result<(), BlocklistError> {
        let read = |source| BlocklistError::Read {
            path: path.to_owned(),
            source,
        };
        let mut files = fs::read_dir(path)
            .and_then(|entries| {
                entries
                    .map(|e| e.map(|e| e.path()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(read)?;
        files.retain(|f| is_picture(f));
        files.sort();
        for file in files {
            let bytes = fs::read(&file).map_err(|source| BlocklistError::Read {
                path: file.clone(),
                source,
            })?;
            let fail = |problem| BlocklistError::Picture {
                path: file.clone(),
                problem,
            };
            let image =
                decode_image(&bytes, &ImageLimits::default()).map_err(|e| fail(e.to_string()))?;
            let PdqResult { hash, quality } = pdq(&image);
            if quality <= POOR_QUALITY {
                return Err(fail(format!(
                    "has too little detail to be found again (quality {quality}, needs more than \
                     {POOR_QUALITY})"
                )));
            }
            let label = file
                .file_stem()
                .map_or_else(String::new, |n| n.to_string_lossy().into());
            self.push(&hash, &label);
        }
        Ok(())
    }

    fn push(&mut self, hash: &PdqHash, label: &str) {
        self.hashes.push(words(hash));
        self.labels.push(label.to_owned());
    }

    /// The list's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The nearest entry within [`MAX_DISTANCE`]; the first of equals. A picture of
    /// [`POOR_QUALITY`] matches nothing. Scans the whole list: 4 words an entry, about a
    /// millisecond for a million.
    pub fn find(&self, query: &PdqResult) -> Option<Match> {
        if query.quality <= POOR_QUALITY {
            return None;
        }
        let q = words(&query.hash);
        let mut best = (MAX_DISTANCE + 1, 0);
        for (i, hash) in self.hashes.iter().enumerate() {
            let distance: u32 = hash.iter().zip(&q).map(|(a, b)| (a ^ b).count_ones()).sum();
            if distance < best.0 {
                best = (distance, i);
            }
        }
        (best.0 <= MAX_DISTANCE).then(|| Match {
            list: self.name.clone(),
            label: self.labels[best.1].clone(),
            distance: best.0,
        })
    }
}

fn words(hash: &PdqHash) -> [u64; 4] {
    let mut words = [0u64; 4];
    for (word, bytes) in words.iter_mut().zip(hash.0.as_chunks::<8>().0) {
        *word = u64::from_be_bytes(*bytes);
    }
    words
}

fn is_picture(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| {
        ["jpg", "jpeg", "png", "webp", "gif", "bmp"].contains(&e.to_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known.csv");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_nearest_entry_within_reach_is_found() {
        let base = [0x5au8; 32];
        let mut near = base;
        near[0] ^= 0xff; // 8 bits
        let mut far = base;
        far[..4].iter_mut().for_each(|b| *b ^= 0xff); // 32 bits
        let text = format!(
            "# ours\n{},far\n\n{} near one\n",
            PdqHash(far),
            PdqHash(near)
        );
        let (_dir, path) = file(&text);
        let list = Blocklist::load(&path).unwrap();
        assert_eq!(
            (list.name(), list.len(), list.is_empty()),
            ("known", 2, false)
        );
        let hit = list
            .find(&PdqResult {
                hash: PdqHash(base),
                quality: 100,
            })
            .unwrap();
        assert_eq!((hit.label.as_str(), hit.distance), ("near one", 8));
        assert_eq!(hit.score(), 0.875);
        assert_eq!(
            list.find(&PdqResult {
                hash: PdqHash(base),
                quality: 49
            }),
            None
        );
        let mut away = base;
        away[8..16].iter_mut().for_each(|b| *b ^= 0xff);
        assert_eq!(
            list.find(&PdqResult {
                hash: PdqHash(away),
                quality: 100
            }),
            None
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let (_dir, path) = file("# fine\nnothex,label\n");
        let error = Blocklist::load(&path).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert_eq!(
            Blocklist::load(Path::new("no/such")).unwrap_err().code(),
            "blocklist_unreadable"
        );
    }

    proptest! {
        #[test]
        fn distance_is_that_of_the_hashes(a in any::<[u8; 32]>(), flips in prop::collection::btree_set(0usize..256, 0..40)) {
            let mut b = a;
            for bit in &flips {
                b[bit / 8] ^= 1 << (bit % 8);
            }
            let (_dir, path) = file(&PdqHash(a).to_string());
            let list = Blocklist::load(&path).unwrap();
            let hit = list.find(&PdqResult { hash: PdqHash(b), quality: 90 });
            prop_assert_eq!(hit.map(|h| h.distance), (flips.len() <= 31).then_some(flips.len() as u32));
            prop_assert_eq!(PdqHash(a).distance(&PdqHash(b)), flips.len() as u32);
        }
    }
}
