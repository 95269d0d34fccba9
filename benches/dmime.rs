//! D/MIME 1: sealing, origin signing, destination check and opening of a small and a large message.

#![allow(clippy::unwrap_used)] // a benchmark that cannot run has nothing to measure

use bytes::Bytes;
use dimed::dime::dmime1::padding::Padding;
use dimed::dime::dmime1::seal::{Parties, seal};
use dimed::dime::dmime1::{Content, Limits, Message, destination, open, origin};
use dimed::dime::keys::{OrgKeys, UserKeys};
use dimed::dime::signet::{
    OrgBuilder, Signer, VerifiedOrg, VerifiedUser, request, verify_org, verify_request, verify_user,
};
use dimed::mail::address::{Domain, Mailbox};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// 4 KiB and 10 MiB of text.
const SIZES: [usize; 2] = [4 << 10, 10 << 20];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn seal_as_author(bencher: Bencher<'_, '_>, size: usize) {
    let cast = Cast::new();
    let content = content(size);
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| cast.sealed(black_box(&content)));
}

#[divan::bench(args = SIZES)]
fn check_and_sign_as_origin(bencher: Bencher<'_, '_>, size: usize) {
    let cast = Cast::new();
    let sealed = Bytes::from(cast.sealed(&content(size)));
    bencher
        .counter(BytesCount::new(size))
        .bench_local(|| cast.signed(black_box(&sealed)));
}

#[divan::bench(args = SIZES)]
fn check_as_destination(bencher: Bencher<'_, '_>, size: usize) {
    let cast = Cast::new();
    let signed = Bytes::from(cast.signed(&Bytes::from(cast.sealed(&content(size)))));
    let expected = destination::Expected {
        peer: &cast.origin.0,
        destination: &cast.destination.0,
        origin: &cast.origin.2,
        recipient: &cast.recipient.2,
    };
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let message = Message::parse(black_box(&signed).clone(), &Limits::default()).unwrap();
        let view = destination::open(&message, &cast.destination.1).unwrap();
        view.check(&expected).unwrap()
    });
}

#[divan::bench(args = SIZES)]
fn open_as_recipient(bencher: Bencher<'_, '_>, size: usize) {
    let cast = Cast::new();
    let signed = Bytes::from(cast.signed(&Bytes::from(cast.sealed(&content(size)))));
    let expected = open::Expected {
        address: &cast.recipient.0,
        own: &cast.recipient.2,
        author: &cast.author.2,
        origin: &cast.origin.2,
        destination: &cast.destination.2,
    };
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        let message = Message::parse(black_box(&signed).clone(), &Limits::default()).unwrap();
        let view = open::open_envelope(&message, &cast.recipient.1).unwrap();
        open::open(&view, &expected).unwrap()
    });
}

struct Cast {
    author: (Mailbox, UserKeys, VerifiedUser),
    origin: (Domain, OrgKeys, VerifiedOrg),
    destination: (Domain, OrgKeys, VerifiedOrg),
    recipient: (Mailbox, UserKeys, VerifiedUser),
}

impl Cast {
    fn new() -> Self {
        let (origin, destination) = (org("hermail.test"), org("hismail.test"));
        Self {
            author: user("alice@hermail.test", &origin),
            recipient: user("bob@hismail.test", &destination),
            origin,
            destination,
        }
    }

    fn sealed(&self, content: &Content) -> Vec<u8> {
        let parties = Parties {
            author: &self.author.0,
            author_keys: &self.author.1,
            author_signet: &self.author.2,
            origin_signet: &self.origin.2,
            destination_signet: &self.destination.2,
            recipient: &self.recipient.0,
            recipient_signet: &self.recipient.2,
        };
        seal(&parties, content, Padding::Buckets, &mut rand::rng()).unwrap()
    }

    fn signed(&self, sealed: &Bytes) -> Vec<u8> {
        let message = Message::parse(sealed.clone(), &Limits::default()).unwrap();
        let expected = origin::Expected {
            submitter: &self.author.0,
            origin: &self.origin.0,
            author: &self.author.2,
            destination: &self.destination.2,
        };
        let view = origin::open(&message, &self.origin.1).unwrap();
        let checked = view.check(&expected).unwrap();
        origin::sign(&checked, &self.origin.1.signing, origin::Bounces::default()).unwrap()
    }
}

fn org(domain: &str) -> (Domain, OrgKeys, VerifiedOrg) {
    let domain: Domain = domain.parse().unwrap();
    let keys = OrgKeys::generate(&mut rand::rng());
    let builder = OrgBuilder::new(&keys.signing, &keys.encryption.public_key(), &[]).unwrap();
    let signet = builder.crypto().unwrap();
    let verified = verify_org(&signet, &[keys.signing.verifying_key()], &domain).unwrap();
    (domain, keys, verified)
}

fn user(address: &str, (_, keys, org): &(Domain, OrgKeys, VerifiedOrg)) -> (Mailbox, UserKeys, VerifiedUser) {
    let address: Mailbox = address.parse().unwrap();
    let user = UserKeys::generate(&mut rand::rng());
    let request = verify_request(&request(&user).unwrap(), None).unwrap();
    let builder = Signer::new(org, &keys.signing).unwrap().sign(&request).unwrap();
    let verified = verify_user(&builder.crypto().unwrap(), org, None, &address).unwrap();
    (address, user, verified)
}

fn content(size: usize) -> Content {
    let common = b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nTo: bob@hismail.test\r\nFrom: alice@hermail.test\r\nSubject: s\r\n";
    Content {
        common_headers: Bytes::from_static(common),
        other_headers: Bytes::from_static(b"MIME-Version: 1.0\r\n"),
        display: vec![
            b"One line of text for Bob to read.\r\n"
                .iter()
                .copied()
                .cycle()
                .take(size)
                .collect(),
        ],
        attachments: vec![],
    }
}
