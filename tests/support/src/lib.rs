//! Real peers for tests and the demo. Nothing here links the product.
//!
//! * [`brand`] builds a brand from a spec.
//! * [`broker`] starts a nats-server on a free loopback port.
//! * [`wire`] speaks the Choria v1 protocol from its specification, independently of the product's own code.

pub mod brand;
pub mod broker;
pub mod wire;
