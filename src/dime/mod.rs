//! DIME objects as bytes and values, without I/O.

pub mod armor;
pub mod convert;
pub mod fingerprint;

pub mod keys;
pub mod message;
pub mod record;
pub mod signet;
