//! Dovecot and we count what a mailbox holds in the same file.

use super::dovecot::Dovecot;
use crate::support::talk::Talk;
use crate::support::world::World;

const BOB: &str = "bob@hismail.test";

/// The quota as Dovecot has it: 64 KiB in the file of Maildir++.
const COUNTING: &str = "mail_plugins = quota
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:bytes=65536
}
";

#[tokio::test(flavor = "multi_thread")]
async fn each_sees_what_the_other_has_put_in_and_taken_out() {
    let world = World::new().await;
    let dovecot = Dovecot::start_with(&[BOB], COUNTING).await;
    let pattern = dovecot.pattern();
    let change = move |config: &mut dimed::config::Config| {
        config.delivery.maildir = pattern.parse().unwrap();
    };
    let hismail = world.organization("hismail.test").plain().accounts(&["bob"]);
    let hismail = hismail.config(change).build().await;
    hismail.cli(&["account", "quota", BOB, "64K"]).await;
    let served = hismail.start().await;
    let line = "x".repeat(62) + "\r\n";
    let letter = format!(
        "From: carol@plain.test\r\nSubject: hi\r\n\r\n{}",
        line.repeat(20 * 16)
    );
    let bring = async || {
        let mut talk = Talk::smtp(hismail.ip).await;
        let reply = talk.transfer("carol@plain.test", &[BOB], &letter).await;
        assert!(reply.starts_with("250"), "{reply}");
        hismail.idle().await;
        dovecot.take_over();
    };
    let counted = async || {
        let said = hismail.cli(&["account", "quota", BOB]).await;
        let (_, octets) = said.split_once(" has ").unwrap();
        octets.split_once(' ').unwrap().0.parse::<usize>().unwrap()
    };
    bring().await;
    let one = counted().await;
    assert!((20 << 10..21 << 10).contains(&one), "{one}");
    let mut imap = dovecot.imap(BOB).await;
    let said = imap.ask("GETQUOTAROOT INBOX").await;
    let kib = one.div_ceil(1024);
    assert!(
        said.contains(&format!("* QUOTA \"User quota\" (STORAGE {kib} 64)")),
        "{said:?}"
    );

    // Two more, of which the mail program removes one: Dovecot notes it, and there is room for another.
    bring().await;
    bring().await;
    assert_eq!(counted().await, 3 * one);
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask(&format!("MAIL FROM:<carol@plain.test> SIZE={one}"), "250")
        .await;
    talk.ask(&format!("RCPT TO:<{BOB}>"), "452 4.2.2").await;
    dovecot.take_over();
    imap.ask("SELECT INBOX").await;
    imap.ask("STORE 1 +FLAGS (\\Deleted)").await;
    imap.ask("EXPUNGE").await;
    assert_eq!(counted().await, 2 * one);
    talk.ask(&format!("RCPT TO:<{BOB}>"), "250").await;
    served.stop().await;
}
