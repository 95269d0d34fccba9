#![allow(clippy::unwrap_used)]

use std::sync::mpsc as std_mpsc;

use super::super::query::{query, query_scalar};
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
    task.syncs = Some(Syncs::start_with(Arc::clone(&task.counters), sync).unwrap());
    (Writer::of(task).unwrap(), begun, told)
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

#[tokio::test]
async fn a_sync_that_fails_fails_its_jobs_and_those_that_waited_for_it() {
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
    // The log is mended before the third is done.
    for is_good in [false, true, true] {
        told.send(is_good).unwrap();
    }
    for result in [first.await.unwrap(), second.await.unwrap()] {
        assert!(matches!(result, Err(Error::NotCommitted(_))), "{result:?}");
    }
    insert(3).await.unwrap().unwrap();
    let rows = writer.run(|db| {
        Box::pin(async move {
            let others = query_scalar("SELECT COUNT(*) FROM t WHERE id <> 1");
            Ok::<i64, _>(others.fetch_one(db).await?)
        })
    });
    assert_eq!(rows.await.unwrap(), 1, "the second was undone");
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
    assert!(log.metadata().unwrap().len() > 0);
    task.is_put_off = true;
    // A device that cannot be synced.
    task.log = Some(Arc::new(File::open("/dev/null").unwrap()));
    task.sync().await;
    assert!(task.is_put_off && task.is_doubtful);
    let mut connection = task.begin().await.unwrap();
    query("ROLLBACK").execute(&mut connection).await.unwrap();
    assert!(!task.is_doubtful);
    assert_eq!(log.metadata().unwrap().len(), 0);
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
