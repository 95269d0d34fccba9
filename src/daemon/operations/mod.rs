//! For those who watch over this host, on a port of its own: whether the daemon lives (`/healthz`), whether it is ready and why not
//! (`/readyz`), and what it counts (`/metrics`). Everything is read, and nothing can be changed here.

mod kept;
mod metrics;
mod sample;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use self::kept::Kept;
use self::sample::{KeyDates, Queue};
use super::health::{self, Finding};
use super::http::{exchange, text, typed};
use super::{Services, VERSION};
use crate::base::time::{Clock as _, Timestamp};

/// How long an answer about readiness may be given again, so that asking often costs nothing.
const READY_FOR: Duration = Duration::from_secs(1);

/// How long numbers of the queue may be given again, at least.
const QUEUE_FOR: Duration = Duration::from_secs(5);

/// The same for the dates of keys.
const KEYS_FOR: Duration = Duration::from_secs(300);

/// What the answers are made from.
pub struct Operations {
    services: Arc<Services>,
    started: Timestamp,
    unready: Kept<Vec<Finding>>,
    queue: Kept<Option<Queue>>,
    keys: Kept<KeyDates>,
}

impl Operations {
    /// For a daemon that starts now.
    pub fn new(services: Arc<Services>) -> Self {
        Self {
            started: services.clock.now(),
            services,
            unready: Kept::new(READY_FOR),
            queue: Kept::new(QUEUE_FOR),
            keys: Kept::new(KEYS_FOR),
        }
    }

    /// One request and its answer.
    pub async fn serve(self: Arc<Self>, tcp: TcpStream) {
        exchange(tcp, |request| {
            let operations = Arc::clone(&self);
            async move { operations.answer(&request).await }
        })
        .await;
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let mut response = match *request.method() {
            _ if !self.is_meant(request) => text(StatusCode::MISDIRECTED_REQUEST, "no such host\n".into()),
            Method::GET | Method::HEAD => self.page(request.uri().path()).await,
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n".into()),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response
    }

    async fn page(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/healthz" => json_text(StatusCode::OK, &json!({ "alive": true, "version": VERSION })),
            "/readyz" => self.readyz().await,
            "/metrics" => self.metrics().await,
            _ => text(StatusCode::NOT_FOUND, "not here\n".into()),
        }
    }

    /// Whether the request names us. A page of somebody else, in a browser on this machine, can have its name lead here, and would
    /// be let read the answers.
    fn is_meant<B>(&self, request: &Request<B>) -> bool {
        let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let Some(host) = named.map(without_port) else {
            return false;
        };
        host.parse::<std::net::IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || host.eq_ignore_ascii_case(self.services.config.server.hostname.as_str())
    }

    async fn unready(&self) -> Arc<Vec<Finding>> {
        self.unready.get(|| health::unready(&self.services)).await
    }

    async fn readyz(&self) -> Response<Full<Bytes>> {
        let unready = self.unready().await;
        let status = match unready.is_empty() {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let reasons: Vec<Value> = unready.iter().map(Finding::object).collect();
        json_text(
            status,
            &json!({ "ready": unready.is_empty(), "reasons": reasons }),
        )
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let (unready, queue) = tokio::join!(self.unready(), self.queue());
        let keys = self.keys.get(|| KeyDates::of(&self.services)).await;
        let now = metrics::Now {
            services: &self.services,
            started: self.started,
            unready: &unready,
            queue: queue.as_ref().as_ref(),
            keys: &keys,
        };
        match now.text() {
            Ok(lines) => typed(StatusCode::OK, metrics::TYPE, lines),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "local error\n".into()),
        }
    }

    async fn queue(&self) -> Arc<Option<Queue>> {
        self.queue.get(|| Queue::of(&self.services)).await
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn without_port(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn json_text(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    typed(status, "application/json", format!("{value:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_told_from_its_port() {
        for (authority, host) in [
            ("127.0.0.1:8525", "127.0.0.1"),
            ("[::1]:8525", "::1"),
            ("[::1]", "::1"),
            ("localhost", "localhost"),
            ("mx.example.org:80", "mx.example.org"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}
