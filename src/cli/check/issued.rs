//! The certificate that the authority of `tls.acme` issues: whether it has come, and whether the daemon can put it in place.

use std::fs::{Metadata, metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::base::durable;
use crate::config::Config;
use crate::daemon::health::Finding;

/// Who runs the daemon under systemd.
const UNIT: &str = "dimed.service";

/// What is not as it should be; nothing where no authority is to issue any.
pub fn issued(config: &Config) -> Vec<Finding> {
    awaited(config).into_iter().chain(unwritable(config)).collect()
}

fn awaited(config: &Config) -> Option<Finding> {
    config.tls.is_awaited().then(|| {
        Finding::wrong(
            "certificate_awaited",
            "the authority of tls.acme has not issued a certificate yet",
            "SMTP uses the one for DMTP until then, which mail programs may not accept",
            "the daemon asks for it, and says in its log why there is none (tls.certificate_not_issued); `dimed setup` asks at once",
        )
    })
}

fn unwritable(config: &Config) -> Option<Finding> {
    let certificate = config
        .tls
        .acme
        .as_ref()
        .and(config.tls.smtp_certificate.as_ref())?;
    let data = &config.server.data_directory;
    let folder = durable::folder_of(certificate);
    (!lets_write(folder, data) || is_kept_out(&unit(), folder, data)).then(|| {
        Finding::wrong(
            "certificate_unwritable",
            format!("the daemon cannot write {} (tls.smtp_certificate)", certificate.display()),
            "no certificate is asked for as long as that is so, and none replaces the one in use when it ends",
            format!(
                "name a place below {} there and at tls.smtp_key, or make {} the daemon's own and list it at ReadWritePaths= in the unit",
                data.display(),
                folder.display()
            ),
        )
    })
}

/// Whether the owner of the data directory can put files into a folder, or make it, as far as whoever looks can tell.
fn lets_write(folder: &Path, data: &Path) -> bool {
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(folder);
    let (Ok(owner), Ok(place)) = (metadata(data), metadata(there)) else {
        return true;
    };
    let tried = access(there, Access::WRITE_OK | Access::EXEC_OK);
    let is_let = match owner.uid() == rustix::process::getuid().as_raw() {
        true => tried.is_ok(),
        false => tried != Err(Errno::ROFS) && may_write(&place, owner.uid(), owner.gid()),
    };
    is_let && place.is_dir()
}

fn may_write(place: &Metadata, user: u32, group: u32) -> bool {
    let bits = match (place.uid() == user, place.gid() == group) {
        (true, _) => 0o300,
        (_, true) => 0o030,
        _ => 0o003,
    };
    user == 0 || place.mode() & bits == bits
}

/// What systemd says of the unit; nothing where none runs.
fn unit() -> String {
    let shown = Command::new("systemctl")
        .args([
            "show",
            UNIT,
            "--property=ProtectSystem,ReadWritePaths,StateDirectory",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    shown.map_or_else(
        |_| String::new(),
        |shown| String::from_utf8_lossy(&shown.stdout).into_owned(),
    )
}

/// Whether the unit, of which this is `shown`, lets the daemon write in that data directory, and not in the folder.
fn is_kept_out(shown: &str, folder: &Path, data: &Path) -> bool {
    let words = |property: &str| {
        let value = shown.lines().find_map(|line| line.strip_prefix(property));
        value.unwrap_or_default().split_whitespace()
    };
    let lets = |place: &Path| {
        words("ReadWritePaths=").any(|path| place.starts_with(path.trim_start_matches(['-', '+'])))
            || words("StateDirectory=").any(|name| place.starts_with(Path::new("/var/lib").join(name)))
    };
    words("ProtectSystem=").any(|how| how == "strict") && lets(data) && !lets(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_the_unit_does_not_list_is_kept_out() {
        const SHOWN: &str =
            "ReadWritePaths=-/var/spool/dimed/drop /srv/tls\nStateDirectory=dimed\nProtectSystem=strict\n";
        let data = Path::new("/var/lib/dimed");
        for (folder, is_out) in [
            ("/etc/dimed/tls", true),
            ("/srv/tls/mx", false),
            ("/var/lib/dimed/tls", false),
        ] {
            assert_eq!(is_kept_out(SHOWN, Path::new(folder), data), is_out, "{folder}");
        }
        let elsewhere = Path::new("/etc/dimed/tls");
        assert!(!is_kept_out(SHOWN, elsewhere, Path::new("/srv/mail")));
        assert!(!is_kept_out("", elsewhere, data));
    }

    #[test]
    fn a_folder_is_written_by_its_owner_or_whomever_its_mode_lets() {
        let home = tempfile::tempdir().unwrap();
        assert!(lets_write(&home.path().join("tls/mx"), home.path()));
        std::fs::write(home.path().join("file"), "").unwrap();
        assert!(!lets_write(&home.path().join("file/mx"), home.path()));
        let found = metadata(home.path()).unwrap();
        let (user, group) = (found.uid() + 1, found.gid() + 1);
        for (mode, group, may) in [
            (0o770, group, false),
            (0o770, group - 1, true),
            (0o773, group, true),
        ] {
            std::fs::set_permissions(home.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                may_write(&metadata(home.path()).unwrap(), user, group),
                may,
                "{mode:o}"
            );
        }
    }
}
