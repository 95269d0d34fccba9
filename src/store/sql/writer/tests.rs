#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::mpsc as std_mpsc;

use tokio::time::Instant;

use super::super::query::{query, query_scalar};
use super::syncs::Syncs;
use super::task::Step;
use super::*;
use crate::store::sqlite::Options;

/// A writer on a table that refers to itself, so that a commit can be made to fail.
async fn writer(folder: &tempfile::TempDir) -> Writer {
    writer_opened_anew_with(folder, "FULL").await
}

async fn writer_opened_anew_with(folder: &tempfile::TempDir, synchronous: &'static str) -> Writer {
    let mut task = task(folder);
    task.database = Database::Sqlite(Arc::new(options(folder).pragma("synchronous", synchronous)));
    Writer::of(task).unwrap()
}

fn options(folder: &tempfile::TempDir) -> Options {
    Options::new(&folder.path().join("x.db"))
        .pragma("journal_mode", "WAL")
        .pragma("foreign_keys", "ON")
        .pragma("synchronous", "FULL")
        .leave_log()
}

fn task(folder: &tempfile::TempDir) -> Task {
    let options = options(folder);
    let mut connection = options.open().unwrap();
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, \
         parent INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)";
    connection.execute(table, Vec::new()).unwrap();
    Task::new(
        Connection::Sqlite(connection),
        Database::Sqlite(Arc::new(options)),
    )
    .unwrap()
}

/// A job that keeps the writer from going on until the answer is sent or dropped, so that what is handed in meanwhile shares
/// its transaction.
async fn hold(writer: &Writer) -> oneshot::Sender<()> {
    hold_as(writer, Durable::AtOnce).await
}

fn unanswered<F>(job: F) -> Box<dyn Job>
where
    F: for<'c> FnOnce(&'c mut Connection) -> Work<'c, ()> + Send + 'static,
{
    let (answer, _) = oneshot::channel();
    Box::new(Pending { job, answer })
}

async fn hold_as(writer: &Writer, durable: Durable) -> oneshot::Sender<()> {
    let (go_on, held) = oneshot::channel::<()>();
    let (began, begun) = oneshot::channel();
    let job = unanswered(move |_| {
        Box::pin(async move {
            began.send(()).unwrap();
            held.await.unwrap_or_default();
            Ok(())
        })
    });
    writer
        .jobs
        .send(Message::Job(job, durable))
        .await
        .unwrap_or_default();
    begun.await.unwrap();
    go_on
}

async fn insert(writer: &Writer, id: i64, parent: Option<i64>) -> Result<(), Error> {
    insert_as(writer, Durable::AtOnce, id, parent).await
}

async fn insert_as(writer: &Writer, durable: Durable, id: i64, parent: Option<i64>) -> Result<(), Error> {
    writer
        .run_as(durable, move |db| {
            Box::pin(async move {
                query("INSERT INTO t (id, parent) VALUES ($1, $2)")
                    .bind(id)
                    .bind(parent)
                    .execute(db)
                    .await?;
                Ok(())
            })
        })
        .await
}

async fn count(writer: &Writer) -> i64 {
    let rows = writer
        .run(|db| Box::pin(async move { Ok(query_scalar("SELECT COUNT(*) FROM t").fetch_one(db).await?) }));
    rows.await.unwrap()
}

