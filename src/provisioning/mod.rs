//! The node's side of provisioning.
