//! Changes of keys, signing requests, domains that leave DIME, and the signing keys that others had.

use async_trait::async_trait;

use super::Error;
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::{CryptoFingerprint, FullFingerprint};
use crate::mail::address::Domain;

/// How far a change of keys is.
///
/// | State | Organization | User |
/// |---|---|---|
/// | generated | new keys are made; the record is to be published with both primary keys | new keys are made |
/// | published | DNS has both; copies of the record before it run out | – |
/// | seen | nobody can have the record before it any more; the new keys are being put to use | – |
/// | active | the new keys are in use, the old ones open what is under way | the same |
/// | retired | the old private keys are erased; the record is to be published without the old primary key | – |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RolloverState {
    /// Keys exist.
    Generated,
    /// DNS shows them.
    Published,
    /// Everybody can have seen them.
    Seen,
    /// They are in use.
    Active,
    /// The old ones are gone.
    Retired,
}

impl RolloverState {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Generated, "generated"),
        (Self::Published, "published"),
        (Self::Seen, "seen"),
        (Self::Active, "active"),
        (Self::Retired, "retired"),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(state, _)| *state == self);
        found.map_or("", |(_, name)| name)
    }

    /// Reads the word.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(state, _)| *state)
    }
}

/// A change of keys under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollover {
    /// Domain or address, folded.
    pub name: String,
    /// How far it is.
    pub state: RolloverState,
    /// The signet with the old keys.
    pub replaces: CryptoFingerprint,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When this state was reached.
    pub since: Timestamp,
    /// When the next step may be taken; `None` if that does not depend on time alone.
    pub due_at: Option<Timestamp>,
}

/// A signing request that waits, or was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    /// Address, folded.
    pub name: String,
    /// The binary request.
    pub object: Vec<u8>,
    /// The value of the key set to publish with it.
    pub key_set: Option<Vec<u8>>,
    /// When it came.
    pub submitted_at: Timestamp,
    /// When and why it was rejected.
    pub rejected: Option<(Timestamp, String)>,
}

/// How far a domain is on its way out of DIME.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetirementState {
    /// The record is to be published with policy `experimental` and an expiry of one day.
    Announced,
    /// DNS has that record; what others have pinned before runs out.
    Expiring,
    /// The record is to be removed, and is not used by anybody once copies of it have run out.
    Withdrawn,
}

impl RetirementState {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Announced, "announced"),
        (Self::Expiring, "expiring"),
        (Self::Withdrawn, "withdrawn"),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(state, _)| *state == self);
        found.map_or("", |(_, name)| name)
    }

    /// Reads the word.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(state, _)| *state)
    }
}

/// A domain on its way out of DIME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// Which.
    pub name: Domain,
    /// How far.
    pub state: RetirementState,
    /// When this state was reached.
    pub since: Timestamp,
    /// When the next step may be taken; `None` if that does not depend on time alone.
    pub due_at: Option<Timestamp>,
}

/// The keys that somebody had when last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustodyPin {
    /// The signing key.
    pub signing_key: VerifyingKey,
    /// The signet.
    pub signet: CryptoFingerprint,
}

/// Keys to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnessed {
    /// The keys.
    pub pin: CustodyPin,
    /// When they are forgotten.
    pub expires_at: Timestamp,
    /// They were seen with a message of theirs. Others decide how many such there are, so of those whom nobody here has
    /// written to only the [`MAX_AUTHORS`] seen last are remembered.
    pub as_author: bool,
}

/// Keys remembered at most of authors whom nobody here has written to.
pub const MAX_AUTHORS: u32 = 50_000;

