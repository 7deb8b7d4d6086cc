//! The generated crate of a brand: a manifest, a main of one expression, a lock file.
//!
//! ```text
//! target/brands/acme/
//!   Cargo.toml     a workspace of its own: the product with the spec's features, the crates of its plugs
//!   src/main.rs    fills the brand's block from `env!("DISCO_BAKED_…")`; rustc finds what the generator forgot
//!   Cargo.lock     copy of the project's, or of the spec's own: `acme.lock` beside `acme.toml`
//!   dependencies   the crates that it is made of, for the section `.dep-v0`
//!   core           link to the project, so that the product's identity does not depend on where the project lies
//! ```
//!
//! No value of a spec stands in these files but names of crates, features and the binary: values come through the
//! environment, and the product is compiled once for all brands with the same features.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::brand_block;
use crate::project::Project;
use crate::spec::Spec;
use crate::spec::plugs::{Origin, Plug};

/// Prefix of the environment variables that carry a spec into rustc.
pub(crate) const BAKED: &str = "DISCO_BAKED_";

/// Facts of the sources, which are baked beside what a spec decides.
pub(crate) const SOURCE: [&str; 2] = ["SOURCE_COMMIT", "SOURCE_DATE"];

/// The project, seen from a brand's folder.
const CORE: &str = "core";

/// Which release of each crate is used. One of a brand with plugs is handed over, and pins their crates where it lies
/// beside the spec.
pub(crate) const LOCK: &str = "Cargo.lock";

/// Content of the section that lists the crates.
const DEPENDENCIES: &str = "dependencies";

/// Writes what the section `.dep-v0` of a brand's binary holds.
pub(crate) fn write_dependencies(folder: &Path, section: &[u8]) -> Result<()> {
    write_if_changed(&folder.join(DEPENDENCIES), section)
}

/// Writes the crate of a brand and returns its folder.
pub(crate) fn write(project: &Project, spec: &Spec) -> Result<PathBuf> {
    let folder = project.target().join("brands").join(&spec.brand.name);
    fs::create_dir_all(folder.join("src")).with_context(|| format!("cannot create {}", folder.display()))?;
    link(&folder.join(CORE), Path::new("../../.."))?;
    write_if_changed(&folder.join("Cargo.toml"), &manifest(project, spec)?)?;
    write_if_changed(&folder.join("src/main.rs"), &main_rs(spec)?)?;
    let kept = spec.path.with_extension("lock");
    let lock = if kept.is_file() { kept } else { project.root.join(LOCK) };
    let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    // cargo completes the copy with the brand's own packages, and prunes what the product does not need. Copying again
    // over that would cost a resolution per build, so it happens when that lock file has changed.
    let origin = folder.join("Cargo.lock.origin");
    if fs::read_to_string(&origin).ok().as_deref() != Some(&lock) || !folder.join(LOCK).exists() {
        write_if_changed(&folder.join(LOCK), &lock)?;
        write_if_changed(&origin, &lock)?;
    }
    Ok(folder)
}

/// Where the manifest finds a plug: through the link if it is part of the project, else by its absolute path.
fn plug_path(project: &Project, folder: &Path) -> Result<PathBuf> {
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let roots = [Some(&project.root), project.original.as_ref()];
    if let Some(inside) = roots.into_iter().flatten().find_map(|root| folder.strip_prefix(root).ok()) {
        return Ok(Path::new(CORE).join(inside));
    }
    if project.original.is_some() {
        eprintln!(
            "note: {} lies outside the project and is built from there both times: the bytes depend on that place; a \
             folder of the project, or git and rev, do not",
            folder.display()
        );
    }
    Ok(folder)
}

/// The lock file of a brand that was built: the project's, which plugs complete.
pub(crate) fn lock(project: &Project, spec: &Spec) -> Result<Vec<u8>> {
    let completed = project.target().join("brands").join(&spec.brand.name).join(LOCK);
    let path = if spec.has_plugs() { completed } else { project.root.join(LOCK) };
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Says which plugs left the name of their folder in a binary: a flag that takes it out would compile every dependency
/// again for this brand alone.
pub(crate) fn warn_of_places(project: &Project, spec: &Spec, image: &[u8]) -> Result<()> {
    for plug in spec.plugs() {
        let Origin::Folder { folder, .. } = &plug.origin else { continue };
        let place = plug_path(project, folder)?;
        if place.is_absolute() && memchr::memmem::find(image, place.as_os_str().as_encoded_bytes()).is_some()
        {
            eprintln!(
                "warning: the binary tells where the crate {} was built: {}\n  help: keep the crate in a folder of the \
                 project, or name it by `git` and `rev`",
                plug.krate,
                place.display()
            );
        }
    }
    Ok(())
}

/// The line of a manifest that brings a plug's crate.
fn dependency(project: &Project, plug: &Plug) -> Result<String> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let origin = match &plug.origin {
        Origin::Folder { folder, .. } => {
            format!("path = {}", quoted(&plug_path(project, folder)?.to_string_lossy()))
        }
        Origin::Commit { git, rev } => format!("git = {}, rev = {}", quoted(git), quoted(rev)),
        Origin::Release { version } => format!("version = {}", quoted(version)),
    };
    // Named here, whatever the crate calls its library.
    Ok(format!("{} = {{ package = {}, {origin} }}\n", plug.module(), quoted(&plug.krate)))
}

