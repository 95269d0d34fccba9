//! What a running daemon cannot change: what is bound, opened, or shared by everything that goes on.

use crate::config::Config;

/// Puts what cannot change back as it is, and returns the keys that say something else and need a restart.
pub fn keep(running: &Config, read: &mut Config) -> Vec<&'static str> {
    let mut kept = Kept::default();
    let (is, new) = (&running.server, &mut read.server);
    kept.keep("server.hostname", &is.hostname, &mut new.hostname);
    kept.keep(
        "server.data_directory",
        &is.data_directory,
        &mut new.data_directory,
    );
    kept.keep(
        "server.master_key_file",
        &is.master_key_file,
        &mut new.master_key_file,
    );
    let (is, new) = (&running.listen, &mut read.listen);
    kept.keep("listen.smtp", &is.smtp, &mut new.smtp);
    kept.keep("listen.dmtp", &is.dmtp, &mut new.dmtp);
    kept.keep("listen.submission", &is.submission, &mut new.submission);
    kept.keep("listen.submissions", &is.submissions, &mut new.submissions);
    kept.keep("listen.http", &is.http, &mut new.http);
    kept.keep("listen.operations", &is.operations, &mut new.operations);
    kept.keep("listen.proxied", &is.proxied, &mut new.proxied);
    kept.keep("listen.proxies", &is.proxies, &mut new.proxies);
    let (is, new) = (&running.limits, &mut read.limits);
    kept.keep("limits.connections", &is.connections, &mut new.connections);
    let (is, new) = (&running.queue, &mut read.queue);
    kept.keep("queue.runners", &is.runners, &mut new.runners);
    kept.keep(
        "queue.per_destination",
        &is.per_destination,
        &mut new.per_destination,
    );
    kept.keep("queue.lease_secs", &is.lease_secs, &mut new.lease_secs);
    kept.keep("queue.takeover_secs", &is.takeover_secs, &mut new.takeover_secs);
    kept.log(running, read);
    kept.outbound(running, read);
    kept.keep("[dns]", &running.dns, &mut read.dns);
    kept.keep("[storage]", &running.storage, &mut read.storage);
    kept.keep("[dmime]", &running.dmime, &mut read.dmime);
    kept.keep("[delivery]", &running.delivery, &mut read.delivery);
    kept.keep("[local]", &running.local, &mut read.local);
    kept.0
}

#[derive(Default)]
struct Kept(Vec<&'static str>);

impl Kept {
    fn keep<T: Clone + PartialEq>(&mut self, key: &'static str, running: &T, read: &mut T) {
        if running != read {
            read.clone_from(running);
            self.0.push(key);
        }
    }

    /// The level is asked for each line.
    fn log(&mut self, running: &Config, read: &mut Config) {
        let mut is = running.log.clone();
        is.level = read.log.level;
        self.keep("[log] without level", &is, &mut read.log);
    }

    /// Transports are looked at for each message; everything else there is in the sessions that are kept.
    fn outbound(&mut self, running: &Config, read: &mut Config) {
        let transports = std::mem::take(&mut read.outbound.transports);
        let mut is = running.outbound.clone();
        is.transports = Vec::new();
        self.keep("[outbound] without transports", &is, &mut read.outbound);
        read.outbound.transports = transports;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Config {
        Config::parse(text, Path::new("dimed.toml")).unwrap()
    }

    #[test]
    fn what_needs_a_restart_stays_and_is_named_and_the_rest_is_taken() {
        let running = read("[server]\nhostname = \"mx.example\"\n");
        let mut other = read(
            "[server]\nhostname = \"mx2.example\"\nshutdown_grace_secs = 5\n\
             [listen]\nhttp = [\"127.0.0.1:8080\"]\n\
             [limits]\nconnections = 5\nrecipients = 7\n\
             [outbound]\nsmtp_port = 2525\ntransports = [{ domains = [\"*\"], host = \"smart.example\" }]\n\
             [log]\nlevel = \"debug\"\nformat = \"json\"\n",
        );
        let named = keep(&running, &mut other);
        assert_eq!(
            named,
            [
                "server.hostname",
                "listen.http",
                "limits.connections",
                "[log] without level",
                "[outbound] without transports"
            ]
        );
        let mut expected = running.clone();
        expected.server.shutdown_grace_secs = 5;
        expected.limits.recipients = other.limits.recipients;
        expected.outbound.transports = other.outbound.transports.clone();
        expected.log.level = other.log.level;
        assert_eq!(other, expected);
        assert_eq!(
            (other.limits.recipients.get(), other.outbound.transports.len()),
            (7, 1)
        );
        assert!(keep(&running, &mut running.clone()).is_empty());
    }
}
