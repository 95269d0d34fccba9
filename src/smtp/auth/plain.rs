//! PLAIN (RFC 4616).

use zeroize::Zeroizing;

use crate::base::encoding::{base64, base64_decode_padded};
use crate::base::secret::Secret;

/// What is wrong with a SASL response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not canonical base64.
    #[error("not base64")]
    Encoding,
    /// Not three UTF-8 parts separated by NUL, or an empty identity or password.
    #[error("not a PLAIN message")]
    Message,
    /// The client wants to act as somebody other than the one who authenticates.
    #[error("acting for another identity is not supported")]
    Proxy,
}

/// A user name with its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The authentication identity, as the client spelled it.
    pub identity: String,
    /// The password.
    pub password: Secret<String>,
}

impl Credentials {
    /// Reads a PLAIN response: base64 of `[authzid] NUL authcid NUL password`.
    pub fn decode_plain(response: &str) -> Result<Self, Error> {
        let octets = Zeroizing::new(base64_decode_padded(response).map_err(|_| Error::Encoding)?);
        let text = std::str::from_utf8(&octets).map_err(|_| Error::Message)?;
        let mut parts = text.split('\0');
        let (Some(acts_as), Some(identity), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::Message);
        };
        if identity.is_empty() || password.is_empty() {
            return Err(Error::Message);
        }
        if !acts_as.is_empty() && acts_as != identity {
            return Err(Error::Proxy);
        }
        Ok(Self {
            identity: identity.to_owned(),
            password: Secret::new(password.to_owned()),
        })
    }

    /// Writes the PLAIN response that [`decode_plain`](Self::decode_plain) reads.
    pub fn encode_plain(&self) -> Secret<String> {
        let message = Zeroizing::new(format!("\0{}\0{}", self.identity, self.password.expose()));
        Secret::new(base64(message.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_example_of_rfc_4616() {
        let tim = Credentials::decode_plain("AHRpbQB0YW5zdGFhZnRhbnN0YWFm").unwrap();
        assert_eq!(tim.identity, "tim");
        assert_eq!(tim.password.expose(), "tanstaaftanstaaf");
    }

    #[test]
    fn acting_as_oneself_is_allowed_as_another_is_not() {
        let same = base64(b"tim\0tim\0secret");
        assert!(Credentials::decode_plain(&same).is_ok());
        assert_eq!(
            Credentials::decode_plain(&base64(b"ann\0tim\0secret")),
            Err(Error::Proxy)
        );
    }

    #[test]
    fn refuses_what_is_not_plain() {
        for message in [
            b"".as_slice(),
            b"tim",
            b"\0tim",
            b"\0tim\0",
            b"\0\0secret",
            b"\0tim\0secret\0",
            b"\0tim\0\xFF",
        ] {
            assert_eq!(
                Credentials::decode_plain(&base64(message)),
                Err(Error::Message),
                "{message:?}"
            );
        }
        for text in ["AHRpbQB0c", "AHRpbQBzcw", "=", "*", "AHRpbQBz===", "A HRpbQBz"] {
            assert!(Credentials::decode_plain(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let tim = Credentials::decode_plain("AHRpbQB0YW5zdGFhZnRhbnN0YWFm").unwrap();
        assert!(!format!("{tim:?}").contains("tanst"));
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(identity in "[^\0]{1,40}", password in "[^\0]{1,40}") {
            let credentials = Credentials { identity, password: Secret::new(password) };
            let response = credentials.encode_plain();
            prop_assert_eq!(Credentials::decode_plain(response.expose()), Ok(credentials));
        }
    }
}
