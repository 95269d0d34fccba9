//! Hosts that the operator names: a smart host, and ways of their own for some domains.

use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use dimed::base::encoding::base64;
use dimed::cli::Exit;
use dimed::config::{Protection, Transport};
use dimed::net::authority::KeyKind;

use super::*;
use crate::support::child::DIMED;
use crate::support::talk::Talk;

const SMART: u16 = loopback::SUBMISSION;

/// Every message for those domains goes to smart.test, on a port of its own.
fn transport(domains: &[&str]) -> Transport {
    Transport {
        domains: domains.iter().map(|text| text.parse().unwrap()).collect(),
        host: "mx.smart.test".parse().unwrap(),
        port: NonZeroU16::new(SMART).unwrap(),
        tls: Protection::Verified,
        tls_from_start: false,
        credentials: None,
        login_under: Protection::Verified,
    }
}

struct Smart {
    scene: Scene,
    host: Loopback,
}

impl Smart {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let host = Loopback::take();
        scene.world.plain_domain("smart.test", host.ip);
        Self { scene, host }
    }

    /// Name and password in a file.
    fn credentials(&self) -> PathBuf {
        let path = self.scene.world.home().join("credentials");
        std::fs::write(&path, "hermail\nopen sesame\n").unwrap();
        path
    }

    /// Behaves so, with a certificate for that name.
    async fn sink(&self, name: &str, behaviour: Behaviour) -> Sink {
        let certificate = self.scene.authority.issue(name);
        let behaviour = Behaviour {
            tls: Behaviour::with_certificate(&certificate).tls,
            ..behaviour
        };
        Sink::start_on(self.host.ip, SMART, behaviour).await
    }

    async fn hermail(&self, transports: Vec<Transport>) -> Organization {
        let change = |config: &mut Config| config.outbound.transports = transports.clone();
        self.scene.hermail(change).await
    }
}

const AUTH: Behaviour = Behaviour {
    tls: None,
    require_tls: false,
    deferrals: 0,
    silent: false,
    hushes_after: None,
    refusal: None,
    dsn: false,
    recipients: None,
    transactions: None,
    seven_bit: false,
    offers: &["AUTH PLAIN LOGIN"],
    tls_first: false,
};

