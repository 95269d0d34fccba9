//! Building and signing a zone.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::dnssec::crypto::{EcdsaSigningKey, Ed25519SigningKey, signing_key_from_der};
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_proto::dnssec::{Algorithm, DigestType, DnssecSigner, Nsec3HashAlgorithm, SigningKey};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordSet};
use hickory_proto::serialize::txt::Parser;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_server::dnssec::NxProofKind;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, ZoneType};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Error;
use crate::base::encoding::base64;
use crate::mail::address::Domain;

/// How long signatures last; a zone is signed anew whenever it is put into service.
const SIGNATURE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest character-string (RFC 1035 §3.3).
const STRING_OCTETS: usize = 255;

/// With what a zone is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8080).
    Ed25519,
    /// ECDSA with P-256 and SHA-256 (RFC 6605).
    EcdsaP256,
}

impl KeyKind {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Ed25519 => Algorithm::ED25519,
            Self::EcdsaP256 => Algorithm::ECDSAP256SHA256,
        }
    }
}

/// A zone under construction. Names are given relative to the zone: `""` is the zone itself, `"_dx"` a name in it.
#[derive(Clone)]
pub struct Zone {
    origin: Name,
    key: Option<(KeyKind, Arc<PrivateKeyDer<'static>>)>,
    denial: NxProofKind,
    ttl_secs: u32,
    records: Vec<(String, RData)>,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({}, {} records)", self.origin, self.records.len())
    }
}

impl Zone {
    /// A zone that is not signed.
    pub fn unsigned(domain: &Domain) -> Result<Self, Error> {
        let mut origin = Name::from_ascii(domain.as_str()).map_err(|error| failure(domain, error))?;
        origin.set_fqdn(true);
        Ok(Self {
            origin,
            key: None,
            denial: NxProofKind::Nsec,
            ttl_secs: 300,
            records: Vec::new(),
        })
    }

    /// A zone signed with a new key, with NSEC records.
    pub fn signed(domain: &Domain, kind: KeyKind) -> Result<Self, Error> {
        let der = match kind {
            KeyKind::Ed25519 => Ed25519SigningKey::generate_pkcs8(),
            KeyKind::EcdsaP256 => EcdsaSigningKey::generate_pkcs8(kind.algorithm()),
        };
        let der = der.map_err(|error| failure(domain, error))?;
        Self::signed_with_key(domain, kind, der.secret_pkcs8_der())
    }

