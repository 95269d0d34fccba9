//! Names of log events: an interface, listed once. A name never changes once released.
//!
//! Every log line carries `event = observe::…`; each module's part of the list stands under its heading.

/// The daemon is ready to serve.
pub const DAEMON_STARTED: &str = "daemon.started";
/// The daemon has stopped.
pub const DAEMON_STOPPED: &str = "daemon.stopped";
/// An operator wants this node to take nothing new.
pub const DAEMON_DRAINED: &str = "daemon.drained";
/// It takes mail again.
pub const DAEMON_RESUMED: &str = "daemon.resumed";
/// SIGHUP came, which changes nothing.
pub const DAEMON_HANGUP_IGNORED: &str = "daemon.hangup_ignored";
/// The daemon may have so few files and sockets open that it takes fewer connections than configured.
pub const DAEMON_FEW_FILES: &str = "daemon.few_files";
/// The log can be written again. Says how many lines are lost.
pub const LOG_RESUMED: &str = "log.resumed";

/// `accept` failed, usually for want of file descriptors.
pub const LISTENER_ACCEPT_FAILED: &str = "listener.accept_failed";
/// A connection was dropped because its address has too many.
pub const LISTENER_REFUSED: &str = "listener.refused";
/// A connection to an address for proxies was dropped: it came from elsewhere, or did not say whose it is.
pub const LISTENER_PROXY_REFUSED: &str = "listener.proxy_refused";

/// A client of the HTTP port took too long, or sent what is not HTTP.
pub const HTTP_BROKEN: &str = "http.broken";

/// The store failed while the queue needed it.
pub const QUEUE_STORE_FAILED: &str = "queue.store_failed";
/// An attempt ended by a fault of ours; it is made again later, as after a deferral.
pub const QUEUE_ATTEMPT_PANICKED: &str = "queue.attempt.panicked";
/// A lease ran out while we worked on it.
pub const QUEUE_LEASE_LOST: &str = "queue.lease_lost";
/// An operator deleted what was being tried: what came of the attempt is not recorded.
pub const QUEUE_DELETED_AMID: &str = "queue.deleted_amid";
/// Mail that an operator has deleted is reported to its author as failed.
pub const QUEUE_CONDEMNED: &str = "queue.condemned";
/// The connection that hears of mail that is due was lost.
pub const STORE_UNHEARD: &str = "store.unheard";
/// Another node was silent for too long: its leases have ended.
pub const NODE_TAKEN_FOR_DEAD: &str = "node.taken_for_dead";
/// This node was silent for too long, and others took over what it had leased; it goes on under another id.
pub const NODE_REPLACED: &str = "node.replaced";
/// Nobody has heard of this node for so long that it transmits nothing until it is known whether its leases are still its own.
pub const NODE_OUT_OF_TOUCH: &str = "node.out_of_touch";
/// What is stored of a message cannot be read; its recipients are set aside.
pub const QUEUE_QUARANTINED: &str = "queue.quarantined";

// Clock and disk

/// The clock has jumped; nothing that depends on it is ended or destroyed.
pub const CLOCK_DOUBTED: &str = "clock.doubted";
/// The time is trusted again.
pub const CLOCK_TRUSTED: &str = "clock.trusted";
/// What is known of the clock cannot be kept.
pub const CLOCK_FAILED: &str = "clock.failed";
/// The disk is nearly full; nothing new is taken in.
pub const SPACE_SHORT: &str = "space.short";
/// There is room on the disk again.
pub const SPACE_ENOUGH: &str = "space.enough";

// DNS

/// The name servers allow answers to be proven.
pub const DNS_SELF_TEST_PASSED: &str = "dns.self_test.passed";
/// The name servers do not allow answers to be proven, or none answers.
pub const DNS_SELF_TEST_FAILED: &str = "dns.self_test.failed";

// domains

