//! `dimed message` as a process: the whole walk of a message, damage, and who may read what.

use serde_json::Value;

use super::support::tool::Desk;

const LETTER: &[u8] = b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nTo: Bob <bob@example.net>\r\n\
    From: Alice <alice@example.org>\r\nSubject: The plan\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n\
    --b\r\n\r\nMeet at noon.\r\n--b\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\0\xff\n\r\n--b--\r\nafter";

const SIGNETS: &str = "--author-signet alice-example.org.signet --origin-signet example.org.signet \
    --destination-signet example.net.signet --recipient-signet bob-example.net.signet";
const ORIGIN: &str = "--key example.org.key --key example.org.kem --origin-signet example.org.signet \
    --author-signet alice-example.org.signet --destination-signet example.net.signet";
const DESTINATION: &str = "--key example.net.key --key example.net.kem --origin-signet example.org.signet \
    --recipient-signet bob-example.net.signet --destination-signet example.net.signet";

/// Both organizations, Alice, Bob and a letter; key sets unless `keyless`.
fn desk(keyless: bool) -> Desk {
    let desk = Desk::new();
    let no_set = if keyless { "--no-key-set" } else { "" };
    for (domain, user) in [("example.org", "alice"), ("example.net", "bob")] {
        desk.done(&format!("signet new-org {domain} {no_set}"));
        desk.done(&format!("signet new-request {user}@{domain} {no_set}"));
        let set = match keyless {
            true => String::new(),
            false => format!("--key-set {user}-{domain}.keyset"),
        };
        desk.done(&format!(
            "signet sign {user}-{domain}.ssr --org-key {domain}.key --org-signet {domain}.signet {set} \
             --address {user}@{domain} --out {user}-{domain}.signet"
        ));
    }
    desk.write("letter.eml", LETTER);
    desk
}

fn user_keys(name: &str, keyless: bool) -> String {
    match keyless {
        true => format!("--key {name}.key"),
        false => format!("--key {name}.key --key {name}.kem"),
    }
}

fn seal(desk: &Desk, options: &str) -> Value {
    desk.json(
        0,
        &format!(
            "message seal {options} --from alice@example.org --to bob@example.net \
             --author-key alice-example.org.key {SIGNETS} letter.eml --out sealed --force"
        ),
    )
}

/// From the mail to the signed message, and back for both readers.
fn walk(desk: &Desk, options: &str, keyless: bool) -> Value {
    let sealed = seal(desk, options);
    let (origin, destination) = match keyless {
        true => (
            ORIGIN.replace("--key example.org.kem ", ""),
            DESTINATION.replace("--key example.net.kem ", ""),
        ),
        false => (ORIGIN.to_owned(), DESTINATION.to_owned()),
    };
    desk.done(&format!("message verify --as origin {origin} sealed"));
    desk.done(&format!(
        "message origin-sign {origin} sealed --out signed --force"
    ));
    let arrived = desk.json(
        0,
        &format!("message verify --as destination {destination} signed"),
    );
    assert_eq!(arrived["envelope"]["origin"], "example.org");
    assert_eq!(arrived["envelope"]["recipient"], "bob@example.net");
    assert_eq!(arrived["envelope"]["author"], Value::Null);
    let bob = user_keys("bob-example.net", keyless);
    let opened = desk
        .dimed(&format!("message open --as recipient {bob} {SIGNETS} signed"))
        .assert();
    assert_eq!(opened.code(0).get_output().stdout, LETTER, "{options}");
    sealed
}

#[test]
fn a_message_walks_from_author_to_recipient_in_format_2() {
    let desk = desk(false);
    for (options, suite, copy) in [
        ("", "xwing", true),
        ("--suite x25519", "x25519", true),
        ("--suite xwing --no-author-copy", "xwing", false),
    ] {
        let sealed = walk(&desk, options, false);
        assert_eq!((&sealed["format"], &sealed["suite"]), (&2.into(), &suite.into()));
        let alice = user_keys("alice-example.org", false);
        let open = format!("message open --as author {alice} {SIGNETS} signed");
        match copy {
            true => assert_eq!(desk.dimed(&open).assert().code(0).get_output().stdout, LETTER),
            false => assert!(desk.fails(1, &open).contains("rule K1"), "{open}"),
        }
    }
}

