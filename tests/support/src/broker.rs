//! A nats-server of the test's own.
