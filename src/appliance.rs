//! The composition root: brand, plugs and command line become an exit code.

use std::process::ExitCode;
use std::sync::Arc;

use disco_sdk::{Agent, TargetResolver};

use crate::brand::Brand;
use crate::cli;

/// One branded binary, ready to run. A generated brand crate is one expression that builds and runs this.
pub struct Appliance {
    pub(crate) brand: Brand,
    pub(crate) resolver: Option<Arc<dyn TargetResolver>>,
    pub(crate) agents: Vec<Arc<dyn Agent>>,
    pub(crate) dependencies: &'static [u8],
}

impl Appliance {
    /// An appliance with a brand and without plugs.
    pub fn new(brand: Brand) -> Self {
        Appliance { brand, resolver: None, agents: Vec::new(), dependencies: &[] }
    }

    /// Lets this resolver find the provisioning brokers, instead of the baked list.
    pub fn target_resolver(mut self, resolver: impl TargetResolver + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Lets these agents answer requests, beside the built-in ones.
    pub fn agents(mut self, agents: Vec<Box<dyn Agent>>) -> Self {
        self.agents.extend(agents.into_iter().map(Arc::from));
        self
    }

    /// Lets `buildinfo` list the crates of the binary: the content of its section `.dep-v0`.
    pub fn dependencies(mut self, section: &'static [u8]) -> Self {
        self.dependencies = section;
        self
    }

    /// Runs the command line that the process was started with.
    pub fn run(self) -> ExitCode {
        cli::run(&self, std::env::args_os())
    }
}
