//! Rspamd by HTTP: `POST /checkv2` with the message as it is, and what rspamd says of it as JSON.
//!
//! Source: rspamd's documentation, "Protocol" (`docs/developers/protocol`). Nothing is kept open between messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, LengthLimitError, Limited, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::change::{Change, Changes, FieldChange, Place};
use super::milter::Judged;
use super::{Client, Error, Message, Verdict, header, words};
use crate::authentication::iprev::Reverse;
use crate::base::secret::Secret;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::reply::{EnhancedStatus, Reply};
use crate::net::stream::Stream;

/// Octets of an answer's head at most.
const MAX_HEAD: usize = 16 * 1024;
/// Octets of an answer at most.
const MAX_ANSWER: usize = 1 << 20;
/// Recipients that are named.
const MAX_NAMED: usize = 1000;
/// Rules that are named in a message that is held.
const MAX_RULES: usize = 50;
/// The field that says what rspamd found, as rspamd itself writes it.
const RESULT: &str = "X-Spamd-Result";
/// Octets of our own fields with which no more recipients are named: rspamd gives up on a head of over 80 KiB.
const MAX_FIELDS: usize = 48 * 1024;

/// One question.
pub struct Request<'a> {
    /// The password of the worker.
    pub password: Option<&'a Secret<String>>,
    /// Who brought the message.
    pub client: &'a Client,
}

impl Request<'_> {
    /// Asks on a new connection. Takes as long as it takes: the caller has a deadline.
    pub async fn judge(&self, stream: Stream, message: &mut Message<'_>) -> Result<Judged, Error> {
        let handshake = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        let (pieces, mut taken) = mpsc::channel::<Bytes>(1);
        let front = front(message);
        let size = front.len() as u64 + message.body.remaining();
        let body = StreamBody::new(stream::poll_fn(move |context| {
            let piece = taken.poll_recv(context);
            piece.map(|piece| piece.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))))
        }));
        let request = self.request(message, size, body)?;
        let feed = async move {
            // Whoever does not listen any more has answered.
            if pieces.send(front.into()).await.is_ok() {
                while let Some(piece) = message.body.next().await? {
                    if pieces.send(piece.into()).await.is_err() {
                        break;
                    }
                }
            }
            Ok::<(), Error>(())
        };
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            match response.status() {
                StatusCode::OK => read(response).await,
                status => Err(Error::Status(status.as_u16())),
            }
        };
        let exchange = async { tokio::try_join!(exchange, feed).map(|(answer, ())| answer) };
        tokio::pin!(exchange);
        let answer = tokio::select! {
            answer = &mut exchange => answer?,
            // The connection may end before the answer has been looked at.
            ended = connection => {
                ended.map_err(broken)?;
                exchange.await?
            }
        };
        judged(&answer)
    }

    fn request<B>(&self, message: &Message<'_>, size: u64, body: B) -> Result<hyper::Request<B>, Error> {
        let mut request = hyper::Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/checkv2");
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("rspamd"));
        headers.insert(CONTENT_LENGTH, size.into());
        for (name, value) in self.fields(message) {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::try_from(value).map_err(|_| UNFIT)?,
            );
        }
        if let Some(password) = self.password {
            let mut value = HeaderValue::try_from(password.expose()).map_err(|_| UNFIT)?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static("password"), value);
        }
        Ok(request)
    }

    /// The envelope.
    fn fields(&self, message: &Message<'_>) -> Vec<(&'static str, String)> {
        let (client, sender) = (self.client, &message.envelope.sender);
        let path = sender.path.0.as_ref().map(Mailbox::to_string);
        let mut fields = vec![
            ("ip", client.address.to_canonical().to_string()),
            ("helo", words::reason(&client.hello)),
            ("from", path.unwrap_or_default()),
            ("queue-id", message.id.to_string()),
            ("mta-name", client.host.to_string()),
        ];
        let name = client.reverse.as_ref().and_then(Reverse::confirmed);
        fields.extend(name.map(|name| ("hostname", name.to_string())));
        fields.extend(client.login.as_ref().map(|login| ("user", login.to_string())));
        if let Some((version, cipher)) = &client.tls {
            fields.push(("tls-version", version.clone()));
            fields.push(("tls-cipher", cipher.clone()));
        }
        name_recipients(&mut fields, &message.envelope.recipients);
        fields
    }
}

