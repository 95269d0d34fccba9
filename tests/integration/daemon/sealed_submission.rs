//! Authors who seal at home and leave the sealed message on the submission port.

use dimed::base::encoding::base64;

use super::privacy::{assert_absent_at_rest, contains};
use crate::support::home::Home;
use crate::support::loopback::SUBMISSION;
use crate::support::maildir::split;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

const SUBJECT: &str = "zirconium-subject";
const BODY: &str = "palladium-body\r\n";

fn letter(from: &str, to: &str) -> String {
    format!(
        "Date: Tue, 3 Jun 2025 10:00:00 +0200\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: {SUBJECT}\r\n\
         Message-ID: <1@hermail.test>\r\n\r\n{BODY}"
    )
}

async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test");
    builder.accounts(&["robert-planted"]).build().await
}

/// A DMTP session on the submission port, up to the reply to EHLO.
pub async fn dmtp_submission(organization: &Organization) -> Talk {
    let mut talk = Talk::open(organization.ip, SUBMISSION).await;
    talk.expect("220 ").await;
    let host = format!("mx.{}", organization.name);
    talk.ask(&format!("STARTTLS <{host}> MODE=DMTPv1"), "220 READY")
        .await;
    talk.start_tls().await;
    talk.expect("250 OK DMTPv1").await;
    talk.ask(&format!("EHLO <{}>", organization.name), "250").await;
    talk
}

