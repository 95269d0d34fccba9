//! A running daemon as an endpoint: the dialogues that need neither its clock nor its owner.

use dimed::base::encoding::base64;
use tokio::runtime::Runtime;

use super::{Endpoint, Heard, Transcript, hold_all};
use crate::support::loopback::{DMTP, SMTP, SUBMISSION, SUBMISSIONS};
use crate::support::organization::{Organization, PASSWORD, Served};
use crate::support::talk::Talk;
use crate::support::world::World;

/// A session with the daemon, one step at a time.
struct Wire<'a> {
    runtime: &'a Runtime,
    talk: Talk,
}

impl<'a> Wire<'a> {
    /// Connects to the port that the dialogue is for.
    fn open(runtime: &'a Runtime, organization: &Organization, transcript: &Transcript) -> Self {
        let ip = organization.ip;
        let talk = runtime.block_on(async {
            match transcript.setting("port").unwrap_or("transfer") {
                "transfer" => Talk::open(ip, SMTP).await,
                "submission" => Talk::open(ip, SUBMISSION).await,
                "submissions" => Talk::open_tls(ip, SUBMISSIONS).await,
                "dmtp" => Talk::open_tls(ip, DMTP).await,
                other => panic!("unknown port {other}"),
            }
        });
        Self { runtime, talk }
    }
}

impl Endpoint for Wire<'_> {
    fn send(&mut self, octets: &[u8]) {
        self.runtime.block_on(self.talk.send(octets));
    }

    fn hear(&mut self) -> Heard {
        match self.runtime.block_on(self.talk.line()) {
            Some(line) => Heard::Line(line),
            None => Heard::Closed,
        }
    }

    fn rest(&mut self) -> Heard {
        self.end_of_input();
        self.hear()
    }

    fn start_tls(&mut self) {
        self.runtime.block_on(self.talk.start_tls());
    }

    fn end_of_input(&mut self) {
        self.runtime.block_on(self.talk.end());
    }

    fn event(&mut self) -> Option<Option<String>> {
        None
    }
}

/// hismail.test with the mailboxes that dialogues know.
async fn hismail(world: &World) -> (Organization, Served) {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "alice"])
        .build()
        .await;
    hismail
        .cli(&["alias", "add", "béla@hismail.test", "bob@hismail.test"])
        .await;
    let served = hismail.start().await;
    (hismail, served)
}

/// Holds all dialogues of a folder that a daemon can take part in.
fn hold_with_daemon(folder: &str) {
    let transcripts: Vec<_> = Transcript::all(folder, "server")
        .into_iter()
        .filter(|transcript| !transcript.is_for_machines_only())
        .collect();
    assert!(!transcripts.is_empty());
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let (hismail, served) = runtime.block_on(hismail(&world));
    hold_all(&transcripts, |transcript| {
        Wire::open(&runtime, &hismail, transcript)
    });
    runtime.block_on(served.stop());
}

#[test]
fn the_daemon_holds_the_dialogues_of_smtp() {
    hold_with_daemon("smtp");
}

#[test]
fn the_daemon_holds_the_dialogues_of_dmtp() {
    hold_with_daemon("dmtp");
}

/// Everybody is on loopback, so everybody is trusted.
#[test]
fn the_daemon_holds_the_dialogues_of_trusted_hosts() {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    let builder = world.organization("hismail.test").accounts(&["bob", "alice"]);
    let builder = builder.config(|config| config.relay.networks = vec!["127.0.0.0/8".parse().unwrap()]);
    let hismail = runtime.block_on(builder.build());
    let served = runtime.block_on(hismail.start());
    hold_all(&Transcript::all("trusted", "server"), |transcript| {
        Wire::open(&runtime, &hismail, transcript)
    });
    runtime.block_on(served.stop());
}

#[test]
fn dialogues_log_in_with_the_password_of_every_account() {
    let response = base64(format!("\0alice@hismail.test\0{PASSWORD}").as_bytes());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/smtp");
    for name in ["submission.txt", "submissions.txt"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(&response), "{name} does not contain {response}");
    }
}