/// As many as there is room for.
fn name_recipients(fields: &mut Vec<(&'static str, String)>, recipients: &[Mailbox]) {
    let mut octets: usize = fields.iter().map(|(name, value)| on_the_wire(name, value)).sum();
    for recipient in recipients.iter().take(MAX_NAMED) {
        let value = recipient.to_string();
        octets += on_the_wire("rcpt", &value);
        if octets > MAX_FIELDS {
            return;
        }
        fields.push(("rcpt", value));
    }
}

/// Octets of a field with its colon, blank and line end.
fn on_the_wire(name: &str, value: &str) -> usize {
    name.len() + value.len() + 4
}

const UNFIT: Error = Error::Unfit("an envelope that HTTP cannot carry");

/// Header and empty line.
fn front(message: &Message<'_>) -> Vec<u8> {
    let mut front: Vec<u8> = message.header.visible().flatten().copied().collect();
    front.extend_from_slice(b"\r\n");
    front
}

fn broken(error: hyper::Error) -> Error {
    Error::Broken(std::io::Error::other(error))
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Result<Bytes, Error> {
    match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooMuch("an answer of much length")),
        Err(error) => Err(Error::Broken(std::io::Error::other(error))),
    }
}

/// What is used of an answer. The names of rules change with every version, and are only shown.
#[derive(Deserialize)]
struct Answer {
    action: String,
    score: Option<f64>,
    required_score: Option<f64>,
    #[serde(default)]
    symbols: BTreeMap<String, serde_json::Value>,
    subject: Option<String>,
    #[serde(default)]
    messages: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    milter: Milter,
    #[serde(default, rename = "dkim-signature")]
    dkim_signature: Option<OneOrMany<String>>,
}

/// The block for milters.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Milter {
    add_headers: BTreeMap<String, OneOrMany<Added>>,
    remove_headers: BTreeMap<String, OneOrMany<i64>>,
    change_from: Option<String>,
    add_rcpt: Vec<String>,
    del_rcpt: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn all(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A field, and where it goes: `order` counted from above, or from 1 as rspamd's milter does.
#[derive(Deserialize)]
#[serde(untagged)]
enum Added {
    Value(String),
    Ordered { value: String, order: Option<i64> },
}

/// The verdict in an answer.
pub fn judged(octets: &[u8]) -> Result<Judged, Error> {
    let answer: Answer =
        serde_json::from_slice(octets).map_err(|_| Error::Protocol("not an answer of rspamd"))?;
    let (score, result) = (answer.score(), answer.result());
    let Answer {
        action,
        subject,
        messages,
        milter,
        dkim_signature,
        ..
    } = answer;
    let says_it_itself = milter
        .add_headers
        .keys()
        .any(|name| name.eq_ignore_ascii_case(RESULT));
    let mut changes = Changes::default();
    milter.changes(&mut changes)?;
    for value in dkim_signature.map(OneOrMany::all).unwrap_or_default() {
        add(&mut changes, "DKIM-Signature", &value, Place::At(1))?;
    }
    let text = messages.get("smtp_message").and_then(|text| text.as_str());
    let verdict = match &action[..] {
        // "greylist" is a threshold: rspamd says "soft reject" when its module wants the message put off.
        "no action" | "greylist" => Verdict::Accept,
        "add header" => Verdict::Mark,
        "rewrite subject" => {
            if let Some(subject) = subject {
                replace(&mut changes, "Subject", &subject)?;
            }
            Verdict::Mark
        }
        "reject" => Verdict::Reject(text.map(|text| reply(550, text))),
        "soft reject" => Verdict::Defer(text.map(|text| reply(451, text))),
        "quarantine" => Verdict::Quarantine(words::reason(text.unwrap_or_default())),
        "discard" => Verdict::Discard,
        _ => return Err(Error::Protocol("an action that rspamd does not have")),
    };
    // Whoever decides about a message that is held can see what it was found.
    let may_be_held = matches!(
        verdict,
        Verdict::Reject(_) | Verdict::Quarantine(_) | Verdict::Discard
    );
    if let Some(result) = result.filter(|_| may_be_held && !says_it_itself) {
        add(&mut changes, RESULT, &result, Place::At(1))?;
    }
    Ok(Judged {
        verdict,
        changes,
        is_early: false,
        score,
    })
}

impl Answer {
    fn score(&self) -> Option<String> {
        let score = self.score?;
        Some(match self.required_score {
            Some(required) => format!("score {score:.2} of {required:.2}"),
            None => format!("score {score:.2}"),
        })
    }

    /// The score, and the rules that have made most of it, each on a line.
    fn result(&self) -> Option<String> {
        let score = self.score?;
        let required = self.required_score.unwrap_or_default();
        let score_of = |rule: &serde_json::Value| rule["score"].as_f64().unwrap_or_default();
        let rules = self.symbols.iter();
        let mut rules: Vec<_> = rules.map(|(name, rule)| (score_of(rule), name)).collect();
        rules.sort_by(|(a, _), (b, _)| b.abs().total_cmp(&a.abs()));
        let mut text = format!(
            "default: {} [{score:.2} / {required:.2}]",
            score_word(score >= required)
        );
        for (score, name) in rules.into_iter().take(MAX_RULES) {
            text += &format!(";\r\n\t{}({score:.2})", words::reason(name));
        }
        Some(text)
    }
}

/// As rspamd writes it.
fn score_word(is_over: bool) -> &'static str {
    match is_over {
        true => "True",
        false => "False",
    }
}

