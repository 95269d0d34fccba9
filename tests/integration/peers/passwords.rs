//! Dovecot checks the passwords of those who submit mail here.

use clap::Parser as _;
use dimed::base::encoding::base64;
use dimed::config::PasswordsAt;

use super::dovecot::Dovecot;
use crate::support::loopback::SUBMISSIONS;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::talk::Talk;
use crate::support::world::World;

/// Accounts here; their passwords here are others than Dovecot has.
async fn hismail(world: &World, dovecot: &Dovecot, accounts: &[&str]) -> Organization {
    let socket = dovecot.auth_socket();
    let change = move |config: &mut dimed::config::Config| {
        config.accounts.authentication = PasswordsAt::Dovecot(socket.clone());
    };
    let hismail = world
        .organization("hismail.test")
        .accounts(accounts)
        .config(change);
    let hismail = hismail.build().await;
    let file = hismail.folder.join("other");
    std::fs::write(&file, "another password").unwrap();
    for local in accounts {
        let passwd = ["account", "passwd", &hismail.address(local), "--password-file"];
        let said = hismail
            .cli(&[&passwd[..], &[file.to_str().unwrap()]].concat())
            .await;
        assert!(said.contains("Dovecot checks passwords"), "{said}");
    }
    hismail
}

async fn plain(hismail: &Organization, user: &str, password: &str, reply: &str) -> Talk {
    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    talk.ask("EHLO client.test", "250").await;
    let response = base64(format!("\0{user}\0{password}").as_bytes());
    talk.ask(&format!("AUTH PLAIN {response}"), reply).await;
    talk
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_what_dovecot_says_of_accounts_that_are_here() {
    let world = World::new().await;
    let users = ["bob@hismail.test", "eve@hismail.test", "gone@hismail.test"];
    let dovecot = Dovecot::start_with(&users, "auth_failure_delay = 0\n").await;
    let hismail = hismail(&world, &dovecot, &["bob", "eve", "pat"]).await;
    let served = hismail.start().await;
    let bob = "bob@hismail.test";
    let mut talk = plain(&hismail, "Bob@HISMAIL.test", PASSWORD, "235").await;
    talk.ask(&format!("MAIL FROM:<{bob}>"), "250").await;
    for (user, password) in [
        (bob, "another password"),
        ("pat@hismail.test", "another password"),
        ("pat@hismail.test", PASSWORD),
        ("gone@hismail.test", PASSWORD),
        ("bob", PASSWORD),
    ] {
        plain(&hismail, user, password, "535 5.7.8").await;
    }
    hismail.cli(&["account", "disable", "eve@hismail.test"]).await;
    plain(&hismail, "eve@hismail.test", PASSWORD, "535 5.7.8").await;

    let mut talk = Talk::open_tls(hismail.ip, SUBMISSIONS).await;
    talk.expect("220 ").await;
    let offered = talk.ask("EHLO client.test", "250").await;
    assert!(offered.contains("AUTH PLAIN LOGIN\n"), "{offered}");
    talk.ask("AUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==", "504 5.5.4").await;
    talk.ask("AUTH LOGIN", "334").await;
    talk.ask(&base64(bob.as_bytes()), "334").await;
    talk.ask(&base64(PASSWORD.as_bytes()), "235").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dovecot_nobody_logs_in_and_nobody_is_refused() {
    let world = World::new().await;
    let dovecot = Dovecot::start_with(&["bob@hismail.test"], "auth_failure_delay = 0\n").await;
    let hismail = hismail(&world, &dovecot, &["bob"]).await;
    let process = hismail.spawn().await;
    plain(&hismail, "bob@hismail.test", PASSWORD, "235").await;
    assert!(hismail.cli(&["check"]).await.contains("can be used"));
    drop(dovecot);
    let check = ["dimed", "--config", hismail.config.to_str().unwrap(), "check"];
    let check = dimed::cli::Arguments::try_parse_from(check).unwrap();
    let failed = dimed::cli::run(check, &mut Vec::new()).await.unwrap_err();
    assert_eq!(dimed::cli::Exit::of(&failed).code(), 75, "{failed:#}");
    for password in [PASSWORD, "another password"] {
        plain(&hismail, "bob@hismail.test", password, "454 4.7.0").await;
    }
    let log = process.log();
    assert_eq!(log.matches("\"login.undecided\"").count(), 2, "{log}");
    assert!(!log.contains("bob@") && !log.contains(PASSWORD), "{log}");
}

/// Names without a domain could be of somebody in another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_dovecot_that_drops_the_domain_lets_nobody_in() {
    let world = World::new().await;
    let everybody = "auth_username_format = %Ln\npassdb {\n  driver = static\n  args = nopassword=y\n}\n";
    let dovecot = Dovecot::start_with(&["bob@hismail.test"], everybody).await;
    let hismail = hismail(&world, &dovecot, &["bob"]).await;
    let process = hismail.spawn().await;
    plain(&hismail, "bob@hismail.test", PASSWORD, "454 4.7.0").await;
    assert!(
        process.log().contains("must be whole addresses"),
        "{}",
        process.log()
    );
}