#[tokio::test]
async fn a_connection_opened_anew_is_not_used_if_its_settings_could_lose_mail() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer_opened_anew_with(&folder, "NORMAL").await;
    let orphan = insert(&writer, 2, Some(99)).await;
    assert!(matches!(orphan, Err(Error::NotCommitted(_))));
    match insert(&writer, 1, None).await {
        Err(Error::NotDurable(reason)) => assert!(reason.contains("synchronous=1"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_commit_that_fails_fails_every_job_in_it_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    let held = hold(&writer).await;
    let (first, orphan, third, ()) = tokio::join!(
        insert(&writer, 1, None),
        insert(&writer, 2, Some(99)),
        insert(&writer, 3, None),
        async { drop(held) }
    );
    for result in [first, orphan, third] {
        assert!(matches!(result, Err(Error::NotCommitted(_))));
    }
    assert_eq!(
        writer.stats(),
        WriterStats {
            transactions: 0,
            jobs: 0
        }
    );
    assert_eq!(count(&writer).await, 0);
    insert(&writer, 1, None).await.unwrap();
    assert_eq!(count(&writer).await, 1);
}

#[tokio::test]
async fn a_job_that_fails_is_undone_alone() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    let half = writer.run(|db| {
        Box::pin(async move {
            query("INSERT INTO t (id) VALUES (2)").execute(db).await?;
            Err::<(), _>(Error::LeaseLost)
        })
    });
    let held = hold(&writer).await;
    let (first, half, third, ()) =
        tokio::join!(insert(&writer, 1, None), half, insert(&writer, 3, None), async {
            drop(held);
        });
    assert!(first.is_ok() && third.is_ok());
    assert!(matches!(half, Err(Error::LeaseLost)));
    assert_eq!(
        writer.stats(),
        WriterStats {
            transactions: 1,
            jobs: 3
        }
    );
    assert_eq!(count(&writer).await, 2);
}

/// A writer, and its syncs: each waits until it is told whether it succeeds.
fn writer_with_syncs(folder: &tempfile::TempDir) -> (Writer, std_mpsc::Receiver<()>, std_mpsc::Sender<bool>) {
    let (began, begun) = std_mpsc::channel();
    let (told, telling) = std_mpsc::channel();
    let mut task = task(folder);
    let sync = move |_: &File| {
        began.send(()).unwrap();
        let is_good: bool = telling.recv().unwrap();
        is_good.then_some(()).ok_or_else(|| io::Error::other("a fault"))
    };
    set_sync(&mut task, sync);
    (Writer::of(task).unwrap(), begun, told)
}

fn set_sync(task: &mut Task, sync: impl Fn(&File) -> io::Result<()> + Send + 'static) {
    let syncs = Syncs::start_with(Arc::clone(&task.counters), Arc::clone(&task.wake), sync);
    task.syncs = Some(syncs.unwrap());
}

/// Waits for what other threads do.
async fn heard<T: Send + 'static>(from: std_mpsc::Receiver<T>) -> (T, std_mpsc::Receiver<T>) {
    let waiting = move || (from.recv_timeout(Duration::from_secs(60)).unwrap(), from);
    tokio::task::spawn_blocking(waiting).await.unwrap()
}

#[tokio::test]
async fn what_has_to_be_durable_is_answered_after_its_sync_and_the_next_is_committed_after_that() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, begun, told) = writer_with_syncs(&folder);
    let writer = Arc::new(writer);
    let insert = |id, durable| {
        let writer = Arc::clone(&writer);
        tokio::spawn(async move { insert_as(&writer, durable, id, None).await })
    };
    let first = insert(1, Durable::AtOnce);
    let ((), begun) = heard(begun).await;
    // Committed, and not synced. What may be done twice does not wait for that.
    insert(2, Durable::Soon).await.unwrap().unwrap();
    let third = insert(3, Durable::AtOnce);
    let mut reader = Connection::Sqlite(Options::new(&folder.path().join("x.db")).open().unwrap());
    let mut visible = async || -> i64 {
        let count = query_scalar("SELECT COUNT(*) FROM t");
        count.fetch_one(&mut reader).await.unwrap()
    };
    // The job of the third is run meanwhile, and nobody else sees anything of it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(visible().await, 2);
    assert!(!first.is_finished() && !third.is_finished());
    told.send(true).unwrap();
    first.await.unwrap().unwrap();
    let ((), begun) = heard(begun).await;
    assert_eq!(visible().await, 3);
    assert!(!third.is_finished());
    told.send(true).unwrap();
    third.await.unwrap().unwrap();
    assert_eq!(begun.try_recv(), Err(std_mpsc::TryRecvError::Empty));
}

/// Whether a row is there.
async fn has(writer: &Writer, id: i64) -> bool {
    let rows = writer.run(move |db| {
        Box::pin(async move {
            let found = query_scalar("SELECT COUNT(*) FROM t WHERE id = $1").bind(id);
            Ok::<i64, _>(found.fetch_one(db).await?)
        })
    });
    rows.await.unwrap() == 1
}

