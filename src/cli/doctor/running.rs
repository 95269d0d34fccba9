//! What the running daemon says itself: whether it is ready, and why not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::daemon::health::{Finding, REASONS, Weight};

/// How long the daemon may take, which waits for its database for a while.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of its answer at most.
const MAX_ANSWER: usize = 64 * 1024;

/// Its reasons not to be ready; none where it cannot be asked.
pub async fn findings(config: &Config) -> Vec<Finding> {
    let Some(address) = config.listen.operations.first() else {
        return Vec::new();
    };
    let asked = timeout(PATIENCE, ask(here(*address))).await;
    asked
        .ok()
        .flatten()
        .map_or_else(Vec::new, |answer| reasons(&answer))
}

/// Where an address to listen on is reached from this host.
pub fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr) -> Option<Bytes> {
    let tcp = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.ok()?;
    let request = Request::get("/readyz").header(HOST, address.to_string());
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let asking = async move {
        let response = sender.send_request(request).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .ok()?;
        // Then the connection ends, too.
        drop(sender);
        Some(body.to_bytes())
    };
    let (answer, _) = tokio::join!(asking, connection);
    answer
}

fn reasons(answer: &[u8]) -> Vec<Finding> {
    let said: Value = serde_json::from_slice(answer).unwrap_or_default();
    let reasons = said.get("reasons").and_then(Value::as_array);
    reasons.into_iter().flatten().filter_map(reason).collect()
}

/// A reason of a daemon that may be of another version.
fn reason(said: &Value) -> Option<Finding> {
    let text = |field: &str| said.get(field)?.as_str();
    let code = text("code")?;
    Some(Finding {
        code: REASONS
            .into_iter()
            .find(|known| *known == code)
            .unwrap_or("not_ready"),
        weight: match text("weight") {
            Some("risky") => Weight::Risky,
            Some("unknown") => Weight::Unknown,
            _ => Weight::Wrong,
        },
        what: text("what")?.to_owned(),
        why: text("why")?.to_owned(),
        advice: text("advice")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_reason_is_none() {
        let drained = Finding::wrong("drained", "an operator", "it takes none", "end it");
        let answer =
            serde_json::json!({ "ready": false, "reasons": [drained.object(), {"code": "drained"}, 1] });
        assert_eq!(reasons(answer.to_string().as_bytes()), [drained]);
        for nothing in ["", "not here", "[]", "{\"reasons\":{}}"] {
            assert!(reasons(nothing.as_bytes()).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn what_is_listened_on_everywhere_is_reached_on_loopback() {
        for (listened, reached) in [
            ("[::]:8525", "[::1]:8525"),
            ("0.0.0.0:8525", "127.0.0.1:8525"),
            ("192.0.2.1:8525", "192.0.2.1:8525"),
        ] {
            assert_eq!(
                here(listened.parse().unwrap()),
                reached.parse::<SocketAddr>().unwrap()
            );
        }
    }
}
