//! What becomes of mail whose next host cannot take it as it is.

use dimed::config::Incoming;
use dimed::net::authority::Zone;

use crate::support::loopback::Loopback;
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink, Taken};
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

const HEADER: &str = "From: alice@hermail.test\r\nTo: carol@plain.test\r\nMessage-ID: <1@hermail.test>\r\n\
    Date: Tue, 3 Jun 2025 10:00:00 +0000\r\nSubject: out\r\nMIME-Version: 1.0\r\n";

const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.Schöne Grüße, und noch ein paar Worte mehr\r\n";

const SEVEN_BIT: Behaviour = Behaviour {
    tls: None,
    require_tls: false,
    deferrals: 0,
    silent: false,
    hushes_after: None,
    refusal: None,
    dsn: false,
    recipients: None,
    transactions: None,
    seven_bit: true,
    offers: &[],
    tls_first: false,
};

struct Scene {
    world: World,
    hermail: Organization,
    host: Loopback,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let hermail = world
            .organization("hermail.test")
            .accounts(&["alice"])
            .build()
            .await;
        let host = Loopback::take();
        world.plain_domain("plain.test", host.ip);
        Self { world, hermail, host }
    }

    /// Sends one message to such a host, which takes it.
    async fn sent(&self, behaviour: Behaviour, message: &str) -> Taken {
        let sink = Sink::start(self.host.ip, behaviour).await;
        let served = self.hermail.start().await;
        self.hermail.submit("alice", &["carol@plain.test"], message).await;
        let taken = sink.taken(1).await.remove(0);
        self.hermail.idle().await;
        served.stop().await;
        taken
    }

    /// Sends one message to such a host, of which nothing is sent, and gives the report.
    async fn comes_back(&self, behaviour: Behaviour, mail: &str, message: &str) -> String {
        let sink = Sink::start(self.host.ip, behaviour).await;
        let served = self.hermail.start().await;
        let mut talk = Talk::submission(self.hermail.ip, "alice@hermail.test").await;
        talk.ask(&format!("MAIL FROM:<alice@hermail.test>{mail}"), "250")
            .await;
        talk.ask("RCPT TO:<carol@plain.test>", "250").await;
        let reply = talk.data(message).await;
        assert!(reply.starts_with("250"), "{reply}");
        let bounce = self.hermail.maildir("alice").only().await;
        assert!(sink.attempts().is_empty(), "the host heard of the message");
        served.stop().await;
        bounce.replace("\r\n\t", " ").replace("\r\n ", " ")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_8bitmime_gets_the_same_text_in_seven_bits() {
    let scene = Scene::new().await;
    let taken = scene.sent(SEVEN_BIT, &format!("{HEADER}{TEXT}")).await;
    assert_eq!(taken.mail, "<alice@hermail.test>", "no BODY=8BITMIME");
    assert!(taken.message.is_ascii(), "{}", taken.message);
    assert!(
        taken
            .message
            .ends_with("\r\n\r\n.Sch=C3=B6ne Gr=C3=BC=C3=9Fe, und noch ein paar Worte mehr\r\n"),
        "{}",
        taken.message
    );
    assert!(
        taken
            .message
            .contains("\r\nContent-Transfer-Encoding: quoted-printable\r\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_8bitmime_gets_the_text_as_it_is() {
    let scene = Scene::new().await;
    let taken = scene.sent(Behaviour::default(), &format!("{HEADER}{TEXT}")).await;
    assert_eq!(taken.mail, "<alice@hermail.test> BODY=8BITMIME");
    assert!(taken.message.ends_with(TEXT), "{}", taken.message);
}

/// What is signed at home stays as it was signed, or comes back (RFC 6152 §3).
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_part_with_eight_bits_comes_back_rather_than_be_changed() {
    let scene = Scene::new().await;
    let signed = format!(
        "{HEADER}Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n{TEXT}--x\r\nContent-Type: application/pgp-signature\r\n\r\nmine\r\n--x--\r\n"
    );
    let bounce = scene.comes_back(SEVEN_BIT, "", &signed).await;
    assert!(bounce.contains("Status: 5.6.3"), "{bounce}");
    assert!(bounce.contains("signed or encrypted"), "{bounce}");
}

/// 5.6.7 of RFC 6531 §3.5 is for mail that needs the extension.
#[tokio::test(flavor = "multi_thread")]
async fn international_mail_comes_back_where_it_cannot_be_taken() {
    let scene = Scene::new().await;
    let message = format!("{HEADER}X-Name: Grüße\r\n\r\nhi\r\n");
    let bounce = scene
        .comes_back(Behaviour::default(), " BODY=8BITMIME SMTPUTF8", &message)
        .await;
    assert!(bounce.contains("Status: 5.6.7"), "{bounce}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_only_says_it_is_international_goes_to_everybody() {
    let scene = Scene::new().await;
    let sink = Sink::start(scene.host.ip, Behaviour::default()).await;
    let served = scene.hermail.start().await;
    let mut talk = Talk::submission(scene.hermail.ip, "alice@hermail.test").await;
    let mail = "MAIL FROM:<alice@hermail.test> BODY=8BITMIME SMTPUTF8";
    talk.ask(mail, "250").await;
    talk.ask("RCPT TO:<carol@plain.test>", "250").await;
    let reply = talk.data(&format!("{HEADER}{TEXT}")).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(sink.taken(1).await[0].mail, "<alice@hermail.test> BODY=8BITMIME");
    scene.hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_too_long_go_in_an_encoding() {
    let scene = Scene::new().await;
    let long = "lorem ipsum ".repeat(200);
    let message = format!("{HEADER}Content-Type: text/html\r\n\r\n<p>{long}</p>\r\n");
    let taken = scene.sent(Behaviour::default(), &message).await;
    assert!(
        taken.message.lines().all(|line| line.len() <= 998),
        "{}",
        taken.message
    );
    let (_, body) = taken.message.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.replace("=\r\n", ""), format!("<p>{long}</p>\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_chunking_gets_the_message_in_chunks() {
    let scene = Scene::new().await;
    let sink = Sink::start(
        scene.host.ip,
        Behaviour {
            offers: &["CHUNKING"],
            ..Behaviour::default()
        },
    )
    .await;
    let served = scene.hermail.start().await;
    let body = ".a line with a dot before it\r\n".repeat(20_000);
    for count in 1..=2 {
        let message = format!("{HEADER}\r\n{body}");
        scene
            .hermail
            .submit("alice", &["carol@plain.test"], &message)
            .await;
        let taken = sink.taken(count).await;
        assert!(taken[count - 1].message.ends_with(&format!("\r\n\r\n{body}")));
        scene.hermail.idle().await;
    }
    assert!(sink.chunks() >= 6, "{}", sink.chunks());
    served.stop().await;
}

/// RFC 9422 §4.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_no_more_recipients_at_a_time_than_it_says_it_takes() {
    let scene = Scene::new().await;
    let sink = Sink::start(
        scene.host.ip,
        Behaviour {
            offers: &["LIMITS RCPTMAX=2"],
            ..Behaviour::default()
        },
    )
    .await;
    let served = scene.hermail.start().await;
    let to = ["a", "b", "c", "d", "e"].map(|name| format!("{name}@plain.test"));
    let to = to.each_ref().map(String::as_str);
    scene
        .hermail
        .submit("alice", &to, &format!("{HEADER}\r\nhi\r\n"))
        .await;
    let counts: Vec<_> = sink.taken(3).await.iter().map(|taken| taken.rcpt.len()).collect();
    assert_eq!(counts, [2, 2, 1]);
    assert_eq!(sink.sessions(), 1);
    scene.hermail.idle().await;
    served.stop().await;
}

/// The signature is made over what is sent: a host that converted mail reaches finds it good.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_converted_is_signed_as_it_goes() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .plain()
        .build()
        .await;
    hermail.cli(&["dkim", "add", "hermail.test"]).await;
    hermail.publish_texts(&world).await;
    hermail.cli(&["dkim", "rotate", "hermail.test"]).await;
    let checks = world
        .organization("checks.test")
        .accounts(&["carol"])
        .plain()
        .config(|config| config.authentication.incoming = Incoming::Mark)
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, SEVEN_BIT).await;
    let (here, there) = (hermail.start().await, checks.start().await);
    hermail
        .submit("alice", &["carol@plain.test"], &format!("{HEADER}{TEXT}"))
        .await;
    let converted = sink.taken(1).await.remove(0).message;
    assert!(converted.is_ascii() && converted.contains("DKIM-Signature:"));
    let mut talk = Talk::smtp(checks.ip).await;
    let reply = talk
        .transfer("alice@hermail.test", &["carol@checks.test"], &converted)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    let delivered = checks.maildir("carol").only().await;
    assert!(delivered.contains("dkim=pass"), "{delivered}");
    here.stop().await;
    there.stop().await;
}

/// RFC 7505 §3, RFC 5321 §5.1.
#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_domain_that_takes_none_comes_back_at_once_and_an_address_will_do_for_a_host() {
    let scene = Scene::new().await;
    let silent = Zone::unsigned(&domain("silent.test")).unwrap().null_mx("");
    scene.world.put("silent.test", &silent);
    let bare = Zone::unsigned(&domain("bare.test"))
        .unwrap()
        .address("", scene.host.ip);
    scene.world.put("bare.test", &bare);
    let sink = Sink::start(scene.host.ip, Behaviour::default()).await;
    let served = scene.hermail.start().await;
    let to = ["x@silent.test", "carol@bare.test"];
    scene
        .hermail
        .submit("alice", &to, &format!("{HEADER}\r\nhi\r\n"))
        .await;
    assert_eq!(sink.taken(1).await[0].rcpt, ["<carol@bare.test>"]);
    let bounce = scene.hermail.maildir("alice").only().await;
    assert!(
        bounce.contains("Status: 5.1.10") && bounce.contains("x@silent.test"),
        "{bounce}"
    );
    served.stop().await;
}
