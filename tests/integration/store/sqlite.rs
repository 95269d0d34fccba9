//! SQLite below the behaviour suite, and what only SQLite has.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dimed::base::time::{Clock, ManualClock, Timestamp};
use dimed::crypto::at_rest::Key;
use dimed::dime::fingerprint::CryptoFingerprint;
use dimed::mail::address::{Domain, Mailbox, ReversePath};
use dimed::mail::demand::Demand;
use dimed::mail::notify::MessageRequest;
use dimed::store::sqlite::SqliteStore;
use dimed::store::*;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection, query, query_scalar};
use tokio::time::timeout;

use super::suite::{self, Bed, NOON, claim, claim_one, enqueue, mailbox, message, noon_plus, settle};

struct SqliteBed {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl SqliteBed {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(NOON)),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("dimed.db")
    }

    async fn try_open(&self, key: u8) -> Result<SqliteStore, Error> {
        let master = MasterKey::new(Key::from_bytes([key; 32]));
        SqliteStore::open(&self.path(), master, self.clock.clone()).await
    }

    async fn store(&self) -> SqliteStore {
        self.try_open(1).await.unwrap()
    }

    /// The database without the store in between.
    async fn raw(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        options.connect().await.unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        query_scalar(sql).fetch_one(&mut self.raw().await).await.unwrap()
    }

    /// Everything in the folder: database, log, index, lock.
    fn all_octets(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        files
            .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect()
    }
}

#[async_trait]
impl Bed for SqliteBed {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }

    async fn close(&self, store: Arc<dyn Store>) {
        // The last owner going away closes the file; opening it again waits for locks.
        drop(store);
    }
}

/// Has room for one destination, and notes what it gets.
struct OneSeat {
    destination: Domain,
    begun: Arc<Mutex<Vec<Claim>>>,
}

impl Desk for OneSeat {
    fn reserve(&self, destination: &Domain, is_ours: bool) -> Option<Seat> {
        let begun = Arc::clone(&self.begun);
        let note = move |claim| begun.lock().unwrap().push(claim);
        let has_room = *destination == self.destination && !is_ours;
        has_room.then(|| Seat::new(noon_plus(5), Box::new(note)))
    }
}

async fn commit(store: &SqliteStore, message: NewMessage, body: &[u8]) {
    let mut writer = store.begin(message.id).await.unwrap();
    writer.write(body).await.unwrap();
    writer.commit(message).await.unwrap();
}

/// What a desk gets is what a claim would have given, and its lease is as good.
#[tokio::test]
async fn what_is_accepted_is_leased_to_a_desk_that_has_room_for_it() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    store.set_desk(Some(Arc::new(OneSeat {
        destination: "hismail.test".parse().unwrap(),
        begun: Arc::clone(&begun),
    })));
    let body = b"Subject: x\r\n\r\ny\r\n";
    commit(&store, message(&["bob@hismail.test", "pat@hismail.test"]), body).await;
    for queued in [
        &["carol@plain.test"][..],
        &["bob@hismail.test", "carol@plain.test"],
    ] {
        commit(&store, message(queued), body).await;
    }
    let late = NewMessage {
        due_at: noon_plus(1),
        ..message(&["bob@hismail.test"])
    };
    commit(&store, late, body).await;
    let handed = begun.lock().unwrap().split_off(0);
    assert_eq!(handed.len(), 1);
    // The others wait in the queue, and the leased one does not.
    let others = claim(&store, NOON, 10).await;
    assert_eq!(others.len(), 3);
    for other in &others {
        settle(&store, other, SettledState::Relayed).await.unwrap();
    }
    assert_eq!(
        bed.count("SELECT SUM(attempts) FROM recipients WHERE lease IS NOT NULL")
            .await,
        2
    );
    store.give_back(handed[0].lease, NOON).await.unwrap();
    let again = claim_one(&store, NOON).await;
    let shown = |claim: &Claim| {
        let Claim { lease, .. } = claim;
        format!("{claim:?}").replace(&format!("{lease:?}"), "")
    };
    assert_eq!(shown(&again), shown(&handed[0]));
    assert_eq!(again.body.unwrap().expose()[..], body[..]);
    assert_eq!(handed[0].body.as_ref().unwrap().expose()[..], body[..]);
    // Another lease has taken its place.
    let stale = settle(&store, &handed[0], SettledState::Relayed).await;
    assert!(matches!(stale, Err(Error::LeaseLost)));
    store.set_desk(None);
    commit(&store, message(&["bob@hismail.test"]), body).await;
    assert!(begun.lock().unwrap().is_empty());
}

