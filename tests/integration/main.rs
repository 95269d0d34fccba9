//! All integration tests, one module per area.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is how a test fails

mod architecture;
mod authentication;
mod bounce;
mod cli;
mod cli_examples;
mod cli_keys;
mod cli_message_vectors;
mod cli_messages;
mod cli_secondary_keys;
mod cli_signets;
mod cli_vectors;
mod cluster;
mod config;
mod daemon;
mod demo;
mod dns;
mod downgrade;
mod durability;
mod fuzz_seeds;
mod guides;
mod host;
mod log;
mod messages;
mod peers;
mod policy;
mod properties;
mod recovery;
mod screening;
mod setup;
mod store;
mod timing;
mod transcripts;
mod vectors;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
#[path = "../support/mod.rs"]
mod support;
