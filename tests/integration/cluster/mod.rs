//! Several daemons on one database of PostgreSQL: real processes, a real server, and a standby that becomes the primary.

mod host;
mod upgrade;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use dimed::config::{self, Config};
use tokio::time::{Instant, sleep, timeout};

use self::host::Host;
use crate::support::child::{DIMED, Launch, Process};
use crate::support::eventually;
use crate::support::loopback::{self, Loopback};
use crate::support::organization::Organization;
use crate::support::postgres::{Cluster, Database, server_at};
use crate::support::talk::Talk;
use crate::support::watcher;
use crate::support::world::World;

/// How long a node has for an attempt.
const LEASE: Duration = Duration::from_secs(6);

/// How long a node may be silent.
const SILENCE: Duration = Duration::from_secs(4);

/// What is on one host of the cluster.
struct Node {
    config: PathBuf,
    log: PathBuf,
    ip: IpAddr,
    _loopback: Option<Loopback>,
}

impl Node {
    async fn start(&self) -> Process {
        self.start_as(&Launch::default()).await
    }

    async fn start_as(&self, launch: &Launch) -> Process {
        let started = |log: &str| log.matches("\"daemon.started\"").count();
        let before = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut process = Process::start(&self.config, &self.log, launch);
        eventually("the node to start", || {
            process.check();
            (started(&process.log()) > started(&before)).then_some(())
        })
        .await;
        process
    }

    /// Leaves a message for carol; whether it was taken.
    async fn submit(&self, number: usize) -> bool {
        let ip = self.ip;
        // A conversation in which something else than expected is said ends with a panic.
        let talk = tokio::spawn(timeout(Duration::from_secs(30), async move {
            let mut talk = Talk::submission(ip, "alice@hismail.test").await;
            talk.transfer("alice@hismail.test", &[&carol(number)], &message(number))
                .await
        }));
        matches!(talk.await, Ok(Ok(reply)) if reply.starts_with("250 "))
    }
}

/// Several domains, so that there is room for more than one attempt at a time.
fn carol(number: usize) -> String {
    format!("carol@plain{}.test", number % DOMAINS)
}

const DOMAINS: usize = 4;

fn message(number: usize) -> String {
    format!("From: alice@hismail.test\r\nSubject: hello\r\n\r\nnumber {number}\r\n")
}

struct Setting {
    here: Organization,
    nodes: Vec<Node>,
    host: Host,
    _loopback: Loopback,
    _world: World,
}

impl Setting {
    async fn new(database: &Database<'_>, nodes: usize) -> Self {
        Self::at(&database.server().address.to_string(), nodes).await
    }

    async fn at(address: &str, nodes: usize) -> Self {
        Self::with(address, nodes, |config| {
            config.queue.lease_secs = NonZeroU64::new(LEASE.as_secs()).unwrap();
        })
        .await
    }

    /// Leases outlast the test: what is taken over is taken over from nodes that are silent.
    async fn watched(database: &Database<'_>, nodes: usize) -> Self {
        Self::with(&database.server().address.to_string(), nodes, |config| {
            config.queue.takeover_secs = NonZeroU64::new(SILENCE.as_secs()).unwrap();
        })
        .await
    }

    async fn with(address: &str, nodes: usize, queue: impl Fn(&mut Config) + Send + Sync + 'static) -> Self {
        let world = World::new().await;
        let loopback = Loopback::take();
        for number in 0..DOMAINS {
            world.plain_domain(&format!("plain{number}.test"), loopback.ip);
        }
        let database = address.parse::<config::Database>().unwrap();
        let on_server = move |config: &mut Config| {
            config.storage.database = database.clone();
            queue(config);
            config.queue.retry_max_secs = NonZeroU64::new(1).unwrap();
        };
        let builder = world.organization("hismail.test").plain().accounts(&["alice"]);
        let here = builder.config(on_server).build().await;
        let first = Node {
            config: here.config.clone(),
            log: here.log(),
            ip: here.ip,
            _loopback: None,
        };
        let others = (1..nodes).map(|number| another(&here, number));
        Self {
            nodes: std::iter::once(first).chain(others).collect(),
            here,
            host: Host::start(loopback.ip).await,
            _loopback: loopback,
            _world: world,
        }
    }

