//! The ports for HTTP: one request on each connection, within bounds of time and size.

mod callers;
mod host;
pub mod own_policy;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::base::observe;

pub use callers::Callers;
pub use host::{Unclear, host};

/// Connections at the same time, over all and from one address: whoever asks is one of few, and near.
pub const CONNECTIONS: usize = 64;
/// Octets of a request's head at most.
const MAX_HEAD: usize = 16 * 1024;
/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long one request with its answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request and its answer. What the request has beside its head is not read.
pub async fn exchange<F, A>(tcp: TcpStream, callers: &Callers, answer: F)
where
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    let caller = callers.enter();
    let answer = service_fn(|request| {
        caller.asks();
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).max_buf_size(MAX_HEAD);
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let serving = timeout(PATIENCE, server.serve_connection(TokioIo::new(tcp), answer));
    let is_served = tokio::select! {
        served = serving => matches!(served, Ok(Ok(()))),
        () = caller.sent_away() => false,
    };
    if !is_served {
        tracing::debug!(event = observe::HTTP_BROKEN, "an HTTP request was broken off");
    }
}

/// The answer to a request that does not say for whom it is.
pub fn unclear() -> Response<Full<Bytes>> {
    text(StatusCode::BAD_REQUEST, "for which host?\n".into())
}

/// An answer in plain text.
pub fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

/// An answer of that type.
pub fn typed(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
