//! `dimed doctor`, run as the binary, beside a daemon and without one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use dimed::config::{self, Config, Publication};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use super::reload::way;
use crate::support::PATIENCE;
use crate::support::certificates::Certification;
use crate::support::child::DIMED;
use crate::support::loopback::{Loopback, SMTP};
use crate::support::name_server::{Denial, NameServer, Zone};
use crate::support::organization::Organization;
use crate::support::postgres::Cluster;
use crate::support::sink::{Behaviour, Sink};
use crate::support::watcher::until_reasons;
use crate::support::world::World;

/// What was found: its code, and how much it counts.
type Found = Vec<(String, String)>;

/// Runs it; exit code and findings.
fn doctor(organization: &Organization, arguments: &[&str]) -> (i32, Found) {
    let all = [&["doctor", "--json"], arguments].concat();
    let (code, said, error) = organization.binary(&all);
    (code, findings(&said, &error))
}

fn findings(said: &str, error: &str) -> Found {
    let object: Value = serde_json::from_str(said).unwrap_or_else(|_| panic!("{said}{error}"));
    let findings = object["findings"].as_array().unwrap_or_else(|| panic!("{said}"));
    for finding in findings {
        for field in ["what", "why", "advice"] {
            assert!(!finding[field].as_str().unwrap().is_empty(), "{finding}");
        }
    }
    let word = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let pair = |finding: &Value| (word(finding, "code"), word(finding, "weight"));
    findings.iter().map(pair).collect()
}

/// Codes of those that count so much.
fn of_weight(found: &Found, weight: &str) -> Vec<String> {
    let codes = found.iter().filter(|(_, counts)| counts == weight);
    codes.map(|(code, _)| code.clone()).collect()
}

