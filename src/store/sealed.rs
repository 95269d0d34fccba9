//! What is encrypted before it reaches a database, and under which key.
//!
//! | Item | Key | Associated data names |
//! |---|---|---|
//! | message key | derived from the master key for that message | the message |
//! | envelope | message key | the message, and the columns kept in clear beside it |
//! | body piece | message key | the message and the piece's number |
//! | ticket for a return | message key | the message |
//! | forward-path with what is to be told of it, attempt note | message key | the recipient, and the attempt |
//! | private DIME keys | derived from the master key for that signet | the signet |
//! | private KEM keys | derived from the master key for that signet | the signet |
//! | wrapped keys of a cautious user | derived from the master key for that account | the account and the version |
//! | reverse-path too long to be rewritten (SRS) | derived from the master key for its id | the id |
//! | private key for DKIM | derived from the master key for that key | domain, selector and published record |
//! | pinned key set | derived from the master key for that name | the name |
//! | new private keys of a rollover | derived from the master key for that name | the name |
//! | pinned signing key | derived from the master key for that name | the name |
//! | remembered remote signet | derived from the master key for that name | the signet's tag |

mod spots;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use super::domains::Pin as DomainPin;
use super::sts::StsEntry;
use super::{Addressee, Content, CustodyPin, Envelope, Error, MAX_RESEALED, Recipient, Source};
use crate::base::bytes::Reader;
use crate::base::id::{QueueId, RecipientId};
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::crypto::at_rest::Key;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::{AnyFingerprint, CryptoFingerprint, FullFingerprint};
use crate::dime::key_set::{KemKeys, Pin};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::demand::{Demand, TlsDemand};
use crate::mail::notify::{EnvelopeId, MessageRequest, Notify, OriginalRecipient, RecipientRequest, Ret};

pub(super) use spots::Spot;

/// The key above all others. It comes from outside the database (DESIGN.md §6).
///
/// When it has been replaced, tags of names are still derived from the first one, and while it is being replaced, things are opened
/// under the one before it, too.
#[derive(Debug, Clone)]
pub struct MasterKey {
    current: Key,
    tags: Key,
    previous: Option<Key>,
}

const CHECK_PLACE: &[u8] = b"dimed/1 master key check";
const CHECK_TEXT: &[u8] = b"this database belongs to this master key";

impl MasterKey {
    /// The only one that there ever was.
    pub fn new(key: Key) -> Self {
        Self {
            tags: key.clone(),
            current: key,
            previous: None,
        }
    }

    /// With what tags are derived from.
    pub(super) fn with_tags(self, tags: Key) -> Self {
        Self { tags, ..self }
    }

    /// While it takes the place of another.
    pub(super) fn with_previous(self, previous: &Self) -> Self {
        Self {
            previous: Some(previous.current.clone()),
            ..self
        }
    }

    /// The key that things are sealed under now.
    pub fn current(&self) -> &Key {
        &self.current
    }

    /// What tags are derived from.
    pub(super) fn tags(&self) -> &Key {
        &self.tags
    }

    /// Known text, to be kept in the database.
    pub(super) fn seal_check(&self) -> Vec<u8> {
        self.derive("check")
            .seal(&mut rand::rng(), CHECK_PLACE, CHECK_TEXT)
    }

    /// Whether [`seal_check`](Self::seal_check) made `sealed` under this key.
    pub(super) fn opens_check(&self, sealed: &[u8]) -> bool {
        self.derive("check")
            .open(CHECK_PLACE, sealed)
            .is_ok_and(|text| text == CHECK_TEXT)
    }

    /// The wrapped form of a message's key.
    pub(super) fn wrap(&self, key: &MessageKey) -> Vec<u8> {
        self.seal_at(&Spot::message_key(key.message), key.key.expose())
    }

    /// Opens the wrapped form.
    pub(super) fn unwrap(&self, message: QueueId, wrapped: &[u8]) -> Result<MessageKey, Error> {
        let unreadable = || Error::Unreadable("message key");
        let octets = self.open_at(&Spot::message_key(message), wrapped);
        let octets = octets.map_err(|_| unreadable())?;
        let key = <[u8; 32]>::try_from(octets.expose().as_slice()).map(Key::from_bytes);
        Ok(MessageKey {
            message,
            key: key.map_err(|_| unreadable())?,
        })
    }

