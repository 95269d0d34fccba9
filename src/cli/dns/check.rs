//! What DNS says against what it should say, record by record.

use futures_util::future::join_all;

use super::certificate::Certificates;
use super::records::{Data, Line, Wanted, mx_item, srv_item, tlsa_item};
use crate::cli::Exit;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::record::{self, MAX_RECORD_OCTETS, ManagementRecord};
use crate::mail::address::Domain;
use crate::net::dns::{Lookup, Proof, Resolver, SelfTest};
use crate::signet_service::LONGEST_TTL;

/// Days before the end of a certificate from which on its successor should be published.
const NOTICE_DAYS: i64 = 14;
const DAY_SECS: i64 = 24 * 3600;
/// What findings about the addresses of a host are called.
pub const ADDRESSES: &str = "A/AAAA";
/// Texts that are shown at most; there may be any number at a domain's own name.
const MAX_SHOWN: usize = 16;

/// Something that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// There is none.
    Missing,
    /// It says something else.
    Differs,
    /// There is more than one record where there must be one.
    Several,
    /// It has a key of ours that is out of use.
    FormerKey,
    /// It is not a management record.
    Unparsable(record::Error),
    /// There is a management record though the domain has no DIME, or is leaving it.
    Leftover,
    /// It fails DNSSEC validation.
    Bogus,
    /// It cannot be looked up now.
    Failed,
    /// DNSSEC does not vouch for it.
    Unsigned,
    /// It lets others forget it at its TTL.
    NoExpiry,
    /// A TTL of zero, which some take for "for ever".
    ZeroTtl,
    /// It does not vouch for the certificate in use.
    CertificateNotCovered,
    /// It does not vouch for the next certificate.
    NextNotCovered,
    /// The certificate has ended.
    CertificateEnded,
    /// The certificate ends soon, and no other is vouched for.
    CertificateEnds,
    /// It may be kept for longer than the certificate lasts, and no other is vouched for.
    TtlOutlivesCertificate,
    /// It may be kept for longer than a change of keys waits.
    TtlOutlivesRotation,
    /// Web servers do not have it.
    NotServed,
}

impl Problem {
    /// A word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Several => "several",
            Self::FormerKey => "former_key",
            Self::Unparsable(_) => "unparsable",
            Self::Leftover => "leftover",
            Self::Bogus => "bogus",
            Self::Failed => "lookup_failed",
            Self::Unsigned => "unsigned",
            Self::NoExpiry => "no_expiry",
            Self::ZeroTtl => "zero_ttl",
            Self::CertificateNotCovered => "certificate_not_covered",
            Self::NextNotCovered => "next_certificate_not_covered",
            Self::CertificateEnded => "certificate_ended",
            Self::CertificateEnds => "certificate_ends",
            Self::TtlOutlivesCertificate => "ttl_outlives_certificate",
            Self::TtlOutlivesRotation => "ttl_outlives_rotation",
            Self::NotServed => "not_served",
        }
    }

    /// For people.
    pub fn sentence(self) -> String {
        let text = match self {
            Self::Missing => "missing",
            Self::Differs => "differs",
            Self::Several => "more than one record, and others believe none",
            Self::FormerKey => "right, but for a key of ours that is out of use: it may be taken out",
            Self::Unparsable(error) => return format!("not a management record: {error}"),
            Self::Leftover => "to be removed: the domain has no DIME, and others may hold its mail",
            Self::Bogus => "fails DNSSEC validation: the zone is broken, or somebody interferes",
            Self::Failed => "could not be looked up",
            Self::Unsigned => {
                "unsigned: whoever can forge DNS can replace it; sign the zone, and have its DS record in the zone above"
            }
            Self::NoExpiry => "without expiry: what others know of the keys is forgotten at the TTL",
            Self::ZeroTtl => "the TTL is 0, and some clients then keep it for ever",
            Self::CertificateNotCovered => "does not vouch for the certificate in use: DMTP peers refuse it",
            Self::NextNotCovered => {
                "about to break: the next certificate is not covered; publish, and wait for the TTL before it is used"
            }
            Self::CertificateEnded => "the certificate in use has ended: DMTP peers refuse it",
            Self::CertificateEnds => {
                "about to break: the certificate ends within two weeks, and no other is covered (tls.next_certificate)"
            }
            Self::TtlOutlivesCertificate => {
                "about to break: the record may be kept longer than the certificate lasts, and no other is covered"
            }
            Self::TtlOutlivesRotation => {
                "about to break: the record may be kept for more than the seven days for which a change of keys waits"
            }
            Self::NotServed => "the policy cannot be fetched, and who does not know it goes without",
        };
        text.into()
    }

    /// Whether publishing what `dns records` prints mends it.
    pub fn is_mended_by_publishing(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Differs | Self::Several | Self::Unparsable(_)
        )
    }
}

