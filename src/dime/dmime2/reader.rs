//! The recipient's side, and the author's with a sent copy: everything is verified before anything is shown
//! (`dmime2.md` §10.4, §10.5).

use super::access::{Access, Candidate};
use super::envelope::{DestinationEnvelope, OriginEnvelope, in_destination_envelope, in_origin_envelope};
use super::layout::{Actor, ChunkType};
use super::outline::Outline;
use super::rule::{Refused, Rule, demand};
use super::signets::{KnownOrg, KnownUser, is_signed_by};
use super::time::{Replay, WINDOW_SECS, check_age, check_not_future};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::fingerprint::FullFingerprint;
use crate::mail::address::Mailbox;

/// A message with both envelopes open, for the account that reads it. Nothing is proven yet.
#[derive(Debug)]
pub struct Reading {
    outline: Outline,
    role: Role,
    access: Access,
    origin_envelope: OriginEnvelope,
    destination_envelope: DestinationEnvelope,
}

/// Which of the two readers of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Author,
    Recipient,
}

/// The signets that the envelopes name, as the reader knows them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signets<'a> {
    /// Of the author, validated under the origin's. When the author reads, its own.
    pub author: Option<KnownUser<'a>>,
    /// Of the author's organization.
    pub origin: Option<KnownOrg<'a>>,
    /// Of the recipient's organization.
    pub destination: Option<KnownOrg<'a>>,
    /// Of the recipient; not needed when the recipient reads.
    pub recipient: Option<KnownUser<'a>>,
}

impl Reading {
    /// For the recipient: rules T1, T2, K1–K7, E1–E3, E5.
    ///
    /// `arrival` is the time that the destination recorded, `now` the clock of a reader that has one of its own.
    pub fn as_recipient(
        outline: &Outline,
        candidates: &[Candidate],
        account: &Mailbox,
        arrival: u64,
        now: Option<u64>,
    ) -> Result<Self, Refused> {
        if let Some(now) = now {
            check_not_future(arrival, now)?;
        }
        check_age(outline.created(), arrival, WINDOW_SECS)?;
        let reading = Self::open(outline, Role::Recipient, candidates)?;
        let named = &reading.destination_envelope;
        let in_line = |rule, name| in_destination_envelope(rule).of_field(name);
        demand(named.recipient == *account, in_line(Rule::E3, "Recipient"))?;
        demand(
            named.recipient_signet == reading.access.signet(),
            in_line(Rule::E3, "Recipient-Signet"),
        )?;
        reading.check_domains()?;
        Ok(reading)
    }

    /// For the author of a sent copy: rules K1–K7, E1–E3, E5. Without an author copy no key fits (K1).
    pub fn as_author(
        outline: &Outline,
        candidates: &[Candidate],
        account: &Mailbox,
    ) -> Result<Self, Refused> {
        let reading = Self::open(outline, Role::Author, candidates)?;
        let named = &reading.origin_envelope;
        let in_line = |rule, name| in_origin_envelope(rule).of_field(name);
        demand(named.author == *account, in_line(Rule::E3, "Author"))?;
        demand(
            named.author_signet == reading.access.signet(),
            in_line(Rule::E3, "Author-Signet"),
        )?;
        reading.check_domains()?;
        Ok(reading)
    }

    fn open(outline: &Outline, role: Role, candidates: &[Candidate]) -> Result<Self, Refused> {
        let skeleton = outline.skeleton();
        let actor = match role {
            Role::Author => Actor::Author,
            Role::Recipient => Actor::Recipient,
        };
        let access = Access::find(skeleton, actor, candidates)?;
        let four = access.data(skeleton, ChunkType::OriginEnvelope)?;
        let five = access.data(skeleton, ChunkType::DestinationEnvelope)?;
        Ok(Self {
            outline: outline.clone(),
            role,
            access,
            origin_envelope: OriginEnvelope::decode(&four).map_err(in_origin_envelope)?,
            destination_envelope: DestinationEnvelope::decode(&five).map_err(in_destination_envelope)?,
        })
    }

    /// Rule E5.
    fn check_domains(&self) -> Result<(), Refused> {
        check_domains(&self.origin_envelope, &self.destination_envelope)
    }

