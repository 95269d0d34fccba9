//! Exim as an ordinary user. It takes all mail for plain.test into one Maildir, and relays the rest by MX.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::Mta;
use super::disguise::{Disguise, ENVIRONMENT, unpack};
use super::seat::{Process, Seat};
use crate::support::loopback::SMTP;
use crate::support::maildir::Maildir;

/// The user whom Debian's Exim looks for.
const USER: &str = "Debian-exim";

/// A running Exim; stopped when dropped.
pub struct Exim {
    // First, so that it has ended before its folder goes.
    _process: Process,
    seat: Seat,
}

impl Exim {
    /// Asks DNS there.
    pub async fn start(name_server: SocketAddr) -> Self {
        let seat = Seat::take();
        let binary = unpack(&seat, "exim4-daemon-light").join("sbin/exim4");
        seat.folder("spool");
        seat.folder("mail");
        let file = seat.file("exim.conf", config(&seat, &binary));
        let disguise = Disguise::new(&seat, name_server, USER, &[]);
        let mut command = Command::new(&binary);
        disguise.put_on(&mut command);
        let process = seat.start(command.arg("-C").arg(file).arg("-bdf").arg("-q1s"));
        seat.logs("listening for SMTP").await;
        Self {
            _process: process,
            seat,
        }
    }
}

impl Mta for Exim {
    fn ip(&self) -> IpAddr {
        self.seat.ip
    }

    fn maildir(&self) -> Maildir {
        Maildir(self.seat.path("mail/all"))
    }

    fn log(&self) -> String {
        self.seat.log()
    }
}

fn config(seat: &Seat, binary: &Path) -> String {
    let (home, ip, binary) = (seat.home().display(), seat.ip, binary.display());
    let environment = ENVIRONMENT.join(" : ");
    format!(
        "primary_hostname = mx.plain.test
exim_path = {binary}
spool_directory = {home}/spool
log_file_path = {home}/%slog
pid_file_path = {home}/pid
daemon_smtp_ports = {SMTP}
local_interfaces = {ip}
keep_environment = {environment}
never_users =
deliver_drop_privilege = true
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
chunking_advertise_hosts = *
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
accept_8bitmime = true
message_size_limit = 100M
log_selector = +smtp_confirmation +smtp_connection +delivery_size
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
local:
  driver = accept
  domains = plain.test
  transport = maildir
remote:
  driver = dnslookup
  self = send
  transport = smtp
begin transports
maildir:
  driver = appendfile
  directory = {home}/mail/all
  maildir_format
  create_directory
  user = {USER}
smtp:
  driver = smtp
  port = {SMTP}
  interface = {ip}
  hosts_try_chunking = *
begin retry
* * F,1h,1s
begin authenticators
"
    )
}
