//! `--set name=value`: what a signet says of its owner.

use std::path::PathBuf;

use clap::Args;

use crate::base::encoding::base64_decode;
use crate::cli::Misuse;
use crate::cli::files::{FileName, MAX_OBJECT};
use crate::dime::key_set;
use crate::dime::signet::{Kind, Profile, ProfileField, id};
use crate::mail::address::{Domain, Mailbox};

/// What goes into the profile.
#[derive(Debug, Clone, Args, Default)]
pub struct Settings {
    /// A field of the profile by its name, such as Name=Alice; may be repeated. Undefined-Field:NAME=VALUE sets one of your own.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The same with the content of a file, such as Photo=alice.png.
    #[arg(long, value_name = "NAME=FILE")]
    set_file: Vec<String>,
}

impl Settings {
    /// Puts the fields into a profile for a signet of that kind. Fields given here replace those of the same name that were there.
    pub fn apply(&self, kind: Kind, profile: &mut Profile) -> anyhow::Result<()> {
        let texts = self.set.iter().map(|setting| {
            let (name, value) = split(setting)?;
            Ok((name, value.as_bytes().to_vec()))
        });
        let files = self.set_file.iter().map(|setting| {
            let (name, file) = split(setting)?;
            let octets = FileName::from(PathBuf::from(file)).read(MAX_OBJECT)?;
            Ok((name, octets.to_vec()))
        });
        let given = texts.chain(files).collect::<anyhow::Result<Vec<_>>>()?;
        let mut seen = Vec::new();
        for (name, data) in given {
            self::apply(kind, name, &data, &mut seen, profile)?;
        }
        Ok(())
    }
}

/// Names and limits of all fields, for `--help`.
pub fn help() -> String {
    let mut text =
        String::from("Fields for --set, with the most octets that they take; * may be repeated:\n");
    for (title, kind) in [("organizations", Kind::Organization), ("users", Kind::User)] {
        text += &format!("\n{title}:\n");
        for field in kind.profile_fields() {
            let star = if field.repeats { "*" } else { "" };
            text += &format!("  {}{star} ({})\n", field.name, field.most_octets);
        }
    }
    text
}

fn split(setting: &str) -> anyhow::Result<(&str, &str)> {
    let parts = setting.split_once('=');
    Ok(parts.ok_or_else(|| Misuse(format!("{setting:?} is not NAME=VALUE")))?)
}

fn apply(
    kind: Kind,
    name: &str,
    data: &[u8],
    seen: &mut Vec<u8>,
    profile: &mut Profile,
) -> anyhow::Result<()> {
    let (label, own) = match name.split_once(':') {
        Some((label, own)) => (label, Some(own)),
        None => (name, None),
    };
    let field = find(kind, label)?;
    check(&field, data)?;
    let refused = |error| Misuse(format!("{name}: {error}"));
    match (field.id, own) {
        (id::UNDEFINED, Some(own)) => {
            check_own_name(own)?;
            profile.add_undefined(own.as_bytes(), data).map_err(refused)?;
        }
        (id::UNDEFINED, None) => {
            return Err(Misuse("an undefined field has a name: Undefined-Field:NAME=VALUE".into()).into());
        }
        (_, Some(_)) => return Err(Misuse(format!("{label} has no name of its own")).into()),
        (id, None) if seen.contains(&id) && !field.repeats => {
            return Err(Misuse(format!("{} can be set only once", field.name)).into());
        }
        (id, None) if seen.contains(&id) => profile.add(id, data).map_err(refused)?,
        (id, None) => profile.set(id, data).map_err(refused)?,
    }
    seen.push(field.id);
    Ok(())
}

fn find(kind: Kind, label: &str) -> anyhow::Result<ProfileField> {
    let found = kind
        .profile_fields()
        .find(|field| field.name.eq_ignore_ascii_case(label));
    found.ok_or_else(|| {
        let names: Vec<_> = kind.profile_fields().map(|field| field.name).collect();
        Misuse(format!(
            "{label:?} is no field of this {kind}; there are {}",
            names.join(", ")
        ))
        .into()
    })
}

fn check_own_name(name: &str) -> anyhow::Result<()> {
    match name.as_bytes() == key_set::FIELD {
        true => Err(Misuse("the field dmime2 is made from keys, not set".into()).into()),
        false => Ok(()),
    }
}

