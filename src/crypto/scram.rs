//! SCRAM-SHA-256 (RFC 5802, RFC 7677): what a server keeps of a password, and how it checks a proof.

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hash::hmac_sha256 as hmac;
use crate::base::encoding::{base64, base64_decode_padded};
use crate::base::secret::Secret;

/// Rounds for new verifiers. RFC 7677 asks for 4096 at least; they are the client's work at every login and a thief's at
/// every guess.
pub const ITERATIONS: u32 = 100_000;

/// Octets of a new salt.
const SALT_SIZE: usize = 16;

/// Name in front of a stored verifier.
const NAME: &str = "SCRAM-SHA-256";

/// Why text is no verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SCRAM-SHA-256 verifier")]
pub struct NotAVerifier;

/// What the server keeps: enough to check a proof and to prove that it knows the user, not enough to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Salt of PBKDF2.
    pub salt: Vec<u8>,
    stored_key: Secret<[u8; 32]>,
    server_key: Secret<[u8; 32]>,
}

impl Verifier {
    /// Of a password, as prepared by SASLprep, with a fresh salt.
    pub fn of<R: CryptoRng + ?Sized>(password: &Secret<String>, iterations: u32, rng: &mut R) -> Self {
        let mut salt = [0; SALT_SIZE];
        rng.fill_bytes(&mut salt);
        Self::derive(password, iterations, &salt)
    }

    /// Of a password with a given salt.
    pub fn derive(password: &Secret<String>, iterations: u32, salt: &[u8]) -> Self {
        let salted = salted(password, iterations, salt);
        let client_key = Zeroizing::new(hmac(&*salted, b"Client Key"));
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Secret::new(sha256(&*client_key)),
            server_key: Secret::new(hmac(&*salted, b"Server Key")),
        }
    }

    /// A verifier that no password fits, the same for a name whenever `secret` is: so that names without an account look
    /// like others (RFC 5802 §5.1 has nothing for them).
    pub fn of_nobody(secret: &[u8; 32], name: &str, iterations: u32) -> Self {
        let own = Zeroizing::new(hmac(secret, name.as_bytes()));
        let part = |label: &[u8]| hmac(&*own, label);
        Self {
            iterations,
            salt: part(b"salt")[..SALT_SIZE].to_vec(),
            stored_key: Secret::new(part(b"stored key")),
            server_key: Secret::new(part(b"server key")),
        }
    }

    /// Whether the proof shows knowledge of the password: `auth_message` as RFC 5802 §3 has it.
    pub fn is_proven(&self, auth_message: &[u8], proof: &[u8; 32]) -> bool {
        let mut client_key = Zeroizing::new(hmac(self.stored_key.expose(), auth_message));
        for (octet, proof) in client_key.iter_mut().zip(proof) {
            *octet ^= proof;
        }
        sha256(&*client_key).ct_eq(self.stored_key.expose()).into()
    }

    /// What shows the client that the server knows the password.
    pub fn server_signature(&self, auth_message: &[u8]) -> [u8; 32] {
        hmac(self.server_key.expose(), auth_message)
    }

    /// Text for the store: `SCRAM-SHA-256$iterations:salt$stored key:server key` (RFC 5803).
    pub fn encode(&self) -> Secret<String> {
        Secret::new(format!(
            "{NAME}${}:{}${}:{}",
            self.iterations,
            base64(&self.salt),
            base64(self.stored_key.expose()),
            base64(self.server_key.expose())
        ))
    }

    /// Reads what [`encode`](Self::encode) writes.
    pub fn decode(text: &str) -> Result<Self, NotAVerifier> {
        let parts: Vec<&str> = text.split(['$', ':']).collect();
        let [NAME, iterations, salt, stored_key, server_key] = parts[..] else {
            return Err(NotAVerifier);
        };
        let iterations = iterations.parse().map_err(|_| NotAVerifier)?;
        let salt = base64_decode_padded(salt).map_err(|_| NotAVerifier)?;
        if iterations == 0 || salt.is_empty() {
            return Err(NotAVerifier);
        }
        Ok(Self {
            iterations,
            salt,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }
}

/// What a client makes of a password for one login.
#[derive(Debug, PartialEq, Eq)]
pub struct Proof {
    /// Shows the server that the client knows the password.
    pub client: [u8; 32],
    /// What the server then has to show.
    pub server: [u8; 32],
}

impl Proof {
    /// Of a password as prepared by SASLprep; `auth_message` as RFC 5802 §3 has it.
    pub fn make(password: &Secret<String>, iterations: u32, salt: &[u8], auth_message: &[u8]) -> Self {
        let salted = salted(password, iterations, salt);
        let client_key = Zeroizing::new(hmac(&*salted, b"Client Key"));
        let server_key = Zeroizing::new(hmac(&*salted, b"Server Key"));
        let mut client = hmac(&sha256(&*client_key), auth_message);
        for (octet, key) in client.iter_mut().zip(*client_key) {
            *octet ^= key;
        }
        let server = hmac(&*server_key, auth_message);
        Self { client, server }
    }
}

fn salted(password: &Secret<String>, iterations: u32, salt: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password.expose().as_bytes(), salt, iterations, &mut *salted);
    salted
}