/// What was found at one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name.
    pub owner: String,
    /// The type.
    pub kind: &'static str,
    /// What is wrong, and whether it counts for the exit code.
    pub problems: Vec<(Problem, bool)>,
    /// What should be there and is not; for texts, word by word.
    pub lacking: Vec<String>,
    /// What is there and should not be.
    pub excess: Vec<String>,
    /// Seconds that it may be kept; of an answer from a cache, what is left of them.
    pub ttl_secs: Option<u64>,
    /// Whether DNSSEC vouches for it, or for its absence.
    pub secure: Option<bool>,
}

/// Everything about one domain.
pub struct Checked {
    /// Whether the name servers can be relied on.
    pub self_test: SelfTest,
    /// In the order of the zone file.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// 1 if something that counts is wrong, 75 if that cannot be said.
    ///
    /// Behind name servers that allow nothing to be proven, nothing can be said about the zone.
    pub fn exit(&self) -> Exit {
        if self.self_test != SelfTest::Passed {
            return Exit::TryLater;
        }
        let counting = |wanted: &dyn Fn(Problem) -> bool| {
            self.findings
                .iter()
                .flat_map(|finding| &finding.problems)
                .any(|(problem, counts)| *counts && wanted(*problem))
        };
        match (
            counting(&|problem| problem != Problem::Failed),
            counting(&|problem| problem == Problem::Failed),
        ) {
            (true, _) => Exit::No,
            (false, true) => Exit::TryLater,
            (false, false) => Exit::Done,
        }
    }
}

/// What the records are about.
pub struct Surroundings<'a> {
    /// The certificates in use and to come.
    pub certificates: &'a Certificates,
    /// Unix time.
    pub now_secs: i64,
    /// Primary keys that the domain had, or was about to have.
    pub former_keys: Vec<VerifyingKey>,
}

/// Looks everything up, at the same time.
pub async fn all(
    resolver: &dyn Resolver,
    lines: &[Line],
    hosts: &[Domain],
    around: &Surroundings<'_>,
) -> Vec<Finding> {
    let wanted = lines.iter().filter_map(|line| match line {
        Line::Record(wanted) => Some(wanted),
        Line::Comment(_) => None,
    });
    let records = join_all(wanted.map(|wanted| one(resolver, wanted, around)));
    let addresses = join_all(hosts.iter().map(|host| address(resolver, host)));
    let (mut findings, addresses) = tokio::join!(records, addresses);
    findings.extend(addresses);
    findings
}

/// A management record of a domain that should have none.
pub async fn leftover(resolver: &dyn Resolver, domain: &Domain) -> Option<Finding> {
    let wanted = Wanted {
        owner: record::owner_name(domain),
        data: Data::Text(String::new()),
        purpose: "",
        needed: true,
    };
    let lookup = only(texts(resolver.txt(&wanted.owner).await), "ver=1");
    if let Lookup::Absent { .. } = lookup {
        return None;
    }
    let (mut finding, found) = Finding::of(&wanted, &lookup);
    if !found.is_empty() {
        finding.add(Problem::Leftover, true);
        finding.excess = found.to_vec();
    }
    Some(finding)
}

async fn one(resolver: &dyn Resolver, wanted: &Wanted, around: &Surroundings<'_>) -> Finding {
    let owner = wanted.owner.as_str();
    match &wanted.data {
        Data::Management(record) => {
            let lookup = texts(resolver.txt(owner).await);
            management(wanted, record, lookup, around)
        }
        Data::Text(text) => {
            let tag = text.split([' ', ';']).next().unwrap_or_default();
            let lookup = only(texts(resolver.txt(owner).await), tag);
            by_words(wanted, text, lookup)
        }
        Data::Mx(_) => match Domain::parse(owner) {
            Ok(domain) => by_items(wanted, items(resolver.mx(&domain).await, mx_item), false),
            Err(_) => Finding::of(wanted, &Lookup::Failed).0,
        },
        Data::Srv(_) => by_items(wanted, items(resolver.srv(owner).await, srv_item), false),
        Data::Tlsa(_) => by_items(wanted, items(resolver.tlsa(owner).await, tlsa_item), true),
    }
}

