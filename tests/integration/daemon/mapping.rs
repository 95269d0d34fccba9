//! What authors submit and what is opened for recipients, on its way in and out.

use std::sync::Arc;

use dimed::base::encoding::base64_decode;
use dimed::base::id::QueueId;
use dimed::base::time::{Clock, SystemClock};
use dimed::config::{self, Config};
use dimed::mail::address::ReversePath;
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::store::sqlite::SqliteStore;
use dimed::store::{Content, Envelope, MasterKey, NewMessage, Recipient, Source, Spool};

use crate::support::loopback::Loopback;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_could_not_be_sealed_are_repaired_at_submission() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    talk.ask("MAIL FROM:<alice@hermail.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    talk.ask("DATA", "354").await;
    talk.send(
        b"From: Andr\xe9 <alice@hermail.test>\nTo: bob@hismail.test\rSubject: Gr\xfc\xdfe\nfrom two lines\x07\r\n \r\n\
          DIME-Verification: mx.hismail.test; result=pass\r\nBcc: hidden@plain.test\r\n\r\nbody\n..\r\n.\r\n",
    )
    .await;
    talk.expect("250").await;
    let delivered = hismail.maildir("bob").only().await;
    let (header, body) = split(&delivered);
    assert!(
        header.contains("\r\nFrom: André <alice@hermail.test>\r\n"),
        "{header}"
    );
    assert!(
        header.contains("\r\nSubject: Grüße from two lines\r\n"),
        "{header}"
    );
    assert!(header.contains("\r\nDate: "), "{header}");
    assert_eq!(header.matches("DIME-Verification").count(), 1, "{header}");
    assert!(!header.contains("hidden"), "{header}");
    assert_eq!(body, "body\r\n..\r\n");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_with_two_meanings_are_refused_in_words() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let here = hermail.start().await;
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    for (header, reply) in [
        (
            "Subject: a\r\n",
            "550 5.6.0 The message has no From field: whoever writes or sends it has to name its author there",
        ),
        (
            "From: alice@hermail.test\r\nFrom: eve@hermail.test\r\n",
            "550 5.6.0 The message has two different From fields",
        ),
        (
            "From: alice@hermail.test\r\nno field\r\n",
            "550 5.6.0 Line 2 of the header is no field",
        ),
    ] {
        let to = ["alice@hermail.test"];
        let said = talk
            .transfer("alice@hermail.test", &to, &format!("{header}\r\nbody\r\n"))
            .await;
        assert!(said.starts_with(reply), "{said}");
    }
    here.stop().await;
}

/// A message as it is in the spool after it was opened, for `address`.
pub(super) async fn opened(organization: &Organization, address: &str, mime: &[u8]) {
    let config = Config::load(&organization.config).unwrap();
    let key = MasterKey::new(config::load_master_key(&config).unwrap());
    let clock = Arc::new(SystemClock);
    let store = SqliteStore::open(&config.server.database(), key, clock.clone()).await;
    let id = QueueId::random(&mut rand::rng());
    let mut writer = store.as_ref().unwrap().begin(id).await.unwrap();
    writer.write(mime).await.unwrap();
    let message = NewMessage {
        id,
        envelope: Envelope {
            reverse_path: ReversePath(Some("alice@hermail.test".parse().unwrap())),
            source: Source::Dmtp("hermail.test".parse().unwrap()),
            smtputf8: false,
            eight_bit: true,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        },
        content: Content::Mime,
        recipients: vec![Recipient::Mailbox(address.parse().unwrap()).into()],
        accepted_at: clock.now(),
        due_at: clock.now(),
        ticket: None,
    };
    writer.commit(message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opened_message_that_an_alias_sends_on_smuggles_nothing() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    for target in ["bob@hismail.test", "carol@plain.test"] {
        hismail.cli(&["alias", "add", "team@hismail.test", target]).await;
    }
    let mime = b"DIME-Verification: mx.hismail.test; result=pass\r\nDate: d\r\nFrom: alice@hermail.test\r\n\
        Subject: s\r\nMIME-Version: 1.0\r\n\r\nend\n.\nMAIL FROM:<admin@hismail.test>\n\r.\r\n\0";
    opened(&hismail, "team@hismail.test", mime).await;
    let served = hismail.start().await;
    let taken = sink.taken(1).await.remove(0).message;
    let (header, body) = split(&taken);
    assert!(
        header.starts_with("Date: d\r\nFrom: alice@hermail.test\r\nSubject: s\r\n"),
        "{header}"
    );
    assert!(
        header.contains("\r\nContent-Type: message/rfc822\r\n"),
        "{header}"
    );
    assert_eq!(base64_decode(&body.replace("\r\n", "")).unwrap(), mime);
    // In the Maildir it is as it was written.
    let delivered = hismail.maildir("bob").only().await;
    assert!(delivered.as_bytes().ends_with(mime), "{delivered:?}");
    hismail.idle().await;
    served.stop().await;
}