    /// A zone signed with a key of yours, PKCS #8 in DER, so that its trust anchor outlives the process.
    pub fn signed_with_key(domain: &Domain, kind: KeyKind, pkcs8: &[u8]) -> Result<Self, Error> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.to_vec()));
        let mut zone = Self::unsigned(domain)?;
        zone.key = Some((kind, Arc::new(der)));
        // A key that cannot be used shows here, not when the zone is served.
        zone.signing_key()?;
        Ok(zone)
    }

    /// Denies with NSEC3 (RFC 5155) in place of NSEC: no salt and no further iterations (RFC 9276).
    pub fn with_nsec3(mut self, opt_out: bool) -> Self {
        self.denial = NxProofKind::Nsec3 {
            algorithm: Nsec3HashAlgorithm::SHA1,
            salt: Arc::new([]),
            iterations: 0,
            opt_out,
        };
        self
    }

    /// Sets the TTL of all records; 300 s without.
    pub fn with_ttl(mut self, ttl_secs: u32) -> Self {
        self.ttl_secs = ttl_secs;
        self
    }

    /// Adds a TLSA record for `port` over TCP of a host: usage, selector, matching type, and what must match.
    pub fn tlsa(mut self, name: &str, port: u16, [usage, selector, matching]: [u8; 3], data: &[u8]) -> Self {
        let owner = match name {
            "" => format!("_{port}._tcp"),
            name => format!("_{port}._tcp.{name}"),
        };
        let record = TLSA::new(usage.into(), selector.into(), matching.into(), data.to_vec());
        self.add(&owner, RData::TLSA(record));
        self
    }

    /// Adds a TXT record, cut into character-strings of 255 octets.
    pub fn txt(mut self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let strings = text.as_ref().chunks(STRING_OCTETS).collect();
        self.add(name, RData::TXT(TXT::from_bytes(strings)));
        self
    }

    /// Adds an MX record.
    pub fn mx(mut self, name: &str, preference: u16, host: &Domain) -> Self {
        let mx = RData::MX(MX::new(preference, absolute(host)));
        self.add(name, mx);
        self
    }

    /// Adds the null MX (RFC 7505).
    pub fn null_mx(mut self, name: &str) -> Self {
        self.add(name, RData::MX(MX::new(0, Name::root())));
        self
    }

    /// Adds an A or AAAA record.
    pub fn address(mut self, name: &str, address: IpAddr) -> Self {
        let data = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.add(name, data);
        self
    }

    /// Adds a CNAME record.
    pub fn cname(mut self, name: &str, target: &Domain) -> Self {
        self.add(name, RData::CNAME(CNAME(absolute(target))));
        self
    }

    /// Delegates `name` without DS records: what lies below is proven to be unsigned.
    pub fn delegate_unsigned(mut self, name: &str, server: &Domain) -> Self {
        self.add(name, RData::NS(NS(absolute(server))));
        self
    }

    /// Delegates `name` to a signed zone; a `child` without a key is delegated as unsigned.
    pub fn delegate(mut self, name: &str, child: &Self, server: &Domain) -> Result<Self, Error> {
        if let Some(key) = child.dnskey()? {
            let digest = DS::from_key(key.public_key(), &child.origin, DigestType::SHA256);
            let digest = digest.map_err(|error| self.failure(error))?;
            self.add(name, RData::DNSSEC(DNSSECRData::DS(digest)));
        }
        Ok(self.delegate_unsigned(name, server))
    }

    /// Adds the records of zone-file lines, `dimed dns records` and the like. All get the TTL of the zone.
    pub fn with_text(mut self, text: &str) -> Result<Self, Error> {
        let (_, sets) = Parser::new(text, None, Some(self.origin.clone()))
            .parse()
            .map_err(|error| self.failure(error))?;
        for record in sets.values().flat_map(RecordSet::records_without_rrsigs) {
            let relative = self.relative(&record.name)?;
            self.add(&relative, record.data.clone());
        }
        Ok(self)
    }

    /// Takes the records of a name away, to put others in their place.
    pub fn remove(mut self, name: &str) -> Self {
        self.records.retain(|(owner, _)| owner != name);
        self
    }

    /// The DNSKEY record as a line of a zone file; `None` for an unsigned zone.
    pub fn trust_anchor(&self) -> Result<Option<String>, Error> {
        let line = |key: DNSKEY| {
            let algorithm = u8::from(hickory_proto::dnssec::PublicKey::algorithm(key.public_key()));
            let octets = base64(hickory_proto::dnssec::PublicKey::public_bytes(key.public_key()));
            format!(
                "{} {} IN DNSKEY {} 3 {algorithm} {octets}\n",
                self.origin,
                self.ttl_secs,
                key.flags()
            )
        };
        Ok(self.dnskey()?.map(line))
    }

    pub(super) fn name(&self) -> LowerName {
        LowerName::new(&self.origin)
    }

    /// The zone with SOA, NS, keys, denials and signatures, ready to be served.
    pub(super) fn sign(&self) -> Result<InMemoryZoneHandler<TokioRuntimeProvider>, Error> {
        let denial = self.key.is_some().then(|| self.denial.clone());
        let mut zone =
            InMemoryZoneHandler::empty(self.origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, denial);
        for record in self.all_records()? {
            if !zone.upsert_mut(record, 0) {
                return Err(self.failure("a record does not fit in"));
            }
        }
        if let Some(key) = self.signing_key()? {
            let dnskey = self.dnskey_of(&*key)?;
            let signer = DnssecSigner::new(dnskey, key, self.origin.clone(), SIGNATURE_LIFE);
            zone.add_zone_signing_key_mut(signer)
                .map_err(|error| self.failure(error))?;
            zone.secure_zone_mut().map_err(|error| self.failure(error))?;
        }
        Ok(zone)
    }

    fn all_records(&self) -> Result<Vec<Record>, Error> {
        let server = self.owner("ns")?;
        let contact = self.owner("hostmaster")?;
        let soa = SOA::new(server.clone(), contact, 1, 3600, 600, 86400, self.ttl_secs);
        let apex = [RData::SOA(soa), RData::NS(NS(server))];
        let mut records: Vec<Record> = apex
            .into_iter()
            .map(|data| Record::from_rdata(self.origin.clone(), self.ttl_secs, data))
            .collect();
        for (name, data) in &self.records {
            records.push(Record::from_rdata(self.owner(name)?, self.ttl_secs, data.clone()));
        }
        Ok(records)
    }

    fn owner(&self, relative: &str) -> Result<Name, Error> {
        if relative.is_empty() {
            return Ok(self.origin.clone());
        }
        let mut name = Name::from_ascii(relative).map_err(|error| self.failure(error))?;
        name.set_fqdn(false);
        name.append_domain(&self.origin)
            .map_err(|error| self.failure(error))
    }

    fn relative(&self, name: &Name) -> Result<String, Error> {
        if !self.origin.zone_of(name) {
            return Err(self.failure("a name lies outside"));
        }
        let labels = name
            .iter()
            .take(usize::from(name.num_labels() - self.origin.num_labels()));
        let relative = Name::from_labels(labels).map_err(|error| self.failure(error))?;
        Ok(relative.to_ascii().trim_end_matches('.').to_owned())
    }

    fn signing_key(&self) -> Result<Option<Box<dyn SigningKey>>, Error> {
        let Some((kind, der)) = &self.key else {
            return Ok(None);
        };
        let key = signing_key_from_der(der, kind.algorithm());
        key.map(Some).map_err(|error| self.failure(error))
    }

    fn dnskey(&self) -> Result<Option<DNSKEY>, Error> {
        self.signing_key()?.map(|key| self.dnskey_of(&*key)).transpose()
    }

    fn dnskey_of(&self, key: &dyn SigningKey) -> Result<DNSKEY, Error> {
        let public = key.to_public_key().map_err(|error| self.failure(error))?;
        Ok(DNSKEY::from_key(&public))
    }

    fn add(&mut self, name: &str, data: RData) {
        self.records.push((name.to_owned(), data));
    }

    fn failure(&self, reason: impl fmt::Display) -> Error {
        failure(&self.origin, reason)
    }
}

