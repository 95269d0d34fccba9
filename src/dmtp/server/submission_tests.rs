#![allow(clippy::unwrap_used)] // a failed expectation is how a test fails

use std::time::Duration;

use proptest::prelude::*;

use super::keys::MAX_KEYS;
use super::*;
use crate::base::encoding::base64;
use crate::base::machine::TlsInfo;
use crate::base::secret::Secret;
use crate::base::time::Timestamp;
use crate::crypto::scram::Verifier;
use crate::dime::fingerprint::SsrFingerprint;
use crate::dmtp::handed_in::{Fate, KeySetsTaken, MAX_KEY_SETS_OCTETS, MAX_REQUEST, Pending};
use crate::smtp::auth::Login;

const ALICE: &str = "alice@hermail.test";

/// A session of the submission port with an owner who knows one user and keeps one deposit.
struct Submission {
    session: Session,
    deposits: Vec<Vec<u8>>,
    requests: Vec<Vec<u8>>,
    key_sets: Vec<Vec<u8>>,
}

impl Submission {
    fn new() -> Self {
        let parameters = Parameters {
            host: "mx.hermail.test".parse().unwrap(),
            limits: Limits::default(),
            nonce: CommitHash::parse("nonce").unwrap(),
        };
        let tls = TlsInfo {
            version: "TLS1.3".into(),
            cipher: "x".into(),
            exporter: Some(Secret::new([7; 32])),
        };
        let session = Session::new(parameters, Entry::Upgraded).with_logins(tls, true);
        let mut submission = Self {
            session,
            deposits: Vec::new(),
            requests: Vec::new(),
            key_sets: Vec::new(),
        };
        assert_eq!(submission.say(b""), "250 OK DMTPv1\r\n");
        submission
    }

    fn logged_in() -> Self {
        let mut submission = Self::new();
        assert_eq!(submission.ask(&plain("right")), "235 OK\r\n");
        submission
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(format!("{line}\r\n").as_bytes())
    }

    /// Feeds octets and collects what is said.
    fn say(&mut self, mut input: &[u8]) -> String {
        let mut said = Vec::new();
        loop {
            while let Some(item) = self.session.poll_transmit() {
                said.extend(item);
            }
            if let Some(event) = self.session.poll_event() {
                self.answer(event);
                continue;
            }
            let taken = self.session.receive(Duration::ZERO, input);
            input = &input[taken..];
            if taken == 0 && self.session.transmit.is_empty() && self.session.events.is_empty() {
                return String::from_utf8(said).unwrap();
            }
        }
    }

    fn answer(&mut self, event: Event) {
        let session = &mut self.session;
        match event {
            Event::Verifier { .. } => {
                let verifier = Verifier::derive(&Secret::new("right".to_owned()), 4096, b"salt");
                session.offer_verifier(verifier, "nonce");
            }
            Event::Authenticate(Login::Password(credentials)) => {
                match credentials.identity == ALICE && credentials.password.expose() == "right" {
                    true => session.accept(),
                    false => session.refuse(&Reply::plain(535, "authentication failed")),
                }
            }
            Event::Keys => match self.deposits.last() {
                Some(octets) => session.keys(octets, self.deposits.len() as u64),
                None => session.refuse(&Reply::plain(450, "no keys are stored")),
            },
            Event::Deposit { octets, replaces } => {
                assert_eq!(replaces, self.deposits.len() as u64);
                self.deposits.push(octets);
                session.deposited(replaces + 1);
            }
            Event::Pending => match self.requests.len() {
                0 => session.refuse(&Reply::plain(450, "no request is here")),
                count => session.pending(&Pending {
                    request: SsrFingerprint([count as u8; 64]),
                    submitted_at: Timestamp(1_800_000_000_000),
                    fate: Fate::Waiting,
                }),
            },
            Event::HandIn(octets) => {
                self.requests.push(octets);
                session.handed_in();
            }
            Event::KeySets(octets) => {
                self.key_sets.push(octets);
                session.key_sets_taken(KeySetsTaken {
                    published: true,
                    waiting: 2,
                });
            }
            Event::MailFrom { .. } => session.accept(),
            Event::Ehlo { .. } | Event::Reset | Event::LoginRefused => {}
            other => panic!("{other:?}"),
        }
    }
}

fn plain(password: &str) -> String {
    format!(
        "AUTH PLAIN {}",
        base64(format!("\0{ALICE}\0{password}").as_bytes())
    )
}

