//! Filters: what they say is done while the client waits, and a filter that misbehaves harms nobody.

use std::path::Path;
use std::sync::{Arc, Mutex};

use dimed::cli::Exit;
use dimed::config::{Action, Filter, FilterProtocol, FilteredMail};
use dimed::mail::address::ReversePath;
use dimed::net::service::Service;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::eventually;
use crate::support::loopback::Loopback;
use crate::support::milter::{Act, Milter, packet, packets};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGE: &str = "From: carol@plain.test\r\nTo: bob@hismail.test\r\nSubject: hi\r\nX-Old:  1\r\n\t2\r\nX-Old: 3\r\n\r\nhello\r\n";

async fn hismail(world: &World, filters: Vec<Filter>) -> Organization {
    let hismail = world
        .organization("hismail.test")
        .plain()
        .accounts(&["bob", "pat"]);
    hismail
        .config(|config| config.filtering.filters.clone_from(&filters))
        .build()
        .await
}

/// Sends one message to Bob; the final reply.
async fn send(hismail: &Organization, message: &str) -> String {
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.transfer("carol@plain.test", &["bob@hismail.test"], message)
        .await
}

/// What the milter does at the end of every message.
async fn at_the_end(list: &'static [&'static [u8]]) -> Milter {
    Milter::start(move |_, packet| match packet[0] {
        b'E' => packets(list),
        _ => Act::Usual,
    })
    .await
}

