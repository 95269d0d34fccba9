//! The tables of the documentation, made anew from the code and compared with what stands there.

use std::fmt::Write as _;

use super::hosts::{dane, host};
use super::*;
use crate::mail::demand::TlsDemand;

/// Where the tables stand.
const TABLE: &str = include_str!("../table.md");

#[test]
fn the_documentation_says_what_the_code_decides() {
    let made = tables();
    assert!(made == TABLE, "src/routing/table.md must be:\n{made}");
}

fn tables() -> String {
    let mut out = String::new();
    at_home(&mut out);
    by_record(&mut out);
    by_finding(&mut out);
    forbidden(&mut out);
    by_parent(&mut out);
    by_host(&mut out);
    out
}

fn head(out: &mut String, title: &str, text: &str, columns: &[&str]) {
    let line = columns.iter().map(|_| "---|").collect::<String>();
    write!(out, "\n# {title}\n\n{text}\n\n").unwrap();
    writeln!(out, "| {} |\n|{line}", columns.join(" | ")).unwrap();
}

fn row(out: &mut String, cells: &[String]) {
    writeln!(out, "| {} |", cells.join(" | ")).unwrap();
}

fn words(facts: &Facts) -> String {
    let decision = decide(facts);
    match decision.route {
        Route::Local if decision.reason == Reason::LocalSealed => "stays here, sealed".into(),
        Route::Local => "stays here".into(),
        Route::Dmtp { proof, .. } => format!("DMTP, {}", proof_word(proof)),
        Route::Smtp { tls, .. } => smtp_words(tls).into(),
        Route::Defer => "waits".into(),
        Route::Bounce => "comes back".into(),
    }
}

fn smtp_words(tls: SmtpTls) -> &'static str {
    match tls {
        SmtpTls::Opportunistic => "SMTP",
        SmtpTls::VerifiedIfPossible => "SMTP, verified if possible",
    }
}

fn proof_word(proof: Proof) -> &'static str {
    match proof {
        Proof::Secure => "authenticated",
        Proof::Insecure => "unauthenticated",
    }
}

fn code(facts: &Facts) -> String {
    format!("`{}`", decide(facts).reason.code())
}

fn at_home(out: &mut String) {
    head(
        out,
        "In a domain of ours",
        "Nothing leaves. What somebody who can seal here writes to somebody whose keys are elsewhere is delivered sealed.",
        &["Recipient", "Message", "Reason"],
    );
    for (what, finding) in [
        (
            "opens mail here, has no keys, or the author cannot seal here",
            F::NotAsked,
        ),
        ("keeps the keys elsewhere", F::SignetValid),
        (
            "keeps the keys elsewhere, and key sets forbid it now",
            held(Rule::Q1),
        ),
    ] {
        let facts = Facts {
            local: true,
            finding,
            ..facts(RecordLookup::Absent(Proof::Insecure), None)
        };
        row(out, &[what.to_owned(), words(&facts), code(&facts)]);
    }
}

fn by_record(out: &mut String) {
    use Proof::{Insecure, Secure};
    use RecordLookup as L;
    head(
        out,
        "What the management record says",
        "Before anybody is asked for a signet. The pin is a record seen before that has not expired.",
        &["Lookup of `_dx`", "Pin", "Message", "Reason"],
    );
    let lookups = [
        ("found, proven", found(1, Mixed, Secure)),
        ("found, unsigned zone", found(1, Mixed, Insecure)),
        (
            "found, unsigned zone, other keys than the pin's",
            found(2, Mixed, Insecure),
        ),
        ("fails validation", L::Bogus),
        ("cannot be read", L::Unparsable { error: None }),
        ("none, proven", L::Absent(Secure)),
        ("none, not proven", L::Absent(Insecure)),
        ("no usable answer", L::Failed),
    ];
    for (name, lookup) in lookups {
        for (pin_name, pin) in [("no", None), ("yes", pinned(1, Mixed, Secure))] {
            let facts = facts(lookup.clone(), pin);
            row(out, &[name.into(), pin_name.into(), words(&facts), code(&facts)]);
        }
    }
    let mut lasting = facts(L::Failed, None);
    lasting.failing_for_long = true;
    lasting.allowances.smtp_after_failed_lookup = true;
    row(
        out,
        &[
            "no usable answer for long, and SMTP allowed then".into(),
            "no".into(),
            words(&lasting),
            code(&lasting),
        ],
    );
}

