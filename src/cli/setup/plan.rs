//! What is to be set up: from the options, from what is there, and from answers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::questions::Questions;
use super::{Arguments, Tls, file};
use crate::accounts;
use crate::base::secret::Secret;
use crate::cli::account::add;
use crate::cli::files::FileName;
use crate::cli::reference::SAMPLE;
use crate::cli::{Misuse, load, traces};
use crate::config::{self, Config, Error, LETS_ENCRYPT, Origin, PasswordsAt};
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::store::fold;

/// Everything that the steps need to know.
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// Its text, if it is not in the file yet.
    pub text: Option<String>,
    /// The first account, if somebody has said.
    pub account: Option<Mailbox>,
    /// Its password.
    pub password: Password,
}

/// Where the password of the first account comes from.
pub enum Password {
    /// It was given.
    Given(Secret<String>),
    /// It is typed, when it is needed.
    Typed,
    /// Nobody has said, and nobody can be asked.
    Unknown,
}

/// The data directory that will be used.
pub fn data_directory(arguments: &Arguments, path: &Path) -> anyhow::Result<PathBuf> {
    match (&arguments.data_directory, existing(path)?) {
        (Some(folder), _) => Ok(std::path::absolute(folder)?),
        (None, Some(config)) => Ok(config.server.data_directory),
        (None, None) => Ok(Config::for_host(arguments.domain.clone()).server.data_directory),
    }
}

/// The plan. Nothing is changed by making it. `types` says that somebody can type a password.
pub fn make(
    arguments: &Arguments,
    path: &Path,
    types: bool,
    mut questions: Option<&mut Questions<'_>>,
) -> anyhow::Result<Plan> {
    let domain = &arguments.domain;
    if let Some(account) = &arguments.account {
        demand_fit(account, domain)?;
    }
    let password = password(arguments, types)?;
    if let Some(config) = existing(path)? {
        demand_same(arguments, &config, path)?;
        demand_whole(arguments, &config, path, true)?;
        let (account, password) = match traces::is_without_database(&config) {
            // Nobody has an account yet.
            true => {
                let account = first_account(arguments, &mut questions)?;
                let password = first_password(&config, &account, password, questions)?;
                (Some(account), password)
            }
            false => (arguments.account.clone(), password),
        };
        return Ok(Plan {
            config,
            text: None,
            account,
            password,
        });
    }
    let (config, account) = fresh(arguments, questions.as_deref_mut())?;
    let text = file::render(&config, domain, path)?;
    demand_whole(arguments, &config, path, false)?;
    let password = first_password(&config, &account, password, questions)?;
    Ok(Plan {
        config,
        text: Some(text),
        account: Some(account),
        password,
    })
}

fn demand_whole(
    arguments: &Arguments,
    config: &Config,
    path: &Path,
    is_written: bool,
) -> Result<(), traces::Gone> {
    match arguments.new {
        true => Ok(()),
        false => traces::demand_whole(config, path, is_written),
    }
}

/// An address that a user of the domain can have, which has DIME.
fn demand_fit(account: &Mailbox, domain: &Domain) -> Result<(), Misuse> {
    if account.domain() != domain {
        return Err(Misuse(format!("{account} is not in {domain}")));
    }
    let has_form = matches!(Name::parse(&fold(account)), Ok(Name::User(_)));
    match has_form && account.local() != "*" {
        true => Ok(()),
        false => Err(Misuse(format!(
            "{account} cannot be the address of a user in a domain with DIME: choose one without quotes, of letters and digits of \
             ASCII, dots and signs such as - + _"
        ))),
    }
}

/// Its password, now, so that nothing has been made yet if it cannot be used. Where Dovecot has the passwords, there is none to give.
fn first_password(
    config: &Config,
    account: &Mailbox,
    password: Password,
    questions: Option<&mut Questions<'_>>,
) -> anyhow::Result<Password> {
    if matches!(config.accounts.authentication, PasswordsAt::Dovecot(_)) {
        return Ok(password);
    }
    match password {
        Password::Unknown => {
            Err(Misuse(format!("say the password of {account} with --password-file")).into())
        }
        Password::Typed => {
            if let Some(questions) = questions {
                questions.tell(&format!("The password of {account}:"))?;
            }
            Ok(Password::Given(usable(add::password(None)?)?))
        }
        given @ Password::Given(_) => Ok(given),
    }
}