const MAIL: &str = "MAIL FROM: <hermail.test> [fingerprint] SIZE=9";

#[test]
fn mail_and_keys_need_a_login_and_signets_do_not() {
    let mut submission = Submission::new();
    assert!(
        submission
            .ask("EHLO <hermail.test>")
            .contains("250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n250 OK\r\n")
    );
    assert_eq!(submission.ask(MAIL), "530 AUTH comes first\r\n");
    for command in ["KEYS", "KEYS [0] SIZE=4", "SSR", "SSR SIZE=4", "SETS SIZE=4"] {
        assert_eq!(submission.ask(command), "530 AUTH comes first\r\n");
    }
    assert_eq!(submission.ask(&plain("right")), "235 OK\r\n");
    assert_eq!(submission.ask(MAIL), "250 OK\r\n");
    assert_eq!(
        submission.ask(&plain("right")),
        "503 AUTH comes once, and before MAIL\r\n"
    );
}

#[test]
fn a_session_of_port_25_has_neither_login_nor_keys() {
    let parameters = Submission::new().session.parameters;
    let mut submission = Submission {
        session: Session::new(parameters, Entry::Upgraded),
        deposits: Vec::new(),
        requests: Vec::new(),
        key_sets: Vec::new(),
    };
    submission.say(b"");
    assert_eq!(
        submission.ask(&plain("right")),
        "554 cannot fall back to SMTP\r\n"
    );
    for command in ["KEYS", "SSR", "SSR SIZE=4", "SETS SIZE=4"] {
        assert_eq!(submission.ask(command), "500 unknown command\r\n");
    }
    assert!(!submission.ask("EHLO <hermail.test>").contains("AUTH"));
}

#[test]
fn every_mechanism_has_its_dialogue() {
    let mut submission = Submission::new();
    assert_eq!(submission.ask("auth login"), "334 VXNlcm5hbWU6\r\n");
    assert_eq!(submission.ask(&base64(ALICE.as_bytes())), "334 UGFzc3dvcmQ6\r\n");
    assert_eq!(submission.ask(&base64(b"right")), "235 OK\r\n");
    let mut submission = Submission::new();
    assert_eq!(submission.ask("AUTH PLAIN"), "334 \r\n");
    let long = format!("\0{ALICE}\0{}", "x".repeat(1024));
    assert_eq!(
        submission.ask(&base64(long.as_bytes())),
        "535 authentication failed\r\n"
    );
    let first = base64(b"n,,n=alice@hermail.test,r=client");
    let challenge = base64(b"r=clientnonce,s=c2FsdA==,i=4096");
    assert_eq!(
        submission.ask(&format!("AUTH SCRAM-SHA-256 {first}")),
        format!("334 {challenge}\r\n")
    );
    assert_eq!(submission.ask("*"), "501 authentication cancelled\r\n");
}

#[test]
fn a_login_that_fails_is_refused_and_the_third_ends_the_session() {
    let mut submission = Submission::new();
    assert_eq!(
        submission.ask("AUTH CRAM-MD5"),
        "504 unknown authentication mechanism\r\n"
    );
    assert_eq!(
        submission.ask("AUTH PLAIN %"),
        "501 malformed authentication response\r\n"
    );
    assert_eq!(submission.ask(&plain("wrong")), "535 authentication failed\r\n");
    assert_eq!(
        submission.ask(&plain("wrong")),
        "535 authentication failed\r\n421 too many failed logins\r\n"
    );
    assert!(submission.session.is_closed());
}

#[test]
fn a_response_that_is_too_long_is_swallowed() {
    let mut submission = Submission::new();
    submission.ask("AUTH PLAIN");
    let line = "x".repeat(20_000);
    assert_eq!(submission.ask(&line), "500 line too long\r\n");
    assert_eq!(submission.ask("NOOP"), "250 OK\r\n");
}

#[test]
fn wrapped_keys_go_up_and_come_down_in_lines_of_their_own() {
    let mut submission = Submission::logged_in();
    assert_eq!(submission.ask("KEYS"), "450 no keys are stored\r\n");
    assert!(submission.ask("KEYS [0] SIZE=4000").starts_with("354 CONTINUE ["));
    let keys = vec![b'k'; 4000];
    assert_eq!(submission.say(&keys), "");
    assert_eq!(submission.ask(""), "250 OK [1]\r\n");
    let reply = submission.ask("KEYS");
    let lines: Vec<&str> = reply.lines().collect();
    assert_eq!((lines.len(), lines[2]), (3, "250 OK [1]"));
    assert!(lines.iter().all(|line| line.len() + 2 <= reply::MAX_LINE));
    let read = Reply {
        code: 250,
        enhanced: None,
        lines: lines.iter().map(|line| line[4..].to_owned()).collect(),
    };
    assert_eq!(reply::read_keys(&read), Some((keys, 1)));
}

