//! The commands, their flags and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    about = "\
Builds, packages and tests DISCO.

A TOML file, the spec, says what an appliance is: its name, its paths, what is compiled in, where it is provisioned.
From it comes one binary with everything fixed inside, an rpm and a deb.",
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  cargo xtask build                              the stock `disco` from buildspec.toml, into dist/disco/
  cargo xtask build --spec examples/acme.toml    a branded appliance, into dist/acme/
  cargo xtask spec init my.toml                  a commented start for a spec of your own
  cargo xtask spec check --spec my.toml          is the spec good?
  cargo xtask demo                               the whole product on a throw-away node
  cargo xtask test                               everything that must hold before a commit"
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the binary and all packages of one or more specs
    #[command(after_help = "\
Examples:
  cargo xtask build --spec acme.toml
  cargo xtask build --spec acme.toml --spec umbra.toml    what they share is compiled once
  cargo xtask build --specs brands/                       every *.toml in a folder; one that fails stops no other
  ACME_TOKEN=… cargo xtask build --spec acme.toml         with `token = { env = \"ACME_TOKEN\" }` in the spec
  cargo xtask build --spec acme.toml --check-reproducible the same bytes elsewhere, as somebody else, next year?")]
    Build(Making),
    /// Build and verify the binaries of one or more specs, without packages
    Binaries(Making),
    /// The second build of `--check-reproducible`, already in its surroundings
    #[command(hide = true)]
    Elsewhere(Elsewhere),
    /// Make more brands from a finished binary of the same features and plugs, in milliseconds, without a compiler
    #[command(after_help = "\
Examples:
  cargo xtask rebrand dist/acme/acme-disco --spec globex.toml
  cargo xtask rebrand dist/acme/acme-disco --specs brands/ --packages    thousands of brands, with their packages")]
    Rebrand(Rebrand),
    /// Look again at finished builds: digests, provenance, crates, and whether packages bring the same binary
    #[command(after_help = "\
Examples:
  cargo xtask verify dist/acme
  cargo xtask verify dist/acme --spec examples/acme.toml    and was it built from this spec?")]
    Verify(Verify),
    /// Make repositories for apt and dnf of finished packages, with signed lists
    #[command(after_help = "\
Examples:
  cargo xtask repository dist/acme --out repository --spec acme.toml    signed as [signing] of the spec says
  cargo xtask repository dist/acme dist/umbra --out repository          two brands in one, not signed")]
    Repository(Repository),
    /// Start, check, explain, show and compare specs
    #[command(after_help = "\
Examples:
  cargo xtask spec init acme.toml                a commented start for a spec of your own
  cargo xtask spec explain provisioning.token    what a key is for
  cargo xtask spec check --spec acme.toml        is it good? everything that is wrong with it
  cargo xtask spec diff acme.toml umbra.toml     what differs once all defaults are filled in
  cargo xtask spec schema >disco-spec.json       for an editor that completes and checks")]
    Spec(Spec),
    /// Show the whole product: build the example appliance, install it on a throw-away node, dance, be provisioned
    #[command(after_help = "\
Examples:
  cargo xtask demo                                   the whole journey, without a question
  cargo xtask demo --shell                           a shell on the node instead, with the example universe served
  cp -r examples/universe mine                       … and change what you like
  cargo xtask demo --shell --universe mine           dance to it
  echo 'acme-disco dance --noop' | cargo xtask demo --shell")]
    Demo(Demo),
    /// Measure the product, and write the figures to docs/benchmarks.md
    #[command(after_help = "\
Examples:
  cargo xtask bench dance             sandbox, noop, diff and merge, on a throw-away node
  cargo xtask bench dance --runs 40   more often, for quieter medians
  cargo xtask bench build             a brand from nothing, more brands, packages, rebranding; a few minutes")]
    Bench(Bench),
    /// Install what building and testing needs from this machine's package manager
    #[command(after_help = "\
