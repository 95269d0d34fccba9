//! `dimed signet fetch`: from DNS and a daemon elsewhere, with nothing of one's own.

use std::net::{Ipv4Addr, SocketAddr};

use assert_cmd::Command;
use dimed::dime::signet::{Level, Signet};
use dimed::net::authority::{KeyKind, Zone};
use serde_json::{Value, json};

use crate::support::loopback;
use crate::support::organization::Organization;
use crate::support::tool::Desk;
use crate::support::world::{World, domain};

/// Somebody who knows the name server and its trust anchor.
struct Stranger<'a> {
    desk: Desk,
    world: &'a World,
}

impl Stranger<'_> {
    fn new(world: &World) -> Stranger<'_> {
        Stranger {
            desk: Desk::new(),
            world,
        }
    }

    /// Without any configuration.
    fn fetch(&self, arguments: &str) -> Command {
        let mut command = self.desk.dimed(&format!("signet fetch {arguments}"));
        command.env_remove("DIMED_CONFIG");
        let (server, anchors) = (self.world.name_server().to_string(), self.world.anchors());
        command.args(["--server", &server, "--trust-anchors", anchors.to_str().unwrap()]);
        command
    }

    /// Where the organizations of these tests listen.
    fn here(&self, arguments: &str) -> Command {
        let mut command = self.fetch(arguments);
        command.args(["--port", &loopback::DMTP.to_string()]);
        command.args(["--smtp-port", &loopback::SMTP.to_string()]);
        command
    }

    fn json(&self, code: i32, arguments: &str) -> Value {
        output(self.here(arguments).arg("--json"), code)
    }
}

