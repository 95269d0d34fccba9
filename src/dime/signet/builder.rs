//! Making signets: fields are only ever appended, so that no signature outlives what it covers (D12, D17).

use std::fmt::Display;
use std::marker::PhantomData;

use super::Error;
use super::field::{Kind, Level, Shape, id};
use super::object::{MAX_PAYLOAD, SIGNING_KEY_FORMAT, Signet};
use super::profile::{Entry, Profile};
use crate::crypto::ed25519::{SigningKey, VerifyingKey};

/// A payload that grows in ascending order of field ids.
pub(super) struct Draft {
    kind: Kind,
    payload: Vec<u8>,
}

impl Draft {
    pub(super) fn new(kind: Kind) -> Self {
        let payload = Vec::new();
        Self { kind, payload }
    }

    /// Goes on behind the field `last` of an existing object, perhaps under another magic number.
    pub(super) fn continuing(signet: &Signet, last: u8, kind: Kind) -> Self {
        let payload = signet.below(last.saturating_add(1)).to_vec();
        Self { kind, payload }
    }

    /// Appends a field. [`Error::Content`] when empty or too long for its length octets.
    pub(super) fn push(&mut self, id: u8, data: &[u8]) -> Result<(), Error> {
        let shape = self.kind.rule(id).ok_or(Error::Reserved(id))?.shape;
        self.push_as(shape, id, None, data)
    }

    pub(super) fn push_signing_key(&mut self, key: &VerifyingKey) -> Result<(), Error> {
        self.push(id::SIGNING_KEY, &[&[SIGNING_KEY_FORMAT][..], &key.0].concat())
    }

    /// Appends the signature over everything so far.
    pub(super) fn sign(&mut self, id: u8, key: &SigningKey) -> Result<(), Error> {
        let signature = key.sign(&self.payload);
        self.push(id, &signature.0)
    }

    pub(super) fn finish(self) -> Result<Signet, Error> {
        Signet::from_payload(self.kind, self.payload)
    }

    fn push_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let shape = self.kind.rule(entry.id).ok_or(Error::Reserved(entry.id))?.shape;
        self.push_as(shape, entry.id, entry.name.as_deref(), &entry.data)
    }

    fn push_as(&mut self, shape: Shape, id: u8, name: Option<&[u8]>, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() || data.len() > shape.limit() {
            return Err(Error::Content(id));
        }
        self.payload.push(id);
        if let Some(name) = name {
            self.payload
                .push(u8::try_from(name.len()).map_err(|_| Error::Content(id))?);
            self.payload.extend_from_slice(name);
        }
        let length = (data.len() as u32).to_be_bytes();
        self.payload.extend_from_slice(match shape {
            Shape::Signature => &[],
            Shape::Short => &length[3..],
            Shape::Medium | Shape::Named => &length[2..],
            Shape::Long => &length[1..],
        });
        self.payload.extend_from_slice(data);
        match self.payload.len() <= MAX_PAYLOAD {
            true => Ok(()),
            false => Err(Error::TooLarge),
        }
    }
}

/// A signet with its cryptographic signature, to be finished at one of the levels.
///
/// `Name` is what its identifier is: a [`Domain`](crate::mail::address::Domain) or a
/// [`Mailbox`](crate::mail::address::Mailbox).
pub struct Builder<'a, Name> {
    key: &'a SigningKey,
    draft: Draft,
    profile: Profile,
    name: PhantomData<fn(&Name)>,
}

impl<'a, Name: Display> Builder<'a, Name> {
    pub(super) fn sealed(mut draft: Draft, key: &'a SigningKey) -> Result<Self, Error> {
        let signature = draft.kind.signature_of(Level::Crypto);
        draft.sign(signature.unwrap_or_default(), key)?;
        Ok(Self::over(draft, Profile::new(), key))
    }

    /// Keeps the keys and the cryptographic signature of an existing signet, and its profile for further changes.
    pub(super) fn editing(signet: &Signet, key: &'a SigningKey) -> Self {
        let last = signet.kind().signature_of(Level::Crypto).unwrap_or_default();
        let draft = Draft::continuing(signet, last, signet.kind());
        Self::over(draft, Profile::of(signet), key)
    }

    fn over(draft: Draft, profile: Profile, key: &'a SigningKey) -> Self {
        Self {
            key,
            draft,
            profile,
            name: PhantomData,
        }
    }

    /// Replaces the profile.
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The profile, for changing it.
    pub fn profile_mut(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The signet up to the cryptographic signature; the profile is left out.
    pub fn crypto(self) -> Result<Signet, Error> {
        self.draft.finish()
    }

    /// The signet with its profile, up to the full signature.
    pub fn full(self) -> Result<Signet, Error> {
        self.signed_full()?.finish()
    }

    /// The signet with profile and identifier.
    pub fn identifiable(self, name: &Name) -> Result<Signet, Error> {
        let key = self.key;
        let mut draft = self.signed_full()?;
        draft.push(id::IDENTIFIER, name.to_string().as_bytes())?;
        draft.sign(id::ID_SIGNATURE, key)?;
        draft.finish()
    }

    fn signed_full(mut self) -> Result<Draft, Error> {
        for entry in self.profile.entries() {
            self.draft.push_entry(entry)?;
        }
        self.draft.sign(id::FULL_SIGNATURE, self.key)?;
        Ok(self.draft)
    }
}
