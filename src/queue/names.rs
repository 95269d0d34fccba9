//! Whether and how people are named in the log.
//!
//! Lines about mail by SMTP name sender and recipient, as `[log] addresses` says. Of mail that goes or came by DMTP no lines that
//! can be joined by an id name both ends, and a hash is a name: it can be tried for every address that one has in mind by whoever
//! may ask `dimed log hash`. So the line in which a message is accepted names its sender and no recipient, and what is said of a
//! recipient whose copy is sealed names nobody; where a message came by DMTP, which names its origin when it is accepted, the
//! delivery has an id of its own and names the recipient alone. Such mail is hashed at most, whatever `addresses` says.

use crate::base::encoding::hex;
use crate::base::secret::Secret;
use crate::crypto::hash::hmac_sha256;
use crate::mail::address::{Mailbox, ReversePath};
use crate::store::fold;

/// Octets of a hash: enough that no two addresses share one.
const HASH_SIZE: usize = 16;

/// How an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Not at all.
    None,
    /// As what cannot be undone without the key of this installation.
    Hashed,
    /// As it is.
    Clear,
}

/// Writes addresses for the log.
#[derive(Debug, Clone)]
pub struct Names {
    form: Form,
    key: Secret<[u8; 32]>,
}

impl Names {
    /// Hashes are made under that key.
    pub fn new(form: Form, key: Secret<[u8; 32]>) -> Self {
        Self { form, key }
    }

    /// The hash of an address, the same for all spellings of it: 32 hexadecimal digits.
    pub fn hash(&self, address: &Mailbox) -> String {
        let whole = hmac_sha256(self.key.expose(), fold(address).as_bytes());
        hex(&whole[..HASH_SIZE])
    }

    /// Whether people may be named as they are, and what others say be quoted, in which anybody may be named.
    pub fn are_clear(&self) -> bool {
        self.form == Form::Clear
    }

    /// An address in a line that may be about mail by DMTP.
    pub fn hidden(&self, address: &Mailbox) -> Option<String> {
        match self.form {
            Form::None => None,
            Form::Hashed | Form::Clear => Some(self.hash(address)),
        }
    }

    /// An address in a line about mail by SMTP.
    pub fn plain(&self, address: &Mailbox) -> Option<String> {
        match self.form {
            Form::Clear => Some(address.to_string()),
            _ => self.hidden(address),
        }
    }

    /// The same as [`hidden`](Self::hidden) for a sender, who may be nobody.
    pub fn hidden_sender(&self, path: &ReversePath) -> Option<String> {
        match &path.0 {
            Some(address) => self.hidden(address),
            None => self.nobody(),
        }
    }

    /// The same as [`plain`](Self::plain) for a sender, who may be nobody.
    pub fn plain_sender(&self, path: &ReversePath) -> Option<String> {
        match &path.0 {
            Some(address) => self.plain(address),
            None => self.nobody(),
        }
    }

    fn nobody(&self) -> Option<String> {
        (self.form != Form::None).then(|| "<>".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(form: Form, key: u8) -> Names {
        Names::new(form, Secret::new([key; 32]))
    }

    fn bob() -> Mailbox {
        "bob@hismail.test".parse().unwrap()
    }

    #[test]
    fn a_hash_depends_on_the_key_and_the_address_and_not_on_its_spelling() {
        let own = names(Form::Hashed, 1);
        let hash = own.hash(&bob());
        assert_eq!(hash.len(), 32);
        assert_eq!(own.hash(&"Bob@HISMAIL.test".parse().unwrap()), hash);
        assert_ne!(own.hash(&"bobby@hismail.test".parse().unwrap()), hash);
        assert_ne!(names(Form::Hashed, 2).hash(&bob()), hash);
    }

    #[test]
    fn mail_that_may_go_by_dmtp_is_never_in_the_clear() {
        let null = ReversePath::NULL;
        let path = ReversePath(Some(bob()));
        let clear = names(Form::Clear, 1);
        let hash = Some(clear.hash(&bob()));
        assert_eq!(clear.plain(&bob()).as_deref(), Some("bob@hismail.test"));
        assert_eq!(clear.plain_sender(&path).as_deref(), Some("bob@hismail.test"));
        assert_eq!(
            (clear.hidden(&bob()), clear.hidden_sender(&path)),
            (hash.clone(), hash.clone())
        );
        let hashed = names(Form::Hashed, 1);
        assert_eq!(
            (hashed.plain(&bob()), hashed.hidden(&bob())),
            (hash.clone(), hash)
        );
        assert_eq!(hashed.plain_sender(&null).as_deref(), Some("<>"));
        let none = names(Form::None, 1);
        assert_eq!(
            (
                none.plain(&bob()),
                none.hidden_sender(&path),
                none.plain_sender(&null)
            ),
            (None, None, None)
        );
    }
}