#[tokio::test]
async fn what_could_not_be_synced_is_written_again_and_what_waited_behind_it_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, begun, told) = writer_with_syncs(&folder);
    let writer = Arc::new(writer);
    let insert = |id| {
        let writer = Arc::clone(&writer);
        tokio::spawn(async move { insert(&writer, id, None).await })
    };
    let first = insert(1);
    let ((), _begun) = heard(begun).await;
    let second = insert(2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    for is_good in [false, true, true, true] {
        told.send(is_good).unwrap();
    }
    let second = second.await.unwrap();
    assert!(matches!(second, Err(Error::NotCommitted(_))), "{second:?}");
    // It is in the log, and the log is on the disk.
    first.await.unwrap().unwrap();
    insert(3).await.unwrap().unwrap();
    assert!(has(&writer, 1).await && !has(&writer, 2).await);
}

/// Nothing else comes that would have it mended.
#[tokio::test]
async fn whoever_waits_alone_for_a_sync_that_fails_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, _begun, told) = writer_with_syncs(&folder);
    told.send(false).unwrap();
    let inserted = tokio::time::timeout(Duration::from_secs(60), insert(&writer, 1, None));
    inserted.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_can_neither_be_synced_nor_be_written_again_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, begun, told) = writer_with_syncs(&folder);
    let writer = Arc::new(writer);
    let own = Arc::clone(&writer);
    let first = tokio::spawn(async move { insert(&own, 1, None).await });
    let ((), _begun) = heard(begun).await;
    // What was written is not there any more: the checksum of the last page is that of another one.
    let log = folder.path().join("x.db-wal");
    let (whole, file) = (
        std::fs::read(&log).unwrap(),
        File::options().write(true).open(&log).unwrap(),
    );
    let at = whole.len() - 2_000;
    file.write_all_at(&[!whole[at]], at as u64).unwrap();
    told.send(false).unwrap();
    let first = first.await.unwrap();
    assert!(matches!(first, Err(Error::NotCommitted(_))), "{first:?}");
    let second = insert(&writer, 2, None).await;
    assert!(matches!(second, Err(Error::NotDurable(_))), "{second:?}");
    // It is, after all.
    file.write_all_at(&whole[at..=at], at as u64).unwrap();
    told.send(true).unwrap();
    insert(&writer, 3, None).await.unwrap();
}

#[tokio::test]
async fn a_thread_that_panics_amid_a_sync_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = task(&folder);
    let has_panicked = AtomicBool::new(false);
    set_sync(&mut task, move |log| {
        match has_panicked.swap(true, Ordering::SeqCst) {
            false => panic!("a sync"),
            true => log.sync_data(),
        }
    });
    let writer = Writer::of(task).unwrap();
    for id in 1..=3 {
        insert(&writer, id, None).await.unwrap();
    }
    assert_eq!(count(&writer).await, 3);
}

/// Nobody who waits for it has to see to that.
#[tokio::test]
async fn what_was_put_off_is_synced_though_its_caller_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = task(&folder);
    let (_jobs, mut queue) = mpsc::channel(1);
    let job = unanswered(|db| {
        Box::pin(async move {
            query("INSERT INTO t (id) VALUES (1)").execute(db).await?;
            Ok(())
        })
    });
    assert!(task.group(job, Durable::Soon, &mut queue).await.is_none());
    assert!(task.sync_at.is_some());
    let wake = Arc::clone(&task.wake);
    let next = tokio::time::timeout(Duration::from_secs(60), task.step(&mut queue, &wake));
    assert!(matches!(next.await.unwrap(), Step::Sync));
    task.sync().await;
    assert!(task.sync_at.is_none() && !task.is_doubtful);
}

/// Whoever opens a file does not hear of what failed before: so it stays open as long as it is the log.
#[tokio::test]
async fn a_log_stays_open_and_another_one_in_its_place_is_doubted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db-wal");
    let mut task = task(&folder);
    let before = Arc::clone(task.log.as_ref().unwrap());
    task.renew_log().unwrap();
    assert!(Arc::ptr_eq(&before, task.log.as_ref().unwrap()) && !task.is_doubtful);
    let octets = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, octets).unwrap();
    task.renew_log().unwrap();
    let found = task.log.as_ref().unwrap().metadata().unwrap();
    assert_eq!(found.ino(), path.metadata().unwrap().ino());
    assert!(task.is_doubtful);
}

#[tokio::test]
async fn what_nobody_waits_for_shares_transactions_and_is_done_though_nothing_follows() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    let all = (0..100).map(|id| insert_as(&writer, Durable::AtLeisure, id, None));
    for inserted in futures_util::future::join_all(all).await {
        inserted.unwrap();
    }
    let stats = writer.stats();
    assert!(stats.jobs == 100 && stats.transactions < 50, "{stats:?}");
}

