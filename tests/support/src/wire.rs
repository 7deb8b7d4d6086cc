//! The wire from the outside.
