//! Why a route was chosen: a code for programs and a sentence for people.

use std::fmt;

use super::DmtpFinding;
use crate::dime::record::Policy;
use crate::dime::selection::{Actor, Hold, Rule};
use crate::domains::Unpublished;

/// Why a DIME record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Basis {
    /// DNSSEC vouches for the record.
    Secure,
    /// The record lies in an unsigned zone.
    Insecure,
    /// Pinned; DNS now says without proof that there is none.
    PinnedThoughAbsent,
    /// Pinned; the lookup fails now.
    PinnedThoughFailed,
    /// Pinned; what DNS has now cannot be parsed.
    PinnedThoughUnparsable,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secure => "The domain has a DIME record, proven by DNSSEC",
            Self::Insecure => "The domain has a DIME record in an unsigned zone",
            Self::PinnedThoughAbsent => {
                "The domain was seen with a DIME record that has not expired, and its absence now is not proven"
            }
            Self::PinnedThoughFailed => {
                "The domain was seen with a DIME record that has not expired, and the lookup fails now"
            }
            Self::PinnedThoughUnparsable => {
                "The domain was seen with a DIME record that has not expired, and what it publishes now cannot be read"
            }
        })
    }
}

/// The fact and the rule behind a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// We serve the domain.
    LocalDomain,
    /// We serve the domain, and the recipient opens mail elsewhere.
    LocalSealed,
    /// The same, and key sets forbid to seal now.
    LocalHeld(Hold),
    /// The record does not validate.
    RecordBogus,
    /// There is something at the name that is not one valid record.
    RecordUnparsable,
    /// An unproven record has none of the pinned keys.
    KeysConflict,
    /// Proven not to be a DIME domain.
    ProvenAbsent,
    /// Not a DIME domain, as far as an unsigned zone can say.
    Absent,
    /// The lookup failed.
    LookupFailed,
    /// The lookup has failed for so long that the operator lets the mail go.
    LookupFailedForLong,
    /// A record counts, and so do its policy and what DMTP has brought.
    Dime {
        /// Why the record counts.
        basis: Basis,
        /// The policy that counts: the record's, or a stronger pinned one.
        policy: Policy,
        /// What DMTP has brought.
        finding: DmtpFinding,
    },
    /// SMTP would have been the route, but the author's domain never sends by SMTP.
    SenderIsStrict {
        /// Code of the reason for SMTP.
        instead_of: &'static str,
    },
    /// SMTP would have been the route, but the author demands D/MIME.
    SenderDemandsDime {
        /// Code of the reason for SMTP.
        instead_of: &'static str,
    },
    /// SMTP would have been the route, but a domain above the recipient's forbids it.
    ParentIsStrict {
        /// Code of the reason for SMTP.
        instead_of: &'static str,
    },
}

impl Reason {
    /// A name that never changes once released.
    pub fn code(&self) -> &'static str {
        match self {
            Self::LocalDomain => "local_domain",
            Self::LocalSealed => "local_sealed",
            Self::LocalHeld(hold) => match hold.rule {
                Rule::Q1 => "local_held_q1",
                Rule::Q2 => "local_held_q2",
                Rule::Q3 => "local_held_q3",
            },
            Self::RecordBogus => "record_bogus",
            Self::RecordUnparsable => "record_unparsable",
            Self::KeysConflict => "record_keys_conflict",
            Self::ProvenAbsent => "record_proven_absent",
            Self::Absent => "record_absent",
            Self::LookupFailed => "record_lookup_failed",
            Self::LookupFailedForLong => "record_lookup_failed_for_long",
            Self::Dime { finding, .. } => match finding {
                DmtpFinding::NotAsked => "dime_domain",
                DmtpFinding::SignetValid => "dime_signet_valid",
                DmtpFinding::NoSuchSignet => "dime_no_such_signet",
                DmtpFinding::Unreachable => "dime_unreachable",
                DmtpFinding::CertificateRejected => "dime_certificate_rejected",
                DmtpFinding::NotCovered => "dime_not_covered",
                DmtpFinding::SignetInvalid => "dime_signet_invalid",
                DmtpFinding::MessageRefused => "dime_message_refused",
                DmtpFinding::NoAuthor => "dime_no_author",
                DmtpFinding::KeysElsewhere => "dime_keys_elsewhere",
                DmtpFinding::Held(Hold { rule: Rule::Q1, .. }) => "dime_held_q1",
                DmtpFinding::Held(Hold { rule: Rule::Q2, .. }) => "dime_held_q2",
                DmtpFinding::Held(Hold { rule: Rule::Q3, .. }) => "dime_held_q3",
                DmtpFinding::OwnRecord(why) => why.code(),
            },
            Self::SenderIsStrict { .. } => "sender_is_strict",
            Self::SenderDemandsDime { .. } => "sender_demands_dime",
            Self::ParentIsStrict { .. } => "parent_is_strict",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::LocalDomain => "The domain is served here, so the message stays here.",
            Self::LocalSealed => {
                "The domain is served here and the recipient's keys are elsewhere, so the message is sealed and stays here."
            }
            Self::LocalHeld(hold) => {
                return write!(
                    f,
                    "The domain is served here and the recipient's keys are elsewhere; {}.",
                    held(*hold)
                );
            }
            Self::RecordBogus => {
                "The domain's DIME record fails DNSSEC validation; mail waits rather than take an unprotected way."
            }
            Self::RecordUnparsable => {
                "The domain publishes a DIME record that cannot be read; mail waits until its owner repairs it."
            }
            Self::KeysConflict => {
                "The domain's DIME record is not proven by DNSSEC and has none of the keys seen before; \
                 mail waits until it shares one, is proven, or the earlier record expires."
            }
            Self::ProvenAbsent => {
                "DNSSEC proves that the domain has no DIME record, so the message goes by SMTP."
            }
            Self::Absent => {
                "The domain has no DIME record and none was seen before, so the message goes by SMTP."
            }
            Self::LookupFailed => "The DIME record could not be looked up, which is no absence; mail waits.",
            Self::LookupFailedForLong => {
                "The DIME record could not be looked up for longer than configured, and this server lets mail go by SMTP then."
            }
            Self::Dime {
                basis,
                policy,
                finding,
            } => {
                return write!(
                    f,
                    "{basis}; its policy is {policy}; {}.",
                    outcome(*finding, *policy)
                );
            }
            Self::SenderIsStrict { .. } => {
                return only_smtp(f, "the sender's domain never sends by SMTP");
            }
            Self::SenderDemandsDime { .. } => {
                return only_smtp(
                    f,
                    "the message demands to go as D/MIME or not at all (DIME-Required)",
                );
            }
            Self::ParentIsStrict { .. } => {
                return only_smtp(
                    f,
                    "the strict record of a domain above forbids SMTP for its subdomains",
                );
            }
        };
        f.write_str(sentence)
    }
}