fn manifest(project: &Project, spec: &Spec) -> Result<String> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let features: Vec<String> = spec.features.chosen().into_iter().map(quoted).collect();
    let mut plugs = std::collections::BTreeSet::new();
    for plug in spec.plugs() {
        plugs.insert(dependency(project, plug)?);
    }
    let plugs: String = plugs.into_iter().collect();
    let profile = section(&project.manifest, "[profile.release]")
        .context("the project's Cargo.toml has no [profile.release] to copy")?;
    Ok(format!(
        "# Generated from {file}. Edit the spec, not this.\n\
         [package]\n\
         name = \"brand-{name}\"\n\
         version = \"0.0.0\"\n\
         edition = \"2024\"\n\
         publish = false\n\
         \n\
         [[bin]]\n\
         name = {binary}\n\
         path = \"src/main.rs\"\n\
         \n\
         [dependencies]\n\
         disco = {{ path = \"{CORE}\", default-features = false, features = [{features}] }}\n\
         {plugs}\
         \n\
         [workspace]\n\
         exclude = [\"{CORE}\"]\n\
         \n\
         [patch.crates-io]\n\
         disco-sdk = {{ path = \"{CORE}/sdk\" }}\n\
         \n\
         {profile}",
        file = spec.file_name,
        name = spec.brand.name,
        binary = quoted(&spec.brand.binary),
        features = features.join(", "),
    ))
}

/// A section of a manifest from its header to the next one, byte for byte: a profile that differs shares nothing.
fn section<'a>(manifest: &'a str, header: &str) -> Option<&'a str> {
    let start = manifest.find(&format!("\n{header}\n"))? + 1;
    let body = &manifest[start + header.len()..];
    let end = body.find("\n[").map_or(manifest.len(), |end| start + header.len() + end + 1);
    let section = &manifest[start..end];
    // A comment before the next header belongs to that one.
    let end = section.rfind("\n\n").map_or(section.len(), |gap| gap + 1);
    Some(&section[..end])
}

fn main_rs(spec: &Spec) -> Result<String> {
    let resolver =
        spec.resolver.iter().map(|plug| format!(".target_resolver({}::target_resolver())", plug.module()));
    let agents = spec.agents.iter().map(|plug| format!(".agents({}::agents())", plug.module()));
    let plugs: String = resolver.chain(agents).collect();
    let values: String = baked_names(spec)?
        .iter()
        .map(|name| format!("    (\"{name}\", env!(\"{BAKED}{name}\")),\n"))
        .collect();
    Ok(format!(
        "//! Generated from {file}. Edit the spec, not this.\n\
         \n\
         use std::hint::black_box;\n\
         \n\
         use disco::{{Appliance, Brand, brand}};\n\
         \n\
         const BAKED: [u8; {size}] = brand::block(&[\n\
         {values}\
         ]);\n\
         \n\
         /// The brand, where `cargo xtask rebrand` finds it.\n\
         static BLOCK: [u8; BAKED.len()] = BAKED;\n\
         \n\
         /// A value that does not parse stops the build here.\n\
         const _: Brand = Brand::read(&BAKED);\n\
         \n\
         /// The crates of this binary, where scanners look for them.\n\
         #[used]\n\
         #[unsafe(link_section = \".dep-v0\")]\n\
         static DEPENDENCIES: [u8; include_bytes!(\"../{DEPENDENCIES}\").len()] = *include_bytes!(\"../{DEPENDENCIES}\");\n\
         \n\
         fn main() -> std::process::ExitCode {{\n    \
             Appliance::new(Brand::read(black_box(&BLOCK))){plugs}.dependencies(&DEPENDENCIES).run()\n\
         }}\n",
        file = spec.file_name,
        size = brand_block::size_for(&spec.baked()?),
    ))
}

/// Names of all values in a brand's block: what the spec decides, and what the sources say.
fn baked_names(spec: &Spec) -> Result<Vec<&'static str>> {
    Ok(spec.baked()?.into_iter().map(|(name, _)| name).chain(SOURCE).collect())
}

/// cargo looks at times of files: one that says the same keeps its time.
fn write_if_changed(path: &Path, content: &(impl AsRef<[u8]> + ?Sized)) -> Result<()> {
    let content = content.as_ref();
    if fs::read(path).ok().as_deref() == Some(content) {
        return Ok(());
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn link(at: &Path, to: &Path) -> Result<()> {
    if fs::read_link(at).ok().as_deref() == Some(to) {
        return Ok(());
    }
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at).with_context(|| format!("cannot replace {}", at.display()))?;
    }
    symlink(to, at).with_context(|| format!("cannot link {} to {}", at.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn a_section_ends_before_the_comment_of_the_next() {
        let manifest = "[a]\nx = 1\n\n# why\n[profile.release]\ny = 2\nz = 3\n\n# next\n[profile.dev]\n";
        assert_eq!(section(manifest, "[profile.release]"), Some("[profile.release]\ny = 2\nz = 3\n"));
        assert_eq!(section(manifest, "[absent]"), None);
    }
}