#[test]
fn a_message_walks_from_author_to_recipient_in_format_1() {
    let desk = desk(true);
    let sealed = walk(&desk, "", true);
    assert_eq!(
        (&sealed["format"], &sealed["suite"]),
        (&1.into(), &"secp256k1".into())
    );
    let open =
        format!("message open --as author --key alice-example.org.key {SIGNETS} signed --out sent.eml");
    assert_eq!(desk.done(&open), "valid; written to sent.eml\n");
    assert_eq!(std::fs::read(desk.path("sent.eml")).unwrap(), LETTER);
    assert_eq!(desk.mode("sent.eml"), 0o600);
    assert!(desk.fails(2, &open).contains("exists already"));
    let held = desk.json(
        1,
        &format!(
            "message seal --format 2 --from alice@example.org --to bob@example.net \
         --author-key alice-example.org.key {SIGNETS} letter.eml --out other"
        ),
    );
    assert_eq!(
        (&held["refused"]["rule"], &held["refused"]["variant"]),
        (&"Q3".into(), &"selection.hold".into())
    );
    let all_keys = self::desk(false);
    let warned = all_keys.dimed(&format!(
        "message seal --format 1 --from alice@example.org --to bob@example.net \
         --author-key alice-example.org.key {SIGNETS} letter.eml --out sealed"
    ));
    let warned = { warned }.assert().code(0);
    let warning = String::from_utf8(warned.get_output().stderr.clone()).unwrap();
    assert!(warning.contains("D/MIME 1 was demanded"), "{warning}");
}

/// The parser of D/MIME 1 knows the octet; what does not open, or does not count, has its rule, chunk and line.
#[test]
fn a_refusal_of_format_1_says_where() {
    let desk = desk(true);
    walk(&desk, "", true);
    let good = std::fs::read(desk.path("signed")).unwrap();
    let bob = user_keys("bob-example.net", true);
    let refused = |octets: &[u8], signets: &str| {
        desk.write("bad", octets);
        let said = desk.json(1, &format!("message open --as recipient {bob} {signets} bad"));
        let refused = &said["refused"];
        let number = |name: &str| refused[name].as_u64();
        (
            refused["variant"].as_str().unwrap().to_owned(),
            number("offset"),
            number("chunk"),
            number("chunk_type"),
            refused["field_name"].as_str().map(str::to_owned),
            refused["rule"].as_str().map(str::to_owned),
        )
    };
    let changed = |place: usize| {
        let mut octets = good.clone();
        octets[place] ^= 0x40;
        octets
    };
    let of = |variant: &str, offset, chunk, kind| (variant.to_owned(), offset, chunk, kind, None, None);
    assert_eq!(
        refused(&changed(5), SIGNETS),
        of("dmime1.size", Some(2), None, None)
    );
    assert_eq!(
        refused(&changed(43), SIGNETS),
        of("dmime1.unknown_type", Some(43), Some(1), Some(68))
    );
    assert_eq!(
        refused(&changed(10), SIGNETS),
        of("dmime1.ephemeral_key", Some(10), Some(0), Some(2))
    );
    assert_eq!(
        refused(&changed(1100), SIGNETS),
        (
            "dmime1.refused".to_owned(),
            Some(1007),
            Some(2),
            Some(5),
            Some("Recipient".to_owned()),
            Some("V14".to_owned())
        )
    );
    // The last octets are keyslots, of which the recipient's stands last.
    let last = refused(&changed(good.len() - 1), SIGNETS);
    assert_eq!((last.3, last.5.as_deref()), (Some(255), Some("V15")));
    let mallory = SIGNETS.replace(
        "--author-signet alice-example.org",
        "--author-signet bob-example.net",
    );
    assert_eq!(
        refused(&good, &mallory),
        (
            "dmime1.refused".to_owned(),
            Some(43),
            Some(1),
            Some(4),
            Some("Author-Signet".to_owned()),
            Some("V16".to_owned())
        )
    );
}

#[test]
fn keys_that_break_a_rule_hold_a_message() {
    let desk = desk(false);
    desk.done(
        "signet new-request carol@example.net --key-set-days 1 --key carol.key --request carol.ssr --key-set carol.keyset",
    );
    // A signet without a full signature may have lost its key set on the way.
    desk.done(
        "signet sign carol.ssr --org-key example.net.key --org-signet example.net.signet \
         --address carol@example.net --form crypto --out carol.signet",
    );
    let held = desk.json(
        1,
        "message seal --from alice@example.org --to carol@example.net --author-key alice-example.org.key \
         --author-signet alice-example.org.signet --origin-signet example.org.signet \
         --destination-signet example.net.signet --recipient-signet carol.signet letter.eml --out held",
    );
    assert_eq!(held["refused"]["rule"], "Q1");
    assert!(
        held["refused"]["message"].as_str().unwrap().contains("recipient"),
        "{held}"
    );
    assert!(!desk.files().contains(&"held".to_owned()));
}

