//! The help of the tools: it is there, it fits a terminal, and every example in it does what it says.

use std::fs;
use std::path::Path;

use super::support::tool::Desk;

const COMMANDS: &[&str] = &[
    "signet new-org",
    "signet new-request",
    "signet sign",
    "signet show",
    "signet verify",
    "signet split",
    "signet fingerprint",
    "signet import",
    "key show",
    "key wrap",
    "key unwrap",
    "message seal",
    "message origin-sign",
    "message verify",
    "message open",
    "message inspect",
];

/// PRIME's published sandbox key and signet (`prime.md` §5.1).
const MAGMA_KEY: &str = "07a00000440120b6b730a4b6474f6daf2d9702d3822f4d24c9ee0db634c9857779cb80131db0300320\
    828afadc48deead84ed90d5855223d845592bda42631658f81daeb06b325f595";
const MAGMA_SIGNET: &str = "06f00000860120878e24038017cb68059e517ea2cb9c1b6b7848e05ebbc080dd65b1a3a44b7c800321\
    02ff5d28d73031b7f56b6558d42586080e0eabe4cf8a6b485c211bb30ea254e211045b1fc4da7098a2f5563cf94eeed624cc6e0cf859c6\
    5eea98f8e2393c328acb38c220b57eb29fc8dd30aeb078f4a74fb24ec6b5a1d94add67c9b34f76a0fed00c";

/// That key under the realm key 00 01 … 3f, by another implementation of AES-256-GCM (`signet.md` §17.3).
const MAGMA_ENCRYPTED: &str = "079b00000070aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2ed713714a929b053993ee814a3d2cdc\
    b96266de16aec99b383ab76b81a98e414b459af1c6ec38a62b7da23bd9bd903884b412246c133dd7f7c99cabc280baac3a959619704cba\
    15840e6feea191695d63f912ba1bf87da95189f3d37b1266e9";
/// The same key as a user's.
const MAGMA_ENCRYPTED_USER: &str = "07b800000070aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa59950e08d8cf00d293e24389aee1e53c\
    b96266de16aec99b383ab76b81a98e414b459af1c6ec38a62b7da23bd9bd903884b412246c133cd7f7c99cabc280baac3a959619704cba\
    15840e6feea191695d63f912ba1bf87da95189f3d37b1266e9";

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// Everything that the examples take for given.
fn stocked() -> Desk {
    let desk = Desk::with_alice();
    desk.write("secret.txt", "correct horse battery staple\n");
    desk.write("master.key", dimed::base::encoding::base64(&[7; 32]));
    desk.write("magma.key", unhex(MAGMA_KEY));
    desk.write("magma.signet", unhex(MAGMA_SIGNET));
    desk.done(
        "key wrap alice-example.org.key --passphrase-file secret.txt --memory-kib 64 --out alice.wrapped",
    );
    desk.done("key wrap example.org.key --master-key-file master.key --out example.org.wrapped");
    stock_messages(&desk);
    desk.done(
        "signet new-request alice@example.org --rotate alice-example.org.key --key next.key --kem next.kem \
         --key-set next.keyset --request next.ssr",
    );
    desk.done(
        "signet sign next.ssr --org-key example.org.key --org-signet example.org.signet \
         --previous alice-example.org.signet --out next.signet",
    );
    desk
}

/// A correspondent, a letter, and what becomes of it.
fn stock_messages(desk: &Desk) {
    desk.write(
        "letter.eml",
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nFrom: alice@example.org\r\n\r\nHello Bob\r\n",
    );
    desk.done("signet new-org example.net");
    desk.done("signet new-request bob@example.net");
    desk.done(
        "signet sign bob-example.net.ssr --org-key example.net.key --org-signet example.net.signet \
         --address bob@example.net --key-set bob-example.net.keyset --out bob-example.net.signet",
    );
    desk.done(
        "message seal --from alice@example.org --to bob@example.net --author-key alice-example.org.key \
         --author-signet alice-example.org.signet --origin-signet example.org.signet \
         --destination-signet example.net.signet --recipient-signet bob-example.net.signet letter.eml \
         --out sealed.dmime",
    );
    desk.done(
        "message origin-sign --key example.org.key --key example.org.kem --origin-signet example.org.signet \
         --author-signet alice-example.org.signet --destination-signet example.net.signet sealed.dmime \
         --out letter.dmime",
    );
}

