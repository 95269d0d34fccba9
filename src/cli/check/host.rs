//! What mail of programs of this host rests on, and on whose behalf `dimed check` looks at it.

use std::fs::{metadata, read_to_string};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::surroundings::Finding;
use crate::accounts::Loaded;
use crate::base::durable;
use crate::cli::sendmail::login;
use crate::config::{self, Config, LocalMail, Warning};
use crate::daemon::{health, pickup};
use crate::mail::address::Domain;

/// What is worth a second look of the files for programs of this host.
pub fn of_host(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(path) = config.local.aliases_file().filter(|path| path.exists()) {
        match Loaded::read(&path, &config.host_names().origin) {
            Ok(loaded) => {
                let told = loaded.wrong.into_iter().chain(loaded.refused).take(10);
                warnings.extend(told.map(Warning::Aliases));
            }
            Err(error) => warnings.push(Warning::Aliases(format!("{}: {error}", path.display()))),
        }
    }
    warnings.extend(missing_aliases(&config.local));
    warnings.extend(unusable_drop_folder(config));
    warnings
}

/// The usual file need not be there; nobody has asked for it.
fn missing_aliases(local: &LocalMail) -> Option<Warning> {
    let path = local.aliases_file()?;
    let is_usual = local.aliases == LocalMail::default().aliases;
    (!is_usual && !path.exists()).then(|| {
        Warning::Aliases(format!(
            "{} (local.aliases) is not there, so that nobody gets mail by its aliases: make it, or take it out",
            path.display()
        ))
    })
}

/// The usual folder need not be there, as long as no program sends.
fn unusable_drop_folder(config: &Config) -> Option<Warning> {
    let path = config.local.drop_folder()?;
    let is_usual = config.local.drop == LocalMail::default().drop;
    let path_text = path.display();
    // Whoever looks may be root.
    let daemon = metadata(&config.server.data_directory).map(|found| found.uid());
    let daemon = daemon.unwrap_or_else(|_| rustix::process::geteuid().as_raw());
    match pickup::probe(&path, daemon) {
        Err(error @ pickup::Unusable::Unsafe) => Some(Warning::DropFolder(format!("{path_text}: {error}"))),
        Err(pickup::Unusable::Missing) if !is_usual => Some(Warning::DropFolder(format!(
            "{path_text} (local.drop) is not there, so that programs of this host cannot leave mail: make it with mode 1733 \
             for the daemon's user, or take it out"
        ))),
        _ => None,
    }
}

/// Whoever cannot read the configuration leaves mail in the usual folder, which must lead to where the daemon looks. `path` is the
/// configuration.
pub fn hidden_drop_folder(config: &Config, path: &Path) -> Option<Warning> {
    let drop = config.local.drop_folder()?;
    let usual = LocalMail::default().drop;
    let leads_there = drop
        .canonicalize()
        .is_ok_and(|drop| usual.canonicalize().is_ok_and(|usual| usual == drop));
    if drop == usual || leads_there || everybody_reads(path) {
        return None;
    }
    let (path, usual, drop) = (path.display(), usual.display(), drop.display());
    Some(Warning::DropFolder(format!(
        "users who cannot read {path} leave mail in {usual}, and it is taken from {drop} (local.drop): make the one a symbolic \
         link to the other, or let everybody read the configuration"
    )))
}

fn everybody_reads(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let allows =
        |path: &Path, bits: u32| metadata(path).is_ok_and(|found| found.permissions().mode() & bits == bits);
    allows(&path, 0o004) && path.ancestors().skip(1).all(|folder| allows(folder, 0o001))
}

/// Files and folders that everybody on this machine could put something else into. `path` is the configuration.
pub fn open_to_all(config: &Config, path: &Path) -> Vec<health::Finding> {
    // In a folder such as /tmp, a file stays its owner's.
    let places = [
        (path, "the configuration", 0),
        (
            durable::folder_of(path),
            "the folder of the configuration",
            0o1000,
        ),
        (config.server.data_directory.as_path(), "server.data_directory", 0),
    ];
    let open = places
        .into_iter()
        .filter(|(place, _, protected)| is_open(place, *protected));
    open.map(|(place, what, _)| {
        health::Finding::wrong(
            "writable_by_all",
            format!(
                "everybody on this machine can write to {} ({what})",
                place.display()
            ),
            "whoever does decides what the daemon does, and with whose mail",
            format!(
                "run `chmod o-w {}`, and see whether somebody has",
                place.display()
            ),
        )
    })
    .collect()
}

fn is_open(place: &Path, protected: u32) -> bool {
    let mode = metadata(place).map_or(0, |found| found.permissions().mode());
    mode & 0o002 != 0 && mode & protected == 0
}

/// Demands that no two services want one port of this host, where `[::]` may mean IPv4, too.
pub fn demand_apart(config: &Config) -> Result<(), config::Error> {
    let setting = read_to_string("/proc/sys/net/ipv6/bindv6only");
    let v6_takes_v4 = setting.is_ok_and(|setting| setting.trim() == "0");
    config.listen.check_apart(v6_takes_v4)
}

/// Whether somebody else runs the daemon, so that what may be read and written now says little about it. `user` is who looks.
pub fn of_another(data: &Path, user: u32) -> Option<Finding> {
    let owner = metadata(data).ok()?.uid();
    if owner == user {
        return None;
    }
    let [owner, user] = [owner, user].map(login);
    // A number, which a shell would take for a comment.
    let owner_word = match owner.starts_with('#') {
        true => format!("'{owner}'"),
        false => owner.clone(),
    };
    Some(Finding {
        code: "other_user",
        message: format!(
            "{} (server.data_directory) belongs to the user {owner}, and this is the user {user}: files that the one makes the other \
             may not be able to use, so run commands of dimed as the user who runs the daemon, such as `sudo -u {owner_word} dimed \
             check`",
            data.display()
        ),
    })
}

/// Other hosts need to find us by our name, and many refuse one that nobody can look up (RFC 5321 §2.3.5).
pub fn one_label(hostname: &Domain) -> Option<Finding> {
    (!hostname.as_str().contains('.')).then(|| Finding {
        code: "hostname_one_label",
        message: format!(
            "server.hostname is {hostname}, which is no full name: other hosts cannot find it, and many refuse mail from it; set \
             the name that DNS has for this host, such as mx.example.org"
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_folder_of_another_user_is_told() {
        let home = tempfile::tempdir().unwrap();
        let me = metadata(home.path()).unwrap().uid();
        assert_eq!(of_another(home.path(), me), None);
        let found = of_another(home.path(), me + 1).unwrap().message;
        assert!(
            found.contains(&format!("belongs to the user {}", login(me))),
            "{found}"
        );
        assert!(
            found.contains(" dimed check`") && found.contains("sudo -u "),
            "{found}"
        );
        assert_eq!(of_another(Path::new("/nonexistent"), me), None);
    }

    #[test]
    fn a_host_has_a_full_name() {
        assert!(one_label(&"mx".parse().unwrap()).is_some());
        assert!(one_label(&"mx.example.org".parse().unwrap()).is_none());
    }
}
