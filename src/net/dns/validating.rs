//! DNSSEC validation in process.
//!
//! hickory's validator proves answers; its verdict *secure* is taken as it stands. Everything else is settled here,
//! because it reports fetch failures as bogus, knows no anchors below the root whose zone has several keys, and accepts
//! denials by foreign zones and refuses some wildcards: from the closest anchor down, each possible zone cut is shown to be signed, unsigned or
//! none (`Session::standing`), and denials count only if the zone that the name lies in has signed them.
//!
//! Deviation: a zone whose keys are all named by DS records of its parent need not sign them (RFC 4035 §5.2 asks for it).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData};
use hickory_proto::dnssec::{self, Proof as Verdict};
use hickory_proto::op::{DnsRequestOptions, DnsResponse, Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::xfer::FirstAnswer;
use hickory_resolver::net::{DnsError, DnsHandle, NetError};

use super::anchors;
use super::answer::{self, Ask, Step};
use super::denial::{self, Cut};
use super::dname::Redirection;
use super::upstream::{UDP_PAYLOAD_OCTETS, Upstream, from_wildcard};
use super::{Family, Host, Lookup, Mx, NameServers, Proof, Resolver, SelfTest, Srv, Tlsa, TrustAnchors};
use crate::mail::address::Domain;

/// How long the keys of an anchored zone are kept at most.
const MAX_KEY_AGE: Duration = Duration::from_secs(3600);

/// Asks name servers and validates what they say.
pub struct HickoryResolver {
    servers: NameServers,
    anchors: TrustAnchors,
    keys: Mutex<HashMap<Name, (Instant, Arc<dnssec::TrustAnchors>)>>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Bogus,
    Failed,
}

/// Whether the zone that a name lies in is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// By the chain of trust; the zone's name.
    Signed(Name),
    /// It lies in or below a zone proven to be unsigned.
    Unsigned,
    /// It, or a name above it, is proven not to exist, so that it has no zone (RFC 8020).
    NoSuchName,
    /// A signed zone has a DNAME record above it, so that it is an alias.
    Redirected(Redirection),
}

/// One lookup: the servers, and the anchor that counts.
struct Session {
    upstream: Upstream,
    anchor: Name,
    validator: DnssecDnsHandle<Upstream>,
}

impl HickoryResolver {
    /// Asks `servers` and trusts `anchors`. A name below no anchor is indeterminate, which is a failure.
    pub fn new(servers: impl Into<NameServers>, anchors: TrustAnchors) -> Self {
        Self {
            servers: servers.into(),
            anchors,
            keys: Mutex::new(HashMap::new()),
        }
    }

    async fn session(&self, name: &Name) -> Result<Session, Trouble> {
        let anchor = self.anchors.closest(name).ok_or(Trouble::Failed)?;
        let upstream = Upstream::new(self.servers.current(), true);
        let keys = match self.known_keys(&anchor) {
            Some(keys) => keys,
            None => self.fetch_keys(&upstream, &anchor).await?,
        };
        Ok(Session {
            validator: DnssecDnsHandle::with_trust_anchor(upstream.clone(), keys),
            upstream,
            anchor,
        })
    }

    fn known_keys(&self, zone: &Name) -> Option<Arc<dnssec::TrustAnchors>> {
        let keys = self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (until, keys) = keys.get(zone)?;
        (Instant::now() < *until).then(|| keys.clone())
    }

    /// Fetches the keys of an anchored zone and checks them against the anchor.
    async fn fetch_keys(
        &self,
        upstream: &Upstream,
        zone: &Name,
    ) -> Result<Arc<dnssec::TrustAnchors>, Trouble> {
        let question = dnssec_question(zone, RecordType::DNSKEY);
        let response = upstream.ask(question).await.map_err(|_| Trouble::Failed)?;
        let found = self.anchors.keys(zone, &response.answers, unix_secs());
        let (keys, ttl_secs) = found.ok_or(Trouble::Bogus)?;
        let keys = Arc::new(trusted(zone, &keys));
        let until = Instant::now() + Duration::from_secs(u64::from(ttl_secs)).min(MAX_KEY_AGE);
        let mut known = self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.insert(zone.clone(), (until, keys.clone()));
        Ok(keys)
    }

    /// Whether the keys of an anchored zone can be had and verified, and what it denies.
    async fn test_anchor(&self, zone: &Name) -> SelfTest {
        let upstream = Upstream::new(self.servers.current(), true);
        let Ok(response) = upstream.ask(dnssec_question(zone, RecordType::DNSKEY)).await else {
            return SelfTest::Unreachable;
        };
        let verified = |now| self.anchors.keys(zone, &response.answers, now).is_some();
        let mut signed_at = response.answers.iter().filter_map(anchors::rrsig).peekable();
        if signed_at.peek().is_none() {
            return SelfTest::Strips;
        }
        if !verified(unix_secs()) {
            return match signed_at.any(|rrsig| verified(rrsig.input().sig_inception.get())) {
                true => SelfTest::Clock,
                false => SelfTest::WrongAnchor,
            };
        }
        // Whether it has such records or denies them, it takes signatures to show it.
        match self.step(zone, RecordType::TXT).await {
            Step::Records { .. } | Step::Absent(_) => SelfTest::Passed,
            Step::Bogus => SelfTest::Strips,
            Step::Failed => SelfTest::Unreachable,
        }
    }