fn only_smtp(f: &mut fmt::Formatter<'_>, forbidden: &str) -> fmt::Result {
    write!(f, "Only SMTP leads to the recipient now, and {forbidden}.")
}

/// What came of DMTP, and what follows under the policy.
fn outcome(finding: DmtpFinding, policy: Policy) -> &'static str {
    use DmtpFinding as F;
    use Policy::{Experimental, Strict};
    match (finding, policy) {
        (F::NotAsked, _) => "so DMTP is tried",
        (F::SignetValid, _) => "the recipient's signet is valid, so the message goes by DMTP",
        (F::NoSuchSignet, Strict) => "the recipient has no signet, and a strict domain takes nothing else",
        (F::NoSuchSignet, _) => "the recipient has no signet, so the message goes by SMTP",
        (F::Unreachable, Experimental) => {
            "no delivery host could be used, and an experimental domain may be sent to by SMTP"
        }
        (F::Unreachable, _) => "no delivery host could be used now, and only DMTP will do",
        (F::CertificateRejected, Experimental) => {
            "no delivery host showed an acceptable certificate; SMTP only if this server allows it after a wait"
        }
        (F::CertificateRejected, _) => {
            "no delivery host showed an acceptable certificate, so the message waits"
        }
        (F::NotCovered, Experimental) => {
            "its unproven record names no delivery host that its MTA-STS policy covers, so the message goes by SMTP under that policy"
        }
        (F::NotCovered, _) => {
            "its unproven record names no delivery host that its MTA-STS policy covers, so the message waits"
        }
        (F::SignetInvalid, _) => "the recipient's signet does not verify, so the message waits",
        (F::MessageRefused, _) => "the delivery host refused the message for good",
        (F::NoAuthor, Strict) => {
            "the message has no author here to seal it, and a strict domain takes nothing else"
        }
        (F::NoAuthor, _) => "the message has no author here to seal it, so it goes by SMTP",
        (F::KeysElsewhere, _) => {
            "the author keeps the private keys elsewhere, so the message must be sealed there before it is submitted"
        }
        (F::Held(hold), _) => held(hold),
        (F::OwnRecord(why), _) => own_record(why),
    }
}

/// Why what is sealed in the name of the author's domain would be refused.
fn own_record(why: Unpublished) -> &'static str {
    match why {
        Unpublished::Missing => {
            "the management record of the author's domain is not published, so others would refuse what is sealed in its name, and \
             the message waits"
        }
        Unpublished::WithoutKey => {
            "the management record of the author's domain is published without the key in use, so others would refuse what is \
             sealed in its name, and the message waits"
        }
        Unpublished::Unknown => {
            "the management record of the author's domain could not be looked up, so nobody knows whether others would refuse what \
             is sealed in its name, and the message waits"
        }
    }
}

/// Why no format will do now. An operator who has asked the other side accepts its keys with `dimed key set accept`.
fn held(hold: Hold) -> &'static str {
    use Actor::{Destination, Origin, Recipient};
    match (hold.rule, hold.actor) {
        (Rule::Q1, Some(Origin)) => {
            "the key set of the author's organization is unknown or cannot be used, so the message waits"
        }
        (Rule::Q1, Some(Destination)) => {
            "the key set of the recipient's organization is unknown or cannot be used, so the message waits"
        }
        (Rule::Q1, Some(Recipient) | None) => {
            "the recipient's key set is unknown or cannot be used, so the message waits"
        }
        (Rule::Q2, _) => "the parties have no suite in common that is good enough, so the message waits",
        (Rule::Q3, Some(Origin)) => {
            "the author's organization has no keys for D/MIME 2 and format 1 will not do, so the message waits"
        }
        (Rule::Q3, Some(Destination)) => {
            "the recipient's organization has no keys for D/MIME 2 and format 1 will not do, so the message waits"
        }
        (Rule::Q3, Some(Recipient) | None) => {
            "the recipient has no keys for D/MIME 2 and format 1 will not do, so the message waits"
        }
    }
}
