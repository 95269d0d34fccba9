//! `dimed`: a dual-mode mail transfer daemon. One binary speaks SMTP and DMTP side by side, decides for every
//! recipient domain whether a message goes as D/MIME or as plain MIME, and keeps its queue in SQL.
//!
//! # Map
//!
//! Modules are listed bottom-up and use only modules listed above them; `tests/integration/architecture.rs`
//! holds them to it.
//!
//! | Module | What it is |
//! |---|---|
//! | [`base`] | bytes, secrets, time, ids, the shape of protocol machines, names of log events |
//! | [`mail`] | values of RFC 5321, 5322 and 3461: addresses, replies, trace fields, delivery status |
//! | [`crypto`] | primitives behind small typed calls; one file per suite |
//! | [`dime`] | signets, keys, messages and management records as bytes and values |
//! | [`smtp`] | pure machines: SMTP server and client |
//! | [`dmtp`] | pure machines: DMTP server and client |
//! | [`mode`] | which machine owns a connection, and the handover |
//! | [`net`] | sockets: the driver of machines, TLS, DNS with its proof, certificates by ACME |
//! | [`store`] | SQL: spool, signets, accounts, domains |
//! | [`authentication`] | SPF, DKIM and DMARC of mail from other hosts; signatures of DKIM, seals of ARC, rewritten reverse-paths (SRS) |
//! | [`domains`] | what we know of a remote domain, how well proven, how fresh; sessions with its delivery hosts |
//! | [`accounts`] | users, passwords, aliases, trust modes |
//! | [`abuse`] | block list, limits by origin, traps |
//! | [`screening`] | what hosts are measured by that bring mail by SMTP: lists in DNS, names, greylisting, rates |
//! | [`signet_service`] | our signets published, anybody's found and verified |
//! | [`routing`] | pure: facts about a recipient domain in, one route and its reason out |
//! | [`delivery`] | one attempt each: Maildir, LMTP, SMTP, DMTP |
//! | [`queue`] | the runner and its leases, the plan of an attempt, retry schedule, bounces |
//! | [`filters`] | milters and rspamd: who is asked about mail, and what follows |
//! | [`config`] | TOML and defaults |
//! | [`daemon`] | listeners, sessions, another configuration, shutdown |
//! | [`cli`] | the command line, one file per family |
//!
//! `mail`, `crypto`, `dime`, `smtp`, `dmtp`, `mode`, `routing` and `queue::schedule` are synchronous and
//! deterministic: no sockets, files, system clock, global randomness or logging.
//!
//! # How a connection is served
//!
//! A protocol is a [`base::machine::Machine`]: octets and time in, octets and events out. A
//! [`net::connection::Connection`] runs it over a socket and does the TLS handshakes. The owner of the session, in
//! [`daemon`], answers the machine's questions ("may this be a recipient?") with the help of services, and a machine
//! that waits for an answer reads nothing, so no peer can make us buffer. On a dual-mode port [`mode::Dual`] decides
//! from the first line which machine goes on. What strangers can cost on that way, and what bounds it, is a table in [`daemon`];
//! what holds for those who have proven who they are is in [`abuse`].
//!
//! # A message's way
//!
//! 1. **In.** SMTP: recipients are resolved at RCPT, or verified if they are in domains of others that we take mail for, and the
//!    host is measured there; the message is cleaned and completed, or authenticated if it
//!    comes from another host, while it streams into the [`store`]. DMTP: the object is checked as destination, opened with a trustful recipient's keys, and its author
//!    verified by asking the origin, all before the one final reply. On the submission port an author who has logged in
//!    leaves what was sealed at home; it is checked and signed as origin. `250` is sent after the commit. Programs of this host
//!    leave files ([`daemon::pickup`]), which are taken in the same way.
//! 2. **Claimed.** Where there is room and nobody waits, a message is leased as it is stored, and begun at once ([`store::Desk`]).
//!    Otherwise [`queue::runner`] leases due recipients, one message and one domain at a time, and no more for a domain than
//!    its window, and that of its next hop, have room for ([`queue::windows`]); our own domains and others keep out of each other's way, and
//!    hosts that nobody has reached lately out of the way of those that answer. People's mail comes a little before the rest ([`queue::priority`]).
//! 3. **Planned.** [`queue::plan`] collects the facts, asks for signets where the domain has a management record, and whether others
//!    find that of the author's domain, and has [`routing::decide`] name the route and its reason for each recipient.
//! 4. **Out.** To a Maildir or a mailbox server, sealed first if a trustful author writes to an account whose keys are
//!    elsewhere; by SMTP, converted if the host needs that, signed last, to the domain's MX hosts or the host that the operator
//!    names, each with the TLS that [`routing::decide_host`] demands, in a session that several messages may share
//!    ([`net::pool`]); or sealed: the message is replaced,
//!    in the transaction that settles it, by one D/MIME object per recipient, whose row names only the destination domain,
//!    and that object is then transferred by DMTP, in a session that may have been shared, too. If the recipient has other keys by then, the object is opened with the
//!    author's own keys, and the message goes back to 2, a few times at most.
//! 5. **Settled.** [`queue::conclude`] turns outcomes into final states, retries, and RFC 3464 reports, which enter the
//!    spool in the same transaction. A message whose recipients are all final is erased with its key.
//!
//! A kill at any moment leaves either the state before a transaction or the one after it. Leases of a killed daemon are
//! released at the next start, or by another node ([`store::postgres`]), so a delivery may be repeated (RFC 5321 §6.1) and is never lost.
//!
//! # What is secret where
//!
//! Bodies, envelopes and attempt notes are encrypted under a key per message, which the master key wraps; private keys of DIME
//! and DKIM under the master key itself. The master key is never in the database. Key files that users and organizations keep
//! themselves ([`dime::keys`]) are written for their owner alone, in the clear or under a passphrase; those that a cautious
//! user leaves here are under a passphrase that we never see, and under the master key. Log lines carry our own ids and
//! hashes of addresses ([`queue::names`]); for sealed mail no lines that can be joined by an id name both ends ([`base::observe`]
//! lists every event).

pub mod abuse;
pub mod accounts;
pub mod authentication;
pub mod base;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod daemon;
pub mod delivery;
pub mod dime;
pub mod dmtp;
pub mod domains;
pub mod filters;
pub mod mail;
pub mod mode;
pub mod net;
pub mod queue;
pub mod routing;
pub mod screening;
pub mod signet_service;
pub mod smtp;
pub mod store;
