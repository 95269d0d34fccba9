//! A set-up that is cut off goes on where it was.

use std::time::Duration;

use super::*;

/// Longer than any set-up takes.
const LONGEST: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_goes_on_after_kills_at_any_moment() {
    let host = Host::new().await;
    let more = format!("{USUAL} --tls self-signed --no-wait");
    let (mut kills, mut patience) = (0, Duration::from_millis(10));
    // Each try is a little longer, so that every step is cut off.
    let done = loop {
        let mut setting_up = host.setting_up(&more);
        let setting_up = setting_up.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = setting_up.spawn().unwrap();
        tokio::time::sleep(patience).await;
        child.kill().unwrap();
        let ended = block_in_place(|| child.wait_with_output()).unwrap();
        // What was not killed has ended well.
        match ended.status.code() {
            None => kills += 1,
            code => {
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                break (code, said);
            }
        }
        patience = patience * 8 / 7;
        assert!(patience < LONGEST, "it never ends");
    };
    assert_eq!(done.0, Some(0), "{}", done.1);
    assert!(kills > 1, "nothing was cut off");
    let again = host.set_up(0, "--tls self-signed --no-wait");
    assert_eq!(steps(&again, "done"), Vec::<String>::new());
    assert!(output(&mut host.command("check")).status.success());
    let listed = output(&mut host.command("dkim list hermail.test --json"));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2, "{listed}");
    let _daemon = host.serve().await;
    host.first_message().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_is_gone_is_not_made_again() {
    let host = Host::new().await;
    host.set_up(0, "--tls self-signed --no-wait");
    std::fs::remove_file(host.desk.path("etc/master.key")).unwrap();
    let said = host.refused(78, &format!("{USUAL} --no-wait"));
    assert!(said.contains("put the key back from your copy"), "{said}");
    assert!(!host.desk.path("etc/master.key").exists());
}

/// The configuration is there by then, and would be taken for one whose database is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_could_not_make_its_master_key_goes_on_once_it_can() {
    let host = Host::new().await;
    let (key, note) = (
        host.desk.path("etc/master.key"),
        host.desk.path("etc/dimed.toml.begun"),
    );
    std::fs::create_dir(host.desk.path("etc")).unwrap();
    std::os::unix::fs::symlink("nowhere", &key).unwrap();
    let said = host.refused(78, &format!("{USUAL} --tls self-signed --no-wait"));
    assert!(said.contains("etc/master.key"), "{said}");
    assert!(host.config().exists() && note.exists());
    std::fs::remove_file(&key).unwrap();
    let done = host.set_up(0, "--tls self-signed --no-wait");
    assert_eq!(steps(&done, "already"), ["configuration"]);
    assert!(!note.exists());
}