    async fn start(&self) -> Vec<Process> {
        let mut processes = Vec::new();
        for node in &self.nodes {
            processes.push(node.start().await);
        }
        processes
    }

    /// Waits until the next host has all of these.
    async fn all_taken(&self, numbers: &BTreeSet<usize>) {
        eventually("the messages at the next host", || {
            let state = self.host.state.lock().unwrap();
            numbers
                .iter()
                .all(|number| state.taken.contains_key(number))
                .then_some(())
        })
        .await;
    }

    /// Every one once, but for these.
    fn assert_once(&self, but: &[usize]) {
        let state = self.host.state.lock().unwrap();
        for (number, givers) in &state.taken {
            assert!(givers.len() == 1 || but.contains(number), "{number}: {givers:?}");
        }
    }
}

/// A host beside the first, with the same master key, a folder and addresses of its own.
fn another(first: &Organization, number: usize) -> Node {
    let folder = first.folder.join(format!("node{number}"));
    std::fs::create_dir(&folder).unwrap();
    let loopback = Loopback::take();
    let mut config = Config::load(&first.config).unwrap();
    let at = |port| vec![SocketAddr::new(loopback.ip, port)];
    config.server.data_directory = folder.join("data");
    std::fs::create_dir(&config.server.data_directory).unwrap();
    config.listen.smtp = at(loopback::SMTP);
    config.listen.dmtp = at(loopback::DMTP);
    config.listen.submission = at(loopback::SUBMISSION);
    config.listen.submissions = at(loopback::SUBMISSIONS);
    config.listen.operations = at(loopback::OPERATIONS);
    config.outbound.source_address = Some(loopback.ip);
    config.local.drop = folder.join("drop");
    let path = folder.join("dimed.toml");
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    Node {
        config: path,
        log: folder.join("log"),
        ip: loopback.ip,
        _loopback: Some(loopback),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_the_work_and_no_message_is_delivered_twice() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 3).await;
    let processes = setting.start().await;
    let mut numbers = BTreeSet::new();
    // All nodes take mail in, and each delivers what any of them has taken.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let from = numbers.len();
        for number in from..from + 30 {
            assert!(setting.nodes[number % 3].submit(number).await);
            numbers.insert(number);
        }
        setting.all_taken(&numbers).await;
        let state = setting.host.state.lock().unwrap();
        let givers: BTreeSet<IpAddr> = state.taken.values().flatten().copied().collect();
        if givers.len() == 3 {
            break;
        }
        assert!(Instant::now() < deadline, "{givers:?}");
    }
    setting.here.idle().await;
    setting.assert_once(&[]);
    drop(processes);
}

