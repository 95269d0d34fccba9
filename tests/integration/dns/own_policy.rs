//! The MTA-STS policy of a domain of ours: announced by `dns records`, served on the HTTP port, checked by `dns check`.

use dimed::cli::Exit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::support::certificates::Certification;
use super::super::support::loopback;
use super::super::support::web::Web;
use super::published::{Stage, of, problems, signed};

const POLICY: &str = "version: STSv1\r\nmode: testing\r\nmx: mx.hismail.test\r\nmax_age: 604800\r\n";

/// hismail.test with a policy, and the authority that its web server's certificate is from.
async fn stage() -> (Stage, Certification) {
    let stage = Stage::new().await;
    let authority = Certification::new(stage.world.home());
    let ip = stage.organization.ip;
    stage.configure("mode = \"off\"", "mode = \"testing\"");
    stage.configure("http = []", &format!("http = [\"{ip}:{}\"]", loopback::HTTP));
    let roots = format!(
        "[outbound]\nroot_certificates = \"{}\"\n",
        authority.roots().display()
    );
    stage.configure("[outbound]\n", &roots);
    (stage, authority)
}

/// The status line and the body.
async fn request(stage: &Stage, request: &str) -> (String, String) {
    let mut tcp = TcpStream::connect((stage.organization.ip, loopback::HTTP))
        .await
        .unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    tcp.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    (
        head.lines().next().unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

async fn get(stage: &Stage, path: &str, host: &str) -> (String, String) {
    request(stage, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_served_for_our_domains_and_nothing_else_is() {
    let (stage, _) = stage().await;
    let _served = stage.organization.start().await;
    let path = "/.well-known/mta-sts.txt";
    for host in ["mta-sts.hismail.test", "MTA-STS.hismail.test:8080"] {
        assert_eq!(
            get(&stage, path, host).await,
            ("HTTP/1.1 200 OK".into(), POLICY.into()),
            "{host}"
        );
    }
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: mta-sts.hismail.test\r\n\r\n");
    assert_eq!(
        request(&stage, &head).await,
        ("HTTP/1.1 200 OK".into(), String::new())
    );
    for (path, host) in [
        (path, "hismail.test"),
        (path, "mta-sts.plain.test"),
        (path, "mta-sts.mta-sts.hismail.test"),
        (path, "mta-sts"),
        ("/", "mta-sts.hismail.test"),
        ("/.well-known/mta-sts.txt/", "mta-sts.hismail.test"),
    ] {
        assert_eq!(
            get(&stage, path, host).await.0,
            "HTTP/1.1 404 Not Found",
            "{path} {host}"
        );
    }
    for host in [
        "mta-sts.\u{fc}",
        "mta-sts.hismail.test\r\nHost: mta-sts.hismail.test",
    ] {
        assert_eq!(
            get(&stage, path, host).await.0,
            "HTTP/1.1 400 Bad Request",
            "{host}"
        );
    }
    let post = format!("POST {path} HTTP/1.1\r\nHost: mta-sts.hismail.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(request(&stage, &post).await.0, "HTTP/1.1 405 Method Not Allowed");
    let endless = format!("GET {path} HTTP/1.1\r\nX: {}", "x".repeat(64 * 1024));
    assert!(request(&stage, &endless).await.0.starts_with("HTTP/1.1 4"));
    // The port goes on after all that.
    assert_eq!(get(&stage, path, "mta-sts.hismail.test").await.1, POLICY);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_announced_and_what_web_servers_have_is_compared() {
    let (stage, authority) = stage().await;
    let records = stage.records().await;
    let policy = records
        .split("what the daemon serves on listen.http:\n")
        .nth(1)
        .unwrap();
    let policy = policy.lines().map_while(|line| line.strip_prefix("; ")).take(4);
    assert!(policy.eq(POLICY.lines()), "{records}");
    let knot = stage
        .serve(signed(&format!("{records}mta-sts A {}\n", stage.organization.ip)))
        .await;
    let host = "mta-sts.hismail.test";

    let (exit, report) = stage.check(knot.address).await;
    assert_eq!(
        (exit, problems(&report, host, "HTTPS")),
        (Exit::Done, vec!["not_served".into()])
    );
    assert_eq!(of(&report, host, "excess"), ["the host does not answer"]);

    let page = |text: &str| {
        let length = text.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}")
    };
    let web = Web::start(stage.organization.ip, &authority.issue(host), page(POLICY)).await;
    let (exit, report) = stage.check(knot.address).await;
    assert_eq!((exit, problems(&report, host, "HTTPS")), (Exit::Done, vec![]));
    assert_eq!(
        problems(&report, "_mta-sts.hismail.test", "TXT"),
        Vec::<String>::new()
    );

    // One that does no harm, and one that keeps mail from the only host.
    for (served, expected, exit) in [
        (POLICY.replace("testing", "enforce"), "differs", Exit::Done),
        (POLICY.replace("mx.hismail", "old.hismail"), "differs", Exit::Done),
        (
            POLICY
                .replace("testing", "enforce")
                .replace("mx.hismail", "old.hismail"),
            "differs!",
            Exit::No,
        ),
        ("no policy".into(), "differs", Exit::Done),
    ] {
        web.answer(page(&served));
        let (found, report) = stage.check(knot.address).await;
        assert_eq!(
            (found, problems(&report, host, "HTTPS")),
            (exit, vec![expected.into()]),
            "{served}"
        );
    }
}
