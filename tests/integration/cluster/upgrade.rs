//! Nodes of two versions on one database, while they are replaced one by one under load.
//!
//! With `DIMED_LONG_TESTS=1` the earlier version is built from the history of this repository, once, which takes some minutes. Without,
//! the schema is that of a version to come, and the binary is the same: then it is shown that nodes of an earlier version live with
//! a later schema that says that they can, and nothing of what two binaries make of each other's rows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dimed::config::Config;
use tokio::time::sleep;

use super::{Node, Setting, submit_all_along};
use crate::support::child::{Launch, Process};
use crate::support::postgres::{Cluster, Database};

/// The last commit whose nodes do not watch each other, with schema 25.
const EARLIER: &str = "62728cd2905b";

/// Makes the schema what it was then.
const UNDO: &str =
    "DROP TABLE nodes; DROP TABLE node_reports; DELETE FROM _sqlx_migrations WHERE version > 25";

/// Makes it what a later version may make of it.
const LATER: &str = "ALTER TABLE accounts ADD COLUMN from_the_future BIGINT; \
     INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (9999, 'from the future', TRUE, '\\x00', 0)";

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn is_long() -> bool {
    std::env::var_os("DIMED_LONG_TESTS").is_some()
}

/// Builds the earlier version where the tests keep what they run beside us; again only what is not there yet.
fn build() -> PathBuf {
    let binaries = Path::new(crate::support::child::DIMED).parent().unwrap();
    let folder = binaries
        .parent()
        .unwrap()
        .join("peers")
        .join(format!("dimed-{EARLIER}"));
    let (source, target) = (folder.join("source"), folder.join("target"));
    std::fs::create_dir_all(&source).unwrap();
    let unpack = "git -C \"$1\" archive \"$2\" | tar -x -C \"$3\"";
    let done = Command::new("sh")
        .args(["-c", unpack, "sh", ROOT, EARLIER])
        .arg(&source)
        .status();
    assert!(
        done.unwrap().success(),
        "commit {EARLIER} is missing: fetch the whole history"
    );
    let done = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--bin", "dimed"])
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        .status();
    assert!(done.unwrap().success(), "commit {EARLIER} cannot be built");
    target.join("debug/dimed")
}

/// Keys of now that the earlier version does not know, beside those that are as by default, which are left out.
const UNKNOWN: [(&str, &str); 1] = [("listen", "operations")];

/// The same host while it has the earlier version.
fn with_earlier_config(node: &Node) -> Node {
    let mut table = toml::Table::try_from(Config::load(&node.config).unwrap()).unwrap();
    let default = Config::for_host("mx.hismail.test".parse().unwrap());
    drop_defaults(&mut table, &toml::Table::try_from(default).unwrap());
    for (section, key) in UNKNOWN {
        table[section].as_table_mut().unwrap().remove(key).unwrap();
    }
    let config = node.config.with_file_name("earlier.toml");
    std::fs::write(&config, toml::to_string(&table).unwrap()).unwrap();
    Node {
        config,
        log: node.log.clone(),
        ip: node.ip,
        _loopback: None,
    }
}

fn drop_defaults(table: &mut toml::Table, default: &toml::Table) {
    table.retain(|key, value| match (value, default.get(key)) {
        (toml::Value::Table(of), Some(toml::Value::Table(default))) => {
            drop_defaults(of, default);
            !of.is_empty()
        }
        (value, default) => key == "hostname" || default != Some(value),
    });
}

/// SIGTERM, and the next binary once it has ended.
async fn replace(process: &mut Process, next: impl Future<Output = Process>) {
    process.terminate();
    assert!(process.ended().await.success());
    *process = next.await;
}

async fn upgrade(database: &Database<'_>, setting: &Setting, earlier: &Earlier, processes: &mut [Process]) {
    let pause = Duration::from_secs(1);
    for (place, node) in setting.nodes.iter().enumerate() {
        sleep(pause).await;
        replace(&mut processes[place], node.start()).await;
        if place == 0 {
            if !is_long() {
                database.sql(LATER);
            }
            // One of the earlier version can still be started, for instance because its host was.
            sleep(pause).await;
            replace(&mut processes[2], earlier.start(&setting.nodes[2])).await;
        }
    }
    sleep(pause).await;
    processes.iter_mut().for_each(Process::check);
}

/// The earlier version; our own in its place, unless the run is long.
struct Earlier {
    binary: Option<PathBuf>,
}

impl Earlier {
    async fn start(&self, node: &Node) -> Process {
        match &self.binary {
            None => node.start().await,
            Some(_) => {
                let launch = Launch {
                    binary: self.binary.clone(),
                    ..Launch::default()
                };
                with_earlier_config(node).start_as(&launch).await
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_replaced_one_by_one_and_nothing_is_lost_or_delivered_twice() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 3).await;
    let earlier = Earlier {
        binary: is_long().then(build),
    };
    if is_long() {
        database.sql(UNDO);
    }
    let mut processes = Vec::new();
    for node in &setting.nodes {
        processes.push(earlier.start(node).await);
    }
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let upgrade = async {
        upgrade(&database, &setting, &earlier, &mut processes).await;
        stop.send(()).unwrap();
    };
    let (acknowledged, ()) = tokio::join!(submit_all_along(&setting.nodes, stopped), upgrade);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    setting.all_taken(&acknowledged).await;
    setting.here.idle().await;
    setting.assert_once(&[]);
}
