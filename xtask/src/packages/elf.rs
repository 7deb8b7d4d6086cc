//! What a binary needs from the node's C library, read from its ELF headers.

use anyhow::{Context, Result, bail};
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{Dyn, FileHeader};
use object::{Endianness, elf};

/// Machine and libraries of a binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Linkage {
    pub(super) machine: Machine,
    /// Names of the libraries, sorted: `libc.so.6`.
    pub(super) libraries: Vec<String>,
    /// Versions of symbols by library, sorted: `("libc.so.6", "GLIBC_2.34")`.
    pub(super) versions: Vec<(String, String)>,
}

/// A machine that packages have names for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    pub(super) fn rpm(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        }
    }

    pub(super) fn deb(self) -> &'static str {
        match self {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
        }
    }
}

impl Linkage {
    /// Reads the headers of a binary.
    pub(super) fn read(binary: &[u8]) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(binary).context("not a 64-bit ELF file")?;
        let endian = header.endian()?;
        let machine = match header.e_machine(endian) {
            EM_X86_64 => Machine::X86_64,
            EM_AARCH64 => Machine::Aarch64,
            other => bail!("no package architecture is known for ELF machine {other}"),
        };
        let sections = header.sections(endian, binary)?;
        let mut libraries = Vec::new();
        if let Some((entries, strings)) = sections.dynamic(endian, binary)? {
            let strings = sections.strings(endian, binary, strings)?;
            for entry in entries {
                if entry.tag(endian) == elf::DT_NEEDED {
                    libraries.push(lossy(entry.string(endian, strings)?));
                }
            }
        }
        let mut versions = Vec::new();
        if let Some((mut needs, strings)) = sections.gnu_verneed(endian, binary)? {
            let strings = sections.strings(endian, binary, strings)?;
            while let Some((need, mut names)) = needs.next()? {
                let library = lossy(need.file(endian, strings)?);
                while let Some(name) = names.next()? {
                    versions.push((library.clone(), lossy(name.name(endian, strings)?)));
                }
            }
        }
        libraries.sort();
        versions.sort();
        Ok(Linkage { machine, libraries, versions })
    }

    /// The newest C library version that some symbol needs: `2.34`.
    pub(super) fn glibc(&self) -> Option<String> {
        let parsed = |version: &str| -> Option<Vec<u32>> {
            version.strip_prefix("GLIBC_")?.split('.').map(|part| part.parse().ok()).collect()
        };
        let newest = self.versions.iter().filter_map(|(_, version)| parsed(version)).max()?;
        Some(newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_a_c_library() {
        let linkage = Linkage::read(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(linkage.libraries.contains(&"libc.so.6".to_owned()), "{linkage:?}");
        let glibc = linkage.glibc().unwrap();
        assert!(glibc.starts_with("2."), "{glibc}");
        assert!(
            linkage.versions.contains(&("libc.so.6".to_owned(), format!("GLIBC_{glibc}"))),
            "{linkage:?}"
        );
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |version: &str| ("libc.so.6".to_owned(), version.to_owned());
        let linkage = Linkage {
            machine: Machine::X86_64,
            libraries: Vec::new(),
            versions: vec![version("GLIBC_2.2.5"), version("GLIBC_2.34"), version("GLIBC_2.4")],
        };
        assert_eq!(linkage.glibc().as_deref(), Some("2.34"));
    }

    #[test]
    fn what_is_not_elf_is_refused() {
        assert!(Linkage::read(b"#!/bin/sh\n").is_err());
    }
}
