//! What the universe sends: plain files by rsync, hostile until they were checked.
//!
//! * `fetch.rs` has rsync bring the node's parameters and modules, `tree.rs` says whether what came may be used.
//! * `params.rs` is the parameter tree, `module.rs` one module, `order.rs` the order of all of them.
//! * `check.rs` looks at a module as those who write it would like to know of it.

pub mod check;
pub mod fetch;
pub mod module;
pub mod order;
pub mod params;
pub(crate) mod tree;
