//! For those who watch over this host, on a port of its own: whether the daemon lives (`/healthz`), whether it is ready and why not
//! (`/readyz`), what it counts (`/metrics`), and a page for people (`/`). Everything is read, and nothing can be changed here.

mod chart;
pub mod history;
mod kept;
mod metrics;
mod page;
mod sample;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use self::history::History;
use self::kept::Kept;
use self::page::Page;
use self::sample::{Domains, Queue};
use super::VERSION;
use super::health::{self, Finding};
use super::http::{Callers, exchange, host, text, typed, unclear};
use super::reload::Current;
use crate::base::time::{Clock as _, Timestamp};

/// How long an answer about readiness may be given again, so that asking often costs nothing.
const READY_FOR: Duration = Duration::from_secs(1);

/// How long numbers of the queue may be given again, at least.
const QUEUE_FOR: Duration = Duration::from_secs(5);

/// The same for domains and the dates of their keys.
const DOMAINS_FOR: Duration = Duration::from_secs(300);

/// What the answers are made from.
pub struct Operations {
    current: Arc<Current>,
    started: Timestamp,
    unready: Kept<Vec<Finding>>,
    queue: Kept<Option<Queue>>,
    domains: Kept<Domains>,
    history: History,
}

impl Operations {
    /// For a daemon that starts now.
    pub fn new(current: Arc<Current>) -> Self {
        Self {
            started: current.get().clock.now(),
            current,
            unready: Kept::new(READY_FOR),
            queue: Kept::new(QUEUE_FOR),
            domains: Kept::new(DOMAINS_FOR),
            history: History::new(history::MOST),
        }
    }

    /// One request and its answer.
    pub async fn serve(self: Arc<Self>, tcp: TcpStream, callers: Arc<Callers>) {
        exchange(tcp, &callers, |request| {
            let operations = Arc::clone(&self);
            async move { operations.answer(&request).await }
        })
        .await;
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let mut response = match (host(request), request.method()) {
            (Err(_), _) => unclear(),
            (Ok(host), _) if !self.is_ours(host) => {
                text(StatusCode::MISDIRECTED_REQUEST, "no such host\n".into())
            }
            (Ok(_), &Method::GET | &Method::HEAD) => self.at(request.uri().path()).await,
            (Ok(_), _) => text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n".into()),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
        if let Ok(policy) = HeaderValue::from_str(&page::POLICY) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    async fn at(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/" => self.page().await,
            "/healthz" => json_text(StatusCode::OK, &json!({ "alive": true, "version": VERSION })),
            "/readyz" => self.readyz().await,
            "/metrics" => self.metrics().await,
            _ => text(StatusCode::NOT_FOUND, "not here\n".into()),
        }
    }

    /// Whether a request that names this host is for us. A page of somebody else, in a browser on this machine, can have its name
    /// lead here, and would be let read the answers.
    fn is_ours(&self, host: &str) -> bool {
        host.parse::<std::net::IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || host.eq_ignore_ascii_case(self.current.get().config.server.hostname.as_str())
    }

    async fn unready(&self) -> Arc<Vec<Finding>> {
        let services = self.current.get();
        self.unready.get(|| health::unready(&services)).await
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
        let services = self.current.get();
        let (unready, queue, domains) = tokio::join!(self.unready(), self.queue(), self.domains());
        let now = metrics::Now {
            services: &services,
            started: self.started,
            unready: &unready,
            queue: queue.as_ref().as_ref(),
            domains: &domains,
        };
        match now.text() {
            Ok(lines) => typed(StatusCode::OK, metrics::TYPE, lines),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "local error\n".into()),
        }
    }

    async fn page(&self) -> Response<Full<Bytes>> {
        let (unready, queue, domains) = tokio::join!(self.unready(), self.queue(), self.domains());
        let services = self.current.get();
        let page = Page {
            host: &services.config.server.hostname,
            now: services.clock.now(),
            started: self.started,
            unready: &unready,
            queue: queue.as_ref().as_ref(),
            domains: &domains,
            moments: &self.history.all(),
            ended: &crate::base::metrics::ended(),
            certificates: [
                ("SMTP", services.smtp_tls.period()),
                ("DMTP", services.dmtp_tls.period()),
            ],
        };
        typed(StatusCode::OK, "text/html; charset=utf-8", page.html())
    }

    async fn domains(&self) -> Arc<Domains> {
        let services = self.current.get();
        self.domains.get(|| Domains::of(&services)).await
    }

    async fn queue(&self) -> Arc<Option<Queue>> {
        let services = self.current.get();
        self.queue.get(|| Queue::of(&services)).await
    }
}

fn json_text(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    typed(status, "application/json", format!("{value:#}\n"))
}
