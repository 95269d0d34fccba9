//! Judges signets with the companions that a set names for them, in libdime's words.

use dimed::base::encoding::base64_decode;
use dimed::crypto::ed25519::VerifyingKey;
use dimed::dime::signet::{
    Error, Kind, Level, Signet, VerifiedOrg, VerifiedUser, id, verify_org, verify_request, verify_user,
};
use dimed::mail::address::{Domain, Mailbox};
use serde_json::Value;

use super::exceptions::{self, Case};
use super::{Set, unhex_array};

/// A set to take companions from.
pub struct Judge<'a> {
    set: &'a Set,
}

impl<'a> Judge<'a> {
    pub fn new(set: &'a Set) -> Self {
        Self { set }
    }

    /// The state of an object, or `load-fail`. Companions are paths of the set: `org`, `previous`, and `base`, the object
    /// that this one was made from; and `keys`, those in the management record.
    pub fn outcome(&self, loaded: Result<Signet, Error>, companions: &Value) -> String {
        let result = loaded.and_then(|signet| self.verify(&signet, companions));
        outcome(result)
    }

    fn verify(&self, signet: &Signet, companions: &Value) -> Result<&'static str, Error> {
        match signet.kind() {
            Kind::Organization => {
                let keys = self.primary_keys(signet, companions);
                verify_org(signet, &keys, &domain_of(signet)).map(|org| state(org.level()))
            }
            Kind::User => {
                let org = self.organization(companions)?;
                let previous = self.previous(companions, &org)?;
                let user = verify_user(signet, &org, previous.as_ref(), &address_of(signet, &org))?;
                Ok(state(user.level()))
            }
            Kind::Request => {
                let previous = match companions["previous"].is_null() {
                    true => None,
                    false => self.previous(companions, &self.organization(companions)?)?,
                };
                verify_request(signet, previous.as_ref()).map(|_| "SS_SSR")
            }
        }
    }

    /// The organization named by the companions, or else that of the object it was made from, or of the set's first user.
    pub fn organization(&self, companions: &Value) -> Result<VerifiedOrg, Error> {
        let users = || {
            let entries = self.set.entries("signet").into_iter();
            entries.filter(|entry| !with(entry)["org_signet"].is_null())
        };
        let path = match companions["org"].is_null() {
            true => {
                let base = users().find(|entry| owns(entry, &companions["base"]));
                let user = base.or_else(|| users().next()).expect("a user of the set");
                &with(user)["org_signet"]
            }
            false => &companions["org"],
        };
        let signet = self.load(path)?;
        verify_org(&signet, &self.keys_of(path), &domain_of(&signet))
    }

    /// The predecessor named by the companions, verified by itself.
    pub fn previous(&self, companions: &Value, org: &VerifiedOrg) -> Result<Option<VerifiedUser>, Error> {
        if companions["previous"].is_null() {
            return Ok(None);
        }
        let signet = self.load(&companions["previous"])?;
        verify_user(&signet, org, None, &address_of(&signet, org)).map(Some)
    }

    /// The first form of an entry's object.
    pub fn object(&self, entry: &Value) -> Signet {
        let (_, path) = own_files(entry).next().expect("a file");
        self.load(path)
            .unwrap_or_else(|error| panic!("{}: {error}", entry["id"]))
    }

    /// The keys in the management record: those given, or else those of the object it was made from, or of its domain.
    pub fn primary_keys(&self, signet: &Signet, companions: &Value) -> Vec<VerifyingKey> {
        if let Some(keys) = companions["keys"].as_array() {
            return keys.iter().map(|key| VerifyingKey(unhex_array(key))).collect();
        }
        let of_base = self.keys_of(&companions["base"]);
        match of_base.is_empty() {
            true => self.keys_where(|entry| domain_of(&self.object(entry)) == domain_of(signet)),
            false => of_base,
        }
    }

    /// The key in the management record of the organization whose signet is at `path`.
    fn keys_of(&self, path: &Value) -> Vec<VerifyingKey> {
        self.keys_where(|entry| owns(entry, path))
    }

    fn keys_where(&self, is_it: impl Fn(&Value) -> bool) -> Vec<VerifyingKey> {
        let entries = self.set.entries("signet").into_iter();
        entries
            .filter(|entry| !with(entry)["management_record_pok"].is_null() && is_it(entry))
            .map(|entry| VerifyingKey(unhex_array(&with(entry)["management_record_pok"])))
            .collect()
    }

    /// Whether the set has this object as one that is as it should be.
    pub fn is_intact(&self, signet: &Signet) -> bool {
        let mut entries = self.set.entries("signet").into_iter();
        entries.any(|entry| self.object(entry) == *signet)
    }

    /// The binary object in a file of the set, whatever its form; nothing if its armor is damaged.
    pub fn octets(&self, path: &Value) -> Vec<u8> {
        match path.as_str().expect("a path").rsplit_once('.') {
            Some((_, "bin")) => self.set.file(path),
            _ => self.load(path).map(|signet| signet.encode()).unwrap_or_default(),
        }
    }

    /// The object in a file of the set, whatever its form.
    pub fn load(&self, path: &Value) -> Result<Signet, Error> {
        match path
            .as_str()
            .expect("a path")
            .rsplit_once('.')
            .map(|(_, suffix)| suffix)
        {
            Some("bin") => Signet::decode(&self.set.file(path)),
            Some("b64") => Signet::decode(&base64_decode(self.set.text(path).trim()).expect("base64")),
            _ => Signet::from_armor(&self.set.text(path)),
        }
    }
}