/// The same with a login.
pub(super) async fn logged_in(organization: &Organization, user: &str) -> Talk {
    let mut talk = dmtp_submission(organization).await;
    let response = base64(format!("\0{user}\0{PASSWORD}").as_bytes());
    talk.ask(&format!("AUTH PLAIN {response}"), "235 OK").await;
    talk
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_at_home_is_signed_and_delivered_and_the_origin_never_knows_for_whom() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = hismail(&world).await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let (here, there) = (hermail.spawn().await, hismail.spawn().await);
    let bob = "robert-planted@hismail.test";
    alice.fetch_all(&hermail, &hismail, bob).await;
    let text = letter(&alice.address, bob);
    for (number, (options, mark)) in [
        ("--format 2", "format=2; suite=xwing"),
        ("--format 1", "format=1"),
    ]
    .into_iter()
    .enumerate()
    {
        alice.seal(bob, &text, options, "sealed");
        let said = alice.send(0, "sealed", "hismail.test");
        assert_eq!(
            (&said["result"], &said["host"]),
            (&"submitted".into(), &"mx.hermail.test".into())
        );
        let delivered = hismail.maildir("robert-planted").expect(number + 1).await;
        let delivered = delivered.iter().find(|text| text.contains(mark)).unwrap();
        assert!(delivered.contains("author=alice@hermail.test"), "{delivered}");
        assert!(
            delivered.contains("Return-Path: <alice@hermail.test>"),
            "{delivered}"
        );
        assert!(split(delivered).0.contains(SUBJECT), "{delivered}");
        assert_eq!(split(delivered).1, BODY);
    }
    hermail.idle().await;
    hismail.idle().await;

    let log = here.log();
    assert_eq!(log.matches("\"dmtp.submission.accepted\"").count(), 2, "{log}");
    for secret in ["robert-planted", SUBJECT, BODY.trim(), "alice", PASSWORD] {
        assert!(!contains(log.as_bytes(), secret), "{secret} is logged: {log}");
    }
    // No line of the session that submitted says where it went.
    for line in log.lines().filter(|line| line.contains("\"session.id\"")) {
        assert!(!line.contains("hismail"), "{line}");
    }
    assert_absent_at_rest(&hermail, &["robert-planted", SUBJECT, BODY.trim()]);
    assert_absent_at_rest(&hismail, &["alice@hermail.test", SUBJECT, BODY.trim()]);
    drop(there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_acknowledged_before_a_kill_is_delivered_once() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = hismail(&world).await;
    let alice = Home::join(&hermail, "alice", "paranoid").await;
    let bob = "robert-planted@hismail.test";
    let (mut here, mut there) = (hermail.spawn().await, hismail.spawn().await);
    alice.fetch_all(&hermail, &hismail, bob).await;
    let text = letter(&alice.address, bob);
    // So that the destination's signet is known when nobody answers there.
    alice.seal(bob, &text, "", "first");
    alice.send(0, "first", "hismail.test");
    hismail.maildir("robert-planted").only().await;
    there.kill();
    alice.seal(bob, &text, "--format 2", "two");
    alice.seal(bob, &text, "--format 1", "one");
    for file in ["two", "one"] {
        alice.send(0, file, "hismail.test");
    }
    here.kill();
    let _here = hermail.spawn().await;
    // The reply might have been lost with the kill: the author tries again.
    for file in ["two", "one"] {
        alice.send(0, file, "hismail.test");
    }
    let _there = hismail.spawn().await;
    let delivered = hismail.maildir("robert-planted").expect(3).await;
    assert!(delivered.iter().all(|text| split(text).1 == BODY));
    hermail.idle().await;
    assert_eq!(hismail.maildir("robert-planted").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_submits_without_login_for_another_domain_or_to_one_that_takes_no_sealed_mail() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["eve"])
        .build()
        .await;
    world.plain_domain("plain.test", hermail.ip);
    let served = hermail.start().await;
    let mut talk = dmtp_submission(&hermail).await;
    talk.ask("SGNT <hermail.test>", "250 OK [").await;
    let mail = "MAIL FROM: <hermail.test> [fingerprint] SIZE=9";
    assert_eq!(talk.ask(mail, "530").await, "530 AUTH comes first");
    let wrong = base64(b"\0eve@hermail.test\0wrong password");
    let refused = talk.ask(&format!("AUTH PLAIN {wrong}"), "535").await;
    assert_eq!(refused, "535 authentication failed");
    let mut talk = logged_in(&hermail, "eve@hermail.test").await;
    let other = talk
        .ask("MAIL FROM: <hismail.test> [fingerprint] SIZE=9", "550")
        .await;
    assert_eq!(other, "550 that domain is not yours");
    talk.ask(mail, "250 OK").await;
    let plain = talk.ask("RCPT TO: <plain.test> [fingerprint]", "510").await;
    assert_eq!(plain, "510 that domain takes no sealed mail");
    // SMTP only, from the first octet.
    let mut talk = Talk::open_tls(hermail.ip, crate::support::loopback::SUBMISSIONS).await;
    let banner = talk.expect("220 ").await;
    assert!(!banner.contains("DMTP"), "{banner}");
    talk.ask("MAIL FROM: <hermail.test> [fingerprint] SIZE=9", "5")
        .await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attackers_get_nothing_signed() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["eve"])
        .build()
        .await;
    let hismail = hismail(&world).await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let (here, there) = (hermail.spawn().await, hismail.start().await);
    let bob = "robert-planted@hismail.test";
    alice.fetch_all(&hermail, &hismail, bob).await;
    let text = letter(&alice.address, bob);
    let unverified = [
        "554 the message could not be verified",
        "578 the message cannot be opened or verified",
    ];
    // From the end: in the author's signatures, and in the chunks before them.
    for (options, refusal, places) in [
        ("--format 2", unverified[0], [1, 700, 1200]),
        ("--format 1", unverified[1], [1100, 1400, 2000]),
    ] {
        alice.seal(bob, &text, options, "sealed");
        let object = alice.octets("sealed");
        // Somebody else's account.
        let mut talk = logged_in(&hermail, "eve@hermail.test").await;
        let answer = talk.object("hermail.test", "hismail.test", &object).await;
        assert_eq!(answer, refusal, "{options}");
        let mut talk = logged_in(&hermail, &alice.address).await;
        for place in places {
            let mut changed = object.clone();
            let place = changed.len() - place;
            changed[place] ^= 1;
            let answer = talk.object("hermail.test", "hismail.test", &changed).await;
            assert_eq!(answer, refusal, "{options}, octet {place} of {}", object.len());
        }
        // Where it does not go.
        let elsewhere = talk.object("hermail.test", "hermail.test", &object).await;
        assert_eq!(elsewhere, "510 the message is sealed for another domain");
    }
    // Signed already, as it is on the wire.
    alice.seal(bob, &text, "--format 2", "sealed");
    alice.send(0, "sealed", "hismail.test");
    let signed = there.objects(1).await.remove(0);
    assert_eq!(signed.len(), alice.octets("sealed").len());
    let mut talk = logged_in(&hermail, &alice.address).await;
    let answer = talk.object("hermail.test", "hismail.test", &signed).await;
    assert_eq!(answer, unverified[0]);
    // The same once more is answered as the first time, and goes nowhere.
    let answer = talk
        .object("hermail.test", "hismail.test", &alice.octets("sealed"))
        .await;
    assert!(answer.starts_with("250 OK ["), "{answer}");
    hermail.idle().await;
    hismail.maildir("robert-planted").only().await;
    let log = here.log();
    for secret in ["robert-planted", SUBJECT, BODY.trim(), "alice"] {
        assert!(!contains(log.as_bytes(), secret), "{secret} is logged: {log}");
    }
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signet_that_is_in_force_no_more_signs_nothing() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = hismail(&world).await;
    let alice = Home::join_without_key_set(&hermail, "alice", "cautious").await;
    let (_here, _there) = (hermail.spawn().await, hismail.spawn().await);
    let bob = "robert-planted@hismail.test";
    alice.fetch_all(&hermail, &hismail, bob).await;
    alice.seal(bob, &letter(&alice.address, bob), "--format 2", "sealed");
    // A superseded signet without a key set never counts (`dmime2.md` §13, E4).
    alice.publish_key_set(&hermail).await;
    let said = alice.send(1, "sealed", "hismail.test");
    assert_eq!(said["refused"]["variant"], "submit.permanent");
    let message = said["refused"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("554 the message could not be verified"),
        "{message}"
    );
    alice.fetch(&hermail, &alice.address).await;
    alice.seal(bob, &letter(&alice.address, bob), "--format 2", "sealed");
    alice.send(0, "sealed", "hismail.test");
    hismail.maildir("robert-planted").only().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_mail_within_a_domain_goes_out_and_comes_back() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["carol"])
        .build()
        .await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let served = hermail.start().await;
    alice.fetch_all(&hermail, &hermail, "carol@hermail.test").await;
    let text = letter(&alice.address, "carol@hermail.test");
    for (number, options) in ["--format 2", "--format 1"].into_iter().enumerate() {
        alice.seal("carol@hermail.test", &text, options, "sealed");
        alice.send(0, "sealed", "hermail.test");
        let delivered = hermail.maildir("carol").expect(number + 1).await;
        assert_eq!(split(&delivered[number]).1, BODY);
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_of_an_author_with_keys_at_home_goes_to_plain_domains_alone() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["carol"])
        .build()
        .await;
    let hismail = hismail(&world).await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let plain = crate::support::loopback::Loopback::take();
    world.plain_domain("plain.test", plain.ip);
    let behaviour = crate::support::sink::Behaviour::with_tls(world.home());
    let sink = crate::support::sink::Sink::start(plain.ip, behaviour).await;
    let (served, _there) = (hermail.start().await, hismail.start().await);
    let mut talk = Talk::submission(hermail.ip, &alice.address).await;
    talk.ask(&format!("MAIL FROM:<{}>", alice.address), "250").await;
    for recipient in ["robert-planted@hismail.test", "carol@hermail.test"] {
        let refused = talk.ask(&format!("RCPT TO:<{recipient}>"), "550 5.7.1").await;
        assert!(
            refused.contains("dimed message seal") && refused.contains("dimed message send"),
            "{refused}"
        );
    }
    talk.ask("RSET", "250").await;
    let reply = talk
        .transfer(
            &alice.address,
            &["x@plain.test"],
            &letter(&alice.address, "x@plain.test"),
        )
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(sink.taken(1).await[0].message.contains(BODY));
    served.stop().await;
}