/// The data of the first packet with that letter.
fn first(milter: &Milter, letter: u8) -> Vec<u8> {
    let heard = milter.heard();
    let packet = heard.iter().find(|packet| packet[0] == letter);
    packet.unwrap_or_else(|| panic!("no {}", char::from(letter)))[1..].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_is_told_of_client_envelope_and_message_step_by_step() {
    let world = World::new().await;
    let milter = Milter::start(|_, _| Act::Usual).await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    assert_eq!(milter.letters(), "", "nobody has sent anything yet");
    let to = ["bob@hismail.test", "pat@hismail.test"];
    assert!(
        talk.transfer("carol@plain.test", &to, MESSAGE)
            .await
            .starts_with("250")
    );
    // What we put above the message is not shown.
    assert_eq!(milter.letters(), "ODCDHDMDRDRDTLLLLLDNBDE");
    let connect = first(&milter, b'C');
    assert!(connect.starts_with(b"[127.0.0.1]\x004") && connect.ends_with(b"127.0.0.1\0"));
    assert_eq!(first(&milter, b'M'), b"<carol@plain.test>\0");
    assert_eq!(first(&milter, b'R'), b"<bob@hismail.test>\0");
    assert_eq!(first(&milter, b'B'), b"hello\r\n");
    let fields: Vec<_> = milter
        .heard()
        .into_iter()
        .filter(|packet| packet[0] == b'L')
        .collect();
    assert_eq!(fields[0], b"LFrom\0carol@plain.test\0");
    assert_eq!(fields[3], b"LX-Old\0 1\n\t2\0");
    let macros: Vec<_> = milter
        .heard()
        .into_iter()
        .filter(|packet| packet[0] == b'D')
        .collect();
    let text = |index: usize| String::from_utf8(macros[index].clone()).unwrap();
    assert!(
        text(0).starts_with("DCj\0mx.hismail.test\0") && text(0).contains("\0{client_addr}\x00127.0.0.1\0")
    );
    assert!(text(2).contains("{mail_addr}\0carol@plain.test\0"));
    assert!(text(3).contains("{rcpt_addr}\0bob@hismail.test\0"));
    let id = text(5)
        .strip_prefix("DTi\0")
        .unwrap()
        .trim_end_matches('\0')
        .to_owned();
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        delivered.contains(&id) && delivered.contains("Authentication-Results: mx.hismail.test;"),
        "{delivered}"
    );
    // The next message of the session is one of the same conversation.
    assert!(
        talk.transfer("carol@plain.test", &to[..1], MESSAGE)
            .await
            .starts_with("250")
    );
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RSET", "250").await;
    talk.ask("QUIT", "221").await;
    let farewell = || milter.letters().ends_with('Q').then_some(());
    eventually("a farewell", farewell).await;
    assert_eq!(milter.letters()[23..], *"DMDRDTLLLLLDNBDEDMAQ");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_a_milter_does_not_want_or_answer_are_left_out() {
    let world = World::new().await;
    // No connect, helo, data, end of header; header fields and body are not answered; blanks are kept.
    let milter = Milter::start(|_, octets| match octets[0] {
        b'O' => packets(&[b"O\0\0\0\x06\0\0\0\x01\0\x18\x02\xc3"]),
        b'L' | b'B' => Act::Nothing,
        b'E' => packets(&[b"hX-New\0 y\0", b"c"]),
        _ => Act::Usual,
    })
    .await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    assert_eq!(milter.letters().trim_end_matches('Q'), "ODMDRLLLLLBDE");
    assert!(milter.heard().contains(&b"LSubject\0 hi\0".to_vec()));
    assert!(
        hismail
            .maildir("bob")
            .only()
            .await
            .contains("X-Old: 3\r\nX-New: y\r\n\r\nhello")
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_milter_refuses_is_refused_in_the_session() {
    let world = World::new().await;
    let milter = Milter::start(|_, packet| match packet {
        [b'M', rest @ ..] if rest.starts_with(b"<mallory@") => packets(&[b"y554 5.7.1 not you\0"]),
        [b'R', rest @ ..] if rest.starts_with(b"<pat@") => packets(&[b"t"]),
        [b'L', rest @ ..] if rest.starts_with(b"Subject\0bad") => packets(&[b"r"]),
        [b'E'] => packets(&[b"y450-4.7.1 not\r\n450 4.7.1 now\0"]),
        _ => Act::Usual,
    })
    .await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<mallory@plain.test>", "554 5.7.1 not you")
        .await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<pat@hismail.test>", "451 4.7.1").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    let bad = MESSAGE.replace("Subject: hi", "Subject: bad");
    assert!(talk.data(&bad).await.starts_with("550 5.7.1"));
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], MESSAGE)
        .await;
    assert!(reply.starts_with("450-4.7.1 not\n450 4.7.1 now"), "{reply}");
    hismail.idle().await;
    assert_eq!(hismail.count("SELECT count(*) FROM messages").await, 0);
    served.stop().await;
}

/// RFC 5321 §3.8: 421 announces that the connection is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_where_a_milter_says_421() {
    let world = World::new().await;
    for letter in [b'M', b'R', b'E'] {
        let milter = Milter::start(move |_, packet| match packet[0] == letter {
            true => packets(&[b"y421 4.7.0 bye\0"]),
            false => Act::Usual,
        })
        .await;
        let name = format!("org{letter}.test");
        let organization = world.organization(&name).plain().accounts(&["bob"]);
        let organization =
            organization.config(|config| config.filtering.filters = vec![milter.filter("scripted")]);
        let organization = organization.build().await;
        let served = organization.start().await;
        let mut talk = Talk::smtp(organization.ip).await;
        talk.send(b"MAIL FROM:<carol@plain.test>\r\n").await;
        let mut reply = talk.reply().await.unwrap();
        if letter != b'M' {
            talk.send(format!("RCPT TO:<bob@{name}>\r\n").as_bytes()).await;
            reply = talk.reply().await.unwrap();
        }
        if letter == b'E' {
            reply = talk.data(MESSAGE).await;
        }
        assert_eq!(reply, "421 4.7.0 bye", "{}", char::from(letter));
        talk.expect_end().await;
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_changes_header_body_and_envelope() {
    let world = World::new().await;
    let milter = at_the_end(&[
        b"hX-End\0a\n\tb\0",
        b"i\0\0\0\0X-Top\0t\0",
        b"m\0\0\0\x02x-old\0changed\0",
        b"m\0\0\0\x01X-Old\0\0",
        b"bnew \r",
        b"\x62\nbody",
        b"+<pat@hismail.test>\0",
        b"-<bob@hismail.test>\0",
        b"e<>\0",
        b"c",
    ])
    .await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    let delivered = hismail.maildir("pat").only().await;
    let (header, body) = delivered.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "new \r\nbody\r\n");
    let top = header.find("X-Top: t\r\n").unwrap();
    assert!(top < header.find("Received: ").unwrap(), "{header}");
    assert!(
        header.ends_with("Subject: hi\r\nx-old: changed\r\nX-End: a\r\n\tb"),
        "{header}"
    );
    assert!(header.contains("Return-Path: <>\r\n"), "{header}");
    assert_eq!(hismail.maildir("bob").count(), 0);
    served.stop().await;
}

/// Sizes around the pieces in which bodies are stored.
/// As at RCPT: an address that was rewritten here leads to the sender of reports alone, a strict domain takes nothing by SMTP, and
/// a full mailbox puts the message off.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_a_filter_adds_is_taken_as_at_rcpt() {
    let world = World::new().await;
    let added = Arc::new(Mutex::new(String::new()));
    let script = Arc::clone(&added);
    let milter = Milter::start(move |_, heard| match heard[0] {
        b'E' => {
            let add = format!("+<{}>\0", script.lock().unwrap());
            packets(&[add.as_bytes(), b"c"])
        }
        _ => Act::Usual,
    })
    .await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    hismail
        .cli(&["domain", "add", "strict.test", "--policy", "strict"])
        .await;
    hismail
        .cli(&["alias", "add", "pat@strict.test", "pat@hismail.test"])
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let carol = ReversePath(Some("carol@plain.test".parse().unwrap()));
    let rewritten = hismail.services().await.srs.rewrite(&carol).await.unwrap();
    let served = hismail.start().await;
    let mut arrived = 0;
    for (from, to) in [
        ("", rewritten.to_string()),
        ("carol@plain.test", rewritten.to_string()),
        ("carol@plain.test", "pat@strict.test".to_owned()),
        ("carol@plain.test", "nobody@hismail.test".to_owned()),
    ] {
        *added.lock().unwrap() = to.clone();
        let mut talk = Talk::smtp(hismail.ip).await;
        let reply = talk.transfer(from, &["bob@hismail.test"], MESSAGE).await;
        assert!(reply.starts_with("250 "), "{from} {to}: {reply}");
        arrived += 1;
        hismail.maildir("bob").expect(arrived).await;
        hismail.idle().await;
    }
    let taken = sink.taken(1).await;
    assert_eq!(
        (taken.len(), &taken[0].rcpt[..]),
        (1, &["<carol@plain.test>".to_owned()][..])
    );
    assert_eq!(hismail.maildir("pat").count(), 0);

    *added.lock().unwrap() = "bob@hismail.test".to_owned();
    hismail.cli(&["account", "quota", "bob@hismail.test", "10"]).await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let reply = talk
        .transfer("carol@plain.test", &["pat@hismail.test"], MESSAGE)
        .await;
    assert!(reply.starts_with("452 4.2.2 "), "{reply}");
    assert_eq!(hismail.maildir("pat").count(), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_stays_itself_under_another_header() {
    let world = World::new().await;
    let field = format!("hX-Large\0xxx{}\0", format!("\n\t{}", "x".repeat(900)).repeat(65));
    let milter = Milter::start(move |_, octets| match octets[0] {
        b'E' => Act::Send(
            [
                packet(field.as_bytes()),
                packet(b"m\0\0\0\x01X-Fat\0\0"),
                packet(b"m\0\0\0\x01X-Fat\0\0"),
                packet(b"c"),
            ]
            .concat(),
        ),
        _ => Act::Usual,
    })
    .await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    for (count, fat) in [1, 50_000, 3_900, 3_700, 4_500].into_iter().enumerate() {
        for (size, lines) in [("small", 1), ("large", 9_000 + count * 1_111)] {
            let body: String = (0..lines).map(|line| format!("{line:>78}\r\n")).collect();
            let fat: String = (0..fat / 70)
                .map(|_| format!("\r\n\t{}", "y".repeat(67)))
                .collect();
            let message = format!(
                "From: carol@plain.test\r\nSubject: {size}\r\nX-Fat: y{fat}\r\nX-Fat: y{fat}\r\n\r\n{body}"
            );
            let known = hismail.maildir("bob").messages();
            assert!(send(&hismail, &message).await.starts_with("250"));
            let all = hismail.maildir("bob").expect(known.len() + 1).await;
            let new = all.iter().find(|message| !known.contains(message)).unwrap();
            let (header, delivered) = new.split_once("\r\n\r\n").unwrap();
            assert!(delivered == body, "{size} {fat:.9}");
            assert!(header.contains("\r\nX-Large: xxx") && !header.contains("X-Fat"));
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_sees_what_the_ones_before_it_changed() {
    let world = World::new().await;
    let one = at_the_end(&[b"hX-One\x001\0", b"bfrom one\r\n", b"c"]).await;
    let two = at_the_end(&[b"hX-Two\x002\0", b"c"]).await;
    let mut last = Milter::start(|_, _| packets(&[b"r"])).await.filter("last");
    last.mail = [FilteredMail::Submission].into();
    let hismail = hismail(&world, vec![one.filter("one"), two.filter("two"), last]).await;
    let served = hismail.start().await;
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    assert!(two.heard().contains(&b"LX-One\x001\0".to_vec()));
    assert_eq!(first(&two, b'B'), b"from one\r\n");
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        delivered.ends_with("X-One: 1\r\nX-Two: 2\r\n\r\nfrom one\r\n"),
        "{delivered}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_users_are_named_to_filters() {
    let world = World::new().await;
    let milter = at_the_end(&[b"hX-Seen\0yes\0", b"c"]).await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    let message = "From: bob@hismail.test\r\nSubject: hi\r\n\r\nhello\r\n";
    hismail.submit("bob", &["pat@hismail.test"], message).await;
    assert!(
        hismail
            .maildir("pat")
            .only()
            .await
            .contains("\r\nX-Seen: yes\r\n")
    );
    let macros = milter
        .heard()
        .into_iter()
        .filter(|packet| packet.starts_with(b"DM"));
    let macros: Vec<_> = macros.map(|packet| String::from_utf8(packet).unwrap()).collect();
    assert!(
        macros[0].contains("{auth_authen}\0bob@hismail.test\0"),
        "{macros:?}"
    );
    served.stop().await;
}

/// A filter may give up a connection that is idle while the client is slow.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_has_ended_is_begun_again() {
    let world = World::new().await;
    let milter = Milter::start(|number, packet| match (number, packet[0]) {
        (0, b'R') | (1, b'T') | (2, b'M') => Act::Close,
        (_, b'E') => packets(&[b"hX-Seen\0yes\0", b"c"]),
        _ => Act::Usual,
    })
    .await;
    let hismail = hismail(&world, vec![milter.filter("scripted")]).await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    // The first connection ends at RCPT, the second at the end of data, and the third in the second try.
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], MESSAGE)
        .await;
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], MESSAGE)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(hismail.maildir("bob").only().await.contains("X-Seen: yes"));
    served.stop().await;
}

