//! `newaliases`: the daemon reads the file of aliases by itself, so what is left is to say whether it can.

use std::io::{self, ErrorKind, Write as _};

use super::options::{Failure, Status};
use super::place::Place;
use crate::accounts::{AliasFile, HostNames, Loaded, in_circles};
use crate::cli::context::Context;
use crate::config::LocalMail;

/// Reads the file, and says how many aliases it has and what is wrong with it.
pub async fn run(place: &Place) -> Result<Status, Failure> {
    let local = match &place.config {
        Some(config) => config.local.clone(),
        None => LocalMail::default(),
    };
    let names = names(place);
    let Some(path) = local.aliases_file() else {
        let text = "[local] names no file of aliases";
        return Err(Failure::new(Status::Unavailable, text));
    };
    let loaded = Loaded::read(&path, &names.origin).map_err(|error| {
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
    for idle in idle(place, &loaded, &names).await {
        let _ = writeln!(io::stderr(), "newaliases: {idle}");
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

/// The names of this host, as far as they are known.
fn names(place: &Place) -> HostNames {
    match &place.config {
        Some(config) => config.host_names(),
        None => HostNames {
            origin: place.host.clone(),
            hostname: place.host.clone(),
            aliases: AliasFile::new(None),
            fallback: None,
        },
    }
}

/// What is said of aliases that get nobody any mail. Not everybody may look who has an account.
async fn idle(place: &Place, loaded: &Loaded, names: &HostNames) -> Vec<String> {
    match by_accounts(place, loaded).await {
        Some(said) => said,
        None => loaded.circles(names).into_iter().map(in_circles).collect(),
    }
}

async fn by_accounts(place: &Place, loaded: &Loaded) -> Option<Vec<String>> {
    let config = place.config.clone()?;
    if !config.server.database().exists() {
        return None;
    }
    let context = Context::open(config).await.ok()?;
    context.accounts().idle_aliases(loaded).await.ok()
}
