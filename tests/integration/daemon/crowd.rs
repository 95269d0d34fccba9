//! Many messages for one destination: how many at a time, how often it is dialled, and what others get meanwhile.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dimed::cli::Exit;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::eventually;
use crate::support::loopback::{Loopback, SMTP};
use crate::support::organization::Organization;
use crate::support::sink::{Behaviour, Sink};
use crate::support::world::World;

const MESSAGE: &str = "From: alice@hermail.test\r\nMessage-ID: <1@hermail.test>\r\n\
    Date: Tue, 3 Jun 2025 10:00:00 +0000\r\nSubject: out\r\n\r\nhello\r\n";

/// Counts connections; keeps them open without a word, or closes them at once.
struct Door {
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Door {
    async fn open(host: &Loopback, keeps: bool) -> Self {
        let listener = TcpListener::bind((host.ip, SMTP)).await.unwrap();
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        let task = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((tcp, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                if keeps {
                    kept.push(tcp);
                }
            }
        });
        Self { count, task }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hermail(world: &World) -> Organization {
    world
        .organization("hermail.test")
        .accounts(&["alice"])
        .config(|config| {
            config.queue.runners = NonZeroUsize::new(8).unwrap();
            config.queue.retry_first_secs = NonZeroU64::new(120).unwrap();
        })
        .build()
        .await
}

/// A tarpit beside a quick host: more mail for it than there are places leaves places for others.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_speaks_holds_a_few_places_and_others_get_their_mail() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hosts = [Loopback::take(), Loopback::take()];
    world.plain_domain("tarpit.test", hosts[0].ip);
    world.plain_domain("quick.test", hosts[1].ip);
    let tarpit = Door::open(&hosts[0], true).await;
    let sink = Sink::start(hosts[1].ip, Behaviour::default()).await;
    let served = hermail.start().await;
    for _ in 0..20 {
        hermail.submit("alice", &["x@tarpit.test"], MESSAGE).await;
    }
    eventually("the tarpit to be dialled", || (tarpit.count() >= 5).then_some(())).await;
    for count in 1..=10 {
        let sent = tokio::time::Instant::now();
        hermail.submit("alice", &["carol@quick.test"], MESSAGE).await;
        sink.taken(count).await;
        assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    }
    assert_eq!(
        tarpit.count(),
        5,
        "as many as for a destination of which nothing is known"
    );
    drop(tarpit);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_tried_now_cannot_be_retried_and_is_said_to_be() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("tarpit.test", host.ip);
    let tarpit = Door::open(&host, true).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["x@tarpit.test"], MESSAGE).await;
    eventually("the tarpit to be dialled", || (tarpit.count() >= 1).then_some(())).await;
    let (exit, said) = hermail.answered(&["queue", "retry", "--all"]).await;
    assert_eq!(
        (exit, said.as_str()),
        (Exit::No, "One recipient is being tried now.\n")
    );
    drop(tarpit);
    served.stop().await;
}