/// Nobody begins what a session has given up waiting for; so it must not stay leased.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_given_up_leaves_no_lease() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let begun = Arc::new(Mutex::new(Vec::new()));
    store.set_desk(Some(Arc::new(OneSeat {
        destination: "hismail.test".parse().unwrap(),
        begun: Arc::clone(&begun),
    })));
    for attempt in 0..100 {
        let given_up = commit(&store, message(&["bob@hismail.test"]), b"Subject: x\r\n\r\n");
        let _given_up = timeout(Duration::from_micros(100 * attempt), given_up).await;
    }
    store.close().await;
    let leased = "SELECT COUNT(*) FROM recipients WHERE lease IS NOT NULL";
    assert_eq!(bed.count(leased).await, begun.lock().unwrap().len() as i64);
}

/// Otherwise a disk that cannot be written would seem to be well as long as no mail comes.
#[tokio::test]
async fn a_probe_writes_and_changes_nothing() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let log = bed.path().with_extension("db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    let (before, counted) = (length(), bed.count("SELECT count FROM changes").await);
    store.probe().await.unwrap();
    assert!(length() > before);
    assert_eq!(bed.count("SELECT count FROM changes").await, counted);
}

/// A command that releases mail, or leaves some, works in a process of its own.
#[tokio::test]
async fn what_another_process_leaves_is_noticed_soon() {
    let bed = SqliteBed::new();
    let (daemon, command) = (bed.store().await, bed.store().await);
    // What one's own opening has changed.
    let quiet = async { while timeout(Duration::from_secs(3), daemon.changed()).await.is_ok() {} };
    timeout(Duration::from_secs(60), quiet).await.unwrap();
    enqueue(&command, message(&["bob@hismail.test"])).await;
    timeout(Duration::from_secs(20), daemon.changed()).await.unwrap();
}

#[tokio::test]
async fn expired_remote_signets_do_not_stay_on_disk() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let remote = |user: u8, minute: u64| RemoteSignet {
        name: format!("user{user}@hismail.test"),
        crypto: CryptoFingerprint([user; 64]),
        object: vec![0; 1000],
        full: None,
        fetched_at: noon_plus(minute),
        current_until: None,
        expires_at: noon_plus(minute + 5),
    };
    for user in 0..10 {
        store.remember_remote_signet(remote(user, 0)).await.unwrap();
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM remote_signets").await, 10);
    store.remember_remote_signet(remote(10, 4)).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM remote_signets").await, 11);
    store.remember_remote_signet(remote(11, 5)).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM remote_signets").await, 2);
}

/// Neither the database nor its log has the octets of a key that was destroyed, not even sealed.
#[tokio::test]
async fn destroyed_private_kem_keys_leave_no_octet_behind() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    for octet in 10..60 {
        let publication = suite::with_kem_keys(&format!("user{octet}@hismail.test"), octet, 100);
        store.publish_signet(publication).await.unwrap();
    }
    let sealed: Vec<Vec<u8>> = query_scalar("SELECT sealed FROM kem_keys")
        .fetch_all(&mut bed.raw().await)
        .await
        .unwrap();
    let found = |sealed: &[Vec<u8>]| {
        let all = bed.all_octets();
        let is_there = |sealed: &&Vec<u8>| all.windows(sealed.len()).any(|window| window == &sealed[..]);
        sealed.iter().filter(is_there).count()
    };
    assert_eq!(found(&sealed), 50);
    assert_eq!(store.destroy_kem_keys(noon_plus(100)).await.unwrap(), 50);
    assert_eq!(found(&sealed), 0);
}

/// A reader keeps old pages of the log alive. What is not erased is not called erased, and the next call finishes it.
#[tokio::test]
async fn keys_that_the_log_still_holds_are_not_called_destroyed() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let publication = suite::with_kem_keys("bob@hismail.test", 10, 100);
    store.publish_signet(publication).await.unwrap();
    let sealed: Vec<u8> = query_scalar("SELECT sealed FROM kem_keys")
        .fetch_one(&mut bed.raw().await)
        .await
        .unwrap();
    let is_there = || {
        bed.all_octets()
            .windows(sealed.len())
            .any(|window| window == sealed)
    };

    let mut reader = bed.raw().await;
    query("BEGIN").execute(&mut reader).await.unwrap();
    query("SELECT COUNT(*) FROM kem_keys")
        .execute(&mut reader)
        .await
        .unwrap();
    let destroyed = store.destroy_kem_keys(noon_plus(100)).await;
    assert!(matches!(destroyed, Err(Error::LogInUse)), "{destroyed:?}");
    assert!(is_there());
    assert!(store.kem_keys("bob@hismail.test").await.unwrap().is_empty());
    query("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(store.destroy_kem_keys(noon_plus(100)).await.unwrap(), 1);
    assert!(!is_there());
    assert_eq!(store.destroy_kem_keys(noon_plus(100)).await.unwrap(), 0);
}

