//! Ports that somebody else has.

pub mod authority;
pub mod held;

use std::cell::LazyCell;
use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::Context as _;

use crate::cli::check;
use crate::config::Config;
use crate::daemon;

/// Demands that the daemon will be able to listen, as far as that can be known: whoever sets it up may not use ports that it may.
pub fn demand_free(config: &Config) -> anyhow::Result<()> {
    check::demand_apart(config)?;
    if daemon::is_running(&config.server.data_directory) {
        return Ok(());
    }
    // Asked for only where it matters.
    let held = LazyCell::new(held::ports);
    let listen = &config.listen;
    let others = listen.http.iter().chain(&listen.operations).copied();
    for address in listen.for_mail().into_iter().chain(others) {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && held.contains(&address.port()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {
                return Err(daemon::Error::Listen(address, error)).context(
                    "nothing is set up: another program has the port (`ss -ltnp` shows it), or the address is not of this host",
                );
            }
            _ => {}
        }
    }
    Ok(())
}
