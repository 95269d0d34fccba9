//! What was found out, with its proof.

use serde_json::{Value, json};

use super::Error;
use super::custody::{Custody, Follows};
use super::findings::{Findings, Host};
use crate::base::encoding::base64_unpadded;
use crate::base::time::{Clock, SystemClock, Timestamp};
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::files::FileName;
use crate::cli::record::{lookup_object, lookup_text, reach_word, record_text};
use crate::cli::signet::fingerprint;
use crate::cli::signet::report::{self, Judgement, level_name};
use crate::dime::signet::{Checked, Link, Signet, VerifiedOrg, VerifiedUser, check_org, check_user};
use crate::domains::{Reach, RecordLookup};
use crate::net::dx_certificate::Accepted;

/// Everything, and how it ended; the signet itself is behind it, or in `file`.
pub fn answer(findings: &Findings, error: Option<&Error>, file: Option<&FileName>) -> Answer {
    Answer {
        text: text(findings, error, file),
        json: object(findings, error, SystemClock.now()),
    }
}

fn text(findings: &Findings, error: Option<&Error>, file: Option<&FileName>) -> String {
    let ending = match error {
        None => "valid".to_owned(),
        Some(error) if error.exit() == Exit::TryLater => format!("try later: {}", error.refusal()),
        Some(error) => format!("not valid: {}", error.refusal()),
    };
    let mut text = format!("{}: {ending}\n\n", findings.name);
    for (name, value) in lines(findings) {
        text += format!("{name:<13} {value}").trim_end();
        text += "\n";
    }
    match (error, findings.asked_for(), file) {
        (None, Some(signet), None) => text + "\n" + &signet.to_armor(),
        (None, Some(signet), Some(file)) => text + &format!("\n{} in {file}\n", signet.kind()),
        _ => text,
    }
}

fn lines(findings: &Findings) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(lookup) = &findings.lookup {
        lines.push(("record", lookup_text(lookup)));
        if let RecordLookup::Found { record, .. } = lookup {
            lines.push(("", record_text(record)));
            let keys = record.primary_keys.iter();
            lines.extend(keys.map(|key| ("", format!("key {}", base64_unpadded(&key.0)))));
        }
    }
    if let Some(host) = &findings.host {
        lines.extend(host_lines(host));
    }
    if let Some(organization) = &findings.organization {
        lines.extend(organization_lines(organization));
    }
    if let (Some(user), Some(organization)) = (&findings.user, &findings.organization) {
        lines.extend(user_lines(user, organization));
    }
    if let Some(custody) = &findings.custody {
        lines.extend(custody.follows.map(|follows| ("custody", follows_text(follows))));
        lines.extend(history_lines(custody));
    }
    lines
}

fn host_lines(host: &Host) -> Vec<(&'static str, String)> {
    let reach = match host.reach {
        Reach::Single => "DMTP alone",
        Reach::Dual => "STARTTLS on the SMTP port",
    };
    let accepted = match host.accepted {
        Accepted::Signed => "signed in the record, which DNSSEC proves",
        Accepted::SignedAndTrusted => "signed in the record, and under a trusted root for the host's name",
        Accepted::Trusted => "under a trusted root for the host's name; the record signs none",
    };
    vec![
        ("host", format!("{} at {}, {reach}", host.name, host.peer)),
        ("", format!("{}, {}", host.tls.version, host.tls.cipher)),
        ("", format!("certificate {accepted}")),
    ]
}

fn organization_lines(organization: &VerifiedOrg) -> Vec<(&'static str, String)> {
    let named = named(organization.identifier().is_some());
    let level = level_name(organization.level());
    let signed = "signed by its primary key, which is in the record";
    let mut lines = vec![(
        "organization",
        format!("{}: {level} form, {signed}; {named}", organization.domain()),
    )];
    lines.extend(fingerprint_lines(organization.signet()));
    lines
}

fn user_lines(user: &VerifiedUser, organization: &VerifiedOrg) -> Vec<(&'static str, String)> {
    let signer = match user.is_signed_by(&organization.primary_key()) {
        true => "the organization's primary key",
        false => "a secondary key of the organization",
    };
    let named = named(user.identifier().is_some());
    let level = level_name(user.level());
    let mut lines = vec![(
        "user",
        format!("{level} form, signed by the user and by {signer}; {named}"),
    )];
    lines.extend(fingerprint_lines(user.signet()));
    lines
}

/// Forms below the highest have no identifier: they belong to the name that they were asked for.
fn named(has_identifier: bool) -> &'static str {
    match has_identifier {
        true => "its identifier is the name asked for",
        false => "without identifier, so its host alone says whose it is",
    }
}