async fn address(resolver: &dyn Resolver, host: &Domain) -> Finding {
    let wanted = Wanted {
        owner: host.to_string(),
        data: Data::Mx(Vec::new()),
        purpose: "",
        needed: true,
    };
    let lookup = items(resolver.addresses(host).await, |address| address.to_string());
    let (mut finding, _) = Finding::of(&wanted, &lookup);
    finding.kind = ADDRESSES;
    finding
}

impl Finding {
    /// Nothing wrong so far.
    pub fn about(owner: String, kind: &'static str) -> Self {
        Self {
            owner,
            kind,
            problems: Vec::new(),
            lacking: Vec::new(),
            excess: Vec::new(),
            ttl_secs: None,
            secure: None,
        }
    }

    /// What the lookup itself says, and the records.
    fn of<'a>(wanted: &Wanted, lookup: &'a Lookup<Vec<String>>) -> (Self, &'a [String]) {
        let mut finding = Self::about(wanted.owner.clone(), wanted.data.kind());
        let mut found: &[String] = &[];
        match lookup {
            Lookup::Found { value, ttl, proof } => {
                found = value;
                finding.ttl_secs = Some(ttl.as_secs());
                finding.secure = Some(*proof == Proof::Secure);
            }
            Lookup::Absent { proof } => {
                finding.secure = Some(*proof == Proof::Secure);
                finding.add(Problem::Missing, wanted.needed);
                finding.lacking = wanted.data.items();
            }
            Lookup::Bogus => finding.add(Problem::Bogus, true),
            Lookup::Failed => finding.add(Problem::Failed, wanted.needed),
        }
        (finding, found)
    }

    /// Something is wrong, and counts for the exit code or not.
    pub fn add(&mut self, problem: Problem, counts: bool) {
        self.problems.push((problem, counts));
    }
}

fn texts(lookup: Lookup<Vec<Vec<u8>>>) -> Lookup<Vec<String>> {
    items(lookup, |text| {
        let text = &text[..text.len().min(MAX_RECORD_OCTETS)];
        String::from_utf8_lossy(text).into_owned()
    })
}

fn items<T>(lookup: Lookup<Vec<T>>, item: impl Fn(&T) -> String) -> Lookup<Vec<String>> {
    match lookup {
        Lookup::Found { value, ttl, proof } => Lookup::Found {
            value: value.iter().map(item).collect(),
            ttl,
            proof,
        },
        Lookup::Absent { proof } => Lookup::Absent { proof },
        Lookup::Bogus => Lookup::Bogus,
        Lookup::Failed => Lookup::Failed,
    }
}

/// Texts of one kind, by their first word: a name may have others.
fn only(lookup: Lookup<Vec<String>>, tag: &str) -> Lookup<Vec<String>> {
    match lookup {
        Lookup::Found {
            mut value,
            ttl,
            proof,
        } => {
            value.retain(|text| text.split([' ', ';']).next() == Some(tag));
            value.truncate(MAX_SHOWN);
            match value.is_empty() {
                true => Lookup::Absent { proof },
                false => Lookup::Found { value, ttl, proof },
            }
        }
        other => other,
    }
}

/// Records of which ours must be among those found; with `exact_if_secure`, what is missing of them counts if DNSSEC vouches
/// for the others, which then are believed.
fn by_items(wanted: &Wanted, lookup: Lookup<Vec<String>>, exact_if_secure: bool) -> Finding {
    let (mut finding, found) = Finding::of(wanted, &lookup);
    if found.is_empty() {
        return finding;
    }
    (finding.lacking, finding.excess) = difference(&wanted.data.items(), found);
    let secure = finding.secure == Some(true);
    if !finding.lacking.is_empty() {
        finding.add(Problem::Differs, wanted.needed || (exact_if_secure && secure));
    }
    if exact_if_secure && !secure {
        finding.add(Problem::Unsigned, false);
    }
    finding
}

