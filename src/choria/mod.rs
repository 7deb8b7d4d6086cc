//! The broker's protocol, version 1, for both sides: how messages look, travel, are selected and answered.
//!
//! In reading order: [`subject`] names places on the broker, [`message`] is the onion that travels, [`security`] its
//! hash and its insecure mode, [`filter`] and [`facts`] decide whom a request means, [`agents`] runs what answers it
//! ([`discovery`] and [`rpcutil`] are built in, [`plug`] hosts those of other crates), [`lifecycle`] and [`registration`] are what a node says unasked.
//! [`connector`] alone knows the NATS library. Everything that arrives is hostile until [`message`] has checked it.

pub mod agents;
pub mod connector;
pub mod discovery;
pub mod facts;
pub mod filter;
pub mod journal;
pub mod lifecycle;
pub mod message;
pub mod plug;
pub mod registration;
pub mod rpcutil;
pub mod security;
pub mod subject;
