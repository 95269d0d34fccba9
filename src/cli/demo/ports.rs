//! Ports that are free on the loopback address of every organization.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;
use rand::RngExt;

/// How often another port is tried.
const ATTEMPTS: usize = 1000;

/// Below the ports that systems give to outgoing connections, some of which are made between looking and listening.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// The same numbers at every organization, so that all can be told where to reach the others.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// SMTP and DMTP.
    pub smtp: u16,
    /// DMTP alone.
    pub dmtp: u16,
    /// Submission.
    pub submission: u16,
}

impl Ports {
    /// Looks for ports that are free on all `addresses`.
    pub fn find(addresses: &[Ipv4Addr]) -> anyhow::Result<Self> {
        // All are held until the last one is found, so that they differ.
        let mut held = Vec::new();
        let mut next = || -> anyhow::Result<u16> {
            let (port, listeners) = free_everywhere(addresses)?;
            held.push(listeners);
            Ok(port)
        };
        Ok(Self {
            smtp: next()?,
            dmtp: next()?,
            submission: next()?,
        })
    }
}

fn free_everywhere(addresses: &[Ipv4Addr]) -> anyhow::Result<(u16, Vec<TcpListener>)> {
    for _ in 0..ATTEMPTS {
        let port = rand::rng().random_range(RANGE);
        let mut listeners = Vec::new();
        for address in addresses {
            match bind(*address, port) {
                Ok(listener) => listeners.push(listener),
                Err(error) if is_taken(&error) => break,
                Err(error) => return Err(error),
            }
        }
        if listeners.len() == addresses.len() {
            return Ok((port, listeners));
        }
    }
    anyhow::bail!("no port is free on all of the loopback addresses that the demo uses")
}

fn bind(address: Ipv4Addr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, port))
        .with_context(|| format!("the demo listens on loopback addresses, and {address} cannot be used here"))
}

fn is_taken(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}