/// Role and path of the forms of an entry's object; the organization's signet beside them is not one.
pub fn own_files(entry: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let files = entry["files"].as_object().expect("files by their roles");
    files.iter().filter(|(role, _)| *role != "org")
}

/// What an entry was validated with.
pub fn with(entry: &Value) -> &Value {
    &entry["expected"]["validation"]["with"]
}

fn owns(entry: &Value, path: &Value) -> bool {
    own_files(entry).any(|(_, own)| own == path)
}

/// libdime's state of an entry's object.
pub fn libdimes_outcome(entry: &Value) -> &str {
    let expected = &entry["expected"];
    match expected["libdime"]["load"] == "fail" {
        true => "load-fail",
        false => [&expected["libdime"]["state"], &expected["validation"]["state"]]
            .into_iter()
            .find_map(Value::as_str)
            .expect("a state"),
    }
}

/// What ours must come to: libdime's state, unless the list of exceptions says otherwise.
pub fn expected_outcome(judge: &Judge<'_>, entry: &Value, octets: &[u8], companions: &Value) -> String {
    let case = Case::Signet {
        judge,
        entry,
        octets,
        companions,
    };
    let ours = exceptions::ours(&case).map(|ours| match ours {
        "valid" => Signet::decode(octets)
            .expect("readable")
            .level()
            .map_or("SS_SSR", state),
        other => other,
    });
    ours.unwrap_or(libdimes_outcome(entry)).to_owned()
}

/// A result in libdime's words.
pub fn outcome(result: Result<&'static str, Error>) -> String {
    let outcome = match result {
        Ok(state) => state,
        Err(Error::Missing(_)) => "SS_INCOMPLETE",
        Err(Error::BadSignature(_)) => "SS_INVALID",
        Err(Error::CustodyBroken | Error::CustodyMissing) => "SS_BROKEN_COC",
        Err(Error::UnknownPrimaryKey | Error::Kind { .. }) => "SS_UNKNOWN",
        Err(Error::Key(_)) => "bad-key",
        Err(Error::WrongName) => "wrong-name",
        Err(_) => "load-fail",
    };
    outcome.to_owned()
}

/// The state of a valid signet that reaches so far.
pub fn state(level: Level) -> &'static str {
    match level {
        Level::Crypto => "SS_CRYPTO",
        Level::Full => "SS_FULL",
        Level::Id => "SS_ID",
    }
}

fn identifier(signet: &Signet) -> Option<&str> {
    std::str::from_utf8(signet.field(id::IDENTIFIER)?).ok()
}

/// The domain to verify an organization for: its own, or any when it names none.
pub fn domain_of(signet: &Signet) -> Domain {
    let own = identifier(signet).and_then(|text| text.parse().ok());
    own.unwrap_or_else(|| "unnamed.example".parse().unwrap())
}

/// The address to verify a user for: its own, or any of the domain when it names none.
pub fn address_of(signet: &Signet, org: &VerifiedOrg) -> Mailbox {
    let own = identifier(signet).and_then(|text| text.parse().ok());
    own.unwrap_or_else(|| format!("nobody@{}", org.domain()).parse().unwrap())
}

/// What a valid signet was checked with, under the names that [`Judge`] knows.
pub fn companions(entry: &Value) -> Value {
    let org = match with(entry)["org_signet"].is_null() {
        true => &entry["files"]["org"],
        false => &with(entry)["org_signet"],
    };
    let key = &with(entry)["management_record_pok"];
    let keys = match key.is_null() {
        true => entry["expected"]["management_record_poks"].clone(),
        false => serde_json::json!([key]),
    };
    serde_json::json!({ "org": org, "previous": with(entry)["previous_user_signet"], "keys": keys })
}
