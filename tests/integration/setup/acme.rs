//! Certificates that Pebble issues once it has asked the host.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};

use dimed::net::acme::is_due;
use dimed::net::tls::Identity;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::support::PATIENCE;
use super::super::support::loopback::HTTP;
use super::super::support::organization::record;
use super::pebble::Pebble;
use super::*;

/// When tests run, more or less: Pebble's certificates are valid for five years.
fn now_secs() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_secs()).unwrap()
}

/// The certificate for SMTP, which is Pebble's, for the host and our key.
fn issued(host: &Host) -> Identity {
    let (chain, key) = (
        host.desk.path("data/tls/smtp-chain.pem"),
        host.desk.path("data/tls/smtp-key.pem"),
    );
    assert!(!is_due(&chain, &domain("mx.hermail.test"), now_secs()));
    let identity = Identity::load(&chain, &key).unwrap();
    let (_, leaf) = X509Certificate::from_der(identity.leaf()).unwrap();
    assert!(leaf.issuer().to_string().contains("Pebble"), "{}", leaf.issuer());
    identity
}

async fn a_certificate_is_issued_and_used(challenge: &str) {
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let more = format!(
        "{} {} --no-wait",
        pebble.options(),
        Pebble::asks(host.ip(), challenge)
    );
    let object = host.set_up(0, &more);
    assert!(
        steps(&object, "done").contains(&"acme".to_owned()),
        "{object}\n{}",
        pebble.log()
    );
    let first = issued(&host);
    for private in ["data/acme-account.json", "data/tls/smtp-key.pem"] {
        assert_eq!(host.desk.mode(private), 0o600, "{private}");
    }
    let key = host.desk.read("data/tls/smtp-key.pem");
    let account = host.desk.read("data/acme-account.json");

    let again = host.set_up(0, "--no-wait");
    assert_eq!(steps(&again, "done"), Vec::<String>::new());
    assert_eq!(issued(&host).leaf(), first.leaf());

    // Without the certificate, another one is issued for the same key, by the same account.
    std::fs::remove_file(host.desk.path("data/tls/smtp-chain.pem")).unwrap();
    assert!(output(&mut host.command("check")).status.success());
    let another = host.set_up(0, &more);
    assert_eq!(steps(&another, "done"), ["acme"]);
    let second = issued(&host);
    assert_ne!(second.leaf(), first.leaf());
    assert_eq!(host.desk.read("data/tls/smtp-key.pem"), key);
    assert_eq!(host.desk.read("data/acme-account.json"), account);

    let _daemon = host.serve().await;
    let mut talk = Talk::open(host.ip(), SUBMISSION).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    talk.ask("STARTTLS", "220").await;
    let shown = talk.start_tls().await;
    assert_eq!(&shown.certificates[0], second.leaf());
    host.first_message().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_over_http() {
    a_certificate_is_issued_and_used("http-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_issued_over_tls() {
    a_certificate_is_issued_and_used("tls-alpn-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_authority_has_against_it_is_said_and_the_same_command_goes_on() {
    let host = Host::new().await;
    let pebble = Pebble::start(&host.world).await;
    let more = format!(
        "{USUAL} {} {} --no-wait",
        pebble.options(),
        Pebble::asks(host.ip(), "http-01")
    );
    // Nobody knows where the host is.
    let said = host.refused(75, &more);
    let own = said.lines().filter(|line| line.starts_with("dimed: "));
    assert_eq!(
        own.count(),
        1 + usize::from(said.contains("made a master key")),
        "{said}"
    );
    assert!(
        said.contains("there is no certificate for mx.hermail.test yet")
            && said.contains("the authority says: "),
        "{said}"
    );
    assert!(!host.desk.path("data/tls/smtp-chain.pem").exists());

    // Somebody else has the port that the authority asks on.
    host.publish("");
    let other = TcpListener::bind((host.ip(), HTTP)).unwrap();
    let said = host.refused(75, &more);
    assert!(
        said.contains(&format!(
            "cannot listen on {}:{HTTP}, where the authority asks",
            host.ip()
        )),
        "{said}"
    );
    drop(other);
    let object = host.set_up(0, &format!("{} --no-wait", pebble.options()));
    assert_eq!(steps(&object, "done"), ["acme"]);
    issued(&host);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_there_is_asked_again_later() {
    let host = Host::new().await;
    let nobody = format!("--yes --acme-directory https://{}:14000/dir", host.ip());
    let roots = super::super::support::certificates::Certification::new(host.desk.0.path()).roots();
    let asks = Pebble::asks(host.ip(), "http-01");
    let more = format!("{USUAL} {nobody} --acme-ca {} {asks} --no-wait", roots.display());
    let said = host.refused(75, &more);
    assert!(said.contains("the authority cannot be asked"), "{said}");
    // The records can be published meanwhile.
    let shown = String::from_utf8(output(&mut host.setting_up(&more)).stdout).unwrap();
    assert!(
        shown.contains("Publish these records") && shown.contains("_dx.hermail.test. 3600 IN TXT"),
        "{shown}"
    );
    assert!(shown.contains("the same command goes on"), "{shown}");
    let object = host.set_up(75, &more.replace(USUAL, ""));
    assert_eq!(object["result"], "try_later");
    assert!(!object["records"]["records"].as_array().unwrap().is_empty());
    assert!(
        object["message"]
            .as_str()
            .unwrap()
            .contains("the authority cannot be asked"),
        "{object}"
    );
}

/// What is issued counts with the authority, also if it can be kept nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ordered_where_the_certificate_could_not_be_written() {
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let asks = Pebble::asks(host.ip(), "http-01");
    host.set_up(0, &format!("{} {asks} --no-wait", pebble.options()));
    let text = host.desk.read("etc/dimed.toml");
    let elsewhere = text.replace("tls/smtp-chain.pem", "dimed.db/smtp-chain.pem");
    assert_ne!(elsewhere, text);
    host.desk.write("etc/dimed.toml", elsewhere);
    let orders = || pebble.log().matches("/order-plz").count();
    let before = orders();
    assert!(before > 0, "{}", pebble.log());
    let said = host.refused(78, &format!("{USUAL} --no-wait"));
    assert!(
        said.contains("smtp-chain.pem cannot be written, so no certificate is asked for"),
        "{said}"
    );
    let checked = output(&mut host.command("check --json")).stdout;
    let checked: Value = serde_json::from_slice(&checked).unwrap();
    let mut codes = checked["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["code"]);
    for code in ["certificate_awaited", "certificate_unwritable"] {
        assert!(codes.any(|found| found == code), "{checked}");
    }
    let daemon = host.serve().await;
    logged(&daemon, "tls.certificate_not_issued", 1).await;
    assert_eq!(orders(), before);
}

/// Puts a certificate in place for the same key, for a time of which little is left.
fn nearly_over(host: &Host) -> CertificateDer<'static> {
    let path = host.desk.path("data/tls/smtp-chain.pem");
    let key = KeyPair::from_pem(&host.desk.read("data/tls/smtp-key.pem")).unwrap();
    let mut params = CertificateParams::new(vec!["mx.hermail.test".to_owned()]).unwrap();
    params.not_before = date_time_ymd(1990, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    let made = params.self_signed(&key).unwrap();
    std::fs::write(&path, made.pem()).unwrap();
    assert!(is_due(&path, &domain("mx.hermail.test"), now_secs()));
    made.der().clone()
}

/// What clients of SMTP are shown.
async fn shown_by_smtp(host: &Host) -> CertificateDer<'static> {
    let mut talk = Talk::smtp(host.ip()).await;
    talk.ask("STARTTLS", "220").await;
    talk.start_tls().await.certificates.remove(0)
}

/// What peers on the port for DMTP are shown.
async fn shown_by_dmtp(host: &Host) -> CertificateDer<'static> {
    let mut talk = Talk::open(host.ip(), DMTP).await;
    talk.start_tls().await.certificates.remove(0)
}

async fn logged(daemon: &Process, event: &str, times: usize) {
    let event = format!("event={event}");
    eventually(&event, || {
        (daemon.log().matches(&event).count() >= times).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_renews_a_certificate_whose_time_is_nearly_over() {
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let asks = Pebble::asks(host.ip(), "http-01");
    host.set_up(0, &format!("{} {asks} --no-wait", pebble.options()));
    let first = issued(&host);

    let old = nearly_over(&host);
    let daemon = host.serve().await;
    assert_eq!(shown_by_smtp(&host).await, old);
    let to_peers = shown_by_dmtp(&host).await;
    logged(&daemon, "tls.certificate_issued", 1).await;
    let renewed = issued(&host);
    assert_ne!(renewed.leaf(), first.leaf());
    logged(&daemon, "tls.certificate_replaced", 1).await;
    assert_eq!(shown_by_smtp(&host).await, *renewed.leaf());
    // DMTP has its own.
    assert_eq!(shown_by_dmtp(&host).await, to_peers);
}

/// As under systemd, where the daemon has no right to the port: that is in use already, and hears at all times.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_renews_a_certificate_at_a_socket_of_the_service_manager() {
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let asks = Pebble::asks(host.ip(), "http-01");
    host.set_up(0, &format!("{} {asks} --no-wait", pebble.options()));
    let old = nearly_over(&host);
    let sockets = [SMTP, HTTP].map(|port| TcpListener::bind((host.ip(), port)).unwrap());
    let log = host.desk.path("log");
    let daemon = Process::handed(&host.config(), &log, "smtp:acme", sockets.each_ref());
    logged(&daemon, "tls.certificate_issued", 1).await;
    assert_ne!(issued(&host).leaf(), &old);
    // Whoever comes now hears nothing, and does not wait for it.
    let mut caller = TcpStream::connect((host.ip(), HTTP)).unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = block_in_place(|| caller.read(&mut [0]));
    assert_eq!(heard.unwrap(), 0);
}

/// Somebody may have had the host, with the keys of the certificate and of the account.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_and_the_account_is_out_of_service_with_the_authority() {
    const ACCOUNT: &str = "data/acme-account.json";
    const KEY: &str = "data/tls/smtp-key.pem";
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let asks = Pebble::asks(host.ip(), "http-01");
    host.set_up(0, &format!("{} {asks} --no-wait", pebble.options()));
    let first = issued(&host);
    let (account, key) = (host.desk.read(ACCOUNT), host.desk.read(KEY));
    let run = |code: i32, words: &str| {
        let done = output(&mut host.command(words));
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(
            done.status.code(),
            Some(code),
            "{words}\n{said}\n{}",
            pebble.log()
        );
        said
    };

    let said = run(0, "acme deactivate --revoke");
    assert!(
        said.contains("is out of service, and its file is removed"),
        "{said}"
    );
    assert_eq!(said.matches("tls.authority_changed").count(), 2, "{said}");
    assert!(pebble.log().contains("/revoke-cert"), "{}", pebble.log());
    assert!(!host.desk.path(ACCOUNT).exists());
    let said = run(1, "acme deactivate");
    assert!(said.contains("there is no account with https://"), "{said}");

    // Cut off before the file was removed. Pebble lets an account that is out of service revoke, others may not.
    host.desk.write(ACCOUNT, &account);
    run(0, "acme deactivate --revoke");
    assert!(!host.desk.path(ACCOUNT).exists());

    // Whoever has a copy of the account is issued nothing.
    host.desk.write(ACCOUNT, &account);
    for file in ["smtp-chain.pem", "smtp-key.pem"] {
        let tls = host.desk.path("data/tls");
        std::fs::rename(tls.join(file), host.desk.path(file)).unwrap();
    }
    let said = host.refused(75, &format!("{USUAL} --no-wait"));
    assert!(said.contains("the authority says: "), "{said}");
    // What was cut off before the file was removed.
    run(0, "acme deactivate");
    assert!(!host.desk.path(ACCOUNT).exists());

    let again = host.set_up(0, "--no-wait");
    assert_eq!(steps(&again, "done"), ["acme"]);
    assert_ne!(issued(&host).leaf(), first.leaf());
    assert!(host.desk.read(ACCOUNT) != account && host.desk.read(KEY) != key);
}

/// The operator has the authority's certificate used for everything.
#[tokio::test(flavor = "multi_thread")]
async fn peers_see_a_renewed_certificate_without_a_restart_once_dns_has_vouched_for_it() {
    let host = Host::new().await;
    host.publish("");
    let pebble = Pebble::start(&host.world).await;
    let asks = Pebble::asks(host.ip(), "http-01");
    host.set_up(0, &format!("{} {asks} --no-wait", pebble.options()));
    let [chain, key] = ["smtp-chain.pem", "smtp-key.pem"].map(|name| host.desk.path("data/tls").join(name));
    let both = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        chain.display(),
        key.display()
    );
    let text = host.desk.read("etc/dimed.toml");
    host.desk.write("etc/dimed.toml", text.replace("[tls]\n", &both));
    let old = nearly_over(&host);
    // A TTL that a test can wait for.
    let zone = Zone::signed(&domain(NAME), KeyKind::Ed25519).unwrap();
    let zone = zone.with_ttl(1).address("mx", host.ip());
    let printed = || String::from_utf8(output(&mut host.command("dns records hermail.test")).stdout).unwrap();
    host.world.put(NAME, &zone.clone().txt("_dx", record(&printed())));

    let daemon = host.serve().await;
    logged(&daemon, "tls.certificate_waits", 1).await;
    // Each is looked at by itself, perhaps between the writing of the chain and that of the key.
    logged(&daemon, "tls.certificate_replaced", 1).await;
    let renewed = issued(&host);
    assert_eq!(shown_by_smtp(&host).await, *renewed.leaf());
    assert_eq!(shown_by_dmtp(&host).await, old);
    host.world.update(&zone.clone().txt("_dx", record(&printed())));
    logged(&daemon, "tls.certificate_replaced", 2).await;
    assert_eq!(shown_by_dmtp(&host).await, *renewed.leaf());
}
