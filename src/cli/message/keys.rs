//! Private keys of one party, and which of its signets they belong to.

use clap::Args;

use super::refused::WrongKeys;
use crate::cli::files::FileName;
use crate::cli::key::{Unlock, private_keys};
use crate::cli::refusal::Refusal;
use crate::cli::signet::read::own_key;
use crate::crypto::ed25519::SigningKey;
use crate::dime::dmime2::Candidate;
use crate::dime::key_set::SignedKeySet;
use crate::dime::keys::kem::KemFile;
use crate::dime::keys::private::PrivateKey;
use crate::dime::keys::{OrgKeys, UserKeys};
use crate::dime::signet::{Signet, VerifiedOrg, id};

/// Files with the private keys of the acting party.
#[derive(Debug, Args)]
pub struct KeyFiles {
    /// Private keys of the acting party, those of its key sets among them; more than once for more files.
    #[arg(long, value_name = "FILE", required = true)]
    pub key: Vec<FileName>,
    #[command(flatten)]
    pub unlock: Unlock,
}

/// Private keys by their kind.
#[derive(Debug, Default)]
pub struct Keys {
    /// Of users.
    pub users: Vec<UserKeys>,
    /// Of organizations.
    pub organizations: Vec<OrgKeys>,
    /// Signing keys alone.
    signing: Vec<SigningKey>,
    key_sets: Vec<KemFile>,
}

impl Keys {
    /// Reads all files.
    pub fn read(files: &[FileName], unlock: &Unlock) -> anyhow::Result<Self> {
        let mut keys = Self::default();
        for file in files {
            for key in private_keys(file, unlock)? {
                match key {
                    PrivateKey::User(user) => keys.users.push(user),
                    PrivateKey::Organization(organization) => keys.organizations.push(organization),
                    PrivateKey::Signing(key) => keys.signing.push(key),
                    PrivateKey::KeySet(set) => keys.key_sets.push(set),
                }
            }
        }
        Ok(keys)
    }

    /// What may open messages of D/MIME 2: signets with the private keys of their key sets, newest first.
    pub fn candidates(&self, own: &[Signet]) -> Vec<Candidate> {
        let pairs = own.iter().rev().flat_map(|signet| {
            let sets = self.key_sets.iter().filter(|file| belong(file, signet));
            sets.filter_map(|file| candidate(signet, file))
        });
        pairs.collect()
    }

    /// Why none of them may open messages of D/MIME 2.
    pub fn misfit(&self) -> WrongKeys {
        match self.key_sets.is_empty() {
            true => WrongKeys::None("a key set"),
            false => WrongKeys::Other,
        }
    }

    /// The user's keys whose public halves the signet has.
    pub fn of_user(&self, signet: &Signet) -> Result<&UserKeys, Refusal> {
        let missing = match self.users.is_empty() {
            true => WrongKeys::None("a user"),
            false => WrongKeys::Other,
        };
        let mut users = self.users.iter();
        users
            .find(|keys| {
                own_key(signet) == Some(keys.signing.verifying_key())
                    && signet.field(id::USER_ENCRYPTION_KEY)
                        == Some(&keys.encryption.public_key().to_compressed())
            })
            .ok_or_else(|| Refusal::new(&missing))
    }

    /// A key that may sign messages for the organization: the primary one if it is there.
    pub fn message_signer(&self, organization: &VerifiedOrg) -> Result<&SigningKey, Refusal> {
        let ours = self.organizations.iter().map(|keys| &keys.signing);
        let all: Vec<_> = ours.chain(&self.signing).collect();
        let mut permitted = organization.message_signing_keys().into_iter();
        permitted
            .find_map(|wanted| all.iter().find(|key| key.verifying_key() == wanted).copied())
            .ok_or_else(|| Refusal::new(&WrongKeys::NotASigner))
    }
}

/// Whether the private keys are those of the key set in the signet.
fn belong(file: &KemFile, signet: &Signet) -> bool {
    let set = SignedKeySet::of(signet).ok().flatten();
    file.kind == signet.kind()
        && own_key(signet) == Some(file.owner)
        && set.is_some_and(|set| file.belongs_to(&set))
}

fn candidate(signet: &Signet, file: &KemFile) -> Option<Candidate> {
    Some(Candidate {
        signet: signet.full_fingerprint()?,
        keys: file.keys.clone(),
    })
}