Examples:
  cargo xtask setup                     what building and testing needs
  cargo xtask setup --spec acme.toml    that, and what the targets of this spec take")]
    Setup(Setup),
    /// Check the house rules that no compiler checks: dependency direction, who prints, where `unsafe` may be
    Tidy,
    /// Run everything that must hold before a commit: setup, format, clippy, tidy, builds, all tests
    #[command(after_help = "\
Examples:
  cargo xtask test           what must hold before a commit
  cargo xtask test --full    the same, and what takes the better part of an hour")]
    Test(Test),
}

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Try also what takes long: a thousand random trees, with other random numbers each time; a merge that is killed
    /// after every single system call that changes a file; kills at some hundred moments of a run
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Setup {
    /// A spec whose targets are to be built here; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Give a shell on the node instead of showing the journey
    #[arg(long)]
    pub(crate) shell: bool,
    /// Serve this universe instead of a copy of examples/universe
    #[arg(long, value_name = "DIR")]
    pub(crate) universe: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure
    pub(crate) what: BenchWhat,
    /// How often each of the quick things is done; long ones are done less often
    #[arg(long, default_value_t = 12)]
    pub(crate) runs: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BenchWhat {
    /// The client: sandbox, noop, diff, merge
    Dance,
    /// Brands: the first, the second, the tenth, packages, rebranding
    Build,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Making {
    #[command(flatten)]
    pub(crate) build: Build,
    /// Build again in another folder, as another user, on another date, and compare every byte
    #[arg(long)]
    pub(crate) check_reproducible: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Elsewhere {
    #[command(flatten)]
    pub(crate) build: Build,
    /// The copy of the project that is built
    #[arg(long, value_name = "DIR")]
    pub(crate) project: PathBuf,
    /// The project that it is a copy of
    #[arg(long, value_name = "DIR")]
    pub(crate) original: PathBuf,
    /// Without packages
    #[arg(long)]
    pub(crate) binaries: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct Build {
    /// The spec of an appliance; may be repeated [default: buildspec.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Vec<PathBuf>,
    /// A folder of which every *.toml is a spec; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) specs: Vec<PathBuf>,
    /// Compress packages quickly: for trying out, they are larger
    #[arg(long)]
    pub(crate) fast: bool,
    /// Where results go, one folder per brand [default: dist in the project]
    #[arg(long, value_name = "DIR")]
    pub(crate) dist: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Folder of a brand, such as dist/acme
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folder: Vec<PathBuf>,
    /// The spec that the binary must have been built from, and of which the packages must come out again
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Repository {
    /// Folder with packages, such as dist/acme; may be repeated
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folder: Vec<PathBuf>,
    /// Where the repositories are; packages that are there stay
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The spec whose `signing.repository_key` signs the lists
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Rebrand {
    /// A binary that `cargo xtask build` or `binaries` made; one for each machine that the specs are for
    #[arg(value_name = "BINARY", required = true)]
    pub(crate) binaries: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) build: Build,
    /// Make the packages too
    #[arg(long)]
    pub(crate) packages: bool,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Spec {
    #[command(subcommand)]
    pub(crate) command: SpecCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpecCommand {
    /// Say whether specs are good, and everything that is wrong with them
    Check(SpecFiles),
    /// Print the resolved spec: every key with its value, secrets as `set` or `not set`
    Show(SpecFiles),
    /// Say what a key is for: type, default, meaning, example; without a key: list all of them
    Explain {
        /// A key such as `provisioning.token`, or a table such as `paths`
        key: Option<String>,
    },
    /// Write a commented start for a spec of your own
    Init(SpecInit),
    /// Compare what two specs resolve to; of secrets only whether they differ
    Diff {
        /// One spec
        left: PathBuf,
        /// The other
        right: PathBuf,
    },
    /// Print the JSON Schema (draft 2020-12) of a spec, for editors
    Schema,
    /// Print the reference spec, which is kept as buildspec.toml
    Reference,
}

#[derive(Debug, Args)]
pub(crate) struct SpecInit {
    /// The file to write; one that is there stays as it is
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Name of the brand [default: the file's name without its ending]
    #[arg(long, value_name = "BRAND")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SpecFiles {
    /// The spec of an appliance; may be repeated [default: buildspec.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Vec<PathBuf>,
}
