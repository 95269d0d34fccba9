//! Somebody who watches over a host, on its port for that.

use std::net::IpAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, loopback};

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// 200, 503 …
    pub status: u16,
    /// The header, in small letters.
    pub header: String,
    /// The rest.
    pub body: String,
}

impl Answer {
    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The codes of the reasons that `/readyz` gives, with its word and its status agreeing.
    pub fn reasons(&self) -> Vec<String> {
        let said = self.json();
        let reasons = said["reasons"].as_array().unwrap();
        assert_eq!(said["ready"], reasons.is_empty(), "{said}");
        assert_eq!(self.status, if reasons.is_empty() { 200 } else { 503 }, "{said}");
        for reason in reasons {
            for field in ["what", "why", "advice"] {
                assert!(!reason[field].as_str().unwrap().is_empty(), "{reason}");
            }
        }
        let code = |reason: &Value| reason["code"].as_str().unwrap().to_owned();
        reasons.iter().map(code).collect()
    }

    /// The value of one line of `/metrics`.
    pub fn value(&self, series: &str) -> f64 {
        self.find(series)
            .unwrap_or_else(|| panic!("no {series} in {}", self.body))
    }

    /// The same, if there is such a line.
    pub fn find(&self, series: &str) -> Option<f64> {
        let line = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        self.body.lines().find_map(line)
    }
}

/// Asks for a page.
pub async fn get(ip: IpAddr, path: &str) -> Answer {
    let host = format!("{ip}:{}", loopback::OPERATIONS);
    ask(ip, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

/// Sends octets, and reads all that is said to them.
pub async fn ask(ip: IpAddr, request: &str) -> Answer {
    let mut tcp = TcpStream::connect((ip, loopback::OPERATIONS)).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    let read = tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut said)).await;
    read.unwrap().unwrap();
    let (header, body) = said.split_once("\r\n\r\n").unwrap();
    let status = header.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        header: header.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// Waits until the reasons for not being ready are these.
pub async fn until_reasons(ip: IpAddr, wanted: &[&str]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let reasons = get(ip, "/readyz").await.reasons();
        if reasons == wanted {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{reasons:?} instead of {wanted:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