/// No poll is due for 30 seconds.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_delivers_at_once_what_another_has_taken_in() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 2).await;
    let [taking, idle] = &setting.nodes[..] else {
        panic!()
    };
    let mut processes = setting.start().await;
    // This one has its hands full: every attempt it makes waits.
    setting.host.keep_waiting(taking.ip, true);
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    for number in 0..40 {
        assert!(taking.submit(number).await);
    }
    eventually("something that the idle node has delivered", || {
        let state = setting.host.state.lock().unwrap();
        state
            .taken
            .values()
            .flatten()
            .any(|ip| *ip == idle.ip)
            .then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    processes.iter_mut().for_each(Process::check);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_node_that_was_killed_is_taken_over() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 2).await;
    let [dying, other] = &setting.nodes[..] else {
        panic!()
    };
    let mut process = dying.start().await;
    setting.host.keep_waiting(dying.ip, true);
    assert!(dying.submit(0).await);
    eventually("the message at the next host", || {
        (!setting.host.givers(0).is_empty()).then_some(())
    })
    .await;
    let _other = other.start().await;
    process.kill();
    // Nobody but its lease says that it was dying.
    sleep(LEASE / 3).await;
    assert_eq!(setting.host.givers(0), [dying.ip]);
    eventually("the other node", || {
        (setting.host.givers(0).len() == 2).then_some(())
    })
    .await;
    assert_eq!(setting.host.givers(0), [dying.ip, other.ip]);
    let counted = watcher::get(other.ip, "/metrics").await;
    assert_eq!(counted.value("dimed_leases_taken_over_total"), 1.0);
    setting.here.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_that_was_stopped_past_its_lease_changes_nothing() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 2).await;
    let [stopped, other] = &setting.nodes[..] else {
        panic!()
    };
    let process = stopped.start().await;
    setting.host.keep_waiting(stopped.ip, true);
    assert!(stopped.submit(0).await);
    eventually("the message at the next host", || {
        (!setting.host.givers(0).is_empty()).then_some(())
    })
    .await;
    process.signal("-STOP");
    let _other = other.start().await;
    eventually("the other node", || {
        (setting.host.givers(0).len() == 2).then_some(())
    })
    .await;
    setting.here.idle().await;
    // Mail for which the other node has a lease by now, too.
    setting.host.keep_waiting(other.ip, true);
    assert!(other.submit(1).await);
    eventually("the next message", || {
        (!setting.host.givers(1).is_empty()).then_some(())
    })
    .await;
    setting.host.keep_waiting(stopped.ip, false);
    process.signal("-CONT");
    eventually("that its lease is lost", || {
        process.log().contains("queue.lease_lost").then_some(())
    })
    .await;
    let counted = watcher::get(stopped.ip, "/metrics").await;
    assert_eq!(counted.value("dimed_leases_lost_total"), 1.0);
    setting.host.keep_waiting(other.ip, false);
    setting.here.idle().await;
    assert_eq!(setting.host.givers(0), [stopped.ip, other.ip]);
    assert_eq!(setting.host.givers(1), [other.ip]);
    // It goes on working.
    assert!(stopped.submit(2).await);
    setting.all_taken(&BTreeSet::from([2])).await;
}

/// It is stopped before it gives several messages, and goes on when another node has given them, after their leases ran out.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_on_after_its_leases_ran_out_transmits_nothing_of_theirs() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 2).await;
    let [stopped, other] = &setting.nodes[..] else {
        panic!()
    };
    let process = stopped.start().await;
    setting.host.hold_back(stopped.ip, true);
    let numbers: BTreeSet<usize> = (0..DOMAINS).collect();
    for number in &numbers {
        assert!(stopped.submit(*number).await);
    }
    eventually("that it asks for all of them", || {
        let asking = setting.host.state.lock().unwrap().asking.len();
        (asking >= DOMAINS).then_some(())
    })
    .await;
    process.signal("-STOP");
    // The next host tells it to go ahead.
    setting.host.hold_back(stopped.ip, false);
    let _other = other.start().await;
    setting.all_taken(&numbers).await;
    process.signal("-CONT");
    eventually("that its leases are lost", || {
        process.log().contains("queue.lease_lost").then_some(())
    })
    .await;
    setting.here.idle().await;
    for number in numbers {
        assert_eq!(setting.host.givers(number), [other.ip], "{number}");
    }
    assert!(stopped.submit(DOMAINS).await, "it goes on taking mail in");
    setting.all_taken(&BTreeSet::from([DOMAINS])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_killed_node_goes_out_long_before_its_leases_end() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::watched(&database, 3).await;
    let mut processes = setting.start().await;
    for node in &setting.nodes[1..] {
        setting.host.keep_waiting(node.ip, true);
    }
    let dying = &setting.nodes[0];
    setting.host.keep_waiting(dying.ip, true);
    assert!(dying.submit(0).await);
    eventually("the message at the next host", || {
        (!setting.host.givers(0).is_empty()).then_some(())
    })
    .await;
    let first = setting.host.givers(0)[0];
    let place = setting.nodes.iter().position(|node| node.ip == first).unwrap();
    let mut killed = processes.swap_remove(place);
    let begun = Instant::now();
    killed.kill();
    for node in &setting.nodes {
        setting.host.keep_waiting(node.ip, false);
    }
    eventually("another node", || {
        (setting.host.givers(0).len() == 2).then_some(())
    })
    .await;
    let taken = begun.elapsed();
    assert!(taken >= SILENCE * 3 / 4 && taken < SILENCE * 5, "{taken:?}");
    assert_ne!(setting.host.givers(0)[1], first);
    setting.here.idle().await;
    let dead: usize = processes
        .iter()
        .map(|node| node.log().matches("node.taken_for_dead").count())
        .sum();
    assert_eq!(dead, 1);
    processes.iter_mut().for_each(Process::check);
}

