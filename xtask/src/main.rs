//! The project's own commands.

mod bench;
mod brand_block;
mod brand_crate;
mod build;
mod crates;
mod cross;
mod demo;
mod dist;
mod elf;
mod flags;
mod licences;
mod matrix;
mod packages;
mod project;
mod rebrand;
mod repository;
mod reproducible;
mod sbom;
mod setup;
mod signing;
mod spec;
mod spec_command;
mod statement;
mod test;
mod tidy;
mod verify;

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::build::Until;
use crate::flags::{Command, CommandLine};
use crate::project::Project;
use crate::spec::Refused;

fn main() -> ExitCode {
    match run(&CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<Refused>() {
                Some(refused) => eprintln!("{}", refused.draw(stderr().is_terminal())),
                None => eprintln!("error: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    if let Command::Elsewhere(arguments) = command {
        return reproducible::elsewhere::run(arguments);
    }
    let project = Project::find()?;
    match command {
        Command::Build(arguments) => reproducible::run(&project, arguments, Until::Packages),
        Command::Binaries(arguments) => reproducible::run(&project, arguments, Until::Binaries),
        Command::Elsewhere(_) => unreachable!("it was run above"),
        Command::Rebrand(arguments) => matrix::rebrand(&project, arguments),
        Command::Verify(arguments) => verify::run(&project, arguments),
        Command::Repository(arguments) => repository::run(&project, arguments),
        Command::Spec(arguments) => spec_command::run(&project, &arguments.command),
        Command::Demo(arguments) => demo::run(&project, arguments),
        Command::Bench(arguments) => bench::run(&project, arguments),
        Command::Setup(arguments) => setup::run(&project, arguments),
        Command::Tidy => tidy::run(&project),
        Command::Test(arguments) => test::run(&project, arguments),
    }
}
