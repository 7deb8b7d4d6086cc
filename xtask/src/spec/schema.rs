//! The table of keys as JSON Schema, so that editors complete and check a spec while it is written.
//!
//! It knows types and the look of single values. What keys say about each other only `spec check` knows.

use serde_json::{Map, Value, json};

use super::keys::{Default, Key, Kind, Shape, TABLES, Table};

/// The schema, draft 2020-12.
pub(crate) fn schema() -> Value {
    let mut tables = Map::new();
    for table in TABLES {
        let one = table_schema(table);
        let value = match table.shape {
            Shape::One => one,
            Shape::Named => json!({
                "type": "object",
                "description": table.meaning,
                "additionalProperties": one,
            }),
            Shape::List => json!({ "type": "array", "description": table.meaning, "items": one }),
        };
        tables.insert(table.name.to_owned(), value);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The spec of a DISCO appliance",
        "type": "object",
        "properties": tables,
        "required": ["brand"],
        "additionalProperties": false,
    })
}

fn table_schema(table: &Table) -> Value {
    let keys: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), key_schema(key))).collect();
    let required: Vec<_> =
        table.keys.iter().filter(|key| key.default == Default::Required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": table.meaning,
        "properties": keys,
        "required": required,
        "additionalProperties": false,
    })
}

fn key_schema(key: &Key) -> Value {
    // What messages keep on one line has no control characters anywhere.
    let line = json!({ "type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f]*$" });
    let place = |names: &[&str]| {
        let each = names.iter().map(|name| ((*name).to_owned(), line.clone())).collect::<Map<_, _>>();
        json!({
            "type": "object",
            "properties": each,
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
        })
    };
    let mut schema = match key.kind {
        Kind::Text => line.clone(),
        Kind::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count => json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
        Kind::Texts => json!({ "type": "array", "items": line }),
        Kind::Secret => {
            json!({ "oneOf": [{ "type": "string", "minLength": 1, "maxLength": 128 }, place(&["env", "file"])] })
        }
        Kind::PrivateKey => place(&["file", "agent"]),
    };
    let facts = schema.as_object_mut().expect("every schema here is an object");
    facts.insert("description".into(), key.meaning.into());
    if let Some(default) = key.default_value() {
        let default = serde_json::to_value(default).expect("a default is JSON too");
        if key.lacks.is_some() {
            facts.insert("const".into(), default.clone());
        }
        facts.insert("default".into(), default);
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use jsonschema::Validator;

    use super::*;

    fn validator() -> Validator {
        let schema = schema();
        assert!(jsonschema::draft202012::meta::is_valid(&schema), "the schema is no JSON Schema");
        jsonschema::draft202012::new(&schema).unwrap()
    }

    fn as_json(text: &str) -> Value {
        serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
    }

    #[test]
    fn the_project_s_own_specs_are_valid() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut paths = vec![root.join("buildspec.toml")];
        for entry in fs::read_dir(root.join("examples")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        assert!(paths.len() >= 3, "{paths:?}");
        let validator = validator();
        for path in paths {
            let spec = as_json(&fs::read_to_string(&path).unwrap());
            let errors: Vec<_> = validator.iter_errors(&spec).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
        }
    }

    #[test]
    fn what_the_reader_refuses_key_by_key_is_invalid() {
        let validator = validator();
        let valid = |text: &str| validator.is_valid(&as_json(text));
        let brand = "[brand]\nname = \"acme\"\n";
        assert!(valid(brand));
        for more in [
            "colour = 1\n",
            "version = \"1-2\"\n",
            "vendor = 1\n",
            "[features]\nlive = \"yes\"\n",
            "[features]\nprovisioner = true\n",
            "[feature]\n",
            "[paths]\nbindir = \"usr/sbin\"\n",
            "[client]\ninterval = \"soon\"\n",
            "[broker]\nmax_clients = 0\n",
            "[provisioning]\nbrokers = \"a:1\"\n",
            "[provisioning]\ntoken = { env = \"A\", file = \"b\" }\n",
            "[packages.el]\nformat = \"msi\"\n",
            "[agents]\ncrate = \"a\"\npath = \"b\"\n",
            "[[agents]]\ncrate = \"a\"\nrev = \"main\"\n",
            "[signing]\nrpm_key = \"/a\"\n",
        ] {
            assert!(!valid(&format!("{brand}{more}")), "{more}");
        }
        assert!(!valid(""), "no brand");
        assert!(!valid("[brand]\nname = \"Acme\"\n"));
        assert!(valid(&format!("{brand}[features]\nprovisioner = false\n")));
        assert!(valid(&format!("{brand}[signing]\nrpm_key = {{ file = \"/a\" }}\n")));
    }
}
