//! What a binary needs from the node's C library, read from its ELF headers.
//!
//! Packages depend on what is read here, and a binary that needs more than its spec allows is refused by it.

use std::env::consts::ARCH;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{Dyn, FileHeader, Sym};
use object::{Endianness, elf};
use serde::{Serialize, Serializer};

/// Machine and libraries of a binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Linkage {
    pub(crate) machine: Machine,
    /// Names of the libraries, sorted: `libc.so.6`.
    pub(crate) libraries: Vec<String>,
    /// Versions of symbols by library, sorted: `("libc.so.6", "GLIBC_2.34")`.
    pub(crate) versions: Vec<(String, String)>,
    /// Symbols by the version of theirs that it needs, sorted by name: `("getrandom", "GLIBC_2.25")`.
    pub(crate) symbols: Vec<(String, String)>,
}

/// A release of the GNU C library: `2.17`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glibc(Vec<u32>);

impl Glibc {
    /// The release that brought a version of a symbol: 2.34 for `GLIBC_2.34`.
    fn of_version(version: &str) -> Option<Self> {
        version.strip_prefix("GLIBC_")?.parse().ok()
    }
}

impl FromStr for Glibc {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split('.').map(str::parse).collect::<Result<_, _>>().map(Glibc)
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u32::to_string).collect();
        out.write_str(&parts.join("."))
    }
}

impl Serialize for Glibc {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// A machine that binaries are built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// Every one, with the name that rustc has for it.
    pub(crate) const TRIPLES: [(Machine, &str); 2] =
        [(Machine::X86_64, "x86_64-unknown-linux-gnu"), (Machine::Aarch64, "aarch64-unknown-linux-gnu")];

    /// The one that xtask runs on; none if nothing is built for its like.
    pub(crate) fn here() -> Option<Self> {
        Self::TRIPLES.map(|(machine, _)| machine).into_iter().find(|machine| machine.rpm() == ARCH)
    }

    /// The one of rustc's name.
    pub(crate) fn of_triple(triple: &str) -> Option<Self> {
        Self::TRIPLES.into_iter().find(|(_, name)| *name == triple).map(|(machine, _)| machine)
    }

    pub(crate) fn rpm(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        }
    }

    pub(crate) fn deb(self) -> &'static str {
        match self {
            Machine::X86_64 => "amd64",
            Machine::Aarch64 => "arm64",
        }
    }
}

impl Linkage {
    /// Reads the headers of a binary.
    pub(crate) fn read(binary: &[u8]) -> Result<Self> {
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
        let mut symbols = Vec::new();
        if let Some(table) = sections.versions(endian, binary)? {
            let dynamic = sections.symbols(endian, binary, elf::SHT_DYNSYM)?;
            for (index, symbol) in dynamic.enumerate() {
                let Some(version) = table.version(table.version_index(endian, index).index())? else {
                    continue;
                };
                if symbol.st_shndx(endian) == elf::SHN_UNDEF {
                    symbols.push((lossy(dynamic.symbol_name(endian, symbol)?), lossy(version.name())));
                }
            }
        }
        libraries.sort();
        versions.sort();
        symbols.sort();
        Ok(Linkage { machine, libraries, versions, symbols })
    }

    /// The newest release of the C library that the binary needs.
    pub(crate) fn glibc(&self) -> Option<Glibc> {
        self.versions.iter().filter_map(|(_, version)| Glibc::of_version(version)).max()
    }

    /// What keeps the binary from running with this release, a line each: `getrandom needs GLIBC_2.25`.
    pub(crate) fn above(&self, floor: &Glibc) -> Vec<String> {
        let newer = |version: &str| Glibc::of_version(version).is_some_and(|needed| needed > *floor);
        let mut lines: Vec<String> = self
            .symbols
            .iter()
            .filter(|(_, version)| newer(version))
            .map(|(symbol, version)| format!("{symbol} needs {version}"))
            .collect();
        // The loader asks for the version even where no symbol does.
        for (library, version) in self.versions.iter().filter(|(_, version)| newer(version)) {
            if !self.symbols.iter().any(|(_, needed)| needed == version) {
                lines.push(format!("{library} has to have {version}"));
            }
        }
        lines
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_this_test() -> Linkage {
        Linkage::read(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap()
    }

    fn glibc(text: &str) -> Glibc {
        text.parse().unwrap()
    }

    #[test]
    fn this_test_needs_a_c_library() {
        let linkage = of_this_test();
        assert!(linkage.libraries.contains(&"libc.so.6".to_owned()), "{linkage:?}");
        let newest = linkage.glibc().unwrap();
        assert!(newest > glibc("2.2.5"), "{newest}");
        assert!(
            linkage.versions.contains(&("libc.so.6".to_owned(), format!("GLIBC_{newest}"))),
            "{linkage:?}"
        );
    }

    #[test]
    fn what_is_above_a_floor_is_told_by_name() {
        let linkage = of_this_test();
        let newest = linkage.glibc().unwrap();
        assert_eq!(linkage.above(&newest), Vec::<String>::new());
        let above = linkage.above(&glibc("2.2.4"));
        let start = above.iter().find(|line| line.starts_with("__libc_start_main needs GLIBC_2."));
        assert!(start.is_some(), "{above:?}");
        assert!(above.iter().any(|line| line.ends_with(&format!(" GLIBC_{newest}"))), "{above:?}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |version: &str| ("libc.so.6".to_owned(), version.to_owned());
        let linkage = Linkage {
            machine: Machine::X86_64,
            libraries: Vec::new(),
            versions: vec![version("GLIBC_2.2.5"), version("GLIBC_2.34"), version("GLIBC_2.4")],
            symbols: vec![("gettid".to_owned(), "GLIBC_2.34".to_owned())],
        };
        assert_eq!(linkage.glibc(), Some(glibc("2.34")));
        assert_eq!(linkage.above(&glibc("2.17")), ["gettid needs GLIBC_2.34"]);
        assert_eq!(
            linkage.above(&glibc("2.3")),
            ["gettid needs GLIBC_2.34", "libc.so.6 has to have GLIBC_2.4"]
        );
    }

    #[test]
    fn what_is_not_elf_is_refused() {
        assert!(Linkage::read(b"#!/bin/sh\n").is_err());
    }
}
