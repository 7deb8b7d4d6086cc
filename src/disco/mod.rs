//! Configuration management: what would change on this machine, and how does it become live?
