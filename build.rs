//! Gathers build facts: compiler, target, features, dependency versions (`built`) and the commit (`vergen`).
//!
//! Facts only, never policy: what a brand may do comes from its spec through the generated brand crate, so that
//! another brand does not compile this crate again.

use vergen_gitcl::{Emitter, Gitcl};

fn main() {
    built::write_built_file().expect("the build facts are written to OUT_DIR");

    // xtask bakes the commit into the brand, like everything that changes without the product: a commit, or a tree that
    // is dirty because of a spec, must not compile the product again. So this fact is for the development binary only.
    println!("cargo:rerun-if-env-changed=DISCO_SOURCE_IS_BAKED");
    if std::env::var_os("DISCO_SOURCE_IS_BAKED").is_some() {
        return;
    }

    // A source tree without git, or one in which git cannot be run, still builds: the facts then read "unknown".
    let git = Gitcl::builder().sha(true).commit_timestamp(true).build();
    if let Err(why) = Emitter::default().add_instructions(&git).and_then(|emitter| emitter.emit()) {
        println!("cargo:warning=no commit in the build facts: {why}");
    }
}