fn plain_login() -> (String, bool) {
    (format!("PLAIN {}", base64(b"\0hermail\0open sesame")), true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smart_host_gets_all_mail_that_goes_by_smtp_after_a_login_under_verified_tls() {
    let smart = Smart::new().await;
    let world = &smart.scene.world;
    world.plain_domain("plain.test", Loopback::take().ip);
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let credentials = Some(smart.credentials());
    let everything = Transport {
        credentials,
        ..transport(&["*"])
    };
    let hermail = smart.hermail(vec![everything]).await;
    let sink = smart.sink("mx.smart.test", AUTH).await;
    let (here, there) = (hermail.start().await, hismail.start().await);
    // A domain that does not exist is the smart host's business, too.
    let to = ["carol@plain.test", "bob@hismail.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    let taken = only(&sink).await;
    assert_eq!((taken.rcpt, taken.tls), (vec!["<carol@plain.test>".into()], true));
    assert_eq!(sink.logins(), [plain_login()]);
    hismail.maildir("bob").only().await;
    assert_eq!(
        here.witness.routes_to("bob@hismail.test"),
        ["dmtp"],
        "DIME stays DIME"
    );
    hermail.idle().await;
    assert_eq!(sink.taken(1).await.len(), 1);
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_and_no_mail_goes_to_a_host_with_another_certificate() {
    let smart = Smart::new().await;
    smart.scene.world.plain_domain("plain.test", Loopback::take().ip);
    let everything = Transport {
        credentials: Some(smart.credentials()),
        ..transport(&["*"])
    };
    let hermail = smart.hermail(vec![everything]).await;
    let sink = smart.sink("mx.other.test", AUTH).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    waits(&hermail, &sink, "4.7.5").await;
    let listed = hermail.cli(&["queue", "list"]).await;
    assert!(listed.contains("its certificate is for another name"), "{listed}");
    assert!(sink.logins().is_empty());
    served.stop().await;
}

/// What the operator lets go with less still gets no password without what it demands.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_goes_only_under_what_it_demands() {
    for (login_under, tls, logged_in) in [
        (Protection::Encrypted, true, true),
        (Protection::Encrypted, false, false),
        (Protection::Opportunistic, false, true),
    ] {
        let smart = Smart::new().await;
        smart.scene.world.plain_domain("plain.test", Loopback::take().ip);
        let everything = Transport {
            credentials: Some(smart.credentials()),
            tls: login_under,
            login_under,
            ..transport(&["*"])
        };
        let hermail = smart.hermail(vec![everything]).await;
        let sink = match tls {
            true => smart.sink("mx.other.test", AUTH).await,
            false => Sink::start_on(smart.host.ip, SMART, AUTH).await,
        };
        let served = hermail.start().await;
        hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
        match logged_in {
            true => {
                only(&sink).await;
                assert_eq!(sink.logins()[0].1, tls);
            }
            false => {
                waits(&hermail, &sink, "TLS is not available").await;
                assert!(sink.logins().is_empty());
            }
        }
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_may_come_before_the_first_word() {
    let smart = Smart::new().await;
    smart.scene.world.plain_domain("plain.test", Loopback::take().ip);
    let everything = Transport {
        tls_from_start: true,
        ..transport(&["*"])
    };
    let hermail = smart.hermail(vec![everything]).await;
    let behaviour = Behaviour {
        tls_first: true,
        ..Behaviour::default()
    };
    let sink = smart.sink("mx.smart.test", behaviour).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(only(&sink).await.tls);
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_has_a_way_of_its_own_and_others_go_by_dns() {
    let smart = Smart::new().await;
    let other = Loopback::take();
    smart.scene.world.plain_domain("plain.test", other.ip);
    smart.scene.world.plain_domain("own.test", other.ip);
    let to_address = Transport {
        host: smart.host.ip.to_string().parse().unwrap(),
        tls: Protection::Encrypted,
        ..transport(&["own.test"])
    };
    let hermail = smart.hermail(vec![to_address]).await;
    let sink = smart.sink("mx.other.test", Behaviour::default()).await;
    let by_dns = Sink::start(other.ip, Behaviour::default()).await;
    let served = hermail.start().await;
    let to = ["carol@plain.test", "dave@own.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    assert_eq!(only(&sink).await.rcpt, ["<dave@own.test>"]);
    assert_eq!(only(&by_dns).await.rcpt, ["<carol@plain.test>"]);
    hermail.idle().await;
    served.stop().await;
}

/// DESIGN.md §4: a message whose author demands protection comes back rather than travel without it.
#[tokio::test(flavor = "multi_thread")]
async fn what_authors_demand_holds_for_a_smart_host_too() {
    let smart = Smart::new().await;
    smart.scene.world.plain_domain("plain.test", Loopback::take().ip);
    let everything = Transport {
        tls: Protection::Opportunistic,
        ..transport(&["*"])
    };
    let hermail = smart.hermail(vec![everything]).await;
    let sink = smart.sink("mx.smart.test", Behaviour::default()).await;
    let served = hermail.start().await;
    let dime = format!("DIME-Required: Yes\r\n{MESSAGE}");
    hermail.submit("alice", &["carol@plain.test"], &dime).await;
    let bounce = hermail.maildir("alice").only().await;
    assert!(bounce.contains("Status: 5.7.1"), "{bounce}");
    let mut talk = Talk::submission(hermail.ip, "alice@hermail.test").await;
    talk.ask("MAIL FROM:<alice@hermail.test> REQUIRETLS", "250").await;
    talk.ask("RCPT TO:<carol@plain.test>", "250").await;
    assert!(talk.data(MESSAGE).await.starts_with("250"));
    let bounces = hermail.maildir("alice").expect(2).await;
    assert!(
        bounces.iter().any(|bounce| bounce.contains("Status: 5.7.30")),
        "{bounces:?}"
    );
    assert!(sink.attempts().is_empty());
    served.stop().await;
}

/// TLSA records of the host itself count beside what the operator says.
#[tokio::test(flavor = "multi_thread")]
async fn a_smart_host_may_be_verified_by_dane() {
    let smart = Smart::new().await;
    let world = &smart.scene.world;
    world.plain_domain("plain.test", Loopback::take().ip);
    let folder = world.home().join("unknown");
    std::fs::create_dir(&folder).unwrap();
    let certificate = Certification::new(&folder).issue("mx.smart.test");
    let digest = Sha256::digest(&certificate.public_key);
    let zone = Zone::signed(&domain("smart.test"), KeyKind::Ed25519)
        .unwrap()
        .address("mx", smart.host.ip)
        .tlsa("mx", SMART, [3, 1, 1], &digest);
    world.put("smart.test", &zone);
    let hermail = smart.hermail(vec![transport(&["*"])]).await;
    let behaviour = Behaviour::with_certificate(&certificate);
    let sink = Sink::start_on(smart.host.ip, SMART, behaviour).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    assert!(only(&sink).await.tls);
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn route_explain_names_the_host_that_the_operator_names_and_why() {
    let smart = Smart::new().await;
    let world = &smart.scene.world;
    world.plain_domain("plain.test", Loopback::take().ip);
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await;
    let there = hismail.start().await;
    let everything = Transport {
        credentials: Some(smart.credentials()),
        ..transport(&["*.example", "*"])
    };
    let hermail = smart.hermail(vec![everything]).await;
    let explain = ["route", "explain", "carol@plain.test"];
    let (exit, said) = hermail.answered(&explain).await;
    assert_eq!(exit, Exit::TryLater, "{said}");
    assert!(
        said.contains("trouble    mx.smart.test cannot be reached"),
        "{said}"
    );
    let _sink = smart.sink("mx.smart.test", Behaviour::default()).await;
    std::fs::write(smart.credentials(), "no password\n").unwrap();
    let (exit, said) = hermail.answered(&explain).await;
    assert_eq!(exit, Exit::TryLater, "{said}");
    assert!(
        said.contains("credentials does not have a name on the first line"),
        "{said}"
    );
    smart.credentials();
    let (exit, said) = hermail.answered(&explain).await;
    assert_eq!(exit, Exit::Done, "{said}");
    let file = smart.credentials().display().to_string();
    for line in [
        format!(
            "transport  mx.smart.test:{SMART}, configured for *.example *; least TLS verified; login with {file} under verified TLS\n"
        ),
        format!("host       mx.smart.test: {}", smart.host.ip),
        "tls: with a certificate for the host's name under a trusted root".into(),
        "(transport)\n".into(),
        "route      smtp\n".into(),
    ] {
        assert!(said.contains(&line), "{line} is not in {said}");
    }
    assert!(!said.contains("sesame"));
    let (_, said) = hermail.answered(&["route", "explain", "bob@hismail.test"]).await;
    assert!(!said.contains("smart"), "{said}");
    there.stop().await;
    let printed = hermail
        .cli(&["route", "explain", "carol@plain.test", "--json"])
        .await;
    let object: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(object["hosts"]["kind"], "transport");
    assert_eq!(object["ways"][0]["reason"]["code"], "transport");
}

/// A session made for less is not used where more is demanded.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_made_under_less_tls_is_not_used_for_more() {
    let scene = Scene::new().await;
    let host = Loopback::take();
    // One host for both: what goes to plain.test is protected as offered, what goes to safe.test by DANE.
    let certificate = scene.authority.issue("mx.safe.test");
    let digest = Sha256::digest(&certificate.public_key);
    let safe = Zone::signed(&domain("safe.test"), KeyKind::Ed25519)
        .unwrap()
        .mx("", 10, &domain("mx.safe.test"))
        .address("mx", host.ip)
        .tlsa("mx", loopback::SMTP, [3, 1, 1], &digest);
    scene.world.put("safe.test", &safe);
    let plain = Zone::unsigned(&domain("plain.test"))
        .unwrap()
        .mx("", 10, &domain("mx.safe.test"));
    scene.world.put("plain.test", &plain);
    let sink = Sink::start(host.ip, Behaviour::with_certificate(&certificate)).await;
    let hermail = scene.hermail(|_| ()).await;
    let served = hermail.start().await;
    for (count, to) in ["a@plain.test", "b@safe.test", "c@plain.test", "d@safe.test"]
        .into_iter()
        .enumerate()
    {
        hermail.submit("alice", &[to], MESSAGE).await;
        sink.taken(count + 1).await;
        hermail.idle().await;
    }
    assert_eq!(sink.sessions(), 2, "one for each demand");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_name_and_password() {
    let smart = Smart::new().await;
    let file = smart.credentials();
    let everything = Transport {
        credentials: Some(file.clone()),
        ..transport(&["*"])
    };
    let hermail = smart.hermail(vec![everything]).await;
    let check = |mode: u32, text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = std::process::Command::new(DIMED);
        let command = command.arg("check").arg("--config").arg(&hermail.config);
        let output = command.env_remove("DIMED_MASTER_KEY").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("sesame"), "{said}");
        (output.status.code(), said)
    };
    assert_eq!(check(0o600, "hermail\nopen sesame\n"), (Some(0), String::new()));
    let (code, said) = check(0o644, "hermail\nopen sesame\n");
    assert!(code == Some(78) && said.contains("chmod 600"), "{said}");
    let (code, said) = check(0o600, "hermail open sesame\n");
    assert!(
        code == Some(78) && said.contains("a password on the second"),
        "{said}"
    );
}

/// An operator sees it without looking for it, and nobody's address.
#[tokio::test(flavor = "multi_thread")]
async fn a_smart_host_that_refuses_is_a_warning_in_the_log() {
    let smart = Smart::new().await;
    let refusing = Behaviour {
        refusal: Some("550 5.7.1 <carol@plain.test>: not for alice@hermail.test"),
        ..Behaviour::default()
    };
    let _sink = smart.sink("mx.smart.test", refusing).await;
    let hermail = smart.hermail(vec![transport(&["*"])]).await;
    let process = hermail.spawn().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    hermail.maildir("alice").only().await;
    hermail.idle().await;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("queue.transport.failed"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for words in [
        "\"WARN\"",
        "mx.smart.test",
        "mx.smart.test refused the message",
        "\"reply.code\":550",
    ] {
        assert!(line.contains(words), "{words} is not in {line}");
    }
    drop(process);
}
