//! `dimed signet request`: a user who keeps the keys asks for a signet, on the server or from home, and what came of it.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::read;
use crate::base::time::Timestamp;
use crate::cli::answer::{Answer, check_output, printable};
use crate::cli::context::Context;
use crate::cli::files::{FileName, MAX_OBJECT, Outputs, check_inputs};
use crate::cli::refusal::Refusal;
use crate::cli::submit::{Access, Account, Error, Server, Session};
use crate::cli::{Exit, Misuse, audit, load};
use crate::dime::key_set::{FILE_LABEL, KeySetFile};
use crate::dime::signet::{self, Kind, Signet, verify_org, verify_user};
use crate::dmtp::handed_in::{Fate, MAX_REQUEST, Pending, pack};
use crate::dmtp::name::Name;
use crate::mail::address::Mailbox;
use crate::mail::date::rfc5322;

/// Hand in the signing request of a user who keeps the keys, for an administrator to decide.
///
/// With --submit the user does this at home, without configuration, and logs in as ADDRESS, which is
/// the address of the account and no alias. The session is that of message send, with the command
/// SSR, which other servers do not have. Without --submit an administrator does it on the server.
///
/// A request takes the place of an earlier one of the user, decided or not. Private keys stay with
/// the user; whatever is in the files is public. If the user has a signet, the request must carry a
/// chain of custody from it (dimed signet new-request --rotate).
///
/// With --status nothing is handed in: it says what became of the request in the file, and --out
/// keeps the signet that was made from it. The signet is checked against that of the domain, of
/// which there is no proof but the server's certificate: dimed signet verify --pok demands the keys
/// that DNS lists.
///
/// Exit codes: 0 handed in, or granted; 1 refused, rejected, revoked or replaced, or the server has no
/// such request;
/// 2 usage, or a file that cannot be read or written; 75 the request waits (--status), or the server
/// cannot be reached; 78 the configuration, which is needed without --submit, cannot be used.
///
/// Examples:
///
///     dimed signet request alice@example.org alice-example.org.ssr \
///         --key-set alice-example.org.keyset --submit mx.example.org --password-file login.txt
///     dimed signet request alice@example.org alice-example.org.ssr --status --out alice.signet \
///         --submit mx.example.org --password-file login.txt
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Request {
    /// The user.
    address: Mailbox,
    /// Signing request; - is standard input.
    request: FileName,
    /// Key set for D/MIME 2 that the key in the request has signed.
    #[arg(long, value_name = "FILE")]
    key_set: Option<FileName>,
    /// Server of the user's domain, and its submission port if that is not 587.
    #[arg(long, value_name = "HOST[:PORT]")]
    submit: Option<Server>,
    /// Say what became of the request.
    #[arg(long, requires = "submit", conflicts_with = "key_set")]
    status: bool,
    /// Where to write the signet, once there is one; - is standard output.
    #[arg(long, short, value_name = "FILE", requires = "status")]
    out: Option<FileName>,
    /// Replace an existing file.
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    access: Access,
}

/// Hands in, or asks.
pub async fn run(
    arguments: &Request,
    config: &Path,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let files = [&arguments.request].into_iter().chain(&arguments.key_set);
    check_inputs(files.chain(&arguments.access.password_file))?;
    let request = read::signet_of(Kind::Request, &arguments.request)?;
    let key_set = arguments.key_set.as_ref().map(key_set).transpose()?;
    let key_set = key_set.as_deref();
    match &arguments.submit {
        None => store(arguments, (&request, key_set), config)
            .await?
            .write(json, out)?,
        Some(server) => {
            let user = User::of(arguments, server)?;
            return match arguments.status {
                true => user.ask(arguments, &request, json, out).await,
                false => user.hand_in((&request, key_set), json, out).await,
            };
        }
    }
    Ok(Exit::Done)
}

fn key_set(file: &FileName) -> anyhow::Result<Vec<u8>> {
    let octets = read::binary(&file.read(MAX_OBJECT)?, &[FILE_LABEL]);
    let octets = octets.map_err(|refusal| refusal.of_file(file))?;
    let set = KeySetFile::decode(&octets).map_err(|error| Refusal::new(&error).of_file(file))?;
    Ok(set.value().to_vec())
}

