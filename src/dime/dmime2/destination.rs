//! The destination's side: authenticate the origin, then find the recipient (`dmime2.md` §10.3).

use super::access::{Access, Candidate};
use super::envelope::{DestinationEnvelope, in_destination_envelope};
use super::layout::{Actor, ChunkType};
use super::outline::Outline;
use super::rule::{Refused, Rule, demand};
use super::signets::{KnownOrg, KnownUser, is_signed_by};
use super::time::{Replay, WINDOW_SECS, check_age};
use crate::dime::fingerprint::FullFingerprint;
use crate::mail::address::Domain;

/// A message that arrives, with its envelope for the destination open. Its origin is not proven yet, so every refusal is
/// answered alike.
#[derive(Debug)]
pub struct Arrival {
    outline: Outline,
    access: Access,
    envelope: DestinationEnvelope,
}

impl Arrival {
    /// Opens chunk 5: rules T1, T2, K1–K7 and E2, at the time `now`. T1 is no final refusal.
    pub fn open(outline: &Outline, candidates: &[Candidate], now: u64) -> Result<Self, Refused> {
        check_age(outline.created(), now, WINDOW_SECS)?;
        let skeleton = outline.skeleton();
        let access = Access::find(skeleton, Actor::Destination, candidates)?;
        let text = access.data(skeleton, ChunkType::DestinationEnvelope)?;
        Ok(Self {
            outline: outline.clone(),
            access,
            envelope: DestinationEnvelope::decode(&text).map_err(in_destination_envelope)?,
        })
    }

    /// What the author says; only the signet of the domain that the peer gave may be looked up.
    pub fn envelope(&self) -> &DestinationEnvelope {
        &self.envelope
    }

    /// The own signet that the author used.
    pub fn own_signet(&self) -> FullFingerprint {
        self.access.signet()
    }

    /// When the author sealed it, in unix seconds.
    pub fn created(&self) -> u64 {
        self.outline.created()
    }

    /// Rule E6: the origin is the domain that the DMTP peer gave in MAIL. [`check`](Self::check) makes it too.
    pub fn check_peer(&self, peer: &Domain) -> Result<(), Refused> {
        demand(self.envelope.origin == *peer, in_line(Rule::E6, "Origin"))
    }

    /// Authenticates the origin: rules E6, E4, K2–K7 of chunk 255, S2.
    pub fn check(self, peer: &Domain, origin: Option<KnownOrg<'_>>) -> Result<Authenticated, Refused> {
        self.check_peer(peer)?;
        let (skeleton, envelope) = (self.outline.skeleton(), &self.envelope);
        let created = skeleton.created();
        let origin = KnownOrg::check(origin, &envelope.origin, &envelope.origin_signet, created)
            .map_err(|rule| in_line(rule, "Origin-Signet"))?;
        let signature = self.access.signature(skeleton, ChunkType::OriginSignature)?;
        demand(
            is_signed_by(origin, &skeleton.origin_input(), &signature),
            skeleton.in_chunk(ChunkType::OriginSignature, Rule::S2),
        )?;
        Ok(Authenticated {
            outline: self.outline,
            envelope: self.envelope,
        })
    }
}

/// A message whose origin is proven: from here specific answers are allowed (§14).
#[derive(Debug)]
pub struct Authenticated {
    outline: Outline,
    envelope: DestinationEnvelope,
}

/// What the destination knows of the account that a message is for.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// Whether the recipient's domain is served here.
    pub is_served: bool,
    /// Whether the account exists and may receive.
    pub exists: bool,
    /// The signet named in the envelope, if it is the account's and its private key still exists.
    pub signet: Option<KnownUser<'a>>,
}

impl Authenticated {
    /// Recipient and origin, as the author and the origin signed them.
    pub fn envelope(&self) -> &DestinationEnvelope {
        &self.envelope
    }

    /// The message.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// What to remember of it: entered in one durable step with the message itself (T3).
    pub fn replay(&self) -> Replay {
        self.outline.replay()
    }

    /// Rules E5, E3, E4, in this order: no such domain, no such recipient, a stale signet.
    pub fn check_recipient(&self, account: Account<'_>) -> Result<(), Refused> {
        let envelope = &self.envelope;
        demand(account.is_served, in_line(Rule::E5, "Recipient"))?;
        demand(account.exists, in_line(Rule::E3, "Recipient"))?;
        let created = self.outline.created();
        KnownUser::check(
            account.signet,
            &envelope.recipient,
            &envelope.recipient_signet,
            created,
        )
        .map_err(|rule| in_line(rule, "Recipient-Signet"))?;
        Ok(())
    }
}

fn in_line(rule: Rule, name: &'static str) -> Refused {
    in_destination_envelope(rule).of_field(name)
}
