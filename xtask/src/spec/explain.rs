//! The table of keys for people: one key, the reference spec, a start for a spec of one's own.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::keys::{self, Default, Key, Kind, Shape, TABLES, Table};
use super::reader::nearest;

/// Where lines of prose end.
const WIDTH: usize = 120;

/// The values of the stock build that no other brand has.
const STOCK: [(&str, &str); 4] = [
    ("brand.name", "\"disco\""),
    ("brand.binary", "\"disco\""),
    ("paths.etcdir", "\"/etc/disco\""),
    ("paths.vardir", "\"/var/disco\""),
];

/// What a key, a table or, without a name, the whole spec means.
pub(crate) fn explain(name: Option<&str>) -> Result<String> {
    let Some(name) = name else {
        return Ok(TABLES.iter().map(overview).collect::<Vec<_>>().join("\n"));
    };
    let name = name.trim_matches(['[', ']']);
    if let Some((table, key)) = keys::find(name) {
        return Ok(one(table, key));
    }
    if let Some(table) = keys::table(name) {
        let mut text = overview(table);
        for key in table.keys {
            write!(text, "\n{}", one(table, key)).expect("text grows in memory");
        }
        return Ok(text);
    }
    // A key alone is enough, if only one table has it.
    let having: Vec<_> = TABLES.iter().filter_map(|table| table.key(name).map(|key| (table, key))).collect();
    if let [(table, key)] = having[..] {
        return Ok(one(table, key));
    }
    let names: Vec<String> =
        TABLES.iter().flat_map(|table| table.keys.iter().map(|key| dotted(table, key))).collect();
    let hint = match having.is_empty() {
        false => {
            let places: Vec<_> =
                having.iter().map(|(table, key)| format!("`{}`", dotted(table, key))).collect();
            format!("it may be {}", places.join(" or "))
        }
        true => match near(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`cargo xtask spec explain` lists all keys".to_owned(),
        },
    };
    bail!("a spec has no key or table `{name}`\n  help: {hint}")
}

fn near(name: &str, names: &[String]) -> Option<String> {
    let wanted = name.rsplit('.').next().unwrap_or(name);
    let keys: Vec<&'static str> = TABLES.iter().flat_map(|table| table.keys).map(|key| key.name).collect();
    let key = nearest(wanted, &keys)?;
    names
        .iter()
        .filter(|dotted| dotted.ends_with(&format!(".{key}")))
        .max_by_key(|dotted| name.split('.').next().is_some_and(|table| dotted.starts_with(table)))
        .cloned()
}

fn dotted(table: &Table, key: &Key) -> String {
    match table.shape {
        Shape::Named => format!("{}.NAME.{}", table.name, key.name),
        Shape::One | Shape::List => format!("{}.{}", table.name, key.name),
    }
}

fn header(table: &Table) -> String {
    match table.shape {
        Shape::One => format!("[{}]", table.name),
        Shape::Named => format!("[{}.NAME]", table.name),
        Shape::List => format!("[[{}]]", table.name),
    }
}

fn overview(table: &Table) -> String {
    let mut text = format!("{}\n{}", header(table), wrapped("  ", table.meaning));
    let width = table.keys.iter().map(|key| key.name.len()).max().unwrap_or(0);
    for key in table.keys {
        let default = match key.default {
            Default::Is(value) => value,
            Default::Follows(what) => what,
            Default::Required => "has to be said",
        };
        let lacks = if key.lacks.is_some() { " (not in this version)" } else { "" };
        writeln!(text, "    {:width$}  {default}{lacks}", key.name).expect("text grows in memory");
    }
    text
}

fn one(table: &Table, key: &Key) -> String {
    let default = match key.default {
        Default::Is(value) => value.to_owned(),
        Default::Follows(what) => what.to_owned(),
        Default::Required => "none; it has to be said".to_owned(),
    };
    let mut text = format!("{}\n{}", dotted(table, key), wrapped("  ", key.meaning));
    if let Some(lacks) = key.lacks {
        text.push_str(&wrapped("  ", &not_yet(lacks)));
    }
    writeln!(text, "  type:    {}", key.kind.described()).expect("text grows in memory");
    writeln!(text, "  default: {default}").expect("text grows in memory");
    writeln!(text, "  example: {} = {}", key.name, key.example).expect("text grows in memory");
    text
}

