//! `dimed signet …`: made, signed, rotated and split signets, as processes without daemon or configuration.

use serde_json::json;

use super::support::tool::Desk;

/// The primary key that `new-org` printed.
fn pok(desk: &Desk) -> String {
    let shown = desk.json(0, "key show example.org.key --public");
    shown["keys"][0]["public"]["ed25519"].as_str().unwrap().to_owned()
}

#[test]
fn an_organization_and_a_user_are_made_with_private_keys_for_their_owners_alone() {
    let desk = Desk::with_alice();
    assert_eq!(
        desk.files(),
        [
            "alice-example.org.kem",
            "alice-example.org.key",
            "alice-example.org.keyset",
            "alice-example.org.signet",
            "alice-example.org.ssr",
            "example.org.kem",
            "example.org.key",
            "example.org.signet",
        ]
    );
    for private in [
        "alice-example.org.kem",
        "alice-example.org.key",
        "example.org.kem",
        "example.org.key",
    ] {
        assert_eq!(desk.mode(private), 0o600, "{private}");
    }
    let verified = desk.json(
        0,
        &format!("signet verify example.org.signet --pok {}", pok(&desk)),
    );
    assert_eq!(verified["result"], "valid");
    assert_eq!(verified["verified"], "id");
    assert_eq!(verified["organization"], "pok");
    let alice = desk.json(
        0,
        "signet verify alice-example.org.signet --org example.org.signet --name alice@example.org",
    );
    assert_eq!(alice["result"], "valid");
    assert_eq!(alice["custody"], "none");
    assert_eq!(alice["organization"], "given");
    assert_eq!(alice["signed_by"]["full"], json!(pok(&desk)));
}

