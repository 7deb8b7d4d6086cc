//! The software bill of materials: the crates of a brand as CycloneDX 1.5, with licences, for packages and `dist`.

use std::fmt::Write;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::crates::{Crate, Crates, ROOT};
use crate::spec::{Spec, sha256_hex};

/// Its name in `dist/<brand>/` and in packages.
pub(crate) const FILE_NAME: &str = "sbom.cdx.json";

/// The bill of a brand. The same inputs make the same bytes: its time is that of the sources, its number follows from
/// what it says.
pub(crate) fn of(spec: &Spec, crates: &Crates, binary: &[u8], epoch: u32) -> Result<Vec<u8>> {
    let brand = &spec.brand;
    let (root, others): (Vec<&Crate>, Vec<&Crate>) =
        crates.0.iter().partition(|krate| krate.name == ROOT && krate.source.is_none());
    let root = root.first().context("a brand has a crate of its own")?;
    let time = Timestamp::from_second(epoch.into()).context("the time of the sources")?;
    let mut bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.to_string(),
            "component": {
                "type": "application",
                "bom-ref": reference(root),
                "supplier": { "name": brand.vendor },
                "name": brand.binary,
                "version": brand.version,
                "description": brand.summary,
                "hashes": [{ "alg": "SHA-256", "content": sha256_hex(binary) }],
                "licenses": licenses(&brand.license),
            },
        },
        "components": others.iter().map(|krate| component(krate)).collect::<Vec<_>>(),
        "dependencies": crates.0.iter().map(|krate| json!({
            "ref": reference(krate),
            "dependsOn": krate.uses.iter().map(|used| reference(&crates.0[*used])).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    });
    bill["serialNumber"] = format!("urn:uuid:{}", uuid(&serde_json::to_vec(&bill)?)).into();
    let mut text = serde_json::to_vec_pretty(&bill)?;
    text.push(b'\n');
    Ok(text)
}

/// Adds to crates that were read from a binary what a bill about it knows besides: licences, places, checksums. False if
/// the bill is about another binary, or is none.
pub(crate) fn complete(crates: &mut Crates, bill: &[u8], digest: &str) -> bool {
    let Ok(bill) = serde_json::from_slice::<Value>(bill) else { return false };
    if bill["metadata"]["component"]["hashes"][0]["content"] != digest {
        return false;
    }
    let components = bill["components"].as_array().map_or(&[][..], Vec::as_slice);
    for krate in &mut crates.0 {
        let version = krate.version.to_string();
        let known = components
            .iter()
            .find(|known| known["name"] == krate.name.as_str() && known["version"] == version.as_str());
        let Some(known) = known else { continue };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        krate.license = text(&known["licenses"][0]["expression"]);
        krate.repository = text(&known["externalReferences"][0]["url"]);
        krate.checksum = text(&known["hashes"][0]["content"]);
        if krate.source.is_none() {
            krate.source = known["purl"].as_str().and_then(source);
        }
    }
    true
}

/// Where a crate comes from, in cargo's words, as its package URL says.
fn source(purl: &str) -> Option<String> {
    let (_, qualifier) = purl.split_once('?')?;
    let (key, value) = qualifier.split_once('=')?;
    let value = decoded(value)?;
    match key {
        "vcs_url" => Some(value),
        "repository_url" => Some(format!("registry+{value}")),
        _ => None,
    }
}

