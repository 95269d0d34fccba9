//! Rspamd without its rules: what the test message for filters says is rejected, what calls itself suspicious is marked.

use std::net::SocketAddr;

use super::seat::{Process, Seat};
use crate::support::name_server::program;

const MILTER: u16 = 11332;
const HTTP: u16 = 11333;

/// Rejected by every filter of spam (GTUBE).
pub const SPAM: &str = "From: mallory@plain.test\r\nTo: bob@hismail.test\r\nSubject: offer\r\n\r\n\
    XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n";
/// Let through with a header field.
pub const SUSPICIOUS: &str =
    "From: mallory@plain.test\r\nTo: bob@hismail.test\r\nSubject: suspicious\r\n\r\nhello\r\n";
/// Let through.
pub const CLEAN: &str = "From: carol@plain.test\r\nTo: bob@hismail.test\r\nSubject: lunch\r\n\r\nhello\r\n";

/// A running rspamd; stopped when dropped.
pub struct Rspamd {
    // First, so that it has ended before its folder goes.
    _process: Process,
    seat: Seat,
}

#[allow(dead_code)] // a peer is described once, whatever of it is asked for
impl Rspamd {
    /// It asks nobody about anything.
    pub async fn start() -> Self {
        let seat = Seat::take();
        seat.folder("cache");
        seat.file("tld", "test\n");
        let file = seat.file("rspamd.conf", config(&seat));
        let process = seat.start(program("rspamd").args(["-f", "-i", "-c"]).arg(file));
        seat.listens(MILTER).await;
        seat.listens(HTTP).await;
        Self {
            _process: process,
            seat,
        }
    }

    /// The milter protocol.
    pub fn milter(&self) -> SocketAddr {
        SocketAddr::new(self.seat.ip, MILTER)
    }

    /// `POST /checkv2`.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.seat.ip, HTTP)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.seat.log()
    }
}

fn config(seat: &Seat) -> String {
    let (home, ip) = (seat.home().display(), seat.ip);
    format!(
        "options {{
  tempdir = \"{home}\";
  hs_cache_dir = \"{home}/cache\";
  url_tld = \"{home}/tld\";
  history_file = \"{home}/cache/history\";
  cache_file = \"{home}/cache/symbols\";
  filters = \"regexp\";
  gtube_patterns = \"reject\";
  dns {{ nameserver = [\"{ip}:1\"]; timeout = 1s; retransmits = 1; }}
}}
logging {{ type = \"console\"; level = \"info\"; }}
lang_detection {{ languages = \"{home}/none\"; }}
worker \"normal\" {{ bind_socket = \"{ip}:{HTTP}\"; count = 1; }}
worker \"rspamd_proxy\" {{
  bind_socket = \"{ip}:{MILTER}\";
  milter = yes;
  count = 1;
  timeout = 5s;
  upstream \"local\" {{ default = yes; self_scan = yes; }}
}}
actions {{ reject = 15; add_header = 6; }}
modules {{ path = \"/usr/share/rspamd/plugins/milter_headers.lua\"; }}
milter_headers {{ use = [\"x-spamd-result\"]; skip_local = false; extended_spam_headers = true; }}
regexp {{
  SUSPICIOUS = {{ re = \"Subject=/suspicious/i{{header}}\"; score = 7; }}
}}
"
    )
}
