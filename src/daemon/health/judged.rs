//! What a daemon can look at as well as a command, put into words once.

use std::path::Path;

use super::Finding;
use crate::base::descriptors;
use crate::base::space::{Floor, Free};
use crate::base::time::Timestamp;
use crate::config::Config;
use crate::mail::date::rfc5322;
use crate::net::dns::SelfTest;
use crate::net::tls::Period;
use crate::store::Error;

const MIB: u64 = 1024 * 1024;

/// A database has less for its log and what is being written, whatever the operator allows.
const LEAST_ROOM: u64 = 64 * MIB;

/// Whether there is room for mail.
pub fn space(is_short: bool) -> Option<Finding> {
    is_short.then(|| {
        Finding::wrong(
            "space_short",
            "the disk of server.data_directory is nearly full",
            "no mail is taken in until there is room again; what is here is still delivered",
            "make room, or lower storage.min_free_mib or storage.min_free_inodes",
        )
    })
}

/// The same for whoever looks once, and whether the next things that a database writes fit, however low the floor is.
pub fn room(free: Free, floor: Floor) -> Option<Finding> {
    if free.is_below(floor) {
        return space(true);
    }
    (free.octets < LEAST_ROOM).then(|| {
        Finding::wrong(
            "space_low",
            format!(
                "the disk of server.data_directory has {} MiB left, and storage.min_free_mib allows that",
                free.octets / MIB
            ),
            "what the database writes next may not fit: mail is refused then, and what was delivered may be delivered again, \
             because that cannot be noted",
            "make room, and raise storage.min_free_mib",
        )
    })
}

/// Whether the time can be believed.
pub fn clock(is_doubted: bool) -> Option<Finding> {
    is_doubted.then(|| {
        Finding::wrong(
            "clock_doubted",
            "the clock has jumped by more than an hour, and may be wrong",
            "nothing expires, comes back for its age or is destroyed while the time is in doubt",
            "set the clock, or run `dimed clock confirm` if it is right",
        )
    })
}

/// Whether answers of DNS can be proven.
pub fn name_servers(found: SelfTest) -> Option<Finding> {
    (found != SelfTest::Passed).then(|| {
        Finding::wrong(
            "name_servers",
            found.to_string(),
            "mail to other domains waits until answers can be proven",
            "name other servers in [dns], or put these right",
        )
    })
}

/// Whether mail could be kept; `failure` is what came of trying.
pub fn store(failure: Option<&Error>) -> Option<Finding> {
    Some(match failure? {
        Error::NotDurable(what) => Finding::wrong(
            "store_not_durable",
            format!("the database is not durable: {what}"),
            "mail that was acknowledged could be lost, so none is taken in and nothing is delivered",
            "turn on what was turned off, or end what it says and start again",
        ),
        damaged if damaged.is_damaged() => Finding::wrong(
            "store_unusable",
            "the database is damaged",
            "no mail is taken in, and nothing is delivered",
            "stop the daemon with its sockets (`systemctl stop 'dimed*.socket' dimed`), move the data directory away, and restore a \
             backup (`dimed store restore`); `dimed store export` writes mail that can still be read into files",
        ),
        locked if locked.is_locked() => Finding::unknown(
            "store_unusable",
            "the database is locked by another program",
            "no mail is taken in, and nothing is delivered, as long as that goes on",
            "look who has its file open (`fuser`), and try again",
        ),
        // What a database says of itself can have values of rows in it.
        _ => Finding::wrong(
            "store_unusable",
            "the database cannot be used now",
            "no mail is taken in, and nothing is delivered",
            "see the log for why; with PostgreSQL, look whether its server is there and takes connections",
        ),
    })
}

/// Whether what was written could be brought into the file of the database.
pub fn kept_log(is_kept: bool) -> Option<Finding> {
    is_kept.then(|| {
        Finding::wrong(
            "store_log_kept",
            "what was written could not be brought into the file of the database, and is kept in its log",
            "pages of the file may be missing on the disk, and be read wrongly; the log has them, and grows",
            "look at the disk; then stop the daemon and all commands, start it again, and run `dimed store verify`",
        )
    })
}

