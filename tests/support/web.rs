//! A web server over TLS that says what a test wants it to.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use dimed::net::tls::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::certificates::Certificate;
use super::loopback;

/// Octets of a request at most.
const REQUEST: usize = 4096;

#[derive(Default)]
struct Shared {
    answer: Mutex<Vec<u8>>,
    requests: Mutex<Vec<String>>,
}

/// The running server; stops when dropped.
pub struct Web {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Web {
    /// Serves on the port for HTTPS with that certificate. It closes each connection after its answer.
    pub async fn start(ip: IpAddr, certificate: &Certificate, answer: impl AsRef<[u8]>) -> Self {
        let listener = TcpListener::bind((ip, loopback::HTTPS)).await.unwrap();
        let acceptor = Acceptor::new(&certificate.identity).unwrap();
        let shared = Arc::<Shared>::default();
        *shared.answer.lock().unwrap() = answer.as_ref().to_vec();
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, acceptor.clone(), Arc::clone(&serving)));
            }
        });
        Self { shared, task }
    }

    /// Says something else from now on.
    pub fn answer(&self, answer: impl AsRef<[u8]>) {
        *self.shared.answer.lock().unwrap() = answer.as_ref().to_vec();
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(tcp: TcpStream, acceptor: Acceptor, shared: Arc<Shared>) {
    let Ok((mut stream, _)) = acceptor.accept(tcp).await else {
        return;
    };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST {
        match stream.read_buf(&mut request).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    shared
        .requests
        .lock()
        .unwrap()
        .push(String::from_utf8(request).unwrap());
    let answer = shared.answer.lock().unwrap().clone();
    // The client may have heard enough before the end.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}