/// It is stopped before it gives the message, and goes on when another node has given it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_on_after_others_took_over_transmits_nothing_of_theirs() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::watched(&database, 2).await;
    let [stopped, other] = &setting.nodes[..] else {
        panic!()
    };
    let process = stopped.start().await;
    setting.host.hold_back(stopped.ip, true);
    assert!(stopped.submit(0).await);
    eventually("that it asks", || {
        (!setting.host.state.lock().unwrap().asking.is_empty()).then_some(())
    })
    .await;
    process.signal("-STOP");
    // The next host tells it to go ahead.
    setting.host.hold_back(stopped.ip, false);
    let taking = other.start().await;
    eventually("the other node", || {
        (!setting.host.givers(0).is_empty()).then_some(())
    })
    .await;
    assert!(taking.log().contains("node.taken_for_dead"));
    process.signal("-CONT");
    for event in ["node.replaced", "queue.lease_lost"] {
        eventually(event, || process.log().contains(event).then_some(())).await;
    }
    sleep(SILENCE / 2).await;
    assert_eq!(setting.host.givers(0), [other.ip]);
    // It goes on working.
    setting.host.keep_waiting(other.ip, true);
    for number in 1..20 {
        assert!(stopped.submit(number).await);
    }
    eventually("something that it has delivered", || {
        let state = setting.host.state.lock().unwrap();
        state
            .taken
            .values()
            .any(|givers| givers.contains(&stopped.ip))
            .then_some(())
    })
    .await;
    setting.host.keep_waiting(other.ip, false);
    setting.all_taken(&(1..20).collect()).await;
    setting.here.idle().await;
    setting.assert_once(&[]);
}

/// Nobody is heard of, and nobody hears anything. What the next host says meanwhile counts afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_taken_for_dead_while_the_database_is_away() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let setting = Setting::watched(&database, 3).await;
    let mut processes = setting.start().await;
    for node in &setting.nodes {
        setting.host.keep_waiting(node.ip, true);
    }
    for number in 0..6 {
        assert!(setting.nodes[number % 3].submit(number).await);
    }
    let numbers: BTreeSet<usize> = (0..6).collect();
    setting.all_taken(&numbers).await;
    cluster.kill();
    sleep(SILENCE).await;
    for node in &setting.nodes {
        setting.host.keep_waiting(node.ip, false);
    }
    sleep(SILENCE).await;
    cluster.start("");
    setting.here.idle().await;
    sleep(SILENCE * 2).await;
    setting.assert_once(&[]);
    for process in &mut processes {
        process.check();
        let log = process.log();
        assert!(log.contains("node.out_of_touch"), "{log}");
        for event in ["node.taken_for_dead", "node.replaced", "queue.lease_lost"] {
            assert!(!log.contains(event), "{log}");
        }
    }
}

