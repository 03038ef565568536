use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::manifest::{FileSpec, Source, Task};

#[cfg(unix)]
mod clients;

/// A manifest over `files` (path, bytes) with the sources given.
fn manifest(files: &[(&str, &[u8])], sources: Vec<Source>) -> Manifest {
    let spec = |(path, bytes): &(&str, &[u8])| FileSpec {
        path: (*path).to_owned(),
        sha256: sha256_hex(bytes),
        size: bytes.len() as u64,
        platform: None,
    };
    let mut manifest = catalog_entry("ppocr-v4-det").expect("entry");
    manifest.name = "demo".to_owned();
    manifest.version = "1.0.0".to_owned();
    manifest.task = Task::Nsfw;
    manifest.files = files.iter().map(spec).collect();
    manifest.sources = sources;
    manifest
}

fn mirror_source(path: &str, file: &str) -> Source {
    Source::Mirror {
        path: path.to_owned(),
        file: file.to_owned(),
    }
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("parent")).expect("dir");
    fs::write(path, bytes).expect("write");
}

struct Place {
    dir: tempfile::TempDir,
    store: ArtifactStore,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp");
        let mirror = dir.path().join("mirror");
        fs::create_dir(&mirror).expect("dir");
        let store = ArtifactStore::new(dir.path().join("models"), Some(mirror));
        Self { dir, store }
    }

    fn mirror(&self, file: &str) -> PathBuf {
        self.dir.path().join("mirror").join(file)
    }

    fn pull(&self, manifest: &Manifest) -> (Result<PathBuf, StoreError>, Vec<PullEvent>) {
        let mut events = Vec::new();
        let result = self.store.pull(manifest, &mut |e| events.push(e));
        (result, events)
    }
}

#[test]
fn pull_from_a_mirror_then_no_op_then_repair() {
    let place = Place::new();
    let m = manifest(
        &[("a/model.bin", b"hello")],
        vec![mirror_source("a/model.bin", "m.bin")],
    );
    assert_eq!(place.store.state(&m), ArtifactState::Missing);
    assert_eq!(
        place.store.verify(&m).expect_err("missing").code(),
        "model_not_pulled"
    );
    put(&place.mirror("m.bin"), b"hello");

    let (result, events) = place.pull(&m);
    assert_eq!(result.expect("pulled"), place.store.dir(&m));
    assert_eq!(
        events.first(),
        Some(&PullEvent::Trying {
            source: "mirror m.bin".to_owned()
        })
    );
    assert_eq!(events.last(), Some(&PullEvent::Ready));
    assert_eq!(
        place.store.read(&m, "a/model.bin").expect("reads"),
        b"hello"
    );
    assert_eq!(place.store.state(&m), ArtifactState::Ready);
    assert_eq!(
        place.store.read(&m, "b").expect_err("unknown").code(),
        "model_file_unknown"
    );

    assert_eq!(place.pull(&m).1, [PullEvent::AlreadyPresent]);

    let path = place.store.file(&m, "a/model.bin").expect("path");
    fs::write(&path, b"HELLO").expect("tamper");
    assert!(matches!(
        place.store.state(&m),
        ArtifactState::Corrupt { .. }
    ));
    assert_eq!(
        place
            .store
            .file(&m, "a/model.bin")
            .expect_err("tampered")
            .code(),
        "model_corrupt"
    );
    assert_eq!(
        place
            .store
            .read(&m, "a/model.bin")
            .expect_err("tampered")
            .code(),
        "model_corrupt"
    );
    assert!(place.pull(&m).0.is_ok(), "a pull repairs");
    assert_eq!(
        place.store.read(&m, "a/model.bin").expect("reads"),
        b"hello"
    );
}