/// What a buffer leaves behind when it grows is wiped by nobody.
#[test]
fn wrapped_keys_stay_where_their_first_octet_was_written() {
    let mut submission = Submission::logged_in();
    submission.ask("KEYS [0] SIZE=60000");
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..60 {
        submission.say(&[b'k'; 999]);
        let Doing::Collecting(upload) = &submission.session.doing else {
            panic!("nothing is collected");
        };
        places.insert(upload.octets.as_ptr());
    }
    assert_eq!(places.len(), 1);
}

#[test]
fn too_many_keys_and_the_wrong_number_of_octets_are_refused() {
    let mut submission = Submission::logged_in();
    let size = MAX_KEYS + 1;
    assert_eq!(
        submission.ask(&format!("KEYS [0] SIZE={size}")),
        "552 more than 65536 octets\r\n"
    );
    for bad in ["KEYS [0]", "KEYS [-1] SIZE=4", "KEYS [0] SIZE=0", "KEYS 0 SIZE=4"] {
        assert!(submission.ask(bad).starts_with("501 "), "{bad}");
    }
    submission.ask("KEYS [0] SIZE=4");
    assert_eq!(submission.say(b"keysX"), "451 size and octets sent differ\r\n");
    assert!(submission.session.is_closed());
    assert!(submission.deposits.is_empty());
}

#[test]
fn requests_and_key_sets_are_handed_in_and_what_became_of_them_is_told() {
    let mut submission = Submission::logged_in();
    assert_eq!(submission.ask("SSR"), "450 no request is here\r\n");
    assert!(submission.ask("SSR SIZE=7").starts_with("354 CONTINUE ["));
    assert_eq!(submission.say(b"request"), "");
    assert_eq!(submission.ask(""), "250 OK\r\n");
    assert_eq!(submission.requests, [b"request"]);
    let print = SsrFingerprint([1; 64]);
    assert_eq!(
        submission.ask("SSR"),
        format!("250 OK [WAITING] [{print}] [1800000000]\r\n")
    );
    assert!(submission.ask("SETS SIZE=4").starts_with("354 CONTINUE ["));
    assert_eq!(submission.say(b"sets\r\n"), "250 OK [1] [2]\r\n");
    assert_eq!(submission.key_sets, [b"sets"]);
}

#[test]
fn what_is_handed_in_is_bounded_and_stands_alone() {
    let mut submission = Submission::logged_in();
    for (verb, most) in [("SSR", MAX_REQUEST), ("SETS", MAX_KEY_SETS_OCTETS)] {
        assert_eq!(
            submission.ask(&format!("{verb} SIZE={}", most + 1)),
            format!("552 more than {most} octets\r\n")
        );
        for bad in ["SIZE=0", "SIZE=x", "4", "SIZE=4 x"] {
            assert!(
                submission.ask(&format!("{verb} {bad}")).starts_with("501 "),
                "{bad}"
            );
        }
    }
    assert!(submission.ask("SETS").starts_with("501 "));
    submission.ask("EHLO <hermail.test>");
    submission.ask(MAIL);
    assert_eq!(submission.ask("SSR"), "503 not between MAIL and DATA\r\n");
    assert_eq!(submission.ask("SETS SIZE=4"), "503 not between MAIL and DATA\r\n");
    submission.ask("RSET");
    submission.ask("SSR SIZE=4");
    assert_eq!(submission.say(b"fiveX"), "451 size and octets sent differ\r\n");
    assert!(submission.session.is_closed() && submission.requests.is_empty());
}

proptest! {
    #[test]
    fn arbitrary_responses_never_panic(octets: Vec<u8>, mechanism in 0usize..4) {
        let name = crate::smtp::auth::Mechanism::ALL[mechanism].name();
        let mut submission = Submission::new();
        submission.ask(&format!("AUTH {name}"));
        submission.say(&[&octets[..], b"\r\n"].concat());
    }
}