/// Whatever it sends, its failure is its own, and the client is to come again, also where the operator would do without a filter
/// that is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_breaks_a_rule_is_one_that_failed() {
    let world = World::new().await;
    let add = packet(b"hX-Bad\0x\0");
    let bodies = std::iter::repeat_n(packet(&[&b"b"[..], &[b'x'; 65_535]].concat()), 40);
    let acts: Vec<(u8, Act)> = vec![
        (b'O', Act::Close),
        (b'O', packets(&[b"c"])),
        (b'O', packets(&[b"O\0\0\0\x09\0\0\0\0\0\0\0\0"])),
        (b'O', packets(&[b"O\0\0\0\x06\0\0\0\0\xff\0\0\0"])),
        (b'C', packets(&[b"y250 fine\0"])),
        (b'H', packets(&[b"hX\0y\0"])),
        (b'M', Act::Send(vec![0; 4])),
        (b'M', Act::Send(b"\xff\xff\xff\xffc".to_vec())),
        (b'T', Act::Send(b"\0\0\0\x02c".to_vec())),
        (b'L', packets(&[b"?"])),
        (b'B', Act::Nothing),
        (b'E', Act::Close),
        (b'E', packets(&[b"y550 one\ntwo\0"])),
        (b'E', packets(&[b"y550 one\r\n250 two\0"])),
        (b'E', packets(&[b"hX-Bad\0x\r\nX-Worse: y\0", b"c"])),
        (b'E', packets(&[b"hX-Bad\0x\r\n\r\nbody\0", b"c"])),
        (b'E', packets(&[b"hX: Bad\0x\0", b"c"])),
        (b'E', packets(&[b"bbare\nline\r\n", b"c"])),
        (b'E', packets(&[b"bbare\rline\r\n", b"c"])),
        (b'E', packets(&[b"bends with\r", b"c"])),
        (
            b'E',
            Act::Send([packet(&[b'b'; 40_000]).repeat(2), packet(b"b\r\n"), packet(b"c")].concat()),
        ),
        (b'E', packets(&[b"+<bob\r\nDATA@hismail.test>\0", b"c"])),
        (
            b'E',
            packets(&[format!("hX-Bad\0{}\0", "x".repeat(999)).as_bytes(), b"c"]),
        ),
        (b'E', Act::Send(add.repeat(600))),
        (b'E', Act::Send(packet(b"qx\0").repeat(600))),
        (b'E', Act::Send(packet(b"b").repeat(600))),
        (b'E', Act::Send(bodies.flatten().collect())),
        (b'E', Act::Send(packet(b"p").repeat(1_001))),
        (b'E', packets(&[b"p", b"p"])),
    ];
    let (deferring, taking) = (acts.clone(), acts.clone());
    // The number of the connection tells which it is; nothing is tried again but what ended.
    let script = |acts: Vec<(u8, Act)>| {
        move |_: usize, packet: &[u8]| {
            let index = std::sync::atomic::Ordering::Relaxed;
            let (letter, act) = &acts[CASE.load(index)];
            match packet[0] == *letter {
                true => act.clone(),
                false => Act::Usual,
            }
        }
    };
    let one = Milter::start(script(deferring)).await;
    let two = Milter::start(script(taking)).await;
    let [mut one, mut two] = [one.filter("one"), two.filter("two")].map(|filter| Filter {
        command_timeout_secs: 1,
        message_timeout_secs: 1,
        ..filter
    });
    one.mail = [FilteredMail::Incoming].into();
    two.mail = [FilteredMail::Submission].into();
    two.unavailable = Action::Accept;
    let hismail = world
        .organization("hismail.test")
        .plain()
        .accounts(&["bob", "pat"]);
    let hismail = hismail.config(|config| {
        config.filtering.filters = vec![one.clone(), two.clone()];
        config.limits.message_bytes = std::num::NonZeroU64::new(2_000_000).unwrap();
    });
    let hismail = hismail.build().await;
    let served = hismail.start().await;
    for index in 0..acts.len() {
        CASE.store(index, std::sync::atomic::Ordering::Relaxed);
        let mut talk = Talk::smtp(hismail.ip).await;
        talk.send(b"MAIL FROM:<carol@plain.test>\r\n").await;
        let reply = talk.reply().await.unwrap();
        let reply = match reply.starts_with("250") {
            false => reply,
            true => {
                talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
                talk.data(MESSAGE).await
            }
        };
        assert!(reply.starts_with("451 4.3.0 A filter"), "{index}: {reply}");
        let message = format!("From: pat@hismail.test\r\nSubject: {index}\r\n\r\nhello\r\n");
        let mut talk = Talk::submission(hismail.ip, "pat@hismail.test").await;
        let reply = talk
            .transfer("pat@hismail.test", &["bob@hismail.test"], &message)
            .await;
        assert!(reply.starts_with("451 4.3.0 A filter"), "{index}: {reply}");
    }
    assert_eq!(hismail.maildir("bob").count(), 0);
    served.stop().await;
}