#[test]
fn wrong_bytes_are_never_stored() {
    let place = Place::new();
    let m = manifest(
        &[("model.bin", b"hello")],
        vec![mirror_source("model.bin", "m.bin")],
    );
    for (bytes, code) in [
        (b"HELLO".as_slice(), "hash_mismatch"),
        (b"hell".as_slice(), "size_mismatch"),
        (b"hello and more".as_slice(), "size_mismatch"),
    ] {
        put(&place.mirror("m.bin"), bytes);
        let error = place.pull(&m).0.expect_err("refused");
        let StoreError::AllSourcesFailed { failures, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(failures[0].error.code(), code);
        assert!(!place.store.dir(&m).exists());
    }
}

#[test]
fn sources_are_tried_in_order_and_all_failures_are_told() {
    let place = Place::new();
    let sources = vec![
        mirror_source("model.bin", "one.bin"),
        mirror_source("model.bin", "two.bin"),
    ];
    let m = manifest(&[("model.bin", b"hello")], sources);
    let error = place.pull(&m).0.expect_err("nothing there");
    assert_eq!(error.code(), "model_sources_failed");
    let text = error.to_string();
    assert!(
        text.contains("one.bin") && text.contains("two.bin"),
        "{text}"
    );
    put(&place.mirror("two.bin"), b"hello");
    assert!(place.pull(&m).0.is_ok());
}

#[test]
fn a_missing_mirror_setting_is_told() {
    let dir = tempfile::tempdir().expect("temp");
    let store = ArtifactStore::new(dir.path(), None);
    let m = manifest(
        &[("model.bin", b"hello")],
        vec![mirror_source("model.bin", "m.bin")],
    );
    let error = store
        .pull(&m, &mut |_| {})
        .expect_err("no source")
        .to_string();
    assert!(error.contains("NOVASTREAM_MIRROR"), "{error}");
}

#[test]
fn another_store_is_a_mirror() {
    let place = Place::new();
    let m = manifest(&[("model.bin", b"hello")], vec![]);
    put(&place.mirror("demo/1.0.0/model.bin"), b"hello");
    assert!(place.pull(&m).0.is_ok());
}

#[test]
fn a_broken_off_pull_is_resumed() {
    let place = Place::new();
    let sources = vec![mirror_source("a.bin", "a"), mirror_source("b.bin", "b")];
    let m = manifest(&[("a.bin", b"first"), ("b.bin", b"second")], sources);
    put(&place.mirror("a"), b"first");
    assert!(place.pull(&m).0.is_err());
    assert!(!place.store.dir(&m).exists(), "half a model is not visible");
    fs::remove_file(place.mirror("a")).expect("remove");
    put(&place.mirror("b"), b"second");
    assert!(place.pull(&m).0.is_ok(), "the first file was kept");
    assert_eq!(place.store.read(&m, "a.bin").expect("reads"), b"first");
}

#[test]
fn files_for_other_machines_are_not_pulled() {
    let place = Place::new();
    let mut m = manifest(
        &[("model.bin", b"hello")],
        vec![mirror_source("model.bin", "m.bin")],
    );
    m.files[0].platform = Some("plan9-mips".to_owned());
    let error = place.pull(&m).0.expect_err("nothing for us");
    assert_eq!(error.code(), "model_platform_unsupported");
    assert_eq!(place.store.state(&m), ArtifactState::Missing);
}

#[test]
fn concurrent_pulls_do_the_work_once() {
    let place = Place::new();
    let m = manifest(
        &[("model.bin", b"hello")],
        vec![mirror_source("model.bin", "m.bin")],
    );
    put(&place.mirror("m.bin"), b"hello");
    let fetched = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let result = place.store.pull(&m, &mut |event| {
                    if event == PullEvent::Ready {
                        fetched.fetch_add(1, Ordering::Relaxed);
                    }
                });
                assert!(result.is_ok());
                assert_eq!(place.store.read(&m, "model.bin").expect("reads"), b"hello");
            });
        }
    });
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}

