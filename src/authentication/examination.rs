//! One message from another host: checked while it comes in, and the field that tells what came of it (RFC 8601).
//!
//! Everything but the hash of the body is known once the header is complete. So the field is written then, as if every body
//! hash were right, and written over with the same number of octets once the body is complete: the body is never held.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::author::{Author, author};
use super::dkim::{self, Bodies, Checked, HashedBodies, Verdict};
use super::dmarc::{self, Discovery, Policy, Proof, Published};
use super::spf;
use crate::base::encoding::base64;
use crate::mail::address::{Domain, ReversePath};
use crate::mail::headers::{self, Collector, Gathered};
use crate::net::dns::Resolver;

/// The field with what came of it.
const RESULTS: &str = "Authentication-Results";
/// The field that says what is suspicious; mail programs and filters know it.
const SUSPICIOUS: &str = "X-Spam-Flag";
/// Time for one round of questions about policies.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who hands a message over.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its address.
    pub address: IpAddr,
    /// What it calls itself.
    pub hello: String,
    /// In whose name it sends.
    pub reverse_path: ReversePath,
    /// Results about it that are known already, in the form of RFC 8601.
    pub results: Vec<String>,
}

/// One message under examination.
pub struct Examination {
    resolver: Arc<dyn Resolver>,
    server: Domain,
    sender: Sender,
    /// Whether policies of others are followed.
    enforced: bool,
    /// In unix seconds.
    now: u64,
    front: Front,
    bodies: Bodies,
    findings: Option<Findings>,
}

/// The header as it came.
enum Front {
    Coming(Collector),
    /// With whatever followed it.
    Complete(Vec<u8>),
    /// It is longer than any message may have; the message is refused for it.
    TooLong,
}

impl Examination {
    /// Of a message that is about to come in. `header_limit` in octets, `now` in unix seconds.
    pub fn new(
        resolver: Arc<dyn Resolver>,
        server: Domain,
        sender: Sender,
        enforced: bool,
        header_limit: usize,
        now: u64,
    ) -> Self {
        Self {
            resolver,
            server,
            sender: Sender {
                address: sender.address.to_canonical(),
                ..sender
            },
            enforced,
            now,
            front: Front::Coming(Collector::new(header_limit)),
            bodies: Bodies::default(),
            findings: None,
        }
    }

    /// Takes the next piece, as it came.
    pub fn push(&mut self, piece: &[u8]) {
        match &mut self.front {
            Front::Complete(_) => self.bodies.push(piece),
            Front::TooLong => {}
            Front::Coming(collector) => match collector.push(piece) {
                Gathered::Incomplete => {}
                Gathered::Complete => self.complete_front(),
                Gathered::TooLong => self.front = Front::TooLong,
            },
        }
    }

    /// Whatever came after the header belongs to the body.
    fn complete_front(&mut self) {
        if let Front::Coming(collector) = &mut self.front {
            let front = std::mem::replace(collector, Collector::new(0)).finish();
            let rest = headers::split(&front).rest;
            self.bodies.push(rest.strip_prefix(b"\r\n").unwrap_or(rest));
            self.front = Front::Complete(front);
        }
    }

    /// The header is complete: asks DNS, and gives the fields as they are if the body is right. They go before all others.
    pub async fn fields(&mut self) -> Vec<u8> {
        self.complete_front();
        let front: &[u8] = match &self.front {
            Front::Complete(front) => front,
            _ => &[],
        };
        let findings = find(self.resolver.as_ref(), &self.sender, front, self.now).await;
        let findings = self.findings.insert(findings);
        let fields = findings.fields(&self.server, self.enforced, None);
        // The body needs no header any more.
        self.front = Front::Complete(Vec::new());
        fields
    }

    /// The body is complete: the fields again, of the same length, and what is to become of the message. `None` before
    /// [`fields`](Self::fields).
    pub fn conclude(self) -> Option<(Vec<u8>, Summary)> {
        let findings = self.findings?;
        let bodies = self.bodies.finish();
        let fields = findings.fields(&self.server, self.enforced, Some(&bodies));
        let summary = findings.summary(self.enforced, &bodies);
        Some((fields, summary))
    }
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is taken.
    Accept,
    /// It is taken, and marked.
    Quarantine,
    /// It is not taken: its author's domain says so.
    Reject,
    /// It is not taken: it does not say in one way of which domain its author is.
    NoAuthor,
    /// It is not taken now: DNS does not answer.
    TryLater,
}