/// Names that anybody can make, without end.
#[tokio::test(flavor = "multi_thread")]
async fn many_domains_with_one_host_that_never_speaks_hold_no_more_places_than_one() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let hosts = [Loopback::take(), Loopback::take()];
    let mx = "mx.trap.test".parse().unwrap();
    let zone = dimed::net::authority::Zone::unsigned(&"trap.test".parse().unwrap())
        .unwrap()
        .mx("*", 10, &mx)
        .address("mx", hosts[0].ip);
    world.put("trap.test", &zone);
    world.plain_domain("quick.test", hosts[1].ip);
    let tarpit = Door::open(&hosts[0], true).await;
    let sink = Sink::start(hosts[1].ip, Behaviour::default()).await;
    let served = hermail.start().await;
    let names: Vec<_> = (0..30).map(|number| format!("x@d{number}.trap.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    hermail.submit("alice", &names, MESSAGE).await;
    eventually("the tarpit to be dialled", || (tarpit.count() >= 5).then_some(())).await;
    for count in 1..=5 {
        let sent = tokio::time::Instant::now();
        hermail.submit("alice", &["carol@quick.test"], MESSAGE).await;
        sink.taken(count).await;
        assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    }
    assert_eq!(tarpit.count(), 5);
    // What waits has not been tried, and is not tried over and over.
    let listed = hermail.cli(&["queue", "list"]).await;
    assert_eq!(listed.matches("trap.test").count(), 30, "{listed}");
    drop(tarpit);
    served.stop().await;
}

/// So many hosts that keep silent, each with so many domains; how often they have been dialled.
struct Tarpits {
    names: Vec<String>,
    doors: Vec<(Loopback, Door)>,
}

impl Tarpits {
    async fn open(world: &World, hosts: usize, domains: usize) -> Self {
        let (mut names, mut doors) = (Vec::new(), Vec::new());
        for number in 0..hosts {
            let (host, name) = (Loopback::take(), format!("t{number}.test"));
            let mx = format!("mx.{name}").parse().unwrap();
            let zone = dimed::net::authority::Zone::unsigned(&name.parse().unwrap())
                .unwrap()
                .mx("*", 10, &mx)
                .address("mx", host.ip);
            world.put(&name, &zone);
            let door = Door::open(&host, true).await;
            doors.push((host, door));
            names.extend((0..domains).map(|domain| format!("x@d{domain}.{name}")));
        }
        Self { names, doors }
    }

    fn dialled(&self) -> usize {
        self.doors.iter().map(|(_, door)| door.count()).sum()
    }
}

/// hermail.test with mail for 60 silent hosts, a host that took a message before, and one that nobody has written to.
async fn besieged(world: &World, runners: usize) -> (Organization, Tarpits, [Sink; 2], [Loopback; 2]) {
    let hermail = world
        .organization("hermail.test")
        .accounts(&["alice"])
        .config(|config| {
            config.queue.runners = NonZeroUsize::new(runners).unwrap();
            config.queue.retry_first_secs = NonZeroU64::new(600).unwrap();
        })
        .build()
        .await;
    let hosts = [Loopback::take(), Loopback::take()];
    world.plain_domain("known.test", hosts[0].ip);
    world.plain_domain("fresh.test", hosts[1].ip);
    let sinks = [
        Sink::start(hosts[0].ip, Behaviour::default()).await,
        Sink::start(hosts[1].ip, Behaviour::default()).await,
    ];
    (hermail, Tarpits::open(world, 60, 6).await, sinks, hosts)
}

/// Far less than the silent hosts are waited for, on a busy machine, too.
const SOON: Duration = Duration::from_secs(60);

/// The time that a message takes.
async fn time_to(hermail: &Organization, to: &str, sink: &Sink, count: usize) -> Duration {
    let sent = tokio::time::Instant::now();
    hermail.submit("alice", &[to], MESSAGE).await;
    sink.taken(count).await;
    sent.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_that_never_speak_leave_places_to_one_that_nobody_has_written_to() {
    let world = World::new().await;
    let (hermail, tarpits, [known, fresh], _hosts) = besieged(&world, 20).await;
    let served = hermail.start().await;
    time_to(&hermail, "carol@known.test", &known, 1).await;
    let names: Vec<&str> = tarpits.names.iter().map(String::as_str).collect();
    hermail.submit("alice", &names, MESSAGE).await;
    eventually("the tarpits to be dialled", || {
        (tarpits.dialled() >= 20).then_some(())
    })
    .await;
    let [known, fresh] = [
        time_to(&hermail, "carol@known.test", &known, 2).await,
        time_to(&hermail, "dave@fresh.test", &fresh, 1).await,
    ];
    assert!(known < SOON, "{known:?}");
    assert!(fresh < SOON, "{fresh:?}");
    assert!(tarpits.doors.iter().all(|(_, door)| door.count() <= 5));
    drop(tarpits);
    served.stop().await;
}

/// All that there is for hosts of which nothing is known is taken.
#[tokio::test(flavor = "multi_thread")]
async fn while_silent_hosts_take_what_they_may_those_that_were_reached_lately_get_their_mail() {
    let world = World::new().await;
    let (hermail, tarpits, [known, _fresh], _hosts) = besieged(&world, 4).await;
    let served = hermail.start().await;
    time_to(&hermail, "carol@known.test", &known, 1).await;
    let names: Vec<&str> = tarpits.names.iter().map(String::as_str).collect();
    hermail.submit("alice", &names, MESSAGE).await;
    // Three quarters of 40 slow slots, and two of 4 quick ones.
    eventually("the tarpits to be dialled", || {
        (tarpits.dialled() >= 32).then_some(())
    })
    .await;
    for count in 2..=4 {
        let known = time_to(&hermail, "carol@known.test", &known, count).await;
        assert!(known < SOON, "{known:?}");
    }
    assert_eq!(tarpits.dialled(), 32);
    drop(tarpits);
    served.stop().await;
}

/// One host for all of them, which answers: whoever finds no room goes as soon as there is.
#[tokio::test(flavor = "multi_thread")]
async fn mail_for_many_domains_with_one_host_goes_without_a_pause() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    let mx = "mx.many.test".parse().unwrap();
    let zone = dimed::net::authority::Zone::unsigned(&"many.test".parse().unwrap())
        .unwrap()
        .mx("*", 10, &mx)
        .address("mx", host.ip);
    world.put("many.test", &zone);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let served = hermail.start().await;
    let names: Vec<_> = (0..60).map(|number| format!("x@d{number}.many.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sent = tokio::time::Instant::now();
    hermail.submit("alice", &names, MESSAGE).await;
    sink.taken(60).await;
    assert!(sent.elapsed() < Duration::from_secs(25), "{:?}", sent.elapsed());
    hermail.idle().await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_down_is_not_dialled_by_every_message() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("down.test", host.ip);
    let door = Door::open(&host, false).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["x@down.test"], MESSAGE).await;
    until_waiting(&hermail, 1).await;
    let dialled = door.count();
    // With TLS, and then without.
    assert!((1..=2).contains(&dialled), "{dialled}");
    for count in 2..=6 {
        hermail.submit("alice", &["x@down.test"], MESSAGE).await;
        until_waiting(&hermail, count).await;
    }
    assert_eq!(door.count(), dialled);
    let listed = hermail.cli(&["queue", "list"]).await;
    assert!(listed.contains("it is left alone for a while"), "{listed}");
    served.stop().await;
}

/// Waits until so many messages have had their first attempt.
async fn until_waiting(hermail: &Organization, count: usize) {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let listed = hermail.cli(&["queue", "list"]).await;
        let tried = listed.matches("tried 1 time").count();
        if tried == count && !listed.contains("being tried now") {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_follow_each_other_share_a_session() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    // Two domains with one host.
    world.plain_domain("one.test", host.ip);
    let zone = dimed::net::authority::Zone::unsigned(&"two.test".parse().unwrap())
        .unwrap()
        .mx("", 10, &"mx.one.test".parse().unwrap());
    world.put("two.test", &zone);
    let sink = Sink::start(host.ip, Behaviour::with_tls(world.home())).await;
    let served = hermail.start().await;
    for count in 1..=6 {
        let to = ["carol@one.test", "dave@two.test"][count % 2];
        hermail.submit("alice", &[to], MESSAGE).await;
        let taken = sink.taken(count).await;
        assert!(taken[count - 1].tls);
        assert_eq!(taken[count - 1].rcpt, [format!("<{to}>")]);
        hermail.idle().await;
    }
    assert_eq!(sink.sessions(), 1);
    served.stop().await;
}

/// A host that takes one recipient in a session, and then says nothing more: whoever was served is settled when the time of the
/// attempt is over, and the others alone are tried again.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_served_in_a_session_before_the_attempt_was_cut_off_is_not_served_again() {
    let world = World::new().await;
    let builder = world.organization("hermail.test").accounts(&["alice"]);
    let hermail = builder
        .config(|config| {
            config.queue.lease_secs = NonZeroU64::new(4).unwrap();
            config.queue.retry_first_secs = NonZeroU64::new(600).unwrap();
        })
        .build()
        .await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let behaviour = Behaviour {
        recipients: Some(1),
        transactions: Some(1),
        hushes_after: Some(1),
        ..Behaviour::default()
    };
    let sink = Sink::start(host.ip, behaviour).await;
    let served = hermail.start().await;
    let to = ["carol@plain.test", "dave@plain.test", "eve@plain.test"];
    hermail.submit("alice", &to, MESSAGE).await;
    assert_eq!(sink.taken(1).await[0].rcpt, ["<carol@plain.test>"]);
    until_waiting(&hermail, 2).await;
    let listed = hermail.cli(&["queue", "list"]).await;
    assert!(!listed.contains("carol@plain.test"), "{listed}");
    assert_eq!(listed.matches("the attempt took too long").count(), 2, "{listed}");
    served.stop().await;
}

/// The host gives up sessions that are idle: the next message finds out, and goes in a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_host_has_given_up_is_not_missed() {
    let world = World::new().await;
    let hermail = hermail(&world).await;
    let host = Loopback::take();
    world.plain_domain("plain.test", host.ip);
    let sink = Sink::start(host.ip, Behaviour::default()).await;
    let served = hermail.start().await;
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    sink.taken(1).await;
    hermail.idle().await;
    sink.hang_up();
    hermail.submit("alice", &["carol@plain.test"], MESSAGE).await;
    sink.taken(2).await;
    assert_eq!(sink.sessions(), 2);
    hermail.idle().await;
    served.stop().await;
}
