//! What the rows of a database say about mail between two domains while it waits (DESIGN.md §7).

use std::collections::BTreeSet;

use dimed::config::Config;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

use super::privacy::{assert_absent_at_rest, contains};
use crate::support::organization::Organization;
use crate::support::world::World;

/// Values of that length or longer are keys by which rows can be joined: ids, tags, fingerprints, addresses.
const KEY_OCTETS: usize = 20;

type Values = Vec<Vec<u8>>;

/// Every row of every table.
async fn rows(organization: &Organization) -> Vec<Values> {
    let config = Config::load(&organization.config).unwrap();
    let options = SqliteConnectOptions::new().filename(config.server.database());
    let mut db = options.connect().await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut db)
        .await
        .unwrap();
    let mut all = Vec::new();
    for table in tables {
        all.extend(rows_of(&mut db, &table).await);
    }
    assert!(all.len() > 10);
    all
}

async fn rows_of(db: &mut SqliteConnection, table: &str) -> Vec<Values> {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(&mut *db)
        .await
        .unwrap();
    let count = columns.len();
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("CAST(COALESCE({column}, '') AS BLOB)"))
        .collect();
    let sql = format!("SELECT {} FROM {table}", columns.join(", "));
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(db).await.unwrap();
    rows.iter()
        .map(|row| (0..count).map(|column| row.get(column)).collect())
        .collect()
}

/// What rows say that can be joined, whatever is joined by whatever.
fn joined(rows: Vec<Values>) -> Vec<Vec<u8>> {
    let mut groups: Vec<(BTreeSet<Vec<u8>>, Vec<u8>)> = Vec::new();
    for row in rows {
        let keys: BTreeSet<_> = row
            .iter()
            .filter(|value| value.len() >= KEY_OCTETS)
            .cloned()
            .collect();
        let (joining, apart): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|(known, _)| !known.is_disjoint(&keys));
        let mut merged = (keys, row.join(&b'\n'));
        for (known, text) in joining {
            merged.0.extend(known);
            merged.1.push(b'\n');
            merged.1.extend(text);
        }
        groups = apart;
        groups.push(merged);
    }
    groups.into_iter().map(|(_, text)| text).collect()
}

async fn assert_ends_apart(organization: &Organization) {
    let mut named = [false; 2];
    for group in joined(rows(organization).await) {
        let ends = [contains(&group, "hermail.test"), contains(&group, "hismail.test")];
        assert_ne!(ends, [true; 2], "{}", String::from_utf8_lossy(&group));
        named = [named[0] || ends[0], named[1] || ends[1]];
    }
    // That is: it was looked at the right rows.
    assert!(named.contains(&true));
}

async fn waits(organization: &Organization) {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while organization.count("SELECT count(*) FROM attempts").await == 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_that_can_be_joined_name_both_ends_while_mail_waits_and_nothing_is_left_when_it_is_done() {
    let world = World::new().await;
    let hermail = world.organization("hermail.test").accounts(&["alicia-planted"]);
    let hermail = hermail.build().await;
    let hismail = world.organization("hismail.test").accounts(&["robert-planted"]);
    let hismail = hismail.policy("strict").build().await;
    let mut here = hermail.spawn().await;
    let message = "From: alicia-planted@hermail.test\r\nTo: robert-planted@hismail.test\r\n\
                   Subject: zirconium-subject\r\n\r\npalladium-body\r\n";
    let secrets = ["zirconium-subject", "palladium-body"];
    // It waits to be sealed, for nobody is there to give signets.
    hermail
        .submit("alicia-planted", &["robert-planted@hismail.test"], message)
        .await;
    waits(&hermail).await;
    assert_ends_apart(&hermail).await;
    assert_absent_at_rest(&hermail, &[&secrets[..], &["robert-planted"]].concat());
    // It has been opened, and waits for the mailbox.
    hismail.block_mailbox("robert-planted");
    let _there = hismail.spawn().await;
    here.kill();
    here = hermail.spawn().await;
    hermail.cli_any(&["queue", "flush"]).await;
    waits(&hismail).await;
    assert_ends_apart(&hismail).await;
    assert_absent_at_rest(&hismail, &[&secrets[..], &["alicia-planted"]].concat());
    std::fs::remove_file(hismail.maildir("robert-planted").0).unwrap();
    let delivered = hismail.maildir("robert-planted").only().await;
    assert!(delivered.contains("palladium-body"), "{delivered}");
    hermail.idle().await;
    hismail.idle().await;
    here.check();
    for organization in [&hermail, &hismail] {
        for left in [
            "SELECT count(*) FROM messages",
            "SELECT count(*) FROM pieces",
            "SELECT count(*) FROM recipients",
            "SELECT count(*) FROM attempts",
            "SELECT count(*) FROM tickets",
        ] {
            assert_eq!(organization.count(left).await, 0, "{left}");
        }
    }
}