/// What the configuration names can be used, as far as it is there: the folder for the data, the master key, what DNS is judged by.
pub fn demand_usable(config: &Config) -> anyhow::Result<()> {
    let data = &config.server.data_directory;
    if let Some(file) = data
        .ancestors()
        .find(|place| place.exists())
        .filter(|place| !place.is_dir())
    {
        let text = format!(
            "{} cannot be the data directory: {} is no folder",
            data.display(),
            file.display()
        );
        return Err(Misuse(text).into());
    }
    let is_made = matches!(config::find_master_key(config), Origin::File(key) if !key.exists());
    if !is_made {
        config::load_master_key(config).context("the master key cannot be used")?;
    }
    config.dns.resolver()?;
    Ok(())
}

fn password(arguments: &Arguments, types: bool) -> anyhow::Result<Password> {
    let Some(file) = &arguments.password_file else {
        return Ok(match types {
            true => Password::Typed,
            false => Password::Unknown,
        });
    };
    Ok(Password::Given(password_in(file)?))
}

/// The password in a file, if it follows the rules.
pub fn password_in(file: &FileName) -> anyhow::Result<Secret<String>> {
    usable(add::password(Some(file))?).with_context(|| format!("{file} cannot be used"))
}

/// A password that follows the rules.
pub fn usable(password: Secret<String>) -> anyhow::Result<Secret<String>> {
    accounts::check_password(&password)?;
    Ok(password)
}

/// The configuration that is there.
fn existing(path: &Path) -> anyhow::Result<Option<Config>> {
    match std::fs::read_to_string(path) {
        // Whoever has put the sample there and changed nothing has not configured anything.
        Ok(text) if text == SAMPLE => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Ok(_) => load(path).map(Some),
        Err(source) => {
            let path = path.to_owned();
            Err(Error::Unreadable { path, source }).context("the configuration cannot be used")
        }
    }
}

/// A configuration that somebody may have written is not changed.
fn demand_same(arguments: &Arguments, config: &Config, path: &Path) -> anyhow::Result<()> {
    let mut wanted = config.clone();
    say(arguments, &mut wanted)?;
    if let Some(tls) = tls(arguments)? {
        secure(arguments, tls, &mut wanted)?;
    }
    if wanted != *config {
        let path = path.display();
        let text =
            format!("{path} says something else than these options: change it there, or leave them out");
        return Err(Misuse(text).into());
    }
    Ok(())
}

/// A new configuration, and the first account.
fn fresh(
    arguments: &Arguments,
    mut questions: Option<&mut Questions<'_>>,
) -> anyhow::Result<(Config, Mailbox)> {
    let domain = &arguments.domain;
    let hostname = match (&arguments.hostname, &mut questions) {
        (Some(hostname), _) => hostname.clone(),
        (None, Some(questions)) => questions.ask("Name of this host in DNS", usual_host(domain)?)?,
        (None, None) => usual_host(domain)?,
    };
    let account = first_account(arguments, &mut questions)?;
    let tls = match (tls(arguments)?, &mut questions) {
        (Some(tls), _) => tls,
        (None, Some(questions)) => {
            questions.ask("Certificate: acme, or self-signed for trials", Tls::Acme)?
        }
        (None, None) => Tls::Acme,
    };
    if tls == Tls::Acme {
        agree(arguments, &mut questions)?;
    }
    let mut config = Config::for_host(hostname);
    say(arguments, &mut config)?;
    secure(arguments, tls, &mut config)?;
    Ok((config, account))
}

/// The first account, as the options or somebody says.
fn first_account(
    arguments: &Arguments,
    questions: &mut Option<&mut Questions<'_>>,
) -> anyhow::Result<Mailbox> {
    let domain = &arguments.domain;
    match (&arguments.account, questions) {
        (Some(account), _) => Ok(account.clone()),
        (None, Some(questions)) => asked_account(questions, domain),
        (None, None) => {
            let text = format!("say the first account with --account, such as postmaster@{domain}");
            Err(Misuse(text).into())
        }
    }
}

fn usual_host(domain: &Domain) -> anyhow::Result<Domain> {
    let host = Domain::parse(&format!("mx.{domain}"));
    Ok(host.map_err(|_| Misuse("say the name of this host with --hostname".into()))?)
}

/// An address in the domain.
pub fn asked_account(questions: &mut Questions<'_>, domain: &Domain) -> anyhow::Result<Mailbox> {
    let question = format!("First account, in {domain}");
    let default = Mailbox::parse(&format!("postmaster@{domain}"))?;
    loop {
        let account = questions.ask(&question, default.clone())?;
        match demand_fit(&account, domain) {
            Ok(()) => return Ok(account),
            Err(why) => questions.tell(&format!("{why}."))?,
        }
    }
}

