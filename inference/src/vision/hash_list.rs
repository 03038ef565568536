//! Files of picture hashes: our own lines, the CSV of hash exchanges, and their JSON.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use novastream_features::{
    pdq::{PdqHash, PdqResult, pdq},
    picture::{ImageLimits, decode_image},
};
use serde_json::Value;

use super::hash_index::Words;

/// Hashes of this quality or less come from pictures with too little detail to tell apart.
pub(super) const POOR_QUALITY: u8 = 49;

/// Columns and keys that hold the hash, in the order in which they are looked for. The names are
/// those of ThreatExchange's descriptors and of the exports of Hasher-Matcher-Actioner.
const HASHES: &[&str] = &[
    "hash",
    "pdq",
    "raw_indicator",
    "indicator",
    "signal_value",
    "value",
];
const LABELS: &[&str] = &["label", "tags", "description", "category"];
const SOURCES: &[&str] = &["source", "owner", "bank", "privacy_group", "collab"];
const KINDS: &[&str] = &["signal_type", "type", "hash_type"];
const QUALITIES: &[&str] = &["quality"];

/// Why a list was not taken. A list with a bad line is refused as a whole: a block that silently
/// does not hold is worse than a start that fails.
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
    /// A line or entry is not one of a known form.
    #[error("{path}, line {line}: {problem} (write 64 hex digits, a comma, a label)", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, or in JSON the entry, from 1.
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

/// What a list says of an entry: its label and who gave it.
pub(super) type About = (String, Option<String>);

/// One list's hashes. Labels and sources are kept once each, because millions of entries share a
/// few.
#[derive(Clone, Debug, Default)]
pub struct HashList {
    pub(super) name: String,
    pub(super) entries: Vec<(Words, u32)>,
    /// Label and source of the entries that name it by its place.
    pub(super) about: Vec<About>,
    known: HashMap<About, u32>,
}

impl HashList {
    /// An empty list.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Loads a list, which is named after the file or folder. Known forms:
    /// - lines of `HASH,LABEL` (label optional, `#` begins a comment);
    /// - CSV with a header that names a hash column (`hash`, `pdq`, `raw_indicator`, `indicator`,
    ///   `signal_value`, `value`), and as far as they are there a label (`label`, `tags`, …), a
    ///   source (`source`, `owner`, `bank`, …), a kind (`signal_type`, `type`: rows of other kinds
    ///   than PDQ are left alone) and a `quality`;
    /// - JSON with the same keys: an array, an object with `data`, or one object a line;
    /// - a folder of pictures, which are hashed now.
    ///
    /// # Errors
    /// [`BlocklistError`]; see there why nothing is skipped. Files of a folder that are no
    /// pictures by their name are left alone, and so are entries of poor quality.
    pub fn load(path: &Path) -> Result<Self, BlocklistError> {
        let name = path
            .file_stem()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let mut list = Self::new(&name);
        if path.is_dir() {
            list.load_folder(path)?;
            return Ok(list);
        }
        let text = fs::read_to_string(path).map_err(|source| BlocklistError::Read {
            path: path.to_owned(),
            source,
        })?;
        let fail = |(line, problem): (usize, String)| BlocklistError::Line {
            path: path.to_owned(),
            line,
            problem,
        };
        if text.trim_start().starts_with(['{', '[']) {
            list.load_json(&text).map_err(fail)?;
        } else {
            list.load_lines(&text).map_err(fail)?;
        }
        Ok(list)
    }

