//! A toy machine over real sockets.

use std::path::PathBuf;

use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Echoes lines; `TLS` is an event; closes at the end of input or after its deadline.
#[derive(Default)]
struct Echo {
    out: VecDeque<Vec<u8>>,
    events: VecDeque<&'static str>,
    deadline: Option<Duration>,
    closed: bool,
}

impl Machine for Echo {
    type Event = &'static str;

    fn receive(&mut self, _elapsed: Duration, input: &[u8]) -> usize {
        let Some(end) = input.iter().position(|octet| *octet == b'\n') else {
            return 0;
        };
        match &input[..end] {
            b"TLS" => self.events.push_back("tls"),
            line => self.out.push_back([line, b"\n"].concat()),
        }
        end + 1
    }

    fn end_of_input(&mut self, _elapsed: Duration) {
        self.closed = true;
    }

    fn expire(&mut self, _elapsed: Duration) {
        self.out.push_back(b"late\n".to_vec());
        self.closed = true;
    }

    fn timeout(&self) -> Option<Duration> {
        self.deadline
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    fn poll_event(&mut self) -> Option<Self::Event> {
        self.events.pop_front()
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

async fn pair(machine: Echo) -> (Connection<Echo>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (Connection::new(Stream::new(server).unwrap(), machine), client)
}

fn identity(folder: &tempfile::TempDir) -> tls::Identity {
    let made = rcgen::generate_simple_self_signed(["dx.hismail.test".to_owned()]).unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    tls::Identity::load(&path("cert.pem"), &path("key.pem")).unwrap()
}

#[tokio::test]
async fn carries_lines_until_the_peer_closes() {
    let (mut server, mut client) = pair(Echo::default()).await;
    client.write_all(b"one\ntwo\nhalf").await.unwrap();
    client.shutdown().await.unwrap();
    assert!(matches!(server.next_event().await, Ok(None)));
    let mut echoed = String::new();
    client.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, "one\ntwo\n");
}

#[tokio::test]
async fn gives_the_machine_its_deadline() {
    let (mut server, mut client) = pair(Echo {
        deadline: Some(Duration::ZERO),
        ..Echo::default()
    })
    .await;
    assert!(matches!(server.next_event().await, Ok(None)));
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "late\n");
}

#[tokio::test]
async fn holds_no_more_than_its_limit_of_unusable_input() {
    let (mut server, mut client) = pair(Echo::default()).await;
    let flood = tokio::spawn(async move { client.write_all(&vec![b'x'; 1 << 20]).await });
    assert!(matches!(server.next_event().await, Err(Error::InputLimit)));
    assert!(server.input.len() < 2 * INPUT_LIMIT);
    drop(flood);
}

#[tokio::test]
async fn server_discards_clear_text_behind_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let identity = identity(&folder);
    let acceptor = tls::Acceptor::new(&identity).unwrap();
    let (mut server, mut client) = pair(Echo::default()).await;
    client.write_all(b"TLS\ninjected\n").await.unwrap();
    assert_eq!(server.next_event().await.unwrap(), Some("tls"));
    let client = tokio::spawn(async move {
        let (mut client, peer) = tls::Connector::new()
            .unwrap()
            .connect(client, "dx.hismail.test")
            .await
            .unwrap();
        client.write_all(b"inside\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut echoed = String::new();
        client.read_to_string(&mut echoed).await.unwrap();
        (peer, echoed)
    });
    server.accept_tls(&acceptor).await.unwrap();
    assert!(server.stream.is_tls());
    assert!(matches!(server.next_event().await, Ok(None)));
    let (peer, echoed) = client.await.unwrap();
    assert_eq!(
        (peer.info.version.as_str(), echoed.as_str()),
        ("TLS1.3", "inside\n")
    );
    assert_eq!(peer.certificates, identity.chain);
}

#[tokio::test]
async fn client_fails_when_clear_text_follows_the_reply() {
    let (mut client, mut server) = pair(Echo::default()).await;
    server.write_all(b"TLS\ninjected").await.unwrap();
    assert_eq!(client.next_event().await.unwrap(), Some("tls"));
    let refused = client
        .connect_tls(&tls::Connector::new().unwrap(), "dx.hismail.test")
        .await;
    assert!(matches!(refused, Err(Error::Handshake(_))));
}
