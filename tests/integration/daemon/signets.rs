//! Signets asked for over DMTP: exact replies, both grammars, both kinds of clients, and a bound on enumeration.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;

use dimed::base::encoding::base64;
use dimed::dime::signet::{Level, Signet};
use dimed::dmtp::reply::MAX_LINE;
use dimed::store::HistoricSignet;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::support::loopback;
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;

const SUITE: &str = "ECDHE-RSA-AES256-GCM-SHA384";

async fn hismail(world: &World) -> Organization {
    world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await
}

/// Bob's signets; the second one differs in its key set alone.
async fn two_signets(hismail: &Organization) -> Vec<HistoricSignet> {
    hismail.cli(&["key", "opt-out", "bob@hismail.test"]).await;
    let history = hismail.history("bob@hismail.test").await;
    assert_eq!(history.len(), 2);
    history
}

/// The signet as it is served, in base64.
fn served(past: &HistoricSignet) -> String {
    let signet = Signet::decode(&past.signet.object).unwrap();
    base64(&signet.split(Level::Full).unwrap().encode())
}

#[tokio::test(flavor = "multi_thread")]
async fn signets_are_served_straight_after_the_banner_in_both_grammars() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let past = two_signets(&hismail).await;
    let (old, new) = (served(&past[0]), served(&past[1]));
    let (old_full, new_full) = (past[0].signet.full, past[1].signet.full);
    let (crypto, id) = (past[0].signet.crypto, past[0].signet.id);
    let organization = hismail.history("hismail.test").await;
    let (org, org_full) = (served(&organization[0]), organization[0].signet.full);
    let nothing = "450 no such signet".to_owned();
    let expected = [
        ("SGNT <bob@hismail.test>".to_owned(), format!("250 OK [{new}]")),
        ("SGNT USER=<BOB@HisMail.test>".into(), format!("250 OK [{new}]")),
        (
            format!("SGNT <bob@hismail.test> [{old_full}]"),
            format!("250 OK [{old}]"),
        ),
        (
            format!("SGNT USER=<bob@hismail.test> FINGERPRINT=[{id}]"),
            format!("250 OK [{old}]"),
        ),
        (
            format!("SGNT <bob@hismail.test> [{crypto}]"),
            format!("250 OK [{new}]"),
        ),
        ("SGNT <hismail.test>".into(), format!("250 OK [{org}]")),
        (
            format!("SGNT DOMAIN=<hismail.test> FINGERPRINT=[{org_full}]"),
            format!("250 OK [{org}]"),
        ),
        (format!("SGNT <hismail.test> [{old_full}]"), nothing.clone()),
        ("SGNT <nobody@hismail.test>".into(), nothing.clone()),
        ("SGNT <elsewhere.test>".into(), nothing.clone()),
        (
            format!("VRFY <bob@hismail.test> [{new_full}]"),
            "250 CURRENT".into(),
        ),
        (
            format!("VRFY USER=<bob@hismail.test> FINGERPRINT=[{crypto}]"),
            "250 CURRENT".into(),
        ),
        (
            format!("VRFY <bob@hismail.test> [{old_full}]"),
            format!("250 UPDATE [{new_full}]"),
        ),
        (
            format!("VRFY <bob@hismail.test> [{id}]"),
            format!("250 UPDATE [{new_full}]"),
        ),
        (
            format!("VRFY DOMAIN=<hismail.test> FINGERPRINT=[{org_full}]"),
            "250 CURRENT".into(),
        ),
        (format!("VRFY <bob@hismail.test> [{org_full}]"), nothing.clone()),
        (
            format!("HIST <bob@hismail.test> [{old_full}]"),
            format!("250-[{old}]\n250-[{new}]\n250 OK"),
        ),
        (
            format!("HIST <bob@hismail.test> [{crypto}] [{id}]"),
            format!("250-[{old}]\n250 OK"),
        ),
        (
            format!("HIST <bob@hismail.test> [{new_full}] [{crypto}]"),
            format!("250-[{new}]\n250 OK"),
        ),
        (
            "HIST USER=<bob@hismail.test>".into(),
            format!("250-[{old}]\n250-[{new}]\n250 OK"),
        ),
        (
            format!("HIST USER=<bob@hismail.test> STOP=[{old_full}]"),
            format!("250-[{old}]\n250 OK"),
        ),
        (
            format!("HIST <bob@hismail.test> [{new_full}] [{old_full}]"),
            nothing.clone(),
        ),
        (format!("HIST <bob@hismail.test> [{org_full}]"), nothing.clone()),
        (
            format!("HIST <nobody@hismail.test> [{old_full}]"),
            nothing.clone(),
        ),
        (
            format!("HIST <hismail.test> [{org_full}]"),
            "501 user address required".into(),
        ),
        (
            "HIST <bob@hismail.test>".into(),
            "501 fingerprint required".into(),
        ),
        ("STATS".into(), "502 not implemented".into()),
        ("QUIT".into(), "221 BYE".into()),
    ];
    let there = hismail.start().await;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    assert_eq!(talk.expect("220 ").await, "220 mx.hismail.test DMTPv1 ready");
    for (command, reply) in expected {
        assert_eq!(talk.ask(&command, "").await, reply, "{command}");
    }
    there.stop().await;
}

