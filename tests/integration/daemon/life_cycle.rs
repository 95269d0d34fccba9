//! The commands for signets that are published here, for keys that change, and for a domain that leaves DIME.

use clap::Parser as _;
use dimed::cli::{Arguments, Exit};
use dimed::dime::keys::UserKeys;
use dimed::dime::signet;
use serde_json::{Value, json};

use crate::support::loopback;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

/// hismail.test with Pat, who keeps the keys and has no signet yet.
async fn with_pat(world: &World) -> Organization {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let password = world.home().join("pat.password");
    std::fs::write(&password, PASSWORD).unwrap();
    let password = password.to_str().unwrap();
    hismail
        .cli(&[
            "account",
            "add",
            "pat@hismail.test",
            "--trust",
            "paranoid",
            "--password-file",
            password,
        ])
        .await;
    hismail
}

/// Writes a request, and gives its path.
fn write(world: &World, name: &str, request: &signet::Signet) -> String {
    let path = world.home().join(name);
    std::fs::write(&path, request.to_armor()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What a command that fails says.
async fn refused(organization: &Organization, arguments: &[&str]) -> String {
    let config = organization.config.to_str().unwrap();
    let all = [&["dimed", "--config", config], arguments].concat();
    let arguments = Arguments::try_parse_from(all).unwrap();
    let error = dimed::cli::run(arguments, &mut Vec::new()).await.unwrap_err();
    format!("{error:#}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_handed_in_rejected_handed_in_again_and_approved() {
    let world = World::new().await;
    let hismail = with_pat(&world).await;
    let keys = UserKeys::generate(&mut rand::rng());
    let file = write(&world, "pat.ssr", &signet::request(&keys).unwrap());
    let there = hismail.start().await;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    talk.expect("220 ").await;

    let nobody = hismail.cli(&["signet", "approve"]).await;
    assert_eq!(nobody, "Nobody waits for a signet.\n");
    let pat = "pat@hismail.test";
    let said = hismail.cli(&["signet", "request", pat, &file]).await;
    assert_eq!(
        said,
        "pat@hismail.test has asked for a signet; `dimed signet approve` publishes it.\n"
    );
    assert_eq!(
        talk.ask("SGNT <pat@hismail.test>", "").await,
        "450 no such signet"
    );
    let said = hismail
        .cli(&["signet", "reject", pat, "--reason", "who is this?"])
        .await;
    assert_eq!(said, "pat@hismail.test does not get the signet asked for.\n");
    let listed = hismail.cli(&["signet", "approve", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["requests"], json!([]), "that is decided");
    let error = refused(&hismail, &["signet", "approve", pat]).await;
    assert_eq!(
        error,
        "the request of pat@hismail.test cannot be granted: no signing request of that user waits"
    );
    hismail.cli(&["signet", "request", pat, &file]).await;
    let said = hismail.cli(&["signet", "approve", pat]).await;
    assert_eq!(said, "pat@hismail.test has the signet asked for.\n");
    talk.ask("SGNT <pat@hismail.test>", "250 OK [").await;

    // The next one needs a chain of custody.
    let next = UserKeys::generate(&mut rand::rng());
    let stranger = write(&world, "stranger.ssr", &signet::request(&next).unwrap());
    let error = refused(&hismail, &["signet", "request", pat, &stranger]).await;
    assert_eq!(
        error,
        "the request of pat@hismail.test cannot be taken: the predecessor did not sign"
    );
    let rotation = signet::rotation_request(&next, &keys.signing).unwrap();
    let rotation = write(&world, "next.ssr", &rotation);
    hismail.cli(&["signet", "request", pat, &rotation]).await;
    hismail.cli(&["signet", "approve", pat]).await;
    let history = hismail.cli(&["signet", "history", pat, "--json"]).await;
    let history: Value = serde_json::from_str(&history).unwrap();
    let states: Vec<_> = history["signets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|past| &past["state"])
        .collect();
    assert_eq!(states, ["replaced", "current"]);
    let start = history["signets"][0]["full"].as_str().unwrap();
    let said = talk
        .ask(&format!("HIST <pat@hismail.test> [{start}]"), "250-[")
        .await;
    assert_eq!(said.lines().count(), 3, "{said}");
    let rotate = refused(&hismail, &["key", "rotate", pat]).await;
    assert_eq!(
        rotate,
        "the keys of pat@hismail.test cannot be replaced here: their holder makes a request (`dimed signet new-request \
         pat@hismail.test --rotate OLDKEY`) and hands it in (`dimed signet request pat@hismail.test FILE --submit HOST`): \
         the private keys of the signet are not kept here"
    );
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_signet_is_gone_at_once_and_the_next_one_is_a_new_start() {
    let world = World::new().await;
    let hismail = with_pat(&world).await;
    let there = hismail.start().await;
    let print = hismail.history("bob@hismail.test").await[0].signet.full;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    talk.expect("220 ").await;
    talk.ask("SGNT <bob@hismail.test>", "250 OK [").await;
    let error = refused(&hismail, &["signet", "publish", "bob@hismail.test"]).await;
    assert_eq!(
        error,
        "bob@hismail.test has a signet: `dimed key rotate bob@hismail.test` replaces its keys"
    );
    let said = hismail.cli(&["signet", "revoke", "bob@hismail.test"]).await;
    assert!(
        said.starts_with(
            "bob@hismail.test: signets taken out of service: 1.\nNext: `dimed signet publish bob@hismail.test`"
        ),
        "{said}"
    );
    for question in [
        "SGNT <bob@hismail.test>".to_owned(),
        format!("SGNT <bob@hismail.test> [{print}]"),
        format!("VRFY <bob@hismail.test> [{print}]"),
        format!("HIST <bob@hismail.test> [{print}]"),
    ] {
        assert_eq!(talk.ask(&question, "").await, "450 no such signet", "{question}");
    }
    let said = hismail.cli(&["signet", "publish", "bob@hismail.test"]).await;
    assert_eq!(said, "bob@hismail.test has a signet.\n");
    talk.ask("SGNT <bob@hismail.test>", "250 OK [").await;
    assert_eq!(
        talk.ask(&format!("VRFY <bob@hismail.test> [{print}]"), "").await,
        "450 no such signet"
    );
    let history = hismail.cli(&["signet", "history", "bob@hismail.test"]).await;
    assert!(
        history.contains("  revoked on ") && history.contains("  current, private keys here"),
        "{history}"
    );
    let error = refused(&hismail, &["signet", "revoke", "eve@hismail.test"]).await;
    assert_eq!(
        error,
        "the signet of eve@hismail.test cannot be revoked: the user has no signet here"
    );
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_user_are_replaced_by_one_command_that_can_be_repeated() {
    let world = World::new().await;
    let hismail = with_pat(&world).await;
    let none = hismail
        .cli(&["key", "rotate", "bob@hismail.test", "--status"])
        .await;
    assert_eq!(none, "bob@hismail.test: No change of keys is under way.\n");
    let said = hismail.cli(&["key", "rotate", "bob@hismail.test"]).await;
    assert!(said.starts_with("bob@hismail.test: active since "), "{said}");
    assert!(said.ends_with(" the old keys are erased.\n"), "{said}");
    let history = hismail.history("bob@hismail.test").await;
    assert_eq!(history.len(), 2);
    assert!(history[0].erase_keys_at.is_some() && history[0].keys_kept);
    let status = ["key", "rotate", "bob@hismail.test", "--status"];
    assert_eq!(hismail.cli(&status).await, said);
    // Whoever wants new keys is not told that all is well.
    let (exit, refused) = hismail.answered(&["key", "rotate", "bob@hismail.test"]).await;
    assert_eq!(exit, Exit::No);
    assert!(
        refused.starts_with("bob@hismail.test: Nothing new is begun: a change of keys from "),
        "{refused}"
    );
    assert!(
        refused.ends_with("; --at-once does not wait for its end.\n"),
        "{refused}"
    );
    assert_eq!(hismail.history("bob@hismail.test").await, history);
    let (exit, json) = hismail
        .answered(&["key", "rotate", "bob@hismail.test", "--json"])
        .await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((exit, &json["result"]), (Exit::No, &json!("refused")));
    assert_eq!(json["state"], "active");
    assert!(json["due"].as_i64() > json["since"].as_i64(), "{json}");

    let said = hismail
        .cli(&["key", "rotate", "bob@hismail.test", "--at-once"])
        .await;
    assert!(said.starts_with("bob@hismail.test: active since "), "{said}");
    let after = hismail.history("bob@hismail.test").await;
    assert_eq!(after.len(), 3);
    assert_ne!(after[2].signet.crypto, history[1].signet.crypto);
    assert!(after[1].erase_keys_at.is_some() && after[1].keys_kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_is_led_out_of_dime() {
    let world = World::new().await;
    let hismail = with_pat(&world).await;
    let retire = ["domain", "retire", "hismail.test"];
    let records = ["dns", "records", "hismail.test"];
    let said = hismail.cli(&retire).await;
    assert!(said.starts_with("hismail.test: announced since "), "{said}");
    assert!(said.ends_with("others will soon forget it.\n"), "{said}");
    let record = hismail.cli(&records).await;
    assert!(
        record.contains("pol=experimental") && record.contains("exp=1"),
        "{record}"
    );
    hismail.publish(&world).await;
    let said = hismail.cli(&retire).await;
    assert!(said.starts_with("hismail.test: expiring since "), "{said}");
    let rotate = refused(&hismail, &["key", "rotate", "hismail.test"]).await;
    assert_eq!(
        rotate,
        "the keys of hismail.test cannot be replaced: the domain is on its way out of DIME"
    );
    hismail
        .change_database("UPDATE retirements SET due_at = 0, since = 0")
        .await;
    let said = hismail.cli(&retire).await;
    assert!(
        said.ends_with("Next: remove the record of _dx.hismail.test from DNS.\n"),
        "{said}"
    );
    let record = hismail.cli(&records).await;
    assert!(!record.contains("\n_dx."), "{record}");
    assert_eq!(hismail.cli(&retire).await, said, "the record is still there");
    let said = hismail
        .cli(&["domain", "retire", "hismail.test", "--cancel"])
        .await;
    assert!(said.starts_with("hismail.test stays in DIME.\n"), "{said}");
    let record = hismail.cli(&records).await;
    assert!(record.contains("\n_dx."), "{record}");
}

/// Its record says that SMTP will do, and is gone before the domain is: what comes by SMTP is not refused for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_domain_on_its_way_out_of_dime_takes_mail_by_smtp() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .policy("strict")
        .build()
        .await;
    let there = hismail.start().await;
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "550 5.7.1").await;
    hismail.cli(&["domain", "retire", "hismail.test"]).await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    hismail
        .cli(&["domain", "retire", "hismail.test", "--cancel"])
        .await;
    talk.ask("RCPT TO:<bob@hismail.test>", "550 5.7.1").await;
    there.stop().await;
}

/// A try that was cut off behind the signet leaves it there. The next one does not give it to somebody who keeps other keys.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_not_added_beside_a_signet_over_other_keys() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let published = hismail.services().await.published;
    let [kept, own, other] = [(); 3].map(|()| UserKeys::generate(&mut rand::rng()));
    let own_request = signet::request(&own).unwrap();
    let pat = "pat@hismail.test".parse().unwrap();
    published
        .publish_user(&"bob@hismail.test".parse().unwrap(), kept)
        .await
        .unwrap();
    published.publish_request(&pat, &own_request).await.unwrap();
    let own = write(&world, "own.ssr", &own_request);
    let other = write(&world, "other.ssr", &signet::request(&other).unwrap());
    let password = world.home().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let password = password.to_str().unwrap();
    let add = |address, trust: &'static [&'static str]| {
        let add = ["account", "add", address, "--password-file", password];
        [&add[..], trust].concat()
    };
    let request = |address, file| [add(address, &["--trust", "paranoid"]), vec!["--request", file]].concat();
    for wrong in [
        request("bob@hismail.test", &own),
        add("bob@hismail.test", &["--trust", "cautious"]),
        request("pat@hismail.test", &other),
        add("pat@hismail.test", &[]),
    ] {
        let said = refused(&hismail, &wrong).await;
        assert!(said.contains("has a signet over other keys"), "{wrong:?}: {said}");
    }
    hismail.cli(&add("bob@hismail.test", &[])).await;
    hismail.cli(&request("pat@hismail.test", &own)).await;
    assert_eq!(hismail.history("bob@hismail.test").await.len(), 1);
    assert_eq!(hismail.history("pat@hismail.test").await.len(), 1);
}

/// Killed at any point, it either was called off or was not, and is told so by the same command.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_is_called_off_and_what_is_published_stays_valid() {
    let world = World::new().await;
    let hismail = with_pat(&world).await;
    let cancel = ["key", "rotate", "hismail.test", "--cancel"];
    let none = hismail.cli(&cancel).await;
    assert_eq!(none, "hismail.test: No change of keys is under way.\n");
    let keys_in_record = async || {
        let records = hismail.cli(&["dns", "records", "hismail.test"]).await;
        records.replace("\" \"", "").matches("pok=").count()
    };
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(said.starts_with("hismail.test: generated since "), "{said}");
    assert_eq!(keys_in_record().await, 2);
    hismail.publish(&world).await;
    let said = hismail.cli(&["key", "rotate", "hismail.test"]).await;
    assert!(said.starts_with("hismail.test: published since "), "{said}");

    // A daemon is killed meanwhile, as is the command; what counts is what is in the store.
    hismail.spawn().await.kill();
    let said = hismail.cli(&[&cancel[..], &["--json"]].concat()).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["state"], &said["was"]),
        (&"cancelled".into(), &"published".into())
    );
    assert_eq!(hismail.cli(&cancel).await, none);
    assert_eq!(keys_in_record().await, 1);
    assert_eq!(hismail.history("hismail.test").await.len(), 1);

    // DNS still has both keys: mail comes as before.
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    let letter = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\nDate: Tue, 3 Jun 2025 10:00:00 +0000\r\n\
        To: bob@hismail.test\r\nSubject: keys\r\n\r\ntext\r\n";
    hermail.submit("alice", &["bob@hismail.test"], letter).await;
    hismail.maildir("bob").only().await;
    assert_eq!(here.witness.routes_to("bob@hismail.test"), ["dmtp"]);
    here.stop().await;
    there.stop().await;

    hismail.cli(&["key", "rotate", "bob@hismail.test"]).await;
    let error = refused(&hismail, &["key", "rotate", "bob@hismail.test", "--cancel"]).await;
    assert_eq!(
        error,
        "the change of keys of bob@hismail.test cannot be called off: the new keys are in use: once this change has ended, \
         another one replaces them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_is_renewed_by_hand_unless_its_owner_has_opted_out() {
    let world = World::new().await;
    let hismail = with_pat(&world).await;
    for name in ["hismail.test", "bob@hismail.test"] {
        let before = hismail.history(name).await;
        let said = hismail.cli(&["key", "set", "renew", name]).await;
        assert_eq!(said, format!("{name} has a new key set.\n"));
        let after = hismail.history(name).await;
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after[1].signet.crypto, before[0].signet.crypto, "the same keys");
        let candidates = hismail.services().await.published.candidates(name).await.unwrap();
        let kept: Vec<_> = candidates.iter().map(|kept| kept.signet).collect();
        assert_eq!(kept.len(), 2, "the old private keys open what is under way");
        assert!(kept.contains(&after[0].signet.full) && kept.contains(&after[1].signet.full));
    }
    hismail.cli(&["key", "opt-out", "hismail.test"]).await;
    let error = refused(&hismail, &["key", "set", "renew", "hismail.test"]).await;
    assert_eq!(
        error,
        "hismail.test has opted out of D/MIME 2: `dimed key opt-out hismail.test --undo` makes keys again"
    );
    let error = refused(&hismail, &["key", "set", "renew", "pat@hismail.test"]).await;
    assert_eq!(
        error,
        "the key set of pat@hismail.test cannot be replaced: the user has no signet here"
    );
}
