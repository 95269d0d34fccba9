//! What is said and written in the course of a set-up.

use std::collections::BTreeMap;
use std::sync::Arc;

use dimed::config::Config;
use dimed::daemon::Services;

use super::super::daemon::privacy::{assert_no_key, contains, files, keys};
use super::super::support::observer::Witness;
use super::pebble::Pebble;
use super::*;

/// Files that are secrets as a whole.
const PRIVATE: [&str; 5] = [
    "password",
    "etc/master.key",
    "data/acme-account.json",
    "data/tls/key.pem",
    "data/tls/smtp-key.pem",
];

/// Texts of which nobody may see any: lines of keys in PEM, the account's key, the password.
fn secrets(host: &Host) -> Vec<String> {
    let account: Value = serde_json::from_str(&host.desk.read("data/acme-account.json")).unwrap();
    let mut found = vec![
        PASSWORD.to_owned(),
        account["key_pkcs8"].as_str().unwrap().to_owned(),
    ];
    for key in ["data/tls/key.pem", "data/tls/smtp-key.pem"] {
        let text = host.desk.read(key);
        let lines = text
            .lines()
            .filter(|line| line.len() > 40 && !line.starts_with("--"));
        found.extend(lines.map(str::to_owned));
    }
    assert!(found.len() > 20);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_said_and_none_is_written_but_for_its_owner() {
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let asks = Pebble::asks(host.ip(), "http-01");
    let words = format!("{USUAL} {} {asks} --wait 0", pebble.options());
    let mut said = BTreeMap::new();
    // The first does everything, and the second has everything left to say for programs.
    for more in ["", "--json"] {
        let done = output(&mut host.setting_up(&format!("{words} {more}")));
        assert_eq!(
            done.status.code(),
            Some(75),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        said.insert(format!("standard output {more}"), done.stdout);
        said.insert(format!("standard error {more}"), done.stderr);
    }
    assert!(contains(&said["standard output "], "The authority has issued"));

    files(host.desk.0.path(), &mut said);
    let place = |name: &str| host.desk.path(name).display().to_string();
    for name in PRIVATE {
        said.remove(&place(name)).unwrap();
        assert!(name == "password" || host.desk.mode(name) == 0o600, "{name}");
    }
    assert!(said.contains_key(&place("etc/dimed.toml")) && said.contains_key(&place("data/dimed.db")));
    let config = Config::load(&host.config()).unwrap();
    let services = Services::open(config, Arc::new(Witness::default()))
        .await
        .unwrap();
    let keys = keys(&services, &ALICE.parse().unwrap()).await;
    for (place, octets) in &said {
        for secret in secrets(&host) {
            assert!(!contains(octets, &secret), "a secret is in {place}");
        }
        for key in &keys {
            assert_no_key(octets, key, place);
        }
    }
}
