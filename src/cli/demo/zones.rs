//! The zones of the demo: what `dimed dns records` prints, and the address of the mail host.

use std::net::Ipv4Addr;

use crate::mail::address::Domain;
use crate::net::authority::{Error, KeyKind, Zone};

/// The zone file of a domain: its published records, and where its mail host is.
pub fn text(records: &str, host: &Domain, address: Ipv4Addr) -> String {
    format!("{records}{host}. 300 IN A {address}\n")
}

/// The zone signed with a key of its own. What it does not hold it denies with NSEC.
pub fn signed(domain: &Domain, text: &str) -> Result<Zone, Error> {
    Zone::signed(domain, KeyKind::EcdsaP256)?.with_text(text)
}