/// Command lines below `Examples:`, continued ones joined.
pub fn examples(help: &str) -> Vec<String> {
    let (_, rest) = help.split_once("Examples:\n").unwrap();
    let (block, _) = rest.split_once("\nUsage:").unwrap();
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn every_example_in_the_help_works() {
    let stock = stocked();
    let shown = stock.json(0, "key show example.org.key --public");
    let pok = shown["keys"][0]["public"]["ed25519"].as_str().unwrap().to_owned();
    let binary = Path::new(env!("CARGO_BIN_EXE_dimed"))
        .parent()
        .unwrap()
        .to_owned();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    for command in COMMANDS {
        let help = stock.done(&format!("{command} --help"));
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{command}");
        for example in examples {
            assert!(example.contains(&format!("dimed {command}")), "{example}");
            let desk = Desk::new();
            // Making keys starts in an empty folder, but for a rotation.
            if !example.contains(" new-") || example.contains("--rotate") {
                copy(stock.0.path(), desk.0.path());
            }
            let done = std::process::Command::new("sh")
                .args(["-e", "-c", &example])
                .current_dir(desk.0.path())
                .env("PATH", &path)
                .env("POK", &pok)
                .env("DIMED_CONFIG", "/nonexistent/dimed.toml")
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{example}: {errors}");
            assert!(!done.stdout.is_empty(), "{example}");
        }
    }
}

#[test]
fn help_says_how_commands_end_and_fits_a_terminal() {
    let desk = Desk::new();
    for family in ["signet", "key", "message"] {
        let help = desk.done(&format!("{family} --help"));
        assert!(help.contains("Exit codes: 0 done"), "{help}");
        for command in COMMANDS.iter().filter_map(|command| command.strip_prefix(family)) {
            assert!(help.contains(command.trim()), "{family}{command}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 104), "{help}");
    }
    for command in COMMANDS {
        let help = desk.done(&format!("{command} --help"));
        let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 104).collect();
        assert_eq!(long, [] as [&str; 0], "{command}");
        let short = desk.done(&format!("{command} -h"));
        assert!(short.lines().count() < help.lines().count(), "{command}");
    }
    let fields = desk.done("signet sign --help");
    for name in [
        "Contact-Abuse (65535)",
        "Phone-Number* (255)",
        "Photo (16777215)",
        "Alma-Mater (255)",
    ] {
        assert!(fields.contains(name), "{name}");
    }
}

#[test]
fn magma_s_keys_and_signets_are_imported() {
    let desk = Desk::new();
    desk.write("magma.key", unhex(MAGMA_KEY));
    desk.write("magma.signet", unhex(MAGMA_SIGNET));
    let described = desk.json(0, "signet import magma.signet");
    assert_eq!(described["dialect"], "prime");
    assert_eq!(
        described["signing_key"],
        "h44kA4AXy2gFnlF+osucG2t4SOBeu8CA3WWxo6RLfIA"
    );
    desk.done("signet import magma.key --out new.key");
    assert_eq!(desk.mode("new.key"), 0o600);
    desk.done("signet import magma.signet --keys new.key --domain example.org --out new.signet");
    let pok = described["signing_key"].as_str().unwrap();
    let verified = desk.json(
        0,
        &format!("signet verify new.signet --pok {pok} --name example.org"),
    );
    assert_eq!(verified["result"], "valid");
    desk.done("signet new-org other.test");
    let refused = desk.json(1, "signet import magma.signet --keys other.test.key");
    assert_eq!(refused["refused"]["variant"], "import.other_keys");
    let ours = desk.json(1, "signet import other.test.signet");
    assert_eq!(ours["refused"]["variant"], "import.libdime");
    let magma = desk.json(1, "signet show magma.signet");
    assert_eq!(magma["refused"]["variant"], "signet.key");
}

#[test]
fn magma_s_encrypted_keys_are_imported_with_their_realm_key() {
    let desk = Desk::new();
    let realm: Vec<u8> = (0..64).collect();
    desk.write("realm.key", &realm);
    desk.write("magma.key", unhex(MAGMA_KEY));
    desk.done("signet import magma.key --out plain.key");
    desk.write("magma.encrypted", unhex(MAGMA_ENCRYPTED));
    let done = "signet import magma.encrypted --realm-key realm.key --out new.key";
    assert_eq!(desk.done(done), "organizational key in new.key\n");
    assert_eq!(
        (desk.read("new.key"), desk.mode("new.key")),
        (desk.read("plain.key"), 0o600)
    );
    let armored = format!(
        "-----BEGIN ENCRYPTED ORGANIZATIONAL KEY-----\n{}\n={}\n-----END ENCRYPTED ORGANIZATIONAL KEY-----\n",
        dimed::base::encoding::base64(&unhex(MAGMA_ENCRYPTED)),
        checksum(&unhex(MAGMA_ENCRYPTED)),
    );
    desk.write("armored", armored);
    let text = desk.done("signet import armored --realm-key realm.key");
    assert_eq!(text, desk.read("plain.key"));
    desk.write("user.encrypted", unhex(MAGMA_ENCRYPTED_USER));
    let user = desk.json(
        0,
        "signet import user.encrypted --realm-key realm.key --out user.key",
    );
    assert_eq!(user["type"], "user key");
    assert!(desk.read("user.key").starts_with("-----BEGIN USER KEY-----\n"));
    refuses_encrypted_keys_without_the_right_realm_key(&desk, realm);
}

fn refuses_encrypted_keys_without_the_right_realm_key(desk: &Desk, mut realm: Vec<u8>) {
    let none = desk.fails(2, "signet import magma.encrypted --out other.key");
    assert!(none.contains("needs --realm-key"), "{none}");
    let short = desk.fails(
        2,
        "signet import magma.encrypted --realm-key magma.key --out other.key",
    );
    assert!(short.contains("more than 64 octets"), "{short}");
    realm[40] ^= 1;
    desk.write("other.realm", realm);
    let refused = desk.json(
        1,
        "signet import magma.encrypted --realm-key other.realm --out other.key",
    );
    assert_eq!(refused["refused"]["variant"], "import.realm_key");
    let mut damaged = unhex(MAGMA_ENCRYPTED);
    damaged.truncate(100);
    desk.write("damaged", damaged);
    let refused = desk.json(1, "signet import damaged --realm-key realm.key --out other.key");
    assert_eq!(
        (&refused["refused"]["variant"], &refused["refused"]["offset"]),
        (&"import.length".into(), &2.into())
    );
    assert!(!desk.files().contains(&"other.key".to_owned()));
}

/// CRC-24 in base64, as armor ends with it (`signet.md` §10.2).
fn checksum(octets: &[u8]) -> String {
    let crc = octets.iter().fold(0xb7_04ce_u32, |crc, octet| {
        (0..8).fold(crc ^ (u32::from(*octet) << 16), |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x100_0000 == 0 {
                shifted
            } else {
                shifted ^ 0x186_4cfb
            }
        })
    });
    dimed::base::encoding::base64(&crc.to_be_bytes()[1..])
}
