//! Every attack of the table in `management-record.md` §9.4, against real DNS, a real database and real sockets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dimed::base::time::{Clock, ManualClock, Timestamp};
use dimed::crypto::at_rest::Key;
use dimed::crypto::ed25519::SigningKey;
use dimed::dime::record::{ManagementRecord, Policy, sign_certificate};
use dimed::domains::sts::MtaSts;
use dimed::domains::{
    DeliveryHosts, DomainFacts, Domains, DxConnector, DxError, DxPorts, DxSessions, Limits, RecordLookup,
    Standing, delivery_hosts,
};
use dimed::mail::address::Domain;
use dimed::mail::demand::Demand;
use dimed::net::authority::{Authority, KeyKind, Zone};
use dimed::net::connect::Outgoing;
use dimed::net::dns::{HickoryResolver, Lookup, Mx, Proof, Resolver, SelfTest, Servers, Srv, Tlsa};
use dimed::net::dx_certificate::{Accepted, Rejected, judge};
use dimed::net::https::HttpsClient;
use dimed::net::self_signed;
use dimed::net::tls::{Acceptor, Connector, WebPki};
use dimed::routing::{Allowances, DmtpFinding, Facts, Route, decide};
use dimed::store::sqlite::SqliteStore;
use dimed::store::{self, Domains as _, MasterKey};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::dns::tamper::{Tamper, Trick};
use super::support::child::DIMED;
use super::support::world::{World, domain};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MASTER: [u8; 32] = [7; 32];

/// Asks whoever it is told to: the network may change sides.
struct Switch(Mutex<Arc<dyn Resolver>>);

impl Switch {
    fn now(&self) -> Arc<dyn Resolver> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl Resolver for Switch {
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        self.now().txt(name).await
    }
    async fn mx(&self, domain: &Domain) -> Lookup<Vec<Mx>> {
        self.now().mx(domain).await
    }
    async fn addresses(&self, host: &Domain) -> Lookup<Vec<IpAddr>> {
        self.now().addresses(host).await
    }
    async fn host(&self, host: &Domain) -> Lookup<dimed::net::dns::Host> {
        self.now().host(host).await
    }
    async fn srv(&self, name: &str) -> Lookup<Vec<Srv>> {
        self.now().srv(name).await
    }
    async fn tlsa(&self, name: &str) -> Lookup<Vec<Tlsa>> {
        self.now().tlsa(name).await
    }
    async fn self_test(&self) -> SelfTest {
        self.now().self_test().await
    }
}

/// Our side: what is remembered of others, and a clock.
struct Sender {
    home: TempDir,
    root: Zone,
    authority: Authority,
    switch: Arc<Switch>,
    store: SqliteStore,
    clock: Arc<ManualClock>,
    domains: Arc<Domains>,
}

impl Sender {
    /// In a world with one zone below `test`, delegated to as signed if it is.
    async fn facing(zone: Zone) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = Zone::signed(&domain("test"), KeyKind::Ed25519).unwrap();
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let authority = Authority::start(listen, vec![delegating(&root, &zone), zone])
            .await
            .unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
        let store = open(home.path(), &clock).await;
        let switch = Arc::new(Switch(Mutex::new(resolver(authority.address(), &root))));
        let domains = Arc::new(Domains::new(
            switch.clone(),
            Arc::new(store.clone()),
            clock.clone(),
            Limits::default(),
        ));
        Self {
            home,
            root,
            authority,
            switch,
            store,
            clock,
            domains,
        }
    }

    /// The zone is replaced, and the delegation with it.
    fn publish(&self, zone: &Zone) {
        self.authority.put_zone(zone).unwrap();
        self.authority.put_zone(&delegating(&self.root, zone)).unwrap();
    }

    /// From now on somebody sits between us and the name servers.
    async fn attacked_by(&self, trick: Trick) -> Tamper {
        let tamper = Tamper::start(self.authority.address(), trick).await;
        *self.switch.0.lock().unwrap() = resolver(tamper.address(), &self.root);
        tamper
    }

    async fn facts(&self) -> DomainFacts {
        self.domains.facts(&hismail()).await.unwrap()
    }

    /// What follows from what is known now and from what DMTP has brought.
    async fn route(&self, finding: DmtpFinding) -> Route {
        let facts = Facts {
            local: false,
            sender_policy: None,
            demand: Demand::default(),
            domain: self.facts().await,
            parent: None,
            finding,
            failing_for_long: true,
            allowances: Allowances::default(),
            transport: None,
        };
        decide(&facts).route
    }

    fn connector(&self, ports: DxPorts) -> DxConnector {
        let outgoing = Outgoing {
            source: None,
            timeout: Duration::from_secs(10),
        };
        // Nobody here announces a policy.
        let web = HttpsClient {
            resolver: self.switch.clone(),
            outgoing,
            connector: None,
            port: 1,
            patience: Duration::from_secs(1),
        };
        let sts = MtaSts::new(
            self.switch.clone(),
            Some(Arc::new(self.store.clone())),
            self.clock.clone(),
            Arc::new(web),
        );
        DxConnector {
            resolver: self.switch.clone(),
            clock: Arc::new(dimed::base::time::SystemClock),
            outgoing,
            connector: Connector::new().unwrap(),
            sts: Arc::new(sts),
            roots: None,
            ports,
            sessions: DxSessions::default(),
        }
    }
}