fn key(text: &str) -> Result<Secret<[u8; 32]>, NotAVerifier> {
    let octets = Zeroizing::new(base64_decode_padded(text).map_err(|_| NotAVerifier)?);
    octets[..].try_into().map(Secret::new).map_err(|_| NotAVerifier)
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The example of RFC 7677 §3.
    fn pencil() -> Verifier {
        let salt = base64_decode_padded("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::derive(&Secret::new("pencil".to_owned()), 4096, &salt)
    }

    const AUTH_MESSAGE: &[u8] =
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn decoded(text: &str) -> [u8; 32] {
        base64_decode_padded(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn checks_the_proof_of_rfc_7677_and_gives_its_server_signature() {
        let proof = decoded("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert!(pencil().is_proven(AUTH_MESSAGE, &proof));
        let signature = decoded("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(pencil().server_signature(AUTH_MESSAGE), signature);
    }

    #[test]
    fn refuses_any_other_proof_and_any_other_dialogue() {
        let mut proof = decoded("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert!(!pencil().is_proven(&AUTH_MESSAGE[1..], &proof));
        proof[31] ^= 1;
        assert!(!pencil().is_proven(AUTH_MESSAGE, &proof));
    }

    #[test]
    fn text_form_reads_back_and_its_neighbours_do_not() {
        let text = pencil().encode();
        let text = text.expose();
        assert_eq!(Verifier::decode(text), Ok(pencil()));
        for bad in [
            text.replacen("4096", "0", 1),
            text.replacen("SHA-256", "SHA-1", 1),
            format!("{text}:"),
            text[..text.len() - 1].to_owned(),
            text.replacen("W22ZaJ0SNY7soEsUEjb6gQ==", "", 1),
        ] {
            assert_eq!(Verifier::decode(&bad), Err(NotAVerifier), "{bad}");
        }
    }

    #[test]
    fn nobody_is_somebody_else_for_every_name_and_the_same_for_one() {
        let secret = [7; 32];
        let ann = Verifier::of_nobody(&secret, "ann@a.test", 4096);
        assert_eq!(ann, Verifier::of_nobody(&secret, "ann@a.test", 4096));
        let bob = Verifier::of_nobody(&secret, "bob@a.test", 4096);
        assert_ne!(ann.salt, bob.salt);
        assert_ne!(ann, Verifier::of_nobody(&[8; 32], "ann@a.test", 4096));
        assert_eq!((ann.iterations, ann.salt.len()), (4096, SALT_SIZE));
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", pencil());
        assert!(
            text.contains("[secret]") && !text.contains("stored_key: Secret(["),
            "{text}"
        );
    }
}