/// There is no database where it should be.
pub fn no_database(place: &Path) -> Finding {
    Finding::wrong(
        "no_database",
        format!("there is no database: {} is not there, or empty", place.display()),
        "the daemon does not start: an empty database would refuse and return everybody's mail",
        "mount its disk, or restore a backup; on a new host, `dimed setup` or `dimed domain add` makes one",
    )
}

/// Whether as many connections as configured can be had where so many files may be open.
pub fn files(config: &Config, limit: Option<usize>) -> Option<Finding> {
    let wanted = config.limits.connections.get();
    let (limit, each) = (limit?, config.descriptors_of_connection());
    let taken = descriptors::connections(wanted, each, limit, descriptors::AT_START);
    (taken < wanted).then(|| {
        Finding::risky(
            "files_few",
            format!(
                "of {wanted} connections (limits.connections) the daemon takes {taken} at a time if it may have {limit} files open, \
                 as here"
            ),
            "the others wait",
            "raise that limit (`ulimit -Hn`, LimitNOFILE in the unit), or lower limits.connections",
        )
    })
}

/// Whether a certificate is valid now; `name` says which one it is.
pub fn certificate(name: &str, period: Option<Period>, now: Timestamp) -> Option<Finding> {
    let period = period?;
    if period.contains(now) {
        return None;
    }
    let date = |secs| Timestamp::from_unix_secs(secs).map_or_else(String::new, rfc5322);
    let (code, when) = match now.unix_secs() < period.from {
        true => (
            "certificate_not_begun",
            format!("is not valid before {}", date(period.from)),
        ),
        false => ("certificate_ended", format!("ended on {}", date(period.until))),
    };
    Some(Finding::wrong(
        code,
        format!("{name} {when}"),
        "mail programs and hosts that check it do not go on",
        "put a valid one in its place; a daemon that runs takes it up within a minute or so",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_certificate_counts_from_its_first_second_until_its_end() {
        let period = Some(Period {
            from: 100,
            until: 200,
        });
        let code = |secs: i64| certificate("it", period, Timestamp(secs * 1000)).map(|found| found.code);
        assert_eq!(code(99), Some("certificate_not_begun"));
        assert_eq!(code(100), None);
        assert_eq!(code(199), None);
        assert_eq!(code(200), Some("certificate_ended"));
        assert_eq!(certificate("it", None, Timestamp(0)), None);
        // The daemon looks at the files itself.
        let ended = certificate("it", period, Timestamp(200_000)).unwrap();
        assert!(!ended.advice.contains("restart"), "{}", ended.advice);
    }

    #[test]
    fn there_is_too_little_room_below_the_floor_or_below_what_a_database_needs() {
        let code = |free_mib: u64, floor_mib: u64| {
            let free = Free {
                octets: free_mib * MIB,
                inodes: Some(5_000),
            };
            let floor = Floor {
                octets: floor_mib * MIB,
                inodes: 1_000,
            };
            room(free, floor).map(|found| found.code)
        };
        assert_eq!(code(255, 256), Some("space_short"));
        assert_eq!(code(256, 256), None);
        for floor in [0, 10] {
            assert_eq!(code(63, floor), Some("space_low"), "{floor}");
            assert_eq!(code(64, floor), None, "{floor}");
        }
        assert_eq!(code(9, 10), Some("space_short"));
        let without_files = Free {
            octets: 1_000 * MIB,
            inodes: Some(999),
        };
        let floor = Floor {
            octets: 0,
            inodes: 1_000,
        };
        assert_eq!(room(without_files, floor).unwrap().code, "space_short");
    }

    #[test]
    fn a_database_that_fails_and_one_that_does_not_sync_are_told_apart() {
        let code = |error: Error| store(Some(&error)).unwrap().code;
        assert_eq!(
            code(Error::NotDurable("fsync is off".to_owned())),
            "store_not_durable"
        );
        assert_eq!(code(Error::Unreadable("x")), "store_unusable");
        assert_eq!(store(None), None);
    }

    #[test]
    fn a_limit_that_is_too_low_for_the_connections_is_found() {
        let config = Config::for_host("mx.hermail.test".parse().unwrap());
        let found = files(&config, Some(1024)).unwrap();
        assert_eq!(found.code, "files_few");
        assert!(found.what.contains("takes 760 at a time"), "{}", found.what);
        assert_eq!(files(&config, Some(4096)), None);
        assert_eq!(files(&config, None), None);
    }
}
