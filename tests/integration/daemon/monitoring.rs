//! What deploy/monitoring has for Prometheus and Grafana, against what a daemon really gives out.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dimed::config::Config;
use serde_json::Value;

use crate::peers::seat::{self, Seat};
use crate::support::PATIENCE;
use crate::support::loopback::OPERATIONS;
use crate::support::watcher::{ask, get};
use crate::support::world::{World, domain};

/// Reads metrics as Prometheus' own library for Python does, which is strict about OpenMetrics; prints the names of samples, and
/// what each family lacks.
const READER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    assert family.unit in ('', 'seconds', 'bytes') and (not family.unit or family.name.endswith(family.unit)), family.name
    assert family.unit or not family.name.endswith(('seconds', 'bytes')), family.name
    for sample in family.samples:
        print(sample.name, *sorted(sample.labels))
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).unwrap()
}

/// Runs promtool, which Debian has in the package prometheus.
fn promtool(arguments: &[&str]) {
    let mut tool = Command::new("promtool");
    let done = tool.args(arguments).current_dir(folder()).output();
    let done = done.expect("promtool is installed (tests/run installs it)");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
}

#[test]
fn the_alert_rules_are_valid_and_fire_when_they_should() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
    promtool(&["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]);
}

/// A running Prometheus, with our sample of a configuration.
struct Prometheus {
    // First, so that it has ended before its folder goes.
    _process: seat::Process,
    seat: Seat,
}

impl Prometheus {
    /// It asks a host every second.
    async fn start(watched: IpAddr) -> Self {
        let seat = Seat::take();
        let sample = text("prometheus.yml");
        let usual = format!(
            "127.0.0.1:{}",
            Config::for_host(domain("mx.test")).listen.operations[0].port()
        );
        assert!(sample.contains(&usual), "{sample}");
        let config = sample
            .replace(&usual, &format!("{watched}:{OPERATIONS}"))
            .replace("_interval: 30s", "_interval: 1s");
        let config = seat.file("prometheus.yml", config);
        seat.copy("alerts.yml", &folder().join("alerts.yml"));
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", seat.folder("data").display()))
            .arg(format!("--web.listen-address={}:{OPERATIONS}", seat.ip));
        let process = seat.start(&command);
        seat.logs("Server is ready to receive web requests").await;
        Self {
            _process: process,
            seat,
        }
    }

    /// What its interface for programs answers.
    async fn data(&self, path: &str) -> Value {
        let answer = ask(self.seat.ip, &format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n")).await;
        let said = answer.json();
        assert_eq!(said["status"], "success", "{said}");
        said["data"].clone()
    }

    /// The first value of an expression.
    async fn value(&self, expression: &str) -> Option<f64> {
        let found = self.data(&format!("query?query={expression}")).await;
        found["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_scrapes_it_and_loads_the_rules() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let _daemon = hismail.spawn().await;
    let prometheus = Prometheus::start(hismail.ip).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // Several rounds, with the rules evaluated meanwhile.
    while prometheus.value("count_over_time(dimed_build_info[1h])").await < Some(3.0) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            prometheus.seat.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let targets = prometheus.data("targets").await;
    let target = &targets["activeTargets"][0];
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&"up".into(), &"".into()),
        "{target}"
    );
    assert_eq!(targets["activeTargets"].as_array().unwrap().len(), 1, "{targets}");
    assert_eq!(prometheus.value("min_over_time(up[1h])").await, Some(1.0));

    let rules = prometheus.data("rules").await;
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let written = text("alerts.yml").matches("- alert: ").count();
    assert_eq!(rules.len(), written);
    for rule in rules {
        assert_eq!(
            (&rule["health"], &rule["lastError"]),
            (&"ok".into(), &Value::Null),
            "{rule}"
        );
    }
    let log = prometheus.seat.log();
    assert!(
        !log.contains("level=error") && !log.contains("level=warn"),
        "{log}"
    );
}

/// Names of metrics in an expression.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("dimed_"));
    ours.map(str::to_owned).collect()
}

/// Every expression of a panel, at whatever depth.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let own = ["expr", "query"]
                .iter()
                .filter_map(|name| fields.get(*name)?.as_str());
            found.extend(own.map(str::to_owned));
            fields.values().for_each(|field| expressions(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn samples(scraped: &str) -> BTreeSet<String> {
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(scraped.as_bytes())
        .unwrap();
    let done = python.wait_with_output().unwrap();
    assert!(
        done.status.success(),
        "{}\n{scraped}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_and_dashboard_name_is_given_out_as_openmetrics() {
    let world = World::new().await;
    let hismail = world.organization("hismail.test").build().await;
    let _process = hismail.spawn().await;
    let scraped = get(hismail.ip, "/metrics").await.body;
    let samples = samples(&scraped);
    let given: BTreeSet<&str> = samples.iter().filter_map(|line| line.split(' ').next()).collect();
    let mut shown = Vec::new();
    expressions(
        &serde_json::from_str(&text("dashboard.json")).unwrap(),
        &mut shown,
    );
    let rules = names(&text("alerts.yml"));
    let panels = names(&shown.join("\n"));
    assert!(rules.len() > 10 && panels.len() > 15, "{rules:?} {panels:?}");
    for name in rules.iter().chain(&panels) {
        assert!(given.contains(name.as_str()), "{name} is not given out");
    }
    // And everything that is given out is shown.
    let family = |name: &str| {
        name.trim_end_matches("_bucket")
            .trim_end_matches("_count")
            .trim_end_matches("_sum")
            .to_owned()
    };
    let told: BTreeSet<String> = rules.iter().chain(&panels).map(|name| family(name)).collect();
    let untold: Vec<&&str> = given
        .iter()
        .filter(|name| !told.contains(&family(name)))
        .collect();
    assert_eq!(
        untold,
        [&"dimed_build_info", &"dimed_queue_sample_timestamp_seconds"]
    );
    // Labels are words of ours.
    let labels: BTreeSet<&str> = samples.iter().flat_map(|line| line.split(' ').skip(1)).collect();
    let known = [
        "class",
        "direction",
        "le",
        "proof",
        "protocol",
        "reason",
        "result",
        "route",
        "service",
        "status",
        "version",
    ];
    assert_eq!(labels, BTreeSet::from(known));
}
