//! Signatures without a name: what tools say of an object in a file, whoever it is for.
//!
//! Nothing here makes a [`VerifiedOrg`](super::VerifiedOrg) or [`VerifiedUser`](super::VerifiedUser), which are bound to the name
//! that was asked for.

use super::Error;
use super::field::{Kind, Level, SignatureKind, id};
use super::object::Signet;
use super::org::{Permissions, secondary_keys};
use super::ssr::{check_custody, check_request_signature};
use super::user::{Custody, is_within};
use super::verify::{check, check_name, signed_part};
use crate::crypto::ed25519::VerifyingKey;
use crate::mail::address::{Domain, Mailbox};

/// An object whose signatures verify, up to the highest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The object without fields that no signature covers.
    pub signet: Signet,
    /// How far it reaches; `None` for a signing request.
    pub level: Option<Level>,
    /// What is known of the chain of custody.
    pub custody: Custody,
    /// Every signature and who made it, in the order of their fields.
    pub signatures: Vec<(SignatureKind, VerifyingKey)>,
}

/// Checks the signatures of an organizational signet, whose primary key must be one of `primary_keys`.
///
/// Errors: [`Error::Kind`], [`Error::UnknownPrimaryKey`], [`Error::BadSignature`], [`Error::TooManyKeys`].
pub fn check_org(signet: &Signet, primary_keys: &[VerifyingKey]) -> Result<Checked, Error> {
    signet.expect(Kind::Organization)?;
    let primary = signet.signing_key()?;
    let (signet, level) = signed_part(signet, &[primary])?;
    secondary_keys(&signet)?;
    match primary_keys.contains(&primary) {
        true => Ok(Checked {
            signatures: signers(&signet, level, &[primary]),
            custody: Custody::NoCustody,
            level: Some(level),
            signet,
        }),
        false => Err(Error::UnknownPrimaryKey),
    }
}

/// Checks the signatures of a user signet by the keys of `org`, and of its custody by the predecessor's signing key.
///
/// Errors: [`Error::Kind`], [`Error::BadSignature`], [`Error::CustodyBroken`], [`Error::CustodyMissing`], and
/// [`Error::WrongName`] if both carry an identifier and the organization does not govern the address.
pub fn check_user(
    signet: &Signet,
    org: &Checked,
    predecessor: Option<VerifyingKey>,
) -> Result<Checked, Error> {
    signet.expect(Kind::User)?;
    org.signet.expect(Kind::Organization)?;
    check_request_signature(signet)?;
    let keys = signet_signing_keys(&org.signet)?;
    let (signet, level) = signed_part(signet, &keys)?;
    let custody = check_custody(&signet, predecessor)?;
    check_governed(&signet, &org.signet)?;
    let mut signatures = vec![(SignatureKind::Request, signet.signing_key()?)];
    signatures.extend(signers(&signet, level, &keys));
    Ok(Checked {
        signet,
        level: Some(level),
        custody,
        signatures,
    })
}

/// Checks the signatures of a signing request, and of its custody by the predecessor's signing key.
///
/// Errors: [`Error::Kind`], [`Error::BadSignature`], [`Error::CustodyBroken`], [`Error::CustodyMissing`].
pub fn check_request(signet: &Signet, predecessor: Option<VerifyingKey>) -> Result<Checked, Error> {
    signet.expect(Kind::Request)?;
    check_request_signature(signet)?;
    Ok(Checked {
        signet: signet.clone(),
        level: None,
        custody: check_custody(signet, predecessor)?,
        signatures: vec![(SignatureKind::Request, signet.signing_key()?)],
    })
}

impl Checked {
    /// Demands that a signed identifier is this name: a domain for organizations, an address for users.
    ///
    /// [`Error::Missing`] if there is no signed identifier.
    pub fn expect_name(&self, name: &str) -> Result<(), Error> {
        let identifier = Some(self.signet.required(id::IDENTIFIER)?);
        match self.signet.kind() {
            Kind::Organization => {
                let domain = name.parse::<Domain>().map_err(|_| Error::WrongName)?;
                check_name(identifier, &domain)
            }
            _ => {
                let address = name.parse::<Mailbox>().map_err(|_| Error::WrongName)?;
                check_name(identifier, &address)
            }
        }
    }
}

/// The primary key and the secondary keys that may sign signets, in field order.
fn signet_signing_keys(org: &Signet) -> Result<Vec<VerifyingKey>, Error> {
    let secondary = secondary_keys(org)?.into_iter();
    let permitted = secondary.filter(|key| key.permissions.contain(Permissions::SIGNETS));
    Ok(std::iter::once(org.signing_key()?)
        .chain(permitted.map(|key| key.key))
        .collect())
}

fn signers(signet: &Signet, level: Level, keys: &[VerifyingKey]) -> Vec<(SignatureKind, VerifyingKey)> {
    let levels = [
        (Level::Crypto, SignatureKind::Crypto),
        (Level::Full, SignatureKind::Full),
        (Level::Id, SignatureKind::Id),
    ];
    let reached = levels.into_iter().filter(|(reached, _)| *reached <= level);
    let signed = reached.filter_map(|(level, kind)| {
        let field = signet.kind().signature_of(level)?;
        let made = |key: &&VerifyingKey| check(signet, field, &[**key]).is_ok();
        keys.iter().find(made).map(|key| (kind, *key))
    });
    signed.collect()
}

fn check_governed(user: &Signet, org: &Signet) -> Result<(), Error> {
    let (Some(address), Some(domain)) = (user.field(id::IDENTIFIER), org.field(id::IDENTIFIER)) else {
        return Ok(());
    };
    let address = parsed::<Mailbox>(address).ok_or(Error::WrongName)?;
    let domain = parsed::<Domain>(domain).ok_or(Error::WrongName)?;
    match is_within(address.domain(), &domain) {
        true => Ok(()),
        false => Err(Error::WrongName),
    }
}

fn parsed<Name: std::str::FromStr>(octets: &[u8]) -> Option<Name> {
    std::str::from_utf8(octets).ok()?.parse().ok()
}
