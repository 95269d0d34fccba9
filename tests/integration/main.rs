//! All integration tests, one module per area.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is how a test fails

mod architecture;
mod bounce;
mod cli;
mod config;
mod daemon;
mod demo;
mod dns;
mod store;
mod transcripts;
mod vectors;

#[path = "../support/mod.rs"]
mod support;
