//! The signets of the four parties, verified for the names that a message gives them.

use std::cell::RefCell;
use std::fmt;

use clap::Args;

use super::names::{Names, Role};
use crate::cli::Misuse;
use crate::cli::answer::printable;
use crate::cli::files::FileName;
use crate::cli::refusal::Refusal;
use crate::cli::signet::read;
use crate::dime::dmime2::signets::Known;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint};
use crate::dime::key_set::SignedKeySet;
use crate::dime::signet::{self, Kind, Level, Signet, VerifiedOrg, VerifiedUser, verify_org, verify_user};
use crate::mail::address::{Domain, Mailbox};

/// Signet files. Each option may be given more than once, oldest signet first: the last one is the current one, and those before it
/// count for messages that were sealed while their key set was alive.
#[derive(Debug, Clone, Default, Args)]
pub struct Signets {
    /// Signet of the author; more than once, the current one last.
    #[arg(long, value_name = "FILE")]
    author_signet: Vec<FileName>,
    /// Signet of the author's organization; more than once, the current one last.
    #[arg(long, value_name = "FILE")]
    origin_signet: Vec<FileName>,
    /// Signet of the recipient's organization; more than once, the current one last.
    #[arg(long, value_name = "FILE")]
    destination_signet: Vec<FileName>,
    /// Signet of the recipient; more than once, the current one last.
    #[arg(long, value_name = "FILE")]
    recipient_signet: Vec<FileName>,
}

/// Signets and names as they were given.
#[derive(Debug, Args)]
pub struct Actors {
    #[command(flatten)]
    pub names: Names,
    #[command(flatten)]
    pub signets: Signets,
    /// Why signets do not count, for who asks why a message does not.
    #[arg(skip)]
    troubles: RefCell<Vec<Refusal>>,
    /// Signets that were read: a pipe gives one once.
    #[arg(skip)]
    known: RefCell<Vec<(Kind, FileName, Signet)>>,
}

/// A signet of somebody, verified.
#[derive(Debug)]
pub struct Version<S> {
    /// Where it was read.
    pub file: FileName,
    /// The signet.
    pub signet: S,
    /// Its key set, if it is signed by its owner.
    set: Option<SignedKeySet>,
}

/// All signets of one owner that were given, oldest first; never empty.
#[derive(Debug)]
pub struct Versions<S>(Vec<Version<S>>);

/// Of an organization.
pub type Organization = Versions<VerifiedOrg>;
/// Of a user.
pub type User = Versions<VerifiedUser>;

impl Actors {
    /// Every input file.
    pub fn files(&self) -> impl Iterator<Item = &FileName> {
        let all = [Role::Author, Role::Origin, Role::Destination, Role::Recipient];
        all.into_iter().flat_map(|role| self.files_of(role))
    }

    /// Signets of the role's own, not verified: what private keys are compared with.
    pub fn own(&self, role: Role) -> anyhow::Result<Vec<Signet>> {
        let kind = match role {
            Role::Author | Role::Recipient => Kind::User,
            Role::Origin | Role::Destination => Kind::Organization,
        };
        let files = self.needed(role)?.iter();
        files.map(|file| self.signet(kind, file)).collect()
    }

    /// The name of an organization as it was given, or as its current signet has it.
    pub fn own_domain(&self, role: Role) -> anyhow::Result<Domain> {
        match self.names.domain(role) {
            Some(domain) => Ok(domain.clone()),
            None => self.identifier(role),
        }
    }

    /// The address of a user as it was given, or as the current signet has it.
    pub fn own_address(&self, role: Role) -> anyhow::Result<Mailbox> {
        match self.names.address(role) {
            Some(address) => Ok(address.clone()),
            None => self.identifier(role),
        }
    }

