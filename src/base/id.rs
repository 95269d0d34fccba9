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

/// Digits of a lease's token that say whose it is.
const NODE_DIGITS: u32 = 12;

/// Bits of the others.
const TOKEN_BITS: u32 = 5 * (25 - NODE_DIGITS);

/// One process that claims work, from its start until others take it for dead. The text form of its leases begins with its own, of
/// 12 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// Draws a new one: 60 random bits, for the few that a database has seen.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(rng.next_u64() >> 4)
    }

    /// Draws the token of a new lease of this node.
    pub fn lease<R: CryptoRng + ?Sized>(self, rng: &mut R) -> LeaseToken {
        let mask = (1 << TOKEN_BITS) - 1;
        LeaseToken(u128::from(self.0) << TOKEN_BITS | LeaseToken::random(rng).0 & mask)
    }

    /// Reads the text form back; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let whole = format!("{:0>25}", text);
        let digits = (text.len() == NODE_DIGITS as usize).then_some(whole)?;
        u64::try_from(LeaseToken::parse(&digits)?.0).ok().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = LeaseToken(u128::from(self.0)).to_string();
        f.write_str(&token[token.len() - NODE_DIGITS as usize..])
    }
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
    fn leases_of_a_node_begin_with_its_name_and_differ() {
        let rng = &mut rand::rng();
        let node = NodeId::random(rng);
        assert_eq!(NodeId::parse(&node.to_string()), Some(node));
        assert_eq!(NodeId::parse("0"), None);
        let leases = [node.lease(rng), node.lease(rng)];
        assert_ne!(leases[0], leases[1]);
        for lease in leases {
            assert!(lease.to_string().starts_with(&node.to_string()), "{lease} {node}");
        }
    }

    #[test]
    fn refuses_foreign_characters_and_lengths() {
        assert_eq!(QueueId::parse("A".repeat(25).as_str()), None);
        assert_eq!(QueueId::parse("0"), None);
        assert_eq!(QueueId::parse(&"0".repeat(26)), None);
    }
}
