//! What must hold for any input, one module per subject.
//!
//! A fuzz target calls one function of [`TARGETS`]. The integration tests include this file too and run every function
//! over its seeds, so that a finding stays found.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a broken property is a finding

pub mod actors;
pub mod authentication;
pub mod correspondents;
pub mod dkim;
pub mod dns;
pub mod framing;
pub mod hostile;
pub mod keys;
pub mod mapping;
pub mod message1;
pub mod message2;
pub mod milter;
pub mod record;
pub mod returned;
pub mod signet;
pub mod spf;
pub mod text;

/// A property over arbitrary octets; it panics where it does not hold.
pub type Property = fn(&[u8]);

/// The property of every target, by the name of the target and of its folder of seeds.
pub const TARGETS: &[(&str, Property)] = &[
    ("armor", keys::armor),
    ("authentication", authentication::authentication),
    ("clean", mapping::clean),
    ("dkim", dkim::dkim),
    ("dmime1", message1::message),
    ("dmime2", message2::message),
    ("dmime2_plaintext", message2::plaintext),
    ("envelope", text::envelope),
    ("framing", framing::framing),
    ("headers", text::headers),
    ("key_file", keys::key_file),
    ("key_set", signet::key_set),
    ("mapping", mapping::mapping),
    ("milter", milter::milter),
    ("record", record::record),
    ("returned", returned::returned),
    ("signet", signet::signet),
    ("spf", spf::spf),
];