    /// The organization's signets, verified for the name in a message; `None` if they are not for that name or not valid.
    pub fn organization(&self, role: Role, named: &Domain) -> anyhow::Result<Option<Organization>> {
        let given = self.names.domain(role);
        let verify = |file: &FileName| {
            let signet = self.read((role, named), Kind::Organization, file, given.is_some())?;
            let verified = self.verify_organization(&signet, named);
            let verified = verified.map_err(|error| Refusal::in_signet(&error, &signet).of_file(file))?;
            let set = SignedKeySet::of(verified.signet()).ok().flatten();
            Ok((verified, set))
        };
        self.versions((role, named), given.is_none_or(|given| given == named), verify)
    }

    /// The user's signets, verified for the name in a message under those of the organization.
    pub fn user(
        &self,
        role: Role,
        named: &Mailbox,
        organization: Option<&Organization>,
    ) -> anyhow::Result<Option<User>> {
        let given = self.names.address(role);
        let verify = |file: &FileName| {
            let signet = self.read((role, named), Kind::User, file, given.is_some())?;
            let verified = under_any(&signet, organization, named);
            let verified = verified.map_err(|error| Refusal::in_signet(&error, &signet).of_file(file))?;
            let set = SignedKeySet::of(verified.signet()).ok().flatten();
            Ok((verified, set))
        };
        let fits = organization.is_some() && given.is_none_or(|given| given == named);
        self.versions((role, named), fits, verify)
    }

    /// Keeps a reason for who asks why a message does not open.
    pub fn note(&self, trouble: Refusal) {
        self.troubles.borrow_mut().push(trouble);
    }

    /// Why a signet, or no private key, did not count.
    pub fn trouble(&self) -> Option<Refusal> {
        self.troubles.borrow().first().cloned()
    }

    fn verify_organization(&self, signet: &Signet, named: &Domain) -> Result<VerifiedOrg, signet::Error> {
        // The organization that the signet names, if it may speak for the domain.
        let domain = read::identifier(signet).unwrap_or_else(|| named.clone());
        let keys = match self.names.primary_keys(&domain) {
            Some(keys) => keys,
            None => read::own_key(signet).into_iter().collect(),
        };
        let verified = verify_org(signet, &keys, &domain)?;
        match verified.governs(named) {
            true => Ok(verified),
            false => Err(signet::Error::WrongName),
        }
    }

    /// All signets of a role, if all are good.
    fn versions<S>(
        &self,
        (role, named): (Role, &dyn fmt::Display),
        fits: bool,
        verify: impl Fn(&FileName) -> anyhow::Result<(S, Option<SignedKeySet>)>,
    ) -> anyhow::Result<Option<Versions<S>>> {
        let files = self.files_of(role);
        if files.is_empty() {
            return Err(lacking(role, Some(named)).into());
        }
        if !fits {
            return Ok(None);
        }
        let read = files.iter().map(|file| {
            verify(file).map(|(signet, set)| Version {
                file: file.clone(),
                signet,
                set,
            })
        });
        match read.collect::<anyhow::Result<Vec<_>>>() {
            Ok(versions) => Ok(Some(Versions(versions))),
            Err(error) => self.remember(error).map(|()| None),
        }
    }

    /// A refused signet is as good as none; everything else ends the command.
    fn remember(&self, error: anyhow::Error) -> anyhow::Result<()> {
        self.note(error.downcast::<Refusal>()?);
        Ok(())
    }

    fn read(
        &self,
        (role, named): (Role, &dyn fmt::Display),
        kind: Kind,
        file: &FileName,
        is_named: bool,
    ) -> anyhow::Result<Signet> {
        let signet = self.signet(kind, file)?;
        match is_named || signet.level() == Some(Level::Id) {
            true => Ok(signet),
            false => Err(nameless(role, Some(named), file).into()),
        }
    }

    fn signet(&self, kind: Kind, file: &FileName) -> anyhow::Result<Signet> {
        let known = |(of, name, _): &&(Kind, FileName, Signet)| (of, name) == (&kind, file);
        if let Some((_, _, signet)) = self.known.borrow().iter().find(known) {
            return Ok(signet.clone());
        }
        let signet = read::signet_of(kind, file)?;
        self.known.borrow_mut().push((kind, file.clone(), signet.clone()));
        Ok(signet)
    }

