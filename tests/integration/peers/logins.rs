//! Programs that other people wrote log in, by every mechanism and on both ports.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use dimed::net::tls::Connector;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::block_in_place;

use crate::support::loopback::{SUBMISSION, SUBMISSIONS};
use crate::support::name_server::program;
use crate::support::organization::{Organization, PASSWORD};
use crate::support::world::World;

const EVE: &str = "eve@hismail.test";
const WRONG: &str = "correct house";

async fn hismail(world: &World) -> Organization {
    let builder = world.organization("hismail.test").plain();
    builder.accounts(&["eve", "bob"]).build().await
}

/// Runs a program; whether it succeeded, and what it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = block_in_place(|| command.stdin(Stdio::null()).output().unwrap());
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Swaks, told how to use TLS.
fn swaks(ip: IpAddr, port: u16, tls: &[&str]) -> Command {
    let mut command = program("swaks");
    command.args(["--server", &ip.to_string(), "--port", &port.to_string()]);
    command.args(tls);
    command.args(["--from", EVE, "--to", "bob@hismail.test", "--auth-user", EVE]);
    command
}

/// Gsasl, which logs in and leaves. It knows nothing of the certificate's authority.
fn gsasl(at: SocketAddr, more: &[&str], mechanism: &str, password: &str) -> (bool, String) {
    let mut command = program("gsasl");
    command.args(["--smtp", "--x509-ca-file=", "--mechanism", mechanism]);
    command.args(["--connect", &at.to_string(), "-a", EVE, "-p", password]);
    run(command.args(more))
}

/// Puts TLS around what programs say that would start without it.
async fn tunnel(to: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((to, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut inside, _)) = listener.accept().await {
            let outside = TcpStream::connect((to, SUBMISSIONS)).await.unwrap();
            let connector = Connector::new().unwrap();
            let (mut outside, _) = connector.connect(outside, "any.test").await.unwrap();
            // Whichever side ends first is the program's business.
            tokio::spawn(async move { copy_bidirectional(&mut inside, &mut outside).await });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_submits_by_plain_and_login_on_both_ports() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let mut count = 0;
    for (port, tls) in [(SUBMISSION, "--tls"), (SUBMISSIONS, "--tls-on-connect")] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let swaks = |password: &str| {
                let mut command = swaks(hismail.ip, port, &[tls]);
                command.args(["--auth", mechanism, "--auth-password", password]);
                run(&mut command)
            };
            let (done, said) = swaks(WRONG);
            assert!(!done && said.contains("535 5.7.8 "), "{tls} {mechanism}: {said}");
            let (done, said) = swaks(PASSWORD);
            assert!(done && said.contains("250 2.0.0 Ok: queued as "), "{said}");
            count += 1;
            hismail.maildir("bob").expect(count).await;
        }
    }
    // Without TLS it is not even tried.
    let mut command = swaks(hismail.ip, SUBMISSION, &[]);
    let (done, said) = run(command.args(["--auth", "PLAIN", "--auth-password", PASSWORD]));
    assert!(
        !done && said.contains("Host did not advertise authentication"),
        "{said}"
    );
    served.stop().await;
}

/// With the binding to the channel that RFC 9266 defines, where the mechanism has one.
#[tokio::test(flavor = "multi_thread")]
async fn gsasl_logs_in_by_every_mechanism_on_both_ports() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let served = hismail.start().await;
    let ports = [
        (SocketAddr::new(hismail.ip, SUBMISSION), "--starttls"),
        (tunnel(hismail.ip).await, "--no-starttls"),
    ];
    for (at, tls) in ports {
        for (mechanism, binding) in [
            ("PLAIN", "--no-cb"),
            ("LOGIN", "--no-cb"),
            ("SCRAM-SHA-256", "--no-cb"),
            ("SCRAM-SHA-256-PLUS", "--quiet"),
        ] {
            if mechanism.ends_with("PLUS") && tls == "--no-starttls" {
                // The program does not see the channel that it is to be bound to.
                continue;
            }
            let (_, said) = gsasl(at, &[tls, binding], mechanism, WRONG);
            assert!(said.contains("535 5.7.8 "), "{tls} {mechanism}: {said}");
            let (done, said) = gsasl(at, &[tls, binding], mechanism, PASSWORD);
            assert!(done && said.contains("235 2.7.0 "), "{tls} {mechanism}: {said}");
        }
    }
    served.stop().await;
}
