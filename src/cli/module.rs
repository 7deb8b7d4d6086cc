//! `module`: for people who write modules: a skeleton, a check, the order, a fetch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::Appliance;
use crate::brand::Brand;
use crate::cli::error::CommandError;
use crate::cli::output::answer;
use crate::cli::{exit, settings, state};
use crate::disco::lock::Lock;
use crate::disco::settings::Flags;
use crate::disco::universe::check;
use crate::disco::universe::fetch::{Limits, Universe, directory_of};
use crate::disco::universe::module::{Module, ModuleName};
use crate::disco::universe::order;

/// The skeleton: path below the module, mode, content.
const SKELETON: &[(&str, u32, &str)] = &[
    (
        "requires",
        0o644,
        "# Modules that belong to this one, one a line: `after NAME` (it runs before this one) or `before NAME`.\n",
    ),
    (
        "scripts/10-example.sh",
        0o755,
        "\
#!/bin/bash
# Scripts run in the order of their names, each by its first line. DISCO_NODE, DISCO_MODULE and NOOP are set.
# A file below templates/ is a bash script too: what it prints becomes the file of the same path on the node.
# Files below files/ are copied as they are. Ask for parameters with: disco-param get \"$DISCO_NODE/KEY\"
set -eu
",
    ),
];

/// Write, check and fetch modules
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  module init motd-1.0                 a new module with a line of advice in each file
  module check motd-1.0                what is wrong with it?
  module requires motd-1.0             what would be danced with it, and in which order?
  module fetch motd-1.0 --into .       the module as the universe has it")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the skeleton of a module
    #[command(after_help = "Example:\n  module init motd-1.0")]
    Init { directory: PathBuf },
    /// Tell everything that is wrong with a module, with file, line and cure; ends with code 1 if there is anything
    #[command(after_help = "Example:\n  module check motd-1.0 && rsync -a motd-1.0 universe:")]
    Check { directory: PathBuf },
    /// Print the modules that a module brings along, in their order; they lie beside it
    #[command(after_help = "Example:\n  module requires universe/motd-1.0")]
    Requires { directory: PathBuf },
    /// Fetch modules from the universe into the storage, or into a directory of yours
    #[command(
        after_help = "Examples:\n  module fetch motd-1.0\n  module fetch motd-1.0 ssh-2.1 --into work/"
    )]
    Fetch {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Make a directory NAME in this directory instead
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        /// Where the universe is [default: parameters, server.conf, baked]
        #[arg(long, value_name = "URI")]
        server: Option<String>,
    },
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    match &arguments.command {
        Command::Init { directory } => init(directory),
        Command::Check { directory } => check(directory),
        Command::Requires { directory } => requires(directory),
        Command::Fetch { names, into, server } => {
            let names: Vec<ModuleName> =
                names.iter().map(|name| ModuleName::new(name)).collect::<Result<_, _>>()?;
            fetch(&appliance.brand, &names, into.as_deref(), server.clone())
        }
    }
}

/// The directory as it is, so that `.` has a name too.
fn real(directory: &Path) -> Result<PathBuf, CommandError> {
    fs::canonicalize(directory)
        .ok()
        .filter(|found| found.is_dir())
        .ok_or_else(|| CommandError::new(format!("there is no directory {}", directory.display())))
}

fn name_of(directory: &Path) -> Result<ModuleName, CommandError> {
    Ok(ModuleName::new(&directory.file_name().unwrap_or_default().to_string_lossy())?)
}

fn init(directory: &Path) -> Result<u8, CommandError> {
    let name = name_of(directory)?;
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| CommandError::new(format!("cannot make {path}: {error}"))
    };
    fs::create_dir(directory).map_err(failed(directory))?;
    let default = format!("parameters/{name}");
    for folder in ["files", "parameters", "scripts", "templates", default.as_str()] {
        let path = directory.join(folder);
        fs::create_dir_all(&path).map_err(failed(&path))?;
    }
    for (path, mode, content) in SKELETON {
        let path = directory.join(path);
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(*mode)))
            .map_err(failed(&path))?;
    }
    answer(&format!("{}: files, parameters, requires, scripts, templates\n", directory.display()))
}

fn check(directory: &Path) -> Result<u8, CommandError> {
    let problems = check::check(&real(directory)?)?;
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if problems.is_empty() {
        return answer(&format!("{}: nothing wrong\n", directory.display()));
    }
    Ok(exit::FAILED)
}

fn requires(directory: &Path) -> Result<u8, CommandError> {
    let directory = real(directory)?;
    let universe = directory.parent().unwrap_or(Path::new("/"));
    let mut modules = vec![Module::read(name_of(&directory)?, directory.clone())?];
    loop {
        let missing = order::missing(&modules);
        if missing.is_empty() {
            break;
        }
        for (name, wanted_by) in missing {
            let beside = universe.join(name.as_str());
            if !beside.is_dir() {
                return Err(CommandError::new(format!(
                    "module {wanted_by} requires {name}, which is not in {}",
                    universe.display()
                ))
                .hint(format!("fetch it: module fetch {name} --into {}", universe.display())));
            }
            modules.push(Module::read(name, beside)?);
        }
    }
    let names: String = order::sort(modules)?.iter().map(|module| format!("{}\n", module.name)).collect();
    answer(&names)
}

fn fetch(
    brand: &Brand,
    names: &[ModuleName],
    into: Option<&Path>,
    server: Option<String>,
) -> Result<u8, CommandError> {
    let settings = settings::resolve(brand, &Flags { server, ..Flags::default() })?;
    let universe = Universe::new(&settings.server.value, &settings.rsync.value, Limits::of(&settings))?;
    let vardir = &state::of_host(brand);
    let Some(into) = into else {
        let _lock = Lock::take(vardir)?;
        universe.fetch_modules(vardir, names)?;
        let told: String =
            names.iter().map(|name| format!("{}\n", directory_of(vardir, name).display())).collect();
        return answer(&told);
    };
    let into = real(into)?;
    if let Some(there) =
        names.iter().map(|name| into.join(name.as_str())).find(|path| path.symlink_metadata().is_ok())
    {
        return Err(CommandError::new(format!("{} is there already", there.display()))
            .hint("remove it, or fetch into another directory"));
    }
    // Complete before it gets its name.
    let unfinished = into.join(format!(".fetch-{}", std::process::id()));
    let fetched = universe.fetch_modules(&unfinished, names).map_err(CommandError::from).and_then(|_| {
        for name in names {
            fs::rename(directory_of(&unfinished, name), into.join(name.as_str()))?;
        }
        Ok(())
    });
    let removed = fs::remove_dir_all(&unfinished);
    fetched?;
    removed?;
    let told: String = names.iter().map(|name| format!("{}\n", into.join(name.as_str()).display())).collect();
    answer(&told)
}