#[test]
fn a_failed_or_outdated_import_is_told() {
    let place = Place::new();
    let sources = vec![mirror_source("yamnet.tflite", "y")];
    let mut m = manifest(&[("yamnet.tflite", b"no model at all")], sources);
    m.importer = Some(crate::manifest::Importer::YamnetTflite);
    put(&place.mirror("y"), b"no model at all");
    assert_eq!(
        place.pull(&m).0.expect_err("no model").code(),
        "model_import_failed"
    );

    // As if another version had converted it.
    let dir = place.store.dir(&m);
    put(&dir.join("yamnet.tflite"), b"no model at all");
    assert_eq!(
        place.store.verify(&m).expect_err("no lock").code(),
        "model_outdated"
    );
    let mut lock = ImportLock {
        importer: crate::manifest::Importer::YamnetTflite,
        importer_version: crate::import::version(crate::manifest::Importer::YamnetTflite),
        sources: verify::source_hashes(&m),
        outputs: BTreeMap::from([(
            "model.onnx".to_owned(),
            LockedFile {
                sha256: sha256_hex(b"graph"),
                size: 5,
            },
        )]),
    };
    let write = |lock: &ImportLock| {
        put(
            &dir.join(IMPORT_LOCK),
            toml::to_string(lock).expect("toml").as_bytes(),
        );
    };
    write(&lock);
    put(&dir.join("model.onnx"), b"graph");
    assert_eq!(
        place.store.read(&m, "model.onnx").expect("recorded"),
        b"graph"
    );
    put(&dir.join("model.onnx"), b"Graph");
    assert_eq!(
        place.store.verify(&m).expect_err("tampered").code(),
        "model_corrupt"
    );
    lock.importer_version += 1;
    write(&lock);
    assert_eq!(
        place.store.verify(&m).expect_err("newer").code(),
        "model_outdated"
    );
}

#[test]
fn zoo_files_are_verified_too() {
    let dir = tempfile::tempdir().expect("temp");
    let m = manifest(&[("w.bin", b"weights")], vec![]);
    put(&dir.path().join("w.bin"), b"weights");
    assert_eq!(
        read_verified(&m, dir.path(), "w.bin").expect("reads"),
        b"weights"
    );
    put(&dir.path().join("w.bin"), b"Weights");
    assert_eq!(
        read_verified(&m, dir.path(), "w.bin")
            .expect_err("bad")
            .code(),
        "model_corrupt"
    );
}

fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("entry");
        zip.write_all(bytes).expect("bytes");
    }
    zip.finish().expect("zip").into_inner()
}

fn tgz_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        // Set by hand: the library refuses hostile names, an attacker's does not.
        header.as_gnu_mut().expect("gnu").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).expect("entry");
    }
    tar.into_inner().expect("tar").finish().expect("gz")
}

#[test]
fn hostile_member_names_place_no_file() {
    let dir = tempfile::tempdir().expect("temp");
    let hostile: [(&str, &[u8]); 3] = [
        ("../../evil", b"x"),
        ("/tmp/evil", b"y"),
        ("good/m.bin", b"hello"),
    ];
    let wheel = dir.path().join("w.whl");
    let package = dir.path().join("p.tgz");
    fs::write(&wheel, zip_of(&hostile)).expect("write");
    fs::write(&package, tgz_of(&hostile)).expect("write");
    let members = BTreeMap::from([("m.bin".to_owned(), "good/m.bin".to_owned())]);
    let mut seen = Vec::new();
    let mut sink = |path: &str, reader: &mut dyn std::io::Read| {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("reads");
        seen.push((path.to_owned(), bytes));
        Ok(())
    };
    archive::unzip(&wheel, &members, &mut sink).expect("unzips");
    archive::untar(&package, &members, &mut sink).expect("untars");
    let one = ("m.bin".to_owned(), b"hello".to_vec());
    assert_eq!(seen, [one.clone(), one]);

    let absent = BTreeMap::from([("m.bin".to_owned(), "good/other.bin".to_owned())]);
    let mut none = |_: &str, _: &mut dyn std::io::Read| panic!("nothing to deliver");
    assert!(archive::unzip(&wheel, &absent, &mut none).is_err());
    assert!(archive::untar(&package, &absent, &mut none).is_err());
    fs::write(&wheel, b"no archive").expect("write");
    assert!(archive::unzip(&wheel, &members, &mut none).is_err());
    assert!(archive::untar(&wheel, &members, &mut none).is_err());
}