/// A clock that somebody sets.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(NOON.0 + self.offset_ms())
    }

    fn offset_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What is being tried when the clock is set is not begun a second time, and what waits comes no later for it.
#[tokio::test]
async fn leases_and_pauses_last_as_long_as_before_when_the_clock_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(0)));
    let master = MasterKey::new(Key::from_bytes([1; 32]));
    let store = SqliteStore::open(&folder.path().join("dimed.db"), master, clock.clone())
        .await
        .unwrap();
    enqueue(&store, message(&["bob@hismail.test"])).await;
    let leased = claim_one(&store, NOON).await;
    let hour_ms = 3_600_000;
    clock.0.store(hour_ms, Ordering::SeqCst);
    assert!(claim(&store, clock.now(), 10).await.is_empty());
    let due_at = clock.now().after(Duration::from_secs(600));
    let deferred = SettledState::Deferred {
        due_at,
        delay_reported: false,
    };
    settle(&store, &leased, deferred).await.unwrap();
    clock.0.store(0, Ordering::SeqCst);
    assert!(claim(&store, NOON, 10).await.is_empty());
    let later = NOON.after(Duration::from_secs(600));
    assert_eq!(claim(&store, later, 10).await.len(), 1);
}

/// The next claim moves leases as the clock was moved: one by the clock of now would be over at once, and the message begun twice.
#[tokio::test]
async fn nothing_is_leased_to_a_desk_between_a_setting_of_the_clock_and_the_next_claim() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock(AtomicI64::new(0)));
    let master = MasterKey::new(Key::from_bytes([1; 32]));
    let store = SqliteStore::open(&folder.path().join("dimed.db"), master, clock.clone())
        .await
        .unwrap();
    let begun = Arc::new(Mutex::new(Vec::new()));
    store.set_desk(Some(Arc::new(OneSeat {
        destination: "hismail.test".parse().unwrap(),
        begun: Arc::clone(&begun),
    })));
    let due = || NewMessage {
        due_at: Timestamp(NOON.0 - 7_200_000),
        ..message(&["bob@hismail.test"])
    };
    commit(&store, due(), b"Subject: x\r\n\r\n").await;
    clock.0.store(-3_600_000, Ordering::SeqCst);
    commit(&store, due(), b"Subject: x\r\n\r\n").await;
    assert_eq!(begun.lock().unwrap().len(), 1);
    assert_eq!(claim(&store, clock.now(), 10).await.len(), 1);
    commit(&store, due(), b"Subject: x\r\n\r\n").await;
    assert_eq!(begun.lock().unwrap().len(), 2);
}

/// Whoever brings the log into the database has it for himself so long, and SQLite does not wait for him: we do.
#[tokio::test]
async fn keys_are_destroyed_once_another_has_brought_the_log_into_the_database() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let publication = suite::with_kem_keys("bob@hismail.test", 10, 100);
    store.publish_signet(publication).await.unwrap();
    // The lock of those who bring the log into the database, on its octet of the shared memory.
    let holds = "import fcntl, sys, time\n\
        memory = open(sys.argv[1], 'r+b')\n\
        fcntl.lockf(memory, fcntl.LOCK_EX, 1, 121)\n\
        print('held', flush=True)\n\
        time.sleep(1)\n";
    let mut other = Command::new("python3")
        .args(["-c", holds, &format!("{}-shm", bed.path().display())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = String::new();
    let mut said = BufReader::new(other.stdout.take().unwrap());
    said.read_line(&mut held).unwrap();
    assert_eq!(held, "held\n");
    assert_eq!(store.destroy_kem_keys(noon_plus(100)).await.unwrap(), 1);
    // It had to be waited for, so that it has ended by now or does so soon.
    assert!(other.wait().unwrap().success());
}

/// The same of the keys of an account that is removed.
#[tokio::test]
async fn keys_of_removed_accounts_leave_no_octet_behind() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let names: Vec<Mailbox> = (10..60)
        .map(|octet| suite::mailbox(&format!("user{octet}@hismail.test")))
        .collect();
    for (octet, name) in (10..60).zip(&names) {
        store
            .add_account(suite::account(&name.to_string()))
            .await
            .unwrap();
        let publication = suite::with_kem_keys(&name.to_string(), octet, 100);
        store.publish_signet(publication).await.unwrap();
        store
            .put_key_deposit(name, vec![octet; 6000], 0, NOON)
            .await
            .unwrap();
    }
    let sealed: Vec<Vec<u8>> =
        query_scalar("SELECT sealed FROM kem_keys UNION ALL SELECT sealed FROM key_deposits")
            .fetch_all(&mut bed.raw().await)
            .await
            .unwrap();
    // Long values do not lie in one piece.
    let starts: Vec<&[u8]> = sealed
        .iter()
        .map(|sealed| &sealed[..64.min(sealed.len())])
        .collect();
    let found = || {
        let all = bed.all_octets();
        let is_there = |start: &&&[u8]| all.windows(start.len()).any(|window| window == **start);
        starts.iter().filter(is_there).count()
    };
    assert_eq!(found(), 100);
    for name in &names {
        let removed = store.remove_account(name, false, NOON).await.unwrap();
        assert_eq!(removed, Removal::Done);
    }
    assert_eq!(found(), 0);
}

