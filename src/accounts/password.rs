//! Argon2id (RFC 9106), away from the async threads and not too often at once.
//!
//! A check fills 19 MiB. They are kept for the next check, one piece of memory for each that may run at a time: threads that
//! block come and go, and memory that each of them asks for anew is not given back by the C library.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroize as _;

use super::Error;
use crate::base::secret::Secret;
use crate::crypto::scram::{ITERATIONS, Verifier};
use crate::store;

const SHORTEST: usize = 8;
const LONGEST: usize = 1024;

/// Salt and output of a hash that no password has: 16 and 32 octets in unpadded base64.
const NOBODY: &str = "ZGltZWQ6bm9ib2R5Li4uLg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Work per check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// KiB, at least 8.
    pub memory_kib: u32,
    /// At least 1.
    pub passes: u32,
    /// Rounds of PBKDF2 for SCRAM, 4096 at least (RFC 7677 §4): the client's work at each login.
    pub scram_rounds: u32,
}

impl Default for Cost {
    /// 19 MiB and 2 passes, about 20 ms of one core.
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            scram_rounds: ITERATIONS,
        }
    }
}

/// Hashes and checks passwords.
pub struct Passwords {
    cost: Cost,
    permits: Arc<Semaphore>,
    memory: Arc<Mutex<Vec<Memory>>>,
}

impl Passwords {
    /// Works with `cost` on new passwords, at most `concurrent` (at least one) at a time.
    pub fn new(cost: Cost, concurrent: usize) -> Self {
        Self {
            cost,
            permits: Arc::new(Semaphore::new(concurrent.max(1))),
            memory: Arc::default(),
        }
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, Error> {
        check_password(&password)?;
        let argon2 = argon2(self.cost)?;
        self.work(move || {
            let hash = argon2.hash_password(password.expose().as_bytes());
            hash.map(|hash| hash.to_string()).map_err(|_| Error::Hash)
        })
        .await
    }

    /// What SCRAM needs of a new password, as text for the store; `None` for passwords with characters that SASLprep
    /// (RFC 4013) does not allow.
    pub async fn scram_verifier(&self, password: Secret<String>) -> Result<Option<String>, Error> {
        let rounds = self.cost.scram_rounds;
        self.work(move || {
            let Ok(prepared) = stringprep::saslprep(password.expose()) else {
                return Ok(None);
            };
            let prepared = Secret::new(prepared.into_owned());
            let verifier = Verifier::of(&prepared, rounds, &mut rand::rng());
            Ok(Some(verifier.encode().expose().clone()))
        })
        .await
    }

    /// Whether the password is the one of `hash`. Without a hash the same work is done and the answer is no.
    ///
    /// Errors: a hash that cannot be read is [`store::Error::Unreadable`].
    pub async fn verify(&self, password: Secret<String>, hash: Option<String>) -> Result<bool, Error> {
        if password.expose().len() > LONGEST {
            return Ok(false);
        }
        let hash = hash.unwrap_or_else(|| nobody(self.cost));
        let pool = Arc::clone(&self.memory);
        self.work(move || {
            let hash = PasswordHash::new(&hash).map_err(|_| store::Error::Unreadable("password hash"))?;
            let mut memory = locked(&pool).pop().unwrap_or_default();
            let verified = memory.verify(password.expose().as_bytes(), &hash);
            locked(&pool).push(memory);
            Ok(verified)
        })
        .await
    }

    /// Runs `work` on a thread that may block, once it is its turn.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permits = Arc::clone(&self.permits);
        let permit = permits.acquire_owned().await.map_err(|_| Error::Hash)?;
        let done = tokio::task::spawn_blocking(move || {
            // Given back by the thread, so that a caller who goes away does not let another one in too early.
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| Error::Hash)?
    }
}

/// Nothing panics with the lock; if it did, the memory would be as good as before.
fn locked(pool: &Mutex<Vec<Memory>>) -> std::sync::MutexGuard<'_, Vec<Memory>> {
    pool.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one check after another is computed in. Empty in between.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    /// Whether the password is the one of `hash`. It is nobody's if there is no such hash.
    fn verify(&mut self, password: &[u8], hash: &PasswordHash) -> bool {
        let computed = self.compute(password, hash);
        for block in &mut self.0 {
            AsMut::<[u64]>::as_mut(block).zeroize();
        }
        match (&hash.hash, computed) {
            (Some(expected), Some(computed)) => expected.as_bytes().ct_eq(&computed).into(),
            _ => false,
        }
    }

