//! Why an object is refused, for people and for programs: one stable name per variant of every error, and the place.
//!
//! A name is the family and the variant in lower case, such as `signet.bad_signature`. Names are part of the interface:
//! they are listed here, once, and do not change when the words of a message do.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::base::encoding::NotBase64;
use crate::dime::keys::private::BadKey;
use crate::dime::keys::wrapped;
use crate::dime::signet::{self, Kind, Signet};
use crate::dime::{armor, key_set, keys, prime};

/// An error with a name for programs.
pub trait Refused: fmt::Display {
    /// Family and variant.
    fn variant(&self) -> &'static str;

    /// What the error itself knows of where it is.
    fn place(&self) -> Place {
        Place::default()
    }
}

/// Where something is wrong, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Line of armored text, from 1.
    pub line: Option<usize>,
    /// Octet of the binary object, from 0.
    pub offset: Option<usize>,
    /// Field of a signet.
    pub field: Option<u8>,
    /// What the specification calls that field, or the line of an envelope.
    pub field_name: Option<&'static str>,
    /// Chunk of a message, by its place from 0.
    pub chunk: Option<usize>,
    /// Type of that chunk.
    pub chunk_type: Option<u8>,
    /// Rule of the specification, such as `K3`.
    pub rule: Option<&'static str>,
}

/// The refusal of one object. As an error it ends a command with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the error, for programs.
    pub variant: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// Where.
    pub place: Box<Place>,
    /// The file, or `-`.
    pub file: Option<String>,
}

impl Refusal {
    /// Of an error that knows its place, or has none.
    pub fn new(error: &impl Refused) -> Self {
        Self::at(error, error.place())
    }

    /// Of an error at a place that somebody else knows.
    pub fn at(error: &impl Refused, place: Place) -> Self {
        Self {
            variant: error.variant(),
            message: error.to_string(),
            place: Box::new(place),
            file: None,
        }
    }

    /// Of an error that came up while a signet was checked or verified.
    pub fn in_signet(error: &signet::Error, signet: &Signet) -> Self {
        let offset = error.field(signet.kind()).map(|_| signet.place_of(error));
        Self::at(error, in_field(error, signet.kind(), offset))
    }

    /// The same, with the file that it is about.
    pub fn of_file(self, file: impl fmt::Display) -> Self {
        let file = Some(file.to_string());
        Self { file, ..self }
    }

    /// For programs: `variant`, `message`, and what is known of the place and the file.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("variant".into(), json!(self.variant));
        object.insert("message".into(), json!(self.message));
        let place = &self.place;
        for (name, value) in [
            ("file", self.file.as_ref().map(|file| json!(file))),
            ("line", place.line.map(|line| json!(line))),
            ("offset", place.offset.map(|offset| json!(offset))),
            ("field", place.field.map(|field| json!(field))),
            ("field_name", place.field_name.map(|name| json!(name))),
            ("chunk", place.chunk.map(|chunk| json!(chunk))),
            ("chunk_type", place.chunk_type.map(|kind| json!(kind))),
            ("rule", place.rule.map(|rule| json!(rule))),
        ] {
            object.extend(value.map(|value| (name.to_owned(), value)));
        }
        Value::Object(object)
    }
}

/// `FILE: message (variant, where)`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(f, "{} ({}", self.message, self.variant)?;
        let place = &self.place;
        if let Some(line) = place.line {
            write!(f, ", line {line}")?;
        }
        if let Some(offset) = place.offset {
            write!(f, ", octet {offset}")?;
        }
        if let Some(chunk) = place.chunk {
            write!(f, ", chunk {chunk}")?;
        }
        if let Some(kind) = place.chunk_type {
            write!(f, ", chunk type {kind}")?;
        }
        match (place.field, place.field_name) {
            (Some(field), Some(name)) => write!(f, ", field {field} {name}")?,
            (Some(field), None) => write!(f, ", field {field}")?,
            (None, Some(name)) => write!(f, ", field {name}")?,
            (None, None) => {}
        }
        if let Some(rule) = place.rule {
            write!(f, ", rule {rule}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Refusal {}

/// An object of an unknown kind has fields without names.
pub fn in_field(error: &signet::Error, kind: Kind, offset: Option<usize>) -> Place {
    let field = error.field(kind);
    Place {
        offset,
        field,
        field_name: field.and_then(|field| kind.label(field)),
        ..Place::default()
    }
}

fn at_octet(offset: usize) -> Place {
    Place {
        offset: Some(offset),
        ..Place::default()
    }
}

impl Refused for armor::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::NoBlock => "armor.no_block",
            Self::NoEnd => "armor.no_end",
            Self::Body => "armor.body",
            Self::NoChecksum => "armor.no_checksum",
            Self::Checksum => "armor.checksum",
            Self::AfterChecksum => "armor.after_checksum",
        }
    }
}

