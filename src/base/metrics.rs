//! What the daemon counts about itself: one list, as that of the events in [`observe`](super::observe). `/metrics` gives it out.
//!
//! Labels are words of the program, so there are never more series than words: no name of a domain or a person can become one.
//! Names and labels are an interface, and do not change once released. Counts are of this process, since it was started.

use std::fmt::Display;
use std::sync::LazyLock;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::lately::Lately;
use super::time::{Clock as _, SystemClock, Timestamp};

/// What all names begin with.
pub const PREFIX: &str = "dimed";

/// A name and a word of each label.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Upper bounds for how long a commit takes: from a disk that only says that it has synced to one that hangs. Seconds.
const COMMIT_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Upper bounds for how many jobs share a commit.
const COMMIT_JOBS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// By which service messages come in.
const SERVICES: [&str; 6] = ["smtp", "submission", "relay", "dmtp", "dmtp_submission", "drop"];

/// Which ways mail goes.
const ROUTES: [&str; 3] = ["local", "smtp", "dmtp"];

/// What becomes of an attempt.
const RESULTS: [&str; 5] = ["delivered", "relayed", "expanded", "deferred", "failed"];

/// Attempts that are remembered one by one.
const REMEMBERED: usize = 20;

static ENDED: Lately<Ended> = Lately::new(REMEMBERED);

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

struct Metrics {
    registry: Registry,
    accepted: Family<Labels<1>, Counter>,
    refused: Family<Labels<2>, Counter>,
    deliveries: Family<Labels<2>, Counter>,
    handshakes: Family<Labels<2>, Counter>,
    signets: Family<Labels<1>, Counter>,
    dns: Family<Labels<1>, Counter>,
    sessions: Family<Labels<1>, Gauge<i64, AtomicI64>>,
    commits: Histogram,
    group: Histogram,
    overtaken: Counter,
    lost: Counter,
}

impl Metrics {
    fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            accepted: Family::default(),
            refused: Family::default(),
            deliveries: Family::default(),
            handshakes: Family::default(),
            signets: Family::default(),
            dns: Family::default(),
            sessions: Family::default(),
            commits: Histogram::new(COMMIT_SECONDS),
            group: Histogram::new(COMMIT_JOBS),
            overtaken: Counter::default(),
            lost: Counter::default(),
        };
        metrics.begin();
        metrics.register();
        metrics
    }

    /// Series are there from the start, so that what happens for the first time counts as a change.
    fn begin(&self) {
        for service in SERVICES {
            drop(self.accepted.get_or_create(&[("service", service)]));
        }
        for protocol in ["smtp", "dmtp"] {
            for class in ["4", "5"] {
                drop(
                    self.refused
                        .get_or_create(&[("protocol", protocol), ("class", class)]),
                );
            }
        }
        for route in ROUTES {
            for result in RESULTS {
                drop(
                    self.deliveries
                        .get_or_create(&[("route", route), ("result", result)]),
                );
            }
        }
        for direction in ["in", "out"] {
            for result in ["done", "failed"] {
                drop(
                    self.handshakes
                        .get_or_create(&[("direction", direction), ("result", result)]),
                );
            }
        }
        for result in ["found", "missing", "invalid", "unavailable"] {
            drop(self.signets.get_or_create(&[("result", result)]));
        }
        for proof in ["secure", "insecure", "bogus", "failed"] {
            drop(self.dns.get_or_create(&[("proof", proof)]));
        }
        for service in ["dual", "dmtp", "submission", "submissions"] {
            drop(self.sessions.get_or_create(&[("service", service)]));
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "messages_accepted",
            "Messages taken in, each once it was durable",
            self.accepted.clone(),
        );
        registry.register(
            "refusals",
            "Commands and messages refused in sessions, by protocol and class of the reply: 4 for now, 5 for good",
            self.refused.clone(),
        );
        registry.register(
            "deliveries",
            "Attempts to deliver to one recipient that ended, by route and result",
            self.deliveries.clone(),
        );
        registry.register(
            "dmtp_handshakes",
            "TLS handshakes of DMTP sessions, and what was made of the certificate in those that this host began",
            self.handshakes.clone(),
        );
        registry.register(
            "signet_lookups",
            "Signets asked for to seal or to verify a message",
            self.signets.clone(),
        );
        registry.register(
            "dns_answers",
            "Questions to DNS, by how far the answer, or the absence of one, was proven",
            self.dns.clone(),
        );
        registry.register("sessions_open", "Sessions at this moment", self.sessions.clone());
        registry.register_with_unit(
            "store_commit",
            "How long transactions took to become durable, the sync included",
            Unit::Seconds,
            self.commits.clone(),
        );
        registry.register(
            "store_commit_jobs",
            "Pieces of work that shared one transaction, and so one sync",
            self.group.clone(),
        );
        registry.register(
            "leases_taken_over",
            "Recipients whose lease had run out, its holder dead or stuck, and who were taken up again",
            self.overtaken.clone(),
        );
        registry.register(
            "leases_lost",
            "Attempts whose lease ran out before their result was recorded",
            self.lost.clone(),
        );
    }
}

