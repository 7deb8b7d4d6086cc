//! Targets: the machines that a spec's binary is built for, what they inherit, and which names their files get.

use std::ops::Range;

use serde::{Serialize, Serializer};
use toml::Spanned;

use super::Brand;
use super::checks;
use super::keys::default_text;
use super::problem::Problem;
use super::reader::TableReader;
use super::resolve::Resolution;
use crate::elf::{Glibc, Machine};

/// One machine that the binary is built for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    #[serde(skip)]
    pub(crate) name: String,
    /// rustc's name of the machine; none for the build host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) triple: Option<String>,
    /// The oldest C library to run with; none for what follows from the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) glibc: Option<Glibc>,
    /// Name of the binary among the results, filled in.
    pub(crate) output: String,
}

/// Name of the target of a spec that names none.
const UNNAMED: &str = "default";

/// The oldest C library that Rust's own library runs with.
const OLDEST: &str = "2.17";

impl Target {
    /// The C library to build for; none if it is that of the build host.
    pub(crate) fn floor(&self, host: &str) -> Option<Glibc> {
        let foreign = self.triple.as_deref().is_some_and(|triple| triple != host);
        self.glibc.clone().or_else(|| foreign.then(|| OLDEST.parse().expect("it is a release")))
    }

    /// The machine; none if nothing is built for the build host's like.
    pub(crate) fn machine(&self) -> Option<Machine> {
        self.triple.as_deref().map_or_else(Machine::here, Machine::of_triple)
    }
}

/// Whether a spec says nothing about targets.
pub(super) fn is_unsaid(targets: &[Target]) -> bool {
    matches!(targets, [Target { name, triple: None, glibc: None, .. }] if name == UNNAMED)
}

pub(super) fn by_name<S: Serializer>(targets: &[Target], out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(targets.iter().map(|target| (&target.name, target)))
}

/// What one table says, filled from the one that it inherits.
#[derive(Default)]
struct Said {
    triple: Option<String>,
    glibc: Option<Glibc>,
    output: Option<String>,
}

impl<'a> Resolution<'a> {
    /// At least one target: without any in the spec, what the defaults say.
    pub(super) fn targets(&self, mut table: TableReader<'a>, brand: &Brand) -> Vec<Target> {
        let defaults = self.target(table.table("defaults"));
        let mut targets: Vec<Target> = Vec::new();
        for (name, child) in table.other_tables() {
            let said = self.target(child);
            let made = said.filled(&defaults, name.get_ref(), brand);
            if let Some(twin) = targets.iter().find(|target| target.output == made.output) {
                self.problems.add(
                    Problem::at(
                        name.span(),
                        format!(
                            "targets `{}` and `{}` would be the same file: {}",
                            twin.name, made.name, made.output
                        ),
                        "same `output`",
                    )
                    .cure("write `output = \"{{binary}}-{{version}}-{{os}}-{{arch}}\"` under [targets.defaults], or names of your own"),
                );
            }
            targets.push(made);
        }
        if targets.is_empty() {
            targets.push(Said::default().filled(&defaults, UNNAMED, brand));
        }
        targets
    }

    fn target(&self, mut table: TableReader<'a>) -> Said {
        let triple = table.string("triple");
        let glibc = table.string("glibc");
        let output = table.string("output");
        table.finish();
        Said {
            triple: self.checked(triple, "triple", checks::triple),
            glibc: self
                .checked(glibc, "glibc", |text| checks::glibc(text, OLDEST))
                .and_then(|text| text.parse().ok()),
            output: self.checked(output, "output", checks::output),
        }
    }

    /// The target that a package names, if there is such a one.
    pub(super) fn packaged(&self, named: Option<&Spanned<String>>, targets: &[Target]) -> Option<String> {
        let named = named?;
        if !targets.iter().any(|target| target.name == *named.get_ref()) {
            let names: Vec<String> = targets.iter().map(|target| format!("`{}`", target.name)).collect();
            let cure = if is_unsaid(targets) {
                "leave it out, or describe the target in [targets]".to_owned()
            } else {
                format!("name one of these: {}", names.join(", "))
            };
            self.problems.add(
                Problem::at(
                    named.span(),
                    format!("there is no target `{}`", named.get_ref()),
                    "not in [targets]",
                )
                .cure(cure),
            );
        }
        Some(named.get_ref().clone())
    }

    /// Refuses a package that would be made twice under one name: for two targets of one machine.
    pub(super) fn refuse_ambiguous(
        &self,
        name: &str,
        span: Option<Range<usize>>,
        named: Option<&str>,
        targets: &[Target],
    ) {
        if named.is_some() {
            return;
        }
        let twins = targets.iter().enumerate().find_map(|(place, target)| {
            // Of targets that are one file was told already.
            let is_twin =
                |other: &&Target| other.machine() == target.machine() && other.output != target.output;
            let twin = targets[..place].iter().find(is_twin)?;
            Some((&twin.name, &target.name))
        });
        if let Some((one, other)) = twins {
            let title = format!("the package `{name}` would be made twice under one name");
            let why = format!("targets `{one}` and `{other}` are of one machine");
            let problem = match span {
                Some(span) => Problem::at(span, title, why),
                None => Problem::of_file(format!("{title}: {why}")),
            };
            self.problems.add(problem.cure(format!(
                "say which it is for: `target = \"{one}\"` in its table or under [packages.defaults]"
            )));
        }
    }
}

impl Said {
    fn filled(self, defaults: &Said, name: &str, brand: &Brand) -> Target {
        let template = self
            .output
            .as_ref()
            .or(defaults.output.as_ref())
            .map_or_else(|| default_text("targets.output"), String::clone);
        let mut target = Target {
            name: name.to_owned(),
            triple: self.triple.or_else(|| defaults.triple.clone()),
            glibc: self.glibc.or_else(|| defaults.glibc.clone()),
            output: String::new(),
        };
        let architecture = target.machine().map_or(std::env::consts::ARCH, Machine::rpm);
        target.output = [
            ("binary", brand.binary.as_str()),
            ("version", &brand.version),
            ("release", &brand.release),
            ("os", "linux"),
            ("arch", architecture),
        ]
        .into_iter()
        .fold(template, |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value));
        target
    }
}

/// Whether two packages of one format and dist would be one file: they have a machine in common.
pub(super) fn share_a_machine(one: Option<&str>, other: Option<&str>, targets: &[Target]) -> bool {
    let machines = |named: Option<&'_ str>| {
        targets
            .iter()
            .filter(|target| named.is_none_or(|name| target.name == name))
            .map(Target::machine)
            .collect::<Vec<_>>()
    };
    let others = machines(other);
    machines(one).iter().any(|machine| others.contains(machine))
}
