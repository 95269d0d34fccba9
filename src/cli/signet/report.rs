//! Everything that a signet says, for `show` and `verify`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::fingerprint;
use super::key_set;
use crate::base::encoding::{base64, base64_unpadded};
use crate::base::time::Timestamp;
use crate::cli::answer::printable;
use crate::dime::signet::{Checked, Custody, Field, Kind, Level, Permissions, SignatureKind, Signet, id};

/// What is known of a signet's signatures.
#[derive(Clone, Copy)]
pub enum Judgement<'a> {
    /// Nothing was verified.
    Unverified,
    /// They verify.
    Valid(&'a Checked),
    /// They do not.
    NotValid,
}

/// For programs: type, size, state, signatures present, fingerprints, and every field.
///
/// A field has `id`, `name`, `offset` (of its first octet in the binary object), `size` (of the whole field), `value_offset`,
/// `value_size`, and `value` in the form that `encoding` names; of a verified object also whether a signature `covered` it.
pub fn json(signet: &Signet, judgement: Judgement<'_>, now: Timestamp) -> Value {
    let covered = covered(judgement);
    let key_set = key_set_offset(signet);
    let fields = signet.fields().map(|field| {
        let mut object = json_field(signet.kind(), &field);
        if let Some(covered) = covered {
            object["covered"] = json!(field.offset < covered);
        }
        if key_set == Some(field.offset) {
            object["key_set"] = key_set::json(signet, judgement, now);
        }
        object
    });
    let fields: Vec<Value> = fields.collect();
    json!({
        "type": fingerprint::type_name(signet.kind()),
        "magic": signet.kind().magic(),
        "size": signet.encode().len(),
        "state": state(signet),
        "signatures": signatures(signet),
        "fingerprints": fingerprint::all(signet),
        "fields": fields,
    })
}

/// The highest signature that is there, verified or not.
pub fn state(signet: &Signet) -> &'static str {
    signet.level().map_or("ssr", level_name)
}

/// Name of a level, as `--form` has it.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Crypto => "crypto",
        Level::Full => "full",
        Level::Id => "id",
    }
}

/// What is known of the chain of custody, for programs.
pub fn custody_name(custody: Custody) -> &'static str {
    match custody {
        Custody::NoCustody => "none",
        Custody::Proven => "proven",
        Custody::Unproven => "unproven",
    }
}

/// Name of a signature, for programs.
pub fn signature_name(kind: SignatureKind) -> &'static str {
    match kind {
        SignatureKind::Request => "ssr",
        SignatureKind::Crypto => "crypto",
        SignatureKind::Full => "full",
        SignatureKind::Id => "id",
    }
}

/// Every verified signature and the key that made it, for programs.
pub fn signers(checked: &Checked) -> Value {
    let signatures = checked.signatures.iter();
    signatures
        .map(|(kind, key)| (signature_name(*kind).to_owned(), json!(base64_unpadded(&key.0))))
        .collect()
}

fn signatures(signet: &Signet) -> Vec<&'static str> {
    let kind = signet.kind();
    let custody = (kind != Kind::Organization).then_some(id::CUSTODY);
    let own = (kind != Kind::Organization).then_some(id::REQUEST_SIGNATURE);
    let all = [
        ("custody", custody),
        ("ssr", own),
        ("crypto", kind.signature_of(Level::Crypto)),
        ("full", kind.signature_of(Level::Full)),
        ("id", kind.signature_of(Level::Id)),
    ];
    let there = all
        .into_iter()
        .filter(|(_, id)| id.is_some_and(|id| signet.field(id).is_some()));
    there.map(|(name, _)| name).collect()
}

/// Octets of the object below the end of the highest verified signature.
fn covered(judgement: Judgement<'_>) -> Option<usize> {
    match judgement {
        Judgement::Valid(checked) => Some(checked.signet.encode().len()),
        _ => None,
    }
}

/// Where the first key set is; of others, rule N1 tells.
fn key_set_offset(signet: &Signet) -> Option<usize> {
    let mut fields = signet.fields();
    let first = fields.find(|field| field.name == Some(crate::dime::key_set::FIELD));
    first.map(|field| field.offset)
}

