//! Dovecot without root: IMAP, LMTP and authentication for accounts that share one password.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dimed::delivery::maildir::folder_name;

use super::imap::Imap;
use super::seat::{Process, Seat};
use crate::support::maildir::Maildir;
use crate::support::name_server::program;
use crate::support::organization::PASSWORD;

const IMAP: u16 = 10143;
const LMTP: u16 = 10024;

/// A running Dovecot; stopped when dropped.
pub struct Dovecot {
    // First, so that it has ended before its folder goes.
    _process: Process,
    seat: Seat,
}

#[allow(dead_code)] // a peer is described once, whatever of it is asked for
impl Dovecot {
    /// Serves those addresses. The password of each is [`PASSWORD`].
    pub async fn start(addresses: &[&str]) -> Self {
        Self::start_with(addresses, "").await
    }

    /// The same with further lines of configuration.
    pub async fn start_with(addresses: &[&str], more: &str) -> Self {
        let seat = Seat::take();
        seat.folder("mail");
        let lines = addresses.iter().map(|address| user(seat.home(), address));
        seat.file("users", lines.collect::<String>());
        let file = seat.file("dovecot.conf", config(&seat) + more);
        let process = seat.start(program("dovecot").arg("-F").arg("-c").arg(file));
        seat.logs("starting up for imap, lmtp").await;
        Self {
            _process: process,
            seat,
        }
    }

    /// LMTP over TCP.
    pub fn lmtp(&self) -> SocketAddr {
        SocketAddr::new(self.seat.ip, LMTP)
    }

    /// LMTP over a Unix socket.
    pub fn lmtp_socket(&self) -> PathBuf {
        self.seat.path("run/lmtp")
    }

    /// Dovecot's protocol of authentication, for clients.
    pub fn auth_socket(&self) -> PathBuf {
        self.seat.path("run/auth-client")
    }

    /// The Maildirs, as `delivery.maildir` names them.
    pub fn pattern(&self) -> String {
        format!("{}/mail/{{domain}}/{{local}}", self.seat.home().display())
    }

    /// The Maildir of an address.
    pub fn maildir(&self, address: &str) -> Maildir {
        Maildir(maildir(self.seat.home(), address))
    }

    /// Makes Dovecot own what somebody else put into the Maildirs.
    pub fn take_over(&self) {
        self.seat.give(&self.seat.path("mail"));
    }

    /// Logs in.
    pub async fn imap(&self, address: &str) -> Imap {
        let mut imap = Imap::connect(SocketAddr::new(self.seat.ip, IMAP)).await;
        imap.log_in(address, PASSWORD).await;
        imap
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.seat.log()
    }
}

fn maildir(home: &Path, address: &str) -> PathBuf {
    let (local, domain) = address.rsplit_once('@').unwrap();
    home.join("mail")
        .join(folder_name(domain))
        .join(folder_name(local))
}

/// A line of the file of users. `%` starts a variable in it.
fn user(home: &Path, address: &str) -> String {
    let maildir = maildir(home, address).display().to_string().replace('%', "%%");
    format!("{address}:{{PLAIN}}{PASSWORD}:::::: userdb_mail=maildir:{maildir}\n")
}

fn config(seat: &Seat) -> String {
    let (home, ip) = (seat.home().display(), seat.ip);
    let (user, group) = (&seat.user.name, &seat.user.group);
    format!(
        "base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols = imap lmtp
listen = {ip}
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_uid = {user}
mail_gid = {group}
first_valid_uid = 1
first_valid_gid = 1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login scram-sha-256
auth_username_chars =
mail_home = {home}/mail
passdb {{
  driver = passwd-file
  args = username_format=%u {home}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {home}/users
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {IMAP}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {LMTP}
  }}
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
"
    )
}