/// An unproven management record has none of the keys that are pinned.
pub const DOMAIN_KEYS_CONFLICT: &str = "domain.record.keys_conflict";
/// An unproven management record has keys beside the pinned ones of a proven record; they do not count.
pub const DOMAIN_KEYS_IGNORED: &str = "domain.record.keys_ignored";
/// A management record has other keys than before, and they are accepted.
pub const DOMAIN_KEYS_CHANGED: &str = "domain.record.keys_changed";
/// A domain has withdrawn its management record, with proof.
pub const DOMAIN_WITHDRAWN: &str = "domain.record.withdrawn";
/// An operator has a pinned management record forgotten.
pub const DOMAIN_PIN_FORGOTTEN: &str = "domain.pin.forgotten";
/// Expired pins could not be dropped.
pub const DOMAIN_PINS_FAILED: &str = "domain.pins.failed";
/// A management record fails DNSSEC validation.
pub const DOMAIN_BOGUS: &str = "domain.record.bogus";
/// An MTA-STS policy that is in force could not be fetched again.
pub const STS_REFRESH_FAILED: &str = "sts.refresh.failed";
/// MTA-STS policies could not be read or written.
pub const STS_STORE_FAILED: &str = "sts.store_failed";
/// A delivery to an account here was tried.
pub const QUEUE_ATTEMPT_LOCAL: &str = "queue.attempt.local";
/// A delivery by SMTP was tried.
pub const QUEUE_ATTEMPT_SMTP: &str = "queue.attempt.smtp";
/// A mail host got no mail because of its TLS, or of what was found out about it.
pub const QUEUE_HOST_REFUSED: &str = "queue.host.refused";
/// The host that the configuration names for a domain did not take a message, or could not be used.
pub const QUEUE_TRANSPORT_FAILED: &str = "queue.transport.failed";
/// A delivery by DMTP was tried. Carries an attempt id and no message id.
pub const QUEUE_ATTEMPT_DMTP: &str = "queue.attempt.dmtp";
/// A message waits for a recipient, or comes back, without an attempt: no way is open to it.
pub const QUEUE_ROUTE_CLOSED: &str = "queue.route.closed";
/// A message waits for one recipient because of somebody's key set.
pub const QUEUE_HELD: &str = "queue.held";
/// A message was sealed for one recipient.
pub const QUEUE_SEALED: &str = "queue.sealed";
/// A sealed message goes back to be sealed again, because its recipient has new keys.
pub const QUEUE_SEALED_AGAIN: &str = "queue.sealed_again";
/// The daemon stopped before all work was finished, because the grace was over.
pub const DAEMON_GRACE_OVER: &str = "daemon.grace_over";

/// A session ended as the protocol has it.
pub const SESSION_CLOSED: &str = "session.closed";
/// A connection broke, or its peer sent what no session can use.
pub const SESSION_BROKEN: &str = "session.broken";
/// A session ended by a fault of ours.
pub const SESSION_PANICKED: &str = "session.panicked";
/// A login was refused.
pub const SMTP_AUTH_REFUSED: &str = "smtp.auth.refused";
/// A login could not be judged.
pub const LOGIN_UNDECIDED: &str = "login.undecided";
/// An account has sent its share for the hour.
pub const SUBMISSION_LIMITED: &str = "submission.limited";
/// A next host was asked whether it knows a recipient of a relay domain.
pub const RELAY_CALLOUT: &str = "relay.callout";
/// A recipient was refused, or put off. Says why by the codes of the reply, and names nobody.
pub const SMTP_RCPT_REFUSED: &str = "smtp.rcpt.refused";
/// A message was accepted and is durable.
pub const SMTP_MESSAGE_ACCEPTED: &str = "smtp.message.accepted";
/// SPF, DKIM and DMARC of a message from another host were checked.
pub const SMTP_MESSAGE_AUTHENTICATED: &str = "smtp.message.authenticated";
/// A host was refused, or asked to come again, by what it is measured by.
pub const SMTP_SCREENED: &str = "smtp.screened";
/// A list in DNS refuses questions, or has whom no list may have; it is asked no more.
pub const SCREENING_LIST_UNUSABLE: &str = "screening.list_unusable";
/// It passes its test again, and is asked.
pub const SCREENING_LIST_USED: &str = "screening.list_used";
/// A list in DNS does not answer, or lacks whom every list has.
pub const SCREENING_LIST_ODD: &str = "screening.list_odd";
/// What is over could not be cleared from the greylist; it is tried again.
pub const GREYLIST_FAILED: &str = "greylist.failed";
/// So many wait, from so many networks, that for a while nobody is asked to come again.
pub const GREYLIST_FULL: &str = "greylist.full";
/// An operator has the greylist forgotten.
pub const GREYLIST_CLEARED: &str = "greylist.cleared";
/// A filter has something against a sender, a recipient or a message.
pub const FILTER_VERDICT: &str = "filter.verdict";
/// A filter could not be reached, took too long, or broke a rule.
pub const FILTER_FAILED: &str = "filter.failed";
/// A filter has added a recipient who cannot get the message, and does without. Says why by the codes of the reply to RCPT.
pub const FILTER_ADDITION_REFUSED: &str = "filter.addition_refused";
/// The time of messages that were held is over, and they are deleted.
pub const QUEUE_HELD_EXPIRED: &str = "queue.held_expired";
/// Messages that were held for too long could not be deleted; it is tried again.
pub const QUEUE_HELD_FAILED: &str = "queue.held_failed";
/// A session could not go on for a fault of ours.
pub const SMTP_FAULT: &str = "smtp.fault";
/// A login over DMTP was refused.
pub const DMTP_AUTH_REFUSED: &str = "dmtp.auth.refused";
/// A message that its author sealed at home was accepted and is durable.
pub const DMTP_SUBMISSION_ACCEPTED: &str = "dmtp.submission.accepted";
/// A message that its author sealed at home was refused.
pub const DMTP_SUBMISSION_REFUSED: &str = "dmtp.submission.refused";
/// A user has left wrapped keys here.
pub const KEY_DEPOSIT_STORED: &str = "key_deposit.stored";
/// A user has handed in a signing request, for an administrator to decide.
pub const SIGNING_REQUEST_RECEIVED: &str = "signing_request.received";
/// A user has handed in key sets signed ahead.
pub const KEY_SETS_RECEIVED: &str = "key_sets.received";
/// A sealed message was accepted and is durable.
pub const DMTP_MESSAGE_ACCEPTED: &str = "dmtp.message.accepted";
/// A sealed message was refused.
pub const DMTP_MESSAGE_REFUSED: &str = "dmtp.message.refused";
/// Which rule a refused message broke; for debugging only, and told to nobody else.
pub const DMTP_MESSAGE_RULE: &str = "dmtp.message.rule";
/// A session could not go on for a fault of ours.
pub const DMTP_FAULT: &str = "dmtp.fault";
/// An origin has sent more than it may within the hour.
pub const ORIGIN_LIMITED: &str = "dmtp.origin.limited";
/// A message of somebody on the block list was refused.
pub const BLOCK_REFUSED: &str = "block.refused";
/// Somebody wrote to a trap, and the author is blocked.
pub const BLOCK_TRAPPED: &str = "block.trapped";
/// An operator put somebody on the block list.
pub const BLOCK_ADDED: &str = "block.added";
/// An operator took somebody off the block list.
pub const BLOCK_REMOVED: &str = "block.removed";
/// The time of entries of the block list was over.
pub const BLOCK_EXPIRED: &str = "block.expired";
/// The block list could not be looked after; it is tried again.
pub const BLOCK_FAILED: &str = "block.failed";
/// A network has asked for too many users that have no signet.
pub const DMTP_ENUMERATION: &str = "dmtp.enumeration";

