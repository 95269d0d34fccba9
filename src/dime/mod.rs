//! DIME objects as bytes and values, without I/O.

pub mod armor;
pub mod convert;
pub mod dmime1;
pub mod dmime2;
pub mod fingerprint;
pub mod key_set;
pub mod keys;
mod once;
pub mod prime;
pub mod record;
pub mod selection;
pub mod signet;