/// The results in words that say nothing of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Of the reverse-path.
    pub spf: &'static str,
    /// Of the best signature.
    pub dkim: &'static str,
    /// Of all together.
    pub dmarc: &'static str,
    /// What follows.
    pub outcome: Outcome,
}

/// Everything about a message but its body.
#[derive(Debug)]
pub struct Findings {
    hello: Option<(Domain, spf::Verdict)>,
    mail_from: Option<(Domain, spf::Verdict)>,
    signatures: Vec<Checked>,
    author: Author,
    discovery: Discovery,
    /// Whether SPF's domain is the author's; `None` if DNS does not answer now.
    spf_aligned: Option<bool>,
    /// The same for each signature.
    aligned: Vec<Option<bool>>,
    /// Results about the host.
    of_host: Vec<String>,
}

async fn find(resolver: &dyn Resolver, sender: &Sender, front: &[u8], now: u64) -> Findings {
    let author = author(front);
    let block = headers::split(front).block;
    let discover = async {
        match &author {
            Author::Domain(domain) => timeout(PATIENCE, dmarc::discover(resolver, domain))
                .await
                .unwrap_or(Discovery::Failed),
            _ => Discovery::Nothing,
        }
    };
    let (hello, mail_from, signatures, discovery) = tokio::join!(
        check_hello(resolver, sender),
        check_mail_from(resolver, sender),
        dkim::check(resolver, block, now),
        discover,
    );
    let mut findings = Findings {
        hello,
        mail_from,
        signatures,
        author,
        discovery,
        spf_aligned: Some(false),
        aligned: Vec::new(),
        of_host: sender.results.clone(),
    };
    findings.align(resolver).await;
    findings
}

async fn check_hello(resolver: &dyn Resolver, sender: &Sender) -> Option<(Domain, spf::Verdict)> {
    let domain: Domain = sender.hello.parse().ok()?;
    let verdict = spf::check(resolver, &client(sender, spf::Identity::Hello(&domain))).await;
    Some((domain, verdict))
}

async fn check_mail_from(resolver: &dyn Resolver, sender: &Sender) -> Option<(Domain, spf::Verdict)> {
    let mailbox = sender.reverse_path.0.as_ref()?;
    let (local, domain) = (mailbox.local(), mailbox.domain());
    let verdict = spf::check(
        resolver,
        &client(sender, spf::Identity::MailFrom { local, domain }),
    )
    .await;
    Some((domain.clone(), verdict))
}

fn client<'a>(sender: &'a Sender, identity: spf::Identity<'a>) -> spf::Client<'a> {
    spf::Client {
        address: sender.address,
        hello: &sender.hello,
        identity,
    }
}

impl Findings {
    /// SPF as DMARC sees it: of a null reverse-path, the host's name is checked instead (RFC 7208 §2.4).
    fn spf(&self) -> Option<&(Domain, spf::Verdict)> {
        self.mail_from.as_ref().or(self.hello.as_ref())
    }

    /// Finds out which of the proven domains are the author's.
    async fn align(&mut self, resolver: &dyn Resolver) {
        let Discovery::Published(published) = &self.discovery else {
            self.aligned = vec![Some(false); self.signatures.len()];
            return;
        };
        let spf = self.spf().filter(|(_, verdict)| counts(*verdict));
        let signed = self.signatures.iter().map(proven_by_dkim);
        let spf = aligned(published, resolver, spf.map(|(domain, _)| domain), Proof::Spf);
        let dkim = signed.map(|domain| aligned(published, resolver, domain, Proof::Dkim));
        let (spf, dkim) = tokio::join!(spf, join_all(dkim));
        (self.spf_aligned, self.aligned) = (spf, dkim);
    }

