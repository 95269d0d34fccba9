//! Whose files they are.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::super::peers::seat::{User, is_root};
use super::super::support::name_server::done;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_root_makes_for_itself_is_told() {
    let host = Host::new().await;
    let object = host.set_up(0, "--tls self-signed --no-wait");
    let mut warnings = object["warnings"].as_array().unwrap().iter();
    assert_eq!(
        warnings.any(|one| one["code"] == "made_by_root"),
        is_root(),
        "{object}"
    );
}

/// Root could read everything, and the daemon, which is another user, nothing.
#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_made_belongs_to_the_owner_of_the_data_directory() {
    let host = Host::new().await;
    let user = User::ordinary();
    std::fs::create_dir(host.desk.path("data")).unwrap();
    // That user may not look into the folder of the build.
    let binary = host.desk.path("dimed");
    std::fs::copy(DIMED, &binary).unwrap();
    if is_root() {
        let owner = format!("{}:{}", user.name, user.group);
        done(Command::new("chown").args(["-R", &owner]).arg(host.desk.0.path()));
    }
    // Nor can it look where root has the password.
    let private = host.desk.path("private");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    std::fs::rename(host.desk.path("password"), private.join("password")).unwrap();
    let usual = USUAL.replace("file password", "file private/password");
    let usual = host.setting_up(&format!("{usual} --tls self-signed --no-wait"));
    let mut setting_up = Command::new(&binary);
    setting_up
        .args(usual.get_args())
        .current_dir(host.desk.0.path())
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null());
    let ended = output(&mut setting_up);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{errors}");
    for made in [
        "etc/dimed.toml",
        "etc/master.key",
        "data/dimed.db",
        "data/tls/key.pem",
    ] {
        let owner = host.desk.path(made).metadata().unwrap().uid();
        assert_eq!(owner, user.ids().0, "{made}");
    }
}