/// After a sync that failed, what was not synced may be missing on the disk, and all later parts of the log with it.
#[tokio::test]
async fn nothing_is_written_behind_what_may_be_missing_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("x.db-wal");
    let mut task = task(&folder);
    let whole = std::fs::read(&log).unwrap();
    let at = whole.len() - 2_000;
    let file = File::options().write(true).open(&log).unwrap();
    let damage = |octet: u8| file.write_all_at(&[octet], at as u64).unwrap();
    task.sync_at = Some(Instant::now());
    // A device that cannot be synced, and a log that cannot be mended.
    task.log = Some(Arc::new(File::open("/dev/null").unwrap()));
    damage(!whole[at]);
    task.sync().await;
    assert!(task.is_doubtful && task.sync_at.is_some());
    assert!(matches!(task.begin().await, Err(Error::NotDurable(_))));
    damage(whole[at]);
    let mut connection = task.begin().await.unwrap();
    query("ROLLBACK").execute(&mut connection).await.unwrap();
    assert!(!task.is_doubtful && task.sync_at.is_none());
    assert_eq!(std::fs::read(&log).unwrap(), whole);
}

/// The log of the same file under another name is a folder, so that whoever reads it there fails.
#[tokio::test]
async fn nothing_is_written_while_a_log_that_must_be_kept_cannot_be_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name| folder.path().join(name);
    let mut task = task(&folder);
    let whole = std::fs::read(at("x.db-wal")).unwrap();
    std::fs::hard_link(at("x.db"), at("y.db")).unwrap();
    std::fs::create_dir(at("y.db-wal")).unwrap();
    let elsewhere = Database::Sqlite(Arc::new(Options::new(&at("y.db"))));
    let database = std::mem::replace(&mut task.database, elsewhere);
    task.must_pin = true;
    for _ in 0..2 {
        let refused = task.begin().await;
        assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
    }
    assert!(task.pin.is_none());
    assert_eq!(std::fs::read(at("x.db-wal")).unwrap(), whole);
    task.database = database;
    let mut connection = task.begin().await.unwrap();
    query("ROLLBACK").execute(&mut connection).await.unwrap();
    assert!(task.pin.is_some());
    // SQLite would begin the log anew.
    for sql in ["PRAGMA wal_checkpoint(PASSIVE)", "INSERT INTO t (id) VALUES (1)"] {
        query(sql).execute(&mut connection).await.unwrap();
    }
    let log = std::fs::read(at("x.db-wal")).unwrap();
    assert!(log.len() > whole.len() && log.starts_with(&whole));
}

#[tokio::test]
async fn only_a_writer_that_knows_of_no_failure_empties_the_log_when_it_ends() {
    for failure in [None, Some("doubt"), Some("pin"), Some("note")] {
        let folder = tempfile::tempdir().unwrap();
        let mut task = task(&folder);
        match failure {
            Some("doubt") => task.is_doubtful = true,
            Some("pin") => task.must_pin = true,
            Some(_) => task.database.note_kept_log().unwrap(),
            None => {}
        }
        task.end().await;
        let is_left = folder.path().join("x.db-wal").exists();
        assert_eq!(is_left, failure.is_some(), "{failure:?}");
    }
}

/// What is counted as brought into the database is read there, and was not synced.
#[tokio::test]
async fn nothing_is_written_once_pages_may_be_read_wrongly() {
    for is_partly_brought in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut task = task(&folder);
        let mut other = Connection::Sqlite(options(&folder).open().unwrap());
        let reader = task.database.pin().await.unwrap();
        let insert = query("INSERT INTO t (id) VALUES (1)");
        insert.execute(&mut other).await.unwrap();
        if is_partly_brought {
            let bring = query("PRAGMA wal_checkpoint(PASSIVE)");
            bring.execute(&mut other).await.unwrap();
        }
        drop(reader);
        task.keep_log().await;
        assert!(task.pin.is_some());
        match task.begin().await {
            Ok(_) => assert!(!is_partly_brought),
            Err(Error::NotDurable(_)) => assert!(is_partly_brought),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_log_that_another_process_could_not_bring_into_the_database_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut task, other) = (task(&folder), Database::Sqlite(Arc::new(options(&folder))));
    let (_jobs, mut queue) = mpsc::channel(1);
    for is_noted in [false, true] {
        if is_noted {
            other.note_kept_log().unwrap();
        }
        let job = unanswered(|_| Box::pin(async { Ok(()) }));
        assert!(task.group(job, Durable::AtOnce, &mut queue).await.is_none());
        assert_eq!(task.pin.is_some(), is_noted);
        assert_eq!(task.counters.keeps_log.load(Ordering::Relaxed), is_noted);
    }
    // All of it is read there.
    assert!(task.begin().await.is_ok());
}

