//! `param`: the parameter tree, for people and for the scripts of modules.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Appliance;
use crate::cli::error::CommandError;
use crate::cli::{exit, state};
use crate::disco::sandbox::PARAMETERS_VARIABLE;
use crate::disco::universe::params::{Depth, Key, Tree, Value};

/// Look into the parameter tree, and change it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  param dump                                 every key with its value
  param get node1.example/users/present/alice
  echo 22 | param set node1.example/ssh/port
  param set node1.example/users {}           an empty map
  param set - < lines                        KEY=VALUE, one a line
  param delete node1.example/users -r

Inside a dance, scripts see the tree of that run.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the value of a key; `{}` for a map
    Get { key: String },
    /// Give a key a value: from standard input, or `{}` for a map; `-` reads lines KEY=VALUE
    Set { key: String, value: Option<String> },
    /// Print the names of the keys below a map
    Keys { key: Option<String> },
    /// Print every key below one as `key = value`, sorted
    Dump { key: Option<String> },
    /// Take a key away
    Delete {
        key: String,
        /// With everything below it
        #[arg(short, long)]
        recursive: bool,
    },
}

pub(super) fn run(appliance: &Appliance, arguments: &Arguments) -> Result<u8, CommandError> {
    let tree = Tree::at(match std::env::var_os(PARAMETERS_VARIABLE) {
        Some(shown) => PathBuf::from(shown),
        None => state::of_host(&appliance.brand).join("parameters"),
    });
    let mut out = io::stdout().lock();
    match &arguments.command {
        Command::Get { key } => match tree.get(&Key::new(key)?)? {
            Value::Text(text) => out.write_all(&text)?,
            Value::Map => out.write_all(b"{}\n")?,
        },
        Command::Set { key, value } => set(&tree, key, value.as_deref())?,
        Command::Keys { key } => {
            for name in tree.keys(&Key::new(key.as_deref().unwrap_or_default())?)? {
                writeln!(out, "{name}")?;
            }
        }
        Command::Dump { key } => {
            for (key, value) in tree.dump(&Key::new(key.as_deref().unwrap_or_default())?)? {
                match value {
                    Value::Text(text) => {
                        writeln!(out, "{key} = {}", String::from_utf8_lossy(&text).trim_end())?
                    }
                    Value::Map => writeln!(out, "{key} = {{}}")?,
                }
            }
        }
        Command::Delete { key, recursive } => {
            let depth = if *recursive { Depth::Everything } else { Depth::Alone };
            tree.delete(&Key::new(key)?, depth)?;
        }
    }
    Ok(exit::FINE)
}

fn set(tree: &Tree, key: &str, value: Option<&str>) -> Result<(), CommandError> {
    let map_or_text = |text: &str| match text {
        "{}" => Value::Map,
        text => Value::Text(format!("{text}\n").into_bytes()),
    };
    if key == "-" {
        let text = io::read_to_string(io::stdin())?;
        // Checked as a whole before the first one is written.
        let mut values = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let number = number + 1;
            let (key, value) = line.split_once('=').ok_or_else(|| {
                CommandError::new(format!("line {number}: `{}` is not KEY=VALUE", line.escape_debug()))
            })?;
            let key =
                Key::new(key.trim()).map_err(|error| CommandError::new(format!("line {number}: {error}")))?;
            values.push((key, map_or_text(value.trim())));
        }
        for (key, value) in values {
            tree.set(&key, &value)?;
        }
        return Ok(());
    }
    let key = Key::new(key)?;
    let value = match value {
        Some(text) => map_or_text(text),
        None => {
            let mut text = Vec::new();
            io::stdin().read_to_end(&mut text)?;
            Value::Text(text)
        }
    };
    Ok(tree.set(&key, &value)?)
}
