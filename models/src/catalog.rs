//! The models that this build knows: third-party ones compiled in, ours from the zoo folder.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::manifest::{MANIFEST_FILE, Manifest, ManifestError};

const ENTRIES: [(&str, &str); 8] = [
    (
        "catalog/nsfw-mobilenet-v2.toml",
        include_str!("../catalog/nsfw-mobilenet-v2.toml"),
    ),
    (
        "catalog/nsfw-mobilenet-v2-mid.toml",
        include_str!("../catalog/nsfw-mobilenet-v2-mid.toml"),
    ),
    (
        "catalog/yamnet.toml",
        include_str!("../catalog/yamnet.toml"),
    ),
    (
        "catalog/silero-vad.toml",
        include_str!("../catalog/silero-vad.toml"),
    ),
    (
        "catalog/ppocr-v4-det.toml",
        include_str!("../catalog/ppocr-v4-det.toml"),
    ),
    (
        "catalog/ppocr-v4-rec.toml",
        include_str!("../catalog/ppocr-v4-rec.toml"),
    ),
    (
        "catalog/minilm-l6-v2.toml",
        include_str!("../catalog/minilm-l6-v2.toml"),
    ),
    (
        "catalog/onnxruntime.toml",
        include_str!("../catalog/onnxruntime.toml"),
    ),
];

const LABELS: [(&str, &str); 1] = [(
    "labels/yamnet.txt",
    include_str!("../catalog/labels/yamnet.txt"),
)];

fn entry(origin: &str, text: &str) -> Result<Manifest, ManifestError> {
    let mut manifest = Manifest::from_toml(text, origin)?;
    if let Some(file) = manifest.labels_file.clone() {
        let Some((_, labels)) = LABELS.iter().find(|(name, _)| *name == file) else {
            return Err(ManifestError::Invalid {
                origin: origin.to_owned(),
                message: format!("labels_file {file:?} is not compiled in"),
            });
        };
        manifest.set_labels(labels);
    }
    Ok(manifest)
}

/// The third-party models, in the order in which they are pulled and listed.
pub fn catalog() -> Vec<Manifest> {
    ENTRIES
        .iter()
        .filter_map(|(origin, text)| match entry(origin, text) {
            Ok(manifest) => Some(manifest),
            // A test parses every entry, so a released build never comes here.
            Err(error) => {
                tracing::error!(%error, "catalog entry left out");
                None
            }
        })
        .collect()
}

/// The catalog entry named `name`.
pub fn catalog_entry(name: &str) -> Option<Manifest> {
    catalog().into_iter().find(|m| m.name == name)
}

/// Folder with the models we trained: `$NOVASTREAM_ZOO`, else `zoo` or
/// `../share/novastream/zoo` beside the running program, else this crate's source folder.
pub fn zoo_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("NOVASTREAM_ZOO").filter(|d| !d.is_empty()) {
        return PathBuf::from(dir);
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf));
    beside
        .into_iter()
        .flat_map(|dir| [dir.join("zoo"), dir.join("../share/novastream/zoo")])
        .find(|dir| dir.is_dir())
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo"))
}

/// Every model in [`zoo_dir`] with its folder, by name, then oldest version first.
pub fn zoo() -> Result<Vec<(Manifest, PathBuf)>, ManifestError> {
    zoo_in(&zoo_dir())
}

/// Every `NAME/VERSION/manifest.toml` under `root`; a missing `root` is an empty zoo.
///
/// Folders without a manifest are skipped; a manifest whose name or version is not its folder's
/// is an error, because evidence names models by `name@version`.
pub fn zoo_in(root: &Path) -> Result<Vec<(Manifest, PathBuf)>, ManifestError> {
    let mut found = Vec::new();
    for name in folders(root)? {
        for version in folders(&name)? {
            if version.join(MANIFEST_FILE).is_file() {
                found.push((load_manifest(&version)?, version));
            }
        }
    }
    sort(&mut found);
    Ok(found)
}

/// The versions of the model `name` under `root`, oldest first: folders with a manifest, which is not
/// looked at.
pub fn versions_in(root: &Path, name: &str) -> Result<Vec<String>, ManifestError> {
    let mut versions: Vec<String> = folders(&root.join(name))?
        .into_iter()
        .filter(|dir| dir.join(MANIFEST_FILE).is_file())
        .filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned()))
        .collect();
    versions.sort_by(|a, b| compare_versions(a, b));
    Ok(versions)
}

/// As [`zoo_in`], but a folder whose manifest can't be used is told of in the log and left out.
pub fn sound_zoo_in(root: &Path) -> Result<Vec<(Manifest, PathBuf)>, ManifestError> {
    let mut found = Vec::new();
    for name in folders(root)? {
        for version in folders(&name)? {
            if version.join(MANIFEST_FILE).is_file() {
                match load_manifest(&version) {
                    Ok(manifest) => found.push((manifest, version)),
                    Err(error) => tracing::error!(%error, "a model is left out"),
                }
            }
        }
    }
    sort(&mut found);
    Ok(found)
}

