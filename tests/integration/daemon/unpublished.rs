//! A domain whose management record others do not find: what they would refuse is not sent to them.

use std::num::NonZeroU64;

use dimed::cli::Exit;
use dimed::config::Config;
use serde_json::Value;

use super::exchange::{LETTER, assert_same_letter, hismail};
use crate::support::organization::Organization;
use crate::support::world::World;
use crate::support::{PATIENCE, eventually};

const MISSING: &str = "the management record of hermail.test is not published";

/// Tries again soon, and goes on with it.
fn patient(config: &mut Config) {
    config.queue.retry_max_secs = NonZeroU64::MIN;
}

/// Waits until the last attempt for the message of alice has said so much; the id of the message.
async fn waits(organization: &Organization, why: &str) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let listed = organization.cli(&["queue", "list", "--json"]).await;
        let mut all = listed
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let says_why = |line: &Value| line["last_note"].as_str().is_some_and(|note| note.contains(why));
        if let Some(line) = all.find(says_why) {
            return line["message"].as_str().unwrap().to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "{why}: {listed}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_would_refuse_for_want_of_the_record_waits_for_it_and_goes_out_sealed() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.unpublished().config(|config| {
        patient(config);
        config.queue.delay_warning_secs = 1;
    });
    let (hermail, hismail) = (hermail.build().await, hismail(&world).await);
    let (here, there) = (hermail.spawn().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;

    let message = waits(&hermail, MISSING).await;
    let shown = hermail.cli(&["queue", "show", &message]).await;
    assert!(
        shown.contains(MISSING) && shown.contains("dime_own_record_missing"),
        "{shown}"
    );
    let waiting = hermail.cli(&["queue", "list", "--class", "keys"]).await;
    assert!(waiting.contains(&message), "{waiting}");
    let log = here.log();
    let told = log
        .lines()
        .filter(|line| line.contains("\"domain.own_record.missing\""));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(MISSING), "{}", told[0]);
    assert!(
        log.lines().any(|line| {
            line.contains("\"queue.route.closed\"") && line.contains("\"dime_own_record_missing\"")
        }),
        "{log}"
    );
    let explain = [
        "route",
        "explain",
        "bob@hismail.test",
        "--from",
        "alice@hermail.test",
    ];
    let (exit, explained) = hermail.answered(&explain).await;
    assert_eq!(exit, Exit::TryLater, "{explained}");
    assert!(
        explained.contains(&format!("\ndmtp       {MISSING}\n")),
        "{explained}"
    );
    assert!(explained.contains("(dime_own_record_missing)"), "{explained}");

    // Alice hears of it.
    let report = hermail.maildir("alice").only().await;
    assert!(report.contains("\r\nAction: delayed\r\n"), "{report}");
    let words: Vec<&str> = report.split_whitespace().collect();
    assert!(words.join(" ").contains(MISSING), "{report}");
    assert!(there.witness.objects().is_empty());
    assert_eq!(hismail.maildir("bob").count(), 0, "nor in the clear");

    hermail.publish(&world).await;
    let delivered = hismail.maildir("bob").only().await;
    assert_same_letter(&delivered, LETTER);
    assert!(delivered.contains("author=alice@hermail.test"), "{delivered}");
    assert_eq!(there.objects(1).await.len(), 1);
    hermail.idle().await;
    assert!(here.log().contains("\"domain.own_record.seen\""));
    let explained = hermail.cli(&explain).await;
    assert!(explained.contains("(dime_signet_valid)"), "{explained}");
    assert_eq!(hermail.maildir("alice").count(), 1, "nothing has come back");
    there.stop().await;
}

/// The record may go while what was sealed waits for its destination.
#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_is_not_handed_over_while_the_record_is_gone() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(patient).build().await;
    let hismail = hismail(&world).await;
    let mut here = hermail.spawn().await;
    let there = hismail.start().await;
    // Everybody's signets are known then.
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    hismail.maildir("bob").only().await;
    hermail.idle().await;
    there.stop().await;
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    eventually("it to be sealed", || {
        (here.log().matches("\"queue.sealed\"").count() == 2).then_some(())
    })
    .await;
    here.kill();

    // What was seen before counts for its TTL, and not beyond a restart.
    hermail.unpublish_texts(&world);
    let _here = hermail.spawn().await;
    let there = hismail.start().await;
    waits(&hermail, MISSING).await;
    assert!(there.witness.objects().is_empty());
    hermail.publish(&world).await;
    hismail.maildir("bob").expect(2).await;
    hermail.idle().await;
    assert_eq!(hermail.maildir("alice").count(), 0, "nothing has come back");
    there.stop().await;
}

