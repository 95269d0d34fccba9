//! What systemd is told, what it hands over, and its units, which `host/boot.rs` runs. Here a socket of the test's hears what is
//! told, a shell hands sockets over, and `systemd-analyze` judges the units.

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dimed::config::Config;
use dimed::daemon::supervisor::{NAMES, Service};
use dimed::net::acme::Challenge;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio_util::sync::CancellationToken;

use crate::support::child::{DIMED, Launch, Process};
use crate::support::loopback::{SMTP, SUBMISSION};
use crate::support::organization::Organization;
use crate::support::talk::Talk;
use crate::support::world::World;
use crate::support::{PATIENCE, eventually};

/// Where a daemon tells how it is.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path }
    }

    /// With a watchdog of that time.
    fn launch(&self, watchdog: Duration) -> Launch {
        let variable = |name: &str, value: OsString| (OsString::from(name), value);
        Launch {
            environment: vec![
                variable("NOTIFY_SOCKET", self.path.clone().into()),
                variable("WATCHDOG_USEC", watchdog.as_micros().to_string().into()),
            ],
            ..Launch::default()
        }
    }

    /// What was told and not heard yet.
    fn next(&self) -> Option<String> {
        let mut octets = [0; 4096];
        let count = self.socket.recv(&mut octets).ok()?;
        Some(String::from_utf8(octets[..count].to_vec()).unwrap())
    }

    /// Waits until something is told that starts like this, and forgets what was told before.
    async fn hear(&self, start: &str) -> String {
        let looked = || loop {
            let told = self.next()?;
            if told.starts_with(start) {
                return Some(told);
            }
        };
        eventually(start, looked).await
    }
}

async fn hismail(world: &World) -> Organization {
    world
        .organization("hismail.test")
        .accounts(&["bob"])
        .build()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_of_each_change_and_that_work_goes_on() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let manager = Manager::new(&hismail.folder);
    let mut daemon = hismail.spawn_with(&manager.launch(Duration::from_secs(4))).await;
    assert_eq!(manager.hear("READY=1").await, "READY=1\nSTATUS=ready to serve\n");
    manager.hear("WATCHDOG=1").await;
    manager.hear("WATCHDOG=1").await;
    daemon.hang_up();
    manager.hear("RELOADING=1\nMONOTONIC_USEC=").await;
    manager.hear("READY=1").await;
    daemon.terminate();
    manager.hear("STOPPING=1\nSTATUS=stopping").await;
    assert!(daemon.ended().await.success());
    assert!(!daemon.log().contains("supervisor.unheard"), "{}", daemon.log());
}

/// Whoever holds the database keeps its writer from its work.
#[tokio::test(flavor = "multi_thread")]
async fn no_sign_of_life_is_given_while_the_writer_stands_still() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let manager = Manager::new(&hismail.folder);
    let mut daemon = hismail.spawn_with(&manager.launch(Duration::from_secs(4))).await;
    manager.hear("WATCHDOG=1").await;

    let config = Config::load(&hismail.config).unwrap();
    let database = SqliteConnectOptions::new().filename(config.server.database());
    let mut holder = database.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    let stalled = || daemon.log().contains("\"daemon.stalled\"").then_some(());
    eventually("word that it stands still", stalled).await;
    // Those before.
    while manager.next().is_some() {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(manager.next(), None);
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    holder.close().await.unwrap();
    manager.hear("WATCHDOG=1").await;
    daemon.check();
}

/// Starts a daemon with two sockets.
fn handed(organization: &Organization, names: &str, sockets: [&TcpListener; 2]) -> Process {
    Process::handed(&organization.config, &organization.log(), names, sockets)
}

async fn started(process: &mut Process, times: usize) {
    eventually("the daemon to start", || {
        process.check();
        (process.log().matches("\"daemon.started\"").count() == times).then_some(())
    })
    .await;
}

