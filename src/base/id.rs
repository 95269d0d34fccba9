//! Identifiers that must not be mixed up.

use std::fmt;

use rand_core::CryptoRng;

/// Digits of [`QueueId`] and its kin: no vowels, so no words, and nothing that looks alike.
const ALPHABET: &[u8; 32] = b"0123456789BCDFGHJKLMNPQRSTVWXYZ_";

macro_rules! random_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// Draws a new identifier; 125 random bits make collisions a non-event.
            pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                let mut octets = [0u8; 16];
                rng.fill_bytes(&mut octets);
                Self(u128::from_be_bytes(octets) >> 3)
            }

            /// Reads the text form back; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 25 {
                    return None;
                }
                text.bytes().try_fold(0u128, |value, octet| {
                    let digit = ALPHABET.iter().position(|known| *known == octet)?;
                    Some(value << 5 | digit as u128)
                }).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let digits: String = (0..25)
                    .rev()
                    .map(|place| char::from(ALPHABET[(self.0 >> (5 * place)) as usize & 31]))
                    .collect();
                f.write_str(&digits)
            }
        }
    };
}

random_id! {
    /// A message in the spool; given to the sending client in the final reply. 25 characters.
    QueueId
}
random_id! {
    /// One recipient of a message in the spool.
    RecipientId
}
random_id! {
    /// The right to act on claimed work until its lease ends.
    LeaseToken
}
random_id! {
    /// One connection from a peer.
    SessionId
}
random_id! {
    /// One delivery attempt; for DMTP mail the only id in delivery log lines (DESIGN.md §10).
    AttemptId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = QueueId::random(&mut rand::rng());
        assert_eq!(id.to_string().len(), 25);
        assert_eq!(QueueId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn refuses_foreign_characters_and_lengths() {
        assert_eq!(QueueId::parse("A".repeat(25).as_str()), None);
        assert_eq!(QueueId::parse("0"), None);
        assert_eq!(QueueId::parse(&"0".repeat(26)), None);
    }
}