/// Writes the configuration again with a change.
fn change(organization: &Organization, change: impl Fn(&mut Config)) {
    let mut config = Config::load(&organization.config).unwrap();
    change(&mut config);
    std::fs::write(&organization.config, toml::to_string(&config).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_should_be_is_not_found_and_what_is_not_is() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    hismail.publish_texts(&world).await;
    let there = Loopback::take();
    let _sink = Sink::start(there.ip, Behaviour::default()).await;
    world.plain_domain("plain.test", there.ip);
    let process = hismail.spawn().await;
    let reach = ["hismail.test", "--reach", "plain.test"];

    // Nobody has the names of addresses of loopback.
    let (code, found) = doctor(&hismail, &reach);
    assert_eq!(of_weight(&found, "wrong"), [""; 0]);
    assert_eq!(
        (code, of_weight(&found, "unknown")),
        (75, vec!["reverse_unknown".to_owned()])
    );
    let (code, text, _) = hismail.binary(&["doctor", "--reach", "none"]);
    assert_eq!(code, 75);
    for words in [
        "? the name of 127.",
        "\n      why: ",
        "\n      do:  ",
        "what is marked with a question mark",
    ] {
        assert!(text.contains(words), "{text}");
    }

    // The way out is closed, and DNS has something else.
    let dark = Loopback::take();
    world.plain_domain("dark.test", dark.ip);
    hismail.unpublish_texts(&world);
    let (code, found) = doctor(&hismail, &["--reach", "dark.test"]);
    assert_eq!(
        (code, of_weight(&found, "wrong")),
        (1, vec!["way_out_closed".to_owned(), "missing".to_owned()])
    );

    // The daemon itself knows why it is not ready.
    hismail.cli(&["queue", "drain"]).await;
    until_reasons(hismail.ip, &["drained"]).await;
    let (_, found) = doctor(&hismail, &["--reach", "none"]);
    assert!(
        of_weight(&found, "wrong").contains(&"drained".to_owned()),
        "{found:?}"
    );

    drop(process);
    let (_, found) = doctor(&hismail, &reach);
    assert!(
        of_weight(&found, "unknown").contains(&"daemon_silent".to_owned()),
        "{found:?}"
    );
    let (code, _, error) = hismail.binary(&["doctor", "nowhere.test"]);
    assert_eq!(code, 1);
    assert!(error.contains("nowhere.test is not served here"), "{error}");
}

/// Nobody chooses for the operator whom to connect to.
#[tokio::test(flavor = "multi_thread")]
async fn only_whom_the_operator_names_is_connected_to() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let untried = |found: &Found| of_weight(found, "risky").contains(&"way_out_untried".to_owned());
    let (_, found) = doctor(&hismail, &[]);
    assert!(untried(&found), "{found:?}");
    let (_, text, _) = hismail.binary(&["doctor"]);
    assert!(text.contains("nobody was connected to"), "{text}");
    // Whoever says so does not want to be told.
    assert!(!untried(&doctor(&hismail, &["--reach", "none"]).1));

    // The host that takes all mail of ours.
    let smart = Loopback::take();
    change(&hismail, |config| config.outbound.transports = vec![way(&smart)]);
    let (code, found) = doctor(&hismail, &[]);
    assert!(
        code == 1 && of_weight(&found, "wrong").contains(&"way_out_closed".to_owned()),
        "{found:?}"
    );
    let _sink = Sink::start(smart.ip, Behaviour::default()).await;
    let (_, found) = doctor(&hismail, &[]);
    assert!(
        !found.iter().any(|(code, _)| code.starts_with("way_out")),
        "{found:?}"
    );
    let place = format!("a connection to {} on port {SMTP} was tried", smart.ip);
    let (_, text, _) = hismail.binary(&["doctor"]);
    assert!(text.contains(&place), "{text}");
    let (_, said, _) = hismail.binary(&["doctor", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["connected_to"]["whom"], smart.ip.to_string());
}

/// The daemon still goes by the configuration that it was started with.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_passes_mail_on_for_strangers_is_found() {
    let world = World::new().await;
    let networks = |config: &mut Config| config.relay.networks = vec!["127.0.0.0/8".parse().unwrap()];
    let hismail = world.organization("hismail.test").config(networks).build().await;
    let _process = hismail.spawn().await;
    let (_, found) = doctor(&hismail, &["--reach", "none"]);
    assert!(
        of_weight(&found, "risky").contains(&"open_relay_untested".to_owned()),
        "{found:?}"
    );
    change(&hismail, |config| config.relay.networks.clear());
    let (code, found) = doctor(&hismail, &["--reach", "none"]);
    assert_eq!(code, 1);
    assert!(
        of_weight(&found, "wrong").contains(&"open_relay".to_owned()),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_or_open_to_everybody_is_found() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let data = hismail.folder.join("data");
    for file in ["tls/key.pem", "dimed.db"] {
        std::fs::set_permissions(data.join(file), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o702)).unwrap();
    let (code, found) = doctor(&hismail, &["--reach", "none"]);
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(
        (code, of_weight(&found, "wrong")),
        (1, ["key_readable", "writable_by_all"].map(str::to_owned).to_vec())
    );
    assert!(
        of_weight(&found, "risky").contains(&"database_readable".to_owned()),
        "{found:?}"
    );

    std::fs::set_permissions(data.join("tls/key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = "cp -a \"$1\" \"$1.copy\" && mount -t tmpfs tmpfs \"$1\" && cp -a \"$1.copy/.\" \"$1\" && shift && exec \"$@\"";
    let mut unshared = Command::new("unshare");
    unshared.args(["-rm", "sh", "-c", script, "sh"]).arg(&data);
    unshared.args([DIMED, "--config"]).arg(&hismail.config);
    unshared.args(["doctor", "--json", "--reach", "none"]);
    let done = tokio::task::block_in_place(|| unshared.output()).unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let found = findings(&text(&done.stdout), &text(&done.stderr));
    assert_eq!(of_weight(&found, "wrong"), ["not_kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_breaks_the_policy_of_the_host_is_found() {
    let world = World::new().await;
    let authority = Certification::new(world.home());
    let private = |[chain, key]: [PathBuf; 2]| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        [chain, key]
    };
    let certificate = |name: &str| private(authority.issue(name).files);
    let [chain, key] = certificate("mx.hismail.test");
    let roots = authority.roots();
    let enforced = |config: &mut Config| {
        config.tls.smtp_certificate = Some(chain.clone());
        config.tls.smtp_key = Some(key.clone());
        config.outbound.root_certificates = Some(roots.clone());
        config.mta_sts.mode = Publication::Enforce;
    };
    let hismail = world.organization("hismail.test").config(enforced).build().await;
    hismail.publish_texts(&world).await;
    let wrong = || of_weight(&doctor(&hismail, &["--reach", "none"]).1, "wrong");
    assert_eq!(wrong(), [""; 0]);
    let [chain, key] = certificate("mx.plain.test");
    change(&hismail, |config| {
        config.tls.smtp_certificate = Some(chain.clone());
        config.tls.smtp_key = Some(key.clone());
    });
    assert!(
        wrong().contains(&"certificate_not_for_policy".to_owned()),
        "{:?}",
        wrong()
    );
    let [chain, key] = private(authority.issue_expired("mx.hismail.test").files);
    change(&hismail, |config| {
        config.tls.smtp_certificate = Some(chain.clone());
        config.tls.smtp_key = Some(key.clone());
    });
    assert!(wrong().contains(&"certificate_ended".to_owned()), "{:?}", wrong());
}

/// With Knot as the name server, which has a root.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_lead_back_is_found() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").plain().build().await;
    let address = hismail.ip.to_string();
    let reversed: Vec<&str> = address.rsplit('.').collect();
    let reversed = reversed.join(".");
    for (name, wrong, risky) in [
        (Some("mx.hismail.test"), None, None),
        (Some("other.plain.test"), None, Some("reverse_other_name")),
        (Some("nowhere.plain.test"), Some("reverse_unconfirmed"), None),
        (None, Some("reverse_missing"), None),
    ] {
        let pointer = name.map_or(String::new(), |name| format!("{reversed} PTR {name}."));
        let root = Zone::signed(".", "ECDSAP256SHA256", Denial::Nsec).with("ns.dns-host A 127.0.0.1");
        let zones = [
            root,
            Zone::unsigned("in-addr.arpa").with(&pointer),
            Zone::unsigned("plain.test").with(&format!("other A {address}")),
            Zone::unsigned("hismail.test").with(&format!("@ MX 10 mx\nmx A {address}")),
        ];
        let knot = NameServer::start(&zones).await;
        change(&hismail, |config| {
            config.dns.servers = vec![knot.address];
            config.dns.trust_anchors = Some(knot.anchor_file());
        });
        let (_, found) = doctor(&hismail, &["--reach", "none"]);
        let of_names = |weight: &str| {
            let mut codes = of_weight(&found, weight);
            codes.retain(|code| code.starts_with("reverse"));
            codes
        };
        assert_eq!(of_names("wrong"), Vec::from_iter(wrong), "{name:?}");
        assert_eq!(of_names("risky"), Vec::from_iter(risky), "{name:?}");
        assert_eq!(of_names("unknown"), [""; 0], "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_sync_and_name_servers_that_are_silent_are_found() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let address = database.server().address.to_string();
    let dark = Loopback::take();
    let world = World::new().await;
    let on_server =
        |config: &mut Config| config.storage.database = address.parse::<config::Database>().unwrap();
    let hismail = world.organization("hismail.test").config(on_server).build().await;
    change(&hismail, |config| {
        config.dns.servers = vec![std::net::SocketAddr::new(dark.ip, 10053)];
    });
    let (code, found) = doctor(&hismail, &["--reach", "none"]);
    assert_eq!(
        (code, of_weight(&found, "wrong")),
        (1, vec!["name_servers".to_owned()])
    );
    cluster.sql("postgres", "ALTER SYSTEM SET fsync = off");
    cluster.kill();
    cluster.start("");
    let (code, found) = doctor(&hismail, &["--reach", "none"]);
    assert_eq!(
        (code, of_weight(&found, "wrong")),
        (1, vec!["store_not_durable".to_owned(), "name_servers".to_owned()])
    );
    change(&hismail, |config| {
        config.server.master_key_file = "/nonexistent/key".into()
    });
    assert_eq!(hismail.binary(&["doctor"]).0, 78);
}

/// Another program has it for longer than is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_locked_is_not_taken_for_a_broken_one() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let config = Config::load(&hismail.config).unwrap();
    let options = SqliteConnectOptions::new().filename(config.server.database());
    let mut holder = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    let (code, found) = doctor(&hismail, &["--reach", "none"]);
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    holder.close().await.unwrap();
    assert!(
        of_weight(&found, "unknown").contains(&"store_unusable".to_owned()),
        "{found:?}"
    );
    assert_eq!((code, of_weight(&found, "wrong")), (75, Vec::new()));
}

/// What is found first is told while the rest is waited for: nobody answers in the place of the name servers.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_of_each_thing_as_it_is_found() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let key = hismail.folder.join("data/tls/key.pem");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let place = Loopback::take();
    let silent = tokio::net::UdpSocket::bind((place.ip, 0)).await.unwrap();
    change(&hismail, |config| {
        config.dns.servers = vec![silent.local_addr().unwrap()];
    });
    let mut doctor = tokio::process::Command::new(DIMED)
        .arg("--config")
        .arg(&hismail.config)
        .args(["doctor", "--reach", "none"])
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(doctor.stdout.take().unwrap()).lines();
    let first = timeout(PATIENCE, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(first.starts_with("! "), "{first}");
    assert!(doctor.try_wait().unwrap().is_none(), "it has not ended");
}
