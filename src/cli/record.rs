//! Management records and how far they are proven, as people and programs read them.

use serde_json::{Value, json};

use crate::base::encoding::base64_unpadded;
use crate::dime::record::ManagementRecord;
use crate::domains::{Reach, RecordLookup};
use crate::net::dns::Proof;

/// For people.
pub fn proven(proof: Proof) -> &'static str {
    match proof {
        Proof::Secure => "proven by DNSSEC",
        Proof::Insecure => "not proven: the zone is unsigned",
    }
}

/// For programs.
pub fn proof_word(proof: Proof) -> &'static str {
    match proof {
        Proof::Secure => "secure",
        Proof::Insecure => "insecure",
    }
}

/// What asking for a record brought.
pub fn lookup_text(lookup: &RecordLookup) -> String {
    match lookup {
        RecordLookup::Found { proof, .. } => format!("found, {}", proven(*proof)),
        RecordLookup::Unparsable { error: Some(error) } => {
            format!("there is one that cannot be read: {error}")
        }
        RecordLookup::Unparsable { error: None } => String::from("there is more than one"),
        RecordLookup::Absent(proof) => format!("none, {}", proven(*proof)),
        RecordLookup::Bogus => String::from("DNSSEC validation failed"),
        RecordLookup::Failed => String::from("no usable answer"),
    }
}

/// The same for programs: `state`, `proof` and, if there is one, the record as `value`.
pub fn lookup_object(lookup: &RecordLookup) -> Value {
    let (state, proof, record) = match lookup {
        RecordLookup::Found { record, proof } => ("found", Some(*proof), Some(record_object(record))),
        RecordLookup::Unparsable { .. } => ("unparsable", None, None),
        RecordLookup::Absent(proof) => ("absent", Some(*proof), None),
        RecordLookup::Bogus => ("bogus", None, None),
        RecordLookup::Failed => ("failed", None, None),
    };
    json!({ "state": state, "proof": proof.map(proof_word), "value": record })
}

/// What a record says, its keys counted.
pub fn record_text(record: &ManagementRecord) -> String {
    let hosts: Vec<String> = record
        .delivery_hosts
        .iter()
        .map(|host| format!(" dx={host}"))
        .collect();
    format!(
        "pol={} sub={}{}, keys: {}, signed certificates: {}",
        record.policy,
        record.subdomain_policy,
        hosts.concat(),
        record.primary_keys.len(),
        record.tls_signatures.len()
    )
}

/// What a record says.
pub fn record_object(record: &ManagementRecord) -> Value {
    let keys: Vec<String> = record
        .primary_keys
        .iter()
        .map(|key| base64_unpadded(&key.0))
        .collect();
    let hosts: Vec<&str> = record.delivery_hosts.iter().map(|host| host.as_str()).collect();
    json!({
        "pol": record.policy.to_string(),
        "sub": record.subdomain_policy.to_string(),
        "pok": keys,
        "tls": record.tls_signatures.len(),
        "dx": hosts,
        "exp": record.expiry_days,
    })
}

/// How a host is spoken to, for programs.
pub fn reach_word(reach: Reach) -> &'static str {
    match reach {
        Reach::Single => "single",
        Reach::Dual => "dual",
    }
}
