//! Records that a zone's owner could sign, and no decent server would.

use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::dnssec::crypto::Ed25519SigningKey;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
use hickory_proto::dnssec::{Algorithm, SigningKey, TBS};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber};
use rustls_pki_types::PrivatePkcs8KeyDer;

const TTL_SECS: u32 = 300;

/// An Ed25519 key, PKCS #8 in DER.
pub fn new_key() -> Vec<u8> {
    let der = Ed25519SigningKey::generate_pkcs8().unwrap();
    der.secret_pkcs8_der().to_vec()
}

/// An NSEC record from `owner` to `next` with a good signature by `zone`.
pub fn denial(pkcs8: &[u8], zone: &str, owner: &str, next: &str) -> Vec<Record> {
    let key = Ed25519SigningKey::from_pkcs8(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    let nsec = NSEC::new(name(next), [RecordType::A, RecordType::NSEC, RecordType::RRSIG]);
    let record = Record::from_rdata(name(owner), TTL_SECS, RData::DNSSEC(DNSSECRData::NSEC(nsec)));
    let input = signature_input(&key, zone, &record);
    let signed = TBS::from_input(&record.name, DNSClass::IN, &input, [&record].into_iter()).unwrap();
    let rrsig = RRSIG::from_sig(input, key.sign(&signed).unwrap());
    let signature = Record::from_rdata(name(owner), TTL_SECS, RData::DNSSEC(DNSSECRData::RRSIG(rrsig)));
    vec![record, signature]
}

fn signature_input(key: &Ed25519SigningKey, zone: &str, record: &Record) -> SigInput {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
    SigInput {
        type_covered: RecordType::NSEC,
        algorithm: Algorithm::ED25519,
        num_labels: record.name.num_labels(),
        original_ttl: TTL_SECS,
        sig_expiration: SerialNumber::new(now + 3600),
        sig_inception: SerialNumber::new(now - 3600),
        key_tag: DNSKEY::from_key(&key.to_public_key().unwrap())
            .calculate_key_tag()
            .unwrap(),
        signer_name: name(zone),
    }
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}
