//! `completions` and `man`: the command tree for shells and for man(1), under the brand's name.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::cli::error::CommandError;
use crate::cli::exit;
use crate::cli::output::answer;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  completions bash > /etc/bash_completion.d/disco
  source <(disco completions zsh)   in this shell alone, with the name of your binary")]
pub(super) struct CompletionArguments {
    /// Which shell
    shell: Shell,
}

/// Print the manual page, or write a page for every command
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  man | man -l -  read the main page\n  man pages/      write every page to a directory"
)]
pub(super) struct ManArguments {
    /// Directory for the pages; without it, the main page goes to standard output
    directory: Option<PathBuf>,
}

pub(super) fn completions(
    mut grammar: Command,
    binary: &str,
    arguments: &CompletionArguments,
) -> Result<u8, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut grammar, binary, &mut script);
    let script = String::from_utf8(script)?;
    if arguments.shell != Shell::Bash {
        return answer(&script);
    }
    // clap_complete's bash labels of a name with a hyphen do not agree with each other (`a__b__subcmd__x` is set,
    // `a__subcmd__b__subcmd__x` is looked for), and nothing behind a command would be completed.
    let set = format!("{}__subcmd__", binary.replace('-', "__"));
    let looked_for = format!("{}__subcmd__", binary.replace('-', "__subcmd__"));
    answer(&script.replace(&looked_for, &set))
}

pub(super) fn man(grammar: Command, arguments: &ManArguments) -> Result<u8, CommandError> {
    let Some(directory) = &arguments.directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(grammar).render(&mut page)?;
        return answer(&String::from_utf8(page)?);
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(grammar, directory))
        .map_err(|error| CommandError::new(format!("cannot write to {}: {error}", directory.display())))?;
    Ok(exit::FINE)
}
