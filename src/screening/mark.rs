//! What a message is marked with.
//!
//! `Dimed-Screening` has what speaks against the host, as filters and people read it; what was found by a method that RFC 8601
//! knows, stands in `Authentication-Results`.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::lists::Listing;
use super::names::Fault;
use super::{Action, lists};
use crate::authentication::iprev;
use crate::mail::address::Domain;

/// The field's name. [`EntryCleaner`](crate::dime::convert::clean::EntryCleaner) removes fields whose names begin like it.
const FIELD: &str = "Dimed-Screening";

/// The field, with a final CRLF; `None` if there is nothing to say.
pub(super) fn field(server: &Domain, listings: &[&Listing], faults: &[(Fault, Action)]) -> Option<String> {
    if listings.is_empty() && faults.is_empty() {
        return None;
    }
    let mut text = format!("{FIELD}: {server}");
    for Listing { name, of, answer, .. } in listings {
        let what = match of {
            lists::Subject::Address => "list",
            lists::Subject::SenderDomain => "sender-list",
        };
        let _ = write!(text, ";\r\n\t{what}={name} ({answer})");
    }
    for (fault, _) in faults {
        let _ = write!(text, ";\r\n\t{}", fault.word().replacen('_', "=", 1));
    }
    text.push_str("\r\n");
    Some(text)
}

/// The result of iprev (RFC 8601 §2.7.3).
pub(super) fn reverse(verdict: iprev::Verdict, peer: IpAddr) -> String {
    format!("iprev={} policy.iprev={}", verdict.name(), value(peer))
}

/// The result of a list that allows (RFC 8904 §2).
pub(super) fn allowed(listing: &Listing) -> String {
    format!(
        "dnswl=pass dns.zone={} policy.ip={}",
        listing.name, listing.answer
    )
}

/// Colons go into quotes (RFC 8601 §2.2, RFC 2045 §5.1).
fn value(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"{v6}\""),
    }
}