fn not_yet(lacks: &str) -> String {
    format!("Not in this version: it needs {lacks}.")
}

/// `buildspec.toml`: every key with its default, and what it is for.
pub(crate) fn reference() -> String {
    let mut text = wrapped(
        "# ",
        "The reference spec: every key with its default, and what it is for. Made by `cargo xtask spec reference`.",
    );
    text.push_str("#\n");
    text.push_str(&wrapped(
        "# ",
        "`cargo xtask build` builds the stock `disco` from this file. For an appliance of your own write a file with the \
         keys that differ: `cargo xtask spec init` makes a start, examples/acme.toml is one. Build it with `cargo xtask \
         build --spec your.toml`. Keys that are not set have the values below; commented keys have no default. Unknown \
         keys are refused.",
    ));
    for table in TABLES {
        text.push('\n');
        text.push_str(&wrapped("# ", table.meaning));
        let optional = table.name != "brand" && has_required(table);
        let mark = if optional { "# " } else { "" };
        match table.shape {
            Shape::One => writeln!(text, "{mark}[{}]", table.name),
            Shape::Named => writeln!(text, "{mark}[{}.defaults]", table.name),
            Shape::List => writeln!(text, "{mark}[[{}]]", table.name),
        }
        .expect("text grows in memory");
        for key in table.keys {
            let stock = STOCK.iter().find(|(name, _)| *name == format!("{}.{}", table.name, key.name));
            let value = match (key.default, stock) {
                (_, Some((_, value))) => Some(*value),
                (Default::Is(value), None) => Some(value),
                _ => None,
            };
            let value = value.filter(|_| !optional && key.lacks.is_none());
            describe(&mut text, key);
            match value {
                Some(value) => writeln!(text, "{} = {value}", key.name),
                None => writeln!(text, "# {} = {}", key.name, key.example),
            }
            .expect("text grows in memory");
        }
    }
    text.push_str("\n[packages.rpm]\nformat = \"rpm\"\n\n[packages.deb]\nformat = \"deb\"\n");
    text
}

/// A start for a spec of one's own: the name, and everything else as a comment.
pub(crate) fn start(name: &str) -> String {
    let mut text = wrapped(
        "# ",
        &format!(
            "What the appliance `{name}` is. Take the `# ` away from what differs; the values shown are the defaults, or \
             examples where there is none. `cargo xtask spec explain KEY` says more, `cargo xtask spec check` whether it \
             is good, `cargo xtask build --spec` builds it."
        ),
    );
    for table in TABLES {
        text.push('\n');
        text.push_str(&wrapped("# ", table.meaning));
        let optional = table.name != "brand" && has_required(table);
        let mark = if optional { "# " } else { "" };
        let defaults = if table.shape == Shape::Named { ".defaults" } else { "" };
        writeln!(text, "{mark}[{}{defaults}]", table.name).expect("text grows in memory");
        for key in table.keys.iter().filter(|key| key.lacks.is_none()) {
            describe(&mut text, key);
            match (key.default, format!("{}.{}", table.name, key.name).as_str()) {
                (_, "brand.name") => writeln!(text, "name = \"{name}\""),
                (Default::Is(value), _) if !matches!(value, "\"\"" | "[]") => {
                    writeln!(text, "# {} = {value}", key.name)
                }
                _ => writeln!(text, "# {} = {}", key.name, key.example),
            }
            .expect("text grows in memory");
        }
    }
    text
}

fn describe(text: &mut String, key: &Key) {
    let mut meaning = key.meaning.to_owned();
    if let Default::Follows(what) = key.default {
        write!(meaning, " Default: {what}.").expect("text grows in memory");
    }
    if let Some(lacks) = key.lacks {
        write!(meaning, " {}", not_yet(lacks)).expect("text grows in memory");
    }
    if key.kind == Kind::Secret {
        meaning.push_str(" One of:");
    }
    text.push_str(&wrapped("# ", &meaning));
    if key.kind == Kind::Secret {
        writeln!(text, "#   {0} = {{ file = \"/secure/{0}\" }}\n#   {0} = \"…\"", key.name)
            .expect("text grows in memory");
    }
}