async fn open(home: &Path, clock: &Arc<ManualClock>) -> SqliteStore {
    let master = MasterKey::new(Key::from_bytes(MASTER));
    let clock: Arc<dyn Clock> = clock.clone();
    SqliteStore::open(&home.join("dimed.db"), master, clock)
        .await
        .unwrap()
}

fn delegating(root: &Zone, zone: &Zone) -> Zone {
    root.clone()
        .delegate("hismail", zone, &domain("ns.hismail.test"))
        .unwrap()
}

fn resolver(address: SocketAddr, root: &Zone) -> Arc<dyn Resolver> {
    let anchors = root.trust_anchor().unwrap().unwrap().parse().unwrap();
    let servers = Servers {
        reply_timeout: Duration::from_secs(5),
        rounds: 1,
        total_timeout: Duration::from_secs(20),
        ..Servers::new(vec![address])
    };
    Arc::new(HickoryResolver::new(servers, anchors))
}

fn hismail() -> Domain {
    domain("hismail.test")
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn record(seeds: &[u8], policy: Policy) -> ManagementRecord {
    let mut record = ManagementRecord::parse(format!("pok={}", "A".repeat(43))).unwrap();
    record.primary_keys = seeds.iter().map(|seed| key(*seed).verifying_key()).collect();
    record.policy = policy;
    record.expiry_days = Some(30);
    record
}

fn signed(record: &ManagementRecord) -> Zone {
    let zone = Zone::signed(&hismail(), KeyKind::Ed25519).unwrap();
    zone.txt("_dx", record.render().unwrap())
}

fn unsigned(record: &ManagementRecord) -> Zone {
    let zone = Zone::unsigned(&hismail()).unwrap();
    zone.txt("_dx", record.render().unwrap())
}

fn dmtp(route: &Route) -> (Policy, Proof) {
    match route {
        Route::Dmtp { record, proof } => (record.policy, *proof),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn suppressing_the_record_of_a_signed_zone_stops_mail_and_sends_none_in_the_clear() {
    for trick in [
        Trick::PretendNothing,
        Trick::PretendNoSuchName,
        Trick::StripDenials,
    ] {
        let sender = Sender::facing(signed(&record(&[1], Policy::Experimental))).await;
        let _tamper = sender.attacked_by(trick.clone()).await;
        if trick == Trick::StripDenials {
            // Here there is no record, and the proof of that is what is taken away.
            sender.publish(&Zone::signed(&hismail(), KeyKind::Ed25519).unwrap());
        }
        assert_eq!(sender.facts().await.lookup, RecordLookup::Bogus, "{trick:?}");
        assert_eq!(
            sender.route(DmtpFinding::NotAsked).await,
            Route::Defer,
            "{trick:?}"
        );
    }
}

#[tokio::test]
async fn suppressing_the_record_of_an_unsigned_zone_does_nothing_until_the_pin_expires() {
    let sender = Sender::facing(unsigned(&record(&[1], Policy::Mixed))).await;
    assert_eq!(
        dmtp(&sender.route(DmtpFinding::NotAsked).await),
        (Policy::Mixed, Proof::Insecure)
    );
    let _tamper = sender.attacked_by(Trick::PretendNoSuchName).await;
    sender.clock.advance(DAY * 30 - HOUR);
    let facts = sender.facts().await;
    assert_eq!(facts.lookup, RecordLookup::Absent(Proof::Insecure));
    assert_eq!(
        dmtp(&sender.route(DmtpFinding::NotAsked).await),
        (Policy::Mixed, Proof::Insecure)
    );
    assert_eq!(sender.route(DmtpFinding::Unreachable).await, Route::Defer);
    sender.clock.advance(HOUR);
    assert!(matches!(
        sender.route(DmtpFinding::NotAsked).await,
        Route::Smtp { .. }
    ));
}

#[tokio::test]
async fn stripping_signatures_or_the_wish_for_them_is_bogus_whether_pinned_or_not() {
    for trick in [Trick::StripSignatures, Trick::NoDnssec] {
        for pinned in [false, true] {
            let sender = Sender::facing(signed(&record(&[1], Policy::Experimental))).await;
            if pinned {
                sender.facts().await;
                sender.clock.advance(HOUR);
            }
            let _tamper = sender.attacked_by(trick.clone()).await;
            assert_eq!(sender.facts().await.lookup, RecordLookup::Bogus, "{trick:?}");
            assert_eq!(sender.route(DmtpFinding::Unreachable).await, Route::Defer);
        }
    }
}

#[tokio::test]
async fn a_forged_record_does_not_weaken_the_policy() {
    let sender = Sender::facing(unsigned(&record(&[1], Policy::Strict))).await;
    sender.facts().await;
    for _ in 0..3 {
        sender.clock.advance(HOUR);
        sender.publish(&unsigned(&record(&[1], Policy::Experimental)));
        assert_eq!(
            dmtp(&sender.route(DmtpFinding::NotAsked).await),
            (Policy::Strict, Proof::Insecure)
        );
        assert_eq!(sender.route(DmtpFinding::Unreachable).await, Route::Defer);
        assert_eq!(sender.route(DmtpFinding::NoSuchSignet).await, Route::Bounce);
    }
}

/// The doubt between §7.4 and §9.3: a shared key is enough to use the record, and not enough for the others in it.
#[tokio::test]
async fn a_forged_key_beside_a_proven_one_does_not_count() {
    let sender = Sender::facing(signed(&record(&[1], Policy::Mixed))).await;
    sender.facts().await;
    sender.clock.advance(HOUR);
    sender.publish(&unsigned(&record(&[1, 66], Policy::Mixed)));
    let facts = sender.facts().await;
    assert!(facts.keys_ignored());
    let Standing::Dime(counting, Proof::Insecure) = facts.standing() else {
        panic!("{facts:?}");
    };
    assert_eq!(counting.primary_keys, [key(1).verifying_key()]);
    // Nor does it on the way into the next look.
    let pin = sender.store.pin(&hismail()).await.unwrap().unwrap();
    assert_eq!(
        (pin.record, pin.secure),
        (record(&[1], Policy::Mixed).render().unwrap(), true)
    );
    sender.publish(&unsigned(&record(&[66], Policy::Mixed)));
    assert_eq!(sender.route(DmtpFinding::NotAsked).await, Route::Defer);
}

#[tokio::test]
async fn a_forged_mail_host_has_no_certificate_that_the_record_signs() {
    let home = tempfile::tempdir().unwrap();
    let authority = rcgen_authority();
    let evil = authority.leaf("evil.test");
    let ours = self_signed::load_or_make(home.path(), &domain("mx.hismail.test")).unwrap();
    let mut signing = record(&[1], Policy::Mixed);
    signing.tls_signatures = vec![sign_certificate(&key(1), ours.leaf())];
    let zone = unsigned(&signing).mx("", 10, &domain("evil.test"));
    let sender = Sender::facing(zone).await;
    let found = hosts(&sender, &signing).await;
    assert_eq!(found[0], domain("evil.test"), "the forger has their host asked");
    let now = Timestamp(1_800_000_000_000);
    let judged = |record: &ManagementRecord, proof| {
        judge(
            record,
            proof,
            std::slice::from_ref(&evil),
            &domain("evil.test"),
            Some(&authority.roots),
            now,
        )
    };
    assert_eq!(judged(&signing, Proof::Insecure), Err(Rejected::NotSigned));
    // A record with neither `dx` nor `tls` in an unsigned zone is opportunistic, and said to be.
    assert_eq!(
        judged(&record(&[1], Policy::Mixed), Proof::Insecure),
        Ok(Accepted::Trusted)
    );
    sender.publish(&unsigned(&record(&[1], Policy::Mixed)));
    assert_eq!(
        dmtp(&sender.route(DmtpFinding::NotAsked).await).1,
        Proof::Insecure
    );
}

#[tokio::test]
async fn a_mail_host_forged_into_a_signed_zone_is_never_asked() {
    let plain = record(&[1], Policy::Mixed);
    let sender = Sender::facing(signed(&plain).mx("", 10, &domain("mx.hismail.test"))).await;
    assert_eq!(hosts(&sender, &plain).await[0], domain("mx.hismail.test"));
    let _tamper = sender.attacked_by(Trick::NoDnssec).await;
    let mut rng = StdRng::seed_from_u64(1);
    let found = delivery_hosts(sender.switch.as_ref(), &plain, &hismail(), &mut rng).await;
    assert_eq!(found, DeliveryHosts::Bogus);
}

#[tokio::test]
async fn a_banner_without_dmtp_is_no_reason_to_use_smtp() {
    let host = Host::start(|mut tcp| async move {
        tcp.write_all(b"220 mx.hismail.test ESMTP\r\n").await.unwrap();
        let _ = tcp.read(&mut [0; 512]).await;
    })
    .await;
    let (sender, record) = host.reached_by(Policy::Mixed).await;
    let failed = open_session(&sender, &record, host.port).await;
    assert!(!matches!(failed, Err(DxError::NotFound) | Ok(())), "{failed:?}");
    // Policy decides, and this one says to wait.
    assert_eq!(sender.route(DmtpFinding::Unreachable).await, Route::Defer);
}

#[tokio::test]
async fn text_injected_behind_the_reply_to_starttls_is_not_part_of_the_session() {
    let home = tempfile::tempdir().unwrap();
    let identity = self_signed::load_or_make(home.path(), &domain("mx.hismail.test")).unwrap();
    let acceptor = Acceptor::new(&identity).unwrap();
    for injected in ["", "220 mx.hismail.test DMTPv1\r\n", "450 no such signet\r\n"] {
        let acceptor = acceptor.clone();
        let host = Host::start(move |mut tcp| {
            let acceptor = acceptor.clone();
            async move {
                tcp.write_all(b"220 mx.hismail.test ESMTP DMTPv1\r\n")
                    .await
                    .unwrap();
                let _ = tcp.read(&mut [0; 512]).await;
                let reply = format!("220 go ahead\r\n{injected}");
                tcp.write_all(reply.as_bytes()).await.unwrap();
                // The host itself says nothing inside TLS.
                if let Ok((mut tls, _)) = acceptor.accept(tcp).await {
                    let _ = tls.shutdown().await;
                }
            }
        })
        .await;
        let (sender, mut record) = host.reached_by(Policy::Mixed).await;
        record.tls_signatures = vec![sign_certificate(&key(1), identity.leaf())];
        let failed = open_session(&sender, &record, host.port).await;
        assert!(
            !matches!(failed, Ok(()) | Err(DxError::NotFound)),
            "{injected:?} {failed:?}"
        );
    }
}

#[tokio::test]
async fn a_reply_before_tls_says_nothing_about_signets() {
    for reply in ["450 no such signet\r\n", "550 no such signet\r\n"] {
        let host = Host::start(move |mut tcp| async move {
            tcp.write_all(b"220 mx.hismail.test ESMTP DMTPv1\r\n")
                .await
                .unwrap();
            let _ = tcp.read(&mut [0; 512]).await;
            tcp.write_all(reply.as_bytes()).await.unwrap();
            let _ = tcp.read(&mut [0; 512]).await;
        })
        .await;
        let (sender, record) = host.reached_by(Policy::Mixed).await;
        let failed = open_session(&sender, &record, host.port).await;
        assert!(
            !matches!(failed, Ok(()) | Err(DxError::NotFound)),
            "{reply} {failed:?}"
        );
    }
}

#[tokio::test]
async fn an_old_or_altered_record_in_the_database_is_not_believed() {
    let sender = Sender::facing(unsigned(&record(&[1], Policy::Strict))).await;
    sender.facts().await;
    let _tamper = sender.attacked_by(Trick::PretendNoSuchName).await;
    sender.clock.advance(HOUR);
    for (change, back) in [
        (
            "record = replace(record, 'strict', 'experimental')",
            "record = replace(record, 'experimental', 'strict')",
        ),
        ("expires_at = expires_at + 1", "expires_at = expires_at - 1"),
        ("secure = 1", "secure = 0"),
        ("domain = 'x' || domain", "domain = substr(domain, 2)"),
    ] {
        sql(sender.home.path(), &format!("UPDATE pins SET {change}")).await;
        let name = match change.starts_with("domain") {
            true => domain("xhismail.test"),
            false => hismail(),
        };
        let read = sender.store.pin(&name).await;
        assert!(
            matches!(read, Err(store::Error::Unreadable("pinned record"))),
            "{change}: {read:?}"
        );
        if name == hismail() {
            assert!(sender.domains.facts(&name).await.is_err(), "mail waits");
        }
        sql(sender.home.path(), &format!("UPDATE pins SET {back}")).await;
        assert!(sender.store.pin(&hismail()).await.unwrap().is_some(), "{back}");
    }
    // An old row as it was written is no use once it has expired.
    sender.clock.advance(DAY * 30);
    assert_eq!(sender.facts().await.pin, None);
}

/// `tls=` values have no revocation list: taking one out of the record is the revocation. What was seen before does not bring
/// it back.
#[tokio::test]
async fn a_certificate_taken_out_of_the_record_is_refused_when_the_ttl_is_over() {
    let certificate = || {
        let made = rcgen::generate_simple_self_signed(["dx.hismail.test".to_owned()]);
        made.unwrap().cert.der().clone()
    };
    let (old, new) = (certificate(), certificate());
    let signing = |leaves: &[&[u8]]| {
        let mut record = record(&[1], Policy::Mixed);
        let signatures = leaves.iter().map(|der| sign_certificate(&key(1), der));
        record.tls_signatures = signatures.collect();
        record
    };
    let judged = |facts: &DomainFacts, leaf: &CertificateDer<'static>| {
        let Standing::Dime(record, proof) = facts.standing() else {
            panic!("{facts:?}");
        };
        let host = domain("dx.hismail.test");
        let now = Timestamp(1_800_000_000_000);
        judge(&record, proof, std::slice::from_ref(leaf), &host, None, now)
    };
    let sender = Sender::facing(signed(&signing(&[&old, &new]))).await;
    assert_eq!(judged(&sender.facts().await, &old), Ok(Accepted::Signed));
    sender.publish(&signed(&signing(&[&new])));
    sender.clock.advance(HOUR);
    let facts = sender.facts().await;
    assert_eq!(judged(&facts, &old), Err(Rejected::NotSigned));
    assert_eq!(judged(&facts, &new), Ok(Accepted::Signed));
    // Nor does the pin, while DNS does not answer.
    let _tamper = sender.attacked_by(Trick::ServerFailure).await;
    sender.clock.advance(HOUR);
    let facts = sender.facts().await;
    assert_eq!(facts.lookup, RecordLookup::Failed);
    assert_eq!(judged(&facts, &old), Err(Rejected::NotSigned));
    assert_eq!(judged(&facts, &new), Ok(Accepted::Signed));
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_a_withdrawn_signature_revokes_one() {
    let mut params = rcgen::CertificateParams::new(vec!["dx.hismail.test".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let expired = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .clone();
    let valid = rcgen::generate_simple_self_signed(["dx.hismail.test".to_owned()])
        .unwrap()
        .cert
        .der()
        .clone();
    let judged = |signatures: &[&[u8]], leaf| {
        let mut record = record(&[1], Policy::Mixed);
        let signatures = signatures.iter().map(|der| sign_certificate(&key(1), der));
        record.tls_signatures = signatures.collect();
        let host = domain("dx.hismail.test");
        judge(
            &record,
            Proof::Secure,
            &[leaf],
            &host,
            None,
            Timestamp(1_800_000_000_000),
        )
    };
    assert_eq!(judged(&[&valid, &expired], valid.clone()), Ok(Accepted::Signed));
    assert_eq!(
        judged(&[&valid, &expired], expired.clone()),
        Err(Rejected::OutsideValidity)
    );
    assert_eq!(judged(&[&expired], valid), Err(Rejected::NotSigned));
}

async fn hosts(sender: &Sender, record: &ManagementRecord) -> Vec<Domain> {
    let mut rng = StdRng::seed_from_u64(1);
    match delivery_hosts(sender.switch.as_ref(), record, &hismail(), &mut rng).await {
        DeliveryHosts::Attempts(attempts) => attempts.into_iter().map(|attempt| attempt.host).collect(),
        other => panic!("{other:?}"),
    }
}

/// Statements of somebody who has the file and not the master key.
async fn sql(home: &Path, statement: &str) {
    use sqlx::{ConnectOptions, Connection};
    let path = home.join("dimed.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.unwrap();
    let done = sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
    connection.close().await.unwrap();
    // Rows in memory are used for 10 ms before others' changes are looked for.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// A certificate authority that anybody can get a certificate of.
struct Issuer {
    roots: WebPki,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

fn rcgen_authority() -> Issuer {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    Issuer {
        roots: WebPki::with_roots(roots).unwrap(),
        issuer,
    }
}

impl Issuer {
    fn leaf(&self, name: &str) -> rustls_pki_types::CertificateDer<'static> {
        let params = rcgen::CertificateParams::new(vec![name.into()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }
}

/// A mail host that does as it likes.
struct Host {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Host {
    async fn start<F, W>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(tcp));
            }
        });
        Self { port, task }
    }

    /// A sender for whom this is the only mail host of the domain, whose record names none and is proven.
    async fn reached_by(&self, policy: Policy) -> (Sender, ManagementRecord) {
        let record = record(&[1], policy);
        let zone = signed(&record)
            .mx("", 10, &domain("mx.hismail.test"))
            .address("mx", IpAddr::V4(Ipv4Addr::LOCALHOST));
        (Sender::facing(zone).await, record)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tries to open a session in dual mode; nobody listens for DMTP alone.
async fn open_session(sender: &Sender, record: &ManagementRecord, port: u16) -> Result<(), DxError> {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let single = closed.local_addr().unwrap().port();
    drop(closed);
    let connector = sender.connector(DxPorts {
        single,
        dual: port,
        dual_fallback: port,
    });
    let session = connector.open(&hismail(), record, Proof::Secure).await;
    session.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_are_shown_and_forgotten_by_order_and_the_log_says_so() {
    let world = World::new().await;
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .build()
        .await;
    let _hismail = world.organization("hismail.test").policy("mixed").build().await;
    let dimed = |words: &[&str]| {
        let mut command = assert_cmd::Command::new(DIMED);
        command
            .env_remove("DIMED_MASTER_KEY")
            .env_remove("CREDENTIALS_DIRECTORY")
            .arg("--config")
            .arg(&hermail.config)
            .args(words);
        let output = command.output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    assert_eq!(dimed(&["domain", "pins"]).1, "Nothing is pinned.\n");
    assert_eq!(dimed(&["domain", "forget-pin", "hismail.test"]).0, 1);
    // Nobody serves hismail.test, but its record is seen.
    dimed(&["route", "explain", "bob@hismail.test"]);
    let (code, shown, _) = dimed(&["domain", "pins"]);
    assert_eq!(code, 0);
    assert!(
        shown.starts_with("hismail.test  proven by DNSSEC, since "),
        "{shown}"
    );
    assert!(
        shown.contains("policy mixed, signed certificates: 1, delivered to mx.hismail.test"),
        "{shown}"
    );
    assert!(shown.contains("    key "), "{shown}");
    let (_, object, _) = dimed(&["domain", "pins", "hismail.test", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    assert_eq!(
        (&object["secure"], &object["expired"]),
        (&true.into(), &false.into())
    );
    let secs = object["expires_at"].as_i64().unwrap() - object["first_seen_at"].as_i64().unwrap();
    assert_eq!(secs, 30 * 24 * 3600, "30 days are the default");
    assert_eq!(dimed(&["domain", "pins", "other.test"]).0, 1);
    let (code, said, log) = dimed(&["domain", "forget-pin", "hismail.test"]);
    assert_eq!(code, 0);
    assert!(
        said.starts_with("What was pinned of hismail.test is forgotten"),
        "{said}"
    );
    assert!(
        log.contains("\"domain.pin.forgotten\"") && log.contains("hismail.test"),
        "{log}"
    );
    assert_eq!(dimed(&["domain", "pins"]).1, "Nothing is pinned.\n");
}