fn sort(found: &mut [(Manifest, PathBuf)]) {
    found.sort_by(|(a, _), (b, _)| {
        a.name
            .cmp(&b.name)
            .then_with(|| compare_versions(&a.version, &b.version))
    });
}

/// Reads `dir/manifest.toml` (and its labels file), where `dir` is `…/NAME/VERSION`.
pub fn load_manifest(dir: &Path) -> Result<Manifest, ManifestError> {
    let path = dir.join(MANIFEST_FILE);
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| ManifestError::Read {
            path: path.to_owned(),
            source,
        })
    };
    let origin = path.display().to_string();
    let mut manifest = Manifest::from_toml(&read(&path)?, &origin)?;
    if let Some(file) = manifest.labels_file.clone() {
        manifest.set_labels(&read(&dir.join(file))?);
    }
    let ends_with = Path::new(&manifest.name).join(&manifest.version);
    if !dir.ends_with(&ends_with) {
        return Err(ManifestError::Invalid {
            origin,
            message: format!("belongs into a folder {}", ends_with.display()),
        });
    }
    Ok(manifest)
}

/// Orders `1.9.0` before `1.10.0`: digit runs by value, the rest as text.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let key = |v: &str| -> Vec<(u64, String)> {
        v.split(['.', '-', '+'])
            .map(|p| (p.parse().unwrap_or(0), p.to_owned()))
            .collect()
    };
    let (a, b) = (key(a), key(b));
    let numbers = a.iter().map(|p| p.0).cmp(b.iter().map(|p| p.0));
    numbers.then_with(|| a.cmp(&b))
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let fail = |source| ManifestError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_entry_parses_and_is_unique() {
        let mut seen = BTreeSet::new();
        for (origin, text) in ENTRIES {
            let manifest = entry(origin, text).expect(origin);
            assert!(
                origin.ends_with(&format!("/{}.toml", manifest.name)),
                "{origin}"
            );
            assert!(seen.insert(manifest.id()), "{origin} twice");
            assert!(
                !manifest.sources.is_empty() && !manifest.files.is_empty(),
                "{origin}"
            );
            assert!(
                !manifest.licence.is_empty() && !manifest.limits.is_empty(),
                "{origin}"
            );
        }
        assert_eq!(catalog().len(), ENTRIES.len());
    }

    #[test]
    fn yamnet_has_its_labels() {
        let yamnet = catalog_entry("yamnet").expect("entry");
        assert_eq!(yamnet.labels.len(), 521);
        assert_eq!(yamnet.labels[0], "Speech");
        assert_eq!(yamnet.labels.iter().collect::<BTreeSet<_>>().len(), 521);
    }

    #[test]
    fn versions_order_by_number() {
        let mut versions = ["1.10.0", "1.9.0", "2", "1.9.0-beta", "1.9"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["1.9", "1.9.0", "1.9.0-beta", "1.10.0", "2"]);
    }

    #[test]
    fn zoo_is_read_sorted_and_checked() {
        let root = tempfile::tempdir().expect("temp");
        let text = |name: &str, version: &str| {
            format!(
                "name = \"{name}\"\nversion = \"{version}\"\ntask = \"chat\"\nlicence = \"MIT\"\n\
                 description = \"d\"\nlabels_file = \"labels.txt\"\n"
            )
        };
        let put = |name: &str, version: &str| {
            let dir = root.path().join(name).join(version);
            std::fs::create_dir_all(&dir).expect("dir");
            std::fs::write(dir.join(MANIFEST_FILE), text(name, version)).expect("write");
            std::fs::write(dir.join("labels.txt"), "one\n\n two \n").expect("write");
            dir
        };
        put("beta", "1.0.0");
        put("alpha", "1.10.0");
        put("alpha", "1.9.0");
        std::fs::create_dir_all(root.path().join("empty/1.0.0")).expect("dir");
        let ids: Vec<_> = zoo_in(root.path())
            .expect("zoo")
            .iter()
            .map(|(m, _)| m.id())
            .collect();
        assert_eq!(ids, ["alpha@1.9.0", "alpha@1.10.0", "beta@1.0.0"]);
        assert_eq!(
            zoo_in(root.path()).expect("zoo")[0].0.labels,
            ["one", "two"]
        );
        assert!(
            zoo_in(&root.path().join("missing"))
                .expect("none")
                .is_empty()
        );

        let wrong = put("gamma", "1.0.0");
        std::fs::write(wrong.join(MANIFEST_FILE), text("gamma", "2.0.0")).expect("write");
        let error = zoo_in(root.path()).expect_err("mismatch");
        assert_eq!(error.code(), "manifest_invalid");
    }
}