fn has_required(table: &Table) -> bool {
    table.keys.iter().any(|key| key.default == Default::Required)
}

/// Prose in lines that each begin with `mark`.
fn wrapped(mark: &str, prose: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in prose.split(' ') {
        if !line.is_empty() && mark.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(text, "{mark}{line}").expect("text grows in memory");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(text, "{mark}{line}").expect("text grows in memory");
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::spec::{Surroundings, parse};

    #[test]
    fn the_reference_spec_is_the_table_of_keys() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("buildspec.toml");
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, reference(), "make it anew with `cargo xtask spec reference >buildspec.toml`");
    }

    #[test]
    fn a_start_is_a_good_spec_with_nothing_but_defaults() {
        let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
        let shown = |text: &str| parse(Path::new("a.toml"), text, &around).unwrap().to_toml().unwrap();
        assert_eq!(shown(&start("acme")), shown("[brand]\nname = \"acme\"\n"));
    }

    #[test]
    fn every_comment_of_a_start_may_become_a_value() {
        // What is not prose: `# key = value` below a table that is not itself a comment.
        let mut text = String::new();
        let mut live = true;
        for line in start("acme").lines() {
            let value = line.strip_prefix("# ").filter(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    TABLES.iter().any(|table| table.key(key).is_some()) && !rest.starts_with("path")
                })
            });
            if line.starts_with('[') || line.starts_with("# [") {
                live = line.starts_with('[');
            }
            match value {
                // These name what is not there, or say otherwise what another line says.
                Some(value)
                    if live
                        && !["ca ", "dist", "srv_domain", "target "]
                            .iter()
                            .any(|key| value.starts_with(key)) =>
                {
                    text.push_str(value);
                }
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        let text = text.replace("provisioning = false", "provisioning = true");
        let around = Surroundings {
            project_version: "0.1.0",
            environment: &|name| (name == "ACME_PROVISIONING_TOKEN").then(|| "K7!pVq2-wZ9m#Rt4".into()),
        };
        let spec = parse(Path::new("a.toml"), &text, &around).unwrap_or_else(|why| panic!("{why}\n{text}"));
        assert_eq!(spec.provisioning.brokers.len(), 2, "{text}");
    }

    #[test]
    fn a_key_is_explained_whole() {
        assert_eq!(
            explain(Some("client.interval")).unwrap(),
            "client.interval\n  How long the timer waits between dances: a number and s, m, h or d.\n  type:    text\n  \
             default: \"30m\"\n  example: interval = \"30m\"\n"
        );
        assert_eq!(explain(Some("interval")).unwrap(), explain(Some("client.interval")).unwrap());
        assert_eq!(explain(Some("packages.el.dist")).unwrap(), explain(Some("packages.dist")).unwrap());
        let lacking = explain(Some("features.provisioner")).unwrap();
        assert!(lacking.contains("\n  Not in this version: it needs the provisioner daemon.\n"), "{lacking}");
        assert!(explain(Some("provisioning")).unwrap().contains("\nprovisioning.srv_domain\n"));
        let all = explain(None).unwrap();
        for table in TABLES {
            assert!(all.contains(&header(table)), "{all}");
        }
    }

    #[test]
    fn what_cannot_be_explained_offers_the_nearest() {
        let said = |name| explain(Some(name)).unwrap_err().to_string();
        assert_eq!(
            said("client.intervall"),
            "a spec has no key or table `client.intervall`\n  help: did you mean `client.interval`?"
        );
        assert_eq!(
            said("tls"),
            "a spec has no key or table `tls`\n  help: it may be `security.tls` or `provisioning.tls`"
        );
        assert_eq!(
            said("zebra"),
            "a spec has no key or table `zebra`\n  help: `cargo xtask spec explain` lists all keys"
        );
    }
}
