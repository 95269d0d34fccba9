//! Secondary organizational keys in files: made with what they may sign, and used for that and nothing else.

use serde_json::json;

use super::support::tool::Desk;

const LETTER: &str = "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nFrom: alice@example.org\r\n\r\nHello Bob\r\n";

/// example.org with a key for signets and one for messages and TLS, and Alice's request.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.done("signet new-org example.org --sok signets --sok messages,tls");
    desk.done("signet new-request alice@example.org");
    desk
}

fn sign(desk: &Desk, key: &str) -> (String, Option<String>) {
    let command = format!(
        "signet sign alice-example.org.ssr --org-key {key} --org-signet example.org.signet \
         --address alice@example.org --key-set alice-example.org.keyset --out {key}.signet"
    );
    match desk.dimed(&command).output().unwrap().status.success() {
        true => (command, Some(format!("{key}.signet"))),
        false => (command, None),
    }
}

fn public(desk: &Desk, key: &str) -> String {
    let shown = desk.json(0, &format!("key show {key} --public"));
    shown["keys"][0]["public"]["ed25519"].as_str().unwrap().to_owned()
}

#[test]
fn they_are_made_for_their_owner_and_shown_with_what_they_may_sign() {
    let desk = desk();
    let shown = desk.json(0, "signet show example.org.signet");
    let fields = shown["fields"].as_array().unwrap().iter();
    let soks: Vec<_> = fields.filter(|field| field["id"] == 2).collect();
    let expected = [
        ("example.org.sok1.key", json!(["signets"])),
        ("example.org.sok2.key", json!(["messages", "tls"])),
    ];
    assert_eq!(soks.len(), expected.len());
    for (field, (file, permissions)) in soks.iter().zip(expected) {
        assert_eq!(desk.mode(file), 0o600);
        assert!(
            desk.read(file)
                .starts_with("-----BEGIN ED25519 PRIVATE KEY-----\n")
        );
        assert_eq!(field["value"], json!(public(&desk, file)));
        assert_eq!(field["permissions"], permissions);
    }
    let pok = public(&desk, "example.org.key");
    let verified = desk.json(
        0,
        &format!("signet verify example.org.signet --pok {pok} --name example.org"),
    );
    assert_eq!(verified["result"], "valid");
    let made = desk.json(0, "signet new-org b.test --sok software");
    assert_eq!(made["files"]["sok1"], "b.test.sok1.key");
    for (uses, why) in [
        ("mail", "\"mail\" is none of signets, messages, tls, software"),
        ("", "\"\" is none"),
        ("signets,", "\"\" is none"),
    ] {
        let message = desk
            .command(&["signet", "new-org", "c.test", "--sok", uses])
            .output()
            .unwrap();
        let errors = String::from_utf8(message.stderr).unwrap();
        assert_eq!(message.status.code(), Some(2));
        assert!(errors.contains(why), "{errors}");
    }
    let many = "--sok tls ".repeat(65);
    let message = desk.fails(2, &format!("signet new-org c.test {many}"));
    assert!(message.contains("at most 64 secondary keys"), "{message}");
    assert!(!desk.files().iter().any(|name| name.starts_with("c.test")));
}

#[test]
fn only_one_that_may_sign_signets_signs_a_request() {
    let desk = desk();
    let (_, signet) = sign(&desk, "example.org.sok1.key");
    let verified = desk.json(
        0,
        &format!("signet verify {} --org example.org.signet", signet.unwrap()),
    );
    let key = json!(public(&desk, "example.org.sok1.key"));
    assert_eq!(verified["signed_by"]["full"], key, "{verified}");
    let (command, none) = sign(&desk, "example.org.sok2.key");
    assert_eq!(none, None);
    let refused = desk.json(1, &command)["refused"].clone();
    assert_eq!(refused["variant"], "signet.not_a_signer");
    desk.write("secret.txt", "correct horse\n");
    desk.done(
        "key wrap example.org.sok1.key --passphrase-file secret.txt --memory-kib 64 --out sok1.wrapped",
    );
    desk.done(
        "signet sign alice-example.org.ssr --org-key sok1.wrapped --org-signet example.org.signet \
         --address alice@example.org --passphrase-file secret.txt --out by-wrapped.signet",
    );
}

#[test]
fn only_one_that_may_sign_messages_signs_a_message() {
    let desk = desk();
    let (_, alice) = sign(&desk, "example.org.sok1.key");
    let alice = alice.unwrap();
    desk.done("signet new-org example.net");
    desk.done("signet new-request bob@example.net");
    desk.done(
        "signet sign bob-example.net.ssr --org-key example.net.key --org-signet example.net.signet \
         --address bob@example.net --key-set bob-example.net.keyset --out bob.signet",
    );
    desk.write("letter.eml", LETTER);
    let signets = format!(
        "--author-signet {alice} --origin-signet example.org.signet --destination-signet example.net.signet"
    );
    desk.done(&format!(
        "message seal --from alice@example.org --to bob@example.net --author-key alice-example.org.key {signets} \
         --recipient-signet bob.signet letter.eml --out sealed"
    ));
    let signing = |key: &str| {
        format!("message origin-sign --key {key} --key example.org.kem {signets} sealed --out signed")
    };
    let refused = desk.json(1, &signing("example.org.sok1.key"))["refused"].clone();
    assert_eq!(refused["variant"], "keys.not_a_signer");
    desk.done(&signing("example.org.sok2.key"));
    let opened = desk.done(&format!(
        "message open --as recipient --key bob-example.net.kem {signets} --recipient-signet bob.signet signed"
    ));
    assert!(opened.ends_with("Hello Bob\r\n"), "{opened}");
}