    /// What DMARC says, given the body; before it is known, as if it were right.
    fn dmarc(&self, bodies: Option<&HashedBodies>) -> &'static str {
        match (&self.author, &self.discovery) {
            (Author::Several | Author::Unusable, _) => return "permerror",
            (_, Discovery::Nothing) => return "none",
            (_, Discovery::Failed) => return "temperror",
            (_, Discovery::Published(_)) => {}
        }
        let spf = self.spf().map(|(_, verdict)| *verdict);
        let mut proofs = vec![(self.spf_aligned, spf == Some(spf::Verdict::Pass))];
        let signatures = self.signatures.iter().zip(&self.aligned);
        proofs.extend(
            signatures.map(|(checked, aligned)| (*aligned, verdict(checked, bodies) == Verdict::Pass)),
        );
        if proofs.contains(&(Some(true), true)) {
            return "pass";
        }
        match self.is_open(bodies) {
            true => "temperror",
            false => "fail",
        }
    }

    /// Whether an aligned proof failed for want of an answer, or its alignment could not be found out.
    fn is_open(&self, bodies: Option<&HashedBodies>) -> bool {
        let spf = self.spf().map(|(_, verdict)| *verdict);
        let spf_is_open = match spf {
            Some(spf::Verdict::TempError) => self.spf_aligned != Some(false),
            Some(spf::Verdict::Pass) => self.spf_aligned.is_none(),
            _ => false,
        };
        let mut signatures = self.signatures.iter().zip(&self.aligned);
        let is_open = |(checked, aligned): (&Checked, &Option<bool>)| match verdict(checked, bodies) {
            Verdict::NoKey(dkim::key::NoKey::Failed) => *aligned != Some(false),
            Verdict::Pass => aligned.is_none(),
            _ => false,
        };
        spf_is_open || signatures.any(is_open)
    }

    fn policy(&self) -> Policy {
        match &self.discovery {
            Discovery::Published(Published { policy, .. }) => *policy,
            _ => Policy::None,
        }
    }

    fn outcome(&self, enforced: bool, bodies: &HashedBodies) -> Outcome {
        if !enforced {
            return Outcome::Accept;
        }
        match (
            &self.author,
            &self.discovery,
            self.dmarc(Some(bodies)),
            self.policy(),
        ) {
            // DMARC is silent about authors of several domains (RFC 9989 §5.3.1), so one more address would lead around any policy.
            (Author::Unusable | Author::Several, ..) => Outcome::NoAuthor,
            (_, Discovery::Failed, ..) => Outcome::TryLater,
            // Whatever may come of it, nothing would be done.
            (.., Policy::None) => Outcome::Accept,
            (_, _, "temperror", _) => Outcome::TryLater,
            (_, _, "fail", Policy::Reject) => Outcome::Reject,
            (_, _, "fail", Policy::Quarantine) => Outcome::Quarantine,
            _ => Outcome::Accept,
        }
    }

    fn summary(&self, enforced: bool, bodies: &HashedBodies) -> Summary {
        let words = self
            .signatures
            .iter()
            .map(|checked| word(verdict(checked, Some(bodies))));
        Summary {
            spf: self.spf().map_or("none", |(_, verdict)| verdict.name()),
            dkim: best(words.collect()),
            dmarc: self.dmarc(Some(bodies)),
            outcome: self.outcome(enforced, bodies),
        }
    }

    /// All fields, with a final CRLF; equally long whatever the body is.
    fn fields(&self, server: &Domain, enforced: bool, bodies: Option<&HashedBodies>) -> Vec<u8> {
        let mut text = format!("{RESULTS}: {server}");
        let mut add = |result: String| {
            text.push_str(";\r\n\t");
            text.push_str(&result);
        };
        if let Some((domain, verdict)) = &self.mail_from {
            add(format!("spf={} smtp.mailfrom={domain}", verdict.name()));
        }
        if let Some((domain, verdict)) = &self.hello {
            add(format!("spf={} smtp.helo={domain}", verdict.name()));
        }
        if self.mail_from.is_none() && self.hello.is_none() {
            add("spf=none".into());
        }
        match self.signatures.is_empty() {
            true => add("dkim=none".into()),
            false => self
                .signatures
                .iter()
                .for_each(|checked| add(signature(checked, bodies))),
        }
        add(self.dmarc_result(bodies));
        self.of_host.iter().cloned().for_each(&mut add);
        text.push_str("\r\n");
        if enforced && self.may_be_suspicious() {
            let suspicious = self.dmarc(bodies) == "fail";
            let _ = write!(
                text,
                "{SUSPICIOUS}: {}\r\n",
                if suspicious { "YES" } else { "NO " }
            );
        }
        text.into_bytes()
    }

    fn dmarc_result(&self, bodies: Option<&HashedBodies>) -> String {
        let word = self.dmarc(bodies);
        let Author::Domain(author) = &self.author else {
            return format!("dmarc={word} (no single author domain)");
        };
        // Wide enough for any word that it may become.
        let width = match self.depends_on_body() {
            true => "temperror".len(),
            false => word.len(),
        };
        let policy = match &self.discovery {
            Discovery::Published(published) => format!(" (p={})", published.policy.name()),
            _ => String::new(),
        };
        format!("dmarc={word:<width$}{policy} header.from={author}")
    }

    /// Whether the body may change what DMARC says to "temperror" or from it.
    fn depends_on_body(&self) -> bool {
        let is_open = |checked: &Checked| checked.verdict == Verdict::NoKey(dkim::key::NoKey::Failed);
        let spf = self.spf().map(|(_, verdict)| *verdict);
        let open = spf == Some(spf::Verdict::TempError)
            || self.spf_aligned.is_none()
            || self.aligned.contains(&None)
            || self.signatures.iter().any(is_open);
        open && self
            .signatures
            .iter()
            .any(|checked| checked.verdict == Verdict::Pass)
    }

    fn may_be_suspicious(&self) -> bool {
        let unsure = self
            .signatures
            .iter()
            .any(|checked| checked.verdict == Verdict::Pass);
        self.policy() == Policy::Quarantine && (unsure || self.dmarc(None) == "fail")
    }
}

