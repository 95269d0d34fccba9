//! Organizations of ours with their keys, as they are asked for with every message.
//!
//! What the store gives is read each time, and one is found again under a hash of all of that: the answer is never an old one.
//! A daemon uses these keys all the time, so that they are no less safe here than on their way; but keys that are erased must
//! not stay here, so everything is forgotten now and then ([`Loaded::forget`]).

use std::sync::{Mutex, PoisonError};

use super::Organization;
use crate::base::recent::Recent;
use crate::crypto::hash::DIGEST_SIZE;

/// Organizations that are remembered, by what they take: some hundred.
const MOST_OCTETS: usize = 4 << 20;

/// What one takes at most, but for profiles of unusual size.
const OCTETS: usize = 16 << 10;

type Question = [u8; DIGEST_SIZE];

/// Those loaded lately.
pub(super) struct Loaded(Mutex<Recent<Question, Organization>>);

impl Default for Loaded {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MOST_OCTETS)))
    }
}

impl Loaded {
    /// The one loaded from what `question` is the hash of.
    pub(super) fn get<E>(
        &self,
        question: Question,
        load: impl FnOnce() -> Result<Organization, E>,
    ) -> Result<Organization, E> {
        if let Some(known) = self.recent().get(&question) {
            return Ok(known.clone());
        }
        let loaded = load()?;
        let octets = OCTETS.max(4 * loaded.signet.object().len());
        self.recent().insert(question, loaded.clone(), octets);
        Ok(loaded)
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        self.recent().clear();
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent<Question, Organization>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
