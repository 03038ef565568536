//! What a better model says of the training messages (distillation: Hinton, Vinyals, Dean, 2015).
//!
//! The scores come from a file, one line a message as `novastream-eval chat --scores` writes it, so
//! that any model can teach and training need not know how to run it.

use std::io::BufRead as _;
use std::path::Path;

use novastream_datasets::chat::{CHAT_HEADS, head_index, load_chat};
use novastream_datasets::open;
use serde::Deserialize;

use super::corpus::Corpus;
use super::{ChatArgs, TrainError, is_used};

/// One message's scores by head of [`CHAT_HEADS`], 0 to 1; NaN where the teacher has no such head.
pub type Taught = Box<[f32; CHAT_HEADS.len()]>;

/// A line of the file; other keys are left alone.
#[derive(Deserialize)]
struct Line {
    scores: std::collections::BTreeMap<String, Option<f32>>,
}

/// Gives the messages of the corpus what the teacher says of them. It holds the rows of `--data` that
/// take part, in their order, perhaps followed by others, which have no teacher.
///
/// # Errors
/// As [`read`]; data that can't be read.
pub fn teach(args: &ChatArgs, corpus: &mut Corpus) -> Result<(), TrainError> {
    let mut samples = corpus.samples.iter_mut();
    for (data, scores) in args.data.iter().zip(&args.teacher) {
        let rows = load_chat(data)?;
        let taught = read(scores, rows.len())?;
        let used = rows
            .iter()
            .zip(taught)
            .filter(|(row, _)| is_used(args, row));
        for ((_, taught), sample) in used.zip(&mut samples) {
            sample.taught = Some(taught);
        }
    }
    Ok(())
}

/// Reads the scores of `rows` messages, plain or gzip.
///
/// # Errors
/// [`TrainError::Teacher`]: a line is not one, a score is not within 0 to 1, or the file has more
/// or fewer lines than the data has messages. [`TrainError::Data`], [`TrainError::Io`]: it can't be opened or read.
pub fn read(path: &Path, rows: usize) -> Result<Vec<Taught>, TrainError> {
    let io = |source| TrainError::Io {
        path: path.to_owned(),
        source,
    };
    let wrong = |message: String| TrainError::Teacher(format!("{}: {message}", path.display()));
    let mut out = Vec::with_capacity(rows);
    // One line too many is enough to know.
    for (at, text) in open(path)?.lines().take(rows + 1).enumerate() {
        let text = text.map_err(io)?;
        let line: Line = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("line {}: {error}", at + 1)))?;
        let mut taught = Box::new([f32::NAN; CHAT_HEADS.len()]);
        for (name, score) in line.scores {
            let (Some(head), Some(score)) = (head_index(&name), score) else {
                continue;
            };
            if !(0.0..=1.0).contains(&score) {
                let what = format!("line {}: {name} is {score}, not within 0 to 1", at + 1);
                return Err(wrong(what));
            }
            taught[head] = score;
        }
        out.push(taught);
    }
    if out.len() != rows {
        return Err(wrong(format!(
            "{}{} lines for {rows} messages; score the data file itself with `novastream-eval chat --scores`",
            if out.len() > rows { "at least " } else { "" },
            out.len()
        )));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        file
    }

    #[test]
    fn scores_find_their_heads_and_the_rest_stays_unknown() {
        let lines =
            "{\"scores\":{\"hate\":0.25,\"unheard-of\":1,\"spam\":null}}\n{\"scores\":{}}\n";
        let taught = read(file(lines).path(), 2).unwrap();
        assert_eq!(taught[0][head_index("hate").unwrap()], 0.25);
        assert!(taught[0][head_index("spam").unwrap()].is_nan());
        assert!(taught[1].iter().all(|score| score.is_nan()));
    }

    #[test]
    fn lines_that_do_not_fit_the_data_are_refused() {
        for (lines, rows, says) in [
            ("{\"scores\":{}}\n", 2, "1 lines for 2 messages"),
            ("{\"scores\":{}}\n{}\n", 1, "line 2"),
            (
                "{\"scores\":{}}\n{\"scores\":{}}\n{\"scores\":{}}\n",
                1,
                "at least 2 lines for 1 messages",
            ),
            ("{\"scores\":{\"hate\":1.5}}\n", 1, "not within 0 to 1"),
            ("hate\n", 1, "line 1"),
        ] {
            let error = read(file(lines).path(), rows).unwrap_err();
            assert_eq!(error.code(), "teacher");
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
