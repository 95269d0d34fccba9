//! Domains whose mail is taken for another host, and passed on.

use std::num::NonZeroU64;

use clap::Parser as _;
use dimed::cli::{Arguments, Exit};
use dimed::config::{Config, WhenUnreachable};
use dimed::net::authority::Zone;
use dimed::store::{Error, LocalDomain, RelayDomain};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::loopback::{Loopback, SMTP};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::{World, domain};

const MESSAGE: &str = "From: carol@plain.test\r\nSubject: passing through\r\n\r\nhello\r\n";

/// backup.test, whose host is the second one of main.test.
async fn backup(world: &World, verification: &str, change: impl Fn(&mut Config)) -> Organization {
    let builder = world.organization("backup.test").plain().accounts(&["bob"]);
    let backup = builder.config(change).build().await;
    backup
        .cli(&["domain", "add", "main.test", "--relay", "--verify", verification])
        .await;
    backup
}

/// main.test, whose own host comes first.
async fn main_host(world: &World) -> Organization {
    let main = world.organization("main.test").plain().accounts(&["dave"]);
    let main = main.build().await;
    world.put("main.test", &zone(main.ip));
    main
}

/// Where the first host of main.test is to be, for a test that plays it.
fn main_address(world: &World) -> Loopback {
    let host = Loopback::take();
    world.put("main.test", &zone(host.ip));
    host
}

fn zone(first: std::net::IpAddr) -> Zone {
    hosts(first, &[(10, "mx.main.test"), (20, "mx.backup.test")])
}

fn hosts(ip: std::net::IpAddr, all: &[(u16, &str)]) -> Zone {
    let zone = Zone::unsigned(&domain("main.test")).unwrap().address("mx", ip);
    all.iter().fold(zone, |zone, (preference, host)| {
        zone.mx("", *preference, &domain(host))
    })
}