/// Calls again and again; how many sessions there were, and how many of them were told to come again.
async fn call(ip: IpAddr, stop: CancellationToken) -> (usize, usize) {
    let (mut sessions, mut later) = (0, 0);
    while !stop.is_cancelled() {
        // It fails the test if the connection is refused.
        let mut talk = Talk::open(ip, SMTP).await;
        let greeting = talk.reply().await.unwrap_or_default();
        match greeting.get(..3) {
            Some("220") => sessions += 1,
            Some("421") => later += 1,
            _ => panic!("nobody greets: {greeting:?}"),
        }
        talk.send(b"QUIT\r\n").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (sessions, later)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_sockets_of_the_service_manager_refuses_no_connection() {
    let world = World::new().await;
    let hismail = world
        .organization("hismail.test")
        .accounts(&["bob"])
        .config(|config| {
            // Turned off, but for the sockets.
            config.listen.smtp = Vec::new();
            config.listen.submission = Vec::new();
        })
        .build()
        .await;
    let sockets = [SMTP, SUBMISSION].map(|port| TcpListener::bind((hismail.ip, port)).unwrap());
    let handed = || handed(&hismail, "smtp:submission", sockets.each_ref());
    let mut daemon = handed();
    started(&mut daemon, 1).await;
    Talk::submission(hismail.ip, "bob@hismail.test").await;

    let stop = CancellationToken::new();
    let callers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(call(hismail.ip, stop.clone())))
        .collect();
    let mut busy = Talk::smtp(hismail.ip).await;
    busy.ask("MAIL FROM:<carol@plain.test>", "250").await;
    busy.ask("RCPT TO:<bob@hismail.test>", "250").await;
    busy.ask("DATA", "354").await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    daemon.terminate();
    busy.send(b"From: carol@plain.test\r\n\r\nacross\r\n").await;
    busy.ask(".", "250").await;
    assert!(daemon.ended().await.success());
    // Whoever calls now waits.
    let ip = hismail.ip;
    let waiting = tokio::spawn(async move {
        let mut talk = Talk::open(ip, SMTP).await;
        talk.expect("220 ").await;
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    let mut daemon = handed();
    started(&mut daemon, 2).await;
    tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    for caller in callers {
        let (sessions, later) = caller.await.unwrap();
        assert!(sessions > 2, "{sessions} sessions");
        assert!(later <= 2, "{later} of {sessions} were told to come again");
    }
    let mail = hismail.maildir("bob").only().await;
    assert!(mail.ends_with("\r\n\r\nacross\r\n"), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_for_no_service_of_ours_is_an_error_of_configuration() {
    let world = World::new().await;
    let hismail = hismail(&world).await;
    let sockets = [0, 0].map(|port| TcpListener::bind((hismail.ip, port)).unwrap());
    let mut daemon = handed(&hismail, "smtp:dimed.socket", sockets.each_ref());
    assert_eq!(daemon.ended().await.code(), Some(78));
    assert!(
        daemon.log().contains("a socket named `dimed.socket`"),
        "{}",
        daemon.log()
    );
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// The names of the files of units.
fn units() -> Vec<String> {
    let names = fs::read_dir(deploy()).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            [".service", ".socket", ".timer"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect();
    names.sort();
    names
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let home = tempfile::tempdir().unwrap();
    let units = units();
    assert_eq!(units.len(), 8, "{units:?}");
    let backup = deploy().join("backup").display().to_string();
    for name in &units {
        let text = fs::read_to_string(deploy().join(name)).unwrap();
        // What is not installed here.
        let text = text
            .replace("/usr/bin/dimed", DIMED)
            .replace("/usr/lib/dimed/backup", &backup);
        fs::write(home.path().join(name), text).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units.iter().map(|name| home.path().join(name)))
        .output()
        .expect("tests/run installs systemd");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    // It also says what it thinks of units of the machine.
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("dimed")).collect();
    assert!(of_ours.is_empty(), "{of_ours:#?}");
}

#[test]
fn the_service_is_exposed_to_little() {
    let output = Command::new("systemd-analyze")
        // 1.5, in tenths.
        .args(["security", "--offline=yes", "--no-pager", "--threshold=15"])
        .arg(deploy().join("dimed.service"))
        .output()
        .expect("tests/run installs systemd");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("Overall exposure level for dimed.service"),
        "{said}"
    );
}

/// The value of each line with that key.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn the_sockets_are_those_that_the_daemon_would_bind() {
    let service = fs::read_to_string(deploy().join("dimed.service")).unwrap();
    let taken: Vec<_> = values(&service, "Sockets")[0].split(' ').collect();
    assert_eq!(values(&service, "Also")[0].split(' ').collect::<Vec<_>>(), taken);
    let mut listen = Config::for_host("mx.example".parse().unwrap()).listen;
    let mut found = Vec::new();
    for (name, service) in NAMES {
        let unit = format!("dimed-{name}.socket");
        let Ok(text) = fs::read_to_string(deploy().join(&unit)) else {
            // What needs no privilege, and is for nobody elsewhere who would be refused during a restart.
            let addresses = service.addresses(&mut listen).unwrap();
            let is_ours = addresses
                .iter()
                .all(|address| address.port() >= 1024 && address.ip().is_loopback());
            assert!(is_ours, "{name} has no socket");
            continue;
        };
        let is_always = service != Service::Acme;
        let ports: Vec<_> = match service.addresses(&mut listen) {
            Some(addresses) => addresses.iter().map(SocketAddr::port).collect(),
            None => vec![Challenge::Http01.port()],
        };
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        assert_eq!(values(&text, "ListenStream"), ports, "{unit}");
        assert_eq!(values(&text, "FileDescriptorName"), [name], "{unit}");
        assert_eq!(values(&text, "Service"), ["dimed.service"], "{unit}");
        // What is off unless it is enabled comes with the service then, as the others always do by its `Sockets=`.
        let wanted = match is_always {
            true => "sockets.target",
            false => "sockets.target dimed.service",
        };
        assert_eq!(values(&text, "WantedBy"), [wanted], "{unit}");
        if is_always {
            found.push(unit);
        }
    }
    found.sort();
    let mut taken = taken;
    taken.sort_unstable();
    assert_eq!(found, taken);
}

#[test]
fn the_user_is_one_that_systemd_can_make() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("systemd-sysusers")
        .arg(format!("--root={}", home.path().display()))
        .arg("--dry-run")
        .arg(deploy().join("dimed.sysusers"))
        .output()
        .expect("tests/run installs systemd");
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Creating user 'dimed'"), "{said}");
}