/// Named as its error is.
impl Refused for armor::Misread {
    fn variant(&self) -> &'static str {
        self.error.variant()
    }

    fn place(&self) -> Place {
        Place {
            line: Some(self.line),
            ..Place::default()
        }
    }
}

impl Refused for NotBase64 {
    fn variant(&self) -> &'static str {
        "base64.not_base64"
    }
}

impl Refused for signet::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Magic(_) => "signet.magic",
            Self::Length => "signet.length",
            Self::Truncated => "signet.truncated",
            Self::Reserved(_) => "signet.reserved",
            Self::Order(_) => "signet.order",
            Self::Repeated(_) => "signet.repeated",
            Self::EmptyLast(_) => "signet.empty_last",
            Self::Key(_) => "signet.key",
            Self::Missing(_) => "signet.missing",
            Self::Kind { .. } => "signet.kind",
            Self::UnknownPrimaryKey => "signet.unknown_primary_key",
            Self::BadSignature(_) => "signet.bad_signature",
            Self::CustodyBroken => "signet.custody_broken",
            Self::CustodyMissing => "signet.custody_missing",
            Self::WrongName => "signet.wrong_name",
            Self::TooManyKeys(_) => "signet.too_many_keys",
            Self::PredecessorUnknown => "signet.predecessor_unknown",
            Self::AlternateKey => "signet.alternate_key",
            Self::NotASigner => "signet.not_a_signer",
            Self::Content(_) => "signet.content",
            Self::TooLarge => "signet.too_large",
            Self::Armor(error) => error.variant(),
        }
    }
}

impl Refused for keys::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Magic { .. } => "key.magic",
            Self::Layout(_) => "key.layout",
            Self::Key => "key.out_of_range",
            Self::Armor(error) => error.variant(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Magic { .. } => at_octet(0),
            Self::Layout(offset) => at_octet(*offset),
            Self::Key => at_octet(42),
            Self::Armor(error) => error.place(),
        }
    }
}

impl Refused for BadKey {
    fn variant(&self) -> &'static str {
        match self {
            Self::Unknown => "key.unknown",
            Self::File(error) => error.variant(),
            Self::KeySet(_) => "key.key_set_layout",
            Self::Wrapped(error) => error.variant(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Unknown => at_octet(0),
            Self::File(error) => error.place(),
            Self::KeySet(error) => at_octet(error.0),
            Self::Wrapped(error) => error.place(),
        }
    }
}

impl Refused for wrapped::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Layout(_) => "wrapped.layout",
            Self::Work(_) => "wrapped.work",
            Self::Passphrase(_) => "wrapped.passphrase",
            Self::Protection(_) => "wrapped.protection",
            Self::Locked => "wrapped.locked",
            Self::Inside(_) => "wrapped.inside",
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Layout(offset) => at_octet(*offset),
            Self::Work(_) => at_octet(10),
            _ => Place::default(),
        }
    }
}

impl Refused for key_set::Error {
    fn variant(&self) -> &'static str {
        use key_set::{Layout as L, Time as T};
        match self {
            Self::Count(_) => "key_set.count",
            Self::Layout(L::Truncated) => "key_set.layout.truncated",
            Self::Layout(L::Trailing(_)) => "key_set.layout.trailing",
            Self::Layout(L::Version(_)) => "key_set.layout.version",
            Self::Layout(L::Keys(_)) => "key_set.layout.keys",
            Self::Layout(L::Order(_)) => "key_set.layout.order",
            Self::Layout(L::Size(_)) => "key_set.layout.size",
            Self::Signature => "key_set.signature",
            Self::Time(T::Future) => "key_set.time.future",
            Self::Time(T::Inverted) => "key_set.time.inverted",
            Self::Time(T::TooLong) => "key_set.time.too_long",
            Self::Time(T::Expired) => "key_set.time.expired",
            Self::Key(_) => "key_set.key",
            Self::SharedPoint => "key_set.shared_point",
            Self::Older => "key_set.older",
            Self::Vanished => "key_set.vanished",
            Self::OtherSigner => "key_set.other_signer",
        }
    }

    fn place(&self) -> Place {
        Place {
            field: Some(signet::id::UNDEFINED),
            rule: Some(self.rule()),
            ..Place::default()
        }
    }
}