/// Nobody agrees to terms without knowing.
fn agree(arguments: &Arguments, questions: &mut Option<&mut Questions<'_>>) -> anyhow::Result<()> {
    if arguments.yes {
        return Ok(());
    }
    let authority = arguments.acme_directory.as_deref().unwrap_or(LETS_ENCRYPT);
    let agreed = match questions {
        Some(questions) => questions.agree(&format!(
            "Do you agree to the terms of the authority at {authority}?"
        ))?,
        None => false,
    };
    match agreed {
        true => Ok(()),
        false => {
            let text = "the authority issues certificates to those who agree to its terms: say --yes, or choose another --tls";
            Err(Misuse(text.into()).into())
        }
    }
}

/// Which kind of certificate the options mean.
fn tls(arguments: &Arguments) -> anyhow::Result<Option<Tls>> {
    let is_acme = arguments.acme_directory.is_some()
        || arguments.acme_ca.is_some()
        || arguments.challenge.is_some()
        || !arguments.listen_acme.is_empty();
    let meant = match (arguments.tls, arguments.cert.is_some(), is_acme) {
        (Some(Tls::Files) | None, true, false) => Some(Tls::Files),
        (Some(Tls::Acme) | None, false, true) => Some(Tls::Acme),
        (Some(Tls::Files), false, false) => {
            return Err(Misuse("with --tls files, name them with --cert and --key".into()).into());
        }
        (tls, false, false) => tls,
        _ => {
            let text = "--cert and --key belong to --tls files, and options about ACME to --tls acme";
            return Err(Misuse(text.into()).into());
        }
    };
    Ok(meant)
}

/// What the options say, but for certificates.
fn say(arguments: &Arguments, config: &mut Config) -> anyhow::Result<()> {
    if let Some(hostname) = &arguments.hostname {
        config.server.hostname = hostname.clone();
    }
    if let Some(folder) = &arguments.data_directory {
        config.server.data_directory = std::path::absolute(folder)?;
    }
    if let Some(file) = &arguments.master_key_file {
        config.server.master_key_file = std::path::absolute(file)?;
    }
    if let Some(postmaster) = &arguments.postmaster {
        config.accounts.postmaster = Some(postmaster.clone());
    }
    if let Some(file) = &arguments.trust_anchors {
        config.dns.trust_anchors = Some(std::path::absolute(file)?);
    }
    let listen = &mut config.listen;
    for (said, list) in [
        (&arguments.listen_smtp, &mut listen.smtp),
        (&arguments.listen_dmtp, &mut listen.dmtp),
        (&arguments.listen_submission, &mut listen.submission),
        (&arguments.listen_submissions, &mut listen.submissions),
        (&arguments.listen_operations, &mut listen.operations),
        (&arguments.dns_server, &mut config.dns.servers),
    ] {
        if !said.is_empty() {
            list.clone_from(said);
        }
    }
    Ok(())
}

/// What they say of certificates.
fn secure(arguments: &Arguments, tls: Tls, config: &mut Config) -> anyhow::Result<()> {
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
    let section = &mut config.tls;
    match tls {
        Tls::Files => {
            section.certificate = absolute(&arguments.cert)?;
            section.key = absolute(&arguments.key)?;
        }
        Tls::Acme => {
            let folder = config.server.certificates();
            section.smtp_certificate = Some(folder.join("smtp-chain.pem"));
            section.smtp_key = Some(folder.join("smtp-key.pem"));
            let acme = section.acme.get_or_insert_default();
            if let Some(directory) = &arguments.acme_directory {
                acme.directory.clone_from(directory);
            }
            if let Some(challenge) = arguments.challenge {
                acme.challenge = challenge;
            }
            if !arguments.listen_acme.is_empty() {
                acme.listen.clone_from(&arguments.listen_acme);
            }
            if arguments.acme_ca.is_some() {
                acme.root_certificates = absolute(&arguments.acme_ca)?;
            }
        }
        Tls::SelfSigned => {
            (section.certificate, section.key) = (None, None);
            (section.smtp_certificate, section.smtp_key) = (None, None);
            section.acme = None;
        }
    }
    Ok(())
}

impl std::fmt::Display for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Acme => "acme",
            Self::Files => "files",
            Self::SelfSigned => "self-signed",
        })
    }
}

/// As an answer: files can only be named by options.
impl std::str::FromStr for Tls {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "acme" => Ok(Self::Acme),
            "self-signed" => Ok(Self::SelfSigned),
            _ => Err("neither acme nor self-signed (files are named with --cert and --key)"),
        }
    }
}
