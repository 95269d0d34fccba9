//! The daemon is killed again and again while it brings an old database up to date; the mail that waits in it is delivered.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use dimed::config::Config;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tokio::time::sleep;

use super::faults::Faults;
use crate::support::PATIENCE;
use crate::support::child::Process;
use crate::support::maildir::split;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const MESSAGES: usize = 12;
const APPLIED: &str = "SELECT count(*) FROM _sqlx_migrations WHERE success";

#[tokio::test(flavor = "multi_thread")]
async fn mail_in_an_old_database_survives_kills_while_it_is_brought_up_to_date() {
    let world = World::new().await;
    let builder = world.organization("hismail.test").plain().accounts(&["bob"]);
    let hismail = builder.build().await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    submit(&hismail).await;
    process.kill();
    let all = hismail.count(APPLIED).await;
    make_old(&hismail, 1).await;
    assert_eq!(hismail.count(APPLIED).await, 1);
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();

    let faults = Faults::new(world.home());
    faults.begin("sync", "/dimed.db", "sleep 3");
    let mut rng = StdRng::seed_from_u64(8);
    let (mut kills, mut midway) = (0, 0);
    let mut before = 1;
    while before < all {
        let mut process = Process::start(&hismail.config, &hismail.log(), &faults.launch());
        before = progress(&hismail, before).await;
        sleep(Duration::from_millis(rng.random_range(0..15))).await;
        process.kill();
        kills += 1;
        before = hismail.count(APPLIED).await.max(before);
        midway += usize::from(before < all);
    }
    assert!(midway >= 2, "{midway} of {kills} kills came midway");
    faults.end();
    let _process = hismail.spawn().await;
    hismail.idle().await;
    let mut found: Vec<usize> = hismail
        .maildir("bob")
        .messages()
        .iter()
        .map(|message| number(message))
        .collect();
    found.sort();
    assert_eq!(found, (0..MESSAGES).collect::<Vec<_>>());
    println!(
        "{kills} kills, {midway} of them between two of {all} migrations; all of {MESSAGES} messages delivered once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_every_earlier_schema_is_brought_up_to_date_and_newer_ones_are_refused() {
    let world = World::new().await;
    let builder = world.organization("hismail.test").accounts(&["bob"]);
    let hismail = builder.build().await;
    hismail.block_mailbox("bob");
    let mut process = hismail.spawn().await;
    submit(&hismail).await;
    process.kill();
    let all = usize::try_from(hismail.count(APPLIED).await).unwrap();
    for level in (1..all).rev() {
        make_old(&hismail, level).await;
        assert_eq!(hismail.count(APPLIED).await, level as i64);
        let (code, out, err) = hismail.binary(&["store", "verify"]);
        assert_eq!(code, 0, "level {level}: {out}{err}");
        assert_eq!(hismail.count(APPLIED).await, all as i64);
        assert_eq!(
            hismail.count("SELECT count(*) FROM recipients").await,
            MESSAGES as i64
        );
    }
    std::fs::remove_file(hismail.maildir("bob").0).unwrap();
    let mut process = hismail.spawn().await;
    hismail.maildir("bob").expect(MESSAGES).await;
    process.kill();
    hismail
        .change_database(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'newer', 1, x'00', 0)",
        )
        .await;
    let (code, _, err) = hismail.binary(&["queue", "list"]);
    assert_eq!(code, 78, "{err}");
}

async fn submit(hismail: &Organization) {
    let mut talk = Talk::smtp(hismail.ip).await;
    for number in 0..MESSAGES {
        let message = format!("From: alice@plain.test\r\n\r\n{number}\r\n");
        let reply = talk
            .transfer("alice@plain.test", &["bob@hismail.test"], &message)
            .await;
        assert!(reply.starts_with("250"), "{reply}");
    }
}

fn number(message: &str) -> usize {
    split(message).1.trim_end().parse().unwrap()
}

/// Waits until another migration has been made.
async fn progress(hismail: &Organization, before: i64) -> i64 {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let applied = hismail.count(APPLIED).await;
        if applied > before {
            return applied;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no migration after {before}"
        );
        sleep(Duration::from_millis(1)).await;
    }
}

/// Puts a database of an earlier schema in the place of the one that is there, with all that fits into it. The tables of the spool
/// are what they were.
async fn make_old(hismail: &Organization, level: usize) {
    let database = Config::load(&hismail.config).unwrap().server.database();
    let old = database.with_extension("old");
    let mut connection = SqliteConnectOptions::new()
        .filename(&old)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(false)
        .connect()
        .await
        .unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut migrations = Migrator::new(folder).await.unwrap();
    migrations.migrations = Cow::Owned(migrations.migrations[..level].to_vec());
    migrations.run(&mut connection).await.unwrap();
    copy(&mut connection, &database).await;
    connection.close().await.unwrap();
    for end in ["", "-wal", "-shm"] {
        // Not all of them are always there.
        let _ = std::fs::remove_file(format!("{}{end}", database.display()));
    }
    std::fs::rename(old, database).unwrap();
}

async fn copy(to: &mut SqliteConnection, from: &Path) {
    let attach = format!("ATTACH '{}' AS new", from.display());
    sqlx::query(AssertSqlSafe(attach))
        .execute(&mut *to)
        .await
        .unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE '_sqlx%'",
    )
    .fetch_all(&mut *to)
    .await
    .unwrap();
    for table in tables {
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM pragma_table_info(?1, 'main') INTERSECT SELECT name FROM pragma_table_info(?1, 'new')",
        )
        .bind(&table)
        .fetch_all(&mut *to)
        .await
        .unwrap();
        if !columns.is_empty() {
            let columns = columns.join(", ");
            let insert =
                format!("INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}");
            sqlx::query(AssertSqlSafe(insert))
                .execute(&mut *to)
                .await
                .unwrap();
        }
    }
}
