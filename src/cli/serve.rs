//! `dimed serve`.

mod log;

use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use crate::base::observe;
use crate::config::{Config, LogFormat};
use crate::daemon::Daemon;
use crate::queue::observer::Nobody;

/// Runs the daemon until it is told to stop by SIGTERM or SIGINT. SIGHUP changes nothing: there is no reload yet.
pub async fn run(config: Config) -> anyhow::Result<Exit> {
    start_log(&config);
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be received")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be received")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be received")?;
    let daemon = Daemon::start(config, Arc::new(Nobody)).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => tracing::warn!(
                event = observe::DAEMON_HANGUP_IGNORED,
                "SIGHUP changes nothing: restart the daemon to have it read its files again"
            ),
        }
    }
    daemon.shutdown().await;
    Ok(Exit::Done)
}

/// Log lines go to standard error, where systemd and people look for them. Also for commands that do what is to be logged.
/// A line that cannot be written there must not end what it is about: the subscriber itself would panic over it.
pub(in crate::cli) fn start_log(config: &Config) {
    let level = tracing::Level::from(config.log.level);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(format!("dimed={level}"))
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(log::line);
    // A second call in one process changes nothing; the first log goes on.
    let _ = match config.log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
}