impl Refused for key_set::NotKeySetFile {
    fn variant(&self) -> &'static str {
        match self {
            Self::Layout(_) => "key_set_file.layout",
            Self::KeySet(error) => error.variant(),
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Layout(offset) => at_octet(*offset),
            Self::KeySet(error) => error.place(),
        }
    }
}

impl Refused for prime::Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::Armor(error) => error.variant(),
            Self::Text => "import.text",
            Self::Libdime => "import.libdime",
            Self::NotImported(_) => "import.not_imported",
            Self::Magic(_) => "import.magic",
            Self::Length { .. } => "import.length",
            Self::Truncated { .. } => "import.truncated",
            Self::EndMarker { .. } => "import.end_marker",
            Self::Reserved { .. } => "import.reserved",
            Self::Order { .. } => "import.order",
            Self::Repeated { .. } => "import.repeated",
            Self::Key { .. } => "import.key",
            Self::Missing(_) => "import.missing",
            Self::BadSignature(_) => "import.bad_signature",
            Self::Kind { .. } => "import.kind",
            Self::RealmKey => "import.realm_key",
            Self::OtherKeys => "import.other_keys",
            Self::Signet(error) => error.variant(),
        }
    }

    fn place(&self) -> Place {
        let field = |field: u8| Place {
            field: Some(field),
            ..Place::default()
        };
        match self {
            Self::Armor(error) => error.place(),
            Self::NotImported(_) | Self::Magic(_) | Self::Libdime => at_octet(0),
            Self::Length { .. } => at_octet(2),
            Self::Truncated { offset } | Self::EndMarker { offset } => at_octet(*offset),
            Self::Reserved { field: id, offset }
            | Self::Order { field: id, offset }
            | Self::Repeated { field: id, offset }
            | Self::Key { field: id, offset } => Place {
                offset: Some(*offset),
                ..field(*id)
            },
            Self::Missing(id) | Self::BadSignature(id) => field(*id),
            _ => Place::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dime::signet::SignatureKind;

    #[test]
    fn a_refusal_names_the_variant_and_the_place_in_both_forms() {
        let error = signet::Error::BadSignature(SignatureKind::Full);
        let place = in_field(&error, Kind::User, Some(259));
        let refusal = Refusal::at(&error, place).of_file("a.signet");
        assert_eq!(
            refusal.to_string(),
            "a.signet: the full signature does not verify (signet.bad_signature, octet 259, field 253 Organizational-Signature)"
        );
        assert_eq!(
            refusal.json(),
            json!({
                "variant": "signet.bad_signature",
                "message": "the full signature does not verify",
                "file": "a.signet",
                "offset": 259,
                "field": 253,
                "field_name": "Organizational-Signature",
            })
        );
    }

    #[test]
    fn an_error_inside_another_keeps_its_name_and_place() {
        let inner = armor::Error::Checksum;
        assert_eq!(
            Refusal::new(&signet::Error::Armor(inner)).variant,
            "armor.checksum"
        );
        let line = Refusal::new(&armor::Misread {
            error: inner,
            line: 4,
        });
        assert_eq!((line.variant, line.place.line), ("armor.checksum", Some(4)));
        let key = Refusal::new(&BadKey::File(keys::Error::Layout(6)));
        assert_eq!((key.variant, key.place.offset), ("key.layout", Some(6)));
        let set = Refusal::new(&key_set::Error::Time(key_set::Time::Expired));
        assert_eq!(
            (set.variant, set.place.rule),
            ("key_set.time.expired", Some("N5"))
        );
    }
}