/// An operator who takes a domain out of DIME takes its record out of DNS, and does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_has_withdrawn_its_record_to_leave_dime_seals_no_more() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = hermail.config(patient).build().await;
    let hismail = hismail(&world).await;
    let retire = ["domain", "retire", "hermail.test"];
    hermail.cli(&retire).await;
    hermail.publish(&world).await;
    hermail.cli(&retire).await;
    hermail
        .change_database("UPDATE retirements SET due_at = 0, since = 0")
        .await;
    let said = hermail.cli(&retire).await;
    assert!(said.contains("remove the record of _dx.hermail.test"), "{said}");

    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    hismail.maildir("bob").only().await;
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);
    here.stop().await;
    hermail.unpublish_texts(&world);
    let here = hermail.start().await;
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    hismail.maildir("bob").expect(2).await;
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["smtp"]);
    here.stop().await;
    there.stop().await;
}

/// Users, an alias with a signet of its own, and a user whose keys are at home.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_domain_gets_dime_with_its_users_and_its_mail_goes_sealed_once_that_is_published() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice", "eve"]);
    let hermail = hermail.plain().config(patient).build().await;
    let hismail = hismail(&world).await;
    let password = hermail.folder.join("password");
    let password = password.to_str().unwrap();
    for arguments in [
        &["alias", "add", "team@hermail.test", "alice@hermail.test"][..],
        &["alias", "add", "team@hermail.test", "eve@hermail.test"],
        &["alias", "add", "al@hermail.test", "alice@hermail.test"],
        &["account", "add", "pat@hermail.test", "--trust", "paranoid"],
    ] {
        let with_password = ["--password-file", password];
        let rest: &[&str] = if arguments[0] == "account" {
            &with_password[..]
        } else {
            &[]
        };
        hermail.cli(&[arguments, rest].concat()).await;
    }
    let (here, there) = (hermail.start().await, hismail.start().await);
    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    let before = hismail.maildir("bob").only().await;
    assert!(!before.contains("author=alice@hermail.test"), "{before}");
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["smtp"]);
    let records = hermail.cli(&["dns", "records", "hermail.test"]).await;
    assert!(!records.contains("\n_dx."), "{records}");

    let join = ["domain", "join", "hermail.test", "--policy", "mixed"];
    assert_eq!(
        hermail.cli(&join).await,
        "hermail.test is served here, with DIME, mixed.\n\
         New signets of users: 2; of aliases: 1.\n\
         Users who keep their own keys, and have to ask for a signet (`dimed signet new-request`): 1.\n\
         Next: publish what `dimed dns records hermail.test` prints. Until then what its users send to domains with DIME waits.\n"
    );
    let records = hermail.cli(&["dns", "records", "hermail.test"]).await;
    assert!(
        records.contains("\n_dx.") && records.contains("pol=mixed"),
        "{records}"
    );
    let of_all = [
        "hermail.test",
        "alice@hermail.test",
        "eve@hermail.test",
        "team@hermail.test",
    ];
    for name in of_all {
        assert_eq!(hermail.history(name).await.len(), 1, "{name}");
    }
    assert!(
        hermail.history("al@hermail.test").await.is_empty(),
        "it is Alice's"
    );

    hermail.submit("alice", &["bob@hismail.test"], LETTER).await;
    waits(&hermail, MISSING).await;
    hermail.publish(&world).await;
    let mail = hismail.maildir("bob").expect(2).await;
    assert!(
        mail.iter().any(|mail| mail.contains("author=alice@hermail.test")),
        "{mail:?}"
    );
    let answer = LETTER.replace("alice@hermail.test", "bob@hismail.test");
    hismail.submit("bob", &["team@hermail.test"], &answer).await;
    for local in ["alice", "eve"] {
        let mail = hermail.maildir(local).only().await;
        assert!(mail.contains("author=bob@hismail.test"), "{mail}");
    }
    assert_eq!(there.witness.routes_to("team@hermail.test"), ["dmtp"]);

    // Again it makes nothing, whatever else is said, and nobody gets a signet back that was taken out of service.
    hermail.cli(&["signet", "revoke", "eve@hermail.test"]).await;
    let again = hermail
        .cli(&["domain", "join", "hermail.test", "--policy", "strict"])
        .await;
    assert!(
        again.starts_with("hermail.test is served here already, with DIME, mixed.\nUsers who keep"),
        "{again}"
    );
    for name in of_all {
        assert_eq!(hermail.history(name).await.len(), 1, "{name}");
    }
    here.stop().await;
    there.stop().await;
}

/// They have no form in DMTP, and a domain with DIME has no such users.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_addresses_that_have_no_form_in_dmtp_stays_plain() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alice", "\"a b\""]);
    let hermail = hermail.plain().build().await;
    let (exit, said) = hermail.answered(&["domain", "join", "hermail.test"]).await;
    assert_eq!(exit, Exit::No);
    assert!(
        said.starts_with("hermail.test stays without DIME: ") && said.contains("(1): \"a b\"@hermail.test"),
        "{said}"
    );
    for name in ["hermail.test", "alice@hermail.test"] {
        assert!(hermail.history(name).await.is_empty(), "{name}");
    }
    let shown = hermail.cli(&["domain", "show", "hermail.test"]).await;
    assert!(shown.contains("without DIME"), "{shown}");
}