fn findings() -> [(&'static str, F); 14] {
    [
        ("the recipient's signet is valid", F::SignetValid),
        ("a host says that there is no signet", F::NoSuchSignet),
        ("no author of ours", F::NoAuthor),
        ("no host can be used now", F::Unreachable),
        ("MTA-STS covers no host of an unproven record", F::NotCovered),
        ("no certificate is accepted", F::CertificateRejected),
        ("the signet does not verify", F::SignetInvalid),
        ("key sets forbid it now", held(Rule::Q1)),
        (
            "the record of the author's domain is not published",
            F::OwnRecord(Unpublished::Missing),
        ),
        (
            "it is published without the key in use",
            F::OwnRecord(Unpublished::WithoutKey),
        ),
        (
            "it cannot be looked up, and was not seen before",
            F::OwnRecord(Unpublished::Unknown),
        ),
        ("the author's keys are elsewhere", F::KeysElsewhere),
        ("the message is refused", F::MessageRefused),
        ("nobody was asked yet", F::NotAsked),
    ]
}

fn by_finding(out: &mut String) {
    head(
        out,
        "What the attempt to use DMTP brings",
        "By the policy that counts: the record's, or a stronger pinned one where the record is not proven.",
        &["Finding", "experimental", "mixed", "strict", "Reason"],
    );
    for (name, finding) in findings() {
        let mut facts = facts(found(1, Experimental, Proof::Secure), None);
        facts.finding = finding;
        finding_row(out, name, facts);
    }
    let mut lasting = facts(found(1, Experimental, Proof::Secure), None);
    lasting.finding = F::CertificateRejected;
    lasting.failing_for_long = true;
    lasting.allowances.smtp_after_rejected_certificate = true;
    finding_row(
        out,
        "no certificate is accepted for long, and SMTP allowed then",
        lasting,
    );
}

fn finding_row(out: &mut String, name: &str, mut facts: Facts) {
    let mut cells = vec![name.to_owned()];
    for policy in [Experimental, Mixed, Strict] {
        facts.domain.lookup = found(1, policy, Proof::Secure);
        cells.push(words(&facts));
    }
    cells.push(code(&facts));
    row(out, &cells);
}

fn forbidden(out: &mut String) {
    head(
        out,
        "Where the sender forbids SMTP",
        "A strict domain of ours never sends by SMTP, and an author can say `DIME-Required: Yes`. What would go by SMTP by \
         the tables above waits if DMTP may be had later, and comes back otherwise.",
        &[
            "Would go by SMTP because of",
            "Author's domain is strict",
            "Author demands DIME",
        ],
    );
    for (name, facts) in by_smtp() {
        let mut strict = facts.clone();
        strict.sender_policy = Some(Strict);
        let mut demanding = facts;
        demanding.demand.dime = true;
        row(out, &[name, words(&strict), words(&demanding)]);
    }
}

/// Everything that leads to SMTP, by the code of its reason.
fn by_smtp() -> Vec<(String, Facts)> {
    let allowances = Allowances {
        smtp_after_failed_lookup: true,
        smtp_after_rejected_certificate: true,
    };
    let lookups = [
        RecordLookup::Absent(Proof::Secure),
        RecordLookup::Absent(Proof::Insecure),
        RecordLookup::Failed,
    ];
    let plain = lookups.map(|lookup| facts(lookup, None));
    let dime = findings().map(|(_, finding)| {
        let mut facts = facts(found(1, Experimental, Proof::Secure), None);
        facts.finding = finding;
        facts
    });
    let lasting = plain.into_iter().chain(dime).map(|facts| Facts {
        failing_for_long: true,
        allowances,
        ..facts
    });
    let smtp = lasting.filter(|facts| matches!(decide(facts).route, Route::Smtp { .. }));
    smtp.map(|facts| (code(&facts), facts)).collect()
}

fn by_parent(out: &mut String) {
    head(
        out,
        "What a domain above says",
        "If the operator lets `sub` of a proven record above the recipient's domain count. It makes SMTP stricter and finds \
         no delivery hosts. What would go by SMTP:",
        &[
            "`sub` above",
            "Own record",
            "experimental above",
            "mixed above",
            "strict above",
        ],
    );
    for subdomains in [
        SubdomainPolicy::Strict,
        SubdomainPolicy::Relaxed,
        SubdomainPolicy::Explicit,
    ] {
        for (name, lookup) in [
            ("no", RecordLookup::Absent(Proof::Secure)),
            ("yes", found(1, Experimental, Proof::Secure)),
        ] {
            let mut cells = vec![subdomains.to_string(), name.to_owned()];
            for policy in [Experimental, Mixed, Strict] {
                let mut facts = facts(lookup.clone(), None);
                facts.finding = F::NoSuchSignet;
                facts.parent = Some(ParentPolicy { policy, subdomains });
                cells.push(words(&facts));
            }
            row(out, &cells);
        }
    }
}

fn by_host(out: &mut String) {
    let text = "For SMTP, one MX host after the other. A host that is refused gets no mail now, and the next one is tried. \
                DANE counts only if the list of hosts, the host's address and its TLSA records are all proven by DNSSEC.";
    let columns = [
        "TLSA records",
        "no MTA-STS policy",
        "MTA-STS on trial",
        "MTA-STS covers the host",
        "MTA-STS does not cover it",
    ];
    head(out, "How the TLS of an MX host has to be", text, &columns);
    host_rows(out, |_| ());
    let text = "The same where the domain's management record asks for verified TLS if possible (mixed):";
    head(out, "The same for a mixed DIME domain", text, &columns);
    host_rows(out, |facts| facts.wanted = SmtpTls::VerifiedIfPossible);
    let text = "The same for a message that came with REQUIRETLS, the list of MX hosts being proven by DNSSEC. The host must \
                offer REQUIRETLS, too:";
    head(out, "The same under REQUIRETLS", text, &columns);
    host_rows(out, |facts| facts.demand = TlsDemand::Required);
    let text = "And the list of MX hosts not being proven, so that there are no TLSA records either:";
    head(out, "The same under REQUIRETLS, unproven", text, &columns);
    host_row(out, ("not asked for", TlsaFinding::NotAsked), |facts| {
        facts.demand = TlsDemand::Required;
        facts.list = Proof::Insecure;
    });
    let text = "And for a message with `TLS-Required: No`:";
    head(out, "The same without any demand", text, &columns);
    host_rows(out, |facts| facts.demand = TlsDemand::Waived);
}

fn host_rows(out: &mut String, change: impl Fn(&mut HostFacts)) {
    for tlsa in [
        ("usable", TlsaFinding::Usable(dane())),
        ("none usable", TlsaFinding::Unusable),
        ("none", TlsaFinding::Absent),
        ("not asked for", TlsaFinding::NotAsked),
        ("fail validation", TlsaFinding::Bogus),
        ("no usable answer", TlsaFinding::Failed),
    ] {
        host_row(out, tlsa, &change);
    }
}

fn host_row(out: &mut String, (name, tlsa): (&str, TlsaFinding), change: impl Fn(&mut HostFacts)) {
    let mut cells = vec![name.to_owned()];
    for sts in [Sts::None, Sts::Testing, Sts::Covered, Sts::NotCovered] {
        let mut facts = host(tlsa.clone(), sts);
        change(&mut facts);
        cells.push(host_words(&decide_host(&facts)));
    }
    row(out, &cells);
}

fn host_words(decision: &HostDecision) -> String {
    let how = match decision.tls {
        HostTls::Dane(_) => "certificate by TLSA",
        HostTls::Pkix => "certificate by root and name",
        HostTls::Encrypted => "any certificate, never clear text",
        HostTls::PkixOrEncrypted => "certificate by root and name, if possible; never clear text",
        HostTls::PkixIfPossible => "certificate by root and name, if possible",
        HostTls::Opportunistic => "as offered",
        HostTls::Refused => "refused",
    };
    format!("{how} (`{}`)", decision.reason.code())
}
