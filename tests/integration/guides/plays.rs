//! Each guide, played from its first command to its last.

use std::num::NonZeroU64;
use std::path::PathBuf;

use dimed::config::Config;

use super::elsewhere::Daemon;
use super::stage::Stage;
use super::support::organization::Organization;
use super::text::{self, Step, guides};

/// Guides that a test below plays.
const PLAYED: [&str; 6] = [
    "config/dns.md",
    "config/keys.md",
    "config/trust.md",
    "deploy/from-postfix.md",
    "deploy/threat-model.md",
    "deploy/troubleshooting.md",
];

/// Guides of which `recovery` plays each section by itself.
const DRILLED: [&str; 2] = ["deploy/recovery.md", "deploy/upgrade.md"];

const LETTER: &str =
    "From: alice@hermail.test\r\nTo: bob@hismail.test\r\nSubject: The plan\r\n\r\nMeet at noon.\r\n";

/// A mail as a mail program saves it.
const DRAFT: &str =
    "From: Pat <pat@hermail.test>\nTo: Bob <bob@hismail.test>\nSubject: The plan\n\nMeet at noon.\n";

#[test]
fn every_guide_is_played() {
    let played: Vec<PathBuf> = PLAYED.iter().chain(&DRILLED).map(PathBuf::from).collect();
    let mut others = guides();
    others.retain(|guide| !played.contains(guide));
    assert_eq!(others, [""; 0].map(PathBuf::from));
}

#[test]
fn every_section_with_commands_is_a_drill() {
    let folder = text::root().join("tests/integration/recovery");
    let mut drills = String::new();
    for file in std::fs::read_dir(folder).unwrap() {
        drills += &std::fs::read_to_string(file.unwrap().path()).unwrap();
    }
    for guide in DRILLED {
        for section in text::read(guide).split("\n## ").skip(1) {
            let heading = section.lines().next().unwrap();
            let is_drilled = drills.contains(&format!("\"{heading}\""));
            assert!(
                is_drilled || text::steps(section).is_empty(),
                "{guide}: {heading}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dns() {
    let mut stage = Stage::new().await;
    stage.serve(Daemon::Start).await;
    stage.play("config/dns.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys() {
    let mut stage = Stage::new().await;
    stage.serve(Daemon::Start).await;
    for line in [
        "dimed dkim add example.org",
        "dimed signet new-request pat@example.org",
        "dimed account add pat@example.org --trust paranoid --request pat-example.org.ssr",
        "dimed key set import pat@example.org pat-example.org.keyset",
    ] {
        stage.run(line).await;
    }
    stage.play("config/keys.md").await;
    // The signet that was fetched at home is one of those published, and the database opens under the new master key.
    let shown = stage.desk.json(0, "signet show new.signet");
    let published = stage.ours().history("pat@hermail.test").await;
    let is_shown = |full: String| shown["fingerprints"]["full"] == full;
    assert!(published.iter().any(|one| is_shown(one.signet.full.to_string())));
    assert!(stage.ours().folder.join("master.key.old").exists());
    stage.ours().cli(&["store", "verify"]).await;
}

/// Bob writes to Pat, whose mail program saves what came.
async fn save_mail(stage: &Stage) {
    let letter = LETTER
        .replace("bob@hismail", "pat@hermail")
        .replace("alice@hermail", "bob@hismail");
    stage.theirs.submit("bob", &["pat@hermail.test"], &letter).await;
    let mail = stage.ours().maildir("pat").only().await;
    assert!(mail.contains("Subject: Sealed message"), "{mail}");
    stage.desk.write("mail.eml", mail);
}

#[tokio::test(flavor = "multi_thread")]
async fn trust() {
    let mut stage = Stage::new().await;
    stage.serve(Daemon::Start).await;
    let there = stage.theirs.start().await;
    for line in [
        "dimed signet new-request carol@example.org",
        "dimed account add carol@example.org --trust cautious --request carol-example.org.ssr",
    ] {
        stage.run(line).await;
    }
    stage.desk.write("letter.eml", DRAFT);
    for step in text::steps(&text::read("config/trust.md")) {
        if matches!(&step, Step::Run(line) if line.contains(" mail.eml ")) {
            // Whoever has not fetched the author's signet yet is told whose it is.
            match stage.desk.path("bob.signet").exists() {
                true => stage.may_end("dimed message open ", &[0]),
                false => {
                    save_mail(&stage).await;
                    stage.may_end("dimed message open ", &[2]);
                }
            }
        }
        stage.take(&step).await;
    }
    assert!(
        stage
            .desk
            .read("opened.eml")
            .ends_with("\r\n\r\nMeet at noon.\r\n")
    );
    let answer = stage.theirs.maildir("bob").only().await;
    assert!(
        answer.contains("DIME-Verification: ") && answer.contains("author=pat@hermail.test"),
        "{answer}"
    );
    assert!(stage.desk.read("carol.wrapped").contains("WRAPPED"));
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postfix() {
    let mut stage = Stage::bare("mx2").await;
    let there = stage.theirs.start().await;
    stage
        .desk
        .write("users", "bob@hermail.test:{SHA256}c2VjcmV0::::::\n");
    stage
        .desk
        .write("virtual", "sales@hermail.test bob@hermail.test\n");
    // DNS lacks what has not been published yet, and nobody has the names of addresses of loopback.
    stage.may_end("dimed doctor ", &[1, 75]);
    stage.play("deploy/from-postfix.md").await;
    let mailbox = stage.desk.path("data/mail/hermail.test/bob");
    let mail = super::support::maildir::Maildir(mailbox).only().await;
    assert!(mail.contains("Return-Path: <carol@hismail.test>"), "{mail}");
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn threat_model() {
    let mut stage = Stage::new().await;
    stage.serve(Daemon::Start).await;
    stage.play("deploy/threat-model.md").await;
    let holds = |name: &str, key: &[u8]| {
        let backup = std::fs::read(stage.desk.path(name)).unwrap();
        backup.windows(key.len()).any(|at| at == key)
    };
    // The master key is in the one and not in the other, as the guide says.
    let key = master_key(stage.ours());
    assert!(holds("everything.backup", &key));
    assert!(!holds("without-keys.backup", &key));
}

fn master_key(organization: &Organization) -> Vec<u8> {
    let text = std::fs::read_to_string(organization.folder.join("master.key")).unwrap();
    dimed::base::encoding::base64_decode(text.trim()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn troubleshooting() {
    let patient = |config: &mut Config| config.queue.retry_first_secs = NonZeroU64::new(3600).unwrap();
    let mut stage = Stage::with(|ours| ours.config(patient), |theirs| theirs.policy("mixed")).await;
    std::fs::write(stage.ours().folder.join("aliases"), "root: alice\n").unwrap();
    stage.serve(Daemon::Start).await;
    // Theirs was there once, and is away.
    let there = stage.theirs.start().await;
    stage.ours().submit("alice", &["bob@hismail.test"], LETTER).await;
    stage.ours().idle().await;
    there.stop().await;
    stage.ours().submit("alice", &["bob@hismail.test"], LETTER).await;
    stage.waits().await;
    // Nobody has the names of addresses of loopback.
    stage.may_end("dimed doctor ", &[75]);
    // The attempt that was asked for before may be under way.
    stage.may_end("dimed queue flush ", &[0, 1]);
    stage.play("deploy/troubleshooting.md").await;
    let listed = stage.ours().cli(&["queue", "list", "--status", "held"]).await;
    assert_eq!(listed, "There is no such mail in the queue.\n");
}