/// A text whose owner may well want another one: shown, not counted.
fn by_words(wanted: &Wanted, text: &str, lookup: Lookup<Vec<String>>) -> Finding {
    let (mut finding, found) = Finding::of(wanted, &lookup);
    let [only] = found else {
        if found.len() > 1 {
            finding.add(Problem::Several, true);
            finding.excess = found.to_vec();
        }
        return finding;
    };
    if only != text {
        (finding.lacking, finding.excess) = difference(&words(text), &words(only));
        finding.add(Problem::Differs, wanted.needed);
    }
    finding
}

fn management(
    wanted: &Wanted,
    expected: &ManagementRecord,
    lookup: Lookup<Vec<String>>,
    around: &Surroundings<'_>,
) -> Finding {
    let (mut finding, found) = Finding::of(wanted, &lookup);
    match found {
        [] => return finding,
        [_] => {}
        _ => {
            finding.add(Problem::Several, true);
            finding.excess = found.iter().take(MAX_SHOWN).cloned().collect();
            return finding;
        }
    }
    let rendered = expected.render().unwrap_or_default();
    let apart = difference(&words(&rendered), &words(&found[0]));
    let record = match ManagementRecord::parse(&found[0]) {
        Ok(record) => record,
        Err(error) => {
            finding.add(Problem::Unparsable(error), true);
            (finding.lacking, finding.excess) = apart;
            return finding;
        }
    };
    if record != *expected {
        let former = without_former_keys(&record, expected, &around.former_keys) == *expected;
        match former {
            true => finding.add(Problem::FormerKey, false),
            false => finding.add(Problem::Differs, true),
        }
        (finding.lacking, finding.excess) = apart;
    }
    about_certificates(&mut finding, &record, around);
    about_trust(&mut finding, &record, around);
    finding
}

/// The record without keys of ours that are out of use, and without what they alone may have signed.
fn without_former_keys(
    record: &ManagementRecord,
    expected: &ManagementRecord,
    former: &[VerifyingKey],
) -> ManagementRecord {
    let mut rest = record.clone();
    rest.primary_keys
        .retain(|key| expected.primary_keys.contains(key) || !former.contains(key));
    if rest.primary_keys.len() < record.primary_keys.len() {
        rest.tls_signatures
            .retain(|signature| expected.tls_signatures.contains(signature));
    }
    rest
}

fn about_certificates(finding: &mut Finding, record: &ManagementRecord, around: &Surroundings<'_>) {
    let live = &around.certificates.dmtp;
    if !record.matches_certificate(&live.der) {
        finding.add(Problem::CertificateNotCovered, true);
        return;
    }
    let left_secs = live.valid_until - around.now_secs;
    if left_secs <= 0 {
        finding.add(Problem::CertificateEnded, true);
        return;
    }
    let next = around.certificates.next.as_ref();
    let covered = next.map(|next| record.matches_certificate(&next.der));
    if covered == Some(false) {
        finding.add(Problem::NextNotCovered, true);
    }
    if covered == Some(true) {
        return;
    }
    let ttl = finding
        .ttl_secs
        .and_then(|ttl| i64::try_from(ttl).ok())
        .unwrap_or(0);
    if ttl > left_secs {
        finding.add(Problem::TtlOutlivesCertificate, true);
    } else if left_secs < NOTICE_DAYS * DAY_SECS {
        finding.add(Problem::CertificateEnds, true);
    }
}

/// A certificate of no authority is believed by the word of a signed zone alone.
fn about_trust(finding: &mut Finding, record: &ManagementRecord, around: &Surroundings<'_>) {
    if finding.secure == Some(false) {
        finding.add(Problem::Unsigned, around.certificates.dmtp.self_signed);
    }
    if record.expiry_days.is_none() {
        finding.add(Problem::NoExpiry, false);
    }
    if finding.ttl_secs == Some(0) {
        finding.add(Problem::ZeroTtl, true);
    }
    if finding.ttl_secs.is_some_and(|ttl| ttl > LONGEST_TTL.as_secs()) {
        finding.add(Problem::TtlOutlivesRotation, true);
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// What the first has alone, and what the second has alone.
pub fn difference(expected: &[String], found: &[String]) -> (Vec<String>, Vec<String>) {
    let without = |items: &[String], others: &[String]| -> Vec<String> {
        let alone = items.iter().filter(|item| !others.contains(item));
        alone.take(MAX_SHOWN).cloned().collect()
    };
    (without(expected, found), without(found, expected))
}