fn reply(code: u16, text: &str) -> Reply {
    let class = (code / 100) as u8;
    Reply::new(code, EnhancedStatus(class, 7, 1), words::reason(text))
}

fn add(changes: &mut Changes, name: &str, value: &str, place: Place) -> Result<(), Error> {
    let field = header::field(name, value, false)?;
    changes.push(Change::Field(FieldChange::Add(place, field)))
}

fn replace(changes: &mut Changes, name: &str, value: &str) -> Result<(), Error> {
    let field = header::field(name, value, false)?;
    let name = name.to_owned();
    changes.push(Change::Field(FieldChange::Replace {
        name,
        index: 1,
        field,
    }))
}

impl Milter {
    fn changes(self, changes: &mut Changes) -> Result<(), Error> {
        for (name, indexes) in self.remove_headers {
            for index in indexes.all() {
                let name = name.clone();
                changes.push(Change::Field(FieldChange::Remove { name, index }))?;
            }
        }
        for (name, values) in self.add_headers {
            for added in values.all() {
                let (value, order) = match added {
                    Added::Value(value) => (value, None),
                    Added::Ordered { value, order } => (value, order),
                };
                // Rspamd counts from below, too; among what it adds that is the end.
                let place = order.map_or(Place::End, |order| {
                    u32::try_from(order).map_or(Place::End, Place::At)
                });
                add(changes, &name, &value, place)?;
            }
        }
        for path in self.add_rcpt {
            changes.push(Change::AddRecipient(mailbox(&path)?))?;
        }
        for path in self.del_rcpt {
            changes.push(Change::DeleteRecipient(mailbox(&path)?))?;
        }
        if let Some(path) = self.change_from {
            let path = match bare(&path) {
                "" => ReversePath(None),
                path => ReversePath(Some(mailbox(path)?)),
            };
            changes.push(Change::Sender(path))?;
        }
        Ok(())
    }
}

fn bare(path: &str) -> &str {
    let inner = path.strip_prefix('<').and_then(|path| path.strip_suffix('>'));
    inner.unwrap_or(path)
}

