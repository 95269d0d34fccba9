//! What a program takes for the users and the resolver of its machine, so that it needs neither root nor an account.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seat::Seat;
use crate::support::name_server::{done, program};

/// What a program must leave in the environment of those that it starts.
pub const ENVIRONMENT: [&str; 7] = [
    "LD_PRELOAD",
    "NAME_SERVER_IP",
    "NAME_SERVER_PORT",
    "NSS_WRAPPER_PASSWD",
    "NSS_WRAPPER_GROUP",
    "UID_WRAPPER",
    "UID_WRAPPER_ROOT",
];

/// The first of the users and groups that nobody is.
const NOBODY_ELSE: u32 = 60_001;

/// A view of the machine.
pub struct Disguise {
    variables: Vec<(&'static str, String)>,
}

impl Disguise {
    /// DNS is asked there, and `user` is who runs the peer. `others` are names of users, and of groups, who do not exist.
    pub fn new(seat: &Seat, name_server: SocketAddr, user: &str, others: &[&str]) -> Self {
        let (passwd, group) = users(seat, user, others);
        let preload = format!("{}:{}", resolver(seat), library("libnss_wrapper.so"));
        Self {
            variables: vec![
                ("LD_PRELOAD", preload),
                ("NAME_SERVER_IP", name_server.ip().to_string()),
                ("NAME_SERVER_PORT", name_server.port().to_string()),
                ("NSS_WRAPPER_PASSWD", shown(&seat.file("passwd", passwd))),
                ("NSS_WRAPPER_GROUP", shown(&seat.file("group", group))),
            ],
        }
    }

    /// The program believes that it is root, and that it becomes others when it says so.
    pub fn running_as_root(mut self) -> Self {
        let preload = &mut self.variables[0].1;
        *preload = format!("{preload}:{}", library("libuid_wrapper.so"));
        self.variables.push(("UID_WRAPPER", "1".into()));
        self.variables.push(("UID_WRAPPER_ROOT", "1".into()));
        self
    }

    /// Shows it to a program.
    pub fn put_on(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}

/// Lines of users and of groups.
fn users(seat: &Seat, user: &str, others: &[&str]) -> (String, String) {
    let (uid, gid) = seat.user.ids();
    let known = [("root", 0, 0), (user, uid, gid)];
    let others = others.iter().zip(NOBODY_ELSE..).map(|(name, id)| (*name, id, id));
    let all = known.into_iter().chain(others);
    let lines = all.map(|(name, uid, gid)| {
        (
            format!("{name}:x:{uid}:{gid}::/:/bin/sh\n"),
            format!("{name}:x:{gid}:\n"),
        )
    });
    lines.unzip()
}

/// Compiles the library that redirects questions.
fn resolver(seat: &Seat) -> String {
    let source = seat.file("resolver.c", include_str!("resolver.c"));
    let library = seat.path("resolver.so");
    done(
        program("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source]),
    );
    shown(&library)
}

/// A library of Debian's, which has a folder for each architecture.
fn library(name: &str) -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut paths = folders.map(|folder| folder.unwrap().path().join(name));
    let found = paths.find(|path| path.exists());
    let found = found.unwrap_or_else(|| panic!("{name} is not installed; tests/run installs it"));
    shown(&found)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Copies what `tests/run` has unpacked of a package, to where the peer's user can reach it.
pub fn unpack(seat: &Seat, package: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let unpacked = target.join("peers").join(package);
    assert!(
        unpacked.is_dir(),
        "{} is missing; tests/run unpacks it",
        unpacked.display()
    );
    let copy = seat.path("package");
    // Without set-user-ID bits, which would end the disguise.
    done(Command::new("cp").arg("-r").arg(unpacked.join("usr")).arg(&copy));
    seat.give(&copy);
    copy
}
