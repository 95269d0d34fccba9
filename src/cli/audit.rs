//! What operators have changed, for the log: one event for each family of commands. Domains are named and no people.

use std::sync::atomic::{AtomicBool, Ordering};

use super::context::Context;
use super::serve::start_log;
use crate::base::observe;
use crate::config::Config;
use crate::mail::address::Domain;

/// Whether this process does one command and nothing else.
static IS_OWN: AtomicBool = AtomicBool::new(false);

/// Has what is changed from now on logged as the configuration says: this process has no other log. Elsewhere lines go where those
/// of the process go.
pub fn in_own_process() {
    IS_OWN.store(true, Ordering::Relaxed);
}

/// Has what services tell of from now on logged: for commands whose changes they tell of themselves.
pub fn begin(config: &Config) {
    if IS_OWN.load(Ordering::Relaxed) {
        start_log(config);
    }
}

/// An account in that domain.
pub fn account(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::ACCOUNT_CHANGED, domain = %domain, change, "by order of an operator, an account is changed");
}

/// An alias in that domain.
pub fn alias(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::ALIAS_CHANGED, domain = %domain, change, "by order of an operator, an alias is changed");
}

/// A domain that is served or relayed from now on, in one word which.
pub fn domain(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::DOMAIN_CHANGED, domain = %domain, change, "by order of an operator, it is changed how mail for a domain is taken");
}

/// A domain that had no DIME has it.
pub fn joined(context: &Context, domain: &Domain) {
    begin(&context.config);
    tracing::warn!(event = observe::DOMAIN_CHANGED, domain = %domain, change = "joined", "by order of an operator, a domain gets DIME");
}

/// So many addresses in a relay domain.
pub fn recipients(context: &Context, domain: &Domain, change: &'static str, count: u64) {
    begin(&context.config);
    tracing::warn!(event = observe::RELAY_RECIPIENTS_CHANGED, domain = %domain, change, count,
        "by order of an operator, others have an address in a relay domain");
}

/// A domain stays in DIME that was on its way out.
pub fn stays(context: &Context, domain: &Domain) {
    begin(&context.config);
    tracing::info!(event = observe::KEY_ROLLOVER, domain = %domain, whose = "domain", state = "cancelled",
        "by order of an operator, a domain stays in DIME");
}

/// A trap in that domain.
pub fn trap(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::TRAP_CHANGED, domain = %domain, change, "by order of an operator, an address is a trap, or none any more");
}

/// The signet of a user in that domain, or the request for one.
pub fn signet(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::SIGNET_CHANGED, domain = %domain, change, "by order of an operator, it is decided about a user's signet");
}

/// The key set of that domain, or of a user in it.
pub fn key_set(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::KEY_SET_CHANGED, domain = %domain, change, "by order of an operator, a key set is changed");
}

/// The time of day is right.
pub fn clock(context: &Context) {
    begin(&context.config);
    tracing::warn!(
        event = observe::CLOCK_CONFIRMED,
        "by order of an operator, the time of day is trusted"
    );
}

/// Keys for DKIM of that domain.
pub fn dkim(context: &Context, domain: &Domain, change: &'static str) {
    begin(&context.config);
    tracing::warn!(event = observe::DKIM_CHANGED, domain = %domain, change, "by order of an operator, keys for DKIM are changed");
}

/// So many recipients in the queue.
pub fn queue(context: &Context, change: &'static str, count: u64) {
    begin(&context.config);
    tracing::warn!(
        event = observe::QUEUE_CHANGED,
        change,
        count,
        "by order of an operator, mail in the queue is changed"
    );
}

/// Nodes are to take nothing new, or something again.
pub fn drain(context: &Context, change: &'static str) {
    begin(&context.config);
    tracing::warn!(
        event = observe::QUEUE_DRAIN_CHANGED,
        change,
        "by order of an operator, nodes take nothing new, or mail again"
    );
}

/// The database was copied.
pub fn backup(context: &Context, with_keys: bool) {
    begin(&context.config);
    let change = if with_keys { "copied_with_keys" } else { "copied" };
    tracing::warn!(
        event = observe::STORE_COPIED,
        change,
        "by order of an operator, a backup is made"
    );
}

/// The certificate for SMTP, or the account with its authority.
pub fn authority(config: &Config, change: &'static str) {
    begin(config);
    tracing::warn!(
        event = observe::TLS_AUTHORITY_CHANGED,
        change,
        "by order of an operator, the authority of the certificate for SMTP is told that keys may be known to others"
    );
}

/// Messages are about to be written into files.
pub fn exported(context: &Context) {
    begin(&context.config);
    tracing::warn!(
        event = observe::STORE_COPIED,
        change = "exported",
        "by order of an operator, messages are written into files"
    );
}

/// So many rows of the database were set aside or rebuilt.
pub fn repaired(context: &Context, count: u64) {
    begin(&context.config);
    tracing::warn!(
        event = observe::STORE_REPAIRED,
        count,
        "by order of an operator, the database is repaired"
    );
}

/// An installation was made of a backup; without the master key, if that is lost.
pub fn restored(config: &Config, with_key: bool) {
    begin(config);
    let change = if with_key {
        "restored"
    } else {
        "restored_without_key"
    };
    tracing::warn!(
        event = observe::STORE_RESTORED,
        change,
        "by order of an operator, a backup is restored"
    );
}

/// The master key.
pub fn master_key(config: &Config, change: &'static str) {
    begin(config);
    tracing::warn!(
        event = observe::KEY_MASTER_CHANGED,
        change,
        "by order of an operator, the master key is changed"
    );
}
