//! Nginx, which serves a policy of MTA-STS.

use std::net::IpAddr;

use super::disguise::unpack;
use super::seat::{Process, Seat};
use crate::support::certificates::Certificate;
use crate::support::loopback::HTTPS;

/// A running nginx; stopped when dropped.
pub struct Nginx {
    // First, so that it has ended before its folder goes.
    _process: Process,
    seat: Seat,
}

impl Nginx {
    /// Serves that policy with that certificate.
    pub async fn start(certificate: &Certificate, policy: &str) -> Self {
        let seat = Seat::take();
        let binary = unpack(&seat, "nginx").join("sbin/nginx");
        seat.folder("www/.well-known");
        seat.file("www/.well-known/mta-sts.txt", policy);
        seat.copy("chain.pem", &certificate.files[0]);
        seat.copy("key.pem", &certificate.files[1]);
        let file = seat.file("nginx.conf", config(&seat));
        let mut command = std::process::Command::new(binary);
        let process = seat.start(command.args(["-e", "stderr", "-c"]).arg(file));
        seat.listens(HTTPS).await;
        Self {
            _process: process,
            seat,
        }
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.seat.ip
    }

    /// What it logged: a line for each request.
    pub fn log(&self) -> String {
        self.seat.log()
    }
}

fn config(seat: &Seat) -> String {
    let (home, ip) = (seat.home().display(), seat.ip);
    format!(
        "daemon off;
worker_processes 1;
pid {home}/pid;
events {{ }}
http {{
  access_log {home}/access.log;
  client_body_temp_path {home}/temporary;
  proxy_temp_path {home}/temporary;
  fastcgi_temp_path {home}/temporary;
  uwsgi_temp_path {home}/temporary;
  scgi_temp_path {home}/temporary;
  types {{ text/plain txt; }}
  server {{
    listen {ip}:{HTTPS} ssl;
    ssl_certificate {home}/chain.pem;
    ssl_certificate_key {home}/key.pem;
    root {home}/www;
  }}
}}
"
    )
}
