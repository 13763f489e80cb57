//! What the reader of a project file takes is in its documentation.

use std::collections::BTreeSet;

use catamaran::plan::PlanOptions;

use super::Folder;

/// The keys that a table takes, out of what is said about one that it does not take.
fn keys(table: &str) -> Vec<String> {
    let text = format!("platforms = [\"linux/amd64\"]\n{table}\nqqqqqqqqqqqq = 1\n");
    let folder = Folder::new(&[("catamaran.toml", &text), ("Dockerfile", "FROM scratch\n")]);
    let told = folder.plan(&folder.request(), &PlanOptions::default()).expect_err(table);
    let joined = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, list) = joined.split_once("the keys here are ").unwrap_or_else(|| panic!("{table}: {told}"));
    // The exit code, or the next error, ends the list: keys are joined by commas.
    let mut keys = Vec::new();
    for part in list.split(", ") {
        keys.push(part.split(' ').next().unwrap_or_default().to_owned());
        if part.contains(' ') {
            break;
        }
    }
    keys
}

#[test]
fn every_key_is_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/project-file.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    let mut undocumented = BTreeSet::new();
    for table in [
        "",
        "[vars]",
        "[discover]",
        "[component.a]",
        "[component.a.platform.amd64]",
        "[external.a]\nimage = \"a:1\"",
        "[service.a]",
        "[builder.a]\naddress = \"tcp://a:1\"",
    ] {
        let keys = keys(table);
        assert!(!keys.is_empty(), "{table}");
        for key in keys {
            let named = [
                format!("`{key}`"),
                format!("[vars] {key}"),
                format!("`[{key}"),
                format!(".{key}"),
                format!("`{key} "),
            ];
            if !named.iter().any(|form| text.contains(form.as_str())) {
                undocumented.insert(format!("{table}: {key}"));
            }
        }
    }
    assert!(undocumented.is_empty(), "{undocumented:#?}");
}
