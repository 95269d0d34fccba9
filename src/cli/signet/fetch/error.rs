//! Why a signet cannot be had, or is not valid.

use crate::cli::Exit;
use crate::cli::refusal::{Refusal, Refused};
use crate::dime::record;
use crate::dime::signet::{self, Broken};
use crate::domains::DxError;
use crate::signet_service::LookupError;

/// Why there is no valid signet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no management record.
    #[error("the domain has no DIME record")]
    NotDime,
    /// There is something in its place.
    #[error("the management record cannot be read: {0}")]
    Record(#[from] record::Error),
    /// Which one counts, nobody can say.
    #[error("the domain has more than one management record")]
    SeveralRecords,
    /// The record fails DNSSEC validation.
    #[error("the management record fails DNSSEC validation: the zone is broken, or somebody interferes")]
    Bogus,
    /// DNS does not answer.
    #[error("the management record cannot be looked up")]
    NoAnswer,
    /// The domain's hosts gave none, or not one that verifies.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The history is not a chain from what was known to what is served.
    #[error("the chain of custody is broken: {0}")]
    Custody(#[from] Broken),
    /// What was known is not in the history, and has not signed what is served.
    #[error(
        "the chain of custody is broken: the host does not know the signet from before, whose key is another one"
    )]
    Forgotten,
    /// An organization has another primary key than before, and nothing proves the record that has it.
    #[error("the domain has another primary key than before, and its record is not proven by DNSSEC")]
    KeyUnproven,
}

impl Error {
    /// What was not found out may be found out later; what was is an answer.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Bogus | Self::NoAnswer => Exit::TryLater,
            Self::Lookup(error) => of_lookup(error),
            _ => Exit::No,
        }
    }

    /// For programs: how the command ended.
    pub fn result(&self) -> &'static str {
        match (self, self.exit()) {
            (_, Exit::TryLater) => "try_later",
            (Self::NotDime | Self::Lookup(LookupError::NotFound | LookupError::NoOrganization), _) => {
                "no_such_signet"
            }
            _ => "not_valid",
        }
    }

    /// For programs: what is wrong.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Lookup(LookupError::Invalid(error)) => Refusal::new(error),
            error => Refusal::new(error),
        }
    }
}

fn of_lookup(error: &LookupError) -> Exit {
    use DxError as D;
    use LookupError as L;
    match error {
        L::Dx(D::NullMx | D::Certificate { .. } | D::NotCovered | D::NotFound | D::Permanent { .. }) => {
            Exit::No
        }
        L::Dx(_) | L::RecordUnknown | L::Published(_) | L::Domains(_) | L::Store(_) => Exit::TryLater,
        _ => Exit::No,
    }
}

impl Refused for Error {
    fn variant(&self) -> &'static str {
        match self {
            Self::NotDime => "fetch.not_dime",
            Self::Record(_) => "fetch.record",
            Self::SeveralRecords => "fetch.several_records",
            Self::Bogus => "fetch.bogus",
            Self::NoAnswer => "fetch.no_answer",
            Self::Lookup(error) => error.variant(),
            Self::Custody(Broken::Start) => "fetch.custody.start",
            Self::Custody(Broken::Signet(..)) => "fetch.custody.signet",
            Self::Custody(Broken::Link(_)) => "fetch.custody.link",
            Self::Custody(Broken::End) => "fetch.custody.end",
            Self::Custody(Broken::TooLong) => "fetch.custody.too_long",
            Self::Forgotten => "fetch.custody.forgotten",
            Self::KeyUnproven => "fetch.key_unproven",
        }
    }
}

impl Refused for LookupError {
    fn variant(&self) -> &'static str {
        match self {
            Self::NotDime => "fetch.not_dime",
            Self::NotFound | Self::Dx(DxError::NotFound) => "fetch.not_found",
            Self::NoOrganization => "fetch.no_organization",
            Self::Invalid(error) => signet::Error::variant(error),
            Self::WrongFingerprint => "fetch.wrong_fingerprint",
            Self::CustodyBroken => "fetch.custody.broken",
            Self::Name(_) => "fetch.name",
            Self::Dx(DxError::NullMx) => "fetch.null_mx",
            Self::Dx(DxError::Certificate { .. }) => "fetch.certificate",
            Self::Dx(DxError::NotCovered) => "fetch.not_covered",
            Self::Dx(DxError::Permanent { .. }) => "fetch.refused",
            _ => "fetch.unreachable",
        }
    }
}