fn json_field(kind: Kind, field: &Field<'_>) -> Value {
    let mut object = json!({
        "id": field.id,
        "name": kind.label(field.id),
        "offset": field.offset,
        "size": field.size(),
        "value_offset": field.data_offset(),
        "value_size": field.data.len(),
    });
    let value = value(kind, field);
    object["encoding"] = json!(value.encoding);
    object["value"] = json!(value.text);
    if let Some(permissions) = value.permissions {
        object["permissions"] = json!(permissions);
    }
    if let Some(name) = field.name {
        object["undefined_name"] = json!(text_of(name).map_or_else(|| base64(name), str::to_owned));
        if text_of(name).is_none() {
            object["undefined_name_encoding"] = json!("base64");
        }
    }
    object
}

/// A field's content as it is shown.
struct Shown {
    /// `text`, `base64`, or what the base64 is: `ed25519`, `secp256k1`, `signature`.
    encoding: &'static str,
    text: String,
    permissions: Option<Vec<&'static str>>,
}

fn value(kind: Kind, field: &Field<'_>) -> Shown {
    let shown = |encoding, text| Shown {
        encoding,
        text,
        permissions: None,
    };
    match field.id {
        id::SIGNING_KEY => shown(
            "ed25519",
            base64_unpadded(field.data.get(1..).unwrap_or_default()),
        ),
        id::SECONDARY_KEY if kind == Kind::Organization => Shown {
            permissions: Some(
                Permissions(field.data.first().copied().unwrap_or(0))
                    .names()
                    .collect(),
            ),
            ..shown(
                "ed25519",
                base64_unpadded(field.data.get(2..).unwrap_or_default()),
            )
        },
        2 | 3 => shown("secp256k1", base64(field.data)),
        4..=6 | id::FULL_SIGNATURE | id::ID_SIGNATURE => shown("signature", base64(field.data)),
        id::PHOTO => shown("base64", base64(field.data)),
        _ => match text_of(field.data) {
            Some(text) => shown("text", text.to_owned()),
            None => shown("base64", base64(field.data)),
        },
    }
}

/// UTF-8 without control characters; anything else is shown as base64.
fn text_of(octets: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(octets).ok()?;
    (!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')).then_some(text)
}

/// The same as [`json`] for people.
pub fn text(signet: &Signet, judgement: Judgement<'_>, now: Timestamp) -> String {
    let mut text = format!(
        "{}, {} octets, {}\n\n",
        signet.kind(),
        signet.encode().len(),
        described(signet)
    );
    let fingerprints = fingerprint::all(signet);
    for name in ["ssr", "crypto", "full", "id"] {
        if let Some(value) = fingerprints[name].as_str() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<7} {value}");
        }
    }
    text += "\noctet  id  field\n";
    let (covered, key_set) = (covered(judgement), key_set_offset(signet));
    for field in signet.fields() {
        if covered == Some(field.offset) {
            text += "           what follows is covered by no signature and counts as absent\n";
        }
        text += &line(signet, &field);
        if key_set == Some(field.offset) {
            text += &key_set::text(signet, judgement, now);
        }
    }
    text
}

fn described(signet: &Signet) -> String {
    match signet.level() {
        None => "a request to be signed".into(),
        Some(level) => format!("reaches the {} form", level_name(level)),
    }
}

fn line(signet: &Signet, field: &Field<'_>) -> String {
    let shown = value(signet.kind(), field);
    let mut name = signet.kind().label(field.id).unwrap_or_default().to_owned();
    if let Some(own) = field.name {
        name += &format!(" {}", printable(&String::from_utf8_lossy(own)));
    }
    if let Some(permissions) = shown.permissions {
        name += &format!(" (may sign: {})", permissions.join(", "));
    }
    let value = match shown.encoding {
        "text" => printable(&shown.text),
        "base64" if shown.text.len() > 100 => format!("{} octets", field.data.len()),
        _ => shown.text,
    };
    format!("{:>5} {:>3}  {name}: {value}\n", field.offset, field.id)
}
