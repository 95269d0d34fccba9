//! One attempt for the recipients of a claim: decide the route of each, seal or send, and conclude.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rand_core::Rng;

use super::conclude::{Conclusion, Result as Concluded};
use super::observer::Observer;
use super::runner::{Attempt, Settled};
use super::schedule::Schedule;
use crate::base::id::{AttemptId, QueueId};
use crate::base::observe;
use crate::base::time::Clock;
use crate::delivery::body::Body;
use crate::delivery::dmtp::{self, DmtpDelivery};
use crate::delivery::local::LocalDelivery;
use crate::delivery::seal::{self, Author, seal_and_sign};
use crate::delivery::smtp::{self, SmtpDelivery};
use crate::delivery::{Diagnosis, Outcome};
use crate::dime::record::Policy;
use crate::domains::{DomainFacts, Domains, DxError, RecordLookup};
use crate::dmtp::command::CommitHash;
use crate::dmtp::name::Name;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::reply::EnhancedStatus;
use crate::net::dns::Proof;
use crate::routing::{self, Allowances, Decision, DmtpFinding, Facts, Route};
use crate::signet_service::{Directory, LookupError};
use crate::store::{Claim, ClaimedRecipient, Content, FollowUp, NewMessage, SettledState, Settlement, Source, Store};