fn greylist_terms() -> GreylistTerms {
    GreylistTerms {
        wait: Duration::from_secs(300),
        retry_within: Duration::from_secs(3600),
        proven_for: Duration::from_secs(24 * 3600),
        network_after: 3,
    }
}

fn attempt(from: &str) -> Attempt {
    Attempt {
        network: "203.0.113.0/24".parse().unwrap(),
        reverse_path: ReversePath::parse(from).unwrap(),
        recipient: mailbox("bob@hismail.test"),
    }
}

#[tokio::test]
async fn the_greylist_says_nothing_of_who_wrote_to_whom() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    for minute in [0, 5] {
        let told = store
            .greylist(
                &attempt("<carol@plain.test>"),
                &greylist_terms(),
                noon_plus(minute),
            )
            .await;
        told.unwrap();
    }
    assert_eq!(bed.count("SELECT COUNT(*) FROM greylist WHERE proven").await, 1);
    assert_eq!(bed.count("SELECT good FROM greylist_networks").await, 1);
    let all = bed.all_octets();
    for named in ["carol", "plain.test", "bob@hismail", "203.0.113"] {
        let is_there = all.windows(named.len()).any(|window| window == named.as_bytes());
        assert!(!is_there, "{named}");
    }
}

/// Fills the greylist with tries that wait, `of_each` for each of so many holders, all with numbers below those of later ones.
async fn fill_greylist(bed: &SqliteBed, holders: u32, of_each: u32) {
    let fill = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 * ?2 - 1) \
        INSERT INTO greylist (tag, network, since, proven, until) \
        SELECT CAST(i AS BLOB), CAST(printf('%016d%016d', i / ?2, i) AS BLOB), ?3, 0, ?3 + 3600000 FROM n";
    let filled = query(fill).bind(holders).bind(of_each).bind(NOON.0);
    filled.execute(&mut bed.raw().await).await.unwrap();
}

/// New ones until the next look for room has been taken.
async fn until_room_is_made(store: &dyn Store) {
    for number in 0..256u32 {
        let letters = number
            .to_string()
            .chars()
            .map(|digit| char::from(b'a' + digit as u8 - b'0'))
            .collect::<String>();
        let newcomer = attempt(&format!("<{letters}@plain.test>"));
        let told = store.greylist(&newcomer, &greylist_terms(), NOON).await;
        told.unwrap();
    }
}

/// Whoever has a /48, or a hundred networks, pushes out his own.
#[tokio::test]
async fn a_full_greylist_makes_room_among_those_who_hold_most_of_it() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let quiet = attempt("<carol@plain.test>");
    store.greylist(&quiet, &greylist_terms(), NOON).await.unwrap();
    fill_greylist(&bed, 100, 1000).await;
    until_room_is_made(&store).await;
    let waiting = bed.count("SELECT COUNT(*) FROM greylist").await;
    assert!(waiting <= i64::from(MAX_GREYLISTED), "{waiting}");
    let told = store
        .greylist(&quiet, &greylist_terms(), noon_plus(5))
        .await
        .unwrap();
    assert_eq!(told, Greylisted::Pass, "the oldest of all");
    let largest = bed
        .count(
            "SELECT MAX(held) FROM (SELECT COUNT(*) AS held FROM greylist GROUP BY substr(network, 1, 16))",
        )
        .await;
    assert!((900..1000).contains(&largest), "{largest}");
    let newcomer = attempt("<new@plain.test>");
    let told = store.greylist(&newcomer, &greylist_terms(), NOON).await.unwrap();
    assert_ne!(told, Greylisted::Pass, "there is room");
}