/// What is counted here, to be given out.
pub fn registry() -> &'static Registry {
    &METRICS.registry
}

/// A message is in, by `smtp`, `submission`, `relay` (a network that is trusted), `dmtp`, `dmtp_submission`, or `drop` (programs of
/// this host).
pub fn accepted(service: &'static str) {
    METRICS.accepted.get_or_create(&[("service", service)]).inc();
}

/// A session refused something with that code.
pub fn refused(protocol: &'static str, code: u16) {
    let class = if code < 500 { "4" } else { "5" };
    let labels = [("protocol", protocol), ("class", class)];
    METRICS.refused.get_or_create(&labels).inc();
}

/// An attempt for one recipient.
#[derive(Debug, Clone)]
pub struct Ended {
    /// When it ended.
    pub at: Timestamp,
    /// Of the message, or, where it is sealed, of the attempt alone.
    pub id: String,
    /// `local`, `smtp` or `dmtp`.
    pub route: &'static str,
    /// `delivered`, `relayed`, `expanded`, `deferred` or `failed`.
    pub result: &'static str,
}

/// An attempt for one recipient came to its end. `id` leads to no more than a line of the log about it may lead to.
pub fn attempted(route: &'static str, result: &'static str, id: &dyn Display) {
    let labels = [("route", route), ("result", result)];
    METRICS.deliveries.get_or_create(&labels).inc();
    ENDED.push(Ended {
        at: SystemClock.now(),
        id: id.to_string(),
        route,
        result,
    });
}

/// The last attempts, oldest first.
pub fn ended() -> Vec<Ended> {
    ENDED.all()
}

/// How many attempts ended, by route and result.
pub fn deliveries() -> Vec<(&'static str, &'static str, u64)> {
    let all = ROUTES
        .into_iter()
        .flat_map(|route| RESULTS.map(|result| (route, result)));
    let count = |(route, result)| {
        let labels = [("route", route), ("result", result)];
        (route, result, METRICS.deliveries.get_or_create(&labels).get())
    };
    all.map(count).collect()
}

/// What has gone through this process.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// Messages taken in.
    pub accepted: u64,
    /// Recipients delivered to, here or to the next host.
    pub delivered: u64,
}

/// All of it so far.
pub fn totals() -> Totals {
    let accepted = SERVICES.map(|service| METRICS.accepted.get_or_create(&[("service", service)]).get());
    let done = deliveries().into_iter();
    let done = done.filter(|(_, result, _)| matches!(*result, "delivered" | "relayed"));
    Totals {
        accepted: accepted.iter().sum(),
        delivered: done.map(|(_, _, count)| count).sum(),
    }
}

/// A DMTP session is under TLS, or is not; `in` for those of peers, `out` for ours.
pub fn shook_hands(direction: &'static str, is_done: bool) {
    let result = if is_done { "done" } else { "failed" };
    let labels = [("direction", direction), ("result", result)];
    METRICS.handshakes.get_or_create(&labels).inc();
}

/// A signet was asked for: it is `found`, `missing`, `invalid` or `unavailable`.
pub fn signet_sought(result: &'static str) {
    METRICS.signets.get_or_create(&[("result", result)]).inc();
}

/// DNS was asked: the answer is `secure`, `insecure` or `bogus`, or it `failed`.
pub fn dns_asked(proof: &'static str) {
    METRICS.dns.get_or_create(&[("proof", proof)]).inc();
}

/// A transaction of so many pieces of work is durable.
pub fn committed(took: Duration, jobs: usize) {
    METRICS.commits.observe(took.as_secs_f64());
    // Far from where floating point would round.
    METRICS
        .group
        .observe(u32::try_from(jobs).unwrap_or(u32::MAX).into());
}

/// So many recipients were taken up whose lease had run out.
pub fn leases_taken_over(count: u64) {
    METRICS.overtaken.inc_by(count);
}

/// A lease ran out on us.
pub fn lease_lost() {
    METRICS.lost.inc();
}

/// A session, counted as open until it is dropped.
#[derive(Debug)]
pub struct Session(&'static str);

/// A session begins.
pub fn session(service: &'static str) -> Session {
    METRICS.sessions.get_or_create(&[("service", service)]).inc();
    Session(service)
}

impl Drop for Session {
    fn drop(&mut self) {
        METRICS.sessions.get_or_create(&[("service", self.0)]).dec();
    }
}
