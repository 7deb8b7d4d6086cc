//! The feature table: what can be compiled in, what each feature adds, whether this binary has it.
//!
//! One row per cargo feature of the product; `cargo xtask tidy` compares the rows with `Cargo.toml`.

use serde::Serialize;

/// One row of the table.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Feature {
    /// Name in `[features]` of a spec and of `Cargo.toml`.
    pub name: &'static str,
    /// What a binary with it can do.
    pub adds: &'static str,
    /// Whether a spec may choose it; the others follow from those.
    pub public: bool,
    /// Whether this binary has it.
    pub present: bool,
}

/// All features, in the order in which `buildinfo` shows them.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: "live",
        adds: "may merge changes into the host",
        public: true,
        present: cfg!(feature = "live"),
    },
    Feature {
        name: "shell",
        adds: "a sandbox that stands, and a shell in it",
        public: true,
        present: cfg!(feature = "shell"),
    },
    // An implementation detail of the features that talk to a broker.
    Feature {
        name: "choria",
        adds: "the broker's protocol",
        public: false,
        present: cfg!(feature = "choria"),
    },
    Feature {
        name: "provisioning",
        adds: "the node's server and the choria_provision agent",
        public: true,
        present: cfg!(feature = "provisioning"),
    },
    Feature {
        name: "plaintext-brokers",
        adds: "may speak to brokers without TLS",
        public: true,
        present: cfg!(feature = "plaintext-brokers"),
    },
];

/// Whether this binary was compiled with a feature.
///
/// # Panics
/// If the table has no such row; a test of the caller finds that.
pub fn has(name: &str) -> bool {
    FEATURES.iter().find(|feature| feature.name == name).expect("the feature is in the table").present
}
