//! Reports that Postfix makes because our users ask for them, and that we make because its users do (RFC 3461).

use super::Mta;
use super::postfix::Postfix;
use super::seat::Seat;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const LETTER: &str = "From: alice@hermail.test\r\nSubject: tell me\r\n\r\nthe body of it\r\n";

/// Sends a letter with these arguments of MAIL and RCPT in a session that is ready for MAIL.
async fn ask(talk: &mut Talk, mail: &str, rcpt: &str) {
    talk.ask(&format!("MAIL FROM:{mail}"), "250").await;
    talk.ask(&format!("RCPT TO:{rcpt}"), "250").await;
    let reply = talk.data(LETTER).await;
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_reports_what_our_users_ask_for() {
    let world = World::new().await;
    let postfix = Postfix::start(world.name_server()).await;
    world.plain_domain("plain.test", postfix.ip());
    let hermail = world.organization("hermail.test").plain();
    let hermail = hermail.accounts(&["alice"]).build().await;
    let served = hermail.start().await;
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    ask(
        &mut talk,
        "<alice@hermail.test> RET=HDRS ENVID=QQ+2B314",
        "<carol@plain.test> NOTIFY=SUCCESS ORCPT=rfc822;c+2Bx@plain.test",
    )
    .await;
    let report = hermail.maildir("alice").only().await;
    hermail.idle().await;
    served.stop().await;
    for line in [
        "Reporting-MTA: dns; mx.plain.test\r\n",
        "Original-Envelope-Id: QQ+314\r\n",
        "Original-Recipient: rfc822;c+x@plain.test\r\n",
        "Action: delivered\r\n",
    ] {
        assert!(report.contains(line), "{line} in {report}");
    }
    assert!(!report.contains("the body of it"), "{report}");
}

async fn hismail(world: &World, dsn: bool) -> Organization {
    let builder = world.organization("hismail.test").plain().accounts(&["bob"]);
    builder
        .config(|config| config.server.dsn_for_other_hosts = dsn)
        .build()
        .await
}

/// Where we do not offer it, Postfix says that it passed the message on.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_postfix_are_reported_to_by_us_or_by_postfix() {
    for (dsn, reporter, action) in [
        (true, "mx.hismail.test", "Action: delivered"),
        (false, "mx.plain.test", "Action: relayed"),
    ] {
        let world = World::new().await;
        let postfix = Postfix::start(world.name_server()).await;
        world.plain_domain("plain.test", postfix.ip());
        let hismail = hismail(&world, dsn).await;
        let served = hismail.start().await;
        let mut talk = Talk::smtp(postfix.ip()).await;
        ask(
            &mut talk,
            "<carol@plain.test> ENVID=QQ314",
            "<bob@hismail.test> NOTIFY=SUCCESS ORCPT=rfc822;sales@hismail.test",
        )
        .await;
        let report = postfix.maildir().only().await;
        hismail.maildir("bob").only().await;
        hismail.idle().await;
        served.stop().await;
        for line in [
            format!("Reporting-MTA: dns; {reporter}\n"),
            "Original-Envelope-Id: QQ314\n".to_owned(),
            format!("{action}\n"),
        ] {
            let unix = report.replace("\r\n", "\n");
            assert!(unix.contains(&line), "{line} in {report}\n{}", postfix.log());
        }
        assert!(report.contains("sales@hismail.test"), "{report}");
    }
}

/// Lines that have Postfix refuse one of its recipients.
fn refusing(seat: &Seat) -> String {
    let access = seat.file("access", "nobody@plain.test 550 5.1.1 nobody of that name\n");
    format!(
        "smtpd_recipient_restrictions = check_recipient_access texthash:{}\n",
        access.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postfix_refuses_is_reported_by_us_and_nothing_is_where_nothing_is_asked_for() {
    let world = World::new().await;
    let postfix = Postfix::start_with(world.name_server(), refusing).await;
    world.plain_domain("plain.test", postfix.ip());
    let hermail = world.organization("hermail.test").plain();
    let hermail = hermail.accounts(&["alice"]).build().await;
    let served = hermail.start().await;
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    talk.ask("MAIL FROM:<alice@hermail.test> RET=HDRS ENVID=QQ+2B314", "250")
        .await;
    talk.ask("RCPT TO:<nobody@plain.test> NOTIFY=FAILURE", "250")
        .await;
    talk.ask("RCPT TO:<carol@plain.test> NOTIFY=NEVER", "250").await;
    let reply = talk.data(LETTER).await;
    assert!(reply.starts_with("250"), "{reply}");
    postfix.maildir().only().await;
    let report = hermail.maildir("alice").only().await;
    hermail.idle().await;
    served.stop().await;
    for line in [
        "\r\nReporting-MTA: dns; mx.hermail.test\r\n",
        "\r\nOriginal-Envelope-Id: QQ+314\r\n",
        "\r\nFinal-Recipient: rfc822; nobody@plain.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "550 5.1.1",
    ] {
        assert!(report.contains(line), "{line} in {report}");
    }
    assert!(!report.contains("carol@plain.test"), "{report}");
}