/// Nobody can make room then, and mail comes before its measures.
#[tokio::test]
async fn a_greylist_that_is_full_of_a_few_of_everybody_takes_whoever_comes_for_a_minute() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    fill_greylist(&bed, 25_000, 4).await;
    until_room_is_made(&store).await;
    let told = async |from: &str, minute| {
        let told = store
            .greylist(&attempt(from), &greylist_terms(), noon_plus(minute))
            .await;
        told.unwrap()
    };
    assert_eq!(told("<x@plain.test>", 0).await, Greylisted::Pass);
    let waits = Greylisted::Wait(Duration::from_secs(300));
    assert_eq!(told("<x@plain.test>", 2).await, waits);
    let waiting = bed.count("SELECT COUNT(*) FROM greylist").await;
    assert!(waiting <= i64::from(MAX_GREYLISTED), "{waiting}");
}

/// Those that have come again have room of their own: who tries and comes again any number of times has nobody wait.
#[tokio::test]
async fn those_that_have_come_again_push_out_nobody_who_waits() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let quiet = attempt("<carol@plain.test>");
    store.greylist(&quiet, &greylist_terms(), NOON).await.unwrap();
    fill_greylist(&bed, 101, 1000).await;
    let proven = query("UPDATE greylist SET proven = 1 WHERE seq > 1");
    proven.execute(&mut bed.raw().await).await.unwrap();
    until_room_is_made(&store).await;
    let told = store
        .greylist(&quiet, &greylist_terms(), noon_plus(5))
        .await
        .unwrap();
    assert_eq!(told, Greylisted::Pass);
    let proven = bed.count("SELECT COUNT(*) FROM greylist WHERE proven").await;
    assert!(proven <= i64::from(MAX_GREYLISTED), "{proven}");
}

suite::behaviours!(SqliteBed::new());

#[tokio::test]
async fn concurrent_commits_share_transactions_and_a_lone_one_has_its_own() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    enqueue(&store, message(&["bob@hismail.test"])).await;
    let alone = store.writer_stats();
    assert_eq!((alone.transactions, alone.jobs), (1, 1));

    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let store = store.clone();
        sessions.spawn(async move { enqueue(&store, message(&["bob@hismail.test"])).await });
    }
    sessions.join_all().await;
    let stats = store.writer_stats();
    assert_eq!(stats.jobs, 201);
    assert!(stats.transactions < 60, "{} transactions", stats.transactions);
    assert_eq!(bed.count("SELECT COUNT(*) FROM messages").await, 201);
}

#[tokio::test]
async fn a_failing_job_does_not_undo_the_others_of_its_group() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let twice = message(&["bob@hismail.test"]);
    enqueue(&store, twice.clone()).await;
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..50 {
        let store = store.clone();
        let new = match number % 2 {
            0 => message(&["bob@hismail.test"]),
            _ => twice.clone(),
        };
        sessions.spawn(async move {
            let body = b"x".to_vec();
            store
                .enqueue(FollowUp {
                    message: new,
                    body: body.into(),
                    replay: None,
                })
                .await
        });
    }
    let results = sessions.join_all().await;
    let refused = results
        .iter()
        .filter(|result| matches!(result, Err(Error::Exists)));
    assert_eq!(refused.count(), 25);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 25);
    assert_eq!(bed.count("SELECT COUNT(*) FROM messages").await, 26);
    assert_eq!(bed.count("SELECT COUNT(*) FROM pieces").await, 26);
}

#[tokio::test]
async fn a_finished_message_leaves_no_row() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    enqueue(&store, message(&["bob@hismail.test"])).await;
    let first = claim_one(&store, NOON).await;
    let deferred = SettledState::Deferred {
        due_at: noon_plus(1),
        delay_reported: false,
    };
    settle(&store, &first, deferred).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM attempts").await, 1);
    let second = claim_one(&store, noon_plus(1)).await;
    settle(&store, &second, SettledState::Delivered).await.unwrap();
    for sql in [
        "SELECT COUNT(*) FROM messages",
        "SELECT COUNT(*) FROM pieces",
        "SELECT COUNT(*) FROM recipients",
        "SELECT COUNT(*) FROM attempts",
        "SELECT COUNT(*) FROM lanes",
    ] {
        assert_eq!(bed.count(sql).await, 0, "{sql}");
    }
}