fn output(command: &mut Command, code: i32) -> Value {
    let assert = command.assert().code(code);
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

fn text(command: &mut Command, code: i32) -> String {
    let assert = command.assert().code(code);
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

async fn hismail(world: &World) -> Organization {
    let organization = world.organization("hismail.test").accounts(&["bob"]);
    organization.build().await
}

/// Bob's or the domain's newest signet as it is served.
async fn served(hismail: &Organization, name: &str) -> Signet {
    let history = hismail.history(name).await;
    let object = &history.last().unwrap().signet.object;
    Signet::decode(object).unwrap().split(Level::Full).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn signets_are_fetched_and_every_fact_is_told_with_its_proof() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let there = hismail.start().await;
    let stranger = Stranger::new(&world);
    let found = stranger.json(0, "bob@hismail.test --out bob.signet --org-out org.signet");
    let (user, organization) = (
        served(&hismail, "bob@hismail.test").await,
        served(&hismail, "hismail.test").await,
    );
    assert_eq!(stranger.desk.read("bob.signet"), user.to_armor());
    assert_eq!(stranger.desk.read("org.signet"), organization.to_armor());
    assert_eq!(
        [&found["name"], &found["result"], &found["record"]["proof"]],
        ["bob@hismail.test", "valid", "secure"]
    );
    let host = &found["host"];
    let address = SocketAddr::new(hismail.ip, loopback::DMTP).to_string();
    assert_eq!(
        [
            &host["name"],
            &host["reach"],
            &host["address"],
            &host["certificate"]
        ],
        ["mx.hismail.test", "single", &address, "signed"]
    );
    assert_eq!(host["tls"]["version"], "TLS1.3");
    // Everybody's signature is named with the key that made it, down to the one in DNS.
    let primary = &found["record"]["value"]["pok"][0];
    assert_eq!(
        [
            &found["organization"]["primary_key"],
            &found["organization"]["signed_by"]["full"],
            &found["user"]["signed_by"]["crypto"],
            &found["user"]["signed_by"]["full"],
        ],
        [primary; 4]
    );
    let full = user.full_fingerprint().unwrap().to_string();
    assert_eq!(found["user"]["fingerprints"]["full"], full);
    assert_eq!(found["user"]["signet"], user.to_armor());

    let told = text(&mut stranger.here("bob@hismail.test"), 0);
    for line in [
        "bob@hismail.test: valid\n",
        "record        found, proven by DNSSEC\n",
        "certificate signed in the record, which DNSSEC proves\n",
        "organization  hismail.test: full form, signed by its primary key, which is in the record; without identifier",
        "user          full form, signed by the user and by the organization's primary key; without identifier",
        &format!("full    {full}\n"),
    ] {
        assert!(told.contains(line), "{line:?} in {told}");
    }
    // The answer is a signet for other commands.
    stranger.desk.write("told", &told);
    let pok = primary.as_str().unwrap();
    let verify = format!("signet verify told --org org.signet --pok {pok}");
    assert_eq!(stranger.desk.json(0, &verify)["result"], "valid");
    let alone = text(&mut stranger.here("hismail.test --out -"), 0);
    assert_eq!(alone, organization.to_armor());
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_found_by_mx_and_spoken_to_on_the_smtp_port_where_the_record_names_none() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.without_dx().build().await;
    let there = hismail.start().await;
    let stranger = Stranger::new(&world);
    let found = stranger.json(0, "bob@hismail.test");
    assert_eq!(
        [&found["host"]["name"], &found["host"]["reach"]],
        ["mx.hismail.test", "single"]
    );
    let smtp = loopback::SMTP.to_string();
    let mut command = stranger.fetch("bob@hismail.test --json");
    let found = output(command.args(["--port", "1", "--smtp-port", &smtp]), 0);
    let address = SocketAddr::new(hismail.ip, loopback::SMTP).to_string();
    assert_eq!(
        [&found["host"]["reach"], &found["host"]["address"]],
        ["dual", &address]
    );
    there.stop().await;
}

/// What a configuration says of name servers and ports is the default; nothing else of it is needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_tells_whom_to_ask() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let hismail = hismail(&world).await;
    let there = hismail.start().await;
    std::fs::remove_dir_all(hermail.folder.join("data")).unwrap();
    std::fs::remove_file(hermail.folder.join("master.key")).unwrap();
    let said = hermail.cli(&["signet", "fetch", "bob@hismail.test"]).await;
    assert!(said.starts_with("bob@hismail.test: valid\n"), "{said}");
    assert!(!hermail.folder.join("data").exists());
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_from_what_cannot_be_asked() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    world.plain_domain("plain.test", Ipv4Addr::LOCALHOST.into());
    let stranger = Stranger::new(&world);
    let ended = |code: i32, arguments: &str| {
        let found = stranger.json(code, arguments);
        let result = found["result"].as_str().unwrap().to_owned();
        (result, found["refused"]["variant"].as_str().unwrap().to_owned())
    };
    let expected = |result: &str, variant: &str| (result.to_owned(), variant.to_owned());
    // Nobody listens.
    assert_eq!(
        ended(75, "bob@hismail.test"),
        expected("try_later", "fetch.unreachable")
    );
    let there = hismail.start().await;
    for (name, expected) in [
        (
            "nobody@hismail.test",
            expected("no_such_signet", "fetch.not_found"),
        ),
        ("carol@plain.test", expected("no_such_signet", "fetch.not_dime")),
        ("nowhere.test", expected("no_such_signet", "fetch.not_dime")),
    ] {
        assert_eq!(ended(1, name), expected, "{name}");
    }
    let other = served(&hismail, "hismail.test").await.full_fingerprint().unwrap();
    let asked = format!("bob@hismail.test --fingerprint {other}");
    assert_eq!(ended(1, &asked), expected("no_such_signet", "fetch.not_found"));

    let mut deaf = stranger
        .desk
        .dimed("signet fetch hismail.test --server 127.0.0.1:1 --json");
    let found = output(deaf.env_remove("DIMED_CONFIG"), 75);
    assert_eq!(found["refused"]["variant"], "fetch.no_answer");
    // Whoever trusts another key of the zone above finds that nothing verifies.
    let forged = Zone::signed(&domain("test"), KeyKind::Ed25519).unwrap();
    let anchor = stranger.desk.path("anchor");
    std::fs::write(&anchor, forged.trust_anchor().unwrap().unwrap()).unwrap();
    let mut command = stranger.desk.dimed("signet fetch hismail.test --json");
    let server = world.name_server().to_string();
    command.args(["--server", &server, "--trust-anchors", anchor.to_str().unwrap()]);
    let found = output(command.env_remove("DIMED_CONFIG"), 75);
    assert_eq!(
        [&found["result"], &found["refused"]["variant"]],
        ["try_later", "fetch.bogus"]
    );
    std::fs::remove_file(&anchor).unwrap();
    for misuse in [
        "hismail.test --history",
        "hismail.test --org-out x",
        "bob@hismail.test --fingerprint x",
        "bob@hismail.test --out - --json",
        "bob@hismail.test --out - --org-out -",
        "bob@hismail.test --from missing",
        "not a name",
    ] {
        stranger.here(misuse).assert().code(2);
    }
    assert_eq!(stranger.desk.files(), [""; 0]);
    there.stop().await;
}

/// What the record does not vouch for is not valid: neither a host, nor an organization.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_vouches_for_host_and_organization() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").build().await;
    let key_of_hermail = primary_key(&hermail).await;
    let unsigned = |record: String| {
        let fields = record.split(' ').filter(|field| !field.starts_with("tls="));
        fields.collect::<Vec<_>>().join(" ") + " tls=" + &"A".repeat(86)
    };
    let hismail = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = hismail.record(unsigned).build().await;
    // As while keys are changed, the record has another key, too.
    let both = |record: String| record.replacen("pok=", &format!("pok={key_of_hermail} pok="), 1);
    let rekeyed = world.organization("rekeyed.test").accounts(&["bob"]);
    let rekeyed = rekeyed.record(both).build().await;
    let (first, second) = (hismail.start().await, rekeyed.start().await);
    let stranger = Stranger::new(&world);
    let found = stranger.json(1, "bob@hismail.test --out bob.signet");
    assert_eq!(found["refused"]["variant"], "fetch.certificate");
    assert_eq!(found["organization"], Value::Null);
    assert_eq!(stranger.desk.files(), [""; 0]);
    let found = stranger.json(0, "bob@rekeyed.test");
    assert_eq!(found["record"]["value"]["pok"].as_array().unwrap().len(), 2);
    first.stop().await;
    second.stop().await;
}