/// `dmime2.md` §12: what fails after the destination's 250 comes back to the author as the destination signed it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_the_destination_comes_back_sealed_and_the_author_can_read_it() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = world.organization("hismail.test").accounts(&["robert-planted"]);
    let hismail = hismail.config(|config| config.queue.lifetime_secs = std::num::NonZeroU64::new(1).unwrap());
    let hismail = hismail.build().await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    hismail.block_mailbox("robert-planted");
    let (here, there) = (hermail.start().await, hismail.start().await);
    let bob = "robert-planted@hismail.test";
    alice.fetch_all(&hermail, &hismail, bob).await;
    alice.seal(bob, &letter(&alice.address, bob), "--format 2", "sealed");
    alice.send(0, "sealed", "hismail.test");
    let wrapped = hermail.maildir("alice").only().await;
    assert!(
        wrapped.contains("Content-Type: application/vnd.dime"),
        "{wrapped}"
    );
    assert!(
        !wrapped.contains("robert-planted") && !wrapped.contains(SUBJECT),
        "{wrapped}"
    );
    alice.desk.write("returned.eml", &wrapped);
    let opened = tokio::task::block_in_place(|| {
        alice.desk.json(
            0,
            &format!(
                "message verify --as author --key my.key --key my.kem --from {} --to {bob} --author-signet {} \
                 --origin-signet hermail.test --destination-signet hismail.test --recipient-signet {bob} \
                 returned.eml",
                alice.address, alice.address
            ),
        )
    });
    assert!(opened.to_string().contains(bob), "{opened}");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_sends_nothing_to_a_host_without_the_right_certificate_or_password() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = hismail(&world).await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let there = hismail.start().await;
    let bob = "robert-planted@hismail.test";
    let command = "message send --sealed sealed --destination hismail.test";
    alice.desk.write("sealed", b"\x07\xc0");
    // Nobody listens.
    assert_eq!(
        alice.online(75, command)["refused"]["variant"],
        "submit.unreachable"
    );
    let here = hermail.start().await;
    alice.fetch_all(&hermail, &hismail, bob).await;
    alice.seal(bob, &letter(&alice.address, bob), "", "sealed");
    // The certificate of another host, or one that nobody trusts.
    let elsewhere = format!(
        "{command} --submit mx.hismail.test:{SUBMISSION} --address {} --user {} --password-file login.txt",
        hismail.ip, alice.address
    );
    for trust in ["--ca-file ca.pem", ""] {
        let line = format!("{elsewhere} {trust}");
        let said = tokio::task::block_in_place(|| alice.desk.json(1, &line));
        assert_eq!(said["refused"]["variant"], "submit.certificate", "{trust}");
    }
    alice.desk.write("login.txt", "another password");
    assert_eq!(alice.online(1, command)["refused"]["variant"], "submit.login");
    alice.desk.write("login.txt", PASSWORD);
    assert_eq!(alice.online(0, command)["result"], "submitted");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrapped_keys_are_stored_fetched_replaced_and_never_under_the_login_password() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["eve"])
        .build()
        .await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let pat = Home::join(&hermail, "pat", "paranoid").await;
    let process = hermail.spawn().await;
    let upload = "key upload my.key my.kem --passphrase-file passphrase --memory-kib 64 --passes 1";
    let download = "key download --out fetched --force";
    assert_eq!(alice.online(1, download)["refused"]["variant"], "submit.no_keys");
    alice.desk.write("passphrase", PASSWORD);
    let line = format!(
        "{upload} --submit mx.hermail.test --user {} --password-file login.txt",
        alice.address
    );
    let refused = tokio::task::block_in_place(|| alice.desk.fails(2, &line));
    assert!(refused.contains("is the login password"), "{refused}");

    alice.desk.write("passphrase", "osmium passphrase");
    let stored = alice.online(0, upload);
    assert_eq!(
        (&stored["result"], &stored["version"]),
        (&"stored".into(), &1.into())
    );
    let again = alice.online(1, upload);
    assert_eq!(again["refused"]["variant"], "deposit.stored_already");
    assert_eq!(alice.online(0, &format!("{upload} --force"))["version"], 2);
    assert_eq!(alice.online(0, download)["version"], 2);
    assert_eq!(alice.desk.mode("fetched"), 0o600);
    let unwrapped = tokio::task::block_in_place(|| {
        alice
            .desk
            .done("key unwrap fetched --passphrase-file passphrase --out -")
    });
    assert_eq!(unwrapped, alice.desk.read("my.key") + &alice.desk.read("my.kem"));

    // What is not under a passphrase is not stored, and other accounts store nothing.
    let mut talk = logged_in(&hermail, &alice.address).await;
    let clear = alice.octets("my.key");
    talk.ask(&format!("KEYS [2] SIZE={}", clear.len()), "354").await;
    talk.send(&clear).await;
    assert_eq!(
        talk.ask("", "554").await,
        "554 only user keys wrapped under a passphrase are stored"
    );
    let fetched = alice.octets("fetched");
    talk.ask(&format!("KEYS [1] SIZE={}", fetched.len()), "354").await;
    talk.send(&fetched).await;
    assert_eq!(
        talk.ask("", "451").await,
        "451 another version is stored: fetch it first"
    );
    let mut talk = logged_in(&hermail, "eve@hermail.test").await;
    assert_eq!(
        talk.ask("KEYS", "550").await,
        "550 your keys are kept here already"
    );
    let mut talk = logged_in(&hermail, &pat.address).await;
    assert_eq!(
        talk.ask("KEYS", "550").await,
        "550 your account keeps no keys here"
    );
    let log = process.log();
    for secret in ["osmium", PASSWORD] {
        assert!(!contains(log.as_bytes(), secret), "{log}");
    }
    // The wrapped text is wrapped once more at rest.
    assert_absent_at_rest(&hermail, &["osmium", "WRAPPED PRIVATE KEY", "dimedwk1"]);
}

