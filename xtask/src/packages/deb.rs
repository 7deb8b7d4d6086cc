//! One deb: an `ar` archive of two xz-compressed tar archives, as deb(5) says. Not zstd: dpkg before 1.21 cannot read it.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result, bail};
use liblzma::write::XzEncoder;
use md5::{Digest, Md5};
use tar::{EntryType, Header};

use super::manual::gzip;
use super::payload::{Entry, Kind};
use super::{Inputs, Made, RUNS};

pub(super) fn make(inputs: &Inputs<'_>) -> Result<Made> {
    let brand = &inputs.spec.brand;
    let mut payload = inputs.payload.clone();
    let documents = format!("/usr/share/doc/{}", brand.binary);
    for (path, content) in [
        (format!("{documents}/copyright"), inputs.text("deb/copyright")?.into_bytes()),
        (format!("{documents}/changelog.Debian.gz"), gzip(inputs.text("deb/changelog")?.as_bytes())?),
        (
            format!("/usr/share/lintian/overrides/{}", brand.binary),
            inputs.text("deb/lintian-overrides")?.into_bytes(),
        ),
    ] {
        payload.add(path, 0o644, Kind::Doc, content);
    }
    let machine = inputs.linkage.machine.deb();

    let mut data = Archive::new(inputs);
    let mut sums = String::new();
    let mut conffiles = String::new();
    let mut size = 0;
    for (path, entry) in &payload.entries {
        data.add(path, entry)?;
        if entry.kind.is_dir() {
            // What a directory is counted as, whatever the file system.
            size += 1;
            continue;
        }
        if entry.kind == Kind::Link {
            // A link has no digest, and counts like a folder.
            size += 1;
            continue;
        }
        size += entry.content.len().div_ceil(1024);
        if entry.kind == Kind::Config {
            writeln!(conffiles, "{path}")?;
        } else {
            // dpkg keeps its own digests of configuration files.
            for byte in Md5::digest(&entry.content) {
                write!(sums, "{byte:02x}")?;
            }
            writeln!(sums, "  {}", &path[1..])?;
        }
    }
    let values = inputs
        .values
        .with("architecture", machine.to_owned())
        .with("installed_size", size.to_string())
        .with("depends", depends(inputs)?);
    let control = values.fill(&inputs.plain("deb/control")?).context("in deb/control")?;

    let mut members = Archive::new(inputs);
    members.add("/", &file(0o755, Kind::Dir, ""))?;
    members.add("/control", &file(0o644, Kind::File, &control))?;
    if !conffiles.is_empty() {
        members.add("/conffiles", &file(0o644, Kind::File, &conffiles))?;
    }
    members.add("/md5sums", &file(0o644, Kind::File, &sums))?;
    for script in ["postinst", "prerm", "postrm"] {
        members.add(
            &format!("/{script}"),
            &file(0o755, Kind::File, &inputs.text(&format!("deb/{script}.sh"))?),
        )?;
    }

    let mut deb = ar::Builder::new(Vec::new());
    let parts = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.xz", members.finish()?),
        ("data.tar.xz", data.finish()?),
    ];
    for (name, content) in parts {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(inputs.epoch.into());
        deb.append(&header, content.as_slice()).with_context(|| format!("cannot add {name}"))?;
    }
    Ok(Made {
        file_name: format!("{}_{}-{}_{machine}.deb", brand.binary, brand.version, brand.release),
        content: deb.into_inner()?,
    })
}

fn file(mode: u32, kind: Kind, text: &str) -> Entry {
    Entry::new(mode, kind, text.as_bytes().to_vec())
}

/// What must be installed: the C library that the binary was linked with, and the programs that it runs.
fn depends(inputs: &Inputs<'_>) -> Result<String> {
    let mut depends = Vec::new();
    if let Some(version) = inputs.linkage.glibc() {
        depends.push(format!("libc6 (>= {version})"));
    }
    for library in &inputs.linkage.libraries {
        let package = match library.as_str() {
            "libgcc_s.so.1" => "libgcc-s1",
            // Parts of libc6, which is named above.
            "libc.so.6" | "libm.so.6" | "libdl.so.2" | "libpthread.so.0" | "librt.so.1" => continue,
            loader if loader.starts_with("ld-linux") => continue,
            other => bail!("the binary needs {other}, and deb.rs does not know which package brings it"),
        };
        depends.push(package.to_owned());
    }
    // Every Debian has the essential ones, and asks packages not to say so.
    depends.extend(RUNS.iter().filter(|program| **program != "bash").map(ToString::to_string));
    Ok(depends.join(", "))
}

/// A tar archive in which every member belongs to root and has the same time.
struct Archive {
    tar: tar::Builder<XzEncoder<Vec<u8>>>,
    epoch: u32,
}

impl Archive {
    fn new(inputs: &Inputs<'_>) -> Self {
        let encoder = XzEncoder::new(Vec::new(), inputs.xz_level);
        Archive { tar: tar::Builder::new(encoder), epoch: inputs.epoch }
    }

    fn add(&mut self, path: &str, entry: &Entry) -> Result<()> {
        let mut header = Header::new_gnu();
        let name = match (path, entry.kind.is_dir()) {
            ("/", _) => "./".to_owned(),
            (_, true) => format!(".{path}/"),
            (_, false) => format!(".{path}"),
        };
        header.set_entry_type(match entry.kind {
            Kind::Dir | Kind::StandardDir => EntryType::Directory,
            Kind::Link => EntryType::Symlink,
            _ => EntryType::Regular,
        });
        let content = if entry.kind == Kind::Link {
            header.set_link_name(String::from_utf8_lossy(&entry.content).as_ref())?;
            &[]
        } else {
            entry.content.as_slice()
        };
        header.set_mode(entry.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(self.epoch.into());
        header.set_size(content.len() as u64);
        // The crate's own way to set a path drops the leading `./` that dpkg's tools write.
        if name.len() >= header.as_old().name.len() {
            return self
                .tar
                .append_data(&mut header, &name, content)
                .with_context(|| format!("cannot add {path}"));
        }
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.tar.append(&header, content).with_context(|| format!("cannot add {path}"))
    }

    fn finish(self) -> Result<Vec<u8>> {
        let mut compressed = self.tar.into_inner()?;
        compressed.flush()?;
        Ok(compressed.finish()?)
    }
}
