//! `dimed signet fingerprint`, and fingerprints as they are shown elsewhere.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::read;
use crate::cli::Exit;
use crate::cli::answer::Answer;
use crate::cli::files::FileName;
use crate::cli::refusal::Refusal;
use crate::dime::signet::{self, Kind, Level, Signet, id};

/// Print the fingerprints of a signet or signing request.
///
/// A fingerprint is 86 characters of base64, the SHA-512 of the fields up to a signature: ssr up to
/// the user's own, crypto up to that over the keys, full up to that over the profile, id of
/// everything. One whose signature is missing does not exist. Nothing is verified here.
///
/// Without --form all are printed, with their names; with it, that one alone.
///
/// Exit codes: 0 done; 1 the object is no signet, or has no such fingerprint.
///
/// Examples:
///
///     dimed signet fingerprint example.org.signet
///     dimed signet fingerprint alice-example.org.signet --form crypto
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Fingerprint {
    /// Signet or signing request; - is standard input.
    file: FileName,
    /// Which one.
    #[arg(long, value_enum)]
    form: Option<Which>,
}

/// Kinds of fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Of the user's part; of a signing request, the whole.
    Ssr,
    /// Of the keys.
    Crypto,
    /// Of keys and profile.
    Full,
    /// Of everything.
    Id,
}

impl Which {
    const ALL: [(&'static str, Self); 4] = [
        ("ssr", Self::Ssr),
        ("crypto", Self::Crypto),
        ("full", Self::Full),
        ("id", Self::Id),
    ];

    fn of(self, signet: &Signet) -> Option<String> {
        match self {
            Self::Ssr => signet.ssr_fingerprint().map(|it| it.to_string()),
            Self::Crypto => signet.crypto_fingerprint().map(|it| it.to_string()),
            Self::Full => signet.full_fingerprint().map(|it| it.to_string()),
            Self::Id => signet.id_fingerprint().map(|it| it.to_string()),
        }
    }

    /// The signature that it would need.
    fn signature(self, kind: Kind) -> u8 {
        let signature = match self {
            Self::Ssr => Some(id::REQUEST_SIGNATURE),
            Self::Crypto => kind.signature_of(Level::Crypto),
            Self::Full => kind.signature_of(Level::Full),
            Self::Id => kind.signature_of(Level::Id),
        };
        signature.unwrap_or(id::USER_CRYPTO_SIGNATURE)
    }
}

/// Prints.
pub fn run(arguments: &Fingerprint, json: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let signet = read::signet(&arguments.file)?;
    let missing = |which: Which| {
        let error = signet::Error::Missing(which.signature(signet.kind()));
        Refusal::in_signet(&error, &signet).of_file(&arguments.file)
    };
    let fingerprints = match arguments.form {
        None => all(&signet),
        Some(which) => {
            let wanted = Which::ALL.into_iter().filter(|(_, other)| *other == which);
            let found = wanted.map(|(name, which)| {
                let fingerprint = which.of(&signet).ok_or_else(|| missing(which))?;
                Ok((name.to_owned(), json!(fingerprint)))
            });
            Value::Object(found.collect::<Result<_, Refusal>>()?)
        }
    };
    let answer = Answer {
        text: text(&fingerprints, arguments.form.is_none()),
        json: json!({ "type": type_name(signet.kind()), "fingerprints": fingerprints }),
    };
    answer.write(json, out)?;
    Ok(Exit::Done)
}

/// All four by their names; `null` where the signature is missing.
pub fn all(signet: &Signet) -> Value {
    let all = Which::ALL.into_iter();
    all.map(|(name, which)| (name.to_owned(), json!(which.of(signet))))
        .collect()
}

/// Name of a kind for programs.
pub fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Organization => "organizational_signet",
        Kind::User => "user_signet",
        Kind::Request => "signing_request",
    }
}

fn text(fingerprints: &Value, with_names: bool) -> String {
    let all = fingerprints.as_object().into_iter().flatten();
    let there = all.filter_map(|(name, value)| Some((name, value.as_str()?)));
    there
        .map(|(name, value)| match with_names {
            true => format!("{name:<7} {value}\n"),
            false => format!("{value}\n"),
        })
        .collect()
}
