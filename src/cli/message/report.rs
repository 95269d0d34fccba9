//! What is said of a message, for people and for programs.

use serde_json::{Map, Value, json};

use super::actors::{Actors, Version};
use super::names::Role;
use crate::base::encoding::hex;
use crate::base::time::Timestamp;
use crate::cli::answer::{Answer, printable};
use crate::cli::files::FileName;
use crate::cli::refusal::Refusal;
use crate::cli::signet::fingerprint;
use crate::dime::convert::marker::from_matches;
use crate::dime::dmime1::{self, chunk as one};
use crate::dime::dmime2::returned::Returned;
use crate::dime::dmime2::{self, Outline};
use crate::dime::signet::{Signet, VerifiedOrg, VerifiedUser};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::date::rfc5322;

/// What an outsider sees, what an actor learned, and the judgement.
#[derive(Debug, Default)]
pub struct Report {
    facts: Vec<(&'static str, Value)>,
    envelope: Vec<(&'static str, String)>,
    signets: Vec<Value>,
    chunks: Vec<Chunk>,
}

/// A chunk as an outsider sees it.
#[derive(Debug)]
struct Chunk {
    /// Place in the message.
    index: usize,
    kind: u8,
    name: &'static str,
    offset: u64,
    size: u64,
    payload: u64,
    /// Octets of plaintext with its padding; `None` where nothing is padded.
    padded: Option<u64>,
    readers: Vec<&'static str>,
}

impl Report {
    /// Of a message of D/MIME 1.
    pub fn of_format1(message: &dmime1::Message) -> Self {
        let before = message.tracing().map_or(0, |tracing| tracing.len());
        let whole = message.encode().len();
        let start = whole - message.without_tracing().len();
        let mut report = Self::default();
        report.fact("type", json!("message"));
        report.fact("format", json!(1));
        report.fact("suite", json!("secp256k1"));
        report.fact("size", json!(whole));
        report.fact("tracing", json!(before));
        report.fact(
            "ephemeral_key",
            json!(hex(&message.ephemeral_key().to_compressed())),
        );
        report.chunks = message
            .chunks()
            .iter()
            .enumerate()
            .map(|(index, chunk)| chunk_of_format1(index, chunk, start))
            .collect();
        report
    }

    /// Of a message of D/MIME 2.
    pub fn of_format2(outline: &Outline) -> Self {
        let mut report = Self::default();
        report.fact("type", json!("message"));
        report.fact("format", json!(2));
        report.fact("suite", json!(outline.suite().name()));
        report.fact("created", json!(outline.created()));
        report.fact("size", json!(outline.size()));
        report.fact("message_id", json!(outline.message_id().to_string()));
        report.fact("signed_by_origin", json!(!outline.is_blank()));
        let chunks = outline.chunks().iter().enumerate();
        report.chunks = chunks
            .map(|(index, entry)| chunk_of_format2(index, entry))
            .collect();
        report
    }

    /// Of a returned message, with the chunks that came back whole.
    pub fn of_returned(returned: &Returned) -> Self {
        let mut report = Self::default();
        report.fact("type", json!("returned message"));
        report.fact("format", json!(2));
        report.fact("size", json!(returned.octets().len()));
        report.fact("created", json!(returned.created()));
        report.fact("reported", json!(returned.reported()));
        report.fact("status", json!(returned.status().to_string()));
        report.fact("scope", json!(returned.scope() as u8));
        report.fact("message_id", json!(returned.message_id().to_string()));
        let whole = returned.chunks();
        report.chunks = whole
            .map(|(index, entry)| chunk_of_format2(index as usize, &entry))
            .collect();
        report
    }

    /// Adds a fact.
    pub fn fact(&mut self, name: &'static str, value: Value) {
        self.facts.push((name, value));
    }

    /// Adds a line of the envelope.
    fn line(&mut self, name: &'static str, value: impl ToString) {
        self.envelope.push((name, value.to_string()));
    }

    /// Adds a signet of an organization that counted.
    pub fn organization(
        &mut self,
        actors: &Actors,
        role: Role,
        found: Option<(&Version<VerifiedOrg>, bool)>,
    ) {
        let Some((version, is_current)) = found else {
            return;
        };
        let domain = version.signet.domain();
        let trust = match actors.names.primary_keys(domain) {
            Some(_) => "pok",
            None => "file",
        };
        let entry = entry(
            role,
            &version.file,
            domain.to_string(),
            version.signet.signet(),
            is_current,
        );
        self.signets.push(with(entry, "trusted_by", trust));
    }

    /// Adds a signet of a user that counted.
    pub fn user(&mut self, role: Role, name: impl ToString, found: Option<(&Version<VerifiedUser>, bool)>) {
        let Some((version, is_current)) = found else {
            return;
        };
        let entry = entry(
            role,
            &version.file,
            name.to_string(),
            version.signet.signet(),
            is_current,
        );
        self.signets.push(with(entry, "trusted_by", "organization"));
    }

    /// Counts of chunks by their names.
    pub fn counts(&self) -> Value {
        let mut counts = Map::new();
        for chunk in &self.chunks {
            let before = counts.get(chunk.name).and_then(Value::as_u64).unwrap_or(0);
            counts.insert(chunk.name.to_owned(), json!(before + 1));
        }
        Value::Object(counts)
    }

    /// What the envelope for the origin says.
    pub fn origin_envelope(
        &mut self,
        author: (&Mailbox, impl ToString),
        destination: (&Domain, impl ToString),
    ) {
        self.line("author", author.0);
        self.line("author_signet", author.1);
        self.line("destination", destination.0);
        self.line("destination_signet", destination.1);
    }

    /// What the envelope for the destination says.
    pub fn destination_envelope(
        &mut self,
        recipient: (&Mailbox, impl ToString),
        origin: (&Domain, impl ToString),
    ) {
        self.line("recipient", recipient.0);
        self.line("recipient_signet", recipient.1);
        self.line("origin", origin.0);
        self.line("origin_signet", origin.1);
    }

    /// Whether the From field names the author and nobody else.
    pub fn say_from_header(&mut self, value: Option<&[u8]>, author: &Mailbox) {
        let matches = match value.is_some_and(|value| from_matches(value, author)) {
            true => "match",
            false => "mismatch",
        };
        self.fact("from_header", json!(matches));
    }

    /// The same refusal with the place of the chunk that it names.
    pub fn located(&self, mut refusal: Refusal) -> Refusal {
        let place = &mut refusal.place;
        if place.chunk.is_none() && place.offset.is_none() {
            let named = place.chunk_type;
            let mut of_type = self.chunks.iter().filter(|chunk| Some(chunk.kind) == named);
            place.chunk = of_type.next().map(|chunk| chunk.index);
        }
        let wanted = place.chunk;
        let mut chunks = self.chunks.iter();
        if let Some(chunk) = chunks.find(|chunk| Some(chunk.index) == wanted) {
            place.offset = place.offset.or(usize::try_from(chunk.offset).ok());
            place.chunk_type = place.chunk_type.or(Some(chunk.kind));
        }
        refusal
    }

    /// The report with its result.
    pub fn answer(&self, result: &str, refused: Option<&Refusal>, because: Option<&Refusal>) -> Answer {
        Answer {
            text: self.text(result),
            json: self.json(result, refused, because),
        }
    }

    fn json(&self, result: &str, refused: Option<&Refusal>, because: Option<&Refusal>) -> Value {
        let mut object = Map::new();
        object.insert("result".into(), json!(result));
        if let Some(refused) = refused {
            object.insert("refused".into(), refused.json());
        }
        if let Some(because) = because {
            object.insert("because".into(), because.json());
        }
        for (name, value) in &self.facts {
            object.insert((*name).into(), value.clone());
        }
        let envelope: Map<_, _> = self
            .envelope
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        if !envelope.is_empty() {
            object.insert("envelope".into(), Value::Object(envelope));
        }
        if !self.signets.is_empty() {
            object.insert("signets".into(), json!(self.signets));
        }
        let chunks: Vec<_> = self.chunks.iter().map(chunk_json).collect();
        object.insert("chunks".into(), json!(chunks));
        Value::Object(object)
    }

    fn text(&self, result: &str) -> String {
        let mut text = format!("result            {result}\n");
        let mut line = |name: &str, value: &str| {
            let name = name.replace('_', " ");
            text += &format!("{name:<17} {}\n", printable(value));
        };
        for (name, value) in &self.facts {
            match value["common_headers"].as_str() {
                Some(headers) => headers.lines().for_each(|field| line(name, field)),
                None => line(name, &shown(name, value)),
            }
        }
        for (name, value) in &self.envelope {
            line(name, value);
        }
        for signet in &self.signets {
            let [role, name, file, trust] =
                ["role", "name", "file", "trusted_by"].map(|key| plain(&signet[key]));
            line(
                &format!("{role} is"),
                &format!("{name}, by {file} (trusted by {trust})"),
            );
        }
        if !self.chunks.is_empty() {
            text += "chunk  type  name                 offset       size     padded  readers\n";
        }
        for chunk in &self.chunks {
            let padded = chunk
                .padded
                .map_or(String::from("-"), |padded| padded.to_string());
            text += &format!(
                "{:>5}  {:>4}  {:<18} {:>8} {:>10} {padded:>10}  {}\n",
                chunk.index,
                chunk.kind,
                chunk.name,
                chunk.offset,
                chunk.size,
                match chunk.readers.as_slice() {
                    [] => "everybody".to_owned(),
                    readers => readers.join(" "),
                }
            );
        }
        text
    }
}

fn entry(role: Role, file: &FileName, name: String, signet: &Signet, is_current: bool) -> Value {
    json!({
        "role": role.name(),
        "name": name,
        "file": file.to_string(),
        "current": is_current,
        "fingerprints": fingerprint::all(signet),
    })
}

fn with(mut object: Value, name: &str, value: &str) -> Value {
    object[name] = json!(value);
    object
}

/// A fact as people read it: times as dates, counts as a list.
fn shown(name: &str, value: &Value) -> String {
    match (name, value) {
        ("created" | "reported", Value::Number(secs)) => {
            let time = secs.as_i64().unwrap_or(0).saturating_mul(1000);
            format!("{} ({secs})", rfc5322(Timestamp(time)))
        }
        ("counts", Value::Object(counts)) => {
            let counts = counts.iter().map(|(name, count)| format!("{count} {name}"));
            counts.collect::<Vec<_>>().join(", ")
        }
        _ => plain(value),
    }
}

/// A fact without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn chunk_json(chunk: &Chunk) -> Value {
    json!({
        "index": chunk.index,
        "type": chunk.kind,
        "name": chunk.name,
        "offset": chunk.offset,
        "size": chunk.size,
        "payload": chunk.payload,
        "padded": chunk.padded,
        "readers": chunk.readers,
    })
}

fn chunk_of_format1(index: usize, chunk: &one::Chunk, start: usize) -> Chunk {
    let range = chunk.range();
    Chunk {
        index,
        kind: chunk.kind.id(),
        name: name_of_format1(chunk.kind),
        offset: (start + range.start) as u64,
        size: range.len() as u64,
        payload: chunk.payload_size as u64,
        padded: (chunk.kind.payload() == one::Payload::Standard).then_some(chunk.payload_size as u64),
        readers: chunk
            .kind
            .readers()
            .iter()
            .map(|actor| actor_of_format1(*actor))
            .collect(),
    }
}

fn actor_of_format1(actor: one::Actor) -> &'static str {
    match actor {
        one::Actor::Author => "author",
        one::Actor::Origin => "origin",
        one::Actor::Destination => "destination",
        one::Actor::Recipient => "recipient",
    }
}

