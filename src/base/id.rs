//! Identifiers that must not be mixed up.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rand_core::CryptoRng;

/// Digits of [`QueueId`] and its kin: no vowels, so no words, and nothing that looks alike.
const ALPHABET: &[u8; 32] = b"0123456789BCDFGHJKLMNPQRSTVWXYZ_";

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
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

/// Random bits of an identifier that begins with the time.
const TIMED_RANDOM_BITS: u32 = 80;

fn random_bits<R: CryptoRng + ?Sized>(rng: &mut R) -> u128 {
    let mut octets = [0u8; 16];
    rng.fill_bytes(&mut octets);
    u128::from_be_bytes(octets) >> 3
}

/// 45 bits: milliseconds since 1970. They order; nobody reads a time from them, and a clock that is wrong does no harm.
fn time_bits() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis() & ((1 << (125 - TIMED_RANDOM_BITS)) - 1)
}

/// What is stored. Keys that come one after the other stand in the same pages; random ones would have a page each.
macro_rules! timed_id {
    ($(#[$meta:meta])* $name:ident) => {
        id! { $(#[$meta])* $name }

        impl $name {
            /// Draws a new identifier. It begins with the time; 80 random bits make collisions a non-event.
            pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                let mask = (1 << TIMED_RANDOM_BITS) - 1;
                Self(time_bits() << TIMED_RANDOM_BITS | random_bits(rng) & mask)
            }
        }
    };
}

macro_rules! random_id {
    ($(#[$meta:meta])* $name:ident) => {
        id! { $(#[$meta])* $name }

        impl $name {
            /// Draws a new identifier; 125 random bits make collisions a non-event.
            pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                Self(random_bits(rng))
            }
        }
    };
}

timed_id! {
    /// A message in the spool; given to the sending client in the final reply. 25 characters.
    QueueId
}
timed_id! {
    /// One recipient of a message in the spool.
    RecipientId
}
timed_id! {
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

/// Leases that this process has had.
static LEASES: AtomicU64 = AtomicU64::new(0);

/// One process that claims work, from its start until others take it for dead. The text form of its leases begins with its own, of
/// 12 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// Draws a new one: 60 random bits, for the few that a database has seen.
    pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(rng.next_u64() >> 4)
    }

    /// The token of a new lease of this node.
    pub fn lease(self) -> LeaseToken {
        let number = LEASES.fetch_add(1, Ordering::Relaxed);
        LeaseToken(u128::from(self.0) << TOKEN_BITS | u128::from(number))
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
    fn what_is_stored_later_comes_later() {
        let rng = &mut rand::rng();
        let earlier = QueueId::random(rng);
        let passed = time_bits();
        while time_bits() == passed {
            std::thread::yield_now();
        }
        let later = QueueId::random(rng);
        assert!(earlier < later && earlier.to_string() < later.to_string());
    }

    #[test]
    fn leases_of_a_node_begin_with_its_name_and_differ() {
        let rng = &mut rand::rng();
        let node = NodeId::random(rng);
        assert_eq!(NodeId::parse(&node.to_string()), Some(node));
        assert_eq!(NodeId::parse("0"), None);
        let leases = [node.lease(), node.lease()];
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
