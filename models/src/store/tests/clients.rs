//! Package clients, played by shell scripts.

use std::process::Command;
use std::time::Duration;

use super::*;

/// A program that stands in for a package client. Written by a child process, because a
/// file that this process has open for writing can't be run while another thread forks.
fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    let text = r#"printf '%s\n' '#!/bin/sh' "$2" > "$1" && chmod 755 "$1""#;
    let status = Command::new("sh")
        .args(["-c", text, "sh"])
        .arg(&path)
        .arg(body)
        .status();
    assert!(status.expect("sh").success());
    path
}

fn fake(place: &Place, python: &str, npm: &str) -> ArtifactStore {
    let dir = place.dir.path();
    place.store.clone().with_clients(Clients {
        python: script(dir, "python", python),
        npm: script(dir, "npm", npm),
        timeout: Duration::from_secs(20),
    })
}

fn members() -> BTreeMap<String, String> {
    BTreeMap::from([("m.bin".to_owned(), "in/m.bin".to_owned())])
}

fn pip() -> Source {
    Source::Pip {
        package: "demo".to_owned(),
        version: "1.0".to_owned(),
        wheel_platform: Some("manylinux_2_28_x86_64".to_owned()),
        python_version: Some("3.11".to_owned()),
        platform: None,
        members: members(),
    }
}

fn npm() -> Source {
    Source::Npm {
        package: "demo".to_owned(),
        version: "1.0".to_owned(),
        members: members(),
    }
}

#[test]
fn members_come_out_of_wheels_and_packages() {
    let place = Place::new();
    let (wheel, tgz) = (place.dir.path().join("w"), place.dir.path().join("t"));
    fs::write(&wheel, zip_of(&[("in/m.bin", b"hello")])).expect("write");
    fs::write(&tgz, tgz_of(&[("in/m.bin", b"hello")])).expect("write");
    // The folder follows the option; the last argument is the requirement.
    let find = |option: &str, file: &Path, name: &str| {
        format!(
            "printf '%s ' \"$@\" > {log}\nwhile [ \"$1\" != {option} ]; do shift; done\n\
             cp {file} \"$2/{name}\"",
            log = place.dir.path().join("log").display(),
            file = file.display(),
        )
    };
    let store = fake(
        &place,
        &find("--dest", &wheel, "demo-1.0-py3.whl"),
        &find("--pack-destination", &tgz, "demo-1.0.tgz"),
    );
    for (source, expected) in [
        (pip(), "-m pip download --no-deps --only-binary=:all:"),
        (npm(), "pack --ignore-scripts"),
    ] {
        let m = manifest(&[("m.bin", b"hello")], vec![source]);
        let dir = store.pull(&m, &mut |_| {}).expect("pulled");
        assert_eq!(store.read(&m, "m.bin").expect("reads"), b"hello");
        let log = fs::read_to_string(place.dir.path().join("log")).expect("log");
        assert!(log.starts_with(expected), "{log}");
        fs::remove_dir_all(dir).expect("remove");
    }
}

fn failure(store: &ArtifactStore, source: Source) -> FetchError {
    let m = manifest(&[("m.bin", b"hello")], vec![source]);
    match store.pull(&m, &mut |_| {}).expect_err("fails") {
        StoreError::AllSourcesFailed { mut failures, .. } => failures.remove(0).error,
        other => panic!("{other}"),
    }
}

#[test]
fn client_errors_are_clear() {
    let place = Place::new();
    let store = fake(
        &place,
        "echo '/usr/bin/python3: No module named pip' >&2; exit 1",
        "echo 'npm error 404 not found' >&2; exit 1",
    );
    let missing = failure(&store, pip());
    assert_eq!(missing.code(), "client_missing");
    assert!(
        missing.to_string().contains("apt install python3-pip"),
        "{missing}"
    );
    let failed = failure(&store, npm());
    assert_eq!(failed.code(), "client_failed");
    assert!(failed.to_string().contains("404"), "{failed}");

    let nowhere = place.store.clone().with_clients(Clients {
        python: place.dir.path().join("no-python"),
        npm: place.dir.path().join("no-npm"),
        timeout: Duration::from_secs(1),
    });
    assert_eq!(failure(&nowhere, pip()).code(), "client_missing");
    let npm_missing = failure(&nowhere, npm());
    assert!(
        npm_missing.to_string().contains("apt install npm"),
        "{npm_missing}"
    );

    let nothing = fake(&place, "exit 0", "exit 0");
    assert_eq!(failure(&nothing, pip()).code(), "archive_unreadable");
}

#[test]
fn a_hanging_client_is_stopped() {
    let place = Place::new();
    let store = fake(&place, "exec sleep 60", "exit 0").with_clients(Clients {
        python: place.dir.path().join("python"),
        timeout: Duration::from_millis(200),
        ..Clients::default()
    });
    assert_eq!(failure(&store, pip()).code(), "client_timeout");
}