/// Takes any certificate.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3".into()))
    }

    /// What OpenSSL 1.0.2 knows, and no more.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
        ]
    }
}

/// A client limited to what libdime's has: TLS 1.2, one suite, P-256. It reads record by record.
struct Old {
    tls: ClientConnection,
    tcp: TcpStream,
}

impl Old {
    fn connect(ip: IpAddr) -> Self {
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384],
            kx_groups: vec![aws_lc_rs::kx_group::SECP256R1],
            ..aws_lc_rs::default_provider()
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        let name = ServerName::try_from("mx.hismail.test").unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect((ip, loopback::DMTP)).unwrap();
        while tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut tcp).unwrap();
            }
            if tls.is_handshaking() {
                feed(&mut tls, &raw_record(&mut tcp));
            }
        }
        Self { tls, tcp }
    }

    /// The text of the next record, whatever it holds.
    fn record(&mut self) -> String {
        let record = raw_record(&mut self.tcp);
        assert_eq!(record[0], 23, "application data");
        assert_eq!(self.tls.read_tls(&mut &record[..]).unwrap(), record.len());
        let state = self.tls.process_new_packets().unwrap();
        let mut text = vec![0; state.plaintext_bytes_to_read()];
        self.tls.reader().read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn send(&mut self, line: &str) {
        self.tls
            .writer()
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
        self.tls.write_tls(&mut self.tcp).unwrap();
    }
}

/// One record, and nothing behind it.
fn raw_record(tcp: &mut TcpStream) -> Vec<u8> {
    let mut record = vec![0; 5];
    tcp.read_exact(&mut record).unwrap();
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    tcp.read_exact(&mut record[5..]).unwrap();
    record
}

fn feed(tls: &mut ClientConnection, record: &[u8]) {
    assert_eq!(tls.read_tls(&mut &record[..]).unwrap(), record.len());
    tls.process_new_packets().unwrap();
}

/// `dmtp.md` §3.2, §4.4
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_libdime_kind_gets_each_line_of_a_history_in_a_record_of_its_own() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let past = two_signets(&hismail).await;
    let there = hismail.start().await;
    let ip = hismail.ip;
    let start = past[0].signet.full;
    let records = tokio::task::spawn_blocking(move || {
        let mut old = Old::connect(ip);
        assert_eq!(old.record(), "220 mx.hismail.test DMTPv1 ready\r\n");
        old.send(&format!("HIST <bob@hismail.test> [{start}]"));
        [old.record(), old.record(), old.record()]
    });
    let [first, second, last] = records.await.unwrap();
    assert_eq!(first, format!("250-[{}]\r\n", served(&past[0])));
    assert_eq!(second, format!("250-[{}]\r\n", served(&past[1])));
    assert_eq!(last, "250 OK\r\n");
    assert!(first.len() <= MAX_LINE && second.len() <= MAX_LINE);
    there.stop().await;
}

