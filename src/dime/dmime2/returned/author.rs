//! The author's side: believes nothing that the origin alone could have made up (`dmime2.md` §12.4).

use std::fmt;

use super::{Returned, Status, check_times, is_from};
use crate::crypto::ed25519::VerifyingKey;
use crate::dime::dmime2::access::{Access, Candidate};
use crate::dime::dmime2::envelope::{
    DestinationEnvelope, OriginEnvelope, in_destination_envelope, in_origin_envelope,
};
use crate::dime::dmime2::headers;
use crate::dime::dmime2::layout::{Actor, ChunkType};
use crate::dime::dmime2::reader::check_domains;
use crate::dime::dmime2::record::{RECORD_HEAD_SIZE, RecordHead};
use crate::dime::dmime2::rule::{Refused, Rule, demand};
use crate::dime::dmime2::runs::Runs;
use crate::dime::dmime2::signets::{KnownOrg, is_signed_by};
use crate::dime::dmime2::time::MessageId;
use crate::mail::address::{Domain, Mailbox};

/// A returned message in the hands of the author: with an author copy its envelopes are open, without one not.
#[derive(Debug)]
pub struct ToAuthor {
    returned: Returned,
    copy: Option<AuthorCopy>,
}

#[derive(Debug)]
struct AuthorCopy {
    access: Access,
    from: OriginEnvelope,
    to: DestinationEnvelope,
}

/// What the author's client knows itself.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Whose client it is.
    pub account: &'a Mailbox,
    /// The signing key of the own signet that chunk 4 names.
    pub own_key: Option<VerifyingKey>,
    /// The signet of the origin that chunk 5 names.
    pub origin: Option<KnownOrg<'a>>,
    /// All signets known of the destination: of chunk 4, or of the own record of the message.
    pub destination: &'a [KnownOrg<'a>],
    /// Where a message with this id was sent without an author copy, if one was.
    pub sent_to: Option<&'a Domain>,
    /// The clock.
    pub now: u64,
}

impl Returned {
    /// Opens chunks 4 and 5 as the author, if there is an author copy; a copy that is broken breaks rule B8.
    pub fn open_as_author(self, candidates: &[Candidate]) -> Result<ToAuthor, Refused> {
        let copy = match Access::find(self.skeleton(), Actor::Author, candidates) {
            Ok(access) => Some(AuthorCopy::open(&self, access).map_err(as_b8)?),
            Err(_) => None,
        };
        Ok(ToAuthor { returned: self, copy })
    }
}

impl AuthorCopy {
    fn open(returned: &Returned, access: Access) -> Result<Self, Refused> {
        let skeleton = returned.skeleton();
        let four = access.data(skeleton, ChunkType::OriginEnvelope)?;
        let five = access.data(skeleton, ChunkType::DestinationEnvelope)?;
        Ok(Self {
            from: OriginEnvelope::decode(&four).map_err(in_origin_envelope)?,
            to: DestinationEnvelope::decode(&five).map_err(in_destination_envelope)?,
            access,
        })
    }

    /// Rule B8 with an author copy: the account and its signet, S2, and S1 with the own key.
    fn check(&self, returned: &Returned, evidence: &Evidence<'_>) -> Result<(), Refused> {
        let skeleton = returned.skeleton();
        let in_line = |name| in_origin_envelope(Rule::E3).of_field(name);
        demand(self.from.author == *evidence.account, in_line("Author"))?;
        demand(
            self.from.author_signet == self.access.signet(),
            in_line("Author-Signet"),
        )?;
        check_domains(&self.from, &self.to)?;
        let origin = KnownOrg::check(
            evidence.origin,
            &self.to.origin,
            &self.to.origin_signet,
            skeleton.created(),
        )
        .map_err(|rule| in_destination_envelope(rule).of_field("Origin-Signet"))?;
        let signature = self.access.signature(skeleton, ChunkType::OriginSignature)?;
        demand(
            is_signed_by(origin, &skeleton.origin_input(), &signature),
            skeleton.in_chunk(ChunkType::OriginSignature, Rule::S2),
        )?;
        let not_ours = skeleton.in_chunk(ChunkType::AuthorSignature, Rule::S1);
        let own_key = evidence.own_key.ok_or(not_ours)?;
        let signature = self.access.signature(skeleton, ChunkType::AuthorSignature)?;
        let verified = own_key.verify(&skeleton.author_input(), &signature);
        verified.map_err(|_| not_ours)
    }
}