    fn compute(&mut self, password: &[u8], hash: &PasswordHash) -> Option<Vec<u8>> {
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        let version = match hash.version {
            Some(version) => Version::try_from(version).ok()?,
            None => Version::default(),
        };
        let params = Params::try_from(hash).ok()?;
        let salt = hash.salt.as_ref()?;
        let mut output = vec![0; hash.hash.as_ref()?.as_bytes().len()];
        // A hash from before may have had another cost.
        self.0.resize(params.block_count(), Block::new());
        let argon2 = Argon2::new(algorithm, version, params);
        argon2
            .hash_password_into_with_memory(password, salt, &mut output, &mut self.0)
            .ok()?;
        Some(output)
    }
}

/// Whether a new password may be used. Errors: [`Error::UnfitPassword`].
pub fn check_password(password: &Secret<String>) -> Result<(), Error> {
    let text = password.expose();
    match (SHORTEST..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(Error::UnfitPassword),
    }
}

fn argon2(cost: Cost) -> Result<Argon2<'static>, Error> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(|_| Error::Hash)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn nobody(cost: Cost) -> String {
    format!(
        "$argon2id$v=19$m={},t={},p=1${NOBODY}",
        cost.memory_kib, cost.passes
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CHEAP: Cost = Cost {
        memory_kib: 64,
        passes: 1,
        scram_rounds: 4096,
    };

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = Passwords::new(CHEAP, 1);
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert!(
            passwords
                .verify(secret("correct horse"), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(secret("correct horsf"), Some(hash))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn memory_is_kept_for_the_next_check_and_wiped() {
        let passwords = Passwords::new(CHEAP, 2);
        for _ in 0..5 {
            passwords.verify(secret("correct horse"), None).await.unwrap();
        }
        let pool = locked(&passwords.memory);
        assert_eq!(pool.len(), 1);
        let Memory(blocks) = &pool[0];
        assert_eq!(blocks.len(), 64);
        for block in blocks {
            assert!(AsRef::<[u64]>::as_ref(block).iter().all(|word| *word == 0));
        }
    }

    #[tokio::test]
    async fn every_hash_has_its_own_salt() {
        let passwords = Passwords::new(CHEAP, 1);
        let first = passwords.hash(secret("correct horse")).await.unwrap();
        assert_ne!(first, passwords.hash(secret("correct horse")).await.unwrap());
    }

    /// What stands in for an unknown user must be a whole hash of the same cost, or it would be refused at once.
    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let text = nobody(Cost::default());
        let hash = PasswordHash::new(&text).unwrap();
        let params = Params::try_from(&hash).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (19_456, 2, 1)
        );
        assert_eq!(hash.hash.unwrap().as_bytes(), [0; 32]);
        assert_eq!(hash.salt.unwrap().len(), 16);
    }

    #[tokio::test]
    async fn nobody_has_a_password() {
        assert!(!Passwords::new(CHEAP, 1).verify(secret(""), None).await.unwrap());
    }

    #[tokio::test]
    async fn refuses_short_long_and_unprintable_passwords() {
        let passwords = Passwords::new(CHEAP, 1);
        for bad in ["1234567", &"x".repeat(1025), "12345678\n"] {
            assert!(matches!(
                passwords.hash(secret(bad)).await,
                Err(Error::UnfitPassword)
            ));
        }
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_not_a_refusal() {
        let verified = Passwords::new(CHEAP, 1)
            .verify(secret("correct horse"), Some("$argon2id$".into()))
            .await;
        assert!(matches!(verified, Err(Error::Store(store::Error::Unreadable(_)))));
    }
}