#[test]
fn nothing_of_a_damaged_message_is_ever_written() {
    for keyless in [false, true] {
        let desk = desk(keyless);
        walk(&desk, "", keyless);
        let good = std::fs::read(desk.path("signed")).unwrap();
        let bob = user_keys("bob-example.net", keyless);
        let open = format!("message open --as recipient {bob} {SIGNETS} bad");
        // The slots of others in the last chunk of format 1 are covered by nothing (dmime2.md 20).
        let covered = if keyless { good.len() - 324 } else { good.len() };
        for step in 0..40 {
            let mut bad = good.clone();
            bad[step * (covered - 1) / 39] ^= 1;
            desk.write("bad", &bad);
            desk.fails(1, &open);
        }
        for size in [0, 1, 2, 7, 8, 200, good.len() / 2, good.len() - 1] {
            desk.write("bad", &good[..size]);
            desk.fails(1, &open);
            desk.fails(1, &format!("{open} --out opened.eml"));
        }
        desk.write("bad", [&good[..], b"x"].concat());
        desk.fails(1, &open);
        assert!(!desk.files().contains(&"opened.eml".to_owned()));
    }
}

#[test]
fn a_message_comes_out_of_the_mail_around_it_and_through_pipes() {
    let desk = desk(false);
    walk(&desk, "", false);
    let signed = std::fs::read(desk.path("signed")).unwrap();
    let lines = dimed::base::encoding::base64(&signed);
    let lines: Vec<_> = lines
        .as_bytes()
        .chunks(76)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let mail = format!(
        "From: <MAILER-DAEMON@mx.example.net>\r\nMIME-Version: 1.0\r\nContent-Type: application/vnd.dime\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        lines.join("\r\n")
    );
    desk.write("mail.eml", &mail);
    let bob = user_keys("bob-example.net", false);
    let opened = desk.json(
        0,
        &format!("message verify --as recipient {bob} {SIGNETS} mail.eml"),
    );
    assert_eq!(
        (&opened["wrapped"], &opened["from_header"]),
        (&true.into(), &"match".into())
    );
    let piped = desk
        .dimed(&format!("message open --as recipient {bob} {SIGNETS} -"))
        .write_stdin(mail)
        .assert();
    assert_eq!(piped.code(0).get_output().stdout, LETTER);
    let sealed = desk
        .dimed(&format!(
            "message seal --from alice@example.org --to bob@example.net --author-key alice-example.org.key {SIGNETS} -"
        ))
        .write_stdin(LETTER)
        .assert();
    let sealed = sealed.code(0).get_output().stdout.clone();
    let seen = desk
        .dimed("message inspect --json -")
        .write_stdin(sealed)
        .assert();
    let seen: Value = serde_json::from_slice(&seen.code(0).get_output().stdout).unwrap();
    assert_eq!(
        (&seen["signed_by_origin"], &seen["counts"]["attachment"]),
        (&false.into(), &1.into())
    );
}

#[test]
fn other_keys_and_signets_open_nothing() {
    let desk = desk(false);
    walk(&desk, "", false);
    desk.done("signet new-org example.com");
    let open = |keys: &str, signets: &str| {
        desk.json(1, &format!("message open --as recipient {keys} {signets} signed"))
    };
    let stranger = open("--key alice-example.org.kem", SIGNETS);
    assert_eq!(stranger["refused"]["rule"], "K1");
    let bob = user_keys("bob-example.net", false);
    let swapped = open(
        &bob,
        &SIGNETS.replace(
            "--author-signet alice-example.org",
            "--author-signet bob-example.net",
        ),
    );
    assert_eq!(swapped["refused"]["rule"], "E4");
    assert_eq!(swapped["because"]["file"], "bob-example.net.signet");
    let pok = "example.org=Kx2qEog6bT7Z88QNVkNBmprV/fCcUsCidAU7H3gGHGE";
    let unlisted = open(&bob, &format!("{SIGNETS} --pok {pok}"));
    assert_eq!(unlisted["because"]["variant"], "signet.unknown_primary_key");
    let renamed = open(&bob, &format!("{SIGNETS} --from mallory@example.org"));
    assert_eq!(renamed["refused"]["rule"], "E4");
    let account = open(&bob, &format!("{SIGNETS} --to carol@example.net"));
    assert_eq!(account["refused"]["rule"], "E3");
    desk.fails(
        2,
        &format!("message open --as recipient {bob} --recipient-signet bob-example.net.signet signed"),
    );
    desk.fails(2, &format!("message open --as recipient {bob} {SIGNETS} missing"));
    desk.fails(2, &format!("message open --as recipient --key - {SIGNETS} -"));
    let other = desk.json(1, &format!(
        "message seal --from alice@example.org --to bob@example.net --author-key bob-example.net.key {SIGNETS} letter.eml --out other"
    ));
    assert_eq!(other["refused"]["variant"], "keys.other");
}

