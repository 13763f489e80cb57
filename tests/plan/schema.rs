use std::fs;
use std::path::{Path, PathBuf};

use catamaran::config::{LoadRequest, load, project_schema};
use catamaran::plan::PlanOptions;
use serde_json::{Value, json};

use super::Folder;

fn schema() -> Value {
    project_schema().to_value()
}

/// Checks a value against the part of JSON Schema that the schema uses; unknown keywords fail, so that none is passed over.
fn validate(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    for (keyword, expected) in schema {
        match keyword.as_str() {
            "$ref" => {
                let pointer = expected.as_str().and_then(|text| text.strip_prefix('#')).expect("a local reference");
                validate(root, root.pointer(pointer).expect("a definition"), value)?;
            }
            "anyOf" | "oneOf" => {
                let choices = expected.as_array().expect("a list");
                if !choices.iter().any(|choice| validate(root, choice, value).is_ok()) {
                    return Err(format!("{value} is none of {expected}"));
                }
            }
            "type" => typed(expected, value)?,
            "const" if expected != value => return Err(format!("{value} is not {expected}")),
            "enum" if !expected.as_array().expect("a list").contains(value) => {
                return Err(format!("{value} is not in {expected}"));
            }
            "minimum" if value.as_i64() < expected.as_i64() => return Err(format!("{value} is below {expected}")),
            "maximum" if value.as_i64() > expected.as_i64() => return Err(format!("{value} is above {expected}")),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    validate(root, expected, item)?;
                }
            }
            "required" => {
                let missing = expected
                    .as_array()
                    .expect("a list")
                    .iter()
                    .find(|key| value.get(key.as_str().unwrap_or_default()).is_none());
                if let (Some(missing), true) = (missing, value.is_object()) {
                    return Err(format!("{missing} is missing"));
                }
            }
            "properties" => {
                for (key, inner) in value.as_object().into_iter().flatten() {
                    match (expected.get(key), schema.get("additionalProperties")) {
                        (Some(property), _) => validate(root, property, inner)?,
                        (None, Some(Value::Bool(false))) => return Err(format!("unknown key {key}")),
                        _ => {}
                    }
                }
            }
            // Nothing to check, or checked by another keyword.
            "$schema"
            | "$defs"
            | "title"
            | "description"
            | "format"
            | "default"
            | "const"
            | "enum"
            | "additionalProperties"
            | "minimum"
            | "maximum" => {}
            other => panic!("the keyword {other} is new here"),
        }
    }
    if let (None, Some(others @ Value::Object(_))) = (schema.get("properties"), schema.get("additionalProperties")) {
        for inner in value.as_object().into_iter().flat_map(|object| object.values()) {
            validate(root, others, inner)?;
        }
    }
    Ok(())
}

fn typed(expected: &Value, value: &Value) -> Result<(), String> {
    let is = |name: &str| match name {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("the type {other} is new here"),
    };
    let names: Vec<&str> = match expected {
        Value::String(name) => vec![name],
        other => other.as_array().expect("a list").iter().filter_map(Value::as_str).collect(),
    };
    if names.iter().any(|name| is(name)) { Ok(()) } else { Err(format!("{value} is not {expected}")) }
}

