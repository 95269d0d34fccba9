//! `dimed signet verify`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::read;
use super::report::{self, Judgement, custody_name, level_name};
use crate::base::encoding::{base64_decode_unpadded, base64_unpadded};
use crate::base::time::{Clock, SystemClock};
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::files::{FileName, check_inputs};
use crate::cli::refusal::Refusal;
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::signet::{Checked, Custody, Error, Kind, Signet, check_org, check_request, check_user};

/// Verify the signatures of a signet or signing request.
///
/// What an object is verified with depends on what it is:
///
///   organizational signet  --pok: the primary keys in the domain's management record. Without one
///                          nothing vouches for the signet, and it is not valid.
///   user signet            --org: the signet of the organization; with --pok that one is verified
///                          too, without it its own primary key is trusted, as you named the file.
///                          --previous: the user's signet before this one, for custody.
///   signing request        nothing; --previous for custody, verified too if --org is given.
///
/// Every signature up to the highest is verified, the user's own too; fields above it count as absent.
/// A custody signature without --previous leaves custody "unproven", which is valid. --name demands a
/// signed identifier that is this domain or address.
///
/// Exit codes: 0 valid; 1 not valid, and the name of the error says why; 2 usage.
///
/// Examples:
///
///     dimed signet verify example.org.signet --pok "$POK" --name example.org
///     dimed signet verify alice-example.org.signet --org example.org.signet
///     dimed signet verify next.signet --org example.org.signet \
///         --previous alice-example.org.signet --json
///     dimed signet verify alice-example.org.ssr
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Verify {
    /// Signet or signing request; - is standard input.
    file: FileName,
    /// Signet of the organization that signed.
    #[arg(long, value_name = "FILE")]
    org: Option<FileName>,
    /// Primary organizational key: 43 characters of base64, as pok= has it in DNS. May be repeated.
    #[arg(long, value_name = "B64", value_parser = primary_key, num_args = 1..)]
    pok: Vec<VerifyingKey>,
    /// The user's signet before this one.
    #[arg(long, value_name = "FILE")]
    previous: Option<FileName>,
    /// Domain or address that the signet must be for.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Reads a key as the management record has it; padding is allowed.
pub fn primary_key(text: &str) -> Result<VerifyingKey, String> {
    let text = text.trim_start_matches("pok=").trim_end_matches('=');
    base64_decode_unpadded(text)
        .map(VerifyingKey)
        .map_err(|_| "not 32 octets in base64 (43 characters); FILE stands before --pok".to_owned())
}

/// Verifies.
pub fn run(arguments: &Verify, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let named = [&arguments.org, &arguments.previous].into_iter().flatten();
    check_inputs([&arguments.file].into_iter().chain(named))?;
    let signet = read::signet(&arguments.file)?;
    let checked = check(&signet, arguments)?;
    let (answer, exit) = match &checked {
        Ok(checked) => (valid(&signet, checked, arguments), Exit::Done),
        Err(refusal) => (not_valid(&signet, refusal), Exit::No),
    };
    let mut answer = answer;
    answer.json["file"] = arguments.file.to_string().into();
    answer.write(json, out)?;
    Ok(exit)
}

/// The inner error is about the object; an outer one keeps it from being judged.
fn check(signet: &Signet, arguments: &Verify) -> anyhow::Result<Result<Checked, Refusal>> {
    let checked = match signet.kind() {
        Kind::Organization if arguments.pok.is_empty() => {
            return Ok(Err(nothing_vouches(signet.kind()).of_file(&arguments.file)));
        }
        Kind::Organization => {
            check_org(signet, &arguments.pok).map_err(|error| in_file(&error, signet, arguments))
        }
        Kind::User => {
            let Some(file) = &arguments.org else {
                return Ok(Err(nothing_vouches(signet.kind()).of_file(&arguments.file)));
            };
            let org = match organization(file, &arguments.pok)? {
                Ok(org) => org,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let previous = match previous(arguments, Some(&org))? {
                Ok(previous) => previous,
                Err(refusal) => return Ok(Err(refusal)),
            };
            check_user(signet, &org, previous).map_err(|error| in_file(&error, signet, arguments))
        }
        Kind::Request => {
            let org = arguments
                .org
                .as_ref()
                .map(|file| organization(file, &arguments.pok));
            let org = match org.transpose()?.transpose() {
                Ok(org) => org,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let previous = match previous(arguments, org.as_ref())? {
                Ok(previous) => previous,
                Err(refusal) => return Ok(Err(refusal)),
            };
            check_request(signet, previous).map_err(|error| in_file(&error, signet, arguments))
        }
    };
    Ok(checked.and_then(|checked| match &arguments.name {
        None => Ok(checked),
        Some(name) => match checked.expect_name(name) {
            Ok(()) => Ok(checked),
            Err(error) => Err(in_file(&error, signet, arguments)),
        },
    }))
}

fn in_file(error: &Error, signet: &Signet, arguments: &Verify) -> Refusal {
    Refusal::in_signet(error, signet).of_file(&arguments.file)
}

/// Nobody was named who could have signed.
fn nothing_vouches(kind: Kind) -> Refusal {
    let (variant, message) = match kind {
        Kind::Organization => (
            "signet.no_primary_key",
            "nothing vouches for an organizational signet but the keys in DNS: give them with --pok",
        ),
        _ => (
            "signet.no_organization",
            "nothing vouches for a user signet without the organization's: name it with --org",
        ),
    };
    Refusal {
        variant,
        message: message.into(),
        place: Box::default(),
        file: None,
    }
}

/// The organization's signet, verified with the keys given, or else with its own.
pub fn organization(file: &FileName, pok: &[VerifyingKey]) -> anyhow::Result<Result<Checked, Refusal>> {
    let signet = read::signet(file)?;
    let refused = |error: Error| Refusal::in_signet(&error, &signet).of_file(file);
    let own = read::own_key(&signet).map(|key| vec![key]).unwrap_or_default();
    let keys = if pok.is_empty() { own.as_slice() } else { pok };
    Ok(check_org(&signet, keys).map_err(refused))
}

/// The signing key of the predecessor, which must be a valid signet of the same organization, where one is given.
fn previous(
    arguments: &Verify,
    org: Option<&Checked>,
) -> anyhow::Result<Result<Option<VerifyingKey>, Refusal>> {
    let Some(file) = &arguments.previous else {
        return Ok(Ok(None));
    };
    let signet = read::signet_of(Kind::User, file)?;
    if let Some(org) = org
        && let Err(error) = check_user(&signet, org, None)
    {
        return Ok(Err(Refusal::in_signet(&error, &signet).of_file(file)));
    }
    Ok(Ok(read::own_key(&signet)))
}

fn valid(signet: &Signet, checked: &Checked, arguments: &Verify) -> Answer {
    let now = SystemClock.now();
    let judgement = Judgement::Valid(checked);
    let mut object = report::json(signet, judgement, now);
    object["result"] = "valid".into();
    object["verified"] = json!(checked.level.map_or("ssr", level_name));
    object["custody"] = custody_name(checked.custody).into();
    object["signed_by"] = report::signers(checked);
    object["organization"] = json!(trust(signet.kind(), arguments));
    let reaches = checked.level.map_or("as a signing request".into(), |level| {
        format!("up to the {} signature", level_name(level))
    });
    let mut text = format!("valid {reaches}\n");
    for (kind, key) in &checked.signatures {
        text += &format!("  {kind} signature by {}\n", base64_unpadded(&key.0));
    }
    text += match checked.custody {
        Custody::NoCustody => "",
        Custody::Proven => "  the predecessor's key signed these keys\n",
        Custody::Unproven => {
            "  a predecessor signed these keys; without it (--previous) that is not proven\n"
        }
    };
    if trust(signet.kind(), arguments) == Some("given") {
        text += "  the organization's signet is taken as given; --pok verifies it too\n";
    }
    text += "\n";
    text += &report::text(signet, judgement, now);
    Answer { text, json: object }
}

/// What the organization's primary key is trusted for.
fn trust(kind: Kind, arguments: &Verify) -> Option<&'static str> {
    match kind {
        Kind::Request => None,
        _ if !arguments.pok.is_empty() => Some("pok"),
        _ => Some("given"),
    }
}

fn not_valid(signet: &Signet, refusal: &Refusal) -> Answer {
    let now = SystemClock.now();
    let judgement = match refusal.variant == nothing_vouches(signet.kind()).variant {
        true => Judgement::Unverified,
        false => Judgement::NotValid,
    };
    let mut object = report::json(signet, judgement, now);
    object["result"] = "not_valid".into();
    object["refused"] = refusal.json();
    let text = report::text(signet, judgement, now);
    Answer {
        text: format!("not valid: {refusal}\n\n{text}"),
        json: object,
    }
}