#[tokio::test]
async fn files_name_no_person_and_show_no_text_of_a_queued_message() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let sources = [
        Source::Submission(mailbox("planted-author@origin-planted.test")),
        Source::Dmtp("origin-planted.test".parse().unwrap()),
    ];
    for source in sources {
        let envelope = Envelope {
            reverse_path: ReversePath(Some(mailbox("planted-author@origin-planted.test"))),
            source,
            smtputf8: false,
            eight_bit: false,
            demand: Demand::default(),
            resealed: 0,
            received_in_ms: 0,
            request: MessageRequest::default(),
        };
        let new = NewMessage {
            envelope,
            ..message(&["planted-recipient@hismail.test"])
        };
        let mut writer = store.begin(new.id).await.unwrap();
        writer.write(b"Subject: planted-subject\r\n\r\n").await.unwrap();
        writer
            .write(&b"planted-body ".repeat(PIECE_BYTES / 10))
            .await
            .unwrap();
        writer.commit(new).await.unwrap();
    }
    let claimed = claim_one(&store, NOON).await;
    let note = "relay refused planted-note".to_owned();
    let settlement = Settlement {
        recipient: claimed.recipients[0].id,
        state: SettledState::Deferred {
            due_at: noon_plus(5),
            delay_reported: false,
        },
        note,
        instead: Vec::new(),
    };
    store
        .settle(claimed.lease, vec![settlement], Vec::new())
        .await
        .unwrap();
    let remote = RemoteSignet {
        name: "planted-author@origin-planted.test".into(),
        crypto: dimed::dime::fingerprint::CryptoFingerprint([b'p'; 64]),
        full: None,
        object: b"signet of planted-author".to_vec(),
        fetched_at: NOON,
        current_until: None,
        expires_at: noon_plus(60),
    };
    store.remember_remote_signet(remote).await.unwrap();

    let on_disk = bed.all_octets();
    let finds = |text: &str| {
        on_disk
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(finds("hismail.test"), "the search finds what is in clear");
    for hidden in ["planted", "origin-", "Subject", "pppp"] {
        assert!(!finds(hidden), "{hidden} is in the files");
    }
}

#[tokio::test]
async fn the_key_of_a_finished_message_is_overwritten() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    enqueue(&store, message(&["carol@plain.test"])).await;
    let id = enqueue(&store, message(&["bob@hismail.test"])).await;
    let wrapped_key: Vec<u8> = query_scalar("SELECT wrapped_key FROM messages WHERE id = ?")
        .bind(id.to_string())
        .fetch_one(&mut bed.raw().await)
        .await
        .unwrap();
    let on_disk = |bed: &SqliteBed| {
        let octets = bed.all_octets();
        octets
            .windows(wrapped_key.len())
            .any(|window| window == wrapped_key)
    };
    assert!(on_disk(&bed), "the search finds it while it is there");
    for claimed in claim(&store, NOON, 10).await {
        if claimed.message == id {
            settle(&store, &claimed, SettledState::Delivered).await.unwrap();
        }
    }
    // Closing moves the log into the database and removes it.
    store.close().await;
    assert!(!on_disk(&bed));
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_files_at_that_moment() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let mut acknowledged = Vec::new();
    for size in [0, 100, 2 * PIECE_BYTES] {
        let new = message(&["bob@hismail.test"]);
        let id = new.id;
        let mut writer = store.begin(id).await.unwrap();
        writer.write(&vec![b'x'; size]).await.unwrap();
        writer.commit(new).await.unwrap();
        acknowledged.push((id, size as u64));
    }
    let unfinished = message(&["bob@hismail.test"]);
    let mut writer = store.begin(unfinished.id).await.unwrap();
    writer.write(&vec![b'x'; 2 * PIECE_BYTES]).await.unwrap();

    // A copy of the files as they are now is what a kill would leave.
    let after_kill = SqliteBed::new();
    for file in std::fs::read_dir(bed.folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), after_kill.folder.path().join(file.file_name())).unwrap();
    }
    let reopened = after_kill.store().await;
    let mut found = Vec::new();
    for claimed in claim(&reopened, NOON, 10).await {
        let mut size = 0;
        for index in 0.. {
            match reopened.read_piece(claimed.message, index).await.unwrap() {
                Some(piece) => size += piece.len() as u64,
                None => break,
            }
        }
        found.push((claimed.message, size));
    }
    found.sort();
    acknowledged.sort();
    assert_eq!(found, acknowledged);
    assert_eq!(after_kill.count("SELECT COUNT(*) FROM incoming").await, 0);
}

