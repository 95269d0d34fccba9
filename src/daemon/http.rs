//! The HTTP port, for a web server before it: the MTA-STS policy of each domain that is served here (RFC 8461 §3.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Services;
use crate::base::observe;
use crate::domains::sts;
use crate::mail::address::Domain;
use crate::store;

/// Connections at the same time, over all and from one address: web servers are few and near.
pub const CONNECTIONS: usize = 64;
/// Octets of a request's head at most.
const MAX_HEAD: usize = 16 * 1024;
/// How long one request with its answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request and its answer.
pub async fn serve(services: Arc<Services>, tcp: TcpStream) {
    let answer = service_fn(|request: Request<hyper::body::Incoming>| {
        let services = Arc::clone(&services);
        async move { Ok::<_, Infallible>(answer(&services, &request).await) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).max_buf_size(MAX_HEAD);
    let served = timeout(PATIENCE, server.serve_connection(TokioIo::new(tcp), answer)).await;
    if !matches!(served, Ok(Ok(()))) {
        tracing::debug!(event = observe::HTTP_BROKEN, "an HTTP request was broken off");
    }
}

async fn answer<B>(services: &Services, request: &Request<B>) -> Response<Full<Bytes>> {
    if request.uri().path() != sts::PATH {
        return text(StatusCode::NOT_FOUND, "not here\n".into());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n".into());
    }
    match policy(services, request).await {
        Ok(Some(policy)) => text(StatusCode::OK, policy),
        Ok(None) => text(StatusCode::NOT_FOUND, "no policy here\n".into()),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "try again later\n".into()),
    }
}

/// The policy of the domain that the host is `mta-sts` of.
async fn policy<B>(services: &Services, request: &Request<B>) -> Result<Option<String>, store::Error> {
    let (Some(policy), Some(domain)) = (services.config.own_policy(), domain(request)) else {
        return Ok(None);
    };
    let served = services.store.local_domain(&domain).await?;
    Ok(served.map(|_| policy.to_string()))
}

fn domain<B>(request: &Request<B>) -> Option<Domain> {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = authority.or(named)?.split(':').next()?;
    let (label, domain) = host.split_once('.')?;
    Domain::parse(domain)
        .ok()
        .filter(|_| label.eq_ignore_ascii_case("mta-sts"))
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
