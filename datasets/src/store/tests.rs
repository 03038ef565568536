use super::*;

fn write(root: &Path, relative: &str, content: &str) {
    let path = root.join(relative);
    std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    std::fs::write(path, content).expect("write");
}

fn sha(content: &str) -> String {
    hex::encode(Sha256::digest(content))
}

fn manifest() -> DatasetManifest {
    let listing = format!("{}  a/1.txt\n{}  b.txt\n", sha("one"), sha("two"));
    let text = format!(
        "name = \"t\"\ndescription = \"t\"\ntask = \"chat\"\nlicence = \"MIT\"\nuse = \"train\"\n\
         origin = \"the library\"\n[[files]]\npath = \"t/rows.csv\"\nsize = 4\nsha256 = \"{}\"\n\
         [[folders]]\npath = \"t/many\"\ncount = 2\nsha256 = \"{}\"\n",
        sha("text"),
        sha(&listing),
    );
    DatasetManifest::from_toml(&text, "t").expect("manifest")
}

fn fill(root: &Path) {
    write(root, "t/rows.csv", "text");
    write(root, "t/many/a/1.txt", "one");
    write(root, "t/many/b.txt", "two");
}

#[test]
fn fetch_brings_from_the_mirror_what_is_missing() {
    let (mirror, root) = (
        tempfile::tempdir().expect("dir"),
        tempfile::tempdir().expect("dir"),
    );
    fill(mirror.path());
    let store = DataStore::new(root.path(), Some(mirror.path().to_owned()));
    let manifest = manifest();
    let both = vec!["t/rows.csv".to_owned(), "t/many".to_owned()];
    assert_eq!(
        store.state(&manifest),
        DatasetState::Missing {
            paths: both.clone()
        }
    );
    assert_eq!(store.fetch(&manifest).expect("fetch"), both);
    assert_eq!(
        store.verify(&manifest).expect("verify"),
        DatasetState::Ready
    );
    assert_eq!(store.fetch(&manifest).expect("fetch"), Vec::<String>::new());
}

#[test]
fn verify_sees_changed_bytes_of_the_right_size() {
    let root = tempfile::tempdir().expect("dir");
    fill(root.path());
    write(root.path(), "t/rows.csv", "tex7");
    write(root.path(), "t/many/b.txt", "tw0");
    let store = DataStore::new(root.path(), None);
    assert_eq!(store.state(&manifest()), DatasetState::Ready);
    let paths = vec!["t/rows.csv".to_owned(), "t/many".to_owned()];
    assert_eq!(
        store.verify(&manifest()).expect("verify"),
        DatasetState::Corrupt { paths }
    );
}

#[test]
fn a_wrong_mirror_leaves_nothing_behind() {
    let (mirror, root) = (
        tempfile::tempdir().expect("dir"),
        tempfile::tempdir().expect("dir"),
    );
    fill(mirror.path());
    write(mirror.path(), "t/rows.csv", "text and more");
    let store = DataStore::new(root.path(), Some(mirror.path().to_owned()));
    assert_eq!(
        store.fetch(&manifest()).expect_err("mismatch").code(),
        "data_hash_mismatch"
    );
    assert_eq!(tree(root.path()).expect("tree"), Vec::<String>::new());
}

#[test]
fn without_a_source_the_error_says_where_to_look() {
    let root = tempfile::tempdir().expect("dir");
    let error = DataStore::new(root.path(), None)
        .fetch(&manifest())
        .expect_err("no source");
    assert_eq!(error.code(), "data_no_source");
    assert!(error.to_string().contains("the library"), "{error}");
}

#[test]
fn present_data_sets_verify() {
    if std::env::var_os("NOVASTREAM_DATA").is_none() {
        println!("skipped: NOVASTREAM_DATA not present");
        return;
    }
    let store = DataStore::from_env();
    let manifest = crate::manifest::find("chat-eval").expect("known");
    if store.state(&manifest) != DatasetState::Ready {
        println!("skipped: chat-eval not present");
        return;
    }
    assert_eq!(
        store.verify(&manifest).expect("verify"),
        DatasetState::Ready
    );
}
