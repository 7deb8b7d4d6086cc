//! Packages made a second time, from the binary and the papers beside them and a spec: what a package brings besides the
//! binary (scripts, units, configuration) is what it should be if the same bytes come out.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::packages::{self, Content, Made};
use crate::project::Project;
use crate::spec::{Signing, Spec};

/// What is wrong with the packages of one target; `found` are those beside its binary, by name.
pub(super) fn differences(
    project: &Project,
    spec: &Spec,
    target: &str,
    content: &Content<'_>,
    epoch: u32,
    found: &BTreeMap<&str, &[u8]>,
) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let unsigned = Spec { signing: Signing::default(), ..spec.clone() };
    let make = |fast| packages::make(project, &unsigned, target, content, epoch, fast);
    let (thorough, fast) = (make(false)?, make(true)?);
    for (made, quick) in thorough.iter().zip(&fast) {
        let Made { file_name: name, .. } = made;
        let Some(found) = found.get(name.as_str()) else {
            problems.push(format!("{name}: is missing, and {} asks for it", spec.file_name));
            continue;
        };
        let body = body(name, found)?;
        if body != self::body(name, &made.content)? && body != self::body(name, &quick.content)? {
            problems.push(format!(
                "{name}: is another package than this project makes of {} and the binary beside it",
                spec.file_name
            ));
        }
        if name.ends_with(".rpm") && spec.signing.rpm_key.is_some() && !is_signed(found)? {
            problems.push(format!("{name}: is not signed, and {} names a key", spec.file_name));
        }
    }
    let asked: BTreeSet<&str> = thorough.iter().map(|made| made.file_name.as_str()).collect();
    for name in found.keys().filter(|name| !asked.contains(*name)) {
        problems.push(format!("{name}: is a package that {} does not ask for", spec.file_name));
    }
    Ok(problems)
}

/// A package without its signature.
fn body<'c>(name: &str, content: &'c [u8]) -> Result<&'c [u8]> {
    if !name.ends_with(".rpm") {
        return Ok(content);
    }
    let header = parsed(content)?.metadata.get_package_segment_offsets().header;
    content.get(usize::try_from(header)?..).context("an rpm without a header")
}

fn is_signed(content: &[u8]) -> Result<bool> {
    Ok(!parsed(content)?.raw_signatures().context("its signature cannot be read")?.is_empty())
}

fn parsed(content: &[u8]) -> Result<rpm::Package> {
    rpm::Package::parse(&mut &content[..]).context("it is no rpm")
}
