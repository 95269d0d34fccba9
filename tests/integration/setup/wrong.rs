//! Answers that cannot be right: one line that says what to do, and nothing has changed.

use std::net::TcpListener;

use super::super::support::certificates::Certification;
use super::*;

/// The line, which is all that is said.
pub fn line(said: &str) -> &str {
    let line = said.strip_prefix("dimed: ").unwrap_or_else(|| panic!("{said}"));
    assert_eq!(said.lines().count(), 1, "{said}");
    line.trim_end()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_changes_nothing() {
    let host = Host::new().await;
    host.desk.write("short", "abc\n");
    for (code, more, words) in [
        (2, "", "say the first account with --account"),
        (
            2,
            "--account alice@hismail.test",
            "alice@hismail.test is not in hermail.test",
        ),
        (
            2,
            "--account alice@hermail.test --tls self-signed",
            "say the password of alice@hermail.test with --password-file",
        ),
        (
            2,
            "--account alice@hermail.test --password-file password",
            "say --yes, or choose another --tls",
        ),
        (
            2,
            "--account alice@hermail.test --password-file password --tls files",
            "name them with --cert and --key",
        ),
        (
            2,
            "--account alice@hermail.test --password-file password --tls self-signed --challenge http-01",
            "options about ACME to --tls acme",
        ),
        (
            1,
            "--account alice@hermail.test --password-file short --tls self-signed",
            "short cannot be used",
        ),
        (
            2,
            "--account *@hermail.test --password-file password --tls self-signed",
            "cannot be the address of a user",
        ),
        (
            2,
            "--account \"a(b\"@hermail.test --password-file password --tls self-signed",
            "cannot be the address of a user",
        ),
        (
            78,
            "--account alice@hermail.test --password-file password --yes --acme-directory http://acme.test/dir",
            "begins with https://",
        ),
    ] {
        let said = host.refused(code, &format!("{more} --no-wait"));
        assert!(line(&said).contains(words), "{said}");
        assert!(host.is_untouched(), "{more}");
    }
    // Two services on one port.
    let (ip, other) = (host.ip(), format!("--listen-smtp {}:{DMTP}", host.ip()));
    let said = host.refused(78, &format!("{USUAL} --tls self-signed --no-wait {other}"));
    assert!(
        line(&said).contains(&format!("[listen] has {ip}:{DMTP} twice")),
        "{said}"
    );
    assert!(host.is_untouched());
    // Not a domain at all: the parser of arguments says so.
    let done = output(&mut host.command("setup her..mail --no-wait"));
    assert_eq!(done.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_that_is_none_is_named_before_anything_is_made() {
    let host = Host::new().await;
    std::fs::create_dir(host.desk.path("etc")).unwrap();
    host.desk.write("etc/master.key", "abc\n");
    let said = host.refused(78, &format!("{USUAL} --tls self-signed --new --no-wait"));
    assert!(line(&said).contains("is not 32 octets"), "{said}");
    assert!(!host.config().exists() && !host.desk.path("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_before_anything_is_made() {
    let host = Host::new().await;
    let other = TcpListener::bind((host.ip(), SUBMISSION)).unwrap();
    let more = format!("{USUAL} --tls self-signed --no-wait");
    let said = host.refused(75, &more);
    let address = other.local_addr().unwrap().to_string();
    assert!(
        line(&said).contains(&address) && said.contains("nothing is set up"),
        "{said}"
    );
    assert!(host.is_untouched());
    drop(other);
    host.set_up(0, "--tls self-signed --no-wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named_before_anything_is_made() {
    let host = Host::new().await;
    let authority = Certification::new(host.desk.0.path());
    let [chain, key] = authority.issue("mx.hermail.test").files;
    let [_, other] = authority.issue("mx.hismail.test").files;
    let (chain, key, other) = (chain.display(), key.display(), other.display());
    for (cert, key, words) in [
        (
            chain.to_string(),
            other.to_string(),
            "does not belong to the certificate",
        ),
        (chain.to_string(), "nothing.pem".into(), "nothing.pem"),
        (chain.to_string(), "password".into(), "cannot read"),
    ] {
        let said = host.refused(
            78,
            &format!("{USUAL} --tls files --cert {cert} --key {key} --no-wait"),
        );
        assert!(line(&said).contains(words), "{said}");
        assert!(host.is_untouched());
    }
    let object = host.set_up(0, &format!("--cert {chain} --key {key} --no-wait"));
    assert_eq!(steps(&object, "already"), ["certificate"]);
    let text = host.desk.read("etc/dimed.toml");
    assert!(text.contains(&format!("certificate = \"{chain}\"")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_says_something_else_is_not_changed() {
    let host = Host::new().await;
    host.set_up(0, "--tls self-signed --no-wait");
    let before = host.desk.read("etc/dimed.toml");
    for more in [
        "--hostname mail.hermail.test",
        "--yes --tls acme",
        "--postmaster bob@hermail.test",
    ] {
        let said = host.refused(2, &format!("{more} --no-wait"));
        assert!(line(&said).contains("says something else"), "{said}");
    }
    assert_eq!(host.desk.read("etc/dimed.toml"), before);
    // Nor is one that cannot be read as one.
    host.desk.write("etc/dimed.toml", "[server]\nhostname = 5\n");
    let said = host.refused(78, &format!("{USUAL} --no-wait"));
    assert!(line(&said).contains("the configuration cannot be used"), "{said}");
    assert_eq!(host.desk.read("etc/dimed.toml"), "[server]\nhostname = 5\n");
}

/// The sample, put there by hand or by a package of before, which nobody has changed: that is no configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_sample_that_nobody_has_changed_is_replaced() {
    let host = Host::new().await;
    std::fs::create_dir(host.desk.path("etc")).unwrap();
    host.desk
        .write("etc/dimed.toml", include_str!("../../../config/dimed.toml"));
    let object = host.set_up(0, "--tls self-signed --no-wait");
    assert_eq!(steps(&object, "done").len(), 6);
    assert!(
        host.desk
            .read("etc/dimed.toml")
            .starts_with("# Made by `dimed setup")
    );
}
