//! What users whose private keys are at home hand in from there: signing requests and key sets.

use dimed::dime::fingerprint::SsrFingerprint;
use dimed::dime::signet::{Custody, Kind, Signet, verify_org, verify_user};
use dimed::dmtp::handed_in::pack;
use serde_json::json;
use tokio::task::block_in_place;

use super::sealed_submission::logged_in;
use crate::support::home::Home;
use crate::support::organization::Organization;
use crate::support::world::World;

const REQUEST: &str = "signet request pat@hismail.test";

/// What everybody is told who asks hismail for a user's signet.
async fn served(hismail: &Organization, address: &str) -> Option<Signet> {
    let published = hismail.services().await.published;
    let object = published.signet(address, None).await.unwrap()?;
    Some(Signet::decode(&object).unwrap())
}

async fn approve(hismail: &Organization, arguments: &[&str]) -> String {
    let all = [&["signet", "approve", "pat@hismail.test"], arguments].concat();
    hismail.cli(&all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_signet_is_asked_for_granted_and_fetched_from_home() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let pat = Home::without_signet(&hismail, "pat", "paranoid").await;
    let served_here = hismail.start().await;

    let status = format!("{REQUEST} my.ssr --status");
    assert_eq!(pat.hand_in(1, &status)["result"], "none");
    let asked = pat.hand_in(0, &format!("{REQUEST} my.ssr --key-set my.keyset"));
    assert_eq!(asked["result"], "waiting");
    assert!(served(&hismail, "pat@hismail.test").await.is_none());
    let waiting = pat.hand_in(75, &format!("{status} --out my.signet"));
    assert_eq!(
        (&waiting["result"], &waiting["request"]),
        (&asked["result"], &asked["request"])
    );
    assert!(!pat.desk.path("my.signet").exists());

    // The administrator finds it, and approves what Pat has read to them, and nothing else.
    let print = asked["request"].as_str().unwrap();
    let listed = hismail.cli(&["signet", "approve"]).await;
    assert!(listed.contains(&format!("  request {print}\n")), "{listed}");
    approve(&hismail, &["--request", print]).await;

    let granted = pat.hand_in(0, &format!("{status} --out my.signet"));
    assert_eq!(
        (&granted["result"], &granted["file"]),
        (&json!("granted"), &json!("my.signet"))
    );
    let signet = block_in_place(|| pat.desk.json(0, "signet show my.signet"));
    let current = served(&hismail, "pat@hismail.test").await.unwrap();
    let full = current.full_fingerprint().unwrap().to_string();
    assert_eq!(signet["fingerprints"]["full"], full);
    assert!(
        current.undefined_field(b"dmime2").is_some(),
        "the key set came along"
    );
    let pending = hismail.services().await.store.signing_requests().await.unwrap();
    assert_eq!(pending, []);
    served_here.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_asked_for_over_a_rejection_and_with_custody_alone() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let pat = Home::join(&hismail, "pat", "cautious").await;
    let _served = hismail.start().await;
    let first = served(&hismail, "pat@hismail.test").await.unwrap();
    let make = |arguments: &str| {
        let made = format!(
            "signet new-request pat@hismail.test --key new.key --kem new.kem --request new.ssr --key-set new.keyset \
             --force {arguments}"
        );
        block_in_place(|| pat.desk.done(&made));
    };

    make("");
    let refused = pat.hand_in(1, &format!("{REQUEST} new.ssr"));
    assert_eq!(refused["refused"]["variant"], "submit.permanent");
    let message = refused["refused"]["message"].as_str().unwrap();
    assert!(message.contains("554 the predecessor did not sign"), "{message}");

    make("--rotate my.key");
    pat.hand_in(0, &format!("{REQUEST} new.ssr --key-set new.keyset"));
    let reject = [
        "signet",
        "reject",
        "pat@hismail.test",
        "--reason",
        "Ruf mich an, Größe falsch",
    ];
    hismail.cli(&reject).await;
    let rejected = pat.hand_in(1, &format!("{REQUEST} new.ssr --status"));
    assert_eq!(
        (&rejected["result"], &rejected["reason"]),
        (&json!("rejected"), &json!("Ruf mich an, Größe falsch"))
    );

    // The same one again waits again; another one takes its place, and is not approved in its stead.
    let asked = pat.hand_in(0, &format!("{REQUEST} new.ssr"));
    std::fs::copy(pat.desk.path("new.ssr"), pat.desk.path("old.ssr")).unwrap();
    make("--rotate my.key");
    pat.hand_in(0, &format!("{REQUEST} new.ssr --key-set new.keyset"));
    assert_eq!(
        pat.hand_in(1, &format!("{REQUEST} old.ssr --status"))["result"],
        "replaced"
    );
    let published = hismail.services().await.published;
    let address = "pat@hismail.test".parse().unwrap();
    let old = SsrFingerprint::parse(asked["request"].as_str().unwrap()).unwrap();
    assert!(published.approve(&address, Some(old)).await.is_err());
    approve(&hismail, &[]).await;
    assert_eq!(
        pat.hand_in(0, &format!("{REQUEST} new.ssr --status"))["result"],
        "granted"
    );
    // The one before that, which Pat joined with, and one that nobody has seen again.
    for (file, became) in [("my.ssr", "superseded"), ("old.ssr", "other")] {
        let told = pat.hand_in(1, &format!("{REQUEST} {file} --status"));
        assert_eq!(told["result"], became, "{file}");
    }

    let org = served(&hismail, "hismail.test").await.unwrap();
    let org = verify_org(&org, &[org.signing_key().unwrap()], &hismail.name).unwrap();
    let before = verify_user(&first, &org, None, &address).unwrap();
    let current = served(&hismail, "pat@hismail.test").await.unwrap();
    assert_ne!(current.signing_key().unwrap(), first.signing_key().unwrap());
    let now = verify_user(&current, &org, Some(&before), &address).unwrap();
    assert_eq!(now.custody(), Custody::Proven);
    assert_eq!(hismail.history("pat@hismail.test").await.len(), 3);

    hismail.cli(&["signet", "revoke", "pat@hismail.test"]).await;
    let told = pat.hand_in(1, &format!("{REQUEST} new.ssr --status"));
    assert_eq!(told["result"], "revoked");
    let before = pat.hand_in(1, &format!("{REQUEST} my.ssr --status"));
    assert_eq!(before["result"], "superseded");
    assert!(told["revoked"].as_i64().unwrap() > 1_700_000_000, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_sets_are_handed_in_from_home_and_all_of_them_or_none() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let pat = Home::join(&hismail, "pat", "paranoid").await;
    let stranger = Home::join(&hismail, "sam", "paranoid").await;
    let _served = hismail.start().await;
    pat.fetch(&hismail, "pat@hismail.test").await;
    stranger.fetch(&hismail, "sam@hismail.test").await;
    let sign = |home: &Home, options: &str| {
        let (address, line) = (
            &home.address,
            "key set --key my.key --kem ahead.kem --out ahead.keyset --force",
        );
        block_in_place(|| home.desk.done(&format!("{line} --signet {address} {options}")));
    };
    let import = "key set import pat@hismail.test ahead.keyset";
    let ahead = async || {
        let store = hismail.services().await.store;
        store.key_sets_ahead("pat@hismail.test").await.unwrap().len()
    };

    sign(&pat, "--ahead 3");
    let taken = pat.hand_in(0, import);
    assert_eq!(
        [&taken["key_sets"], &taken["published"], &taken["waiting"]],
        [&json!(3), &json!(true), &json!(2)]
    );
    assert_eq!(ahead().await, 2);

    // Of others, of two times at once, and too late: what was there stays.
    sign(&stranger, "--ahead 3");
    let octets = stranger.octets("ahead.keyset");
    pat.desk
        .write("ahead.keyset", [octets, pat.octets("my.keyset")].concat());
    let refused = pat.hand_in(1, import);
    let message = refused["refused"]["message"].as_str().unwrap();
    assert!(message.contains("554 ") && message.contains("N3"), "{message}");
    sign(&pat, "--ahead 1 --start-in 3");
    let twice = pat.octets("ahead.keyset").repeat(2);
    pat.desk.write("ahead.keyset", twice);
    let refused = pat.hand_in(1, import);
    let message = refused["refused"]["message"].as_str().unwrap();
    assert!(
        message.contains("554 two key sets are due at the same time"),
        "{message}"
    );
    assert_eq!(ahead().await, 2);

    // What is handed in takes the place of what waits.
    sign(&pat, "--ahead 1 --start-in 3");
    assert_eq!(pat.hand_in(0, import)["waiting"], 1);
    assert_eq!(ahead().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_account_itself_asks_and_only_if_its_keys_are_at_home() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let pat = Home::without_signet(&hismail, "pat", "paranoid").await;
    hismail
        .cli(&["alias", "add", "patricia@hismail.test", "pat@hismail.test"])
        .await;
    let _served = hismail.start().await;
    let refused = |address: &str, code: &str| {
        let said = pat.hand_in(1, &format!("signet request {address} my.ssr"));
        let message = said["refused"]["message"].as_str().unwrap();
        assert!(message.contains(code), "{message}");
    };
    refused("bob@hismail.test", "550 your keys are kept here");
    refused("patricia@hismail.test", "535 ");
    refused("nobody@hismail.test", "535 ");
    let unsigned = pat.hand_in(1, "key set import pat@hismail.test my.keyset");
    let message = unsigned["refused"]["message"].as_str().unwrap();
    assert!(message.contains("550 the user has no signet here"), "{message}");
    let pending = hismail.services().await.store.signing_requests().await.unwrap();
    assert_eq!(pending, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_that_are_no_request_are_refused_and_the_session_goes_on() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let pat = Home::without_signet(&hismail, "pat", "paranoid").await;
    let _served = hismail.start().await;
    let armored = String::from_utf8(pat.octets("my.ssr")).unwrap();
    let request = Signet::from_armor(&armored).unwrap();
    assert_eq!(request.kind(), Kind::Request);
    let octets = request.encode();
    let org = served(&hismail, "hismail.test").await.unwrap().encode();
    let mut forged = octets.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let mut talk = logged_in(&hismail, "pat@hismail.test").await;
    for (upload, reply) in [
        (b"\0\0\x05bad".to_vec(), "554 the octets are not packed"),
        (octets.clone(), "554 "),
        (
            pack([&octets[..], &octets, &octets]),
            "554 the octets are not packed",
        ),
        (
            pack([&octets[..], b"no key set"]),
            "554 the key set cannot be used: N2",
        ),
        (
            pack([&forged[..]]),
            "554 the user's own signature does not verify",
        ),
        (pack([&org[..]]), "554 "),
    ] {
        talk.ask(&format!("SSR SIZE={}", upload.len()), "354 CONTINUE [")
            .await;
        talk.send(&upload).await;
        talk.ask("", reply).await;
    }
    talk.ask("SSR SIZE=70000", "552 ").await;
    talk.ask("SSR", "450 ").await;
    talk.ask("SETS SIZE=4", "354 CONTINUE [").await;
    talk.send(b"sets").await;
    talk.ask("", "554 the octets are not packed").await;
    // Cut off in the middle: nothing is stored.
    talk.ask(&format!("SSR SIZE={}", octets.len() + 3), "354 CONTINUE [")
        .await;
    talk.send(&pack([&octets[..]])[..100]).await;
    talk.end().await;
    assert_eq!(talk.reply().await, None);
    let mut talk = logged_in(&hismail, "pat@hismail.test").await;
    talk.ask("SSR", "450 ").await;
    talk.ask("QUIT", "221").await;
}