impl ToAuthor {
    /// Which message it was: to be looked up among those sent without an author copy.
    pub fn message_id(&self) -> MessageId {
        self.returned.message_id()
    }

    /// Both envelopes, with the signets to look up; `None` without an author copy.
    pub fn envelopes(&self) -> Option<(&OriginEnvelope, &DestinationEnvelope)> {
        self.copy.as_ref().map(|copy| (&copy.from, &copy.to))
    }

    /// Rules B7 and B8; then what came back may be shown.
    pub fn check(self, evidence: &Evidence<'_>) -> Result<Report, Refused> {
        let returned = &self.returned;
        let destination = match &self.copy {
            Some(copy) => &copy.from.destination,
            None => evidence.sent_to.ok_or(Rule::B8)?,
        };
        let is_from = is_from(returned, destination, evidence.destination);
        demand(is_from, Rule::B7.at(returned.signature_offset()))?;
        check_times(returned, evidence.now, Rule::B7)?;
        let content = match &self.copy {
            Some(copy) => {
                copy.check(returned, evidence).map_err(as_b8)?;
                Some(open_content(returned, &copy.access)?)
            }
            None => None,
        };
        Ok(Report {
            status: returned.status(),
            reported: returned.reported(),
            message_id: returned.message_id(),
            recipient: self.copy.map(|copy| copy.to.recipient),
            content,
        })
    }
}

/// Whatever is wrong with an author copy breaks rule B8, at its place.
fn as_b8(refused: Refused) -> Refused {
    refused.as_rule(Rule::B8)
}

/// What an author may believe: the destination gave up, on this message of its own.
#[derive(Clone)]
pub struct Report {
    /// Why.
    pub status: Status,
    /// When, unix seconds.
    pub reported: u64,
    /// On which message.
    pub message_id: MessageId,
    /// For whom it was; `None` without an author copy.
    pub recipient: Option<Mailbox>,
    /// What came back of the content; `None` without an author copy.
    pub content: Option<ReturnedContent>,
}

/// Content that came back, as the author sealed it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ReturnedContent {
    /// Data of chunk 33, if it came back.
    pub common_headers: Option<Vec<u8>>,
    /// Data of chunk 34, if it came back.
    pub other_headers: Option<Vec<u8>>,
    /// The records that came back, in the order of their chunks.
    pub records: Vec<ReturnedRecord>,
}

/// A display or attachment part that came back.
#[derive(Clone, PartialEq, Eq)]
pub struct ReturnedRecord {
    /// [`ChunkType::Display`] or [`ChunkType::Attachment`].
    pub kind: ChunkType,
    /// Its place in the body.
    pub head: RecordHead,
    /// The octets behind the head.
    pub data: Vec<u8>,
}

/// Names nobody and shows no content.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Report({})", self.status)
    }
}

/// Opens what came back: rules K2–K8, H1–H3, M1, M3. Which parts are missing, the scope says.
fn open_content(returned: &Returned, access: &Access) -> Result<ReturnedContent, Refused> {
    let (mut content, mut runs, mut data) = (ReturnedContent::default(), Runs::default(), Vec::new());
    for (chunk, octets) in returned.content() {
        let mut octets = octets.to_vec();
        let plain = access.open(returned.skeleton(), chunk.kind, chunk.index, &mut octets)?;
        let broken = |rule: Rule| rule.in_chunk(chunk.index).of_type(chunk.kind.id());
        match chunk.kind {
            ChunkType::CommonHeaders => {
                headers::check_common(plain.data).map_err(broken)?;
                content.common_headers = Some(plain.data.to_vec());
            }
            ChunkType::OtherHeaders => {
                headers::check_other(plain.data).map_err(broken)?;
                content.other_headers = Some(plain.data.to_vec());
            }
            kind => {
                runs.push(chunk.index, kind, plain).map_err(broken)?;
                data.extend_from_slice(plain.data);
                if !plain.continues {
                    content
                        .records
                        .push(record(kind, std::mem::take(&mut data)).map_err(broken)?);
                }
            }
        }
    }
    runs.finish()?;
    Ok(content)
}

fn record(kind: ChunkType, mut data: Vec<u8>) -> Result<ReturnedRecord, Rule> {
    let head = RecordHead::decode(&data)?;
    data.drain(..RECORD_HEAD_SIZE);
    Ok(ReturnedRecord { kind, head, data })
}
