//! The configuration file that is written: the keys that are not as usual, and no more.

use std::path::Path;

use anyhow::Context as _;
use toml::{Table, Value};

use crate::config::{Acme, Config};
use crate::mail::address::Domain;

/// How it begins, before the domain.
const HEAD: &str = "# Made by `dimed setup ";

/// Whether the configuration at `path` was written here.
pub fn is_ours(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.starts_with(HEAD))
}

/// The text for a configuration; `path` is only named in errors.
pub fn render(config: &Config, domain: &Domain, path: &Path) -> anyhow::Result<String> {
    let whole = Table::try_from(config)?;
    let usual = Table::try_from(Config::for_host(config.server.hostname.clone()))?;
    let mut text = format!(
        "{HEAD}{domain}`. What is not said here is as usual: `dimed config reference` explains every key,\n\
         # and `dimed check` says what is wrong.\n"
    );
    let mut sections: Vec<(&String, &Value)> = whole.iter().collect();
    sections.sort_by_key(|(name, _)| name.as_str() != "server");
    for (name, section) in sections {
        let (Some(section), Some(usual)) = (section.as_table(), usual.get(name).and_then(Value::as_table))
        else {
            continue;
        };
        let is_said = |key: &str, value: &Value| key == "hostname" || usual.get(key) != Some(value);
        let lines: Vec<String> = section
            .iter()
            .filter(|(key, value)| is_said(key, value))
            .map(|(key, value)| line(key, value))
            .collect::<Result<_, _>>()?;
        if !lines.is_empty() {
            text += &format!("\n[{name}]\n{}", lines.concat());
        }
    }
    let read = Config::parse(&text, path).context("these options do not make a configuration")?;
    anyhow::ensure!(
        read == *config,
        "the configuration cannot be written as it is meant"
    );
    Ok(text)
}

fn line(key: &str, value: &Value) -> anyhow::Result<String> {
    let comment = match comment(key) {
        Some(comment) => format!("# {comment}\n"),
        None => String::new(),
    };
    let value = match (key, value) {
        ("acme", Value::Table(acme)) => Value::Table(unusual(acme)?),
        (_, value) => value.clone(),
    };
    Ok(format!("{comment}{key} = {value}\n"))
}

/// What is not as usual with the authority.
fn unusual(acme: &Table) -> anyhow::Result<Table> {
    let usual = Table::try_from(Acme::default())?;
    let said = acme
        .iter()
        .filter(|(key, value)| usual.get(key.as_str()) != Some(*value));
    Ok(said.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn comment(key: &str) -> Option<&'static str> {
    Some(match key {
        "hostname" => "Name of this host in DNS.",
        "data_directory" => "Database, mailboxes, certificates that are made here.",
        "master_key_file" => "Keep a copy of it where the data is not.",
        "certificate" => "For every service: the chain, leaf first, and its private key.",
        "smtp_certificate" => "For SMTP and submission: an authority issues it, and renews it in time.",
        "acme" => "Who that is; {} is Let's Encrypt, which asks on port 80.",
        "postmaster" => "Who gets mail for postmaster and abuse of every domain.",
        "servers" => "Name servers that are asked.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_not_as_usual_is_written() {
        let mut config = Config::for_host("mx.example".parse().unwrap());
        config.tls.smtp_certificate = Some("/var/lib/dimed/tls/smtp-chain.pem".into());
        config.tls.smtp_key = Some("/var/lib/dimed/tls/smtp-key.pem".into());
        config.tls.acme = Some(Acme::default());
        config.listen.smtp = vec!["127.0.0.1:2525".parse().unwrap()];
        let domain: Domain = "example".parse().unwrap();
        let text = render(&config, &domain, Path::new("x")).unwrap();
        let (_, rest) = text.split_once("\n\n").unwrap();
        assert_eq!(
            rest,
            "[server]\n# Name of this host in DNS.\nhostname = \"mx.example\"\n\n[listen]\nsmtp = [\"127.0.0.1:2525\"]\n\n[tls]\n\
             # Who that is; {} is Let's Encrypt, which asks on port 80.\nacme = {}\n\
             # For SMTP and submission: an authority issues it, and renews it in time.\n\
             smtp_certificate = \"/var/lib/dimed/tls/smtp-chain.pem\"\nsmtp_key = \"/var/lib/dimed/tls/smtp-key.pem\"\n"
        );
        assert_eq!(Config::parse(&text, Path::new("x")).unwrap(), config);
    }
}