    fn load_lines(&mut self, text: &str) -> Result<(), (usize, String)> {
        let mut columns: Option<Columns> = None;
        let mut first = true;
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if std::mem::take(&mut first)
                && let Some(found) = Columns::of(&split(line))
            {
                columns = Some(found);
                continue;
            }
            let fail = |problem: String| (i + 1, problem);
            if let Some(columns) = &columns {
                let cells = split(line);
                let at = |column: Option<usize>| {
                    let cell = column.and_then(|c| cells.get(c));
                    cell.map(String::as_str).filter(|c| !c.is_empty())
                };
                let hash = at(Some(columns.hash)).unwrap_or_default();
                let row = Row {
                    hash,
                    label: at(columns.label),
                    source: at(columns.source),
                    kind: at(columns.kind),
                    quality: at(columns.quality).map(str::to_owned),
                };
                self.add(&row).map_err(fail)?;
            } else {
                let (hash, label) = line
                    .split_once([',', '\t', ' '])
                    .map_or((line, ""), |(h, l)| (h, l.trim()));
                let row = Row {
                    hash: hash.trim(),
                    label: Some(label),
                    ..Row::default()
                };
                self.add(&row).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn load_json(&mut self, text: &str) -> Result<(), (usize, String)> {
        let whole: Result<Value, _> = serde_json::from_str(text);
        let entries: Vec<Value> = match whole {
            Ok(Value::Array(entries)) => entries,
            Ok(Value::Object(mut object)) => match object.remove("data") {
                Some(Value::Array(entries)) => entries,
                // One entry alone.
                _ => vec![Value::Object(object)],
            },
            Ok(_) => return Err((1, "neither an array nor an object".to_owned())),
            // Perhaps one object a line.
            Err(_) => text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty())
                .map(|(i, line)| serde_json::from_str(line).map_err(|e| (i + 1, e.to_string())))
                .collect::<Result<_, _>>()?,
        };
        for (i, entry) in entries.iter().enumerate() {
            let get = |names: &[&str]| names.iter().find_map(|n| entry.get(n));
            let word = |names: &[&str]| get(names).map(words_of).filter(|w| !w.is_empty());
            let hash = word(HASHES).unwrap_or_default();
            let (label, source, kind) = (word(LABELS), word(SOURCES), word(KINDS));
            let row = Row {
                hash: &hash,
                label: label.as_deref(),
                source: source.as_deref(),
                kind: kind.as_deref(),
                quality: word(QUALITIES),
            };
            self.add(&row).map_err(|problem| (i + 1, problem))?;
        }
        Ok(())
    }

    fn add(&mut self, row: &Row<'_>) -> Result<(), String> {
        if row
            .kind
            .is_some_and(|k| !k.to_ascii_lowercase().contains("pdq"))
        {
            return Ok(());
        }
        let hash: PdqHash = row.hash.parse().map_err(|e| format!("{e}"))?;
        let poor = match &row.quality {
            Some(quality) => {
                let quality: f32 = quality
                    .parse()
                    .map_err(|_| format!("{quality:?} is no quality of 0 to 100"))?;
                quality <= f32::from(POOR_QUALITY)
            }
            None => false,
        };
        if !poor {
            self.push(&hash, row.label.unwrap_or_default(), row.source);
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
            self.push(&hash, &label, None);
        }
        Ok(())
    }

    /// Adds a hash.
    pub fn push(&mut self, hash: &PdqHash, label: &str, source: Option<&str>) {
        let about = (label.to_owned(), source.map(str::to_owned));
        let number = *self.known.entry(about).or_insert_with_key(|about| {
            self.about.push(about.clone());
            self.about.len() as u32 - 1
        });
        self.entries.push((words(hash), number));
    }

    /// The list's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What a line or object says.
#[derive(Default)]
struct Row<'a> {
    hash: &'a str,
    label: Option<&'a str>,
    source: Option<&'a str>,
    kind: Option<&'a str>,
    quality: Option<String>,
}

/// Places of the columns of a CSV.
struct Columns {
    hash: usize,
    label: Option<usize>,
    source: Option<usize>,
    kind: Option<usize>,
    quality: Option<usize>,
}

impl Columns {
    /// `None`: the line is no header.
    fn of(cells: &[String]) -> Option<Self> {
        let names: Vec<String> = cells
            .iter()
            .map(|c| c.trim().to_ascii_lowercase())
            .collect();
        let find = |wanted: &[&str]| {
            let at = |w: &&str| names.iter().position(|n| n == w);
            wanted.iter().find_map(at)
        };
        Some(Self {
            hash: find(HASHES)?,
            label: find(LABELS),
            source: find(SOURCES),
            kind: find(KINDS),
            quality: find(QUALITIES),
        })
    }
}

/// Cells of a CSV line: commas, and double quotes around cells that hold one.
fn split(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            _ => cell.push(letter),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}

/// A text, a number, or the texts of a list and of objects in it (ThreatExchange's `tags` and
/// `owner`), with commas between.
fn words_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(list) => list.iter().map(words_of).collect::<Vec<_>>().join(","),
        Value::Object(object) => ["name", "text", "data", "id"]
            .iter()
            .find_map(|key| object.get(*key))
            .map_or_else(String::new, words_of),
        _ => String::new(),
    }
}