    /// Seals the private keys of a signet of ours.
    pub(super) fn seal_private_keys(
        &self,
        name: &str,
        signet: &CryptoFingerprint,
        keys: &Secret<Vec<u8>>,
    ) -> Vec<u8> {
        self.seal_at(&Spot::private_keys(name, signet), keys.expose())
    }

    /// Opens them.
    pub(super) fn open_private_keys(
        &self,
        name: &str,
        signet: &CryptoFingerprint,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, Error> {
        self.open_at(&Spot::private_keys(name, signet), sealed)
            .map_err(|_| Error::Unreadable("private keys"))
    }

    /// What people without an account are made up from.
    pub(super) fn nobody_secret(&self) -> Secret<[u8; 32]> {
        Secret::new(*self.derive_for_name("login of nobody").expose())
    }

    /// What addresses in the log are hashed under.
    pub(super) fn log_key(&self) -> Secret<[u8; 32]> {
        Secret::new(*self.derive_for_name("dimed/1 addresses in the log").expose())
    }

    /// What vouches for a text about rewritten reverse-paths on a day, counted from the Unix epoch.
    pub(super) fn srs_mac(&self, day: u64, text: &str) -> [u8; 32] {
        *self
            .derive_for_name(&format!("dimed/1 srs {day} {text}"))
            .expose()
    }

    /// Seals a reverse-path that is too long to be rewritten.
    pub(super) fn seal_srs_path(&self, id: &str, path: &Mailbox) -> Vec<u8> {
        self.seal_at(&Spot::srs_path(id), path.to_string().as_bytes())
    }

    /// Opens it.
    pub(super) fn open_srs_path(&self, id: &str, sealed: &[u8]) -> Result<Mailbox, Error> {
        let plain = self.open_at(&Spot::srs_path(id), sealed).ok();
        let text = plain.and_then(|plain| String::from_utf8(plain.expose().clone()).ok());
        let path = text.and_then(|text| Mailbox::parse(&text).ok());
        path.ok_or(Error::Unreadable("rewritten reverse-path"))
    }

    /// Where is noted that the next host knows a recipient: equal for equal names, and says nothing without the key.
    pub(super) fn callout_tag(&self, name: &str) -> Vec<u8> {
        self.derive_for_name(&format!("callout tag {name}"))
            .expose()
            .to_vec()
    }

    /// Where a remote signet of `name` is found: equal for equal names, and says nothing without the key.
    pub(super) fn remote_name_tag(&self, name: &str) -> Vec<u8> {
        self.derive_for_name(&format!("remote name tag {name}"))
            .expose()
            .to_vec()
    }

    /// The same for one signet of that name.
    pub(super) fn remote_signet_tag(&self, name: &str, fingerprint: &AnyFingerprint) -> Vec<u8> {
        self.derive_for_name(&format!("remote signet tag {fingerprint} {name}"))
            .expose()
            .to_vec()
    }

    /// Where an attempt or a network of the greylist is found.
    pub(super) fn greylist_tag(&self, text: &str) -> Vec<u8> {
        self.derive_for_name(&format!("greylist tag {text}"))
            .expose()
            .to_vec()
    }

    /// Where what is pinned of the key sets of `name` is found.
    pub(super) fn pin_tag(&self, name: &str) -> Vec<u8> {
        self.derive_for_name(&format!("key set pin tag {name}"))
            .expose()
            .to_vec()
    }

    /// Seals a pin: signing key (32), time (8), whether keys were ever seen (1).
    pub(super) fn seal_pin(&self, name: &str, pin: &Pin) -> Vec<u8> {
        let place = format!("dimed/1 key set pin {name}");
        let mut plain = pin.signing_key.0.to_vec();
        plain.extend_from_slice(&pin.created.to_be_bytes());
        plain.push(u8::from(pin.ever_usable));
        self.derive_for_name(&place)
            .seal(&mut rand::rng(), place.as_bytes(), &plain)
    }

    /// Opens it.
    pub(super) fn open_pin(&self, name: &str, sealed: &[u8]) -> Result<Pin, Error> {
        let place = format!("dimed/1 key set pin {name}");
        let plain = self.derive_for_name(&place).open(place.as_bytes(), sealed);
        let pin = plain.ok().and_then(|plain| decode_pin(&plain));
        pin.ok_or(Error::Unreadable("key set pin"))
    }

    /// A seal over the pinned record of a domain; it holds nothing.
    pub(super) fn seal_domain_pin(&self, pin: &DomainPin) -> Vec<u8> {
        self.seal_at(&Spot::domain_pin(pin), &[])
    }

    /// Seals the private half of a key that signs mail.
    pub(super) fn seal_dkim_key(
        &self,
        domain: &Domain,
        selector: &str,
        record: &str,
        private: &Secret<Vec<u8>>,
    ) -> Vec<u8> {
        self.seal_at(&Spot::dkim_key(domain, selector, record), private.expose())
    }

    /// Opens it.
    pub(super) fn open_dkim_key(
        &self,
        domain: &Domain,
        selector: &str,
        record: &str,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, Error> {
        self.open_at(&Spot::dkim_key(domain, selector, record), sealed)
            .map_err(|_| Error::Unreadable("DKIM key"))
    }

    /// A seal over the MTA-STS policy of a domain; it holds nothing.
    pub(super) fn seal_sts_policy(&self, entry: &StsEntry) -> Vec<u8> {
        self.seal_at(&Spot::sts_policy(entry), &[])
    }

    /// Whether a policy is as it was sealed.
    pub(super) fn is_sts_policy(&self, entry: &StsEntry, seal: &[u8]) -> bool {
        self.open_at(&Spot::sts_policy(entry), seal).is_ok()
    }

    /// Whether a row is as it was sealed.
    pub(super) fn check_domain_pin(&self, pin: &DomainPin, seal: &[u8]) -> Result<(), Error> {
        let opened = self.open_at(&Spot::domain_pin(pin), seal);
        opened.map(|_| ()).map_err(|_| Error::Unreadable("pinned record"))
    }

    /// Where the signing key that `name` had is found.
    pub(super) fn custody_tag(&self, name: &str) -> Vec<u8> {
        self.derive_for_name(&format!("custody pin tag {name}"))
            .expose()
            .to_vec()
    }

    /// Seals a signing key (32) and the fingerprint of its signet (64).
    pub(super) fn seal_custody(&self, name: &str, pin: &CustodyPin) -> Vec<u8> {
        let place = format!("dimed/1 custody pin {name}");
        let plain = [&pin.signing_key.0[..], &pin.signet.0[..]].concat();
        self.derive_for_name(&place)
            .seal(&mut rand::rng(), place.as_bytes(), &plain)
    }

    /// Opens them.
    pub(super) fn open_custody(&self, name: &str, sealed: &[u8]) -> Result<CustodyPin, Error> {
        let place = format!("dimed/1 custody pin {name}");
        let unreadable = || Error::Unreadable("custody pin");
        let plain = self.derive_for_name(&place).open(place.as_bytes(), sealed);
        let plain = plain.map_err(|_| unreadable())?;
        let (key, signet) = plain.split_first_chunk().ok_or_else(unreadable)?;
        Ok(CustodyPin {
            signing_key: VerifyingKey(*key),
            signet: CryptoFingerprint(signet.try_into().map_err(|_| unreadable())?),
        })
    }

    /// Seals private keys that are not in use yet.
    pub(super) fn seal_rollover(&self, name: &str, keys: &Secret<Vec<u8>>) -> Vec<u8> {
        self.seal_at(&Spot::rollover(name), keys.expose())
    }

    /// Opens them.
    pub(super) fn open_rollover(&self, name: &str, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
        self.open_at(&Spot::rollover(name), sealed)
            .map_err(|_| Error::Unreadable("rollover keys"))
    }

    /// Seals the private KEM keys of a signet of ours.
    pub(super) fn seal_kem_keys(&self, name: &str, signet: &FullFingerprint, keys: &KemKeys) -> Vec<u8> {
        self.seal_at(&Spot::kem_keys(name, signet), keys.encode().expose())
    }

    /// Opens them.
    pub(super) fn open_kem_keys(
        &self,
        name: &str,
        signet: &FullFingerprint,
        sealed: &[u8],
    ) -> Result<KemKeys, Error> {
        let plain = self.open_at(&Spot::kem_keys(name, signet), sealed);
        let keys = plain.ok().and_then(|plain| KemKeys::decode(plain.expose()).ok());
        keys.ok_or(Error::Unreadable("private KEM keys"))
    }

    /// Seals what a cautious user has left here.
    pub(super) fn seal_key_deposit(&self, name: &str, version: u64, octets: &[u8]) -> Vec<u8> {
        self.seal_at(&Spot::key_deposit(name, version), octets)
    }

    /// Opens it.
    pub(super) fn open_key_deposit(&self, name: &str, version: u64, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.open_at(&Spot::key_deposit(name, version), sealed)
            .map(|octets| octets.expose().clone())
            .map_err(|_| Error::Unreadable("key deposit"))
    }

    /// Seals fingerprint and object of a remote signet.
    pub(super) fn seal_remote_signet(
        &self,
        name: &str,
        crypto: &CryptoFingerprint,
        object: &[u8],
    ) -> Vec<u8> {
        let plain = [&crypto.0[..], object].concat();
        self.derive_for_name(&format!("remote signet {name}")).seal(
            &mut rand::rng(),
            b"dimed/1 remote signet",
            &plain,
        )
    }

    /// Opens them.
    pub(super) fn open_remote_signet(
        &self,
        name: &str,
        sealed: &[u8],
    ) -> Result<(CryptoFingerprint, Vec<u8>), Error> {
        let unreadable = Error::Unreadable("remote signet");
        let plain = self
            .derive_for_name(&format!("remote signet {name}"))
            .open(b"dimed/1 remote signet", sealed)
            .map_err(|_| Error::Unreadable("remote signet"))?;
        let (crypto, object) = plain.split_first_chunk().ok_or(unreadable)?;
        Ok((CryptoFingerprint(*crypto), object.to_vec()))
    }

    /// A key of its own for each purpose, so that no key ever sees many nonces.
    fn derive(&self, purpose: &str) -> Key {
        derived(&self.current, purpose)
    }

    /// The same for tags of names, and for what only somebody finds who has the name.
    fn derive_for_name(&self, purpose: &str) -> Key {
        derived(&self.tags, purpose)
    }
}

/// HKDF-SHA-256.
fn derived(key: &Key, purpose: &str) -> Key {
    let mut octets = [0u8; 32];
    let expanded = Hkdf::<Sha256>::new(None, key.expose()).expand(purpose.as_bytes(), &mut octets);
    // HKDF refuses only outputs longer than 255 hashes.
    assert!(expanded.is_ok(), "32 octets are a valid length");
    let key = Key::from_bytes(octets);
    octets.zeroize();
    key
}

/// The key of one message. When its wrapped form is deleted, the message is gone.
pub(super) struct MessageKey {
    message: QueueId,
    key: Key,
}

/// The columns that stay in clear beside an envelope; a change to any of them makes it unreadable.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClearColumns {
    pub(super) content: Content,
    pub(super) size_bytes: u64,
    pub(super) accepted_at: Timestamp,
}

impl MessageKey {
    pub(super) fn generate(message: QueueId) -> Self {
        Self {
            message,
            key: Key::generate(&mut rand::rng()),
        }
    }