fn component(krate: &Crate) -> Value {
    let mut component = Map::new();
    component.insert("type".into(), "library".into());
    component.insert("bom-ref".into(), reference(krate).into());
    component.insert("name".into(), krate.name.as_str().into());
    component.insert("version".into(), krate.version.to_string().into());
    // CycloneDX's word for what was used and is not part of the result.
    component.insert("scope".into(), if krate.linked { "required" } else { "excluded" }.into());
    if let Some(checksum) = &krate.checksum {
        component.insert("hashes".into(), json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    if let Some(license) = &krate.license {
        component.insert("licenses".into(), licenses(license));
    }
    if krate.source.is_some() {
        component.insert("purl".into(), reference(krate).into());
    }
    if let Some(repository) = &krate.repository {
        component.insert("externalReferences".into(), json!([{ "type": "vcs", "url": repository }]));
    }
    Value::Object(component)
}

fn licenses(expression: &str) -> Value {
    json!([{ "expression": expression }])
}

/// A package URL; for a crate of a folder, which no URL names, something that is as unique.
fn reference(krate: &Crate) -> String {
    let Crate { name, version, .. } = krate;
    let version = encoded(&version.to_string());
    match krate.source.as_deref() {
        None => format!("local:{name}@{version}"),
        Some(source) => match (source.strip_prefix("git+"), source.split_once("+")) {
            (Some(_), _) => format!("pkg:cargo/{name}@{version}?vcs_url={}", encoded(source)),
            (None, Some((_, url))) if !url.starts_with("https://github.com/rust-lang/crates.io-index") => {
                format!("pkg:cargo/{name}@{version}?repository_url={}", encoded(url))
            }
            _ => format!("pkg:cargo/{name}@{version}"),
        },
    }
}

/// Percent encoding of everything that means something in a URL.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").expect("text grows in memory");
        }
    }
    out
}

/// What was encoded so.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// A UUID of version 8, made from a digest.
fn uuid(content: &[u8]) -> String {
    let digest = sha256_hex(content);
    format!(
        "{}-{}-8{}-8{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::crates::tests::three;
    use crate::spec::{self, Surroundings};

    fn bill(epoch: u32) -> Vec<u8> {
        let around = Surroundings { project_version: "0.1.0", environment: &|_| None };
        let spec = spec::parse(Path::new("test.toml"), "[brand]\nname = \"acme\"\n", &around).unwrap();
        of(&spec, &three(), b"binary", epoch).unwrap()
    }

    #[test]
    fn the_bill_is_valid_cyclonedx() {
        use cyclonedx_bom::prelude::{Bom, Validate};

        let bom = Bom::parse_from_json(bill(1_700_000_000).as_slice()).unwrap();
        let result = bom.validate();
        assert!(result.passed(), "{result:?}");
    }

    #[test]
    fn crates_are_named_as_scanners_look_them_up() {
        let bill: Value = serde_json::from_slice(&bill(1_700_000_000)).unwrap();
        assert_eq!(bill["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(bill["metadata"]["component"]["name"], "acme-disco");
        let (made, serde) = (&bill["components"][0], &bill["components"][1]);
        assert_eq!(serde["purl"], "pkg:cargo/serde@1.0.2");
        assert_eq!(serde["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(serde["hashes"][0]["content"], "ab".repeat(32));
        assert_eq!(serde["scope"], "required");
        assert_eq!(made["scope"], "excluded");
        assert_eq!(
            made["purl"],
            "pkg:cargo/made@2.0.0?vcs_url=git%2Bhttps%3A%2F%2Fgit.example%2Fmade%3Frev%3D12ab%2312abcd"
        );
        assert_eq!(bill["dependencies"][2]["dependsOn"][0], made["purl"]);
    }

    #[test]
    fn a_bill_gives_back_what_the_binary_does_not_say() {
        let mut bare = three();
        for krate in &mut bare.0 {
            (krate.license, krate.repository, krate.checksum) = (None, None, None);
            krate.source = krate.source.take().filter(|source| source.starts_with("registry+"));
        }
        let written = bill(1);
        assert!(!complete(&mut bare, &written, "of another"), "a bill about another binary says nothing");
        assert!(bare.0[2].license.is_none());
        assert!(complete(&mut bare, &written, &sha256_hex("binary")));
        for (restored, whole) in bare.0.iter().zip(&three().0) {
            assert_eq!(component(restored), component(whole));
        }
        assert_eq!(bare.0[1].source, three().0[1].source, "a git repository, percent-encoded in its URL");
        assert_eq!(decoded("%zz"), None);
    }

    #[test]
    fn the_same_inputs_make_the_same_bill() {
        assert_eq!(bill(1), bill(1));
        let number = |bill: &[u8]| serde_json::from_slice::<Value>(bill).unwrap()["serialNumber"].clone();
        assert_ne!(number(&bill(1)), number(&bill(2)));
    }
}
