//! DNS that says what the input says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dimed::mail::address::Domain;
use dimed::net::dns::{Family, Host, Lookup, Mx, Proof, Resolver, SelfTest, Srv, Tlsa};

/// Answers from lines of text. A name gets one of the lines that are for its kind; a line `!text` makes questions for names with
/// that text fail.
pub struct Lines {
    lines: Vec<Vec<u8>>,
    asked: AtomicUsize,
}

impl Lines {
    /// From these lines.
    pub fn of(text: &[u8]) -> Self {
        let lines = text.split(|octet| *octet == b'\n');
        Self {
            lines: lines
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                .collect(),
            asked: AtomicUsize::new(0),
        }
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// The answer about a name, given a number that depends on it.
    fn answer<T>(&self, name: &str, value: impl FnOnce(usize) -> Option<T>) -> Lookup<T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len())));
        assert!(name.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
        let fails = |line: &Vec<u8>| match line.split_first() {
            Some((b'!', text)) if !text.is_empty() => {
                name.as_bytes().windows(text.len()).any(|window| window == text)
            }
            _ => false,
        };
        if self.lines.iter().any(fails) {
            return Lookup::Failed;
        }
        let number = name
            .bytes()
            .fold(0_usize, |sum, octet| sum.wrapping_mul(31) + usize::from(octet));
        let proof = Proof::Insecure;
        let ttl = Duration::ZERO;
        value(number).map_or(Lookup::Absent { proof }, |value| Lookup::Found {
            value,
            ttl,
            proof,
        })
    }

    fn addresses(&self, name: &str, families: &[Family]) -> Lookup<Vec<IpAddr>> {
        let address = |family: &Family| match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        };
        self.answer(name, |number| {
            (number % 3 > 0).then(|| families.iter().map(address).collect())
        })
    }
}

#[async_trait]
impl Resolver for Lines {
    async fn txt(&self, name: &str) -> Lookup<Vec<Vec<u8>>> {
        let start: &[u8] = match name {
            name if name.starts_with("_dmarc.") => b"v=DMARC1",
            name if name.contains("._domainkey.") => b"v=DKIM1",
            _ => b"v=spf1",
        };
        self.answer(name, |number| {
            let lines = self.lines.iter();
            let fit: Vec<_> = lines.filter(|line| line.starts_with(start)).collect();
            let line = fit.get(number % fit.len().max(1))?;
            Some(vec![line.to_vec()])
        })
    }

    async fn mx(&self, domain: &Domain) -> Lookup<Vec<Mx>> {
        self.answer(domain.as_str(), |number| {
            let hosts = (0..number % 13).map(|preference| Mx {
                preference: preference as u16,
                host: format!("mx{preference}.{domain}").parse().ok(),
            });
            let hosts: Vec<_> = hosts.collect();
            (!hosts.is_empty()).then_some(hosts)
        })
    }

    async fn addresses(&self, host: &Domain) -> Lookup<Vec<IpAddr>> {
        self.addresses(host.as_str(), &[Family::V4, Family::V6])
    }

    async fn addresses_at(&self, name: &str, family: Family) -> Lookup<Vec<IpAddr>> {
        self.addresses(name, &[family])
    }

    async fn names(&self, _: IpAddr) -> Lookup<Vec<Domain>> {
        self.answer("ptr.example", |_| {
            let names = (0..12).map(|number| format!("h{number}.a.example").parse().unwrap());
            Some(names.collect())
        })
    }

    async fn host(&self, _: &Domain) -> Lookup<Host> {
        Lookup::Failed
    }

    async fn srv(&self, _: &str) -> Lookup<Vec<Srv>> {
        Lookup::Failed
    }

    async fn tlsa(&self, _: &str) -> Lookup<Vec<Tlsa>> {
        Lookup::Failed
    }

    async fn self_test(&self) -> SelfTest {
        SelfTest::Passed
    }
}

/// Waits for what never has to wait.
pub fn now<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}
