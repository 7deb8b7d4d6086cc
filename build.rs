//! Gathers build facts: compiler, target, features, dependency versions (`built`) and the commit (`vergen`).
//!
//! Facts only, never policy: what a brand may do comes from its spec through the generated brand crate, so that
//! another brand does not compile this crate again.

use vergen_gitcl::{Emitter, Gitcl};

fn main() {
    built::write_built_file().expect("the build facts are written to OUT_DIR");

    // A source tree without git, or one in which git cannot be run, still builds: the facts then read "unknown".
    // xtask passes the commit in VERGEN_* variables, and vergen takes those as they are.
    let git = Gitcl::builder().sha(true).commit_timestamp(true).build();
    if let Err(why) = Emitter::default().add_instructions(&git).and_then(|emitter| emitter.emit()) {
        println!("cargo:warning=no commit in the build facts: {why}");
    }
}
