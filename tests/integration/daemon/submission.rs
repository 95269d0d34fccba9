//! Mail from our own users.

use dimed::base::encoding::{base64, base64_decode_padded};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

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

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.chain_update(message).finalize().into_bytes().into()
}

/// Logs in by SCRAM as a client does; the last reply, which to a right password comes behind the server's own proof.
pub(super) async fn log_in_by_scram(
    talk: &mut Talk,
    header: &str,
    bound: &[u8],
    user: &str,
    password: &str,
) -> String {
    let mechanism = if bound.is_empty() {
        "SCRAM-SHA-256"
    } else {
        "SCRAM-SHA-256-PLUS"
    };
    let bare = format!("n={user},r=fromclient");
    let first = base64(format!("{header}{bare}").as_bytes());
    let challenge = talk.ask(&format!("AUTH {mechanism} {first}"), "334 ").await;
    let challenge = String::from_utf8(base64_decode_padded(&challenge[4..]).unwrap()).unwrap();
    let [nonce, salt, rounds] = challenge.splitn(3, ',').collect::<Vec<_>>()[..] else {
        panic!("{challenge}");
    };
    let salt = base64_decode_padded(salt.strip_prefix("s=").unwrap()).unwrap();
    let rounds = rounds.strip_prefix("i=").unwrap().parse().unwrap();
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, rounds, &mut salted);
    let binding = base64(&[header.as_bytes(), bound].concat());
    let last = format!("c={binding},{nonce}");
    let dialogue = format!("{bare},{challenge},{last}");
    let key = hmac(&salted, b"Client Key");
    let signature = hmac(&Sha256::digest(key), dialogue.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
    let reply = talk
        .ask(&base64(format!("{last},p={}", base64(&proof)).as_bytes()), "")
        .await;
    let Some(proof) = reply.strip_prefix("334 ") else {
        return reply;
    };
    let expected = base64(&hmac(&hmac(&salted, b"Server Key"), dialogue.as_bytes()));
    assert_eq!(
        base64_decode_padded(proof).unwrap(),
        format!("v={expected}").into_bytes()
    );
    talk.ask("", "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_by_scram_and_strangers_look_like_users() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["eve"])
        .build()
        .await;
    let process = hismail.spawn().await;
    let right = crate::support::organization::PASSWORD;
    let mut talk = Talk::open(hismail.ip, SUBMISSIONS).await;
    let tls = talk.start_tls().await;
    let exporter = *tls.info.exporter.expect("TLS 1.3").expose();
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    for (user, password) in [
        ("eve@hismail.test", "wrong password"),
        ("nobody@hismail.test", right),
    ] {
        let reply = log_in_by_scram(&mut talk, "n,,", b"", user, password).await;
        assert!(reply.starts_with("535 5.7.8"), "{user}: {reply}");
    }
    let header = "p=tls-exporter,,";
    let reply = log_in_by_scram(&mut talk, header, &exporter, "eve@hismail.test", right).await;
    assert!(reply.starts_with("235"), "{reply}");
    talk.ask("MAIL FROM:<eve@hismail.test>", "250").await;

    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    // The value of another channel: somebody in between.
    let reply = log_in_by_scram(&mut talk, header, &exporter, "eve@hismail.test", right).await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
    let reply = log_in_by_scram(&mut talk, "n,,", b"", "eve@hismail.test", right).await;
    assert!(reply.starts_with("235"), "{reply}");
    // Each refusal leaves the line that a wrong password in PLAIN leaves.
    let refused = |log: &str| log.matches("\"smtp.auth.refused\"").count();
    assert_eq!(refused(&process.log()), 3, "{}", process.log());
    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    let wrong = base64(b"\0eve@hismail.test\0wrong password");
    talk.ask(&format!("AUTH PLAIN {wrong}"), "535 5.7.8").await;
    assert_eq!(refused(&process.log()), 4, "{}", process.log());
}