async fn primary_key(organization: &Organization) -> String {
    let services = organization.services().await;
    let found = services.published.organization(&organization.name).await.unwrap();
    dimed::base::encoding::base64_unpadded(&found.unwrap().signet.primary_key().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_custody_is_followed_from_what_was_known() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let there = hismail.start().await;
    let stranger = Stranger::new(&world);
    stranger.json(0, "bob@hismail.test --out first");
    let found = stranger.json(0, "bob@hismail.test --from first");
    assert_eq!(
        found["custody"],
        json!({ "follows": "same_key", "changes": 0, "history": [] })
    );
    for _ in 0..2 {
        let keys = dimed::dime::keys::UserKeys::generate(&mut rand::rng());
        let published = hismail.services().await.published;
        let bob = "bob@hismail.test".parse().unwrap();
        published.publish_user(&bob, keys).await.unwrap();
    }
    let found = stranger.json(0, "bob@hismail.test --from first --out third");
    assert_eq!(
        [&found["custody"]["follows"], &found["custody"]["changes"]],
        [&json!("signed"), &json!(2)]
    );
    let links = |found: &Value| {
        let history = found["custody"]["history"].as_array().unwrap();
        let links = history
            .iter()
            .map(|entry| entry["link"].as_str().unwrap().to_owned());
        links.collect::<Vec<_>>()
    };
    assert_eq!(links(&found), ["same_key", "signed", "signed"]);
    let found = stranger.json(0, "bob@hismail.test --history");
    assert_eq!(links(&found), ["same_key", "signed", "signed"]);
    assert_eq!(
        found["custody"]["history"][0]["signet"],
        stranger.desk.read("first")
    );
    let told = text(&mut stranger.here("bob@hismail.test --from first --history"), 0);
    for line in [
        "custody       2 changes of keys, each signed by the key before\n",
        "history       0 ",
        ": the start\n",
        ": signed by the key before\n",
    ] {
        assert!(told.contains(line), "{line:?} in {told}");
    }
    // An earlier signet is had by its fingerprint.
    let first = Signet::from_armor(&stranger.desk.read("first")).unwrap();
    let crypto = first.crypto_fingerprint().unwrap();
    let found = stranger.json(0, &format!("bob@hismail.test --fingerprint {crypto}"));
    assert_eq!(found["user"]["signet"], stranger.desk.read("first"));
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nobody_signed_does_not_follow() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let hermail = world.organization("hermail.test").build().await;
    let (there, elsewhere) = (hismail.start().await, hermail.start().await);
    let stranger = Stranger::new(&world);
    stranger.json(0, "bob@hismail.test --out bob --org-out org");
    stranger.json(0, "hermail.test --out other");
    hismail.cli(&["signet", "revoke", "bob@hismail.test"]).await;
    hismail.cli(&["signet", "publish", "bob@hismail.test"]).await;
    let found = stranger.json(1, "bob@hismail.test --from bob --out new");
    assert_eq!(
        [&found["result"], &found["refused"]["variant"]],
        ["not_valid", "fetch.custody.forgotten"]
    );
    let told = text(&mut stranger.here("bob@hismail.test --from bob"), 1);
    assert!(
        told.starts_with("bob@hismail.test: not valid: the chain of custody is broken"),
        "{told}"
    );
    assert_eq!(stranger.desk.files(), ["bob", "org", "other"]);
    // A signet of another kind is no beginning.
    let found = stranger.json(1, "bob@hismail.test --from org");
    assert_eq!(found["refused"]["variant"], "signet.kind");
    // Primary keys have no chain; DNSSEC vouches for the record that has the new one.
    let found = stranger.json(0, "hismail.test --from other");
    assert_eq!(found["custody"]["follows"], "proven_record");
    let found = stranger.json(0, "hismail.test --from org");
    assert_eq!(found["custody"]["follows"], "same_key");
    there.stop().await;
    elsewhere.stop().await;
}