/// Strangers make a filter slow over a sender whose domain is slow, or over many recipients: it is asked again at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_before_the_message_is_asked_again_at_its_end() {
    let world = World::new().await;
    let milter = Milter::start(|number, packet| match (number, packet) {
        // The first connection of the first session hangs at MAIL, as the second one of the second does at RCPT.
        (0, [b'M', ..]) | (3, [b'R', ..]) => Act::Nothing,
        (2, [b'R', rest @ ..]) if rest.starts_with(b"<pat@") => Act::Close,
        (_, [b'E', ..]) => packets(&[b"y550 5.7.1 spam, surely\0"]),
        _ => Act::Usual,
    })
    .await;
    let filter = Filter {
        command_timeout_secs: 1,
        unavailable: Action::Accept,
        ..milter.filter("scripted")
    };
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    let reply = send(&hismail, MESSAGE).await;
    assert!(reply.starts_with("550 5.7.1 spam, surely"), "{reply}");
    let mut talk = Talk::smtp(hismail.ip).await;
    let to = ["bob@hismail.test", "pat@hismail.test", "bob+x@hismail.test"];
    let reply = talk.transfer("carol@plain.test", &to, MESSAGE).await;
    assert!(reply.starts_with("550 5.7.1 spam, surely"), "{reply}");
    let named: Vec<_> = milter
        .heard()
        .into_iter()
        .filter(|packet| packet[0] == b'R')
        .collect();
    assert!(named.ends_with(&to.map(|name| format!("R<{name}>\0").into_bytes())));
    assert_eq!(hismail.maildir("bob").count(), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_filter_that_cannot_be_reached_is_done_without() {
    let world = World::new().await;
    let dead = |name: &str, protocol| Filter {
        unavailable: Action::Accept,
        ..Filter::new(
            name,
            protocol,
            Service::Unix(Path::new("/nonexistent/filter").into()),
        )
    };
    let milter = dead("milter", FilterProtocol::Milter);
    let rspamd = dead("rspamd", FilterProtocol::Rspamd);
    let hismail = hismail(&world, vec![milter, rspamd]).await;
    let served = hismail.start().await;
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    hismail.maildir("bob").only().await;
    served.stop().await;
}

/// Who ends a filter with a message does not get it past that.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_gone_since_the_message_is_not_done_without() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("milter");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        while let Ok(length) = stream.read_u32().await {
            let mut octets = vec![0; length as usize];
            stream.read_exact(&mut octets).await.unwrap();
            let answer = match octets[0] {
                b'O' => packet(b"O\0\0\0\x06\0\0\0\xff\0\0\0\0"),
                b'D' => Vec::new(),
                b'L' => return,
                _ => packet(b"c"),
            };
            stream.write_all(&answer).await.unwrap();
        }
    });
    let filter = Filter {
        unavailable: Action::Accept,
        ..Filter::new("frail", FilterProtocol::Milter, Service::Unix(path))
    };
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    let reply = send(&hismail, MESSAGE).await;
    assert!(reply.starts_with("451 4.3.0 A filter"), "{reply}");
    task.await.unwrap();
    served.stop().await;
}

