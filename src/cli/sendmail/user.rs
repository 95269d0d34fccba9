//! Who calls.

use std::process::{Command, Stdio};

/// The user of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub login: String,
    /// The full name; may be empty.
    pub name: String,
}

/// The user of this process, as the machine knows users. What is only claimed in the environment does not count: the daemon
/// goes by the number, and the name is for readers.
pub fn caller() -> User {
    let uid = rustix::process::getuid().as_raw();
    let preferred = std::env::var("LOGNAME").unwrap_or_default();
    known(uid, &preferred).unwrap_or_else(|| User {
        login: format!("user{uid}"),
        name: String::new(),
    })
}

/// The login name of a user, or a number as `sudo -u` takes it.
pub fn login(uid: u32) -> String {
    known(uid, "").map_or_else(|| format!("#{uid}"), |user| user.login)
}

fn known(uid: u32, preferred: &str) -> Option<User> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    of(&passwd, uid, preferred).or_else(|| of(&asked(uid), uid, preferred))
}

/// Users may be elsewhere than in the file.
fn asked(uid: u32) -> String {
    let asked = Command::new("getent")
        .args(["passwd", &uid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let answer = asked.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8(answer).unwrap_or_default()
}

/// Of several users with that number the preferred one, or the first.
fn of(passwd: &str, uid: u32, preferred: &str) -> Option<User> {
    let users: Vec<User> = passwd.lines().filter_map(|line| user(line, uid)).collect();
    let liked = users.iter().find(|user| user.login == preferred);
    liked.or(users.first()).cloned()
}

fn user(line: &str, uid: u32) -> Option<User> {
    let mut fields = line.split(':');
    let login = fields.next()?;
    let is_it = fields.nth(1)?.parse() == Ok(uid);
    let gecos = fields.nth(1).unwrap_or_default();
    let full = gecos.split(',').next().unwrap_or_default();
    is_it.then(|| User {
        login: login.to_owned(),
        name: full.replace('&', &capitalized(login)),
    })
}

fn capitalized(login: &str) -> String {
    let mut chars = login.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0:& Boss,Room 1,,:/root:/bin/sh\n\
                          alice:x:1000:1000:Alice A.,,,:/home/alice:/bin/sh\nbob:x:1001:1001::/:/bin/sh\nbroken\n";

    #[test]
    fn users_are_known_by_number() {
        let known = |uid, preferred| of(PASSWD, uid, preferred).map(|user| (user.login, user.name));
        assert_eq!(login(0), "root");
        assert_eq!(login(4_000_000_000), "#4000000000");
        let user = |login: &str, name: &str| Some((login.to_owned(), name.to_owned()));
        assert_eq!(known(1000, ""), user("alice", "Alice A."));
        assert_eq!(known(1001, "alice"), user("bob", ""));
        assert_eq!(known(0, "alice"), user("root", "root"));
        assert_eq!(known(0, "toor"), user("toor", "Toor Boss"));
        assert_eq!(known(7, ""), None);
    }
}
