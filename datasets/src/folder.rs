//! Labelled files laid out as `DIR/LABEL/file`.

use std::path::{Path, PathBuf};

use crate::DatasetError;

/// One file and the folder name it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledFile {
    /// Name of the folder.
    pub label: String,
    /// The file.
    pub path: PathBuf,
}

/// Lists `dir/LABEL/file` for files with one of the extensions (lower case, without the dot; none
/// given: every file). Hidden names are skipped. Ordered by label, then by file name, so the same
/// folder gives the same list on every machine. Files directly in `dir` have the empty label.
pub fn labelled_files(dir: &Path, extensions: &[&str]) -> Result<Vec<LabelledFile>, DatasetError> {
    let mut out = Vec::new();
    for path in sorted_entries(dir)? {
        let name = file_name(&path);
        if path.is_dir() {
            for file in sorted_entries(&path)?
                .into_iter()
                .filter(|file| matches(file, extensions))
            {
                out.push(LabelledFile {
                    label: name.clone(),
                    path: file,
                });
            }
        } else if matches(&path, extensions) {
            out.push(LabelledFile {
                label: String::new(),
                path,
            });
        }
    }
    out.sort_by(|a, b| (&a.label, &a.path).cmp(&(&b.label, &b.path)));
    Ok(out)
}

fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(DatasetError::io(dir))? {
        let path = entry.map_err(DatasetError::io(dir))?.path();
        if !file_name(&path).starts_with('.') {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

fn matches(path: &Path, extensions: &[&str]) -> bool {
    let extension = path
        .extension()
        .map(|ext| ext.to_string_lossy().to_ascii_lowercase());
    path.is_file()
        && (extensions.is_empty()
            || extension.is_some_and(|extension| extensions.contains(&extension.as_str())))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_order_and_filters() {
        let dir = tempfile::tempdir().expect("dir");
        for file in [
            "b/2.OGG",
            "b/1.ogg",
            "a/x.wav",
            "a/notes.txt",
            "a/.hidden.ogg",
            "top.ogg",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, b"").expect("write");
        }
        let listed = labelled_files(dir.path(), &["ogg", "wav"]).expect("list");
        let found: Vec<(String, String)> = listed
            .iter()
            .map(|file| (file.label.clone(), file_name(&file.path)))
            .collect();
        let expected = [
            ("", "top.ogg"),
            ("a", "x.wav"),
            ("b", "1.ogg"),
            ("b", "2.OGG"),
        ];
        assert_eq!(
            found,
            expected.map(|(label, name)| (label.to_owned(), name.to_owned()))
        );
        assert_eq!(labelled_files(dir.path(), &[]).expect("list").len(), 5);
        assert!(labelled_files(&dir.path().join("missing"), &[]).is_err());
    }
}