#[test]
fn every_field_is_shown_with_its_place_and_the_key_set_decoded() {
    let desk = Desk::with_alice();
    let shown = desk.json(0, "signet show alice-example.org.signet");
    assert_eq!(
        (&shown["type"], &shown["state"]),
        (&json!("user_signet"), &json!("id"))
    );
    let fields = shown["fields"].as_array().unwrap();
    let ids: Vec<_> = fields.iter().map(|field| field["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 5, 6, 16, 251, 253, 254, 255]);
    // §18.1 counts octets so: a field begins where the one before it ends.
    let mut offset = 5;
    for field in fields {
        assert_eq!(field["offset"], json!(offset));
        offset += field["size"].as_u64().unwrap();
    }
    assert_eq!(shown["size"], json!(offset));
    let name = &fields[4];
    assert_eq!(
        (&name["name"], &name["value"], &name["encoding"]),
        (&json!("Name"), &json!("Alice"), &json!("text"))
    );
    let set = &fields[5]["key_set"];
    assert_eq!(fields[5]["undefined_name"], "dmime2");
    assert_eq!(set["suites"], json!(["x25519", "xwing"]));
    let life = set["expires"].as_u64().unwrap() - set["created"].as_u64().unwrap();
    assert_eq!(life, 30 * 86_400);
    let rules = json!({ "N1": true, "N2": true, "N3": true, "N4": null, "N5": true, "N6": true, "N7": null });
    assert_eq!(set["rules"], rules);
    let verified = desk.json(
        0,
        "signet verify alice-example.org.signet --org example.org.signet",
    );
    assert_eq!(verified["fields"][5]["key_set"]["rules"]["N4"], true);
    assert_eq!(verified["fields"][8]["covered"], true);
    let text = desk.done("signet show alice-example.org.signet");
    for part in [
        "reaches the id form",
        "   40   2  Encryption-Key: ",
        "16  Name: Alice\n",
        "holds    N1 N2 N3 N5 N6\n",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_rotation_keeps_the_profile_and_proves_who_the_user_was() {
    let desk = Desk::with_alice();
    desk.done(
        "signet new-request alice@example.org --rotate alice-example.org.key --key next.key --kem next.kem \
         --key-set next.keyset --request next.ssr",
    );
    let sign = "signet sign next.ssr --org-key example.org.key --org-signet example.org.signet";
    let unknown = desk.json(1, sign);
    assert_eq!(unknown["refused"]["variant"], "signet.predecessor_unknown");
    desk.done(&format!(
        "{sign} --previous alice-example.org.signet --keep-profile --key-set next.keyset --out next.signet"
    ));
    let verify = "signet verify next.signet --org example.org.signet";
    assert_eq!(desk.json(0, verify)["custody"], "unproven");
    let proven = desk.json(0, &format!("{verify} --previous alice-example.org.signet"));
    assert_eq!(proven["custody"], "proven");
    assert_eq!(
        proven["signatures"],
        json!(["custody", "ssr", "crypto", "full", "id"])
    );
    let values: Vec<_> = proven["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| &field["value"])
        .collect();
    assert!(values.contains(&&json!("Alice")) && values.contains(&&json!("alice@example.org")));
    assert_eq!(proven["fields"][6]["key_set"]["rules"]["N3"], true);
    // The old key set is under the old key, and does not come along by itself.
    desk.done(&format!(
        "{sign} --previous alice-example.org.signet --keep-profile --out bare.signet"
    ));
    let bare = desk.json(0, "signet show bare.signet");
    assert!(
        bare["fields"]
            .as_array()
            .unwrap()
            .iter()
            .all(|field| field["id"] != 251)
    );
    let strange = desk.json(
        1,
        &format!("{sign} --previous alice-example.org.signet --key-set alice-example.org.keyset"),
    );
    assert_eq!(strange["refused"]["variant"], "key_set.other_signer");
    let broken = desk.json(
        1,
        "signet verify alice-example.org.signet --org example.org.signet --previous next.signet",
    );
    assert_eq!(broken["refused"]["variant"], "signet.custody_missing");
}

#[test]
fn only_a_key_of_the_organization_signs() {
    let desk = Desk::with_alice();
    desk.done("signet new-org other.test");
    let sign = |key: &str| {
        format!("signet sign alice-example.org.ssr --org-signet example.org.signet --org-key {key}")
    };
    let refused = desk.json(1, &sign("other.test.key"));
    assert_eq!(refused["refused"]["variant"], "signet.not_a_signer");
    let refused = desk.json(1, &sign("alice-example.org.key"));
    assert_eq!(refused["refused"]["variant"], "key.magic");
    let outside = desk.json(
        1,
        &format!("{} --address alice@other.test", sign("example.org.key")),
    );
    let outside = &outside["refused"];
    assert_eq!(
        (&outside["variant"], &outside["file"], &outside["field"]),
        (
            &json!("signet.wrong_name"),
            &json!("example.org.signet"),
            &json!(254)
        )
    );
    assert_eq!(
        outside["message"],
        "alice@other.test is no address of example.org"
    );
    let full = desk.done(&sign("example.org.key"));
    assert!(full.starts_with("-----BEGIN USER SIGNET-----\n"), "{full}");
    desk.write("full.signet", full);
    assert_eq!(desk.json(0, "signet show full.signet")["state"], "full");
    let signed = desk.json(
        1,
        "signet sign full.signet --org-key example.org.key --org-signet example.org.signet",
    );
    assert_eq!(signed["refused"]["variant"], "signet.kind");
}

#[test]
fn a_secondary_key_signs_through_a_key_file_of_its_own() {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/libdime");
    let desk = Desk::new();
    let refused = desk.json(
        1,
        &format!("signet sign {vectors}/signets/author.ssr --org-key {vectors}/keys/origin-with-message-sok.key --org-signet {vectors}/sok/origin-sok.signet"),
    );
    assert_eq!(refused["refused"]["variant"], "signet.not_a_signer");
    let signed = desk.json(
        0,
        &format!("signet sign {vectors}/signets/author.ssr --org-key {vectors}/keys/origin-pok.pem --org-signet {vectors}/signets/origin.signet"),
    );
    assert_eq!(signed["type"], "user_signet");
}

#[test]
fn nothing_is_replaced_without_force_and_nothing_stays_behind() {
    let desk = Desk::with_alice();
    let (key, files) = (desk.read("example.org.key"), desk.files());
    let again = desk.fails(2, "signet new-org example.org --key new.key --kem new.kem");
    assert!(
        again.contains("example.org.signet exists already; --force replaces it"),
        "{again}"
    );
    assert_eq!(desk.files(), files);
    desk.done("signet new-org example.org --force");
    assert_ne!(desk.read("example.org.key"), key);
    assert_eq!(desk.mode("example.org.key"), 0o600);
    let nowhere = desk.fails(2, "signet new-org b.test --signet missing/b.signet");
    assert!(
        nowhere.contains("missing/b.signet cannot be written"),
        "{nowhere}"
    );
    assert_eq!(desk.files(), files);
}

#[test]
fn forms_are_prefixes_and_every_fingerprint_is_that_of_its_form() {
    let desk = Desk::with_alice();
    let all = desk.json(0, "signet fingerprint alice-example.org.signet")["fingerprints"].clone();
    for (form, gone) in [("crypto", &["full", "id"][..]), ("full", &["id"]), ("id", &[])] {
        let part = desk.done(&format!("signet split alice-example.org.signet --form {form}"));
        desk.write("part.signet", &part);
        let prints = desk.json(0, "signet fingerprint part.signet")["fingerprints"].clone();
        let single = desk.done(&format!("signet fingerprint part.signet --form {form}"));
        assert_eq!(json!(single.trim_end()), all[form]);
        assert_eq!(single.trim_end().len(), 86);
        for name in ["ssr", "crypto", "full", "id"] {
            match gone.contains(&name) {
                true => assert_eq!(prints[name], json!(null), "{form} {name}"),
                false => assert_eq!(prints[name], all[name], "{form} {name}"),
            }
        }
        let verified = desk.json(0, "signet verify part.signet --org example.org.signet");
        assert_eq!(verified["verified"], form);
    }
    desk.done("signet split alice-example.org.signet --form crypto --out crypto.signet");
    let missing = desk.json(1, "signet split crypto.signet --form full")["refused"].clone();
    assert_eq!(
        (&missing["variant"], &missing["field"]),
        (&json!("signet.missing"), &json!(253))
    );
    let missing = desk.fails(1, "signet fingerprint alice-example.org.ssr --form crypto");
    assert!(missing.contains("signet.missing"), "{missing}");
}

#[test]
fn standard_input_and_output_serve_in_the_place_of_files() {
    let desk = Desk::with_alice();
    let part = desk
        .dimed("signet split - --form full")
        .write_stdin(desk.read("alice-example.org.signet"))
        .assert()
        .code(0);
    let part = part.get_output().stdout.clone();
    let verified = desk
        .dimed("signet verify - --org example.org.signet --json")
        .write_stdin(part)
        .assert()
        .code(0);
    let verified: serde_json::Value = serde_json::from_slice(&verified.get_output().stdout).unwrap();
    assert_eq!(
        (&verified["verified"], &verified["file"]),
        (&json!("full"), &json!("-"))
    );
    let twice = desk.fails(2, "signet verify - --org -");
    assert!(
        twice.contains("standard input (-) is named more than once"),
        "{twice}"
    );
    desk.done("signet new-org b.test --signet - --key b.key --kem b.kem");
    assert!(!desk.path("b.test.signet").exists());
}

#[test]
fn nothing_vouches_for_a_signet_without_its_companions() {
    let desk = Desk::with_alice();
    let organization = desk.json(1, "signet verify example.org.signet")["refused"].clone();
    assert_eq!(organization["variant"], "signet.no_primary_key");
    let other = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg";
    let organization = desk.json(1, &format!("signet verify example.org.signet --pok {other}"));
    let organization = &organization["refused"];
    assert_eq!(organization["variant"], "signet.unknown_primary_key");
    assert_eq!(
        (&organization["field"], &organization["offset"]),
        (&json!(1), &json!(5))
    );
    let user = format!("signet verify alice-example.org.signet --org example.org.signet --pok {other}");
    let refused = desk.json(1, &user)["refused"].clone();
    assert_eq!(refused["variant"], "signet.unknown_primary_key");
    assert_eq!(refused["file"], "example.org.signet");
    let alone = desk.json(1, "signet verify alice-example.org.signet");
    assert_eq!(alone["result"], "not_valid");
    assert_eq!(alone["refused"]["variant"], "signet.no_organization");
    assert_eq!(alone["type"], "user_signet");
    let named = desk.json(
        1,
        "signet verify alice-example.org.signet --org example.org.signet --name bob@example.org",
    );
    assert_eq!(named["refused"]["variant"], "signet.wrong_name");
    assert_eq!(
        desk.json(0, "signet verify alice-example.org.ssr")["verified"],
        "ssr"
    );
}

#[test]
fn a_wish_that_no_field_can_hold_is_a_usage_error_and_writes_nothing() {
    let desk = Desk::new();
    for wish in [
        "Nmae=x",
        "Contact-Abuse=nobody",
        "Photo=x",
        "Name",
        "Undefined-Field:dmime2=x",
    ] {
        desk.fails(2, &format!("signet new-org example.org --set {wish}"));
    }
    desk.fails(2, "signet new-org example.org --key-set-days 401");
    desk.fails(2, "signet new-org not_a_domain!");
    desk.fails(2, "signet verify missing.signet");
    desk.fails(2, "signet verify x --pok AAAA");
    assert_eq!(desk.files(), [] as [&str; 0]);
    desk.write("photo.png", b"\x89PNG\r\n\x1a\nrest");
    desk.command(&[
        "signet",
        "new-org",
        "example.org",
        "--set",
        "Name=Zo\u{eb} \u{202e}x",
        "--set",
        "Phone-Number=1",
        "--set",
        "Phone-Number=2",
        "--set-file",
        "Photo=photo.png",
        "--set",
        "Undefined-Field:Color=blue",
        "--no-key-set",
    ])
    .assert()
    .code(0);
    assert!(!desk.path("example.org.kem").exists());
    let text = desk.done("signet show example.org.signet");
    for line in [
        "Name: Zo\u{eb} \\u{202e}x\n",
        "Phone-Number: 1\n",
        "Phone-Number: 2\n",
        "Undefined-Field Color: blue\n",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn an_organization_gets_a_new_key_set_and_everything_it_has_signed_stays_valid() {
    let desk = Desk::with_alice();
    let pok = pok(&desk);
    let renewed = desk.json(
        0,
        "signet renew example.org.signet --org-key example.org.key --set Name=Example",
    );
    assert_eq!(renewed["signing_key"], json!(pok));
    let (before, after) = (
        desk.json(0, "signet show example.org.signet"),
        desk.json(0, "signet show example.org-renewed.signet"),
    );
    assert_eq!(before["fingerprints"]["crypto"], after["fingerprints"]["crypto"]);
    assert_ne!(before["fingerprints"]["full"], after["fingerprints"]["full"]);
    assert_eq!(desk.mode("example.org-renewed.kem"), 0o600);
    let kem = desk.json(0, "key show example.org-renewed.kem --public");
    assert_ne!(kem, desk.json(0, "key show example.org.kem --public"));
    for signet in ["example.org-renewed.signet", "example.org.signet"] {
        let verified = desk.json(0, &format!("signet verify {signet} --pok {pok}"));
        assert_eq!(
            (&verified["result"], &verified["verified"]),
            (&json!("valid"), &json!("id"))
        );
    }
    let alice = "signet verify alice-example.org.signet --name alice@example.org --org";
    let of_alice = desk.json(0, &format!("{alice} example.org-renewed.signet"));
    assert_eq!(of_alice["result"], "valid");
    desk.fails(2, "signet renew example.org.signet --org-key example.org.key");

    // More secondary keys change what is signed as keys, and what the primary key has signed stays valid, too.
    desk.done(
        "signet renew example.org-renewed.signet --org-key example.org.key --sok signets --no-key-set --signet more.signet",
    );
    assert_eq!(desk.mode("example.org-renewed.sok1.key"), 0o600);
    let more = desk.json(0, "signet show more.signet");
    assert_ne!(more["fingerprints"]["crypto"], after["fingerprints"]["crypto"]);
    let fields = more["fields"].as_array().unwrap();
    let ids: Vec<_> = fields.iter().map(|field| field["id"].as_u64().unwrap()).collect();
    assert!(ids.contains(&2) && !ids.contains(&251), "{ids:?}");
    assert_eq!(desk.json(0, &format!("{alice} more.signet"))["result"], "valid");
}

#[test]
fn a_signet_is_renewed_with_its_own_primary_key_alone() {
    let desk = Desk::with_alice();
    desk.done("signet new-org example.net --sok signets");
    for (arguments, variant) in [
        (
            "example.org.signet --org-key example.net.key",
            "signet.not_a_signer",
        ),
        (
            "example.net.signet --org-key example.net.sok1.key",
            "signet.not_a_signer",
        ),
        (
            "alice-example.org.signet --org-key example.org.key",
            "signet.kind",
        ),
        ("example.org.signet --org-key alice-example.org.key", "key.magic"),
    ] {
        let refused = desk.json(1, &format!("signet renew {arguments} --signet new.signet"));
        assert_eq!(refused["refused"]["variant"], variant, "{arguments}");
    }
    desk.done("signet split example.org.signet --form crypto --out short.signet");
    let short = "signet renew short.signet --org-key example.org.key --signet new.signet";
    assert!(desk.fails(2, short).contains("--domain"));
    let refused = desk.json(1, &format!("{short} --domain example.org"));
    assert_eq!(refused["refused"]["variant"], "signet.missing");
    assert!(!desk.path("new.signet").exists());
    // Without identifier it stays without.
    desk.done("signet split example.org.signet --form full --out full.signet");
    desk.done("signet renew full.signet --org-key example.org.key --domain example.org --signet new.signet");
    assert_eq!(desk.json(0, "signet show new.signet")["state"], "full");
}