fn failure(zone: impl fmt::Display, reason: impl fmt::Display) -> Error {
    Error::Zone {
        zone: zone.to_string(),
        reason: reason.to_string(),
    }
}

/// A [`Domain`] is always a name: at most 253 octets in labels of at most 63.
fn absolute(host: &Domain) -> Name {
    let mut name = Name::from_ascii(host.as_str()).unwrap_or_default();
    name.set_fqdn(true);
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn zone() -> Zone {
        Zone::unsigned(&"plain.test".parse().unwrap()).unwrap()
    }

    #[test]
    fn reads_the_lines_of_a_zone_file() {
        let text = "plain.test. 3600 IN MX 10 mx.plain.test.\n\
                    mx.plain.test. 3600 IN A 127.0.0.4\n\
                    _dx.plain.test. 3600 IN TXT \"ver=1 \" \"pok\\\"\"\n";
        let mut read = zone().with_text(text).unwrap().records;
        read.sort_by(|one, other| one.0.cmp(&other.0));
        let built = zone()
            .mx("", 10, &"mx.plain.test".parse().unwrap())
            .address("mx", "127.0.0.4".parse().unwrap());
        let strings = vec![&b"ver=1 "[..], b"pok\""];
        assert_eq!(read[0], built.records[0]);
        assert_eq!(read[1], ("_dx".into(), RData::TXT(TXT::from_bytes(strings))));
        assert_eq!(read[2], built.records[1]);
    }

    #[test]
    fn refuses_names_outside_the_zone_and_what_is_no_record() {
        for bad in [
            "mx.other.test. 3600 IN A 127.0.0.4\n",
            "plain.test. 3600 IN A x\n",
        ] {
            assert!(zone().with_text(bad).is_err(), "{bad}");
        }
    }
}
