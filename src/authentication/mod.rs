//! Authentication of mail from other hosts: SPF, DKIM and DMARC, and signatures of DKIM on what we send.
//!
//! The crate `mail-auth` does all of this, but not as a host for strangers needs it: it brings a resolver of its own, so that
//! answers would have other proofs than the rest of our DNS; it wants the whole message in memory; it keeps lines of blanks at
//! the end of a body in relaxed form; it counts no void look-ups of SPF; and it puts no bound on signatures, on the fields they
//! name, or on time. So the rules are here, over [`Resolver`](crate::net::dns::Resolver) and
//! [`crypto`](crate::crypto).
//!
//! | What a peer controls | Bound |
//! |---|---|
//! | signatures of a message | the first 8 are checked |
//! | fields named by one | 256; each field of the message is covered once at most |
//! | key | RSA 1024 to 4096 bits, Ed25519; a record of 4096 octets |
//! | body | hashed in both forms while it comes in, never held; `l=` must cover all of it |
//! | SPF | 10 look-ups, 2 void, 10 mail hosts of an `mx`, 20 s, a record of 4096 octets |
//! | DMARC | 8 names of each walk up the tree, 20 s |
//! | ARC | 50 sets, 20 s |
//!
//! A message leads to 8 keys, two evaluations of SPF, and 10 walks of DMARC at most. The modules are public for those who hold
//! them to their rules from outside: tests and fuzz targets.

pub mod arc;
pub mod author;
pub mod dkim;
pub mod dmarc;
mod examination;
pub mod iprev;
mod keys;
pub mod spf;
pub mod srs;
mod tags;

pub use arc::seal;
pub use dkim::rsa;
pub use dkim::sign::{Signer, SigningKey};
pub use dkim::signature::Algorithm;
pub use dkim::{Bodies, HashedBodies, MAX_SIGNATURES};
pub use dmarc::Policy;
pub use examination::{Examination, Findings, Outcome, Sender, Summary};
pub use keys::Keys;
pub use srs::Srs;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::author::author;
    use super::dkim::signature::{Signature, without_own_octets};
    use super::tags::Tags;

    proptest! {
        #[test]
        fn nothing_that_a_peer_sends_makes_a_parser_panic(
            octets in proptest::collection::vec(any::<u8>(), 0..200),
            text in "[vabdhst=;:@<>\\(\\)\",. \r\n\t\u{e9}1/-]{0,80}",
        ) {
            for octets in [&octets[..], text.as_bytes()] {
                let _ = Signature::parse(octets, 0);
                let _ = without_own_octets(octets);
                let _ = author(&[b"From:", octets].concat());
            }
            let _ = Tags::parse(&text);
            let _ = Tags::parse_tolerantly(&text);
        }
    }
}