/// What openssl says after these lines, limited to the one suite.
fn openssl(ip: IpAddr, port: u16, lines: &str) -> String {
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-tls1_2",
            "-cipher",
            SUITE,
            "-groups",
            "P-256",
            "-sigalgs",
            "RSA+SHA256",
        ])
        .args(["-ign_eof", "-connect", &format!("{ip}:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_limited_to_the_suite_of_libdime_looks_a_signet_up() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let past = hismail.history("bob@hismail.test").await;
    let there = hismail.start().await;
    let ip = hismail.ip;
    let said = tokio::task::spawn_blocking(move || {
        openssl(ip, loopback::DMTP, "SGNT <bob@hismail.test>\r\nQUIT\r\n")
    });
    let said = said.await.unwrap();
    for expected in [
        &format!("Cipher is {SUITE}"),
        "Peer signature type: RSA",
        "220 mx.hismail.test DMTPv1 ready\r\n",
        &format!("250 OK [{}]\r\n", served(&past[0])),
        "221 BYE\r\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    there.stop().await;
}

/// A signet that libdime's client could not read is refused to it, and served to others (`dmtp.md` §4.4).
#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_goes_to_those_who_can_read_it() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    hismail.enlarge("bob@hismail.test", 4000).await;
    let past = hismail.history("bob@hismail.test").await;
    let there = hismail.start().await;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    talk.expect("220 ").await;
    let reply = talk.ask("SGNT <bob@hismail.test>", "250 OK [").await;
    assert!(reply.len() > MAX_LINE);
    assert_eq!(reply, format!("250 OK [{}]", served(&past[1])));
    let ip = hismail.ip;
    let refused = tokio::task::spawn_blocking(move || {
        let mut old = Old::connect(ip);
        old.record();
        old.send("SGNT <bob@hismail.test>");
        let refused = old.record();
        old.send("SGNT <hismail.test>");
        (refused, old.record())
    });
    let (refused, organization) = refused.await.unwrap();
    assert_eq!(refused, "552 signet does not fit into a reply line\r\n");
    assert!(
        organization.starts_with("250 OK ["),
        "the session goes on: {organization}"
    );
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_many_unknown_users_is_put_off_and_never_told_that_there_is_none() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| config.limits.unknown_users_per_hour = 3.try_into().unwrap())
        .build()
        .await;
    let there = hismail.start().await;
    let print = hismail.history("bob@hismail.test").await[0].signet.full;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    talk.expect("220 ").await;
    for miss in [
        "SGNT <ann@hismail.test>".to_owned(),
        format!("VRFY <ann@hismail.test> [{print}]"),
        format!("HIST <ann@hismail.test> [{print}]"),
    ] {
        talk.ask("SGNT <bob@hismail.test>", "250 OK [").await;
        assert_eq!(talk.ask(&miss, "").await, "450 no such signet");
    }
    let put_off = "451 too many unknown users asked for, try again later";
    for user in ["bob", "ann"] {
        assert_eq!(
            talk.ask(&format!("SGNT <{user}@hismail.test>"), "").await,
            put_off
        );
        assert_eq!(
            talk.ask(&format!("VRFY <{user}@hismail.test> [{print}]"), "")
                .await,
            put_off
        );
        assert_eq!(
            talk.ask(&format!("HIST <{user}@hismail.test> [{print}]"), "")
                .await,
            put_off
        );
    }
    talk.ask("SGNT <hismail.test>", "250 OK [").await;
    // Another session of the same network.
    let mut again = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    again.expect("220 ").await;
    assert_eq!(again.ask("SGNT <bob@hismail.test>", "").await, put_off);
    there.stop().await;
}

/// A peer takes 450 for leave to use SMTP, so a store that fails must not look like that.
#[tokio::test(flavor = "multi_thread")]
async fn a_signet_that_cannot_be_read_is_not_said_to_be_missing() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let there = hismail.start().await;
    hismail
        .change_database("UPDATE signets SET object = x'06fd', identifiable = x'00'")
        .await;
    let mut talk = Talk::open_tls(hismail.ip, loopback::DMTP).await;
    talk.expect("220 ").await;
    let print = "A".repeat(86);
    for question in [
        "SGNT <bob@hismail.test>",
        "SGNT <hismail.test>",
        "HIST USER=<bob@hismail.test>",
        &format!("VRFY <bob@hismail.test> [{print}]"),
    ] {
        assert_eq!(
            talk.ask(question, "").await,
            "476 signets are not available now",
            "{question}"
        );
    }
    there.stop().await;
}
