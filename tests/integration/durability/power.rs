//! The power fails at every sync of the binary; every message that was acknowledged by then is found again.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dimed::base::id::QueueId;
use dimed::base::time::SystemClock;
use dimed::config::{Config, read_master_key};
use dimed::store::sqlite::SqliteStore;
use dimed::store::{MasterKey, Spool};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::disk::Disk;
use super::trace::{Call, Recorder};
use super::{in_memory, is_long};
use crate::support::eventually;
use crate::support::maildir::{Maildir, split};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const SESSIONS: usize = 4;
/// How many times what was not synced is there in part, at each sync.
const TORN: usize = 1;

/// The text of a message, which tells its number. Some are so long that they are stored in pieces.
fn text(number: usize) -> String {
    let lines = match number % 10 {
        9 => 5_000,
        short => 1 + short * 8,
    };
    format!("{number} {}\r\n", "x".repeat(60)).repeat(lines)
}

fn number_of(message: &str) -> usize {
    let body = split(message).1;
    let number = body.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(body, text(number), "message {number} is not whole");
    number
}

/// Mail for bob goes into his Maildir; what is for carol waits, for hers cannot be written.
fn recipients(number: usize) -> &'static [&'static str] {
    match number % 3 {
        0 => &["bob@hismail.test", "carol@hismail.test"],
        _ => &["bob@hismail.test"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_message_is_lost_when_the_power_fails() {
    let count = if is_long() { 600 } else { 40 };
    let world = World::new_in(&in_memory()).await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob", "carol"])
        .build()
        .await;
    hismail.block_mailbox("carol");
    // Connections of the commands that set it up are closed in the background; the last takes the log away.
    hismail.count("SELECT count(*) FROM messages").await;
    let log = hismail.folder.join("data/dimed.db-wal");
    eventually("the database to be closed", || (!log.exists()).then_some(())).await;
    let mut disk = Disk::of(&hismail.folder);
    let recorder = Recorder::new(world.home());
    let process = hismail.spawn_with(&recorder.launch()).await;
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|session| tokio::spawn(submit(hismail.ip, (session..count).step_by(SESSIONS))))
        .collect();
    let mut numbers = HashMap::new();
    for session in sessions {
        numbers.extend(session.await.unwrap());
    }
    eventually("all deliveries", || {
        (hismail.maildir("bob").count() == count).then_some(())
    })
    .await;
    let calls = recorder.stop(process).await;

    let ruins = Ruins {
        hismail: &hismail,
        at: world.home().join("ruins"),
        replies: replies(&calls),
        numbers,
    };
    assert_eq!(ruins.replies.len(), count);
    let mut rng = StdRng::seed_from_u64(6);
    let (mut cuts, mut checkpoints) = (0, 0);
    for call in &calls {
        if call.is_sync() && call.target.starts_with(hismail.folder.to_str().unwrap()) {
            // Before it is over: whatever was acknowledged until now does not depend on it.
            ruins.search(&disk, call.ended, None).await;
            for _ in 0..TORN {
                ruins.search(&disk, call.ended, Some(&mut rng)).await;
            }
            cuts += 1;
            checkpoints += usize::from(call.target.ends_with("/dimed.db"));
        }
        disk.see(call);
    }
    ruins.search(&disk, usize::MAX, None).await;
    assert!(checkpoints > 0, "the log was never brought into the database");
    println!(
        "{count} messages; power cut at {cuts} syncs, {checkpoints} of them of the database itself, each with what was not \
         synced gone, and {TORN} time in part there: every acknowledged message found"
    );
}

/// Submits messages one after the other; their ids and numbers.
async fn submit(ip: std::net::IpAddr, numbers: impl Iterator<Item = usize>) -> Vec<(String, usize)> {
    let mut talk = Talk::smtp(ip).await;
    let mut queued = Vec::new();
    for number in numbers {
        let message = format!("From: alice@plain.test\r\n\r\n{}", text(number));
        let reply = talk
            .transfer("alice@plain.test", recipients(number), &message)
            .await;
        let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap();
        queued.push((id.to_owned(), number));
    }
    queued
}

/// When each `250` was sent, and for which message.
fn replies(calls: &[Call]) -> Vec<(usize, String)> {
    let id = |call: &Call| {
        let text = String::from_utf8(call.octets()).ok()?;
        let (_, id) = text.split_once("250 2.0.0 Ok: queued as ")?;
        Some((call.begun, id.trim_end().to_owned()))
    };
    calls
        .iter()
        .filter(|call| call.is_send())
        .filter_map(id)
        .collect()
}

/// What power cuts leave.
struct Ruins<'a> {
    hismail: &'a Organization,
    at: PathBuf,
    replies: Vec<(usize, String)>,
    numbers: HashMap<String, usize>,
}

impl Ruins<'_> {
    /// Builds the disk as it is left, and looks for everything that was acknowledged before `time`.
    async fn search(&self, disk: &Disk, time: usize, chance: Option<&mut StdRng>) {
        std::fs::create_dir(&self.at).unwrap();
        disk.build(&self.at, chance);
        let spooled = self.spooled().await;
        let delivered: HashSet<usize> = self
            .maildir()
            .messages()
            .iter()
            .map(|message| number_of(message))
            .collect();
        for (_, id) in self.replies.iter().filter(|(sent, _)| *sent < time) {
            let number = self.numbers[id];
            for recipient in recipients(number) {
                let is_there = spooled.contains(&(number, (*recipient).to_owned()))
                    || recipient.starts_with("bob") && delivered.contains(&number);
                assert!(
                    is_there,
                    "message {number} to {recipient} is lost at {time}; the disk is in {:?}",
                    self.at
                );
            }
        }
        std::fs::remove_dir_all(&self.at).unwrap();
    }

    fn maildir(&self) -> Maildir {
        let folder = self.hismail.maildir("bob").0;
        Maildir(self.at.join(folder.strip_prefix(&self.hismail.folder).unwrap()))
    }

    /// Who is to get which message, by the database; all of it can be read.
    async fn spooled(&self) -> HashSet<(usize, String)> {
        let config = Config::load(&self.hismail.config).unwrap();
        let database = config.server.database();
        let database = self.at.join(database.strip_prefix(&self.hismail.folder).unwrap());
        let key = MasterKey::new(read_master_key(&config.server.master_key_file).unwrap());
        let store = SqliteStore::open(&database, key, Arc::new(SystemClock))
            .await
            .unwrap();
        let mut numbers = HashMap::<QueueId, usize>::new();
        let mut found = HashSet::new();
        for entry in store.list(None, 10_000).await.unwrap() {
            let number = match numbers.get(&entry.message) {
                Some(number) => *number,
                None => number_of(&body(&store, entry.message).await),
            };
            numbers.insert(entry.message, number);
            found.insert((number, entry.forward_path.to_string()));
        }
        assert_eq!(store.quarantined(10).await.unwrap(), []);
        store.close().await;
        assert_sound(&database).await;
        found
    }
}

async fn body(store: &SqliteStore, message: QueueId) -> String {
    let mut body = Vec::new();
    for index in 0.. {
        let Some(piece) = store.read_piece(message, index).await.unwrap() else {
            break;
        };
        body.extend(piece);
    }
    String::from_utf8(body).unwrap()
}

async fn assert_sound(database: &Path) {
    let mut connection = SqliteConnectOptions::new()
        .filename(database)
        .connect()
        .await
        .unwrap();
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(verdict, "ok");
    connection.close().await.unwrap();
}