/// A verdict that may prove something, now or later.
fn counts(verdict: spf::Verdict) -> bool {
    matches!(verdict, spf::Verdict::Pass | spf::Verdict::TempError)
}

/// The domain of a signature that may hold.
fn proven_by_dkim(checked: &Checked) -> Option<&Domain> {
    let may_hold = matches!(
        checked.verdict,
        Verdict::Pass | Verdict::NoKey(dkim::key::NoKey::Failed)
    );
    let signature = checked.signature.as_ref().filter(|_| may_hold);
    signature.map(|signature| &signature.domain)
}

async fn aligned(
    published: &Published,
    resolver: &dyn Resolver,
    domain: Option<&Domain>,
    proof: Proof,
) -> Option<bool> {
    let Some(domain) = domain else {
        return Some(false);
    };
    timeout(PATIENCE, published.is_aligned(resolver, domain, proof))
        .await
        .ok()
        .flatten()
}

/// The verdict with what the body adds to it.
fn verdict(checked: &Checked, bodies: Option<&HashedBodies>) -> Verdict {
    match (checked.verdict, &checked.signature, bodies) {
        (Verdict::Pass, Some(signature), Some(bodies)) => bodies.judge(signature),
        (verdict, ..) => verdict,
    }
}

/// The word of RFC 8601 §2.7.1.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail(_) => "fail",
        Verdict::Flawed(_) => "neutral",
        Verdict::NoKey(dkim::key::NoKey::Failed) => "temperror",
        Verdict::NoKey(_) => "permerror",
    }
}

fn best(words: Vec<&'static str>) -> &'static str {
    let order = ["pass", "temperror", "fail", "permerror", "neutral"];
    order
        .into_iter()
        .find(|word| words.contains(word))
        .unwrap_or("none")
}

/// The result of one signature. Why it failed is told only where the body has no say in it, for the body has no room for more.
fn signature(checked: &Checked, bodies: Option<&HashedBodies>) -> String {
    let mut text = format!("dkim={}", word(verdict(checked, bodies)));
    let why = match checked.verdict {
        Verdict::Pass => None,
        Verdict::Fail(why) => Some(why),
        Verdict::Flawed(flaw) => Some(flaw.text()),
        Verdict::NoKey(why) => Some(why.text()),
    };
    if let Some(why) = why {
        let _ = write!(text, " ({why})");
    }
    if let Some(signature) = &checked.signature {
        let start = base64(&signature.octets);
        let _ = write!(
            text,
            " header.d={} header.s={}\r\n\t header.a={} header.b=\"{}\"",
            signature.domain,
            signature.selector,
            signature.algorithm.name(),
            start.get(..8).unwrap_or(&start)
        );
    }
    text
}

#[cfg(test)]
mod tests;
