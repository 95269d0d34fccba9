//! Mailboxes that hold so much and no more.

use std::fs;

use crate::support::PATIENCE;
use crate::support::maildir::Maildir;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const BOB: &str = "bob@hismail.test";

/// Bob may have 64 KiB, and everybody else 1 MiB.
async fn hismail(world: &World) -> Organization {
    let hismail = world.organization("hismail.test").accounts(&["bob", "eve"]);
    let hismail = hismail
        .config(|config| config.delivery.quota_mib = 1)
        .build()
        .await;
    hismail.cli(&["account", "quota", BOB, "64K"]).await;
    hismail
}

/// A letter of so many KiB and a little more.
fn letter(kib: usize) -> String {
    let line = "x".repeat(62) + "\r\n";
    format!(
        "From: eve@hismail.test\r\nSubject: hi\r\n\r\n{}",
        line.repeat(kib * 16)
    )
}

/// What the Maildir is counted to hold.
fn counted(maildir: &Maildir) -> u64 {
    let text = fs::read_to_string(maildir.0.join("maildirsize")).unwrap();
    let changes = text.lines().skip(1).map(|line| line.split_once(' ').unwrap().0);
    changes.map(|octets| octets.parse::<u64>().unwrap()).sum()
}

fn octets(maildir: &Maildir) -> u64 {
    maildir.messages().iter().map(|mail| mail.len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_what_it_knows_of_a_full_mailbox() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let rcpt = format!("RCPT TO:<{BOB}>");
    let mut with_size = async |size: usize, to: &str, reply: &str| {
        talk.ask(&format!("MAIL FROM:<carol@plain.test> SIZE={size}"), "250")
            .await;
        talk.ask(to, reply).await;
        talk.ask("RSET", "250").await;
    };
    with_size(70_000, &rcpt, "552 5.2.2 ").await;
    with_size(70_000, "RCPT TO:<eve@hismail.test>", "250").await;
    with_size(60_000, &rcpt, "250").await;
    hismail.submit("eve", &[BOB], &letter(40)).await;
    let maildir = hismail.maildir("bob");
    maildir.only().await;
    with_size(30_000, &rcpt, "452 4.2.2 ").await;
    with_size(10_000, &rcpt, "250").await;
    assert_eq!(counted(&maildir), octets(&maildir));
    let said = hismail.cli(&["account", "quota", BOB]).await;
    let used = octets(&maildir);
    assert_eq!(
        said,
        format!("{BOB} has {used} octets of mail, and may have 65536 octets at most.\n")
    );

    // A mail program removes the letter, without a word; that is found out when it matters.
    let file = fs::read_dir(maildir.0.join("new"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::remove_file(file.path()).unwrap();
    let size = maildir.0.join("maildirsize");
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options()
        .append(true)
        .open(&size)
        .unwrap()
        .set_modified(hour_ago)
        .unwrap();
    with_size(60_000, &rcpt, "250").await;
    assert_eq!(counted(&maildir), 0);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_room() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let maildir = hismail.maildir("bob");
    hismail.submit("eve", &[BOB], &letter(40)).await;
    maildir.expect(1).await;
    // How large it is nobody has said.
    hismail.submit("eve", &[BOB], &letter(41)).await;
    let deferred = "SELECT COUNT(*) FROM attempts";
    while hismail.count(deferred).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let listed = hismail.cli(&["queue", "list"]).await;
    assert!(listed.contains("4.2.2 the mailbox is full"), "{listed}");
    assert_eq!(maildir.count(), 1);
    hismail.cli(&["account", "quota", BOB, "default"]).await;
    maildir.expect(2).await;
    assert_eq!(counted(&maildir), octets(&maildir));

    hismail.cli(&["account", "quota", BOB, "none"]).await;
    hismail.submit("eve", &[BOB], &letter(1024)).await;
    maildir.expect(3).await;
    served.stop().await;
}

/// Three of them fit, whoever is first.
#[tokio::test(flavor = "multi_thread")]
async fn messages_at_the_same_time_fill_a_mailbox_and_no_more() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let sessions = (0..12).map(|_| {
        let ip = hismail.ip;
        tokio::spawn(async move {
            let mut talk = Talk::smtp(ip).await;
            talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
            let reply = talk.ask(&format!("RCPT TO:<{BOB}>"), "").await;
            match reply.starts_with("250") {
                true => assert!(talk.data(&letter(20)).await.starts_with("250")),
                false => assert!(reply.starts_with("452 4.2.2 "), "{reply}"),
            }
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = hismail.cli(&["queue", "list"]).await;
        if !listed.contains("tried 0 times") && !listed.contains("being tried now") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let maildir = hismail.maildir("bob");
    maildir.expect(3).await;
    assert!(octets(&maildir) <= 64 * 1024, "{}", octets(&maildir));
    served.stop().await;
}

/// Nobody said beforehand how long it would be.
#[tokio::test(flavor = "multi_thread")]
async fn what_fits_into_no_mailbox_is_refused_at_its_end() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    let from = "carol@plain.test";
    let reply = talk.transfer(from, &[BOB], &letter(70)).await;
    assert!(reply.starts_with("552 5.2.2 "), "{reply}");
    // It fits into one of two: the other one comes back.
    hismail
        .submit("eve", &[BOB, "eve@hismail.test"], &letter(70))
        .await;
    let mails = hismail.maildir("eve").expect(2).await;
    let report = mails
        .iter()
        .find(|mail| mail.contains("Final-Recipient"))
        .unwrap();
    assert!(report.contains("rfc822; bob@hismail.test") && report.contains("Status: 5.2.2"));
    hismail.idle().await;
    served.stop().await;
}
