//! The Choria v1 protocol.
