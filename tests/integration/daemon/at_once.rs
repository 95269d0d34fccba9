//! The same thing done at the same time.

use std::path::PathBuf;

use dimed::config::Config;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, query};

use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const HERMAIL: &str = "hermail.test";
const HISMAIL: &str = "hismail.test";

/// A copy of everything that an organization has.
async fn copy_of_data(organization: &Organization) -> PathBuf {
    let (from, to) = (organization.folder.join("data"), organization.folder.join("copy"));
    std::fs::create_dir(&to).unwrap();
    for file in std::fs::read_dir(&from).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        if file.path().is_file() && !name.starts_with("dimed.db") {
            std::fs::copy(file.path(), to.join(name)).unwrap();
        }
    }
    let database = SqliteConnectOptions::new().filename(from.join("dimed.db"));
    let mut connection = database.connect().await.unwrap();
    let copy = to.join("dimed.db");
    let copied = query("VACUUM INTO ?").bind(copy.to_str().unwrap());
    copied.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_over_many_sessions_at_once_is_delivered_once() {
    let world = World::new().await;
    let hermail = world.organization(HERMAIL).accounts(&["alice"]).build().await;
    let hismail = world.organization(HISMAIL).accounts(&["bob"]).build().await;
    let _here = hermail.start().await;
    let before = copy_of_data(&hismail).await;
    let there = hismail.start().await;
    let letter = "From: alice@hermail.test\r\n\r\nonce\r\n";
    hermail.submit("alice", &["bob@hismail.test"], letter).await;
    hismail.maildir("bob").only().await;
    let object = there.witness.objects().remove(0);
    hismail.idle().await;
    there.stop().await;

    // As it was before the object came.
    let mut config = Config::load(&hismail.config).unwrap();
    config.server.data_directory = before;
    std::fs::write(&hismail.config, toml::to_string(&config).unwrap()).unwrap();
    let _there = hismail.spawn().await;
    let sessions = (0..8).map(|_| {
        let (ip, object) = (hismail.ip, object.clone());
        tokio::spawn(async move {
            let mut talk = Talk::dmtp(ip, HERMAIL).await;
            talk.object(HERMAIL, HISMAIL, &object).await
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        let reply = session.await.unwrap();
        assert!(reply.starts_with("250 OK ["), "{reply}");
    }
    hismail.idle().await;
    assert_eq!(hismail.maildir("bob").count(), 1);
}
