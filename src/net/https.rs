//! One request over HTTPS, and fetching one text by it: what MTA-STS needs (RFC 8461 §3.3), and no more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::http::response::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::connect::Outgoing;
use super::dns::{Lookup, Resolver};
use super::stream::Stream;
use super::tls::Connector;
use crate::mail::address::Domain;

/// Addresses tried for one host.
pub(super) const MAX_ADDRESSES: usize = 4;
/// Octets of a response's head at most.
const MAX_HEAD: usize = 16 * 1024;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host's address does not exist, does not validate, or cannot be looked up.
    #[error("the address of {0} cannot be had")]
    Address(Domain),
    /// Nobody answers.
    #[error("the host does not answer")]
    Unreachable(#[source] io::Error),
    /// No TLS, or not with a certificate for the host.
    #[error("no verified TLS: {0}")]
    Tls(#[source] io::Error),
    /// There are no root certificates here.
    #[error("there are no root certificates to verify the host with: install the package ca-certificates")]
    NoRoots,
    /// What came is not HTTP.
    #[error("the response is not HTTP")]
    Protocol(#[from] hyper::Error),
    /// Not 200. Redirections are not followed.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// Not `text/plain`.
    #[error("the response is not text/plain")]
    NotText,
    /// Longer than allowed.
    #[error("the text is too long")]
    TooLarge,
    /// It took too long.
    #[error("the fetch took too long")]
    TimedOut,
    /// Not the address of something on a web server that has TLS.
    #[error("{0} is no address that begins with https://")]
    Uri(String),
}

/// Fetches texts.
pub struct HttpsClient {
    /// Finds hosts' addresses.
    pub resolver: Arc<dyn Resolver>,
    /// How to connect.
    pub outgoing: Outgoing,
    /// TLS that verifies the certificate; `None` on a machine without root certificates, which believes nobody.
    pub connector: Option<Connector>,
    /// 443, but for tests.
    pub port: u16,
    /// How long a fetch may take in all.
    pub patience: Duration,
}

impl HttpsClient {
    /// The text at `path` of `host`, at most `limit` octets of it.
    pub async fn text(&self, host: &Domain, path: &'static str, limit: usize) -> Result<Bytes, Error> {
        timeout(self.patience, self.fetch(host, path, limit))
            .await
            .unwrap_or(Err(Error::TimedOut))
    }

    async fn fetch(&self, host: &Domain, path: &'static str, limit: usize) -> Result<Bytes, Error> {
        let stream = self.connect(host).await?;
        let (_, text) = exchange(stream, request(host, path), limit, demand_text).await?;
        Ok(text)
    }

    async fn connect(&self, host: &Domain) -> Result<Stream, Error> {
        let Lookup::Found { value, .. } = self.resolver.addresses(host).await else {
            return Err(Error::Address(host.clone()));
        };
        let tcp = self.outgoing.connect(&value, self.port, MAX_ADDRESSES).await;
        let tcp = tcp.map_err(Error::Unreachable)?;
        let connector = self.connector.as_ref().ok_or(Error::NoRoots)?;
        let connected = connector.connect(tcp, host.as_str()).await;
        connected.map(|(stream, _)| stream).map_err(Error::Tls)
    }
}

fn request(host: &Domain, path: &'static str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = hyper::Uri::from_static(path);
    // A host name has no characters that a header value cannot have.
    if let Ok(value) = host.as_str().try_into() {
        request.headers_mut().insert(HOST, value);
    }
    request
}

/// One request over a connection, and its answer with a body of `limit` octets at most. What `judge` refuses is not read.
pub(super) async fn exchange<B>(
    stream: Stream,
    request: Request<B>,
    limit: usize,
    judge: impl FnOnce(&Response<Incoming>) -> Result<(), Error>,
) -> Result<(Parts, Bytes), Error>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let handshake = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let exchanging = async {
        let response = sender.send_request(request).await?;
        judge(&response)?;
        let (parts, body) = response.into_parts();
        Ok::<_, Error>((parts, whole(body, limit).await?))
    };
    tokio::pin!(exchanging);
    tokio::select! {
        answer = &mut exchanging => answer,
        // The connection may end before the answer has been looked at.
        ended = connection => {
            ended?;
            exchanging.await
        }
    }
}

fn demand_text(response: &Response<Incoming>) -> Result<(), Error> {
    if response.status() != StatusCode::OK {
        return Err(Error::Status(response.status()));
    }
    match is_text(response) {
        true => Ok(()),
        false => Err(Error::NotText),
    }
}

/// A body, if it is not longer than that.
async fn whole(body: Incoming, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge),
        Err(error) => Err(error
            .downcast::<hyper::Error>()
            .map_or(Error::TimedOut, |error| Error::Protocol(*error))),
    }
}

/// Parameters such as the character set do not matter.
fn is_text<B>(response: &Response<B>) -> bool {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("text/plain")
}