    fn identifier<Name: std::str::FromStr>(&self, role: Role) -> anyhow::Result<Name> {
        let own = self.own(role)?;
        let files = self.needed(role)?;
        let file = files.last().unwrap_or(&files[0]);
        let name = own.last().and_then(read::identifier);
        name.ok_or_else(|| nameless(role, None, file).into())
    }

    fn needed(&self, role: Role) -> anyhow::Result<&[FileName]> {
        match self.files_of(role) {
            [] => Err(lacking(role, None).into()),
            files => Ok(files),
        }
    }

    fn files_of(&self, role: Role) -> &[FileName] {
        match role {
            Role::Author => &self.signets.author_signet,
            Role::Origin => &self.signets.origin_signet,
            Role::Destination => &self.signets.destination_signet,
            Role::Recipient => &self.signets.recipient_signet,
        }
    }
}

impl<S> Versions<S> {
    /// The current signet.
    pub fn current(&self) -> &Version<S> {
        // There is at least one file for each role that is asked for.
        &self.0[self.0.len() - 1]
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version<S>> {
        self.0.iter()
    }

    fn find(&self, wanted: impl Fn(&S) -> bool) -> Option<(&Version<S>, bool)> {
        let place = self.0.iter().rposition(|version| wanted(&version.signet))?;
        Some((&self.0[place], place + 1 == self.0.len()))
    }
}

macro_rules! versions {
    ($($signet:ty),*) => {$(
        impl Versions<$signet> {
            /// The one with that full fingerprint, and whether it is the current one.
            pub fn of_full(&self, fingerprint: &FullFingerprint) -> Option<(&Version<$signet>, bool)> {
                self.find(|signet| signet.full_fingerprint() == Some(*fingerprint))
            }

            /// The one with that cryptographic fingerprint.
            pub fn of_crypto(&self, fingerprint: &CryptoFingerprint) -> Option<(&Version<$signet>, bool)> {
                self.find(|signet| signet.crypto_fingerprint() == *fingerprint)
            }

            /// What the rules of D/MIME 2 want to know of the one with that full fingerprint.
            pub fn known(&self, fingerprint: &FullFingerprint) -> Option<Known<'_, $signet>> {
                let (version, is_current) = self.of_full(fingerprint)?;
                Some(Known {
                    signet: &version.signet,
                    key_set: version.set.as_ref(),
                    is_current,
                })
            }
        }
    )*};
}
versions!(VerifiedOrg, VerifiedUser);

/// Verifies a user's signet under whichever of the organization's signets vouches for it, the newest first.
fn under_any(
    signet: &Signet,
    organization: Option<&Organization>,
    named: &Mailbox,
) -> Result<VerifiedUser, signet::Error> {
    let mut refused = signet::Error::UnknownPrimaryKey;
    for version in organization.into_iter().flat_map(|all| all.0.iter().rev()) {
        match verify_user(signet, &version.signet, None, named) {
            Ok(verified) => return Ok(verified),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Whom the message names, which nothing has verified so far, if that is known.
fn claimed(named: Option<&dyn fmt::Display>) -> String {
    named.map_or_else(String::new, |named| {
        let name = printable(&named.to_string());
        format!(" (by the message, not verified yet, that is {name})")
    })
}

fn lacking(role: Role, named: Option<&dyn fmt::Display>) -> Misuse {
    Misuse(format!(
        "the signet of the {0} is needed: --{0}-signet{1}",
        role.name(),
        claimed(named)
    ))
}

fn nameless(role: Role, named: Option<&dyn fmt::Display>, file: &FileName) -> Misuse {
    let option = match role {
        Role::Author => "--from",
        Role::Recipient => "--to",
        Role::Origin => "--origin or --from",
        Role::Destination => "--destination or --to",
    };
    Misuse(format!(
        "{file} does not say whose signet it is; say so with {option}{}",
        claimed(named)
    ))
}