/// A step with a key for DKIM failed; it is tried again.
pub const DKIM_KEY_FAILED: &str = "dkim.key_failed";

// programs of this host

/// A message that `sendmail` left is in the spool.
pub const LOCAL_MESSAGE_TAKEN: &str = "local.message.taken";
/// Filters refuse what a program of this host sends; its sender is told.
pub const LOCAL_MESSAGE_FILTERED: &str = "local.message.filtered";
/// A message in the drop folder stays there for now, for a fault of ours.
pub const LOCAL_MESSAGE_LEFT: &str = "local.message.left";
/// Something in the drop folder was no message, and was removed.
pub const LOCAL_FILE_REFUSED: &str = "local.file.refused";
/// The drop folder is looked at.
pub const LOCAL_FOLDER_USED: &str = "local.folder.used";
/// The drop folder cannot be used.
pub const LOCAL_FOLDER_UNUSABLE: &str = "local.folder.unusable";
/// The file of aliases was read, at the start or because it has changed, and is in use.
pub const ALIASES_READ: &str = "aliases.read";
/// It has changed and cannot be used; the aliases from before stay in use.
pub const ALIASES_UNUSABLE: &str = "aliases.unusable";

// signets

/// A signet of ours got a new key set in time.
pub const KEY_SET_RENEWED: &str = "key_set.renewed";
/// A key set that a user had signed ahead was due and is published.
pub const KEY_SET_PUBLISHED: &str = "key_set.published";
/// The last key set that a user has signed ahead is in use: once it has expired, mail for the user waits.
pub const KEY_SET_RUNNING_OUT: &str = "key_set.running_out";
/// Users whose keys are at home were told by mail that their key sets run out.
pub const KEY_SET_WARNED: &str = "key_set.warned";
/// A key set could not be replaced; it is tried again.
pub const KEY_SET_FAILED: &str = "key_set.failed";
/// Private KEM keys that were due were destroyed.
pub const KEY_SET_DESTROYED: &str = "key_set.destroyed";
/// An operator accepts whatever keys somebody has next.
pub const KEY_SET_ACCEPTED: &str = "key_set.accepted";
/// A change of keys, or a domain's way out of DIME, took a step.
pub const KEY_ROLLOVER: &str = "key.rollover";
/// A step of a change of keys failed; it is tried again.
pub const KEY_ROLLOVER_FAILED: &str = "key.rollover_failed";
/// Private keys that were replaced long enough ago were erased.
pub const KEY_ERASED: &str = "key.erased";
/// An operator removed an account.
pub const ACCOUNT_REMOVED: &str = "account.removed";
/// An operator has a domain served no more.
pub const DOMAIN_REMOVED: &str = "domain.removed";
/// A signet of ours was taken out of service.
pub const SIGNET_REVOKED: &str = "signet.revoked";
/// The files with certificate revocation lists have been read, at the start or because they have changed, and are in use.
pub const TLS_REVOCATION_LISTS_READ: &str = "tls.revocation_lists_read";
/// They have changed and cannot be used; those from before stay in use.
pub const TLS_REVOCATION_LISTS_UNREADABLE: &str = "tls.revocation_lists_unreadable";
/// Somebody else's signing key has changed, and no chain of custody leads to the new one: mail waits.
pub const SIGNET_CUSTODY_BROKEN: &str = "signet.custody_broken";
