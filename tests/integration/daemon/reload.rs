//! Another configuration, and other certificates, for a daemon that runs: a real process, a real signal and a real command.

use std::fs;
use std::net::UdpSocket;
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dimed::base::time::Timestamp;
use dimed::config::{Config, LogLevel, Protection, Transport};
use dimed::net::authority::{KeyKind, Zone};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls_pki_types::CertificateDer;
use serde_json::Value;

use crate::support::certificates::{Certificate, Certification};
use crate::support::child::Process;
use crate::support::loopback::{DMTP, Loopback, SMTP};
use crate::support::milter::{Act, Milter, packets};
use crate::support::organization::{Organization, record};
use crate::support::sink::{Behaviour, Sink};
use crate::support::talk::Talk;
use crate::support::world::{World, domain};
use crate::support::{PATIENCE, eventually};

const LETTER: &str = "From: carol@plain.test\r\n\r\nhello\r\n";

async fn hismail(world: &World) -> Organization {
    let hismail = world.organization("hismail.test").plain();
    hismail.accounts(&["bob"]).build().await
}

/// Writes another configuration.
fn change(organization: &Organization, change: impl Fn(&mut Config)) {
    let mut config = Config::load(&organization.config).unwrap();
    change(&mut config);
    fs::write(&organization.config, toml::to_string(&config).unwrap()).unwrap();
}