async fn store(
    arguments: &Request,
    (request, key_set): (&Signet, Option<&[u8]>),
    config: &Path,
) -> anyhow::Result<Answer> {
    let address = &arguments.address;
    let context = Context::open(load(config)?).await?;
    let taken = context
        .published()
        .submit_request(address, request, key_set)
        .await;
    taken.with_context(|| format!("the request of {address} cannot be taken"))?;
    audit::signet(&context, address.domain(), "requested");
    Ok(Answer {
        text: format!("{address} has asked for a signet; `dimed signet approve` publishes it.\n"),
        json: json!({
            "result": "waiting",
            "name": address.to_string(),
            "request": fingerprint(request),
        }),
    })
}

fn fingerprint(request: &Signet) -> Option<String> {
    request.ssr_fingerprint().map(|print| print.to_string())
}

/// A user at home.
struct User {
    account: Account,
    password: crate::base::secret::Secret<String>,
}

/// What became of a request.
enum State {
    /// It is granted by this signet.
    Granted(Box<Signet>),
    /// It waits since.
    Waiting(Timestamp),
    /// It was rejected, with a reason.
    Rejected(Timestamp, String),
    /// It was granted, and the signet was taken out of service.
    Revoked(Timestamp),
    /// It was granted, and the user has had other keys since.
    Superseded,
    /// Another one has come after it.
    Replaced,
    /// The user has a signet that was made from another one.
    Other,
    /// It is not there.
    None,
}

impl User {
    fn of(arguments: &Request, server: &Server) -> anyhow::Result<Self> {
        if let Some(file) = &arguments.out {
            file.check_output(arguments.force)?;
        }
        let password = arguments.access.password()?;
        let account = Account {
            submit: server.clone(),
            user: arguments.address.clone(),
            access: arguments.access.clone(),
        };
        Ok(Self { account, password })
    }

