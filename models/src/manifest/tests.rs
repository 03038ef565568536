use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"
name = "demo"
version = "1.2.0"
task = "audio-events"
licence = "MIT"
description = "A model."
labels = ["a", "b"]

[thresholds]
a = 0.5

[[contract.inputs]]
name = "x"
shape = ["N", 64]

[[files]]
path = "model.bin"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
size = 12

[[sources]]
kind = "npm"
package = "@scope/demo"
version = "1.2.0"
members = { "model.bin" = "package/model.bin" }
"#;

fn error(text: &str) -> String {
    Manifest::from_toml(text, "test")
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn good_manifest_round_trips() {
    let manifest = Manifest::from_toml(GOOD, "test").expect("parses");
    assert_eq!(manifest.id(), "demo@1.2.0");
    assert_eq!(
        manifest.contract.inputs[0].shape,
        [Dim::Named("N".into()), Dim::Fixed(64)]
    );
    assert_eq!(manifest.contract.inputs[0].dtype, "float32");
    let text = manifest.to_toml().expect("writes");
    assert_eq!(
        Manifest::from_toml(&text, "again").expect("reads"),
        manifest
    );
}

#[test]
fn contradictions_are_refused() {
    let cases = [
        ("name = \"demo\"", "name = \"De mo\"", "lower-case"),
        (
            "version = \"1.2.0\"\ntask",
            "version = \"../up\"\ntask",
            "version",
        ),
        ("path = \"model.bin\"", "path = \"../model.bin\"", "inside"),
        ("path = \"model.bin\"", "path = \"C:/model.bin\"", "inside"),
        ("sha256 = \"0", "sha256 = \"G", "hex"),
        ("a = 0.5", "a = 1.5", "0..=1"),
        (
            "\"model.bin\" = \"package",
            "\"other.bin\" = \"package",
            "not among",
        ),
        (
            "package = \"@scope/demo\"",
            "package = \"--evil\"",
            "odd characters",
        ),
        ("task = \"audio-events\"", "task = \"nothing\"", "nothing"),
        ("licence = \"MIT\"", "license = \"MIT\"", "license"),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let message = error(&GOOD.replace(from, to));
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn sources_are_checked() {
    let https = GOOD.to_owned()
        + "\n[[sources]]\nkind = \"https\"\npath = \"model.bin\"\nurl = \"http://example.org/x\"\n";
    assert!(error(&https).contains("https"));
    let mirror = GOOD.to_owned()
        + "\n[[sources]]\nkind = \"mirror\"\npath = \"model.bin\"\nfile = \"../x\"\n";
    assert!(error(&mirror).contains("mirror"));
    let unknown = GOOD.to_owned() + "\n[[sources]]\nkind = \"hub\"\npath = \"model.bin\"\n";
    assert!(error(&unknown).contains("hub"));
}

#[test]
fn files_of_other_machines_are_left_out() {
    let mut manifest = Manifest::from_toml(GOOD, "test").expect("parses");
    let other = FileSpec {
        platform: Some("plan9-mips".into()),
        ..manifest.files[0].clone()
    };
    manifest.files.push(other);
    assert_eq!(manifest.platform_files().count(), 1);
    manifest.files[0].platform = Some(platform());
    assert!(manifest.file("model.bin").is_some());
    manifest.files.remove(0);
    assert!(manifest.file("model.bin").is_none());
}

proptest! {
    #[test]
    fn plain_paths_never_leave_their_folder(path in "[a-z./\\\\:]{0,12}") {
        if is_plain_path(&path) {
            let joined = std::path::Path::new("/srv/store").join(&path);
            prop_assert!(joined.starts_with("/srv/store"));
            prop_assert!(joined.components().all(|c| c != std::path::Component::ParentDir));
        }
    }

    #[test]
    fn any_text_is_refused_or_parsed(text in "\\PC{0,200}") {
        let _ = Manifest::from_toml(&text, "fuzz");
    }
}
