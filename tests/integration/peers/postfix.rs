//! Postfix, which believes that it is root. It takes all mail for plain.test into one Maildir, and relays the rest by MX.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Mta;
use super::disguise::{Disguise, ENVIRONMENT, unpack};
use super::seat::{Process, Seat};
use crate::support::certificates::Certificate;
use crate::support::loopback::SMTP;
use crate::support::maildir::Maildir;
use crate::support::name_server::done;

const USER: &str = "postfix";
const OTHERS: [&str; 2] = ["other", "postdrop"];

/// Folders of the queue, with the mode of each.
const QUEUE: [(&str, &str); 14] = [
    ("active", "700"),
    ("bounce", "700"),
    ("corrupt", "700"),
    ("defer", "700"),
    ("deferred", "700"),
    ("flush", "700"),
    ("hold", "700"),
    ("incoming", "700"),
    ("maildrop", "730"),
    ("pid", "755"),
    ("private", "700"),
    ("public", "710"),
    ("saved", "700"),
    ("trace", "700"),
];

/// A running Postfix; stopped when dropped.
pub struct Postfix {
    // First, so that it has ended before its folder goes.
    _process: Process,
    tools: Tools,
}

impl Postfix {
    /// Asks DNS there.
    pub async fn start(name_server: SocketAddr) -> Self {
        Self::start_with(name_server, |_| String::new()).await
    }

    /// The same with further lines of `main.cf`, which may name files in its folder.
    pub async fn start_with(name_server: SocketAddr, more: impl FnOnce(&Seat) -> String) -> Self {
        let tools = Tools::new(name_server, more);
        let mut command = tools.command("lib/postfix/sbin/master");
        let process = tools.seat.start(command.arg("-d"));
        tools.seat.logs("daemon started").await;
        Self {
            _process: process,
            tools,
        }
    }

    /// Its queue, as `postqueue -p` shows it.
    pub fn queue(&self) -> String {
        let output = self.tools.command("sbin/postqueue").arg("-p").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Mta for Postfix {
    fn ip(&self) -> IpAddr {
        self.tools.seat.ip
    }

    fn maildir(&self) -> Maildir {
        Maildir(self.tools.seat.path("mail/all"))
    }

    fn log(&self) -> String {
        self.tools.seat.log()
    }
}

/// Postfix' programs with a configuration, without a daemon.
pub struct Tools {
    seat: Seat,
    package: PathBuf,
    disguise: Disguise,
}

impl Tools {
    /// Asks DNS there; with further lines of `main.cf`.
    pub fn new(name_server: SocketAddr, more: impl FnOnce(&Seat) -> String) -> Self {
        let seat = Seat::take();
        let package = unpack(&seat, "postfix");
        seat.folder("etc");
        seat.folder("data");
        seat.folder("mail");
        for (folder, mode) in QUEUE {
            let path = seat.folder(&format!("queue/{folder}"));
            done(Command::new("chmod").arg(mode).arg(path));
        }
        seat.give(&seat.path("queue"));
        seat.file("etc/main.cf", main_cf(&seat, &package) + &more(&seat));
        seat.file("etc/master.cf", master_cf(seat.ip));
        let disguise = Disguise::new(&seat, name_server, USER, &OTHERS).running_as_root();
        Self {
            seat,
            package,
            disguise,
        }
    }

    /// A program, by its path below `/usr`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.package.join(program));
        command
            .env("MAIL_CONFIG", self.seat.path("etc"))
            .env("LD_LIBRARY_PATH", self.package.join("lib/postfix"))
            .env("POSTLOG_SERVICE", "postlog")
            .env("POSTLOG_HOSTNAME", "mx.plain.test");
        self.disguise.put_on(&mut command);
        command
    }
}

/// Lines that have it offer STARTTLS with a certificate.
pub fn shows(seat: &Seat, certificate: &Certificate) -> String {
    let [chain, key] = &certificate.files;
    let (chain, key) = (seat.copy("chain.pem", chain), seat.copy("key.pem", key));
    format!(
        "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
        chain.display(),
        key.display()
    )
}

fn main_cf(seat: &Seat, package: &Path) -> String {
    let (home, package, ip) = (seat.home().display(), package.display(), seat.ip);
    let (uid, gid) = seat.user.ids();
    let environment = ENVIRONMENT.join(" ");
    format!(
        "compatibility_level = 3.7
command_directory = {package}/sbin
daemon_directory = {package}/lib/postfix/sbin
shlib_directory = {package}/lib/postfix
meta_directory = {home}/etc
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/log
maillog_file_prefixes = {home}
import_environment = MAIL_CONFIG LD_LIBRARY_PATH POSTLOG_SERVICE POSTLOG_HOSTNAME {environment}
mail_owner = {USER}
setgid_group = postdrop
default_privs = other
myhostname = mx.plain.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_bind_address = {ip}
smtp_tcp_port = {SMTP}
smtp_tls_security_level = may
smtp_tls_loglevel = 1
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = plain.test
virtual_mailbox_base = {home}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
message_size_limit = 104857600
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"
    )
}

fn master_cf(ip: IpAddr) -> String {
    format!(
        "{ip}:{SMTP} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}