    pub(super) fn message(&self) -> QueueId {
        self.message
    }

    pub(super) fn seal_envelope(&self, envelope: &Envelope, beside: &ClearColumns) -> Vec<u8> {
        self.seal(&self.envelope_place(beside), &encode_envelope(envelope))
    }

    pub(super) fn open_envelope(&self, sealed: &[u8], beside: &ClearColumns) -> Result<Envelope, Error> {
        let plain = self.open(&self.envelope_place(beside), sealed, "envelope")?;
        decode_envelope(&plain).ok_or(Error::Unreadable("envelope"))
    }

    pub(super) fn seal_addressee(&self, recipient: RecipientId, addressee: &Addressee) -> Vec<u8> {
        self.seal(&format!("forward-path {recipient}"), &encode_addressee(addressee))
    }

    pub(super) fn open_addressee(&self, recipient: RecipientId, sealed: &[u8]) -> Result<Addressee, Error> {
        let plain = self.open(&format!("forward-path {recipient}"), sealed, "forward-path")?;
        decode_addressee(&plain).ok_or(Error::Unreadable("forward-path"))
    }

    pub(super) fn seal_note(&self, recipient: RecipientId, attempt: u32, note: &str) -> Vec<u8> {
        self.seal(&format!("note {recipient} {attempt}"), note.as_bytes())
    }