    async fn hand_in(
        &self,
        (request, key_set): (&Signet, Option<&[u8]>),
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<Exit> {
        let object = request.encode();
        let octets = pack([&object[..]].into_iter().chain(key_set));
        if octets.len() > MAX_REQUEST {
            let text = format!("request and key set have more than {MAX_REQUEST} octets");
            return Err(Misuse(text).into());
        }
        let handed_in = async {
            let mut session = Session::open(&self.account, &self.password).await?;
            session.hand_in(&octets).await?;
            session.quit().await;
            Ok::<_, Error>(())
        };
        if let Err(error) = handed_in.await {
            return error.conclude(json, out);
        }
        let (user, host) = (&self.account.user, &self.account.submit.host);
        let answer = Answer {
            text: format!("{host} has the request of {user}; --status says what becomes of it.\n"),
            json: json!({
                "result": "waiting",
                "name": user.to_string(),
                "host": host.to_string(),
                "request": fingerprint(request),
            }),
        };
        answer.write(json, out)?;
        Ok(Exit::Done)
    }

    async fn ask(
        &self,
        arguments: &Request,
        request: &Signet,
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<Exit> {
        if let Some(file) = &arguments.out {
            check_output(json, file)?;
        }
        let found = match self.find(request).await {
            Ok(found) => found,
            Err(error) => return error.conclude(json, out),
        };
        let state = self.judge(request, found)?;
        if let (State::Granted(signet), Some(file)) = (&state, &arguments.out) {
            let outputs = Outputs::new(arguments.force).public(file, signet.to_armor().as_bytes());
            outputs.write(out)?;
            if file.is_standard() {
                return Ok(Exit::Done);
            }
        }
        self.tell(arguments, request, &state).write(json, out)?;
        Ok(match state {
            State::Granted(_) => Exit::Done,
            State::Waiting(_) => Exit::TryLater,
            State::Rejected(..)
            | State::Revoked(_)
            | State::Superseded
            | State::Replaced
            | State::Other
            | State::None => Exit::No,
        })
    }

    /// Asks for the user's signet and the domain's, and then for the request.
    async fn find(&self, request: &Signet) -> Result<Found, Error> {
        let user = &self.account.user;
        let mut session = Session::open(&self.account, &self.password).await?;
        let mut found = Found::default();
        let is_ours = |object: &Vec<u8>| {
            let signet = Signet::decode(object).ok();
            signet.is_some_and(|signet| signet.ssr_fingerprint() == request.ssr_fingerprint())
        };
        if let Ok(name) = Name::try_from(user) {
            let signet = session.signet(&name).await?;
            found.has_signet = signet.is_some();
            match signet.filter(is_ours) {
                Some(object) => {
                    let domain = Name::Organization(user.domain().clone());
                    found.signets = session.signet(&domain).await?.map(|domain| (object, domain));
                }
                None => found.was_granted = session.history(user).await?.iter().any(is_ours),
            }
        }
        if found.signets.is_none() && !found.was_granted {
            found.pending = session.pending().await?;
        }
        session.quit().await;
        Ok(found)
    }

    fn judge(&self, request: &Signet, found: Found) -> anyhow::Result<State> {
        if let Some((object, domain)) = &found.signets {
            let signet = self
                .verify(object, domain)
                .map_err(|error| Refusal::new(&error))?;
            return Ok(State::Granted(Box::new(signet)));
        }
        if found.was_granted {
            return Ok(State::Superseded);
        }
        Ok(match found.pending {
            None if found.has_signet => State::Other,
            None => State::None,
            Some(pending) if Some(pending.request) != request.ssr_fingerprint() => match pending.fate {
                // Of an earlier one it is not known what came of it.
                Fate::Revoked(_) => State::None,
                Fate::Waiting | Fate::Rejected(..) => State::Replaced,
            },
            Some(pending) => match pending.fate {
                Fate::Waiting => State::Waiting(pending.submitted_at),
                Fate::Rejected(at, reason) => State::Rejected(at, reason),
                Fate::Revoked(at) => State::Revoked(at),
            },
        })
    }

    /// The user's signet, under the domain's as the server has it.
    fn verify(&self, object: &[u8], domain: &[u8]) -> Result<Signet, signet::Error> {
        let (signet, domain) = (Signet::decode(object)?, Signet::decode(domain)?);
        let key = domain.signing_key()?;
        let user = &self.account.user;
        let organization = verify_org(&domain, &[key], user.domain())?;
        Ok(verify_user(&signet, &organization, None, user)?.signet().clone())
    }

    fn tell(&self, arguments: &Request, request: &Signet, state: &State) -> Answer {
        let (user, host) = (&self.account.user, &self.account.submit.host);
        let secs = |at: &Timestamp| json!(at.unix_secs());
        let (result, text, more): (_, String, Option<(&str, Value)>) = match state {
            State::Granted(_) => {
                let file = arguments.out.as_ref();
                let kept = file.map_or(String::new(), |file| format!(" It is in {file}."));
                let file = file.map(|file| ("file", json!(file.to_string())));
                ("granted", format!("{user} has the signet asked for.{kept}"), file)
            }
            State::Waiting(since) => {
                let text = format!(
                    "The request of {user} waits for an administrator since {}.",
                    rfc5322(*since)
                );
                ("waiting", text, Some(("submitted", secs(since))))
            }
            State::Rejected(at, reason) => {
                let text = format!(
                    "The request of {user} was rejected on {}: {}",
                    rfc5322(*at),
                    printable(reason)
                );
                ("rejected", text, Some(("rejected", secs(at))))
            }
            State::Revoked(at) => {
                let text = format!(
                    "The request of {user} was granted, and the signet was taken out of service on {}.",
                    rfc5322(*at)
                );
                ("revoked", text, Some(("revoked", secs(at))))
            }
            State::Superseded => {
                let text =
                    format!("The request of {user} was granted; another signet has taken its place since.");
                ("superseded", text, None)
            }
            State::Other => {
                let text =
                    format!("{host} has no such request; the signet of {user} was made from another one.");
                ("other", text, None)
            }
            State::Replaced => {
                let text = format!("{host} has another request of {user}, which came after this one.");
                ("replaced", text, None)
            }
            State::None => {
                let text = format!("{host} has no request of {user}, and no signet made from it.");
                ("none", text, None)
            }
        };
        let mut json = json!({
            "result": result,
            "name": user.to_string(),
            "host": host.to_string(),
            "request": fingerprint(request),
        });
        if let Some((name, value)) = more {
            json[name] = value;
        }
        if let State::Rejected(_, reason) = state {
            json["reason"] = json!(reason);
        }
        Answer {
            text: text + "\n",
            json,
        }
    }
}

/// What a server says of a user's request.
#[derive(Default)]
struct Found {
    /// The user's and the domain's, if they are over the keys in it.
    signets: Option<(Vec<u8>, Vec<u8>)>,
    /// The user has a signet.
    has_signet: bool,
    /// One before the present one was made from it.
    was_granted: bool,
    pending: Option<Pending>,
}