/// Another process may have written there, and not heard of a failure.
#[tokio::test]
async fn the_log_is_synced_once_more_before_it_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = task(&folder);
    // It cannot be synced, and is not the log.
    task.log = Some(Arc::new(File::open("/dev/null").unwrap()));
    let log = folder.path().join("x.db-wal");
    let whole = std::fs::read(&log).unwrap();
    let at = whole.len() - 2_000;
    let file = File::options().write(true).open(&log).unwrap();
    file.write_all_at(&[!whole[at]], at as u64).unwrap();
    task.end().await;
    assert!(task.is_doubtful && log.exists());
}

#[tokio::test]
async fn a_database_that_is_not_where_it_was_is_written_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    insert(&writer, 1, None).await.unwrap();
    let (here, elsewhere) = (folder.path().join("x.db"), folder.path().join("y.db"));
    std::fs::copy(&here, &elsewhere).unwrap();
    std::fs::rename(&elsewhere, &here).unwrap();
    let refused = insert(&writer, 2, None).await;
    assert!(matches!(refused, Err(Error::NotDurable(_))), "{refused:?}");
    std::fs::remove_file(&here).unwrap();
    assert!(insert(&writer, 2, None).await.is_err());
}

fn fault() -> Result<(), Error> {
    panic!("a job")
}

#[tokio::test]
async fn a_job_that_panics_ends_its_transaction_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    let held = hold(&writer).await;
    let panicking = writer.run(|_| Box::pin(async { fault() }));
    let (first, panicked, ()) = tokio::join!(insert(&writer, 1, None), panicking, async { drop(held) });
    assert!(first.is_err() && panicked.is_err());
    insert(&writer, 2, None).await.unwrap();
    assert_eq!(count(&writer).await, 1);
}

/// SQLite has no server to lose. What comes nearest is a transaction that is gone before its jobs are through, as after errors of
/// the disk for which SQLite undoes it by itself. A connection to PostgreSQL is lost in `tests/integration/store/postgres.rs`.
#[tokio::test]
async fn a_transaction_that_is_lost_amid_its_jobs_fails_them_and_the_connection_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    insert(&writer, 1, None).await.unwrap();
    // What no other connection has.
    let mark = writer.run(|db| {
        Box::pin(async move {
            query("CREATE TEMP TABLE mark (id INTEGER)").execute(db).await?;
            Ok(())
        })
    });
    mark.await.unwrap();
    let is_marked = || {
        writer.run(|db| {
            Box::pin(async move {
                let count: i64 = query_scalar("SELECT COUNT(*) FROM mark").fetch_one(db).await?;
                Ok(count)
            })
        })
    };
    assert_eq!(is_marked().await.unwrap(), 0);
    let losing = writer.run(|db| {
        Box::pin(async move {
            query("INSERT INTO t (id) VALUES (3)").execute(&mut *db).await?;
            query("ROLLBACK").execute(db).await?;
            Ok(())
        })
    });
    let held = hold(&writer).await;
    let (second, lost, fourth, ()) = tokio::join!(
        insert(&writer, 2, None),
        losing,
        insert(&writer, 4, None),
        async {
            drop(held);
        }
    );
    for result in [second, lost] {
        assert!(matches!(result, Err(Error::NotCommitted(_))), "{result:?}");
    }
    fourth.unwrap();
    assert_eq!(count(&writer).await, 2);
    assert!(is_marked().await.is_err());
}

#[tokio::test]
async fn closing_waits_for_what_was_handed_in_before() {
    let folder = tempfile::tempdir().unwrap();
    let writer = writer(&folder).await;
    let (inserted, ()) = tokio::join!(insert(&writer, 1, None), writer.close());
    inserted.unwrap();
    let late = insert(&writer, 2, None).await;
    assert!(matches!(late, Err(Error::Database(sqlx::Error::PoolClosed))));
}
