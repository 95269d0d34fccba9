//! Exit codes. Nothing else chooses them.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use rustix::io::Errno;
use serde_json::{Value, json};

use super::sendmail::{Status, caller};
use super::{check, context, files, setup, submit, traces};
use crate::{accounts, config, daemon, net, signet_service, store};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes.
    Done,
    /// The answer is no, or it could not be done.
    No,
    /// The arguments have no meaning.
    Usage,
    /// It may work later.
    TryLater,
    /// The configuration has to be put right first.
    Configuration,
    /// As others expect of `sendmail`.
    Sysexits(Status),
}

impl Exit {
    /// The number, as `sysexits.h` has it where it can.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::TryLater => 75,
            Self::Configuration => 78,
            Self::Sysexits(status) => status.code(),
        }
    }

    /// How a command that failed ends: the first cause that says something decides.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(judge).unwrap_or(Self::No)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure, for programs.
pub fn object(exit: Exit, told: &str) -> Value {
    let result = match exit {
        Exit::TryLater => "try_later",
        _ => "refused",
    };
    json!({ "result": result, "message": told })
}

/// A failure with all its causes in one line; a cause that the one above it quotes is not said again.
pub fn told(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line += ": ";
            line += &text;
        }
    }
    if error
        .chain()
        .filter_map(store_error)
        .any(store::Error::is_damaged)
    {
        line += "; restore a backup, or write what can still be read into files (`dimed store export`)";
    }
    let is_denied = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    if error.chain().any(is_denied) {
        line += &format!("; this is the user {}", caller().login);
    }
    line
}

