//! What the authority finds here while an order runs.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Error;
use crate::mail::address::Domain;

/// Connections at the same time at each address: the authority asks from a few places, and anybody else may knock, too. Beyond that
/// the oldest makes room.
const CONNECTIONS: usize = 64;
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait after a connection could not be accepted, for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Octets of a request's head at most.
const MAX_HEAD: usize = 16 * 1024;
/// The protocol of RFC 8737 §6.2.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// One answer, for everybody who asks.
#[derive(Clone)]
pub enum Answer {
    /// A text at a path.
    Text {
        /// Where.
        path: Arc<str>,
        /// What.
        text: Bytes,
    },
    /// A certificate.
    Tls(TlsAcceptor),
}

impl Answer {
    /// For `http-01` (RFC 8555 §8.3).
    pub fn text(token: &str, proof: &str) -> Self {
        Self::Text {
            path: format!("/.well-known/acme-challenge/{token}").into(),
            text: Bytes::copy_from_slice(proof.as_bytes()),
        }
    }

    /// For `tls-alpn-01` (RFC 8737 §3), with the SHA-256 digest of the proof.
    pub fn tls(host: &Domain, digest: &[u8]) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_string()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&key)?;
        // Not by with_single_cert, which refuses certificates with critical extensions that it does not know.
        let identity = CertifiedKey::new(vec![certificate.der().clone()], key);
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self::Tls(TlsAcceptor::from(Arc::new(config))))
    }

    /// To one who asks.
    async fn give(&self, tcp: TcpStream) {
        // Whoever does not understand us hears nothing more.
        match self {
            Self::Text { path, text } => {
                let asked = service_fn(|request: Request<hyper::body::Incoming>| {
                    let found = (request.uri().path() == &**path).then(|| text.clone());
                    async move { Ok::<_, Infallible>(page(found)) }
                });
                let mut server = http1::Builder::new();
                server.keep_alive(false).max_buf_size(MAX_HEAD);
                let _ = server.serve_connection(TokioIo::new(tcp), asked).await;
            }
            Self::Tls(acceptor) => {
                if let Ok(mut stream) = acceptor.accept(tcp).await {
                    let _ = stream.shutdown().await;
                }
            }
        }
    }
}

fn page(found: Option<Bytes>) -> Response<Full<Bytes>> {
    let status = match found {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::new(found.unwrap_or_default()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Sockets at which the authority asks. Whoever comes while there is nothing to answer is sent away at once: else the authority
/// would come after all of them.
pub struct Door {
    answer: watch::Sender<Option<Answer>>,
    /// Ends with it.
    _listening: JoinSet<()>,
}

impl Door {
    /// At sockets that listen.
    pub fn at(listeners: Vec<TcpListener>) -> Self {
        let answer = watch::Sender::new(None);
        let mut listening = JoinSet::new();
        for listener in listeners {
            listening.spawn(listen(listener, answer.subscribe()));
        }
        Self {
            answer,
            _listening: listening,
        }
    }

    /// On all of the addresses.
    pub(super) async fn on(addresses: &[SocketAddr]) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        for address in addresses {
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|error| Error::Listen(*address, error))?);
        }
        Ok(Self::at(listeners))
    }

    /// Has everybody who comes answered, until what it returns is dropped.
    pub(super) fn answer(&self, answer: Answer) -> Answering<'_> {
        self.answer.send_replace(Some(answer));
        Answering(self)
    }
}

/// The time in which there is something to answer.
pub struct Answering<'a>(&'a Door);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answer.send_replace(None);
    }
}

async fn listen(listener: TcpListener, answer: watch::Receiver<Option<Answer>>) {
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        let answer = answer.borrow().clone();
        let Some(answer) = answer else {
            continue;
        };
        // Whoever says nothing is not to keep the authority out.
        if by_age.len() >= CONNECTIONS
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        by_age.push_back(connections.spawn(async move {
            let _ = timeout(PATIENCE, answer.give(tcp)).await;
        }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn door() -> (Door, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Door::at(vec![listener]), address)
    }

    /// What whoever asks as an authority does is told.
    async fn asked(address: SocketAddr) -> String {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = b"GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: mx.hismail.test\r\n\r\n";
        // Whoever is sent away may see that as an error.
        let _ = tcp.write_all(request).await;
        let mut said = Vec::new();
        let _ = tcp.read_to_end(&mut said).await;
        String::from_utf8(said).unwrap()
    }

    fn is_proof(said: &str) -> bool {
        said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\nproof")
    }

    /// One after the other, the silent ones would be waited for longer than that.
    #[tokio::test]
    async fn whoever_says_nothing_makes_room_for_whoever_asks() {
        let (door, address) = door().await;
        let _answering = door.answer(Answer::text("token", "proof"));
        let mut silent = Vec::new();
        for _ in 0..4 * CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let said = timeout(PATIENCE * 3, asked(address)).await.unwrap();
        assert!(is_proof(&said), "{said}");
    }

    /// Sockets of a service manager hear at all times.
    #[tokio::test]
    async fn whoever_comes_while_there_is_no_order_is_sent_away() {
        let (door, address) = door().await;
        for _ in 0..2 {
            let said = timeout(PATIENCE / 2, asked(address)).await.unwrap();
            assert_eq!(said, "");
            let answering = door.answer(Answer::text("token", "proof"));
            let said = asked(address).await;
            assert!(is_proof(&said), "{said}");
            drop(answering);
        }
        drop(door);
        // The tasks end on their own time.
        let closed = async {
            while TcpStream::connect(address).await.is_ok() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, closed).await.unwrap();
    }
}
