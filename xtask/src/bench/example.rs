//! Universes to measure with, and the commands that a dance to one of them amounts to.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use testbed::universe::{EXAMPLE_NODE, Universe};

/// How many rsyncs the client runs at once.
const PARALLEL: usize = 8;

/// Adds modules with templates that read nothing and write three lines.
pub(crate) fn many_modules(universe: &Universe, modules: usize, templates: usize) -> Result<()> {
    for module in 0..modules {
        for template in 0..templates {
            universe.add(
                &format!("m{module:03}-1.0/templates/etc/bench/m{module:03}/t{template}.conf"),
                "echo \"# $DISCO_MODULE\"\necho key = value\necho other = $((6 * 7))\n",
            )?;
        }
    }
    Ok(())
}

/// A dance without a sandbox: a bash script that fetches as the client does, and runs each template and script.
pub(crate) struct Bare {
    server: String,
    script: String,
}

impl Bare {
    /// Reads the modules of a universe that is served at `server`.
    pub(crate) fn of(universe: &Universe, server: &str) -> Result<Self> {
        let names = names_in(&universe.path().join("parameters").join(EXAMPLE_NODE).join("modules"))?;
        let mut script = format!(
            "cd /root\n\
             rsync() {{ command rsync -aWH --no-D --delete --timeout=30 --contimeout=10 \"$@\"; }}\n\
             service() {{ :; }}\n\
             export -f service\n\
             mkdir -p /var/disco/parameters bare\n\
             rsync {server}/parameters/{EXAMPLE_NODE}/ /var/disco/parameters/{EXAMPLE_NODE}\n"
        );
        for batch in names.chunks(PARALLEL) {
            for name in batch {
                script.push_str(&format!("rsync {server}/{name}/ bare/{name} &\n"));
            }
            script.push_str("wait\n");
        }
        for name in &names {
            for template in files_below(&universe.path().join(name).join("templates"))? {
                script.push_str(&format!("bash bare/{name}/templates/{template} > bare/output\n"));
            }
            for file in files_below(&universe.path().join(name).join("scripts"))? {
                script.push_str(&format!("NOOP=true bash bare/{name}/scripts/{file}\n"));
            }
        }
        Ok(Bare { server: server.to_owned(), script })
    }

    /// Where the universe is served.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The commands.
    pub(crate) fn script(&self) -> &str {
        &self.script
    }
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Files below a directory, by their paths in it; none if there is no such directory.
fn files_below(directory: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    if !directory.is_dir() {
        return Ok(files);
    }
    for name in names_in(directory)? {
        let path = directory.join(&name);
        if path.is_dir() {
            files.extend(files_below(&path)?.into_iter().map(|below| format!("{name}/{below}")));
        } else {
            files.push(name);
        }
    }
    Ok(files)
}
