//! `/metrics`: what is counted ([`crate::base::metrics`]), and how things stand at this moment.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::sample::{Domains, Queue};
use crate::base::metrics::{Labels, PREFIX, registry};
use crate::base::space::Free;
use crate::base::time::Timestamp;
use crate::daemon::health::{Finding, REASONS};
use crate::daemon::{Services, VERSION};
use crate::store::{Status, Way};

/// The text format of OpenMetrics.
pub const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Number = Gauge<i64, AtomicI64>;
type Measure = Gauge<f64, AtomicU64>;

/// How things stand.
pub struct Now<'a> {
    pub services: &'a Services,
    pub started: Timestamp,
    pub unready: &'a [Finding],
    pub queue: Option<&'a Queue>,
    pub domains: &'a Domains,
}

impl Now<'_> {
    /// Everything, in the text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.gauges())?;
        encode_registry(&mut text, registry())?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    fn gauges(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = Info::new([("version", VERSION)]);
        registry.register("build", "The program", version);
        seconds(
            &mut registry,
            "start_timestamp",
            "When the daemon was started, in Unix time",
            number(self.started.unix_secs()),
        );
        self.readiness(&mut registry);
        self.queue(&mut registry);
        self.disk(&mut registry);
        self.dates(&mut registry);
        registry
    }

    fn readiness(&self, registry: &mut Registry) {
        let ready = number(self.unready.is_empty().into());
        registry.register("ready", "Whether /readyz says so", ready);
        let reasons = Family::<Labels<1>, Number>::default();
        for reason in REASONS {
            let holds = self.unready.iter().any(|finding| finding.code == reason);
            reasons.get_or_create(&[("reason", reason)]).set(holds.into());
        }
        registry.register("unready", "Whether that is a reason for not being ready", reasons);
    }

    /// Nothing, if the store cannot be read.
    fn queue(&self, registry: &mut Registry) {
        let Some(queue) = self.queue else { return };
        let recipients = Family::<Labels<2>, Number>::default();
        let oldest = Family::<Labels<2>, Measure>::default();
        for way in Way::ALL {
            for status in Status::ALL {
                let labels = [("route", way.name()), ("status", status.name())];
                let depth = queue
                    .depths
                    .iter()
                    .find(|depth| depth.way == way && depth.status == status);
                let count = depth.map_or(0, |depth| depth.recipients);
                recipients
                    .get_or_create(&labels)
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
                let age = depth.and_then(|depth| depth.oldest);
                let age = age.map_or(0.0, |accepted| queue.at.since(accepted).as_secs_f64());
                oldest.get_or_create(&labels).set(age);
            }
        }
        registry.register(
            "queue_recipients",
            "Recipients in the queue; smtp has those of mail for other domains that is not sealed, or not yet",
            recipients,
        );
        let help =
            "How long the message of the recipient that came first has been here; 0 where there is none";
        seconds(registry, "queue_oldest_age", help, oldest);
        let help = "When the queue was looked at, in Unix time; a long one is looked at less often";
        seconds(
            registry,
            "queue_sample_timestamp",
            help,
            number(queue.at.unix_secs()),
        );
    }

    /// Nothing, where it cannot be measured.
    fn disk(&self, registry: &mut Registry) {
        let Ok(free) = Free::of(&self.services.config.server.data_directory) else {
            return;
        };
        let help = "Room left on the disk of the data directory";
        registry.register_with_unit("disk_free", help, Unit::Bytes, number(whole(free.octets)));
        if let Some(inodes) = free.inodes {
            let help = "Files that can still be made on the disk of the data directory";
            registry.register("disk_free_inodes", help, number(whole(inodes)));
        }
    }

    fn dates(&self, registry: &mut Registry) {
        let services = self.services;
        let certificates = Family::<Labels<1>, Number>::default();
        for (service, acceptor) in [("smtp", &services.smtp_tls), ("dmtp", &services.dmtp_tls)] {
            if let Some(period) = acceptor.period() {
                certificates
                    .get_or_create(&[("service", service)])
                    .set(period.until);
            }
        }
        let help = "When the certificate ends, in Unix time";
        seconds(registry, "certificate_expiry_timestamp", help, certificates);
        if let Some(expires) = self.domains.first_key_set {
            let help = "When the first key set of a domain expires that is served here, in Unix time; it is renewed before";
            seconds(registry, "key_set_expiry_timestamp", help, number(whole(expires)));
        }
    }
}

fn seconds(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    registry.register_with_unit(name, help, Unit::Seconds, metric);
}

fn number(value: i64) -> Number {
    let number = Number::default();
    number.set(value);
    number
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
