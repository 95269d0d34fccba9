//! The log: one line for each event, on standard error or in a file for its class, whether or not it can be written there.
//!
//! Whoever logs makes the line and leaves it to a thread that writes several at once (`queue.rs`). So a disk that is slow, or a
//! pipe that nobody reads, holds up nobody; it costs lines, which are counted.

mod line;
mod output;
mod queue;

use std::io::{self, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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

/// Where this process logs.
static OUTPUTS: OnceLock<Arc<Outputs>> = OnceLock::new();

/// How long the end of a process waits for the last lines: those that nobody reads are lost.
const FLUSHED_WITHIN: Duration = Duration::from_secs(5);

/// For the daemon, which makes the files.
///
/// Errors: [`config::Error::Unreadable`] if one of them cannot be made.
pub fn start(config: &Config) -> Result<(), config::Error> {
    begin(&config.log, Outputs::make(|class| config.log.file(class), tell)?);
    Ok(())
}

/// For a command whose order is logged. It makes no files, which would be those of whoever gives the order: what cannot be
/// written into them goes to standard error.
pub fn start_for_command(config: &Config) {
    match Outputs::existing(|class| config.log.file(class), tell) {
        Ok(outputs) => begin(&config.log, outputs),
        // What was ordered is done all the same, and nobody is left to be told if this fails.
        Err(error) => {
            let _ = writeln!(io::stderr(), "dimed: the log cannot be written: {error}");
        }
    }
}

/// Waits until all lines are written, at the end of a process.
pub fn flush() {
    if let Some(outputs) = OUTPUTS.get() {
        outputs.flush(FLUSHED_WITHIN);
    }
}

fn begin(settings: &Log, outputs: Outputs) {
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    let outputs = Arc::new(outputs);
    let logger = Logger {
        format: settings.format,
        outputs: Arc::clone(&outputs),
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A second call in one process changes nothing; the first log goes on.
    if registry.with(logger).try_init().is_ok() {
        let _ = FILTER.set(handle);
        let _ = OUTPUTS.set(outputs);
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
    outputs: Arc<Outputs>,
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
        let (output, line) = (self.outputs.of(class), line.as_bytes());
        match known.is_some_and(is_about_the_log) {
            true => output.put_surely(line),
            false => output.put(line),
        }
    }
}

/// Few, and what they say would be said by nobody else.
fn is_about_the_log(event: &observe::Event) -> bool {
    [observe::LOG_RESUMED, observe::LOG_FILE_UNUSABLE].contains(&event.name)
}

/// What became of lines, in lines of the log.
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
