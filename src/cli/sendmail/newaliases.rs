//! `newaliases`: the daemon reads the file of aliases by itself, so what is left is to say whether it can.

use std::io::{self, ErrorKind, Write as _};

use super::options::{Failure, Status};
use super::place::Place;
use crate::accounts::Loaded;
use crate::config::LocalMail;

/// Reads the file, and says how many aliases it has and what is wrong with it.
pub fn run(place: &Place) -> Result<Status, Failure> {
    let (local, host) = match &place.config {
        Some(config) => (config.local.clone(), config.host_names().origin),
        None => (LocalMail::default(), place.host.clone()),
    };
    let Some(path) = local.aliases_file() else {
        let text = "[local] names no file of aliases";
        return Err(Failure::new(Status::Unavailable, text));
    };
    let loaded = Loaded::read(&path, &host).map_err(|error| {
        let status = match error.kind() {
            ErrorKind::PermissionDenied => Status::NoPerm,
            ErrorKind::NotFound => Status::Config,
            _ => Status::DataErr,
        };
        Failure::new(status, format!("{}: {error}", path.display()))
    })?;
    let told: Vec<&str> = loaded
        .wrong
        .iter()
        .chain(&loaded.refused)
        .map(String::as_str)
        .collect();
    let told = told.join("\n");
    if !loaded.wrong.is_empty() {
        let end = "the daemon goes on with the aliases that it has; one that starts now uses the other lines";
        return Err(Failure::new(Status::DataErr, format!("{told}\n{end}")));
    }
    if !told.is_empty() {
        let _ = writeln!(io::stderr(), "newaliases: {told}\nthe rest is in use");
    }
    let (count, longest) = (loaded.entries.len(), loaded.longest());
    // Nobody may be left to be told.
    let _ = writeln!(
        io::stdout(),
        "{}: {count} aliases, longest {longest} addresses",
        path.display()
    );
    Ok(Status::Ok)
}