    pub(super) fn open_note(
        &self,
        recipient: RecipientId,
        attempt: u32,
        sealed: &[u8],
    ) -> Result<String, Error> {
        let plain = self.open(&format!("note {recipient} {attempt}"), sealed, "attempt note")?;
        String::from_utf8(plain).map_err(|_| Error::Unreadable("attempt note"))
    }

    pub(super) fn seal_piece(&self, number: u32, piece: &[u8]) -> Vec<u8> {
        self.seal(&format!("piece {number}"), piece)
    }

    pub(super) fn open_piece(&self, number: u32, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.open(&format!("piece {number}"), sealed, "body piece")
    }

    pub(super) fn seal_ticket(&self, ticket: &[u8]) -> Vec<u8> {
        self.seal("ticket", ticket)
    }

    pub(super) fn open_ticket(&self, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.open("ticket", sealed, "ticket")
    }

    fn envelope_place(&self, beside: &ClearColumns) -> String {
        let ClearColumns {
            content,
            size_bytes,
            accepted_at,
        } = beside;
        format!("envelope {content:?} {size_bytes} {}", accepted_at.0)
    }

    fn seal(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let place = format!("dimed/1 {} {place}", self.message);
        self.key.seal(&mut rand::rng(), place.as_bytes(), plain)
    }