fn fingerprint_lines(signet: &Signet) -> Vec<(&'static str, String)> {
    let all = fingerprint::all(signet);
    let there = ["crypto", "full", "id"].into_iter().filter_map(|name| {
        let value = all[name].as_str()?;
        Some(("", format!("{name:<7} {value}")))
    });
    there.collect()
}

fn follows_text(follows: Follows) -> String {
    match follows {
        Follows::SameKey => "the same signing key as before".to_owned(),
        Follows::Signed(1) => "one change of keys, signed by the key before".to_owned(),
        Follows::Signed(changes) => format!("{changes} changes of keys, each signed by the key before"),
        Follows::ProvenRecord => "another primary key than before, in a record that DNSSEC proves".to_owned(),
    }
}

fn history_lines(custody: &Custody) -> Vec<(&'static str, String)> {
    let lines = custody
        .history
        .iter()
        .enumerate()
        .map(|(number, (signet, link))| {
            let label = if number == 0 { "history" } else { "" };
            (
                label,
                format!("{number} {}: {}", crypto(signet), link_text(number, *link)),
            )
        });
    lines.collect()
}

fn link_text(number: usize, link: Option<Link>) -> &'static str {
    match (number, link) {
        (0, Some(Link::SameKey)) => "the start",
        (_, Some(Link::SameKey)) => "the same signing key",
        (_, Some(Link::Signed)) => "signed by the key before",
        (_, None) => "does not follow",
    }
}

fn crypto(signet: &Signet) -> String {
    let print = signet.crypto_fingerprint();
    print.map_or_else(|| "?".to_owned(), |print| print.to_string())
}

fn object(findings: &Findings, error: Option<&Error>, now: Timestamp) -> Value {
    let mut object = json!({
        "name": findings.name.to_string(),
        "result": error.map_or("valid", Error::result),
        "record": findings.lookup.as_ref().map(lookup_object),
        "host": findings.host.as_ref().map(host_object),
        "organization": findings.organization.as_ref().map(|signet| organization_object(findings, signet, now)),
        "user": findings.user.as_ref().map(|signet| user_object(findings, signet, now)),
        "custody": findings.custody.as_ref().map(custody_object),
    });
    if let Some(error) = error {
        object["refused"] = error.refusal().json();
    }
    object
}

fn host_object(host: &Host) -> Value {
    json!({
        "name": host.name.as_str(),
        "reach": reach_word(host.reach),
        "address": host.peer.to_string(),
        "tls": { "version": host.tls.version, "cipher": host.tls.cipher },
        "certificate": match host.accepted {
            Accepted::Signed => "signed",
            Accepted::SignedAndTrusted => "signed_and_trusted",
            Accepted::Trusted => "trusted",
        },
    })
}

fn organization_object(findings: &Findings, organization: &VerifiedOrg, now: Timestamp) -> Value {
    let keys = findings
        .record()
        .map(|(record, _)| record.primary_keys.as_slice());
    let checked = check_org(organization.signet(), keys.unwrap_or_default());
    let mut object = signet_object(organization.signet(), checked.ok().as_ref(), now);
    object["primary_key"] = json!(base64_unpadded(&organization.primary_key().0));
    object
}

fn user_object(findings: &Findings, user: &VerifiedUser, now: Timestamp) -> Value {
    let organization = findings.organization.as_ref();
    let checked = organization.and_then(|organization| {
        let organization = check_org(organization.signet(), &[organization.primary_key()]).ok()?;
        check_user(user.signet(), &organization, None).ok()
    });
    signet_object(user.signet(), checked.as_ref(), now)
}

/// As `signet verify` has it, with the signet itself.
fn signet_object(signet: &Signet, checked: Option<&Checked>, now: Timestamp) -> Value {
    let judgement = checked.map_or(Judgement::Unverified, Judgement::Valid);
    let mut object = report::json(signet, judgement, now);
    object["signed_by"] = checked.map_or(Value::Null, report::signers);
    object["signet"] = json!(signet.to_armor());
    object
}

fn custody_object(custody: &Custody) -> Value {
    let history = custody.history.iter().map(|(signet, link)| {
        json!({
            "fingerprints": fingerprint::all(signet),
            "signet": signet.to_armor(),
            "link": match link {
                Some(Link::SameKey) => "same_key",
                Some(Link::Signed) => "signed",
                None => "broken",
            },
        })
    });
    json!({
        "follows": custody.follows.map(|follows| match follows {
            Follows::SameKey => "same_key",
            Follows::Signed(_) => "signed",
            Follows::ProvenRecord => "proven_record",
        }),
        "changes": custody.follows.map(|follows| match follows {
            Follows::Signed(changes) => changes,
            Follows::SameKey => 0,
            Follows::ProvenRecord => 1,
        }),
        "history": history.collect::<Vec<_>>(),
    })
}