/// The examples in the help of the commands that log in, run against a daemon; other examples need none.
#[tokio::test(flavor = "multi_thread")]
async fn examples_of_commands_that_log_in_do_what_they_say() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = hismail(&world).await;
    let alice = Home::join(&hermail, "alice", "cautious").await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let bob = "robert-planted@hismail.test";
    alice.fetch_all(&hermail, &hismail, bob).await;
    alice.seal(bob, &letter(&alice.address, bob), "", "letter.dmime");
    alice.desk.write("secret.txt", "correct horse battery staple\n");
    let server = format!(
        "mx.hermail.test:{SUBMISSION} --address {} --ca-file ca.pem",
        hermail.ip
    );
    for command in ["message send", "key upload", "key download"] {
        let help = tokio::task::block_in_place(|| alice.desk.done(&format!("{command} --help")));
        assert!(help.contains("Exit codes: 0 "), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 104), "{help}");
        let examples = crate::cli_examples::examples(&help);
        assert_eq!(examples.len(), 1, "{help}");
        assert!(
            examples[0].contains(&format!("dimed {command}")),
            "{}",
            examples[0]
        );
        let line = examples[0]
            .replace("alice@example.org", &alice.address)
            .replace("mx.example.org", &server)
            .replace("example.net", "hismail.test")
            .replace("alice-example.org.", "my.");
        let done = alice.shell(&line);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{line}: {errors}");
        assert!(!done.stdout.is_empty(), "{line}");
    }
    hismail.maildir("robert-planted").only().await;
    assert!(alice.desk.read("alice.wrapped").contains("WRAPPED PRIVATE KEY"));
    here.stop().await;
    there.stop().await;
}