    fn open(&self, place: &str, sealed: &[u8], what: &'static str) -> Result<Vec<u8>, Error> {
        let place = format!("dimed/1 {} {place}", self.message);
        self.key
            .open(place.as_bytes(), sealed)
            .map_err(|_| Error::Unreadable(what))
    }
}

/// | Size | Content |
/// |---|---|
/// | 1 | 1 if SMTPUTF8 was declared, plus 2 if the body has octets above 127, plus 4 if the message must go as D/MIME, plus 8 if SMTP needs verified TLS, or 16 if it need not mind policies about TLS, plus 32 times how often it was sealed again |
/// | 2 + n | reverse-path; empty if null |
/// | 1 | source: 0 local, 1 submission, 2 SMTP, 3 DMTP, 4 a domain of ours, 5 a host that need not log in |
/// | 2 + n | submission: the mailbox; DMTP, a domain of ours: the domain; a host: the domain of ours that From names, if it does; else empty |
///
/// Only if the sender asked for something (RFC 3461):
///
/// | Size | Content |
/// |---|---|
/// | 1 | RET: 0 not given, 1 FULL, 2 HDRS |
/// | 2 + n | ENVID as it is written, empty if not given |
///
/// Only if it took time to come in:
///
/// | Size | Content |
/// |---|---|
/// | 1 | 128 |
/// | 4 | milliseconds |
fn encode_envelope(envelope: &Envelope) -> Vec<u8> {
    let (source, name) = match &envelope.source {
        Source::Local => (0, String::new()),
        Source::Submission(mailbox) => (1, mailbox.to_string()),
        Source::Smtp => (2, String::new()),
        Source::Dmtp(domain) => (3, domain.to_string()),
        Source::Domain(domain) => (4, domain.to_string()),
        Source::Trusted(None) => (5, String::new()),
        Source::Trusted(Some(domain)) => (5, domain.to_string()),
    };
    let mut out = vec![flags(envelope)];
    put_text(&mut out, &envelope.reverse_path.to_string());
    out.push(source);
    put_text(&mut out, &name);
    if envelope.request != MessageRequest::default() {
        put_request(&mut out, &envelope.request);
    }
    if envelope.received_in_ms != 0 {
        out.push(RECEIVED_IN);
        out.extend_from_slice(&envelope.received_in_ms.to_be_bytes());
    }
    out
}

fn decode_envelope(plain: &[u8]) -> Option<Envelope> {
    let mut reader = Reader::new(plain);
    let flags = reader.u8().ok()?;
    let demand = demand(flags)?;
    let reverse_path = match take_text(&mut reader)? {
        "" => ReversePath::NULL,
        text => ReversePath(Some(Mailbox::parse(text).ok()?)),
    };
    let source = match (reader.u8().ok()?, take_text(&mut reader)?) {
        (0, "") => Source::Local,
        (1, name) => Source::Submission(Mailbox::parse(name).ok()?),
        (2, "") => Source::Smtp,
        (3, name) => Source::Dmtp(Domain::parse(name).ok()?),
        (4, name) => Source::Domain(Domain::parse(name).ok()?),
        (5, "") => Source::Trusted(None),
        (5, name) => Source::Trusted(Some(Domain::parse(name).ok()?)),
        _ => return None,
    };
    let request = match reader.is_empty() || is_received_in(&reader) {
        true => MessageRequest::default(),
        false => take_request(&mut reader)?,
    };
    let received_in_ms = match reader.is_empty() {
        true => 0,
        false => take_received_in(&mut reader)?,
    };
    reader.finish().ok()?;
    Some(Envelope {
        reverse_path,
        source,
        smtputf8: flags & 1 != 0,
        eight_bit: flags & 2 != 0,
        demand,
        resealed: flags >> RESEALED_SHIFT,
        received_in_ms,
        request,
    })
}

/// Before the time that a message took to come in. What else may stand there begins with a smaller number.
const RECEIVED_IN: u8 = 128;

/// Whether that is next. Readers are cheap to copy.
fn is_received_in(reader: &Reader<'_>) -> bool {
    let mut ahead = *reader;
    ahead.u8() == Ok(RECEIVED_IN)
}

/// `None` also for no time at all, which is not written.
fn take_received_in(reader: &mut Reader<'_>) -> Option<u32> {
    if reader.u8().ok()? != RECEIVED_IN {
        return None;
    }
    reader.u32().ok().filter(|millis| *millis != 0)
}

fn put_request(out: &mut Vec<u8>, request: &MessageRequest) {
    out.push(match request.ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    });
    let envelope_id = request.envelope_id.as_ref().map(EnvelopeId::to_value);
    put_text(out, &envelope_id.unwrap_or_default());
}