/// The fault of the message, over which no milter is to fail.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_milter_can_be_shown_is_refused() {
    let world = World::new().await;
    let milter = Milter::start(|_, _| Act::Usual).await;
    let mut filter = milter.filter("scripted");
    filter.unavailable = Action::Accept;
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    let long = format!("X-Fat: y{}\r\n", format!("\r\n\t{}", "y".repeat(67)).repeat(900));
    for fields in [long, "X: 1\r\n".repeat(2_000)] {
        let reply = send(&hismail, &format!("{fields}{MESSAGE}")).await;
        assert!(reply.starts_with("552 5.3.4 The header"), "{reply}");
    }
    assert!(!milter.letters().contains('E'));
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    served.stop().await;
}

/// A client that goes on after a filter has failed gets nothing past it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_gets_around_a_filter_that_has_failed() {
    let world = World::new().await;
    let hangs = Milter::start(|_, packet| match packet {
        [b'R', rest @ ..] if rest.starts_with(b"<pat@") => Act::Nothing,
        _ => Act::Usual,
    })
    .await;
    let mut filter = hangs.filter("scripted");
    filter.command_timeout_secs = 1;
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    talk.ask("RCPT TO:<pat@hismail.test>", "451 4.3.0").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "451 4.3.0").await;
    assert!(talk.data(MESSAGE).await.starts_with("451 4.3.0"));
    // The next transaction is another one.
    let reply = talk
        .transfer("carol@plain.test", &["bob@hismail.test"], MESSAGE)
        .await;
    assert!(reply.starts_with("250"), "{reply}");
    hismail.maildir("bob").only().await;
    served.stop().await;
}

