//! `mailq`: what waits, in the form that people know from Sendmail and Postfix.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::options::{Failure, Status};
use crate::base::time::Timestamp;
use crate::cli::answer::printable;
use crate::cli::context::Context;
use crate::cli::exit;
use crate::config::{self, Config};
use crate::mail::date::rfc5322;
use crate::store::{QueueEntry, QueueState};

/// Entries read at once.
const PAGE: usize = 500;

const HEAD: &str = "-Queue ID-                 --Size-- ---Arrival Time---- -Sender/Recipient-------";

/// Lists the queue on standard output.
pub async fn run(named: Option<&Path>) -> Result<Status, Failure> {
    let context = open(named).await?;
    let dropped = context.config.local.drop_folder();
    let dropped = dropped.map_or(0, |folder| waiting(&folder));
    let listed = list(&context, &mut io::stdout().lock(), dropped).await;
    match listed {
        // Whoever read it has seen enough.
        Err(error)
            if error.downcast_ref::<io::Error>().map(io::Error::kind) == Some(ErrorKind::BrokenPipe) =>
        {
            Ok(Status::Ok)
        }
        Err(error) => Err(unavailable(&error)),
        Ok(()) => Ok(Status::Ok),
    }
}

/// The installation, for those who may use its queue.
pub(super) async fn open(named: Option<&Path>) -> Result<Context, Failure> {
    let path = named.unwrap_or(Path::new(config::DEFAULT_PATH));
    let config = Config::load(path).map_err(|error| match &error {
        config::Error::Unreadable { source, .. } if source.kind() == ErrorKind::PermissionDenied => refused(),
        _ => Failure::new(
            Status::Config,
            format!("the configuration cannot be used: {error}"),
        ),
    })?;
    Context::open(config).await.map_err(|error| unavailable(&error))
}

/// Names of senders and recipients are encrypted at rest, so not everybody is told them here, either.
fn refused() -> Failure {
    let text = "only root and the user of dimed may use the queue: it names senders and recipients";
    Failure::new(Status::NoPerm, text)
}

fn unavailable(error: &anyhow::Error) -> Failure {
    let is_denied = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    match error.chain().any(is_denied) {
        true => refused(),
        false => Failure::new(Status::Unavailable, exit::told(error)),
    }
}

/// Files in the drop folder that the daemon has not picked up.
fn waiting(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

async fn list(context: &Context, out: &mut dyn Write, dropped: usize) -> anyhow::Result<()> {
    let mut queue = Printed::default();
    let mut last = None;
    loop {
        let page = context.store.list(last, PAGE).await?;
        for entry in &page {
            queue.entry(entry, out)?;
        }
        last = page.last().map(|entry| entry.position);
        if page.len() < PAGE {
            break;
        }
    }
    queue.finish(out)?;
    if dropped > 0 {
        writeln!(
            out,
            "{dropped} more in the drop folder, for the daemon to pick up."
        )?;
    }
    Ok(())
}

/// What has been printed.
#[derive(Default)]
struct Printed {
    message: Option<crate::base::id::QueueId>,
    messages: usize,
    octets: u64,
}

impl Printed {
    /// Recipients of a message follow each other.
    fn entry(&mut self, entry: &QueueEntry, out: &mut dyn Write) -> io::Result<()> {
        if self.message != Some(entry.message) {
            let head = if self.messages == 0 { HEAD } else { "" };
            writeln!(out, "{head}")?;
            self.message = Some(entry.message);
            self.messages += 1;
            self.octets += entry.size_bytes;
            let id = format!("{}{}", entry.message, mark(entry));
            let sender = match entry.reverse_path.to_string() {
                none if none.is_empty() => String::from("MAILER-DAEMON"),
                sender => printable(&sender),
            };
            let time = time(entry.accepted_at);
            writeln!(out, "{id:<26} {:>8} {time} {sender}", entry.size_bytes)?;
        }
        if let Some(note) = &entry.last_note {
            writeln!(out, "({})", printable(note))?;
        }
        writeln!(out, "{:55} {}", "", printable(&entry.forward_path.to_string()))
    }

    fn finish(self, out: &mut dyn Write) -> io::Result<()> {
        match self.messages {
            0 => writeln!(out, "Mail queue is empty"),
            count => {
                let requests = if count == 1 { "Request" } else { "Requests" };
                let kbytes = self.octets.div_ceil(1024);
                writeln!(out, "\n-- {kbytes} Kbytes in {count} {requests}.")
            }
        }
    }
}

/// `*` for one that is being tried, `!` for one that is held.
fn mark(entry: &QueueEntry) -> &'static str {
    match (entry.in_progress, entry.state) {
        (true, _) => "*",
        (false, QueueState::Held | QueueState::Quarantined) => "!",
        (false, QueueState::Waiting) => "",
    }
}

/// Day, date and time in UTC, without the year.
fn time(at: Timestamp) -> String {
    let whole = rfc5322(at).replace(',', "");
    match whole.split(' ').collect::<Vec<_>>()[..] {
        [weekday, day, month, _, time, ..] => format!("{weekday} {month} {day:>2} {time}"),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_long_as_ever() {
        assert_eq!(time(Timestamp(784_111_777_000)), "Sun Nov  6 08:49:37");
        assert_eq!(time(Timestamp(1_709_164_800_000)), "Thu Feb 29 00:00:00");
    }
}