/// What `dimed reload` says for programs when it succeeds.
fn reloaded(organization: &Organization) -> String {
    let (code, out, said) = organization.binary(&["reload", "--json"]);
    assert_eq!((code, said.as_str()), (0, ""), "{out}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["result"], "done");
    told["message"].as_str().unwrap().to_owned()
}

/// How often an event is in the log.
fn count(daemon: &Process, event: &str) -> usize {
    daemon.log().matches(&format!("\"{event}\"")).count()
}

async fn logged(daemon: &Process, event: &str, times: usize) {
    eventually(event, || (count(daemon, event) >= times).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_go_by_another_configuration_and_those_under_way_by_the_one_they_began_with() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let mut daemon = hismail.spawn().await;
    let mut before = Talk::smtp(hismail.ip).await;
    before.ask("MAIL FROM:<carol@plain.test> SIZE=90000", "250").await;
    change(&hismail, |config| {
        config.limits.message_bytes = NonZeroU64::new(80_000).unwrap();
        config.limits.recipients = NonZeroUsize::new(1).unwrap();
    });
    assert_eq!(
        reloaded(&hismail),
        "the configuration has been read again and is in use"
    );
    logged(&daemon, "daemon.reloaded", 1).await;

    before.ask("RCPT TO:<bob@hismail.test>", "250").await;
    before.ask("RCPT TO:<postmaster@hismail.test>", "250").await;
    let long = format!("{LETTER}{}\r\n", "0123456789\r\n".repeat(7_200));
    assert!(before.data(&long).await.starts_with("250 "));
    before.ask("MAIL FROM:<carol@plain.test> SIZE=90000", "250").await;

    let mut after = Talk::open(hismail.ip, SMTP).await;
    after.expect("220 ").await;
    let offered = after.ask("EHLO client.test", "250").await;
    assert!(offered.contains("SIZE 80000"), "{offered}");
    after.ask("MAIL FROM:<carol@plain.test> SIZE=90000", "552").await;
    after.ask("MAIL FROM:<carol@plain.test>", "250").await;
    after.ask("RCPT TO:<bob@hismail.test>", "250").await;
    after.ask("RCPT TO:<postmaster@hismail.test>", "452").await;
    daemon.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_changes_nothing_and_is_told() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let mut daemon = hismail.spawn().await;
    let right = fs::read_to_string(&hismail.config).unwrap();

    // One that names a file that is not there, which the daemon finds out.
    change(&hismail, |config| {
        config.limits.recipients = NonZeroUsize::new(1).unwrap();
        config.tls.smtp_certificate = Some("/nonexistent/chain.pem".into());
        config.tls.smtp_key = Some("/nonexistent/key.pem".into());
    });
    let (code, out, said) = hismail.binary(&["reload"]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        said.starts_with("dimed: cannot read /nonexistent/chain.pem"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let (code, out, _) = hismail.binary(&["reload", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["result"]), (78, &"refused".into()));
    assert_eq!(count(&daemon, "daemon.reload_refused"), 2);

    // One that is none, by signal and by command.
    fs::write(&hismail.config, format!("{right}[nonsense]\n")).unwrap();
    daemon.hang_up();
    logged(&daemon, "daemon.reload_refused", 3).await;
    assert!(
        daemon.log().contains("there is no section `[nonsense]`"),
        "{}",
        daemon.log()
    );
    let (code, _, said) = hismail.binary(&["reload"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("there is no section `[nonsense]`"), "{said}");

    let mut talk = Talk::smtp(hismail.ip).await;
    let both = ["bob@hismail.test", "postmaster@hismail.test"];
    assert!(
        talk.transfer("carol@plain.test", &both, LETTER)
            .await
            .starts_with("250 ")
    );
    fs::write(&hismail.config, right).unwrap();
    reloaded(&hismail);
    assert_eq!(count(&daemon, "daemon.reloaded"), 1);
    daemon.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_is_named_and_everything_else_is_in_use() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let daemon = hismail.spawn().await;
    let other = Loopback::take();
    change(&hismail, |config| {
        config.listen.smtp[0].set_ip(other.ip);
        config.queue.runners = NonZeroUsize::new(3).unwrap();
        config.limits.recipients = NonZeroUsize::new(1).unwrap();
    });
    let named = ": listen.smtp, queue.runners";
    for _ in 0..2 {
        let said = reloaded(&hismail);
        assert!(said.ends_with(named), "{said}");
    }
    let mut talk = Talk::smtp(hismail.ip).await;
    talk.ask("MAIL FROM:<carol@plain.test>", "250").await;
    talk.ask("RCPT TO:<bob@hismail.test>", "250").await;
    talk.ask("RCPT TO:<postmaster@hismail.test>", "452").await;
    assert!(
        daemon.log().contains("\"listen.smtp, queue.runners\""),
        "{}",
        daemon.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_nobody_can_be_asked() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let (code, _, said) = hismail.binary(&["reload"]);
    assert_eq!(code, 75, "{said}");
    assert!(said.starts_with("dimed: no daemon is running from "), "{said}");
    assert!(
        said.contains("another server.data_directory needs a restart"),
        "{said}"
    );
    // Somebody who hangs up has done nothing, and is no reader of what we print.
    let socket = Config::load(&hismail.config).unwrap().server.data_directory;
    let socket = socket.join("control.socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    for _ in 0..20 {
        let (code, out, said) = hismail.binary(&["reload"]);
        assert_eq!((code, out.as_str()), (75, ""), "{said}");
        assert!(said.starts_with("dimed: the daemon has not answered"), "{said}");
    }
    // One that was killed leaves its socket.
    let mut daemon = hismail.spawn().await;
    daemon.kill();
    assert_eq!(hismail.binary(&["reload"]).0, 75);
    let daemon = hismail.spawn().await;
    reloaded(&hismail);
    assert_eq!(count(&daemon, "daemon.reloaded"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_is_logged_as_the_level_says_now() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let daemon = hismail.spawn().await;
    let level = |level: LogLevel| {
        change(&hismail, |config| config.log.level = level);
        reloaded(&hismail);
    };
    let session = async || {
        let mut talk = Talk::smtp(hismail.ip).await;
        talk.ask("QUIT", "221").await;
        talk.expect_end().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    level(LogLevel::Error);
    session().await;
    level(LogLevel::Info);
    session().await;
    logged(&daemon, "session.closed", 1).await;
    assert_eq!(count(&daemon, "session.closed"), 1);
}

/// Relaying, filters and what hosts are measured by.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_now_is_judged_by_what_is_configured_now() {
    let world = World::new().await;
    world.plain_domain("plain.test", Loopback::take().ip);
    let hismail = hismail(&world).await;
    let _daemon = hismail.spawn().await;
    let elsewhere = "RCPT TO:<carol@plain.test>";
    let mut before = Talk::smtp(hismail.ip).await;
    before.ask("MAIL FROM:<eve@elsewhere.test>", "250").await;
    before.ask(elsewhere, "55").await;
    change(&hismail, |config| {
        config.relay.networks = vec!["127.0.0.1".parse().unwrap()];
    });
    reloaded(&hismail);
    before.ask(elsewhere, "55").await;
    let mut after = Talk::smtp(hismail.ip).await;
    after.ask("MAIL FROM:<eve@elsewhere.test>", "250").await;
    after.ask(elsewhere, "250").await;

    let milter = Milter::start(|_, packet| match packet {
        [b'E'] => packets(&[b"y554 5.7.1 not any more\0"]),
        _ => Act::Usual,
    })
    .await;
    change(&hismail, |config| {
        config.relay.networks = Vec::new();
        config.filtering.filters = vec![milter.filter("last")];
    });
    reloaded(&hismail);
    let mut filtered = Talk::smtp(hismail.ip).await;
    let bob = ["bob@hismail.test"];
    let reply = filtered.transfer("carol@plain.test", &bob, LETTER).await;
    assert!(reply.starts_with("554 5.7.1 not any more"), "{reply}");
    change(&hismail, |config| config.filtering.filters = Vec::new());
    reloaded(&hismail);
    let mut unfiltered = Talk::smtp(hismail.ip).await;
    let reply = unfiltered.transfer("carol@plain.test", &bob, LETTER).await;
    assert!(reply.starts_with("250 "), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_used_up_is_forgotten_only_where_the_limit_is_another() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .plain()
        .accounts(&["bob"])
        .config(|config| config.submission.messages_per_hour = 1)
        .build()
        .await;
    let _daemon = hismail.spawn().await;
    let bob = "bob@hismail.test";
    let begin = async |code: &str| {
        let mut talk = Talk::submission(hismail.ip, bob).await;
        talk.ask(&format!("MAIL FROM:<{bob}>"), code).await;
    };
    hismail
        .submit("bob", &[bob], "From: bob@hismail.test\r\n\r\nhello\r\n")
        .await;
    begin("45").await;
    change(&hismail, |config| {
        config.limits.recipients = NonZeroUsize::new(5).unwrap();
    });
    reloaded(&hismail);
    begin("45").await;
    change(&hismail, |config| config.submission.messages_per_hour = 2);
    reloaded(&hismail);
    begin("250").await;
}

/// Mail for everybody goes there.
pub fn way(host: &Loopback) -> Transport {
    Transport {
        domains: vec!["*".parse().unwrap()],
        host: host.ip.to_string().parse().unwrap(),
        port: NonZeroU16::new(SMTP).unwrap(),
        tls: Protection::Opportunistic,
        tls_from_start: false,
        credentials: None,
        login_under: Protection::Verified,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_waits_takes_the_way_that_is_configured_now() {
    let world = World::new().await;
    let (nobody, smart) = (Loopback::take(), Loopback::take());
    let hermail = world
        .organization("hermail.test")
        .plain()
        .accounts(&["alice"])
        .config(|config| config.outbound.transports = vec![way(&nobody)])
        .build()
        .await;
    let sink = Sink::start(smart.ip, Behaviour::default()).await;
    let daemon = hermail.spawn().await;
    let letter = "From: alice@hermail.test\r\n\r\nhello\r\n";
    hermail.submit("alice", &["carol@plain.test"], letter).await;
    logged(&daemon, "queue.attempt.smtp", 1).await;
    change(&hermail, |config| config.outbound.transports = vec![way(&smart)]);
    daemon.hang_up();
    sink.taken(1).await;
}

/// Where certificates are, one after the other.
struct Files {
    authority: Certification,
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(folder: &Path) -> Self {
        Self {
            authority: Certification::new(folder),
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
        }
    }

    /// Another one takes the place of the one that is there, key first.
    fn put(&self) -> Certificate {
        let certificate = self.authority.issue("mx.hismail.test");
        let [chain, key] = &certificate.files;
        fs::copy(key, &self.key).unwrap();
        fs::copy(chain, &self.chain).unwrap();
        certificate
    }
}

/// What is shown to clients of SMTP.
async fn shown_by_smtp(organization: &Organization) -> CertificateDer<'static> {
    let mut talk = Talk::smtp(organization.ip).await;
    talk.ask("STARTTLS", "220").await;
    talk.start_tls().await.certificates.remove(0)
}

/// What is shown to peers on the port for DMTP.
async fn shown_by_dmtp(organization: &Organization) -> CertificateDer<'static> {
    let mut talk = Talk::open(organization.ip, DMTP).await;
    talk.start_tls().await.certificates.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_renewed_is_shown_without_a_word_from_anybody() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let old = files.put();
    let hismail = world
        .organization("hismail.test")
        .plain()
        .accounts(&["bob"])
        .config(|config| {
            config.tls.smtp_certificate = Some(files.chain.clone());
            config.tls.smtp_key = Some(files.key.clone());
        })
        .build()
        .await;
    let daemon = hismail.spawn().await;
    assert_eq!(shown_by_smtp(&hismail).await, *old.identity.leaf());
    let mut under_way = Talk::submission(hismail.ip, "bob@hismail.test").await;

    // Half of it is not used.
    fs::write(&files.key, "").unwrap();
    logged(&daemon, "tls.certificate_failed", 1).await;
    assert_eq!(shown_by_smtp(&hismail).await, *old.identity.leaf());
    let new = files.put();
    logged(&daemon, "tls.certificate_replaced", 1).await;
    assert_eq!(shown_by_smtp(&hismail).await, *new.identity.leaf());
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("tls.certificate_replaced"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    let serial = |certificate: &Certificate| hexadecimal(&certificate.serial.to_bytes());
    assert_eq!(line["certificate.serial"], serial(&new));
    assert_eq!(line["replaced.serial"], serial(&old));
    assert_eq!(line["service"], "smtp");
    assert!(line["certificate.ends"].as_i64().unwrap() > 0);
    assert_eq!(count(&daemon, "tls.certificate_failed"), 1);

    let letter = "From: bob@hismail.test\r\n\r\nstill here\r\n";
    let reply = under_way
        .transfer("bob@hismail.test", &["bob@hismail.test"], letter)
        .await;
    assert!(reply.starts_with("250 "), "{reply}");
}

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_file_holds_up_nobody() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let old = files.put();
    let hismail = world
        .organization("hismail.test")
        .plain()
        .config(|config| {
            config.tls.smtp_certificate = Some(files.chain.clone());
            config.tls.smtp_key = Some(files.key.clone());
        })
        .build()
        .await;
    let mut daemon = hismail.spawn().await;
    fs::remove_file(&files.chain).unwrap();
    make_pipe(&files.chain);
    let (code, _, said) = hismail.binary(&["reload"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("it is not a regular file"), "{said}");
    logged(&daemon, "tls.certificate_failed", 1).await;
    assert_eq!(shown_by_smtp(&hismail).await, *old.identity.leaf());

    fs::remove_file(&hismail.config).unwrap();
    make_pipe(&hismail.config);
    daemon.hang_up();
    logged(&daemon, "daemon.reload_refused", 2).await;
    Talk::smtp(hismail.ip).await;
    daemon.terminate();
    assert!(daemon.ended().await.success());
}

/// Each is replaced whatever is wrong with the other, and every mistake is told once.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_holds_up_no_other() {
    let world = World::new().await;
    let folder = |name: &str| {
        let folder = world.home().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (smtp, dmtp) = (Files::new(&folder("smtp")), Files::new(&folder("dmtp")));
    let old = smtp.put();
    dmtp.put();
    let hismail = world
        .organization("hismail.test")
        .plain()
        .config(|config| {
            config.tls.smtp_certificate = Some(smtp.chain.clone());
            config.tls.smtp_key = Some(smtp.key.clone());
            config.tls.certificate = Some(dmtp.chain.clone());
            config.tls.key = Some(dmtp.key.clone());
        })
        .build()
        .await;
    let daemon = hismail.spawn().await;
    fs::write(&smtp.key, "").unwrap();
    logged(&daemon, "tls.certificate_failed", 1).await;
    let new = dmtp.put();
    logged(&daemon, "tls.certificate_replaced", 1).await;
    assert_eq!(shown_by_dmtp(&hismail).await, *new.identity.leaf());
    assert_eq!(shown_by_smtp(&hismail).await, *old.identity.leaf());
    let failed = count(&daemon, "tls.certificate_failed");
    fs::remove_file(&smtp.key).unwrap();
    logged(&daemon, "tls.certificate_failed", failed + 1).await;
    for line in daemon.log().lines() {
        if line.contains("tls.certificate_failed") {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["service"], "smtp");
        }
    }
}

/// On this runtime nothing of the daemon runs between its start and the first wait of the test.
#[tokio::test]
async fn a_certificate_that_is_replaced_during_the_start_is_shown() {
    let world = World::new().await;
    let files = Files::new(world.home());
    files.put();
    let hismail = world
        .organization("hismail.test")
        .plain()
        .config(|config| {
            config.tls.smtp_certificate = Some(files.chain.clone());
            config.tls.smtp_key = Some(files.key.clone());
        })
        .build()
        .await;
    let served = hismail.start().await;
    let new = files.put();
    let deadline = Instant::now() + PATIENCE;
    while shown_by_smtp(&hismail).await != *new.identity.leaf() {
        assert!(Instant::now() < deadline, "it is not shown");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    served.stop().await;
}

/// Without the zeros in front that a number may have.
fn hexadecimal(octets: &[u8]) -> String {
    let octets = octets.iter().skip_while(|octet| **octet == 0);
    let octets: Vec<String> = octets.map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

/// An organization whose certificate for everything is in files, and its zone without the record, with a TTL that a test can wait
/// for; the record is published.
async fn with_files(world: &World, files: &Files) -> (Organization, Zone) {
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| {
            config.tls.certificate = Some(files.chain.clone());
            config.tls.key = Some(files.key.clone());
        })
        .build()
        .await;
    let zone = Zone::signed(&domain("hismail.test"), KeyKind::Ed25519).unwrap();
    let zone = zone
        .with_ttl(1)
        .mx("", 10, &domain("mx.hismail.test"))
        .address("mx", hismail.ip);
    let printed = hismail.cli(&["dns", "records", "hismail.test"]).await;
    world.put("hismail.test", &zone.clone().txt("_dx", record(&printed)));
    (hismail, zone)
}

/// `management-record.md` §6 step 4.
#[tokio::test(flavor = "multi_thread")]
async fn peers_see_a_certificate_once_dns_has_vouched_for_it_for_a_while() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let old = files.put();
    let (hismail, zone) = with_files(&world, &files).await;
    let daemon = hismail.spawn().await;
    assert_eq!(shown_by_dmtp(&hismail).await, *old.identity.leaf());

    let new = files.put();
    let said = reloaded(&hismail);
    assert!(said.contains("once DNS has vouched for it"), "{said}");
    logged(&daemon, "tls.certificate_waits", 1).await;
    assert_eq!(shown_by_smtp(&hismail).await, *new.identity.leaf());
    assert_eq!(shown_by_dmtp(&hismail).await, *old.identity.leaf());
    // Another look at the same files does not make it begin anew.
    reloaded(&hismail);
    assert_eq!(count(&daemon, "tls.certificate_waits"), 1);

    let printed = hismail.cli(&["dns", "records", "hismail.test"]).await;
    world.update(&zone.clone().txt("_dx", record(&printed)));
    logged(&daemon, "tls.certificate_replaced", 2).await;
    assert_eq!(shown_by_dmtp(&hismail).await, *new.identity.leaf());
    let log = daemon.log();
    let replaced: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("tls.certificate_replaced"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(replaced[0]["service"], "smtp");
    assert_eq!(replaced[1]["service"], "dmtp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_waits_goes_on_waiting_after_a_restart() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let old = files.put();
    let (hismail, zone) = with_files(&world, &files).await;
    let kept = hismail.folder.join("data/tls/dmtp-kept.pem");
    let mut daemon = hismail.spawn().await;
    let new = files.put();
    reloaded(&hismail);
    logged(&daemon, "tls.certificate_waits", 1).await;
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    daemon.terminate();
    assert!(daemon.ended().await.success());
    let mut daemon = hismail.spawn().await;
    assert_eq!(shown_by_smtp(&hismail).await, *new.identity.leaf());
    assert_eq!(shown_by_dmtp(&hismail).await, *old.identity.leaf());
    logged(&daemon, "tls.certificate_waits", 2).await;
    // A kill is no different.
    daemon.kill();
    let mut daemon = hismail.spawn().await;
    assert_eq!(shown_by_dmtp(&hismail).await, *old.identity.leaf());

    // What is to be published vouches for both, and what is in DNS does not.
    let checked = hismail.cli_any(&["dns", "check", "hismail.test", "--json"]).await;
    assert!(checked.contains("next_certificate_not_covered"), "{checked}");
    let printed = hismail.cli(&["dns", "records", "hismail.test"]).await;
    assert_eq!(record(&printed).matches("tls=").count(), 2, "{printed}");
    world.update(&zone.clone().txt("_dx", record(&printed)));
    logged(&daemon, "tls.certificate_replaced", 2).await;
    assert_eq!(shown_by_dmtp(&hismail).await, *new.identity.leaf());
    eventually("nothing to be kept", || (!kept.exists()).then_some(())).await;
    let printed = hismail.cli(&["dns", "records", "hismail.test"]).await;
    assert_eq!(record(&printed).matches("tls=").count(), 1, "{printed}");
    daemon.kill();

    let _daemon = hismail.spawn().await;
    assert_eq!(shown_by_dmtp(&hismail).await, *new.identity.leaf());
}

/// As whoever renews certificates does who has the daemon restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_replaced_just_before_a_restart_waits() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let old = files.put();
    let (hismail, _) = with_files(&world, &files).await;
    let mut daemon = hismail.spawn().await;
    let new = files.put();
    daemon.terminate();
    assert!(daemon.ended().await.success());
    let daemon = hismail.spawn().await;
    assert_eq!(shown_by_smtp(&hismail).await, *new.identity.leaf());
    assert_eq!(shown_by_dmtp(&hismail).await, *old.identity.leaf());
    logged(&daemon, "tls.certificate_waits", 2).await;
}

/// Puts a certificate there that ended with the year 2019.
fn put_ended(files: &Files) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["mx.hismail.test".to_owned()]).unwrap();
    params.not_after = date_time_ymd(2020, 1, 1);
    let ended = params.self_signed(&key).unwrap();
    fs::write(&files.chain, ended.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    ended.der().clone()
}

/// Every peer refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_certificate_that_has_ended() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let ended = put_ended(&files);
    let (hismail, _) = with_files(&world, &files).await;
    let daemon = hismail.spawn().await;
    assert_eq!(shown_by_dmtp(&hismail).await, ended);
    let new = files.put();
    reloaded(&hismail);
    logged(&daemon, "tls.certificate_replaced", 2).await;
    assert_eq!(shown_by_dmtp(&hismail).await, *new.identity.leaf());
}

/// It has not, by a clock that may be ahead, until somebody says that the clock is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_in_doubt_ends_no_certificate() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let ended = put_ended(&files);
    let (hismail, _) = with_files(&world, &files).await;
    let store = hismail.services().await.store;
    // The first second of 2019.
    store
        .note_clock(Timestamp(1_546_300_800_000), false)
        .await
        .unwrap();
    drop(store);
    let daemon = hismail.spawn().await;
    logged(&daemon, "clock.doubted", 1).await;
    let new = files.put();
    reloaded(&hismail);
    logged(&daemon, "tls.certificate_waits", 1).await;
    assert_eq!(shown_by_dmtp(&hismail).await, ended);
    hismail.cli(&["clock", "confirm"]).await;
    logged(&daemon, "tls.certificate_replaced", 2).await;
    let log = daemon.log();
    let last = |event: &str| log.rfind(&format!("\"{event}\"")).unwrap();
    assert!(last("clock.trusted") < last("tls.certificate_replaced"), "{log}");
    assert_eq!(shown_by_dmtp(&hismail).await, *new.identity.leaf());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_of_a_kept_certificate_keeps_nobody_from_starting() {
    let world = World::new().await;
    let files = Files::new(world.home());
    let old = files.put();
    let (hismail, _) = with_files(&world, &files).await;
    fs::create_dir_all(hismail.folder.join("data/tls")).unwrap();
    let kept = hismail.folder.join("data/tls/dmtp-kept.pem");
    fs::write(&kept, "half").unwrap();
    let daemon = hismail.spawn().await;
    assert_eq!(count(&daemon, "tls.certificate_failed"), 1);
    assert_eq!(shown_by_dmtp(&hismail).await, *old.identity.leaf());
    eventually("it to be forgotten", || (!kept.exists()).then_some(())).await;
}

/// Name servers that say nothing are asked whether a certificate's time has come, and meanwhile there is another configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_waits_for_no_name_server() {
    let world = World::new().await;
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let files = Files::new(world.home());
    files.put();
    let hismail = world
        .organization("hismail.test")
        .config(|config| {
            config.tls.certificate = Some(files.chain.clone());
            config.tls.key = Some(files.key.clone());
            config.dns.servers = vec![silent.local_addr().unwrap()];
            config.dns.reply_timeout_secs = NonZeroU64::new(100).unwrap();
            config.dns.total_timeout_secs = NonZeroU64::new(100).unwrap();
        })
        .build()
        .await;
    let _daemon = hismail.spawn().await;
    while silent.recv(&mut [0; 512]).is_ok() {}
    files.put();
    let said = reloaded(&hismail);
    assert!(said.contains("once DNS has vouched for it"), "{said}");
    // Whatever is looked up, the keys of the zone that is trusted are asked for first.
    let asked = || silent.recv(&mut [0; 512]).ok();
    eventually("a question", asked).await;
    let begun = Instant::now();
    reloaded(&hismail);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}