pub(super) fn words(hash: &PdqHash) -> Words {
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
    use super::*;

    fn load(name: &str, text: &str) -> Result<HashList, BlocklistError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        HashList::load(&path)
    }

    fn hash(n: u8) -> String {
        PdqHash([n; 32]).to_string()
    }

    fn about(list: &HashList) -> Vec<(u64, &str, Option<&str>)> {
        let entry = |(words, about): &(Words, u32)| {
            let (label, source) = &list.about[*about as usize];
            (words[0] & 0xff, label.as_str(), source.as_deref())
        };
        list.entries.iter().map(entry).collect()
    }

    #[test]
    fn lines_with_and_without_labels() {
        let text = format!(
            "# ours\n{},one\n\n{} two words\n{}\n",
            hash(1),
            hash(2),
            hash(3)
        );
        let list = load("known.csv", &text).unwrap();
        assert_eq!((list.name(), list.len()), ("known", 3));
        assert_eq!(
            about(&list),
            [(1, "one", None), (2, "two words", None), (3, "", None)]
        );
    }

    #[test]
    fn an_exchanges_csv_with_a_header() {
        let text = format!(
            "id,indicator,type,tags,owner,quality\n7,{},HASH_PDQ,\"a, \"\"b\"\"\",bank-1,100\n\
             8,{},HASH_MD5,c,bank-1,\n9,{},pdq,d,,49\n10,{},pdq,e,,50\n",
            hash(1),
            "d41d8cd98f00b204e9800998ecf8427e",
            hash(2),
            hash(3)
        );
        let list = load("te.csv", &text).unwrap();
        assert_eq!(
            about(&list),
            [(1, "a, \"b\"", Some("bank-1")), (3, "e", None)]
        );
    }

    #[test]
    fn json_in_its_three_forms() {
        let entry = |n: u8| {
            format!(
                "{{\"raw_indicator\":\"{}\",\"type\":\"HASH_PDQ\",\"tags\":{{\"data\":[{{\"text\":\"x\"}},{{\"text\":\"y\"}}]}},\"owner\":{{\"id\":\"12\",\"name\":\"me\"}}}}",
                hash(n)
            )
        };
        let (one, two) = (entry(1), entry(2));
        for text in [
            format!("[{one},{two}]"),
            format!("{{\"data\":[{one},{two}],\"paging\":{{}}}}"),
            format!("{one}\n{two}\n"),
        ] {
            let list = load("te.json", &text).unwrap();
            assert_eq!(
                about(&list),
                [(1, "x,y", Some("me")), (2, "x,y", Some("me"))]
            );
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (name, text, word) in [
            ("a.csv", "# fine\nnothex,label\n".to_owned(), "line 2"),
            (
                "b.csv",
                format!("hash,label\n{},x\nabc,y\n", hash(1)),
                "line 3",
            ),
            (
                "c.csv",
                format!("hash,quality\n{},good\n", hash(1)),
                "quality",
            ),
            (
                "d.json",
                format!("[{{\"hash\":\"{}\"}},{{\"hash\":7}}]", hash(1)),
                "line 2",
            ),
            ("e.json", "{\"hash\":".to_owned(), "line 1"),
        ] {
            let error = load(name, &text).unwrap_err();
            assert_eq!(error.code(), "blocklist_line");
            assert!(error.to_string().contains(word), "{error}");
        }
        let missing = HashList::load(Path::new("no/such")).unwrap_err();
        assert_eq!(missing.code(), "blocklist_unreadable");
    }
}
