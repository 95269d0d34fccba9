//! HTTPS as ACME needs it: one request, one answer, over our own TLS.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Uri};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use tokio::time::timeout;

use crate::mail::address::Domain;
use crate::net::connect::Outgoing;
use crate::net::dns::{Lookup, Resolver};
use crate::net::https::{Error, MAX_ADDRESSES, exchange};
use crate::net::stream::Stream;
use crate::net::tls::Connector;

/// How long one request with its answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of an answer at most: chains of certificates are a few thousand.
const MAX_BODY: usize = 1 << 20;

/// Asks the authority.
#[derive(Clone)]
pub struct Https {
    /// Finds its host.
    pub resolver: Arc<dyn Resolver>,
    /// How to connect.
    pub outgoing: Outgoing,
    /// TLS that verifies its certificate.
    pub connector: Connector,
}

type Answered = Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>>;

impl HttpClient for Https {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answered {
        let https = self.clone();
        Box::pin(async move {
            let exchanged = timeout(PATIENCE, https.exchange(request)).await;
            exchanged
                .unwrap_or(Err(Error::TimedOut))
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

impl Https {
    async fn exchange(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let stream = self.connect(request.uri()).await?;
        address(&mut request)?;
        let (parts, body) = exchange(stream, request, MAX_BODY, |_| Ok(())).await?;
        let body = Box::new(body);
        Ok(BytesResponse { parts, body })
    }

    async fn connect(&self, uri: &Uri) -> Result<Stream, Error> {
        let wrong = || Error::Uri(uri.to_string());
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(wrong)?.trim_matches(['[', ']']);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.look_up(&Domain::parse(host).map_err(|_| wrong())?).await?,
        };
        let port = uri.port_u16().unwrap_or(443);
        let tcp = self.outgoing.connect(&addresses, port, MAX_ADDRESSES).await;
        let tcp = tcp.map_err(Error::Unreachable)?;
        let connected = self.connector.connect(tcp, host).await;
        connected.map(|(stream, _)| stream).map_err(Error::Tls)
    }

    async fn look_up(&self, host: &Domain) -> Result<Vec<IpAddr>, Error> {
        match self.resolver.addresses(host).await {
            Lookup::Found { value, .. } => Ok(value),
            _ => Err(Error::Address(host.clone())),
        }
    }
}

/// HTTP/1.1 wants the host in a field, and the rest in the first line (RFC 9112 §3.2).
fn address(request: &mut Request<BodyWrapper<Bytes>>) -> Result<(), Error> {
    let wrong = |uri: &Uri| Error::Uri(uri.to_string());
    let uri = request.uri().clone();
    let host = uri.authority().ok_or_else(|| wrong(&uri))?;
    let host = HeaderValue::from_str(host.as_str()).map_err(|_| wrong(&uri))?;
    request.headers_mut().insert(HOST, host);
    let path = uri.path_and_query().cloned();
    *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    Ok(())
}