#[tokio::test]
async fn two_openers_share_the_work() {
    let bed = SqliteBed::new();
    let (one, other) = (bed.store().await, bed.store().await);
    for _ in 0..20 {
        enqueue(&one, message(&["bob@hismail.test"])).await;
    }
    let (first, second) = tokio::join!(claim(&one, NOON, 10), claim(&other, NOON, 10));
    let messages: std::collections::BTreeSet<_> =
        first.iter().chain(&second).map(|claim| claim.message).collect();
    assert_eq!(messages.len(), 20);
    // Either may settle what the other one claimed: the lease is in the database.
    settle(&other, &first[0], SettledState::Relayed).await.unwrap();
    assert!(matches!(
        settle(&one, &first[0], SettledState::Relayed).await,
        Err(Error::LeaseLost)
    ));
}

#[tokio::test]
async fn a_database_of_another_master_key_is_refused() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    enqueue(&store, message(&["bob@hismail.test"])).await;
    store.close().await;
    assert!(matches!(bed.try_open(2).await, Err(Error::WrongMasterKey)));
    assert_eq!(
        claim(&bed.store().await, NOON, 1).await.len(),
        1,
        "nothing was harmed"
    );
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let bed = SqliteBed::new();
    bed.store().await.close().await;
    query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut bed.raw().await)
    .await
    .unwrap();
    assert!(matches!(bed.try_open(1).await, Err(Error::Schema(_))));
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let bed = SqliteBed::new();
    std::fs::create_dir(bed.path()).unwrap();
    assert!(matches!(bed.try_open(1).await, Err(Error::File(_))));
}

#[tokio::test]
async fn a_clock_set_back_does_not_keep_new_mail_waiting() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    for _ in 0..2 {
        enqueue(&store, message(&["bob@hismail.test"])).await;
    }
    // Served an hour ahead of what turns out to be the time.
    claim_one(&store, noon_plus(60)).await;
    let fresh = enqueue(&store, message(&["bob@hismail.test"])).await;
    let claimed: Vec<_> = claim(&store, NOON, 10).await.iter().map(|c| c.message).collect();
    assert_eq!(claimed.len(), 2);
    assert!(claimed.contains(&fresh));

    claim(&store, noon_plus(120), 10).await;
    enqueue(&store, message(&["bob@hismail.test"])).await;
    store.close().await;
    assert_eq!(claim(&bed.store().await, noon_plus(1), 10).await.len(), 1);
}

#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    let bed = SqliteBed::new();
    std::fs::write(bed.path(), b"").unwrap();
    std::fs::set_permissions(bed.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = bed.store().await;
    enqueue(&store, message(&["bob@hismail.test"])).await;
    let files: Vec<_> = std::fs::read_dir(bed.folder.path()).unwrap().collect();
    assert!(files.len() >= 3, "database, log and index");
    for file in files {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
}

/// Damages the first of two messages with `sql`; the second is claimed, the first set aside for `reason`.
async fn sets_aside(sql: &'static str, reason: &str) {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let bad = enqueue(&store, message(&["bob@hismail.test"])).await;
    let good = enqueue(&store, message(&["carol@plain.test"])).await;
    let changed = query(sql)
        .bind(bad.to_string())
        .execute(&mut bed.raw().await)
        .await
        .unwrap();
    assert_eq!(changed.rows_affected(), 1);
    // Before anybody claims it, the list shows the rest.
    let listed = store.list(None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|e| e.message).collect::<Vec<_>>(), [good]);

    let claims = claim(&store, NOON, 10).await;
    assert_eq!(claims.iter().map(|c| c.message).collect::<Vec<_>>(), [good]);
    let aside = store.quarantined(10).await.unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].message, aside[0].reason.as_str()), (bad, reason));
}

#[tokio::test]
async fn damaged_rows_are_set_aside_and_the_queue_goes_on() {
    sets_aside(
        "UPDATE messages SET wrapped_key = x'00' WHERE id = ?",
        "message key",
    )
    .await;
    sets_aside(
        "UPDATE messages SET envelope = zeroblob(60) WHERE id = ?",
        "envelope",
    )
    .await;
    sets_aside("UPDATE messages SET size_bytes = 1 WHERE id = ?", "envelope").await;
    sets_aside("UPDATE messages SET content = 9 WHERE id = ?", "content").await;
    sets_aside(
        "UPDATE recipients SET forward_path = x'00' WHERE message = ?",
        "forward-path",
    )
    .await;
}

#[tokio::test]
async fn a_damaged_or_missing_piece_is_unreadable() {
    for sql in [
        "UPDATE pieces SET sealed = zeroblob(100) WHERE message = ?",
        "UPDATE pieces SET number = 7 WHERE message = ?",
    ] {
        let bed = SqliteBed::new();
        let store = bed.store().await;
        let id = enqueue(&store, message(&["bob@hismail.test"])).await;
        query(sql)
            .bind(id.to_string())
            .execute(&mut bed.raw().await)
            .await
            .unwrap();
        let read = store.read_piece(id, 0).await;
        assert!(matches!(read, Err(Error::Unreadable("body piece"))), "{sql}");
    }
}