static CASE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_what_follows_from_a_verdict() {
    let world = World::new().await;
    let milter = at_the_end(&[b"y554 5.7.1 spam, surely\0"]).await;
    for (number, (action, reply)) in [
        (Action::Accept, "250"),
        (Action::Mark, "250"),
        (Action::Quarantine, "250"),
        (Action::Defer, "451 4.7.1 The message"),
        (Action::Reject, "554 5.7.1 spam, surely"),
    ]
    .into_iter()
    .enumerate()
    {
        let filter = Filter {
            on_reject: action,
            ..milter.filter("strict")
        };
        let name = format!("org{number}.test");
        let organization = world.organization(&name).plain().accounts(&["bob"]);
        let organization = organization.config(|config| config.filtering.filters = vec![filter.clone()]);
        let organization = organization.build().await;
        let served = organization.start().await;
        let mut talk = Talk::smtp(organization.ip).await;
        let to = format!("bob@{name}");
        let answer = talk.transfer("carol@plain.test", &[&to], MESSAGE).await;
        assert!(answer.starts_with(reply), "{action:?}: {answer}");
        if matches!(action, Action::Accept | Action::Mark) {
            let delivered = organization.maildir("bob").only().await;
            assert_eq!(delivered.contains("X-Spam-Flag: YES\r\n"), action == Action::Mark);
        }
        let held = "SELECT count(*) FROM recipients WHERE state = 'held'";
        assert_eq!(
            organization.count(held).await,
            i64::from(action == Action::Quarantine)
        );
        served.stop().await;
    }
}

