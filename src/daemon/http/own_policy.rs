//! The MTA-STS policy of each domain that is served here, for a web server before us (RFC 8461 §3.2).

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;

use super::{Callers, Unclear, exchange, host, text, unclear};
use crate::daemon::Services;
use crate::domains::sts;
use crate::mail::address::Domain;
use crate::store;

/// One request and its answer.
pub async fn serve(services: Arc<Services>, tcp: TcpStream, callers: Arc<Callers>) {
    exchange(tcp, &callers, |request| {
        let services = Arc::clone(&services);
        async move { answer(&services, &request).await }
    })
    .await;
}

async fn answer<B>(services: &Services, request: &Request<B>) -> Response<Full<Bytes>> {
    if request.uri().path() != sts::PATH {
        return text(StatusCode::NOT_FOUND, "not here\n".into());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n".into());
    }
    let Ok(domain) = domain(request) else {
        return unclear();
    };
    match policy(services, domain).await {
        Ok(Some(policy)) => text(StatusCode::OK, policy),
        Ok(None) => text(StatusCode::NOT_FOUND, "no policy here\n".into()),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "try again later\n".into()),
    }
}

/// The policy of the domain that the host is `mta-sts` of.
async fn policy(services: &Services, domain: Option<Domain>) -> Result<Option<String>, store::Error> {
    let (Some(policy), Some(domain)) = (services.config.own_policy(), domain) else {
        return Ok(None);
    };
    let served = services.store.local_domain(&domain).await?;
    Ok(served.map(|_| policy.to_string()))
}

fn domain<B>(request: &Request<B>) -> Result<Option<Domain>, Unclear> {
    let parts = host(request)?.split_once('.');
    let named = parts.filter(|(label, _)| label.eq_ignore_ascii_case("mta-sts"));
    Ok(named.and_then(|(_, domain)| Domain::parse(domain).ok()))
}