/// The specification says what a few fields hold; the others are any text.
fn check(field: &ProfileField, data: &[u8]) -> anyhow::Result<()> {
    let refused = |why: &str| Err(Misuse(format!("{}: {why}", field.name)).into());
    if data.is_empty() {
        return refused("it cannot be empty; leave it out instead");
    }
    if data.len() > field.most_octets {
        return refused(&format!(
            "{} octets are more than {}",
            data.len(),
            field.most_octets
        ));
    }
    if field.id == id::PHOTO {
        return match data.starts_with(b"\x89PNG\r\n\x1a\n") {
            true => Ok(()),
            false => refused("it is not a PNG image"),
        };
    }
    if field.id == id::UNDEFINED {
        return Ok(());
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return refused("it is not UTF-8 text");
    };
    if text.chars().any(char::is_control) {
        return refused("it has control characters");
    }
    match is_as_named(field.name, text) {
        Ok(()) => Ok(()),
        Err(expected) => refused(&format!("{text:?} is not {expected}")),
    }
}

/// Otherwise, what was expected.
fn is_as_named(name: &str, text: &str) -> Result<(), &'static str> {
    let all = |is: fn(&str) -> bool| text.trim_end_matches(';').split(';').all(|part| is(part.trim()));
    let (holds, expected) = match name {
        "Contact-Abuse" | "Contact-Admin" | "Contact-Support" => {
            (text.parse::<Mailbox>().is_ok(), "a mail address")
        }
        "Alternate-Address" => (
            all(|part| part.parse::<Mailbox>().is_ok()),
            "mail addresses with ; between them",
        ),
        "Web-Access-Host" | "Mail-Access-Host" => (text.parse::<Domain>().is_ok(), "a host name"),
        "Onion-Access-Host" | "Onion-Delivery-Host" => (
            all(|part| part.ends_with(".onion") && part.parse::<Domain>().is_ok()),
            "onion names with ; between them",
        ),
        "Web-Access-Location" => (text.starts_with("https://"), "an https:// address"),
        name if name.ends_with("-Certificate") => (
            all(|part| base64_decode(part).is_ok_and(|octets| octets.len() == 64)),
            "signatures (64 octets in base64) with ; between them",
        ),
        _ => (true, ""),
    };
    holds.then_some(()).ok_or(expected)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn applied(kind: Kind, settings: &[&str]) -> Result<Profile, String> {
        let settings = Settings {
            set: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            set_file: Vec::new(),
        };
        let mut profile = Profile::new();
        let applied = settings.apply(kind, &mut profile);
        applied.map(|()| profile).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_set_by_their_names_and_repeat_where_they_may() {
        let profile = applied(
            Kind::User,
            &[
                "name=Alice",
                "Phone-Number=1",
                "phone-number=2",
                "Undefined-Field:x=a=b",
            ],
        );
        let mut expected = Profile::new();
        expected.add(16, b"Alice").unwrap();
        expected.add(21, b"1").unwrap();
        expected.add(21, b"2").unwrap();
        expected.add_undefined(b"x", b"a=b").unwrap();
        assert_eq!(profile, Ok(expected));
    }

    #[test]
    fn what_does_not_belong_into_a_field_is_refused_with_its_name() {
        let refused = |kind, settings: &[&str]| applied(kind, settings).unwrap_err();
        let long = format!("Name={}", "x".repeat(256));
        assert_eq!(
            refused(Kind::User, &[&long]),
            "Name: 256 octets are more than 255"
        );
        assert_eq!(
            refused(Kind::User, &["Name="]),
            "Name: it cannot be empty; leave it out instead"
        );
        assert_eq!(
            refused(Kind::User, &["Name=a\nb"]),
            "Name: it has control characters"
        );
        assert_eq!(refused(Kind::User, &["Name"]), "\"Name\" is not NAME=VALUE");
        assert_eq!(
            refused(Kind::User, &["Name=a", "NAME=b"]),
            "Name can be set only once"
        );
        assert_eq!(refused(Kind::User, &["Photo=x"]), "Photo: it is not a PNG image");
        assert_eq!(
            refused(Kind::User, &["Undefined-Field:dmime2=x"]),
            "the field dmime2 is made from keys, not set"
        );
        assert!(refused(Kind::User, &["Undefined-Field=x"]).contains("has a name"));
        assert!(refused(Kind::User, &["Name:x=y"]).contains("no name of its own"));
        assert!(
            refused(Kind::User, &["Contact-Abuse=a@b.test"])
                .starts_with("\"Contact-Abuse\" is no field of this user signet")
        );
        assert_eq!(
            refused(Kind::Organization, &["Contact-Abuse=nobody"]),
            "Contact-Abuse: \"nobody\" is not a mail address"
        );
        assert!(refused(Kind::Organization, &["Web-Access-Location=http://x"]).contains("https://"));
        assert!(refused(Kind::Organization, &["Mail-Access-Certificate=AAAA"]).contains("64 octets"));
        for fine in [
            "Contact-Abuse=abuse@b.test",
            "Onion-Access-Host=abc.onion;",
            "Web-Access-Host=web.b.test",
        ] {
            assert!(applied(Kind::Organization, &[fine]).is_ok(), "{fine}");
        }
    }
}
