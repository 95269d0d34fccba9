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
//! | [`net`] | sockets: driver, TLS, DNS, sessions with delivery hosts |
//! | [`store`] | SQL: spool, signets, accounts, domains |
//! | [`domains`] | what we know of a remote domain, how well proven, and how fresh |
//! | [`accounts`] | users, passwords, aliases, trust modes |
//! | [`signet_service`] | publish, look up and verify signets |
//! | [`routing`] | pure: facts about a recipient domain in, one route and its reason out |
//! | [`delivery`] | one attempt each: Maildir, SMTP, DMTP |
//! | [`queue`] | runner, retry schedule, bounces |
//! | [`config`] | TOML and defaults |
//! | [`daemon`] | listeners, sessions, shutdown |
//! | [`cli`] | the command line, one file per family |
//!
//! `mail`, `crypto`, `dime`, `smtp`, `dmtp`, `mode`, `routing` and `queue::schedule` are synchronous and
//! deterministic: no sockets, files, system clock, global randomness or logging.

pub mod accounts;
pub mod base;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod daemon;
pub mod delivery;
pub mod dime;
pub mod dmtp;
pub mod domains;
pub mod mail;
pub mod mode;
pub mod net;
pub mod queue;
pub mod routing;
pub mod signet_service;
pub mod smtp;
pub mod store;