/// What was acknowledged is not thrown away on the word of a program, and somebody decides about it.
#[tokio::test(flavor = "multi_thread")]
async fn held_mail_is_listed_shown_released_and_deleted() {
    let world = World::new().await;
    let milter = at_the_end(&[b"hX-Seen\0yes\0", b"qlooks odd\0", b"c"]).await;
    let other = at_the_end(&[b"d"]).await;
    let [mut strict, mut other] = [milter.filter("strict"), other.filter("other")];
    strict.mail = [FilteredMail::Incoming].into();
    other.mail = [FilteredMail::Submission].into();
    let hismail = hismail(&world, vec![strict, other]).await;
    let served = hismail.start().await;
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    let list = json(&hismail.cli(&["queue", "list", "--json"]).await);
    assert_eq!(list["held"], true);
    assert_eq!(list["last_note"], "filter strict says quarantine: looks odd");
    let days = (list["held_until"].as_i64().unwrap() - list["accepted_at"].as_i64().unwrap()) / 86_400;
    assert_eq!(days, 30);
    let id = list["message"].as_str().unwrap().to_owned();
    let shown = hismail.cli(&["queue", "show", &id]).await;
    assert!(
        shown.contains("held, to be deleted in ") && shown.contains(": held: filter strict"),
        "{shown}"
    );
    let shown = json(&hismail.cli(&["queue", "show", &id, "--json"]).await);
    assert_eq!(shown["recipients"][0]["history"][0]["number"], 0);
    let stored = hismail.cli(&["queue", "show", &id, "--message"]).await;
    assert!(stored.contains("X-Seen: yes\r\n\r\nhello\r\n"), "{stored}");
    let (exit, said) = hismail.answered(&["queue", "retry", &id]).await;
    assert_eq!(exit, Exit::No);
    assert!(said.starts_with("It is held, "), "{said}");
    // Who holds it says that it stays.
    hismail.cli(&["queue", "hold", &id]).await;
    assert_eq!(
        json(&hismail.cli(&["queue", "list", "--json"]).await)["held_until"],
        Value::Null
    );
    assert_eq!(hismail.maildir("bob").count(), 0);
    // It is found at once by a daemon that starts, and within half a minute by one that runs.
    served.stop().await;
    let released = json(&hismail.cli(&["queue", "release", &id, "--json"]).await);
    assert_eq!(
        (&released["result"], &released["recipients"]),
        (&"released".into(), &1.into())
    );
    let served = hismail.start().await;
    assert!(hismail.maildir("bob").only().await.contains("X-Seen: yes"));
    let (exit, said) = hismail.answered(&["queue", "release", &id]).await;
    assert_eq!(
        (exit, &said[..]),
        (Exit::No, "There was nothing to be released.\n")
    );
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    let message = "From: bob@hismail.test\r\nSubject: hi\r\n\r\nhello\r\n";
    hismail.submit("bob", &["pat@hismail.test"], message).await;
    let list = hismail.cli(&["queue", "list", "--json"]).await;
    let reasons: Vec<_> = list.lines().map(|line| json(line)["last_note"].clone()).collect();
    assert_eq!(
        reasons,
        [
            "filter strict says quarantine: looks odd",
            "filter other says discard"
        ]
    );
    for line in list.lines() {
        hismail
            .cli(&["queue", "delete", json(line)["message"].as_str().unwrap()])
            .await;
    }
    assert_eq!(hismail.cli(&["queue", "list"]).await, "The queue is empty.\n");
    assert_eq!(hismail.count("SELECT count(*) FROM pieces").await, 0);
    assert_eq!(hismail.answered(&["queue", "show", &id]).await.0, Exit::No);
    served.stop().await;
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn held_mail_is_deleted_when_its_time_is_over() {
    let world = World::new().await;
    let milter = at_the_end(&[b"qodd\0", b"c"]).await;
    let hismail = hismail(&world, vec![milter.filter("strict")]).await;
    let served = hismail.start().await;
    for _ in 0..2 {
        assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    }
    served.stop().await;
    hismail
        .change_database("UPDATE recipients SET held_until = 1 WHERE seq = (SELECT min(seq) FROM recipients)")
        .await;
    let served = hismail.start().await;
    while hismail.count("SELECT count(*) FROM messages").await > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(hismail.count("SELECT count(*) FROM recipients").await, 1);
    served.stop().await;
}

/// Mail for a DIME domain is filtered before it is sealed, and what is sealed is what the filters left.
#[tokio::test(flavor = "multi_thread")]
async fn what_filters_change_is_what_is_sealed() {
    let world = World::new().await;
    let milter = at_the_end(&[b"hX-Seen\0yes\0", b"bchanged\r\n", b"c"]).await;
    let mut filter = milter.filter("scripted");
    filter.mail = [FilteredMail::Submission].into();
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(|config| config.filtering.filters = vec![filter.clone()]);
    let hermail = hermail.build().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let (ours, theirs) = (hermail.start().await, hismail.start().await);
    let message = "From: alice@hermail.test\r\nTo: bob@hismail.test\r\nSubject: hi\r\n\r\nhello\r\n";
    hermail.submit("alice", &["bob@hismail.test"], message).await;
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        delivered.contains("X-Seen: yes\r\n") && delivered.ends_with("\r\n\r\nchanged\r\n"),
        "{delivered}"
    );
    ours.stop().await;
    theirs.stop().await;
}

