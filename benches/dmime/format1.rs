//! D/MIME 1.

use bytes::Bytes;
use dimed::dime::dmime1::padding::Padding;
use dimed::dime::dmime1::seal::{Parties, seal};
use dimed::dime::dmime1::{Content, Limits, Message, destination, open, origin};

use crate::cast::{COMMON_HEADERS, Cast, OTHER_HEADERS, text};
use crate::measure::{Step, best_of, rate};

/// The best times of all four steps.
pub fn short(cast: &Cast, size: usize) -> Vec<Step> {
    steps(cast, size, 500, 2)
}

/// Prints the throughput of all four steps.
pub fn long(cast: &Cast, size: usize) {
    for step in steps(cast, size, 5, 1) {
        println!("  {:32} {:9.0} MB/s", step.name, rate(size, step.time));
    }
}

fn steps(cast: &Cast, size: usize, rounds: usize, times: u32) -> Vec<Step> {
    let content = content(size);
    let sealed = Bytes::from(cast.sealed(&content));
    let signed = Bytes::from(cast.signed(&sealed));
    let step = |name, call: &mut dyn FnMut()| Step {
        name,
        time: best_of(rounds, times, call),
    };
    vec![
        step("author seals", &mut || drop(cast.sealed(&content))),
        step("origin checks and signs", &mut || drop(cast.signed(&sealed))),
        step("destination checks", &mut || cast.check(&signed)),
        step("recipient opens", &mut || cast.open(&signed)),
    ]
}

impl Cast {
    fn sealed(&self, content: &Content) -> Vec<u8> {
        let parties = Parties {
            author: &self.author.address,
            author_keys: &self.author.keys,
            author_signet: &self.author.signet,
            origin_signet: &self.origin.signet,
            destination_signet: &self.destination.signet,
            recipient: &self.recipient.address,
            recipient_signet: &self.recipient.signet,
        };
        seal(&parties, content, Padding::Buckets, &mut rand::rng()).unwrap()
    }

    fn signed(&self, sealed: &Bytes) -> Vec<u8> {
        let message = Message::parse(sealed.clone(), &Limits::default()).unwrap();
        let expected = origin::Expected {
            submitter: &self.author.address,
            origin: &self.origin.domain,
            author: &self.author.signet,
            destination: &self.destination.signet,
        };
        let view = origin::open(&message, &self.origin.keys).unwrap();
        let checked = view.check(&expected).unwrap();
        origin::sign(&checked, &self.origin.keys.signing, origin::Bounces::default()).unwrap()
    }

    fn check(&self, signed: &Bytes) {
        let expected = destination::Expected {
            peer: &self.origin.domain,
            destination: &self.destination.domain,
            origin: &self.origin.signet,
            recipient: &self.recipient.signet,
        };
        let message = Message::parse(signed.clone(), &Limits::default()).unwrap();
        let view = destination::open(&message, &self.destination.keys).unwrap();
        view.check(&expected).unwrap();
    }

    fn open(&self, signed: &Bytes) {
        let expected = open::Expected {
            address: &self.recipient.address,
            own: &self.recipient.signet,
            author: &self.author.signet,
            origin: &self.origin.signet,
            destination: &self.destination.signet,
        };
        let message = Message::parse(signed.clone(), &Limits::default()).unwrap();
        let view = open::open_envelope(&message, &self.recipient.keys).unwrap();
        open::open(&view, &expected).unwrap();
    }
}

fn content(size: usize) -> Content {
    Content {
        common_headers: Bytes::from_static(COMMON_HEADERS),
        other_headers: Bytes::from_static(OTHER_HEADERS),
        display: vec![text(size).into()],
        attachments: vec![],
    }
}
