//! The origin's side: is it ours, and from whom we sent it to (`dmime2.md` §12.3).

use super::{Returned, check_times, is_from};
use crate::crypto::ed25519::{Signature, VerifyingKey};
use crate::dime::dmime2::access::{Access, Candidate};
use crate::dime::dmime2::envelope::{OriginEnvelope, in_origin_envelope};
use crate::dime::dmime2::layout::{Actor, ChunkType};
use crate::dime::dmime2::rule::{Refused, Rule, demand};
use crate::dime::dmime2::signets::KnownOrg;
use crate::mail::address::Domain;

/// A returned message whose envelope for the origin is open. Nothing is proven yet.
#[derive(Debug)]
pub struct ToOrigin {
    returned: Returned,
    envelope: OriginEnvelope,
    signature: Signature,
}

impl Returned {
    /// Opens chunks 4 and 255 as the origin: rules K1–K7 and E1.
    pub fn open_as_origin(self, candidates: &[Candidate]) -> Result<ToOrigin, Refused> {
        let skeleton = self.skeleton();
        let access = Access::find(skeleton, Actor::Origin, candidates)?;
        let text = access.data(skeleton, ChunkType::OriginEnvelope)?;
        let signature = access.signature(skeleton, ChunkType::OriginSignature)?;
        Ok(ToOrigin {
            envelope: OriginEnvelope::decode(&text).map_err(in_origin_envelope)?,
            signature,
            returned: self,
        })
    }
}

impl ToOrigin {
    /// Who wrote the message, and which domain's signets to look up.
    pub fn envelope(&self) -> &OriginEnvelope {
        &self.envelope
    }

    /// Rule B3: we signed the message that comes back. To be checked before anybody is asked for a signet because of it;
    /// [`check`](Self::check) makes it too.
    pub fn check_signed_here(&self, own_keys: &[VerifyingKey]) -> Result<(), Refused> {
        let skeleton = self.returned.skeleton();
        let input = skeleton.origin_input();
        let ours = own_keys
            .iter()
            .any(|key| key.verify(&input, &self.signature).is_ok());
        demand(ours, skeleton.in_chunk(ChunkType::OriginSignature, Rule::B3))
    }

    /// Every other check but the memory of B6: rules B3–B6.
    ///
    /// `own_keys` are all own POKs and message SOKs, current and retired; `destination` all signets known of the peer's
    /// domain; `author_exists` says whether the envelope's author is an account here.
    pub fn check(
        self,
        own_keys: &[VerifyingKey],
        peer: &Domain,
        destination: &[KnownOrg<'_>],
        author_exists: bool,
        now: u64,
    ) -> Result<Passed, Refused> {
        self.check_signed_here(own_keys)?;
        let returned = self.returned;
        demand(
            self.envelope.destination == *peer,
            in_origin_envelope(Rule::B4).of_field("Destination"),
        )?;
        let is_from = is_from(&returned, peer, destination);
        demand(is_from, Rule::B4.at(returned.signature_offset()))?;
        demand(author_exists, in_origin_envelope(Rule::B5).of_field("Author"))?;
        check_times(&returned, now, Rule::B6)?;
        Ok(Passed {
            returned,
            envelope: self.envelope,
        })
    }
}

/// A returned message to be passed on to its author, unchanged, once [`Returned::judge`] says that it is the first.
#[derive(Debug)]
pub struct Passed {
    /// The object, with status, scope and what to remember of it.
    pub returned: Returned,
    /// Author and destination.
    pub envelope: OriginEnvelope,
}