/// A web server that gives one answer to everything, and what it was asked.
async fn web_server(answer: Vec<u8>) -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            tokio::spawn(async move {
                let mut octets = vec![0; 65_536];
                let mut heard = Vec::new();
                while !heard.ends_with(b"hello\r\n") {
                    match stream.read(&mut octets).await {
                        Ok(count) if count > 0 => heard.extend_from_slice(&octets[..count]),
                        _ => return,
                    }
                }
                log.lock().unwrap().extend(heard);
                let _ = stream.write_all(&answer).await;
                let _ = stream.read(&mut octets).await;
            });
        }
    });
    (address, asked)
}

fn http(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn rspamd_is_told_the_envelope_and_the_password_and_may_change_the_message() {
    let world = World::new().await;
    let answer = r#"{"action":"rewrite subject","subject":"[odd] hi","milter":{"add_headers":{"X-Score":"9"},
        "remove_headers":{"X-Old":1}}}"#;
    let (address, asked) = web_server(http(answer)).await;
    let password = world.home().join("password-of-rspamd");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let filter = Filter {
        password_file: Some(password),
        ..Filter::new("rspamd", FilterProtocol::Rspamd, Service::Tcp(address))
    };
    let hismail = hismail(&world, vec![filter]).await;
    let served = hismail.start().await;
    assert!(send(&hismail, MESSAGE).await.starts_with("250"));
    let asked = String::from_utf8(asked.lock().unwrap().clone()).unwrap();
    for line in [
        "POST /checkv2 HTTP/1.1\r\n",
        "ip: 127.0.0.1\r\n",
        "from: carol@plain.test\r\n",
        "rcpt: bob@hismail.test\r\n",
        "mta-name: mx.hismail.test\r\n",
        "password: secret\r\n",
        "queue-id: ",
    ] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    let (_, message) = asked.split_once("\r\n\r\n").unwrap();
    assert_eq!(message, MESSAGE);
    let delivered = hismail.maildir("bob").only().await;
    assert!(
        delivered.contains("\r\nSubject: [odd] hi\r\nX-Old: 3\r\nX-Score: 9\r\n\r\nhello"),
        "{delivered}"
    );
    assert!(delivered.contains("X-Spam-Flag: YES\r\n"), "{delivered}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_rspamd_that_breaks_a_rule_puts_mail_off() {
    let world = World::new().await;
    for (number, answer) in [
        b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"what?\r\n\r\n".to_vec(),
        [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 40_000]].concat(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n{".to_vec(),
        http("no JSON"),
        http(&format!(
            "{{\"action\":\"no action\",\"x\":\"{}\"}}",
            "x".repeat(2 << 20)
        )),
        http(r#"{"action":"no action","milter":{"add_headers":{"X":"a\r\nB: c"}}}"#),
        Vec::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let (address, _) = web_server(answer).await;
        let filter = Filter {
            message_timeout_secs: 1,
            unavailable: Action::Accept,
            ..Filter::new("rspamd", FilterProtocol::Rspamd, Service::Tcp(address))
        };
        let name = format!("org{number}.test");
        let organization = world.organization(&name).plain().accounts(&["bob"]);
        let organization = organization.config(|config| config.filtering.filters = vec![filter.clone()]);
        let organization = organization.build().await;
        let served = organization.start().await;
        let mut talk = Talk::smtp(organization.ip).await;
        let to = format!("bob@{name}");
        let reply = talk.transfer("carol@plain.test", &[&to], MESSAGE).await;
        assert!(reply.starts_with("451 4.3.0 A filter"), "{number}: {reply}");
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_which_filter_cannot_be_reached() {
    let world = World::new().await;
    let milter = Milter::start(|_, _| Act::Usual).await;
    let mut dead = milter.filter("dead");
    dead.address = Service::Unix(Path::new("/nonexistent/milter").into());
    let hismail = hismail(&world, vec![milter.filter("alive"), dead]).await;
    let checked = json(&hismail.cli(&["check", "--json"]).await);
    let warnings = checked["warnings"].as_array().unwrap().iter();
    let warnings: Vec<_> = warnings
        .filter(|warning| warning["code"] == "filter_silent")
        .collect();
    assert_eq!(warnings.len(), 1, "{checked}");
    assert!(
        warnings[0]["message"]
            .as_str()
            .unwrap()
            .starts_with("the filter dead")
    );
}