    async fn try_step(&self, name: &Name, kind: RecordType) -> Result<Step, Trouble> {
        let session = self.session(name).await?;
        match session.verified(name, kind).await {
            Ok(response) => session.settle((name, kind), response, Verdict::Secure).await,
            Err(NetError::Dns(DnsError::Nsec { response, proof, .. })) => {
                session.settle((name, kind), *response, proof).await
            }
            Err(_) => Err(Trouble::Failed),
        }
    }
}

impl Session {
    /// Asks through hickory's validator, which marks every record with its verdict.
    async fn verified(&self, name: &Name, kind: RecordType) -> Result<DnsResponse, NetError> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_set_dnssec_ok = true;
        options.edns_payload_len = UDP_PAYLOAD_OCTETS;
        let query = Query::query(name.clone(), kind);
        self.validator.lookup(query, options).first_answer().await
    }

    /// Gives a response its meaning. `denials` is what hickory makes of its NSEC and NSEC3 records, if there are any.
    async fn settle(
        &self,
        (name, kind): (&Name, RecordType),
        response: DnsResponse,
        denials: Verdict,
    ) -> Result<Step, Trouble> {
        let records = without_signatures(&response.answers);
        let signed = !records.is_empty() && records.iter().all(|record| record.proof == Verdict::Secure);
        let proven = || {
            denials == Verdict::Secure
                || denial::proves_wildcard(name, &response.answers, &response.authorities)
        };
        if signed && proven() {
            return Ok(found(records, Proof::Secure));
        }
        match (self.standing(name).await?, records.is_empty()) {
            (Standing::Unsigned, false) => Ok(found(records, Proof::Insecure)),
            (Standing::Unsigned, true) => Ok(Step::Absent(Proof::Insecure)),
            (Standing::NoSuchName, true) => Ok(Step::Absent(Proof::Secure)),
            (Standing::Signed(apex), true) if denial::is_by(&apex, &response.authorities) => match denials {
                Verdict::Secure => Ok(Step::Absent(Proof::Secure)),
                // NSEC3 opt-out, or more iterations than anyone should use (RFC 9276 §3.2).
                Verdict::Insecure => Ok(Step::Absent(Proof::Insecure)),
                _ if denial::lacks(name, kind, &apex, &response.authorities) => {
                    Ok(Step::Absent(Proof::Secure))
                }
                _ => Err(self.bogus()),
            },
            (Standing::Redirected(dname), _) => match dname.alias(name) {
                Some(alias) => Ok(found(vec![alias], Proof::Secure)),
                None => Err(self.bogus()),
            },
            (Standing::Signed(_) | Standing::NoSuchName, _) => Err(self.bogus()),
        }
    }

    /// Walks down from the anchor and shows at each label whether a zone begins there, and whether it is signed.
    async fn standing(&self, name: &Name) -> Result<Standing, Trouble> {
        let mut apex = self.anchor.clone();
        for labels in apex.num_labels() + 1..=name.num_labels() {
            let label = name.trim_to(usize::from(labels));
            match self.delegation(&apex, &label).await? {
                Delegation::Signed => apex = label,
                Delegation::Unsigned => return Ok(Standing::Unsigned),
                Delegation::NoSuchName => return Ok(Standing::NoSuchName),
                Delegation::Redirected(dname) => return Ok(Standing::Redirected(dname)),
                Delegation::NoneAtOrBelow => break,
                Delegation::None => {}
            }
        }
        Ok(Standing::Signed(apex))
    }

    /// Whether a zone begins at `name`, by the word of the zone `apex` above.
    async fn delegation(&self, apex: &Name, name: &Name) -> Result<Delegation, Trouble> {
        let (response, denials) = match self.verified(name, RecordType::DS).await {
            Ok(response) => (response, Verdict::Secure),
            Err(NetError::Dns(DnsError::Nsec { response, proof, .. })) => (*response, proof),
            Err(_) => return Err(Trouble::Failed),
        };
        let records = without_signatures(&response.answers);
        if let Some(first) = records.first() {
            let proven = records.iter().all(|record| record.proof == Verdict::Secure)
                && denial::signer(first, &response.answers) == Some(apex);
            return match (proven, first.record_type()) {
                (true, _) => Ok(delegation_by(&records)),
                (false, RecordType::CNAME) => self.redirection(apex, &name.base_name()).await,
                (false, _) => Err(self.bogus()),
            };
        }
        let absent = denials == Verdict::Secure && response.metadata.response_code == ResponseCode::NXDomain;
        match denial::cut_at(name, apex, &response.authorities) {
            Some(Cut::Unsigned) => Ok(Delegation::Unsigned),
            Some(Cut::NoName) if absent && denial::is_by(apex, &response.authorities) => {
                Ok(Delegation::NoSuchName)
            }
            Some(Cut::NoName) => Ok(Delegation::NoneAtOrBelow),
            Some(Cut::None) => Ok(Delegation::None),
            None => Err(self.bogus()),
        }
    }

    /// An unsigned alias is right if it is made from a DNAME record. Those further above have been found on the way down.
    async fn redirection(&self, apex: &Name, owner: &Name) -> Result<Delegation, Trouble> {
        let response = match self.verified(owner, RecordType::DNAME).await {
            Ok(response) => response,
            Err(NetError::Dns(DnsError::Nsec { .. })) => return Err(self.bogus()),
            Err(_) => return Err(Trouble::Failed),
        };
        let answers = &response.answers;
        let of_zone = |record: &&Record| {
            record.proof == Verdict::Secure && denial::signer(record, answers) == Some(apex)
        };
        let mut found = answers.iter().filter(of_zone).filter_map(Redirection::read);
        match (found.next(), found.next(), answers.iter().any(from_wildcard)) {
            (Some(dname), None, false) => Ok(Delegation::Redirected(dname)),
            _ => Err(self.bogus()),
        }
    }

    /// Not proven, but if something could not be fetched on the way, that may be why.
    fn bogus(&self) -> Trouble {
        match self.upstream.has_failed() {
            true => Trouble::Failed,
            false => Trouble::Bogus,
        }
    }
}

