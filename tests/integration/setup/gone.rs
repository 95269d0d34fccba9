//! An installation whose database is not where it should be, and domains that were there before.

use std::fs::{self, File};

use super::wrong::line;
use super::*;

const QUIET: &str = "--tls self-signed --no-wait";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_where_the_disk_of_an_installation_is_not_mounted() {
    let host = Host::new().await;
    host.set_up(0, QUIET);
    let note = host.desk.path("etc/dimed.toml.begun");
    assert!(!note.exists());
    let (data, disk) = (host.desk.path("data"), host.desk.path("disk"));
    fs::rename(&data, &disk).unwrap();
    fs::create_dir(&data).unwrap();
    let is_refused = |trace: &str| {
        let said = host.refused(78, &format!("{USUAL} {QUIET}"));
        for words in [trace, "mount its disk", "--new"] {
            assert!(line(&said).contains(words), "{said}");
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    };
    is_refused("the master key of an installation");
    // The key may have been on the same disk.
    let (key, away) = (host.desk.path("etc/master.key"), host.desk.path("key"));
    fs::rename(&key, &away).unwrap();
    is_refused("was written by a set-up that made a database");
    assert!(!key.exists());
    fs::rename(&away, &key).unwrap();
    // Nor does it help that the configuration is lost, too.
    let text = host.desk.read("etc/dimed.toml");
    fs::remove_file(host.config()).unwrap();
    is_refused("the master key of an installation");
    assert!(!host.config().exists());
    host.desk.write("etc/dimed.toml", &text);

    fs::remove_dir(&data).unwrap();
    fs::rename(&disk, &data).unwrap();
    assert_eq!(steps(&host.set_up(0, QUIET), "done"), [""; 0]);

    fs::rename(&data, &disk).unwrap();
    let afresh = host.set_up(0, &format!("--new {QUIET}"));
    assert_eq!(
        steps(&afresh, "done"),
        ["domain", "account", "dkim", "certificate"]
    );
    assert!(!note.exists());
}

/// Whatever would make a database is refused in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn no_domain_is_added_where_the_disk_of_an_installation_is_not_mounted() {
    let host = Host::new().await;
    host.set_up(0, QUIET);
    let data = host.desk.path("data");
    fs::rename(&data, host.desk.path("disk")).unwrap();
    fs::create_dir(&data).unwrap();
    let add = |code: i32, more: &str| {
        let done = output(&mut host.command(&format!("domain add plain.test {more}")));
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{more}\n{said}");
        said
    };
    for more in ["", "--plain", "--relay"] {
        let said = add(78, more);
        assert!(line(&said).contains("mount its disk"), "{said}");
        assert!(line(&said).ends_with("begin afresh with --new"), "{said}");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    }
    add(0, "--plain --new");
    assert!(data.join("dimed.db").exists());
    assert!(!host.desk.path("etc/dimed.toml.begun").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_was_cut_off_before_there_was_a_database_goes_on() {
    let host = Host::new().await;
    host.set_up(0, QUIET);
    fs::remove_dir_all(host.desk.path("data")).unwrap();
    host.desk.write("etc/dimed.toml.begun", "");
    let again = host.set_up(0, QUIET);
    assert_eq!(steps(&again, "already"), ["configuration", "keys"]);
    assert!(!host.desk.path("etc/dimed.toml.begun").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_set_up_runs_at_a_time() {
    let host = Host::new().await;
    let is_refused = |folder: PathBuf| {
        let other = File::open(folder).unwrap();
        other.lock().unwrap();
        let said = host.refused(75, &format!("{USUAL} {QUIET}"));
        assert!(line(&said).contains("another `dimed setup` is running"), "{said}");
    };
    fs::create_dir(host.desk.path("etc")).unwrap();
    is_refused(host.desk.path("etc"));
    assert!(host.is_untouched());
    host.set_up(0, QUIET);
    is_refused(host.desk.path("etc"));
    host.set_up(0, QUIET);
}

/// Such as /etc, which is everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn no_folder_is_locked_but_that_of_the_configuration() {
    let host = Host::new().await;
    let above = File::open(host.desk.path(".")).unwrap();
    above.lock().unwrap();
    host.set_up(0, QUIET);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_written_leaves_no_folder() {
    let host = Host::new().await;
    // There can be a file of that name, but no note beside it.
    let long = host.desk.path(&format!("etc/dimed/{}", "a".repeat(250)));
    let usual = host.setting_up(&format!("{USUAL} {QUIET}"));
    let mut setting_up = Command::new(DIMED);
    let words = usual.get_args().skip_while(|word| *word != "setup");
    setting_up
        .current_dir(host.desk.0.path())
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env("DIMED_CONFIG", &long)
        .args(words);
    let done = output(&mut setting_up);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(78), "{said}");
    assert!(
        line(&said).contains("the configuration cannot be written"),
        "{said}"
    );
    assert!(!host.desk.path("etc").exists());
}

/// Of which one has no DIME, and gets it; and the other nobody who reads its mail.
#[tokio::test(flavor = "multi_thread")]
async fn domains_that_were_there_before_are_in_nobodys_way() {
    let host = Host::new().await;
    host.set_up(0, QUIET);
    for name in ["plain.test", "lonely.test"] {
        let added = output(&mut host.command(&format!("domain add {name} --plain")));
        assert!(added.status.success(), "{name}");
    }
    let words = "setup plain.test --account carol@plain.test --password-file password --no-wait --json";
    let done = output(&mut host.command(words));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{errors}");
    let object: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(steps(&object, "done"), ["domain", "account", "dkim"]);
    let warned: Vec<&str> = object["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|warning| warning["code"] == "nobody_in_charge")
        .map(|warning| warning["message"].as_str().unwrap())
        .collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("postmaster@lonely.test"), "{warned:?}");
    let records = object["records"]["records"].as_array().unwrap();
    assert!(
        records.iter().any(|record| record["name"] == "_dx.plain.test"),
        "{object}"
    );
}
