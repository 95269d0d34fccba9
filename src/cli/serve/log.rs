//! The log: one line for each event, on standard error or in a file for its class, whether or not it can be written there.

mod line;
mod output;

use std::sync::OnceLock;

use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use self::line::Fields;
use self::output::{Outputs, Written};
use crate::base::observe::{self, Class};
use crate::config::{self, Config, Log, LogFormat, LogLevel};

/// What is logged by this process now.
static FILTER: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// For the daemon, which makes the files.
///
/// Errors: [`config::Error::Unreadable`] if one of them cannot be made.
pub fn start(config: &Config) -> Result<(), config::Error> {
    let outputs = Outputs::make(|class| config.log.file(class))?;
    begin(&config.log, outputs);
    Ok(())
}

/// For a command whose order is logged. It makes no files, which would be those of whoever gives the order: what cannot be
/// written into them goes to standard error.
pub fn start_for_command(config: &Config) {
    begin(&config.log, Outputs::existing(|class| config.log.file(class)));
}

fn begin(settings: &Log, outputs: Outputs) {
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    let logger = Logger {
        format: settings.format,
        outputs,
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A second call in one process changes nothing; the first log goes on.
    if registry.with(logger).try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// From now on lines of that level and above are logged.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = FILTER.get() {
        // It fails only after the log has ended.
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("dimed={}", tracing::Level::from(level)))
}

/// Writes events.
struct Logger {
    format: LogFormat,
    outputs: Outputs,
}

impl<S: Subscriber> Layer<S> for Logger {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let known = fields.event().and_then(observe::Event::named);
        let class = known.map_or(Class::Operations, |event| event.class);
        let level = event.metadata().level();
        let line = match self.format {
            LogFormat::Json => fields.json(&line::now(), level, class),
            LogFormat::Text => fields.text(&line::now(), level, class),
        };
        tell(class, &self.outputs.write(class, line.as_bytes()));
    }
}

/// What became of lines, in lines of the log: nothing is held while they are written.
fn tell(class: Class, written: &Written) {
    if written.lost > 0 {
        tracing::warn!(
            event = observe::LOG_RESUMED,
            lost = written.lost,
            "the log can be written again; lines of it are lost"
        );
    }
    if let Some(error) = &written.trouble {
        tracing::error!(
            event = observe::LOG_FILE_UNUSABLE,
            class = class.target(),
            %error,
            "a file of the log cannot be made again; its lines go on into the one that was open"
        );
    }
}