/// What backup says to RCPT for somebody in main.test.
async fn asked(backup: &Organization, local: &str) -> String {
    let mut talk = Talk::smtp(backup.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask(&format!("RCPT TO:<{local}@main.test>"), "").await
}

async fn bring(backup: &Organization, to: &str) {
    let mut talk = Talk::smtp(backup.ip).await;
    let reply = talk.transfer("carol@plain.test", &[to], MESSAGE).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

fn patient(config: &mut Config) {
    // Messages that are not for relay domains are given up at once.
    config.queue.lifetime_secs = NonZeroU64::new(1).unwrap();
    config.relay.callout_timeout_secs = NonZeroU64::new(2).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_knows_whom_the_main_host_knew_and_keeps_their_mail_until_it_is_back() {
    let world = World::new().await;
    let backup = backup(&world, "callout", patient).await;
    let main = main_host(&world).await;
    let (here, there) = (backup.start().await, main.start().await);
    assert_eq!(asked(&backup, "dave").await, "250 2.1.5 Ok");
    let refused = "550 5.1.1 No such mailbox here: check the address for mistakes";
    assert_eq!(asked(&backup, "nobody").await, refused);
    bring(&backup, "dave@main.test").await;
    let mail = main.maildir("dave").only().await;
    assert!(mail.contains("Return-Path: <carol@plain.test>\r\n"), "{mail}");
    // The main host was asked and told nothing.
    assert!(mail.contains("Received: from mx.backup.test"), "{mail}");
    backup.idle().await;

    there.stop().await;
    assert_eq!(asked(&backup, "Dave").await, "250 2.1.5 Ok");
    assert_eq!(asked(&backup, "nobody").await, refused);
    let unknown = "450 4.1.1 The recipient cannot be verified now, try again later";
    assert_eq!(asked(&backup, "eve").await, unknown);
    bring(&backup, "dave@main.test").await;
    // Longer than any other message is kept.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    let waiting = backup.cli(&["queue", "list"]).await;
    assert!(waiting.contains("dave@main.test"), "{waiting}");
    let removed = backup.answered(&["domain", "remove", "main.test"]).await;
    assert_eq!(removed.0, Exit::No);
    assert!(removed.1.contains("mail waits for it (1)"), "{}", removed.1);

    let there = main.start().await;
    main.maildir("dave").expect(2).await;
    backup.idle().await;
    backup.cli(&["domain", "remove", "main.test"]).await;
    assert!(
        asked(&backup, "dave")
            .await
            .starts_with("550 5.7.1 Relaying denied")
    );
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_main_host_is_down_an_operator_may_take_what_cannot_be_verified() {
    let world = World::new().await;
    let backup = backup(&world, "callout", |config| {
        patient(config);
        config.relay.when_unreachable = WhenUnreachable::Accept;
    })
    .await;
    let main = main_host(&world).await;
    let here = backup.start().await;
    assert_eq!(asked(&backup, "eve").await, "250 2.1.5 Ok");
    // A host that is there and does not say is not down.
    let sink = Behaviour {
        refusal: Some("451 4.3.0 Not now"),
        ..Behaviour::default()
    };
    let other = main_address(&world);
    let sink = Sink::start(other.ip, sink).await;
    here.stop().await;
    let here = backup.start().await;
    let reply = asked(&backup, "ben").await;
    assert!(reply.starts_with("450 4.1.1 "), "{reply}");
    drop((sink, main));
    here.stop().await;
}

/// The host of main.test, which takes every recipient, or answers with that.
async fn sink(at: &Loopback, refusal: Option<&'static str>) -> Sink {
    let behaviour = Behaviour {
        refusal,
        offers: &["SMTPUTF8"],
        ..Behaviour::default()
    };
    Sink::start(at.ip, behaviour).await
}

async fn replaced(sink: Sink) {
    sink.hang_up();
    sink.stop().await;
}

/// What the host does not know in one spelling, it may know in another; local-parts are its own (RFC 5321 §2.4).
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_spelling_shuts_out_no_other() {
    let world = World::new().await;
    let backup = backup(&world, "callout", patient).await;
    let host = main_address(&world);
    let refusing = sink(&host, Some("550 5.1.1 Unknown")).await;
    let here = backup.start().await;
    assert!(asked(&backup, "KATE").await.starts_with("550 5.1.1 "));
    let mut talk = Talk::smtp(backup.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test> SMTPUTF8", "250").await;
    talk.ask("RCPT TO:<\u{212a}ate@main.test>", "550 5.1.1 ").await;
    replaced(refusing).await;
    let taking = sink(&host, None).await;
    assert_eq!(asked(&backup, "kate").await, "250 2.1.5 Ok");
    // What is remembered of the other name still holds.
    talk.ask("RCPT TO:<\u{212a}ate@main.test>", "550 5.1.1 ").await;
    drop(taking);
    here.stop().await;
}

/// A host may refuse a recipient who is there.
#[tokio::test(flavor = "multi_thread")]
async fn other_refusals_say_nothing_of_the_recipient() {
    let world = World::new().await;
    let backup = backup(&world, "callout", patient).await;
    let host = main_address(&world);
    let here = backup.start().await;
    for refusal in [
        "550 5.7.1 Blocked",
        "552 5.2.2 Full",
        "530 5.7.0 Log in",
        "503 Not now",
    ] {
        let refusing = sink(&host, Some(refusal)).await;
        let reply = asked(&backup, "dave").await;
        assert!(reply.starts_with("450 4.1.1 "), "{refusal}: {reply}");
        replaced(refusing).await;
    }
    let taking = sink(&host, None).await;
    assert_eq!(asked(&backup, "dave").await, "250 2.1.5 Ok");
    drop(taking);
    here.stop().await;
}

/// A host of main.test that answers RCPT as `answers` says for each line, or never.
async fn scripted(at: &Loopback, answers: fn(&str) -> Option<&'static str>) -> JoinHandle<()> {
    let listener = TcpListener::bind((at.ip, SMTP)).await.unwrap();
    tokio::spawn(async move {
        // They end with it.
        let mut sessions = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            sessions.spawn(async move {
                let mut stream = BufReader::new(tcp);
                let mut said = Some("220 scripted");
                let mut line = String::new();
                loop {
                    if let Some(reply) = said {
                        let reply = format!("{reply}\r\n");
                        stream.write_all(reply.as_bytes()).await.unwrap();
                    }
                    line.clear();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                    said = match line.starts_with("RCPT ") {
                        true => answers(&line),
                        false => Some("250 ok"),
                    };
                }
            });
        }
    })
}

/// Returns once the port is free.
async fn over(host: JoinHandle<()>) {
    host.abort();
    // It ends with the abort, as told.
    let _ = host.await;
}

/// Strangers choose the names: one at which a host falls silent does not open the domain to all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_silent_about_one_name_is_there_for_the_others() {
    let world = World::new().await;
    let backup = backup(&world, "callout", |config| {
        patient(config);
        config.relay.when_unreachable = WhenUnreachable::Accept;
    })
    .await;
    let host = main_address(&world);
    let serving = scripted(&host, |line| match line.split(['<', '@']).nth(1) {
        Some("tarpit") => None,
        Some("dave") => Some("250 ok"),
        _ => Some("550 5.1.1 Unknown"),
    })
    .await;
    let here = backup.start().await;
    let reply = asked(&backup, "tarpit").await;
    assert!(reply.starts_with("450 4.1.1 "), "{reply}");
    let reply = asked(&backup, "made-up").await;
    assert!(reply.starts_with("550 5.1.1 "), "{reply}");
    assert_eq!(asked(&backup, "dave").await, "250 2.1.5 Ok");
    over(serving).await;
    here.stop().await;
}

/// Without an enhanced status code, a refusal may be about the recipient or about us.
#[tokio::test(flavor = "multi_thread")]
async fn a_bare_refusal_counts_if_the_host_takes_mail_for_its_postmaster() {
    let world = World::new().await;
    let backup = backup(&world, "callout", patient).await;
    let host = main_address(&world);
    let here = backup.start().await;
    let blocks = scripted(&host, |_| Some("550 blocked using bl.example")).await;
    let reply = asked(&backup, "dave").await;
    assert!(reply.starts_with("450 4.1.1 "), "{reply}");
    over(blocks).await;
    let knows = scripted(&host, |line| match line.contains("postmaster@") {
        true => Some("250 ok"),
        false => Some("550 no such user"),
    })
    .await;
    let reply = asked(&backup, "dave").await;
    assert!(reply.starts_with("550 5.1.1 "), "{reply}");
    over(knows).await;
    here.stop().await;
}

/// RFC 5321 §5.1: nothing goes to a host that would send it here, and nothing is lost because nobody is named.
#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_to_better_hosts_alone_or_waits() {
    let world = World::new().await;
    let backup = backup(&world, "none", |_| {}).await;
    let [worse, equal] = [Loopback::take(), Loopback::take()];
    world.plain_domain("worse.test", worse.ip);
    world.plain_domain("equal.test", equal.ip);
    let all = [
        (20, "mx.backup.test"),
        (20, "mx.equal.test"),
        (30, "mx.worse.test"),
    ];
    world.put("main.test", &hosts(worse.ip, &all));
    let sinks = [
        Sink::start(worse.ip, Behaviour::default()).await,
        Sink::start(equal.ip, Behaviour::default()).await,
    ];
    let here = backup.start().await;
    bring(&backup, "dave@main.test").await;
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let listed = backup.cli(&["queue", "list"]).await;
        if listed.contains("4.4.6") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(sinks.iter().all(|sink| sink.sessions() == 0));
    let explained = backup.answered(&["route", "explain", "dave@main.test"]).await;
    assert_eq!(explained.0, Exit::TryLater, "{}", explained.1);
    assert!(
        explained.1.contains("name the next host in outbound.transports")
            && explained.1.contains("waits, and is tried again"),
        "{}",
        explained.1
    );
    // Nobody was told of a failure.
    assert_eq!(backup.maildir("bob").count(), 0);
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_who_is_there_and_holds_at_once() {
    let world = World::new().await;
    let backup = backup(&world, "list", |_| {}).await;
    main_host(&world).await;
    let here = backup.start().await;
    assert!(asked(&backup, "dave").await.starts_with("550 5.1.1 "));
    let checked = backup.cli(&["check"]).await;
    assert!(
        checked.contains("the list of recipients of main.test is empty"),
        "{checked}"
    );
    backup
        .cli(&["domain", "recipients", "add", "Dave@main.test", "eve@main.test"])
        .await;
    backup
        .cli(&["domain", "recipients", "remove", "eve@main.test"])
        .await;
    assert_eq!(asked(&backup, "dAVE").await, "250 2.1.5 Ok");
    for local in ["eve", "dave+x", "nobody"] {
        assert!(asked(&backup, local).await.starts_with("550 5.1.1 "), "{local}");
    }
    assert_eq!(asked(&backup, "PostMaster").await, "250 2.1.5 Ok");
    // Local-parts that main.test might read as addresses elsewhere, on our word.
    for local in [
        "eve%plain.test",
        "plain.test!eve",
        "\"eve@plain.test\"",
        "\"/var/mail\"",
        "\"|sh\"",
    ] {
        let reply = asked(&backup, local).await;
        assert!(
            reply.starts_with("550 5.7.1 The local-part says a way of its own"),
            "{reply}"
        );
    }
    // KELVIN SIGN is no K for the host that the mail is for.
    backup
        .cli(&["domain", "recipients", "add", "kate@main.test"])
        .await;
    assert_eq!(asked(&backup, "Kate").await, "250 2.1.5 Ok");
    let mut talk = Talk::smtp(backup.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test> SMTPUTF8", "250").await;
    talk.ask("RCPT TO:<\u{212a}ate@main.test>", "550 5.1.1 ").await;
    let file = backup.folder.join("list");
    std::fs::write(&file, "# all\neve@main.test OK\n").unwrap();
    let import = [
        "domain",
        "recipients",
        "import",
        "main.test",
        file.to_str().unwrap(),
    ];
    assert_eq!(
        backup.cli(&import).await,
        "1 recipients are on the list of main.test, and nobody else.\n"
    );
    assert!(asked(&backup, "dave").await.starts_with("550 5.1.1 "));
    assert_eq!(asked(&backup, "eve").await, "250 2.1.5 Ok");
    assert_eq!(
        backup.cli(&["domain", "recipients", "list", "main.test"]).await,
        "eve@main.test\n"
    );
    let listed = backup.cli(&["domain", "list"]).await;
    assert_eq!(
        listed,
        "backup.test  without DIME\nmain.test  relayed, recipients by list\n"
    );

    backup
        .cli(&["domain", "recipients", "verify", "main.test", "none"])
        .await;
    assert_eq!(asked(&backup, "anybody").await, "250 2.1.5 Ok");
    let checked = backup.cli(&["check"]).await;
    assert!(
        checked.contains("NOBODY VERIFIES the recipients of main.test"),
        "{checked}"
    );
    // One domain is not both.
    let store = backup.services().await.store;
    let relayed = store.relay_domain(&domain("main.test")).await.unwrap().unwrap();
    let served = store.local_domain(&domain("backup.test")).await.unwrap().unwrap();
    let both = [
        store
            .add_domain(LocalDomain {
                name: relayed.name.clone(),
                ..served.clone()
            })
            .await,
        store
            .add_relay_domain(RelayDomain {
                name: served.name,
                ..relayed
            })
            .await,
    ];
    assert!(
        both.iter().all(|added| matches!(added, Err(Error::Exists))),
        "{both:?}"
    );
    here.stop().await;
}

/// Plain mail for a strict domain is not taken to be returned, and for others it goes as all mail without an author.
#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_domain_in_dime_goes_on_as_its_policy_says() {
    let world = World::new().await;
    let backup = backup(&world, "none", |_| {}).await;
    let here = backup.start().await;
    for (name, policy, expected) in [
        (
            "strict.test",
            "strict",
            "550 5.7.1 This domain takes mail by DMTP only",
        ),
        ("mixed.test", "mixed", "250 2.1.5 Ok"),
    ] {
        let there = world
            .organization(name)
            .policy(policy)
            .accounts(&["dave"])
            .build()
            .await;
        let there_served = there.start().await;
        backup
            .cli(&["domain", "add", name, "--relay", "--verify", "none"])
            .await;
        let mut talk = Talk::smtp(backup.ip).await;
        talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
        let reply = talk.ask(&format!("RCPT TO:<dave@{name}>"), "").await;
        assert_eq!(reply, expected);
        if expected.starts_with("250") {
            talk.data(MESSAGE).await;
            let mail = there.maildir("dave").only().await;
            assert!(mail.contains("Received: from mx.backup.test"), "{mail}");
            assert_eq!(here.witness.routes_to("dave@mixed.test"), ["smtp"]);
        }
        there_served.stop().await;
    }
    here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_records_are_one_and_its_keys_none() {
    let world = World::new().await;
    let backup = backup(&world, "list", |_| {}).await;
    let printed = backup.cli(&["dns", "records", "main.test"]).await;
    let records: Vec<&str> = printed.lines().filter(|line| !line.starts_with(';')).collect();
    assert_eq!(records, ["main.test. 3600 IN MX 20 mx.backup.test."]);
    for (arguments, says) in [
        (["dns", "check"], "whoever serves it has its records"),
        (["dkim", "add"], "signed by whoever serves it"),
    ] {
        let config = ["dimed", "--config", backup.config.to_str().unwrap()];
        let all = [&config[..], &arguments[..], &["main.test"]].concat();
        let arguments = Arguments::try_parse_from(all).unwrap();
        let error = dimed::cli::run(arguments, &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error:#}");
    }
}
