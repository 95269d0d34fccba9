//! Filters are asked about what programs of the host send, and nobody waits for what they say.

use dimed::config::Filter;

use super::Host;
use crate::support::milter::{Act, Milter, packet, packets};

async fn filtered_by(filter: Filter) -> Host {
    Host::with(|config| config.filtering.filters = vec![filter.clone()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_a_message_is_reported_and_the_others_get_it_as_filters_left_it() {
    let milter = Milter::start(|_, heard| match heard[0] {
        b'R' if heard.starts_with(b"R<carol@plain.test>") => Act::Send(packet(b"y550 5.7.1 not to her\0")),
        b'E' => packets(&[b"hX-Seen\0yes\0", b"c"]),
        _ => Act::Usual,
    })
    .await;
    let host = filtered_by(milter.filter("scripted")).await;
    let daemon = host.organization.start().await;
    let both = ["bob@hismail.test", "carol@plain.test"];
    host.sent(
        &["-f", "bob@hismail.test", both[0], both[1]],
        "Subject: seen\n\nx\n",
    );
    let mails = host.organization.maildir("bob").expect(2).await;
    let (reports, messages): (Vec<_>, Vec<_>) =
        mails.iter().partition(|mail| mail.contains("multipart/report"));
    assert!(messages[0].contains("\r\nX-Seen: yes\r\n"), "{}", messages[0]);
    for line in [
        "Final-Recipient: rfc822; carol@plain.test\r\n",
        "Diagnostic-Code: smtp; 550 5.7.1 not to her\r\n",
    ] {
        assert!(reports[0].contains(line), "{}", reports[0]);
    }
    host.organization.idle().await;
    assert!(host.dropped().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_all_filters_refuse_comes_back_once() {
    let milter = Milter::start(|_, heard| match heard[0] {
        b'E' => Act::Send(packet(b"y554 5.7.1 no\0")),
        _ => Act::Usual,
    })
    .await;
    let host = filtered_by(milter.filter("scripted")).await;
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "bob@hismail.test", "bob@hismail.test"],
        "Subject: unwanted\n\nx\n",
    );
    let report = host.organization.maildir("bob").only().await;
    assert!(
        report.contains("Diagnostic-Code: smtp; 554 5.7.1 no\r\n"),
        "{report}"
    );
    assert!(report.contains("Subject: unwanted\r\n"), "{report}");
    host.organization.idle().await;
    assert!(host.dropped().is_empty());
    assert_eq!(host.organization.maildir("bob").count(), 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_off_stays_in_the_folder_and_what_is_quarantined_is_held() {
    let milter = Milter::start(|number, heard| match (heard[0], number) {
        (b'E', 0) => Act::Send(packet(b"y451 4.7.1 later\0")),
        (b'E', _) => packets(&[b"qlooks odd\0", b"c"]),
        _ => Act::Usual,
    })
    .await;
    let host = filtered_by(milter.filter("scripted")).await;
    let daemon = host.organization.start().await;
    host.sent(
        &["-f", "bob@hismail.test", "bob@hismail.test"],
        "Subject: odd\n\nx\n",
    );
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let listed = host.organization.cli(&["queue", "list"]).await;
        if listed.contains("looks odd") {
            assert!(listed.contains("held, to be deleted in"), "{listed}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(host.organization.maildir("bob").count(), 0);
    assert!(host.dropped().is_empty());
    daemon.stop().await;
}