/// Submits to all nodes by turn until told to stop; what was acknowledged.
async fn submit_all_along(nodes: &[Node], mut stop: tokio::sync::oneshot::Receiver<()>) -> BTreeSet<usize> {
    let mut acknowledged = BTreeSet::new();
    for number in 0.. {
        if stop.try_recv().is_ok() {
            return acknowledged;
        }
        if nodes[number % nodes.len()].submit(number).await {
            acknowledged.insert(number);
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_database_is_restarted() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let setting = Setting::new(&database, 3).await;
    let mut processes = setting.start().await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let disturb = async {
        for _ in 0..2 {
            sleep(Duration::from_secs(2)).await;
            cluster.kill();
            sleep(Duration::from_millis(500)).await;
            cluster.start("");
        }
        sleep(Duration::from_secs(2)).await;
        stop.send(()).unwrap();
    };
    let (acknowledged, ()) = tokio::join!(submit_all_along(&setting.nodes, stopped), disturb);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    setting.all_taken(&acknowledged).await;
    setting.here.idle().await;
    processes.iter_mut().for_each(Process::check);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_a_standby_takes_over() {
    let primary = Cluster::own();
    let database = primary.database();
    // The standby begins with what is there, which is the empty database.
    let standby = primary.synchronous_standby();
    let address = server_at(&database.name, vec![primary.host(), standby.host()]).address;
    let setting = Setting::at(&address.to_string(), 3).await;
    let mut processes = setting.start().await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let fail_over = async {
        sleep(Duration::from_secs(3)).await;
        primary.kill();
        sleep(Duration::from_millis(500)).await;
        standby.promote();
        sleep(Duration::from_secs(4)).await;
        stop.send(()).unwrap();
    };
    let (acknowledged, ()) = tokio::join!(submit_all_along(&setting.nodes, stopped), fail_over);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    setting.all_taken(&acknowledged).await;
    setting.here.idle().await;
    processes.iter_mut().for_each(Process::check);
}

/// `dimed check`: its exit code, and what it said.
fn check(node: &Node) -> (Option<i32>, String) {
    let output = std::process::Command::new(DIMED)
        .args(["check", "--config"])
        .arg(&node.config)
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Another one than that of the database would only be in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_the_master_key_of_the_others_makes_none() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let setting = Setting::new(&database, 1).await;
    let key = setting.here.folder.join("master.key");
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).unwrap();
    let (code, _, said) = setting.here.binary(&["domain", "add", "new.test", "--plain"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("is missing: copy it from another node"), "{said}");
    assert!(!said.contains("made a master key") && !key.exists(), "{said}");
    std::fs::rename(&aside, &key).unwrap();
    let (code, _, said) = setting.here.binary(&["domain", "add", "new.test", "--plain"]);
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_judges_the_database() {
    let cluster = Cluster::own();
    let database = cluster.database();
    let setting = Setting::new(&database, 1).await;
    let node = &setting.nodes[0];
    let (code, said) = check(node);
    assert_eq!(code, Some(0), "{said}");
    cluster.sql("postgres", "ALTER SYSTEM SET fsync = off");
    cluster.kill();
    cluster.start("");
    let (code, said) = check(node);
    assert_ne!(code, Some(0), "{said}");
    assert!(said.contains("fsync=off"), "{said}");
    assert_eq!(serve(node), Some(75), "it may be turned on");
    cluster.kill();
    let (code, said) = check(node);
    assert_eq!(code, Some(75), "{said}");
    assert_eq!(serve(node), Some(75), "it may be started");
    cluster.start("");
    let text = std::fs::read_to_string(&node.config).unwrap();
    let elsewhere = text.replace(&format!("/{}", database.name), "/nowhere");
    assert_ne!(text, elsewhere);
    std::fs::write(&node.config, elsewhere).unwrap();
    assert_eq!(
        serve(node),
        Some(78),
        "the service manager is not to start it again and again"
    );
}

/// The exit code of a daemon that cannot start.
fn serve(node: &Node) -> Option<i32> {
    let status = std::process::Command::new(DIMED)
        .args(["serve", "--config"])
        .arg(&node.config)
        .env_remove("DIMED_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.unwrap().code()
}
