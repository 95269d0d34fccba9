//! `dimed serve`, and `dimed reload`, which asks it to read its configuration again.

mod log;
mod reload;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::reload::Reload;
use super::Exit;
use crate::base::observe;
use crate::config::Config;
use crate::daemon::reload::{Control, Request};
use crate::daemon::supervisor::{Sockets, Supervisor};
use crate::daemon::{self, Daemon};
use crate::queue::observer::Nobody;

pub(in crate::cli) use reload::{Arguments as ReloadArguments, ask};

const READY: &str = "ready to serve";

/// Runs the daemon until it is told to stop by SIGTERM or SIGINT. SIGHUP and `dimed reload` have it read the file again, which is
/// at `path`.
pub async fn run(config: Config, path: &Path) -> anyhow::Result<Exit> {
    log::start(&config).context("the log cannot be written")?;
    let supervisor = Arc::new(Supervisor::from_env());
    let sockets = Sockets::from_env().map_err(daemon::Error::from)?;
    let mut signals = Signals::new().context("signals cannot be received")?;
    let data = config.server.data_directory.clone();
    let daemon = Daemon::start_on(config, Arc::new(Nobody), sockets).await?;
    let mut control = listen(&data);
    daemon.keep_alive(&supervisor);
    supervisor.ready(READY);
    let reload = Reload {
        path,
        supervisor: &supervisor,
        reloader: daemon.reloader(),
    };
    while let Some(request) = next(&mut signals, control.as_mut()).await {
        let answer = tokio::select! {
            answer = reload.run() => answer,
            // Nothing has changed then, or all of it.
            () = signals.stop() => break,
        };
        if let Some(request) = request {
            request.answer(&answer).await;
        }
    }
    supervisor
        .stopping("stopping: sessions end after their transactions, and attempts under way are finished");
    drop(control);
    daemon.shutdown().await;
    Ok(Exit::Done)
}

/// For `dimed reload`. Without it mail goes on all the same, and SIGHUP does.
fn listen(data: &Path) -> Option<Control> {
    let listening = Control::listen(data);
    let told = |error: &std::io::Error| {
        tracing::warn!(
            event = observe::DAEMON_CONTROL_UNUSABLE,
            %error,
            "`dimed reload` cannot reach this daemon; SIGHUP does the same"
        );
    };
    listening.inspect_err(told).ok()
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The order to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The next order to read the configuration again, with who waits for the answer, if somebody does; `None` to stop.
async fn next(signals: &mut Signals, control: Option<&mut Control>) -> Option<Option<Request>> {
    let asked = async {
        match control {
            Some(control) => control.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signals.terminate.recv() => None,
        _ = signals.interrupt.recv() => None,
        _ = signals.hangup.recv() => Some(None),
        request = asked => Some(Some(request)),
    }
}

/// Waits until the log is written, at the end of a process.
pub(in crate::cli) fn flush_log() {
    log::flush();
}

/// For commands that do what is to be logged.
pub(in crate::cli) fn start_log(config: &Config) {
    log::start_for_command(config);
}
