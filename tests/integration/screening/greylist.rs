//! Greylisting in sessions. What is remembered for how long is in the suite of the store.

use super::*;

/// Lets the wait of everybody pass.
async fn wait(scene: &Scene) {
    let hismail = &scene.hismail;
    hismail
        .change_database("UPDATE greylist SET since = since - 300000 WHERE NOT proven")
        .await;
}

fn on(screening: &mut Screening) {
    screening.greylist = true;
}

const FIRST: &str =
    "451 4.7.1 Greylisted, as everybody is at first: the message is taken when it comes again after 300 s";

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_for_the_first_time_comes_again_even_if_the_daemon_was_restarted() {
    let scene = Scene::new(&[], on).await;
    let process = scene.hismail.spawn().await;
    assert_eq!(scene.rcpt("192.0.2.77", "carol@plain.test").await, FIRST);
    let early = scene.rcpt("192.0.2.77", "carol@plain.test").await;
    assert!(early.starts_with("451 4.7.1 Greylisted, "), "{early}");
    let line = process.log();
    let line = line
        .lines()
        .find(|line| line.contains("\"smtp.screened\""))
        .unwrap();
    assert!(line.contains("\"reason\":\"greylisted\""), "{line}");
    assert!(line.contains("\"peer.ip\":\"192.0.2.77\""), "{line}");
    for named in ["carol", "plain.test", "bob"] {
        assert!(!line.contains(named), "{line}");
    }
    drop(process);
    wait(&scene).await;
    let process = scene.hismail.spawn().await;
    // From another host nearby, and not from elsewhere.
    let near = scene.rcpt("192.0.2.12", "Carol@Plain.test").await;
    assert!(near.starts_with("250 "), "{near}");
    let far = scene.rcpt("198.51.100.77", "carol@plain.test").await;
    assert_eq!(far, FIRST);
    let always = scene
        .rcpt_to(
            "198.51.100.77",
            "x",
            "carol@plain.test",
            "postmaster@hismail.test",
        )
        .await;
    assert!(always.starts_with("250 "), "{always}");
    drop(process);
    let shown = scene.hismail.cli(&["greylist", "show"]).await;
    assert_eq!(
        shown,
        "Greylisting is on.\n1 wait, 1 have come again, from 1 networks.\n"
    );
    scene.hismail.cli(&["greylist", "clear", "--json"]).await;
    let shown = scene.hismail.cli(&["greylist", "show", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["waiting"], &shown["proven"]), (&0.into(), &0.into()));
}

/// Who only asks whether an address exists, to write to it, would have to wait as well.
#[tokio::test(flavor = "multi_thread")]
async fn reports_are_put_off_at_data_and_questions_not_at_all() {
    let scene = Scene::new(&[], on).await;
    let served = scene.start().await;
    let begin = async || {
        let mut talk = scene.connect("192.0.2.77").await;
        talk.ask("EHLO mx.plain.test", "250").await;
        talk.ask("MAIL FROM:<>", "250").await;
        talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
        talk
    };
    let mut talk = begin().await;
    assert_eq!(talk.ask("DATA", "").await, FIRST);
    begin().await.ask("DATA", "451 4.7.1 Greylisted, ").await;
    wait(&scene).await;
    let reply = begin().await.data(MESSAGE).await;
    assert!(reply.starts_with("250 "), "{reply}");
    served.stop().await;
}

/// Each sender may take a hundred questions to DNS, and a session has as many senders as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn spf_is_asked_about_so_many_senders_in_a_session_and_no_more() {
    let spf = Zone::unsigned("plain.test").with("*.many TXT \"v=spf1 ip4:192.0.2.77 -all\"");
    let scene = Scene::new(&[spf], |screening| {
        screening.greylist = true;
        screening.greylist_passes_spf = true;
    })
    .await;
    let served = scene.start().await;
    let mut talk = scene.connect("192.0.2.77").await;
    talk.ask("EHLO mx.plain.test", "250").await;
    for number in 0..12 {
        // The first one is known when it comes again.
        for sender in [number, 0] {
            let passes = sender < 10;
            talk.ask(&format!("MAIL FROM:<carol@d{sender}.many.plain.test>"), "250")
                .await;
            let expected = if passes { "250 " } else { "451 4.7.1 Greylisted" };
            talk.ask("RCPT TO:<bob@hismail.test>", expected).await;
            talk.ask("RSET", "250").await;
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_spf_lets_send_need_not_come_again_where_that_is_wanted() {
    let spf = Zone::unsigned("plain.test").with("@ TXT \"v=spf1 ip4:192.0.2.77 -all\"");
    let scene = Scene::new(&[spf], |screening| {
        screening.greylist = true;
        screening.greylist_passes_spf = true;
        screening.exempt = vec!["203.0.113.0/24".parse().unwrap()];
    })
    .await;
    let served = scene.start().await;
    let passing = scene.rcpt("192.0.2.77", "carol@plain.test").await;
    assert!(passing.starts_with("250 "), "{passing}");
    assert_eq!(scene.rcpt("192.0.2.78", "carol@plain.test").await, FIRST);
    let exempt = scene.rcpt("203.0.113.9", "carol@plain.test").await;
    assert!(exempt.starts_with("250 "), "{exempt}");
    served.stop().await;
}

/// Whoever waits as told has their share left when the wait is over.
#[tokio::test(flavor = "multi_thread")]
async fn tries_that_have_to_wait_count_for_no_rate() {
    let scene = Scene::new(&[], |screening| {
        on(screening);
        screening.network_messages_per_hour = 1;
        screening.network_recipients_per_hour = 1;
    })
    .await;
    let served = scene.start().await;
    let mut talk = scene.connect("192.0.2.77").await;
    talk.ask("EHLO mx.plain.test", "250").await;
    for from in ["carol@plain.test", ""] {
        for _ in 0..3 {
            talk.ask(&format!("MAIL FROM:<{from}>"), "250").await;
            let reply = talk.ask("RCPT TO:<bob@hismail.test>", "").await;
            if from.is_empty() {
                assert!(reply.starts_with("250 "), "{reply}");
                talk.ask("DATA", "451 4.7.1 Greylisted, ").await;
            } else {
                assert!(reply.starts_with("451 4.7.1 Greylisted, "), "{reply}");
            }
            talk.ask("RSET", "250").await;
        }
    }
    wait(&scene).await;
    let to = ["bob@hismail.test"];
    let reply = talk.transfer("carol@plain.test", &to, MESSAGE).await;
    assert!(reply.starts_with("250 "), "{reply}");
    served.stop().await;
}