#[tokio::test]
async fn abandoned_bodies_are_swept_at_once_or_at_the_next_lone_start() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    let new = message(&["bob@hismail.test"]);
    let mut writer = store.begin(new.id).await.unwrap();
    writer.write(&vec![0; 2 * PIECE_BYTES]).await.unwrap();
    assert_eq!(bed.count("SELECT COUNT(*) FROM pieces").await, 1);

    // A second opener finds the first one there, and leaves its work alone.
    let tool = bed.store().await;
    assert_eq!(bed.count("SELECT COUNT(*) FROM pieces").await, 1);
    tool.close().await;
    drop(tool);
    drop(writer);
    // Behind the clean-up in the queue of the writer.
    enqueue(&store, message(&["bob@hismail.test"])).await;
    assert_eq!(bed.count("SELECT COUNT(*) FROM pieces").await, 1);
    assert_eq!(bed.count("SELECT COUNT(*) FROM incoming").await, 0);

    // As a kill leaves it.
    store.close().await;
    drop(store);
    let mut raw = bed.raw().await;
    query("INSERT INTO incoming (message) VALUES ('LOST')")
        .execute(&mut raw)
        .await
        .unwrap();
    query("INSERT INTO pieces (message, number, sealed) VALUES ('LOST', 0, x'00')")
        .execute(&mut raw)
        .await
        .unwrap();
    drop(raw);
    let _store = bed.store().await;
    assert_eq!(bed.count("SELECT COUNT(*) FROM pieces").await, 1);
    assert_eq!(bed.count("SELECT COUNT(*) FROM incoming").await, 0);
}

#[tokio::test]
async fn a_closed_store_answers_with_an_error() {
    let bed = SqliteBed::new();
    let store = bed.store().await;
    store.close().await;
    let late = FollowUp {
        message: message(&["bob@hismail.test"]),
        body: Vec::new().into(),
        replay: None,
    };
    assert!(matches!(store.enqueue(late).await, Err(Error::Database(_))));
    assert!(matches!(store.next_due().await, Err(Error::Database(_))));
}

/// The queries behind a claim go straight to their rows, so their cost does not grow with the queue. The one range
/// with a wide start, what is due in a destination, is read for its first row only; and of what is leased, which is never much, all is.
#[tokio::test]
async fn claiming_costs_the_same_whatever_waits() {
    let bed = SqliteBed::new();
    let _store = bed.store().await;
    let mut raw = bed.raw().await;
    let mut plans = Vec::new();
    for sql in dimed::store::CLAIM_QUERIES {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan = query(explain).fetch_all(&mut raw).await.unwrap();
        let steps = plan.iter().map(|row| row.get::<String, _>("detail"));
        let visits = |step: &String| step.starts_with("SEARCH") || step.starts_with("SCAN");
        plans.push(steps.filter(visits).collect::<Vec<_>>());
    }
    let next_lane = [
        "SEARCH lanes USING COVERING INDEX lanes_by_turn (ours=? AND turn_at<?)",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    ];
    let by_name = [
        "SEARCH lanes USING PRIMARY KEY (destination=?)",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    ];
    let any_lane = ["SCAN CONSTANT ROW", next_lane[0], next_lane[0]];
    let any_next_lane = &next_lane[..1];
    let any_next_turn = ["SEARCH lanes USING COVERING INDEX lanes_by_turn (ours=?)"];
    let due_group = [
        "SEARCH recipients USING INDEX recipients_by_message (message=? AND destination=?)",
        "SEARCH recipients USING INDEX recipients_due (destination=? AND due_at<?)",
    ];
    let lease = ["SEARCH recipients USING INTEGER PRIMARY KEY (rowid=?)"];
    let end_turn = [
        "SEARCH lanes USING PRIMARY KEY (destination=?)",
        "SEARCH lanes USING COVERING INDEX lanes_by_number",
    ];
    let earliest_due = ["SEARCH recipients USING COVERING INDEX recipients_due (destination=? AND due_at>?)"];
    let run_out = ["SEARCH recipients USING INDEX recipients_leased (lease>?)"];
    let expected: [&[&str]; 11] = [
        &run_out,
        &any_lane,
        any_next_lane,
        &any_next_turn,
        &next_lane,
        &by_name,
        &by_name,
        &due_group,
        &lease,
        &end_turn,
        &earliest_due,
    ];
    assert_eq!(plans, expected);
}