/// The error of the store that a cause is.
fn store_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a store::Error> {
    if let Some(daemon::Error::Store(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(accounts::Error::Store(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}

/// Arguments that each may have a meaning and together have none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);

fn judge(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if cause.is::<Misuse>() {
        return Some(Exit::Usage);
    }
    // Standard output goes to a full disk.
    if let Some(error) = cause.downcast_ref::<io::Error>()
        && files::is_out_of_room(error.kind())
    {
        return Some(Exit::TryLater);
    }
    if let Some(error) = cause.downcast_ref::<files::Error>() {
        return Some(error.exit());
    }
    if cause.is::<setup::Busy>() {
        return Some(Exit::TryLater);
    }
    if let Some(error) = cause.downcast_ref::<submit::Error>() {
        return Some(error.exit());
    }
    if let Some(error) = cause.downcast_ref::<net::acme::Error>() {
        return Some(of_acme(error));
    }
    if cause.is::<config::Error>()
        || cause.is::<net::tls::Error>()
        || cause.is::<check::NobodyInCharge>()
        || cause.is::<check::UnusableCredentials>()
        || cause.is::<check::UnusableLog>()
        || cause.is::<traces::Gone>()
        || cause.is::<context::KeyGone>()
    {
        return Some(Exit::Configuration);
    }
    if let Some(error) = cause.downcast_ref::<daemon::Error>() {
        return Some(of_daemon(error));
    }
    if let Some(error) = cause.downcast_ref::<store::Error>() {
        return Some(of_store(error));
    }
    match (
        cause.downcast_ref::<accounts::Error>(),
        cause.downcast_ref::<signet_service::Error>(),
    ) {
        (Some(accounts::Error::Store(error)), _) => Some(of_store(error)),
        (Some(accounts::Error::Unavailable(_) | accounts::Error::AliasesUnread), _) => Some(Exit::TryLater),
        (_, Some(signet_service::Error::Store(error))) => Some(of_store(error)),
        _ => None,
    }
}

/// A port in use, or another daemon, may be gone at the next try; a port that we may not use will not be free.
fn of_daemon(error: &daemon::Error) -> Exit {
    match error {
        daemon::Error::Store(error) => of_store(error),
        daemon::Error::Listen(_, error) if error.kind() == ErrorKind::PermissionDenied => Exit::Configuration,
        daemon::Error::Listen(..) | daemon::Error::Running(_) | daemon::Error::Unread => Exit::TryLater,
        _ => Exit::Configuration,
    }
}

/// What is for the operator to put right is not what an authority will say again.
fn of_acme(error: &net::acme::Error) -> Exit {
    use net::acme::Error as E;
    match error {
        E::Listen(_, source) if source.kind() == ErrorKind::PermissionDenied => Exit::Configuration,
        E::File(..) | E::Unwritable(..) | E::Account(_) | E::Key(_) => Exit::Configuration,
        error if error.is_passing() => Exit::TryLater,
        _ => Exit::No,
    }
}

fn of_store(error: &store::Error) -> Exit {
    use store::Error as E;
    match error {
        E::Database(_) | E::Schema(_) | E::NotDurable(_) => match error.may_pass() {
            true => Exit::TryLater,
            false => Exit::Configuration,
        },
        // Also where somebody else was faster, or reads.
        E::InUse | E::NotCommitted(_) | E::LeaseLost | E::Changed | E::LogInUse => Exit::TryLater,
        E::File(error) if is_fault_of_disk(error) => Exit::TryLater,
        E::File(_) | E::WrongMasterKey | E::NoDatabase(_) | E::Unfinished(_) => Exit::Configuration,
        _ => Exit::No,
    }
}

/// Whether the disk has failed or is full, and the file is as it should be.
fn is_fault_of_disk(error: &io::Error) -> bool {
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    is_full || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use sqlx::migrate::MigrateError;

    use super::*;

    #[test]
    fn failures_are_told_in_one_line_that_says_nothing_twice() {
        let source = std::io::Error::other("disk\nfull");
        let quoted = config::Error::Unreadable {
            path: "/x".into(),
            source,
        };
        let error = anyhow::Error::new(quoted).context("the configuration cannot be used");
        assert_eq!(told(&error), "the configuration cannot be used: /x: disk full");
        let error = anyhow::Error::new(daemon::Error::Store(store::Error::WrongMasterKey));
        assert_eq!(
            told(&error),
            "the store cannot be opened: the master key does not belong to this database"
        );
    }

    #[test]
    fn who_may_not_is_named() {
        let error =
            anyhow::Error::new(io::Error::from(ErrorKind::PermissionDenied)).context("x cannot be made");
        let expected = format!(
            "x cannot be made: permission denied; this is the user {}",
            caller().login
        );
        assert_eq!(told(&error), expected);
    }

    #[test]
    fn a_port_that_may_not_be_used_is_for_the_operator() {
        let listen = |kind: ErrorKind| {
            let address = "127.0.0.1:25".parse().unwrap();
            anyhow::Error::new(daemon::Error::Listen(address, kind.into()))
        };
        assert_eq!(Exit::of(&listen(ErrorKind::PermissionDenied)).code(), 78);
        assert_eq!(Exit::of(&listen(ErrorKind::AddrInUse)).code(), 75);
    }

    #[test]
    fn causes_decide_wherever_they_stand() {
        let exists = anyhow::Error::new(accounts::Error::Store(store::Error::Exists)).context("adding");
        assert_eq!(Exit::of(&exists).code(), 1);
        let busy = anyhow::Error::new(store::Error::Database(sqlx::Error::PoolTimedOut)).context("listing");
        assert_eq!(Exit::of(&busy).code(), 75);
        let overtaken = signet_service::Error::Store(store::Error::Changed);
        let overtaken = anyhow::Error::new(overtaken).context("publishing");
        assert_eq!(Exit::of(&overtaken).code(), 75);
        let key = anyhow::Error::new(store::Error::WrongMasterKey);
        assert_eq!(Exit::of(&key).code(), 78);
        let durable = anyhow::Error::new(store::Error::NotDurable("fsync=off".into()));
        assert_eq!(Exit::of(&durable).code(), 75);
        let cut_off = MigrateError::ExecuteMigration(sqlx::Error::WorkerCrashed, 7);
        assert_eq!(Exit::of(&store::Error::Schema(cut_off).into()).code(), 75);
        let newer = MigrateError::VersionMissing(9999);
        assert_eq!(Exit::of(&store::Error::Schema(newer).into()).code(), 78);
        let file = |error: io::Error| Exit::of(&store::Error::File(error).into()).code();
        assert_eq!(file(Errno::IO.into()), 75);
        assert_eq!(file(ErrorKind::StorageFull.into()), 75);
        assert_eq!(file(ErrorKind::PermissionDenied.into()), 78);
        let config = anyhow::Error::new(config::Error::NoMasterKey { path: "/x".into() }).context("opening");
        assert_eq!(Exit::of(&config).code(), 78);
        assert_eq!(Exit::of(&anyhow::anyhow!("no")).code(), 1);
        let full = || io::Error::from(ErrorKind::StorageFull);
        let file = || std::ffi::OsString::from("a.eml").into();
        let copying = files::Error::Read {
            file: file(),
            source: full(),
        };
        let writing = files::Error::Write {
            file: file(),
            source: full(),
        };
        for error in [full().into(), copying.into(), writing.into()] {
            assert_eq!(Exit::of(&error).code(), 75);
        }
    }
}