fn accepts(toml: &str) -> Result<(), String> {
    let value: toml::Table = toml.parse().map_err(|error| format!("not TOML: {error}"))?;
    let schema = schema();
    validate(&schema, &schema, &serde_json::to_value(value).expect("JSON"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[test]
fn the_published_schema_is_the_one_of_the_program() {
    let published = root().join("docs/catamaran.schema.json");
    let schema = serde_json::to_string_pretty(&schema()).expect("JSON") + "\n";
    if std::env::var_os("SNAPSHOTS").is_some_and(|mode| mode == "overwrite") {
        fs::write(&published, &schema).expect("a file");
    }
    let published = fs::read_to_string(published).expect("a schema; SNAPSHOTS=overwrite writes it");
    assert!(published == schema, "docs/catamaran.schema.json is old: run this test with SNAPSHOTS=overwrite");
}

/// TOML in the repository: project files, and the examples of the documentation.
#[test]
fn the_schema_accepts_every_project_file() {
    let mut texts = vec![
        fs::read_to_string(root().join("fixtures/fleet/catamaran.toml")).expect("a fixture"),
        fs::read_to_string(root().join("fuzz/seeds/toml/everything.toml")).expect("a seed"),
        fs::read_to_string(root().join("fuzz/seeds/toml/small.toml")).expect("a seed"),
        fs::read_to_string(root().join("fuzz/seeds/toml/discovered.toml")).expect("a seed"),
    ];
    let pages = fs::read_dir(root().join("docs")).expect("docs").flatten().map(|entry| entry.path());
    for page in pages.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|own| own == "md")) {
        let page = fs::read_to_string(page).expect("a page");
        let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        // The lock file is TOML too, and described by its own page.
        texts.extend(blocks.filter(|block| !block.starts_with("version = ")).map(str::to_owned));
    }
    assert!(texts.len() > 6, "{} project files", texts.len());
    for text in texts {
        assert_eq!(accepts(&text), Ok(()), "{text}");
    }
}

/// Every key of every table, misspelt: refused by the schema, and by the program with the right key as advice.
#[test]
fn schema_and_program_refuse_the_same_misspelt_keys() {
    let schema = schema();
    let tables: [(&str, &str, &str); 11] = [
        ("", "", ""),
        ("/$defs/Vars", "[vars]\n", ""),
        ("/$defs/Discover", "[discover]\n", ""),
        ("/$defs/Component", "[component.a]\n", ""),
        ("/$defs/Component", "[settings.s]\n", ""),
        ("/$defs/Matrix", "[component.a.matrix]\n", "axes = { x = [\"1\"] }\n"),
        ("/$defs/Variation", "[component.a.platform.amd64]\n", ""),
        ("/$defs/Secret", "[component.a.secrets.s]\n", "env = \"A\"\n"),
        ("/$defs/External", "[external.r]\n", "image = \"redis:7\"\n"),
        ("/$defs/Service", "[service.a]\n", ""),
        ("/$defs/Builder", "[builder.b]\n", "address = \"tcp://x:1\"\n"),
    ];
    for (pointer, header, rest) in tables {
        let properties = schema.pointer(pointer).and_then(|table| table["properties"].as_object()).expect("a table");
        assert!(!properties.is_empty());
        for key in properties.keys() {
            let wrong = format!("{}x{}", &key[..1], &key[1..]);
            let toml = if header.is_empty() {
                format!("{wrong} = 1\nplatforms = [\"amd64\"]\n[component.a]\n")
            } else {
                let component = if header.contains("component.a]") { "" } else { "[component.a]\n" };
                format!("platforms = [\"amd64\"]\n{component}{header}{wrong} = 1\n{rest}")
            };
            assert!(accepts(&toml).is_err(), "the schema takes `{wrong}` in {header}");
            let folder = Folder::new(&[("catamaran.toml", &toml), ("Dockerfile", "FROM scratch\n")]);
            let error = folder.plan(&folder.request(), &PlanOptions::default());
            let Err(error) = error else { panic!("the program takes `{wrong}` in {header}") };
            assert!(error.contains(&format!("unknown key `{wrong}`")), "{header}{wrong}:\n{error}");
            // Of two keys that are as near, either is good advice.
            assert!(key.len() < 3 || error.contains("did you mean `"), "{header}{wrong}:\n{error}");
        }
    }
}

/// Every key that the schema knows is read by the program: none is called unknown.
#[test]
fn the_program_reads_every_key_of_the_schema() {
    let folder = Folder::new(&[("Dockerfile", "FROM scratch\n")]);
    let schema = schema();
    let headers = [
        ("", ""),
        ("/$defs/Vars", "[vars]\n"),
        ("/$defs/Discover", "[discover]\n"),
        ("/$defs/Component", "[component.a]\n"),
        ("/$defs/Matrix", "[component.a.matrix]\n"),
        ("/$defs/Variation", "[component.a.platform.amd64]\n"),
        ("/$defs/External", "[external.r]\n"),
        ("/$defs/Service", "[service.a]\n"),
        ("/$defs/Builder", "[builder.b]\n"),
    ];
    for (pointer, header) in headers {
        for key in schema.pointer(pointer).and_then(|table| table["properties"].as_object()).expect("a table").keys() {
            folder.write("catamaran.toml", &format!("{header}{key} = 1.5\n"));
            let error = load(&LoadRequest { directory: folder.path().to_path_buf(), ..LoadRequest::default() });
            let text = error.err().map(|error| format!("{error:?}")).unwrap_or_default();
            assert!(!text.contains("UnknownKey"), "{header}{key}: {text}");
        }
    }
    assert!(accepts("platforms = [\"amd64\"]\nepoch = \"now\"\n").is_err());
    assert!(validate(&schema, &schema, &json!({"service": {"a": {"port": 70000}}})).is_err());
}
