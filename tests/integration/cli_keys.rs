//! `dimed key …`: shown, wrapped and unwrapped key files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dimed::base::encoding::{base64, base64_decode};
use dimed::dime::armor;
use dimed::dime::keys::wrapped::LABEL;
use serde_json::json;

use super::support::tool::Desk;

const WRAP: &str = "--memory-kib 64 --passes 1 --passphrase-file secret.txt";

fn desk() -> Desk {
    let desk = Desk::with_alice();
    desk.write("secret.txt", "correct horse battery staple\nsecond line\n");
    desk.write("wrong.txt", "correct horse battery stable\n");
    desk.write("master.key", base64(&[7; 32]));
    desk.write("other.key", base64(&[8; 32]));
    desk
}

/// The seed in a key file, as base64 shows it.
fn seed(desk: &Desk, file: &str) -> String {
    let shown = desk.json(0, &format!("key show {file} --private"));
    shown["keys"][0]["private"]["ed25519"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn no_private_half_is_shown_unless_asked_for() {
    let desk = desk();
    let files = [
        "example.org.key",
        "alice-example.org.key",
        "alice-example.org.kem",
    ];
    for file in files {
        let private = desk.json(0, &format!("key show {file} --private"))["keys"][0]["private"].clone();
        let secrets: Vec<_> = private
            .as_object()
            .unwrap()
            .values()
            .map(|key| key.as_str().unwrap())
            .collect();
        assert_eq!(secrets.len(), 2);
        for flags in ["", "--public", "--json", "--public --json"] {
            let shown = desk.done(&format!("key show {file} {flags}"));
            assert!(
                secrets
                    .iter()
                    .all(|secret| !shown.contains(secret.trim_end_matches('='))),
                "{file} {flags}"
            );
        }
    }
    let set = desk.json(0, "key show alice-example.org.kem --public");
    let key = &set["keys"][0];
    assert_eq!(key["key_set"]["suites"], json!(["x25519", "xwing"]));
    assert_eq!(
        base64_decode(key["public"]["xwing"].as_str().unwrap())
            .unwrap()
            .len(),
        1216
    );
    let user = desk.json(0, "key show alice-example.org.key --public");
    assert_eq!(user["keys"][0]["type"], "user key");
    assert_eq!(user["keys"][0]["public"]["ed25519"], key["key_set"]["owner"]);
}

#[test]
fn a_wrapped_key_comes_back_and_serves_wherever_a_key_does() {
    let desk = desk();
    for file in [
        "example.org.key",
        "alice-example.org.key",
        "alice-example.org.kem",
    ] {
        desk.done(&format!("key wrap {file} {WRAP} --out wrapped --force"));
        assert_eq!(desk.mode("wrapped"), 0o600);
        let shown = desk.json(0, "key show wrapped")["keys"][0]["protection"].clone();
        assert_eq!(
            shown["argon2id"],
            json!({ "memory_kib": 64, "passes": 1, "lanes": 4 })
        );
        desk.done("key unwrap wrapped --passphrase-file secret.txt --out clear --force");
        assert_eq!((desk.read("clear"), desk.mode("clear")), (desk.read(file), 0o600));
        let locked =
            desk.json(1, "key unwrap wrapped --passphrase-file wrong.txt --out no")["refused"].clone();
        assert_eq!(locked["variant"], "wrapped.locked");
        assert!(!desk.path("no").exists());
    }
    desk.done(&format!("key wrap example.org.key {WRAP} --out org.wrapped"));
    let signed = desk.json(
        0,
        "signet sign alice-example.org.ssr --org-key org.wrapped --passphrase-file secret.txt --org-signet example.org.signet",
    );
    assert_eq!(signed["type"], "user_signet");
}

#[test]
fn a_key_under_the_master_key_needs_that_one() {
    let desk = desk();
    desk.done("key wrap example.org.key --master-key-file master.key --out wrapped");
    let shown = desk.json(0, "key show wrapped");
    assert_eq!(shown["keys"][0]["protection"]["by"], "master key");
    let clear = desk.done("key unwrap wrapped --master-key-file master.key");
    assert_eq!(clear, desk.read("example.org.key"));
    let locked = desk.json(1, "key unwrap wrapped --master-key-file other.key --out no");
    assert_eq!(locked["refused"]["variant"], "wrapped.locked");
    let unnamed = desk.fails(2, "key unwrap wrapped");
    assert!(unnamed.contains("name --master-key-file"), "{unnamed}");
    desk.fails(78, "key unwrap wrapped --master-key-file missing.key");
}

#[test]
fn a_tampered_wrapping_is_refused_and_a_bomb_is_not_lit() {
    let desk = desk();
    desk.done(&format!("key wrap alice-example.org.key {WRAP} --out wrapped"));
    let good = armor::decode(&desk.read("wrapped"), &[LABEL]).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = good.clone();
        change(&mut octets);
        desk.write("bad", armor::encode(LABEL, &octets));
        desk.json(1, "key unwrap bad --passphrase-file secret.txt --out no")["refused"].clone()
    };
    let bomb = refused(&|octets| octets[10..18].fill(0xff));
    assert_eq!(
        (&bomb["variant"], &bomb["offset"]),
        (&json!("wrapped.work"), &json!(10))
    );
    assert_eq!(refused(&|octets| octets[11] ^= 1)["variant"], "wrapped.locked");
    assert_eq!(refused(&|octets| octets[40] ^= 1)["variant"], "wrapped.locked");
    assert_eq!(
        refused(&|octets| octets.truncate(30))["variant"],
        "wrapped.layout"
    );
    assert_eq!(refused(&|octets| octets[0] ^= 1)["variant"], "wrapped.layout");
    let text = desk.read("wrapped").replacen('=', "x", 1);
    desk.write("bad", text);
    let damaged = desk.json(1, "key show bad")["refused"].clone();
    assert!(
        damaged["variant"].as_str().unwrap().starts_with("armor."),
        "{damaged}"
    );
    assert!(!desk.path("no").exists());
    let bounds = desk.fails(
        2,
        "key wrap alice-example.org.key --passphrase-file secret.txt --memory-kib 4294967295",
    );
    assert!(bounds.contains("out of bounds"), "{bounds}");
}

#[test]
fn several_keys_in_a_file_are_wrapped_together() {
    let desk = desk();
    let both = desk.read("alice-example.org.key") + &desk.read("alice-example.org.kem");
    desk.write("both", &both);
    let wrapped = desk.json(0, &format!("key wrap both {WRAP} --out wrapped"));
    assert_eq!(wrapped["keys"], json!(["user key", "private keys of a key set"]));
    assert_eq!(desk.done("key unwrap wrapped --passphrase-file secret.txt"), both);
    let again = desk.fails(2, &format!("key wrap wrapped {WRAP}"));
    assert!(again.contains("wrapped is wrapped already"), "{again}");
    let clear = desk.fails(2, "key unwrap both --passphrase-file secret.txt");
    assert!(clear.contains("both is not wrapped"), "{clear}");
}

#[test]
fn a_key_that_others_may_read_is_used_after_a_warning() {
    let desk = desk();
    let quiet = desk.dimed("key show example.org.key").assert().code(0);
    assert_eq!(quiet.get_output().stderr, b"");
    fs::set_permissions(desk.path("example.org.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let warned = desk.dimed("key show example.org.key").assert().code(0);
    assert_eq!(
        String::from_utf8_lossy(&warned.get_output().stderr),
        "dimed: warning: example.org.key is read as a secret, and others may read it too (mode 0644); do: chmod 600 example.org.key\n"
    );
}

#[test]
fn keys_go_through_standard_input_and_output() {
    let desk = desk();
    let wrapped = desk
        .dimed(&format!("key wrap - {WRAP}"))
        .write_stdin(desk.read("example.org.key"))
        .assert()
        .code(0);
    let unwrapped = desk
        .dimed("key unwrap - --passphrase-file secret.txt")
        .write_stdin(wrapped.get_output().stdout.clone())
        .assert()
        .code(0);
    assert_eq!(
        unwrapped.get_output().stdout,
        desk.read("example.org.key").into_bytes()
    );
    assert_ne!(
        seed(&desk, "example.org.key"),
        seed(&desk, "alice-example.org.key")
    );
    let binary = armor::decode(&desk.read("example.org.key"), &["ORGANIZATIONAL KEY"]).unwrap();
    desk.write("binary", &binary);
    assert_eq!(seed(&desk, "binary"), seed(&desk, "example.org.key"));
    desk.write("binary", &binary[..70]);
    let cut = desk.json(1, "key show binary")["refused"].clone();
    assert_eq!(
        (&cut["variant"], &cut["offset"]),
        (&json!("key.layout"), &json!(70))
    );
    desk.write("binary", [0xff; 74]);
    assert_eq!(
        desk.json(1, "key show binary")["refused"]["variant"],
        "armor.no_block"
    );
    desk.fails(2, "key wrap - --passphrase-file -");
    desk.fails(2, "key show missing.key");
}