#[test]
fn a_signet_without_a_name_counts_once_somebody_says_whose_it_is() {
    let desk = desk(false);
    desk.done("signet split alice-example.org.signet --form full --out full.signet");
    let full = SIGNETS.replace("alice-example.org.signet", "full.signet");
    desk.done(&format!(
        "message seal --from alice@example.org --to bob@example.net --author-key alice-example.org.key {full} letter.eml --out sealed"
    ));
    let origin = ORIGIN.replace("alice-example.org.signet", "full.signet");
    let message = desk.fails(2, &format!("message verify --as origin {origin} sealed"));
    assert!(
        message.contains("full.signet does not say whose signet it is; say so with --from"),
        "{message}"
    );
    desk.done(&format!(
        "message verify --as origin {origin} --from alice@example.org sealed"
    ));
    let other = desk.json(
        1,
        &format!("message verify --as origin {origin} --from mallory@example.org sealed"),
    );
    assert_eq!(other["refused"]["rule"], "E6");
}

#[test]
fn a_mail_that_cannot_be_mapped_is_mended_if_asked() {
    let desk = desk(false);
    desk.write(
        "letter.eml",
        b"From: alice@example.org\nSubject: caf\xe9\n\nbody\n",
    );
    let seal = format!(
        "message seal --from alice@example.org --to bob@example.net --author-key alice-example.org.key {SIGNETS} letter.eml --out sealed"
    );
    let refused = desk.json(1, &seal);
    assert_eq!(
        (&refused["refused"]["variant"], &refused["refused"]["rule"]),
        (&"mime.header".into(), &"C1".into())
    );
    assert_eq!(
        (&refused["refused"]["file"], &refused["refused"]["line"]),
        (&"letter.eml".into(), &1.into())
    );
    let told = desk.fails(1, &seal);
    assert!(
        told.contains("line 1 of the header is malformed; --repair mends headers"),
        "{told}"
    );
    desk.done(&format!("{seal} --repair"));
    desk.done(&format!("message origin-sign {ORIGIN} sealed --out signed"));
    let bob = user_keys("bob-example.net", false);
    let opened = desk.done(&format!("message open --as recipient {bob} {SIGNETS} signed"));
    assert!(
        opened.contains("Subject: caf\u{e9}\r\n") && opened.ends_with("\r\n\r\nbody\n"),
        "{opened}"
    );
}

/// A header longer than what is looked at as a whole would be mended in its front alone, and the rest of a Bcc field travel.
#[test]
fn a_header_too_long_to_be_mended_is_refused_whole() {
    let desk = desk(false);
    let front = "From: alice@example.org\r\nTo: bob@example.net\r\nBcc: x";
    let line = "\r\n victim@secret.example,";
    let lines = (1 << 20) / line.len();
    // A continuation line starts exactly behind the first mebibyte.
    let fill = "x".repeat((1 << 20) - front.len() - (lines - 10) * line.len() - 2);
    let mail = format!(
        "{front}{fill}{}\r\nSubject: s\r\n\r\nbody\r\n",
        line.repeat(lines)
    );
    assert_eq!(mail.as_bytes()[1 << 20], b' ');
    desk.write("letter.eml", mail);
    let seal = format!(
        "message seal --repair --from alice@example.org --to bob@example.net --author-key alice-example.org.key {SIGNETS} letter.eml --out sealed"
    );
    let refused = desk.json(1, &seal);
    assert_eq!(refused["refused"]["variant"], "mime.header_too_large");
    assert!(!desk.path("sealed").exists());
}

#[test]
fn plaintext_replaces_no_device_and_a_full_disk_is_told() {
    let desk = desk(false);
    walk(&desk, "", false);
    let bob = user_keys("bob-example.net", false);
    let open = format!("message open --as recipient {bob} {SIGNETS} signed");
    for force in ["", "--force"] {
        let told = desk.fails(2, &format!("{open} --out /dev/full {force}"));
        assert!(
            told.contains("/dev/full is no file that can be replaced"),
            "{told}"
        );
    }
    for command in [
        open.clone(),
        format!("{open} --json"),
        open.replace("open", "verify"),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_dimed"))
            .current_dir(desk.0.path())
            .args(command.split_whitespace())
            .stdout(full)
            .status();
        assert_eq!(status.unwrap().code(), Some(75), "{command}");
    }
}

/// A pipe gives a signet once, also where it is asked for more than once.
#[test]
fn the_own_signet_may_come_from_a_pipe() {
    let desk = desk(false);
    walk(&desk, "", false);
    let bob = user_keys("bob-example.net", false);
    let signets = SIGNETS.replace("bob-example.net.signet", "-");
    let origin = ORIGIN.replace("--origin-signet example.org.signet", "--origin-signet -");
    for (command, signet) in [
        (
            format!("message open --as recipient {bob} {signets} signed"),
            "bob-example.net.signet",
        ),
        (
            format!("message origin-sign {origin} sealed --out again"),
            "example.org.signet",
        ),
    ] {
        desk.dimed(&command)
            .write_stdin(desk.read(signet))
            .assert()
            .code(0);
    }
}
