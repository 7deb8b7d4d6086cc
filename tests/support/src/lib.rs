//! Real peers for tests and the demo. Nothing here links the product.
//!
//! * [`brand`] builds a brand from a spec.
//! * [`node_root`] makes the files of a small Debian, [`node`] runs them as a throw-away node.
//! * [`universe`] serves a universe by a real rsync daemon.
//! * [`built`] finds what `cargo xtask` built, and builds more.
//! * [`lab`] puts the built client on a node, and looks at the node's files.
//! * [`broker`] starts a nats-server on a free loopback port.
//! * `authority` makes certificates for it (feature `authority`: only tests need it).
//! * [`openpgp`] makes the keys of vendors.
//! * [`wire`] speaks the Choria v1 protocol from its specification, independently of the product's own code.

#[cfg(feature = "authority")]
pub mod authority;
pub mod brand;
pub mod broker;
pub mod built;
pub mod lab;
pub mod node;
pub mod node_root;
pub mod openpgp;
pub mod universe;
pub mod wire;