/// What begins at a name.
enum Delegation {
    /// A signed zone.
    Signed,
    /// An unsigned zone.
    Unsigned,
    /// Nothing, nor below, though a wildcard may stand in for the name.
    NoneAtOrBelow,
    /// Nothing, nor below, and the name does not exist.
    NoSuchName,
    /// Nothing: a DNAME record stands right above.
    Redirected(Redirection),
    /// Nothing.
    None,
}

/// Reads proven DS records; a CNAME in their place shows that no zone begins there. A zone signed only by
/// algorithms that we do not know counts as unsigned (RFC 4035 §5.2).
fn delegation_by(records: &[Record]) -> Delegation {
    let digests: Vec<bool> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::DS(ds)) => {
                Some(ds.algorithm().is_supported() && ds.digest_type().is_supported())
            }
            _ => None,
        })
        .collect();
    match (digests.is_empty(), digests.contains(&true)) {
        (true, _) => Delegation::None,
        (false, true) => Delegation::Signed,
        (false, false) => Delegation::Unsigned,
    }
}

fn found(records: Vec<Record>, proof: Proof) -> Step {
    Step::Records { records, proof }
}

fn without_signatures(section: &[Record]) -> Vec<Record> {
    let records = section
        .iter()
        .filter(|record| record.record_type() != RecordType::RRSIG);
    records.cloned().collect()
}

fn trusted(zone: &Name, keys: &[DNSKEY]) -> dnssec::TrustAnchors {
    let mut anchors = dnssec::TrustAnchors::empty();
    for key in keys {
        anchors.insert_with_name(key.public_key(), LowerName::new(zone));
    }
    anchors
}

fn dnssec_question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD_OCTETS);
    edns.set_dnssec_ok(true);
    message.set_edns(edns);
    message
}

/// Signature times are compared modulo 2³² (RFC 4034 §3.1.5).
fn unix_secs() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as u32
}

#[async_trait]
impl Ask for HickoryResolver {
    async fn step(&self, name: &Name, kind: RecordType) -> Step {
        match self.try_step(name, kind).await {
            Ok(step) => step,
            Err(Trouble::Bogus) => Step::Bogus,
            Err(Trouble::Failed) => Step::Failed,
        }
    }

    fn total_timeout(&self) -> Duration {
        self.servers.current().total_timeout
    }
}

#[async_trait]
impl Resolver for HickoryResolver {
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        answer::txt(self, name).await
    }

    async fn mx(&self, domain: &Domain) -> Lookup<Vec<Mx>> {
        answer::mx(self, domain).await
    }

    async fn addresses(&self, host: &Domain) -> Lookup<Vec<std::net::IpAddr>> {
        answer::addresses(self, host).await
    }

    async fn addresses_at(&self, name: &str, family: Family) -> Lookup<Vec<std::net::IpAddr>> {
        answer::addresses_at(self, name, family).await
    }

    async fn names(&self, address: std::net::IpAddr) -> Lookup<Vec<Domain>> {
        answer::names(self, address).await
    }

    async fn host(&self, host: &Domain) -> Lookup<Host> {
        answer::located_host(self, host).await
    }

    async fn srv(&self, name: &str) -> Lookup<Vec<Srv>> {
        answer::srv(self, name).await
    }

    async fn tlsa(&self, name: &str) -> Lookup<Vec<Tlsa>> {
        answer::tlsa(self, name).await
    }

    async fn self_test(&self) -> SelfTest {
        for zone in self.anchors.zones() {
            match self.test_anchor(&zone).await {
                SelfTest::Passed => {}
                failed => return failed,
            }
        }
        SelfTest::Passed
    }
}
