//! What a better model says of the training messages (distillation: Hinton, Vinyals, Dean, 2015).
//!
//! The scores come from a file, one line a message as `novastream-eval chat --scores` writes it, so
//! that any model can teach and training need not know how to run it.

use std::io::BufRead as _;
use std::path::Path;

use novastream_datasets::chat::{CHAT_HEADS, head_index, load_chat};
use novastream_datasets::open;
use serde::Deserialize;

use super::{ChatArgs, TrainError, is_used};

/// One message's scores by head of [`CHAT_HEADS`], 0 to 1; NaN where the teacher has no such head.
pub type Taught = Box<[f32; CHAT_HEADS.len()]>;

/// A line of the file; other keys are left alone.
#[derive(Deserialize)]
struct Line {
    scores: std::collections::BTreeMap<String, Option<f32>>,
}

/// What the teacher says of the rows of `--data` that take part, in their order; nothing where there
/// is no teacher.
///
/// # Errors
/// As [`read`]; data that can't be read.
pub fn taught(args: &ChatArgs) -> Result<Vec<Taught>, TrainError> {
    let mut out = Vec::new();
    for (data, scores) in args.data.iter().zip(&args.teacher) {
        let rows = load_chat(data)?;
        let all = read(scores, rows.len())?;
        let used = rows.iter().zip(all).filter(|(row, _)| is_used(args, row));
        out.extend(used.map(|(_, taught)| taught));
    }
    Ok(out)
}

/// The teacher's score for a head, where it has one.
pub fn says(taught: Option<&Taught>, head: usize) -> Option<f32> {
    let score = taught?.get(head)?;
    score.is_finite().then_some(*score)
}

/// What is learned in place of a label: `share` of it is what the teacher says.
pub fn soften(label: bool, says: Option<f32>, share: f32) -> f32 {
    let label = f32::from(u8::from(label));
    says.map_or(label, |score| label + share * (score - label))
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
        let file = tempfile::Builder::new()
            .suffix(".jsonl")
            .tempfile()
            .unwrap();
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
    fn scores_stay_with_their_messages_where_others_are_left_out() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: ChatArgs,
        }
        let row = |source: &str| format!("{{\"text\":\"a\",\"src\":\"{source}\",\"toxic\":0}}\n");
        let scores = |of: &[f32]| {
            let line = |score| format!("{{\"scores\":{{\"toxicity\":{score}}}}}\n");
            file(&of.iter().map(line).collect::<String>())
        };
        let data = [
            file(&[row("x"), row("out"), row("x")].concat()),
            file(&[row("out"), row("y")].concat()),
        ];
        let teachers = [scores(&[0.1, 0.2, 0.3]), scores(&[0.4, 0.5])];
        let mut words = vec!["chat".into(), "--out".into(), "nowhere".into()];
        for (flag, files) in [("--data", &data), ("--teacher", &teachers)] {
            for file in files {
                words.extend([flag.into(), file.path().as_os_str().to_owned()]);
            }
        }
        words.extend(["--exclude-source".into(), "out".into()]);
        let args = <Cli as clap::Parser>::parse_from(words).args;
        let toxicity = head_index("toxicity").unwrap();
        let taught = taught(&args).unwrap();
        let of_rows: Vec<f32> = taught.iter().map(|scores| scores[toxicity]).collect();
        assert_eq!(of_rows, [0.1, 0.3, 0.5]);
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