/// Life cycles on disk. Names are domains and addresses, found without regard to case.
#[async_trait]
pub trait LifeCycle: Send + Sync {
    /// Begins a change of keys in state `generated`; [`Error::Exists`] if one is under way.
    async fn begin_rollover(
        &self,
        name: &str,
        replaces: CryptoFingerprint,
        keys: Secret<Vec<u8>>,
        now: Timestamp,
    ) -> Result<(), Error>;
    /// The change of keys of that name.
    async fn rollover(&self, name: &str) -> Result<Option<Rollover>, Error>;
    /// The new private keys, armored.
    async fn rollover_keys(&self, name: &str) -> Result<Option<Secret<Vec<u8>>>, Error>;
    /// All changes of keys that are under way, by name.
    async fn rollovers(&self) -> Result<Vec<Rollover>, Error>;
    /// Takes a step, if the state is still `from`; else [`Error::Changed`].
    async fn advance_rollover(
        &self,
        name: &str,
        from: RolloverState,
        to: RolloverState,
        since: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<(), Error>;
    /// Forgets a change of keys that is in state `from`; else [`Error::Changed`].
    async fn end_rollover(&self, name: &str, from: RolloverState) -> Result<(), Error>;
    /// Erases the new private keys of a change of keys and forgets it, though not the public key that DNS may have already, if it is in state `from` and `current` still is the
    /// current signet; else [`Error::Changed`]. What held the keys is overwritten; [`Error::LogInUse`] if it is not
    /// in the log, which others use.
    async fn cancel_rollover(
        &self,
        name: &str,
        from: RolloverState,
        current: Option<FullFingerprint>,
        in_record: Option<VerifyingKey>,
    ) -> Result<(), Error>;
    /// Public keys of changes of keys that were called off.
    async fn withdrawn_keys(&self, name: &Domain) -> Result<Vec<VerifyingKey>, Error>;

    /// Overwrites in the log what was erased by a call that ended in [`Error::LogInUse`].
    async fn finish_erasing(&self) -> Result<(), Error>;

    /// Takes signets of `name` out of service; how many were in service.
    async fn revoke_signets(
        &self,
        name: &str,
        signets: &[CryptoFingerprint],
        now: Timestamp,
    ) -> Result<u64, Error>;
    /// Erases the private keys of replaced signets that are due; how many there were. What held them is overwritten;
    /// [`Error::LogInUse`] if it is not, and is to be tried again.
    async fn erase_private_keys(&self, now: Timestamp) -> Result<u64, Error>;

    /// Puts a request in the place of the one that its name had.
    async fn submit_request(&self, request: SigningRequest) -> Result<(), Error>;
    /// The request of that name.
    async fn signing_request(&self, name: &str) -> Result<Option<SigningRequest>, Error>;
    /// All requests, the oldest first.
    async fn signing_requests(&self) -> Result<Vec<SigningRequest>, Error>;
    /// Rejects exactly that request; [`Error::Changed`] if another one has come, or it was decided.
    async fn reject_request(
        &self,
        request: &SigningRequest,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Error>;
    /// Drops exactly that request, because it was granted; whether it was there.
    async fn drop_request(&self, request: &SigningRequest) -> Result<bool, Error>;

    /// Begins to take a domain out of DIME; [`Error::Exists`] if that is under way.
    async fn begin_retirement(&self, name: &Domain, now: Timestamp) -> Result<(), Error>;
    /// How far a domain is on its way out.
    async fn retirement(&self, name: &Domain) -> Result<Option<Retirement>, Error>;
    /// All domains on their way out.
    async fn retirements(&self) -> Result<Vec<Retirement>, Error>;
    /// Takes a step, if the state is still `from`; else [`Error::Changed`].
    async fn advance_retirement(
        &self,
        name: &Domain,
        from: RetirementState,
        to: RetirementState,
        since: Timestamp,
        due_at: Option<Timestamp>,
    ) -> Result<(), Error>;
    /// The last step: the domain is served without DIME from now on.
    async fn finish_retirement(&self, name: &Domain) -> Result<(), Error>;
    /// Calls a retirement off; whether there was one.
    async fn cancel_retirement(&self, name: &Domain) -> Result<bool, Error>;

    /// The keys that `name` had, if not forgotten at `now`.
    async fn custody_pin(&self, name: &str, now: Timestamp) -> Result<Option<CustodyPin>, Error>;
    /// Remembers keys in the place of `before`; `false`, and nothing is changed, if that is not what is there.
    async fn pin_custody(
        &self,
        name: &str,
        before: Option<CustodyPin>,
        after: Witnessed,
        now: Timestamp,
    ) -> Result<bool, Error>;
    /// Forgets them; whether there was anything.
    async fn forget_custody_pin(&self, name: &str) -> Result<bool, Error>;
}
