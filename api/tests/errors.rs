//! docs/errors.md and the codes keep each other true.

use std::collections::BTreeMap;
use std::path::Path;

use novastream_api::error::ErrorCode;

#[test]
fn every_code_is_documented_with_its_status_and_hint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in page.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|c| c.trim().to_owned())
            .collect();
        let code = cells[0].trim_matches('`').to_owned();
        assert!(
            rows.insert(code.clone(), cells).is_none(),
            "`{code}` has two rows"
        );
    }
    for code in ErrorCode::ALL {
        let name = code.as_str();
        let row = rows
            .remove(name)
            .unwrap_or_else(|| panic!("`{name}` is not in docs/errors.md"));
        assert_eq!(row[1], code.status().as_u16().to_string(), "{name}");
        assert!(row[2].len() > 10, "{name} is not explained");
        assert_eq!(row[3], code.hint(), "{name}");
    }
    assert!(
        rows.is_empty(),
        "codes that do not exist: {:?}",
        rows.keys()
    );
}