/// `None` also for one that asks for nothing.
fn take_request(reader: &mut Reader<'_>) -> Option<MessageRequest> {
    let ret = match reader.u8().ok()? {
        0 => None,
        1 => Some(Ret::Full),
        2 => Some(Ret::Headers),
        _ => return None,
    };
    let envelope_id = match take_text(reader)? {
        "" => None,
        text => Some(EnvelopeId::parse(text)?),
    };
    let request = MessageRequest { ret, envelope_id };
    (request != MessageRequest::default()).then_some(request)
}

/// The forward-path as text, and only if something is asked for, it was expanded, or it was named by another address:
///
/// | Size | Content |
/// |---|---|
/// | 1 | 0, which no forward-path has |
/// | 1 | NOTIFY: 0 not given, 1 NEVER, else 2, plus 4 for SUCCESS, plus 8 for FAILURE, plus 16 for DELAY; plus 32 if it was expanded, plus 64 if it was named by another address |
/// | n | ORCPT as it is written in ASCII, empty if not given |
/// | 1 | 0, if it was named by another address |
/// | n | that address, if it was |
fn encode_addressee(addressee: &Addressee) -> Vec<u8> {
    let mut out = addressee.path.to_string().into_bytes();
    let RecipientRequest { notify, original } = &addressee.request;
    let flags =
        notify_flags(*notify) | u8::from(addressee.expanded) << 5 | u8::from(addressee.named.is_some()) << 6;
    if flags != 0 || original.is_some() {
        out.extend_from_slice(&[0, flags]);
        let original = original.as_ref().map(OriginalRecipient::to_value);
        out.extend_from_slice(original.unwrap_or_default().as_bytes());
    }
    if let Some(named) = &addressee.named {
        out.push(0);
        out.extend_from_slice(named.to_string().as_bytes());
    }
    out
}

