//! D/MIME 2: sealed from spool to spool, then checked and signed in its place (`dmime2.md` §10.1, §10.2).

use std::sync::Arc;

use super::{Author, Error, of_mapping, of_spool};
use crate::base::id::QueueId;
use crate::base::time::Timestamp;
use crate::crypto::suite::hpke::{PublicKey, Suite};
use crate::dime::convert;
use crate::dime::dmime2::origin::{SignedChunk, Submission};
use crate::dime::dmime2::seal::{self, Organization, Parties, Recipient};
use crate::dime::dmime2::signets::Known;
use crate::dime::dmime2::{Candidate, Limits, Outline};
use crate::dime::fingerprint::FullFingerprint;
use crate::dime::key_set::{KeySet, SignedKeySet};
use crate::dime::signet::{Signet, VerifiedOrg, VerifiedUser};
use crate::mail::address::Mailbox;
use crate::signet_service::Published;
use crate::store::blocking::{Appender, Reader, StoredBody};
use crate::store::{BodyWriter, ReplayEntry, Role, Spool};

/// One message to be sealed for one recipient.
pub struct Request {
    /// The author's signets and keys.
    pub author: Arc<Author>,
    /// The recipient's address as DIME writes it.
    pub recipient: Mailbox,
    /// The current signet of the recipient's organization.
    pub destination: VerifiedOrg,
    /// The recipient's current signet.
    pub signet: VerifiedUser,
    /// To keys of this suite.
    pub suite: Suite,
    /// So that the author can read it, too.
    pub author_copy: bool,
}

/// A sealed and signed object in the spool. A message that adopts it does so with its replay entry in one transaction.
pub struct Sealed {
    /// The id of the message that may adopt it.
    pub id: QueueId,
    /// The object.
    pub writer: Box<dyn BodyWriter>,
    /// What our domain remembers of it as origin.
    pub replay: ReplayEntry,
}

/// Seals `mime` and signs as the origin. Memory does not grow with the message.
pub async fn seal_in_spool(
    published: &Published,
    spool: &dyn Spool,
    request: Request,
    mime: StoredBody,
    now: Timestamp,
) -> Result<Sealed, Error> {
    let domain = request.author.address.domain();
    let candidates = published.candidates(domain.as_str()).await?;
    let candidates: Vec<Candidate> = candidates.into_iter().map(Candidate::from).collect();
    let id = QueueId::random(&mut rand::rng());
    let writer = spool.begin(id).await?;
    let now = u64::try_from(now.unix_secs()).unwrap_or(0);
    let work = move || {
        let writer = seal(&request, mime, writer, now)?;
        sign(&request, &candidates, writer, now)
    };
    let (mut writer, signed, replay) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Interrupted)??;
    writer.overwrite(signed.offset, &signed.octets).await?;
    Ok(Sealed { id, writer, replay })
}

type Writer = Box<dyn BodyWriter>;

fn seal(request: &Request, mime: StoredBody, mut writer: Writer, now: u64) -> Result<Writer, Error> {
    let parties = request.parties(now)?;
    let keys = request.author.user.keys.as_ref().ok_or(Error::NoKeys)?;
    let mut body = Reader::new(mime);
    let content = convert::to_dmime2(&mut body).map_err(of_mapping)?;
    let out = Appender::new(&mut *writer);
    let sealed = seal::write(&parties, &keys.signing, &content, body, out, &mut rand::rng());
    sealed.map_err(of_sealing)?;
    Ok(writer)
}

/// The origin checks what it signs, whoever sealed it.
fn sign(
    request: &Request,
    candidates: &[Candidate],
    mut writer: Writer,
    now: u64,
) -> Result<(Writer, SignedChunk, ReplayEntry), Error> {
    let Author {
        address,
        user,
        organization,
    } = request.author.as_ref();
    let limits = Limits {
        size: writer.size_bytes(),
    };
    let outline = Outline::read(Reader::new(&mut writer), &limits).map_err(|_| Error::OwnCheck)?;
    let submission = Submission::open(&outline, candidates, now).map_err(|_| Error::OwnCheck)?;
    let author = current(&user.signet);
    let destination = current(&request.destination);
    let admissible = submission.check(address.domain(), true, Some(author), Some(destination));
    let admissible = admissible.map_err(|_| Error::OwnCheck)?;
    if organization.signet.full_fingerprint() != Some(admissible.own_signet()) {
        return Err(Error::OwnCheck);
    }
    let replay = ReplayEntry::of(Role::Origin, address.domain(), &admissible.replay());
    Ok((writer, admissible.sign(&organization.keys.signing), replay))
}

/// What has been looked up as the current one, so that its key set does not matter for being in force.
fn current<S>(signet: &S) -> Known<'_, S> {
    Known {
        signet,
        key_set: None,
        is_current: true,
    }
}

impl Request {
    fn parties(&self, now: u64) -> Result<Parties, Error> {
        let Author {
            address,
            user,
            organization,
        } = self.author.as_ref();
        let copy = match self.author_copy {
            true => Some(self.key(user.signet.signet(), now)?),
            false => None,
        };
        Ok(Parties {
            created: now,
            author: seal::Author {
                address: address.clone(),
                signet: full(user.signet.full_fingerprint())?,
                copy,
            },
            origin: self.organization(&organization.signet, now)?,
            destination: self.organization(&self.destination, now)?,
            recipient: Recipient {
                address: self.recipient.clone(),
                signet: full(self.signet.full_fingerprint())?,
                key: self.key(self.signet.signet(), now)?,
            },
        })
    }

    fn organization(&self, signet: &VerifiedOrg, now: u64) -> Result<Organization, Error> {
        Ok(Organization {
            domain: signet.domain().clone(),
            signet: full(signet.full_fingerprint())?,
            key: self.key(signet.signet(), now)?,
        })
    }

    /// The key of our suite in a signet; its key set is judged once more, because time has passed.
    fn key(&self, signet: &Signet, now: u64) -> Result<PublicKey, Error> {
        let set = SignedKeySet::of(signet).ok().flatten().ok_or(Error::KeySet)?;
        let set: KeySet = set.accept(now).map_err(|_| Error::KeySet)?;
        set.key(self.suite).cloned().ok_or(Error::KeySet)
    }
}

fn full(fingerprint: Option<FullFingerprint>) -> Result<FullFingerprint, Error> {
    fingerprint.ok_or(Error::KeySet)
}

fn of_sealing(error: seal::Error) -> Error {
    match error {
        seal::Error::Io(error) => of_spool(error),
        other => Error::Seal2(other),
    }
}
