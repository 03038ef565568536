//! The files of an evaluation: which, and what is in them.

use std::path::Path;

use novastream_datasets::folder::{LabelledFile, labelled_files};

use crate::error::EvalError;

/// Files above this size are not read; they count as errors.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The files of `DIR/LABEL/FILE` or `DIR/FILE` that end in one of `extensions`, in order of label
/// and path; with a `limit` at most that many, spread evenly over the list. `wanted` names the kind
/// in the error for a folder without any.
pub fn pick(
    dir: &Path,
    extensions: &[&str],
    limit: Option<usize>,
    wanted: &'static str,
) -> Result<Vec<LabelledFile>, EvalError> {
    let mut files = labelled_files(dir, extensions)?;
    if let Some(limit) = limit.filter(|l| *l < files.len()) {
        let count = files.len();
        files = (0..limit)
            .map(|i| files[i * count / limit].clone())
            .collect();
    }
    if files.is_empty() {
        return Err(EvalError::NoFiles {
            dir: dir.to_path_buf(),
            wanted,
        });
    }
    Ok(files)
}

/// The whole file; the error is a sentence.
pub fn read(file: &LabelledFile) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(&file.path)
        .map_err(|e| e.to_string())?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(format!("{size} bytes is more than {MAX_FILE_BYTES}"));
    }
    std::fs::read(&file.path).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[String]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in paths {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        dir
    }

    #[test]
    fn a_limit_spreads_over_the_labels() {
        let names: Vec<String> = (0..40).map(|i| format!("{}/{i:02}.jpg", i / 10)).collect();
        let dir = tree(&names);
        let some = pick(dir.path(), &["jpg"], Some(8), "pictures").unwrap();
        assert_eq!(some.len(), 8);
        for label in ["0", "1", "2", "3"] {
            assert_eq!(
                some.iter().filter(|f| f.label == label).count(),
                2,
                "{some:?}"
            );
        }
        let all = pick(dir.path(), &["jpg"], Some(1000), "pictures").unwrap();
        assert_eq!(all.len(), 40);
        assert_eq!(read(&all[0]).unwrap(), b"x");
    }

    #[test]
    fn an_empty_or_missing_folder_is_an_error() {
        let dir = tree(&["a/notes.txt".to_owned()]);
        let error = pick(dir.path(), &["jpg"], None, "pictures").unwrap_err();
        assert_eq!(error.code(), "no_files");
        assert!(pick(&dir.path().join("no"), &["jpg"], None, "pictures").is_err());
    }
}