fn name_of_format1(kind: one::ChunkType) -> &'static str {
    use one::ChunkType as T;
    match kind {
        T::Ephemeral => "ephemeral",
        T::Origin => "origin",
        T::Destination => "destination",
        T::CommonHeaders => "common headers",
        T::OtherHeaders => "other headers",
        T::Display => "display",
        T::Attachment => "attachment",
        T::TreeSignature => "tree signature",
        T::AuthorSignature => "author signature",
        T::MetadataBounce => "metadata bounce",
        T::DisplayBounce => "display bounce",
        T::OriginSignature => "origin signature",
    }
}

fn chunk_of_format2(index: usize, entry: &dmime2::outline::ChunkEntry) -> Chunk {
    use dmime2::layout::{CHUNK_HEADER_SIZE, PAYLOAD_OVERHEAD, SLOT_SIZE};
    let slots = SLOT_SIZE * entry.kind.readers().len();
    let payload = entry.size - CHUNK_HEADER_SIZE - slots;
    let padded = (entry.kind != dmime2::ChunkType::Keys).then(|| (payload - PAYLOAD_OVERHEAD) as u64);
    Chunk {
        index,
        kind: entry.kind.id(),
        name: name_of_format2(entry.kind),
        offset: entry.offset,
        size: entry.size as u64,
        payload: payload as u64,
        padded,
        readers: entry
            .kind
            .readers()
            .iter()
            .map(|actor| actor_of_format2(*actor))
            .collect(),
    }
}

fn actor_of_format2(actor: dmime2::Actor) -> &'static str {
    match actor {
        dmime2::Actor::Author => "author",
        dmime2::Actor::Origin => "origin",
        dmime2::Actor::Destination => "destination",
        dmime2::Actor::Recipient => "recipient",
    }
}

fn name_of_format2(kind: dmime2::ChunkType) -> &'static str {
    use dmime2::ChunkType as T;
    match kind {
        T::Keys => "keys",
        T::OriginEnvelope => "origin",
        T::DestinationEnvelope => "destination",
        T::CommonHeaders => "common headers",
        T::OtherHeaders => "other headers",
        T::Display => "display",
        T::Attachment => "attachment",
        T::AuthorSignature => "author signature",
        T::OriginSignature => "origin signature",
    }
}