fn mailbox(path: &str) -> Result<Mailbox, Error> {
    Mailbox::parse(bare(path)).map_err(|_| Error::Unfit("an address"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn verdict(text: &str) -> Verdict {
        judged(text.as_bytes()).unwrap().verdict
    }

    #[test]
    fn actions_become_verdicts() {
        for (action, expected) in [
            ("no action", Verdict::Accept),
            ("add header", Verdict::Mark),
            ("rewrite subject", Verdict::Mark),
            ("reject", Verdict::Reject(None)),
            ("soft reject", Verdict::Defer(None)),
            ("greylist", Verdict::Accept),
            ("quarantine", Verdict::Quarantine(String::new())),
            ("discard", Verdict::Discard),
        ] {
            assert_eq!(verdict(&format!("{{\"action\":\"{action}\"}}")), expected);
        }
        let text = "{\"action\":\"reject\",\"score\":1e9,\"messages\":{\"smtp_message\":\"a\\r\\nb\"}}";
        assert_eq!(
            verdict(text),
            Verdict::Reject(Some(Reply::new(550, EnhancedStatus(5, 7, 1), "a??b")))
        );
    }

    #[test]
    fn what_may_be_held_says_what_it_was_found() {
        let text = r#"{"action":"reject","score":16.5,"required_score":15,"symbols":{
            "R_LOW":{"score":-0.5,"name":"R_LOW"},"BAD\r\nX: y":{"score":17},"NONE":{}}}"#;
        let judged = judged(text.as_bytes()).unwrap();
        assert_eq!(judged.score.as_deref(), Some("score 16.50 of 15.00"));
        let field = "X-Spamd-Result: default: True [16.50 / 15.00];\r\n\tBAD??X: y(17.00);\r\n\tR_LOW(-0.50);\r\n\t\
                     NONE(0.00)\r\n";
        assert_eq!(
            judged.changes.into_list(),
            [Change::Field(FieldChange::Add(
                Place::At(1),
                field.as_bytes().to_vec()
            ))]
        );
        let clean = super::judged(br#"{"action":"no action","score":1}"#).unwrap();
        assert_eq!(clean.score.as_deref(), Some("score 1.00"));
        assert!(clean.changes.into_list().is_empty());
    }

    #[test]
    fn what_it_wants_changed_is_read() {
        let text = r#"{"action":"rewrite subject","subject":"[spam] x","milter":{
            "remove_headers":{"X-Spam":0},
            "add_headers":{"X-A":"1","X-B":{"value":"2","order":1},"X-C":["3",{"value":"4","order":-1}]},
            "add_rcpt":["<bob@hismail.test>"],"del_rcpt":["pat@hismail.test"],"change_from":"<>"}}"#;
        let list = judged(text.as_bytes()).unwrap().changes.into_list();
        let add = |place, text: &str| Change::Field(FieldChange::Add(place, text.as_bytes().to_vec()));
        assert_eq!(
            list,
            [
                Change::Field(FieldChange::Remove {
                    name: "X-Spam".into(),
                    index: 0
                }),
                add(Place::End, "X-A: 1\r\n"),
                add(Place::At(1), "X-B: 2\r\n"),
                add(Place::End, "X-C: 3\r\n"),
                add(Place::End, "X-C: 4\r\n"),
                Change::AddRecipient("bob@hismail.test".parse().unwrap()),
                Change::DeleteRecipient("pat@hismail.test".parse().unwrap()),
                Change::Sender(ReversePath(None)),
                Change::Field(FieldChange::Replace {
                    name: "Subject".into(),
                    index: 1,
                    field: b"Subject: [spam] x\r\n".to_vec()
                }),
            ]
        );
    }

    #[test]
    fn recipients_are_named_while_there_is_room() {
        let named = |count: usize, local: usize| {
            let mailbox: Mailbox = format!("{}@hismail.test", "x".repeat(local)).parse().unwrap();
            let mut fields = vec![("ip", "192.0.2.1".to_owned())];
            name_recipients(&mut fields, &vec![mailbox; count]);
            fields.len() - 1
        };
        assert_eq!(named(3, 1), 3);
        assert_eq!(named(1_001, 1), MAX_NAMED);
        // A field has 64 + 13 octets, and 8 around them; "ip" has 15.
        assert_eq!(named(1_000, 64), (MAX_FIELDS - 15) / 85);
    }

    #[test]
    fn what_breaks_a_rule_is_a_fault() {
        let many = format!(
            r#"{{"action":"no action","milter":{{"add_rcpt":[{}"a@b.test"]}}}}"#,
            "\"a@b.test\",".repeat(512)
        );
        for text in [
            "",
            "[]",
            "{}",
            r#"{"action":1}"#,
            r#"{"action":"applaud"}"#,
            r#"{"action":"no action","milter":{"add_headers":{"X":"a\r\nB: c"}}}"#,
            r#"{"action":"no action","milter":{"add_headers":{"X Y":"a"}}}"#,
            r#"{"action":"no action","milter":{"add_rcpt":["bob"]}}"#,
            r#"{"action":"rewrite subject","subject":"a\nb"}"#,
            &many,
        ] {
            assert!(judged(text.as_bytes()).is_err(), "{text}");
        }
    }
}