    /// Author and destination, with the signets to look up.
    pub fn origin_envelope(&self) -> &OriginEnvelope {
        &self.origin_envelope
    }

    /// Recipient and origin, with the signets to look up.
    pub fn destination_envelope(&self) -> &DestinationEnvelope {
        &self.destination_envelope
    }

    /// When the author sealed it, in unix seconds.
    pub fn created(&self) -> u64 {
        self.outline.created()
    }

    /// The own signet that the author used.
    pub fn own_signet(&self) -> FullFingerprint {
        self.access.signet()
    }

    /// Verifies both signatures with the signets named: rules E4, K2–K7 of chunks 225 and 255, S1, S2.
    pub fn check(self, signets: &Signets<'_>) -> Result<Verified, Refused> {
        let skeleton = self.outline.skeleton();
        let created = skeleton.created();
        let (from, to) = (&self.origin_envelope, &self.destination_envelope);
        let origin = KnownOrg::check(signets.origin, &to.origin, &to.origin_signet, created)
            .map_err(|rule| in_destination_envelope(rule).of_field("Origin-Signet"))?;
        KnownOrg::check(
            signets.destination,
            &from.destination,
            &from.destination_signet,
            created,
        )
        .map_err(|rule| in_origin_envelope(rule).of_field("Destination-Signet"))?;
        let author = self.check_users(signets, created)?;
        let signature = self.access.signature(skeleton, ChunkType::AuthorSignature)?;
        let verified = author.verify(&skeleton.author_input(), &signature);
        verified.map_err(|_| skeleton.in_chunk(ChunkType::AuthorSignature, Rule::S1))?;
        if self.role == Role::Recipient || !skeleton.is_blank() {
            let signature = self.access.signature(skeleton, ChunkType::OriginSignature)?;
            let signed = is_signed_by(origin, &skeleton.origin_input(), &signature);
            demand(signed, skeleton.in_chunk(ChunkType::OriginSignature, Rule::S2))?;
        }
        Ok(Verified(self))
    }

    /// E4 for the other user; the author's key.
    fn check_users(&self, signets: &Signets<'_>, created: u64) -> Result<VerifyingKey, Refused> {
        let (from, to) = (&self.origin_envelope, &self.destination_envelope);
        let of_author = |rule| in_origin_envelope(rule).of_field("Author-Signet");
        let of_recipient = |rule| in_destination_envelope(rule).of_field("Recipient-Signet");
        match self.role {
            Role::Recipient => {
                let author = KnownUser::check(signets.author, &from.author, &from.author_signet, created)
                    .map_err(of_author)?;
                Ok(author.signing_key())
            }
            Role::Author => {
                KnownUser::check(signets.recipient, &to.recipient, &to.recipient_signet, created)
                    .map_err(of_recipient)?;
                let own = signets.author.ok_or_else(|| of_author(Rule::E4))?.signet;
                let is_named = own.full_fingerprint() == Some(from.author_signet);
                demand(is_named, of_author(Rule::E4))?;
                Ok(own.signing_key())
            }
        }
    }
}

/// Rule E5: author and origin, recipient and destination agree.
pub(super) fn check_domains(from: &OriginEnvelope, to: &DestinationEnvelope) -> Result<(), Refused> {
    demand(
        *from.author.domain() == to.origin,
        in_destination_envelope(Rule::E5).of_field("Origin"),
    )?;
    demand(
        *to.recipient.domain() == from.destination,
        in_origin_envelope(Rule::E5).of_field("Destination"),
    )
}

/// A message whose author and origin are proven. Its content is still sealed.
#[derive(Debug)]
pub struct Verified(Reading);

impl Verified {
    /// Author and destination.
    pub fn origin_envelope(&self) -> &OriginEnvelope {
        &self.0.origin_envelope
    }

    /// Recipient and origin.
    pub fn destination_envelope(&self) -> &DestinationEnvelope {
        &self.0.destination_envelope
    }

    /// The message.
    pub fn outline(&self) -> &Outline {
        &self.0.outline
    }

    /// What the mailbox remembers, also of deleted messages (T3).
    pub fn replay(&self) -> Replay {
        self.0.outline.replay()
    }

    pub(super) fn access(&self) -> &Access {
        &self.0.access
    }
}