fn decode_addressee(plain: &[u8]) -> Option<Addressee> {
    let end = memchr::memchr(0, plain).unwrap_or(plain.len());
    let (path, asked) = plain.split_at(end);
    let path = Recipient::parse(std::str::from_utf8(path).ok()?)?;
    let Some((flags, original)) = asked.get(1..).and_then(<[u8]>::split_first) else {
        return asked.is_empty().then(|| path.into());
    };
    let (original, named) = match flags & 64 {
        0 => (original, None),
        _ => {
            let (original, named) = original.split_at(memchr::memchr(0, original)?);
            let named = std::str::from_utf8(named.get(1..)?).ok()?;
            (original, Some(Mailbox::parse(named).ok()?))
        }
    };
    let original = match original {
        [] => None,
        text => Some(OriginalRecipient::parse(std::str::from_utf8(text).ok()?)?),
    };
    let notify = notify(flags & 31)?;
    let is_known = flags & !127 == 0 && (*flags != 0 || original.is_some());
    is_known.then_some(Addressee {
        path,
        request: RecipientRequest { notify, original },
        expanded: flags & 32 != 0,
        named,
    })
}

fn notify_flags(notify: Notify) -> u8 {
    match notify {
        Notify::Unsaid => 0,
        Notify::Never => 1,
        Notify::Of {
            success,
            failure,
            delay,
        } => 2 | u8::from(success) << 2 | u8::from(failure) << 3 | u8::from(delay) << 4,
    }
}

fn notify(flags: u8) -> Option<Notify> {
    match flags {
        0 => Some(Notify::Unsaid),
        1 => Some(Notify::Never),
        2 => None,
        some if some & 3 == 2 => Some(Notify::Of {
            success: some & 4 != 0,
            failure: some & 8 != 0,
            delay: some & 16 != 0,
        }),
        _ => None,
    }
}

/// Where the count of [`Envelope::resealed`] begins in the flags.
const RESEALED_SHIFT: u32 = 5;

fn flags(envelope: &Envelope) -> u8 {
    let tls = match envelope.demand.tls {
        TlsDemand::Policy => 0,
        TlsDemand::Required => 8,
        TlsDemand::Waived => 16,
    };
    u8::from(envelope.smtputf8)
        | u8::from(envelope.eight_bit) << 1
        | u8::from(envelope.demand.dime) << 2
        | tls
        | envelope.resealed.min(MAX_RESEALED) << RESEALED_SHIFT
}

/// `None` if flags are set that mean nothing, or contradict each other.
fn demand(flags: u8) -> Option<Demand> {
    if flags >> RESEALED_SHIFT > MAX_RESEALED {
        return None;
    }
    let tls = match flags & !7 & ((1 << RESEALED_SHIFT) - 1) {
        0 => TlsDemand::Policy,
        8 => TlsDemand::Required,
        16 => TlsDemand::Waived,
        _ => return None,
    };
    Some(Demand {
        dime: flags & 4 != 0,
        tls,
    })
}

fn decode_pin(plain: &[u8]) -> Option<Pin> {
    let mut reader = Reader::new(plain);
    let pin = Pin {
        signing_key: VerifyingKey(reader.array().ok()?),
        created: u64::from_be_bytes(reader.array().ok()?),
        ever_usable: reader.u8().ok()? != 0,
    };
    reader.finish().ok().map(|()| pin)
}

/// A mailbox is at most 384 octets (64 characters that each need a backslash, quotes, `@`, 253), so two octets of
/// length always suffice.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = reader.u16().ok()?;
    std::str::from_utf8(reader.take(usize::from(length)).ok()?).ok()
}

/// Everything that is kept of a policy. Domain, id and numbers have no line ends, and the text comes last.
fn sts_text(entry: &StsEntry) -> String {
    format!(
        "{}\n{}\n{}\n{}\n{}",
        entry.domain, entry.id, entry.fetched_at.0, entry.expires_at.0, entry.policy
    )
}

/// Everything a pin says. Domain and numbers have no line ends, and the record comes last.
fn domain_pin_text(pin: &DomainPin) -> String {
    format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        pin.domain, pin.secure, pin.first_seen_at.0, pin.refresh_at.0, pin.expires_at.0, pin.record
    )
}

#[cfg(test)]
mod tests;
