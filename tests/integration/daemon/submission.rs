//! Mail from our own users.

use crate::support::loopback::{SUBMISSION, SUBMISSIONS};
use crate::support::maildir::split;
use crate::support::talk::Talk;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn users_submit_over_starttls_and_over_tls_and_are_not_traced() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "eve"])
        .build()
        .await;
    let served = hismail.start().await;
    let message = "From: eve@hismail.test\r\nBcc: secret@hismail.test\r\nSubject: hi\r\n\r\none\r\n";
    hismail.submit("eve", &["bob@hismail.test"], message).await;
    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.log_in("eve@hismail.test").await;
    let reply = talk
        .transfer(
            "eve@hismail.test",
            &["bob@hismail.test"],
            &message.replace("one", "two"),
        )
        .await;
    assert!(reply.starts_with("250"), "{reply}");

    let delivered = hismail.maildir("bob").expect(2).await;
    for text in &delivered {
        let header = split(text).0;
        assert!(
            header.starts_with("Return-Path: <eve@hismail.test>\r\n"),
            "{header}"
        );
        assert!(header.contains("\r\nMessage-ID: <"), "completed: {header}");
        assert!(header.contains("\r\nDate: "), "completed: {header}");
        assert!(header.contains("with ESMTPSA"), "{header}");
        for hidden in ["Bcc", "secret", "127.0.0.1", "client.test"] {
            assert!(!header.contains(hidden), "{hidden} in {header}");
        }
    }
    let mut bodies: Vec<_> = delivered.iter().map(|text| split(text).1).collect();
    bodies.sort();
    assert_eq!(bodies, ["one\r\n", "two\r\n"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_submits_without_tls_and_login_or_under_another_name() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "eve"])
        .build()
        .await;
    let served = hismail.start().await;
    let mut talk = Talk::open(hismail.ip, SUBMISSION).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask("MAIL FROM:<eve@hismail.test>", "530 5.7.0").await;
    talk.ask("STARTTLS", "220").await;
    talk.start_tls().await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask("MAIL FROM:<eve@hismail.test>", "530 5.7.0").await;
    let wrong = dimed::base::encoding::base64(b"\0eve@hismail.test\0wrong");
    talk.ask(&format!("AUTH PLAIN {wrong}"), "535 5.7.8").await;

    let mut talk = Talk::submission(hismail.ip, "eve@hismail.test").await;
    talk.ask("MAIL FROM:<bob@hismail.test>", "550 5.7.1").await;
    talk.ask("MAIL FROM:<eve@hismail.test>", "250").await;
    talk.ask("RCPT TO:<nobody@hismail.test>", "550 5.1.1").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    let reply = talk.data("Subject: nobody wrote this\r\n\r\nx\r\n").await;
    assert!(reply.starts_with("550 5.6.0"), "{reply}");
    assert_eq!(hismail.maildir("bob").count(), 0);
    served.stop().await;
}
