//! The list of events. A new one stands under the heading of what it is about.

catalogue! {
    // The daemon and its log

    /// The daemon is ready to serve.
    DAEMON_STARTED = "daemon.started", Operations, [Info], ["leases_freed"];
    /// The daemon has stopped.
    DAEMON_STOPPED = "daemon.stopped", Operations, [Info], [];
    /// An operator wants this node to take nothing new: it is drained.
    DAEMON_DRAINED = "daemon.drained", Audit, [Warn], [];
    /// This node takes mail again after it was drained.
    DAEMON_RESUMED = "daemon.resumed", Audit, [Info], [];
    /// Another configuration was read and counts from now on. Says which keys of it need a restart, if any do.
    DAEMON_RELOADED = "daemon.reloaded", Audit, [Info], [; "keys"];
    /// Another configuration was read and cannot be used: the one from before stays.
    DAEMON_RELOAD_REFUSED = "daemon.reload_refused", Operations, [Error], ["error"];
    /// `dimed reload` cannot reach this daemon; SIGHUP can.
    DAEMON_CONTROL_UNUSABLE = "daemon.control_unusable", Operations, [Warn], ["error"];
    /// The service manager wants signs of life and gets none, because the queue or the store stands still.
    DAEMON_STALLED = "daemon.stalled", Operations, [Error], ["what"];
    /// The service manager cannot be told how the daemon is.
    SUPERVISOR_UNHEARD = "supervisor.unheard", Operations, [Warn], ["error"];
    /// The daemon may have so few files and sockets open that it takes fewer connections than configured.
    DAEMON_FEW_FILES = "daemon.few_files", Operations, [Warn], ["connections", "wanted", "limit"];
    /// The log can be written again. Says how many lines are lost.
    LOG_RESUMED = "log.resumed", Operations, [Warn], ["lost"];
    /// A file of the log was moved or removed and cannot be made again. Its lines go on into the one that was open.
    LOG_FILE_UNUSABLE = "log.file_unusable", Operations, [Error], ["class", "error"];

    // Listeners

    /// `accept` failed, usually for want of file descriptors. While it goes on failing at a port, that is said every half minute, with
    /// how often since the line before.
    LISTENER_ACCEPT_FAILED = "listener.accept_failed", Operations, [Warn], ["count", "error"];
    /// A connection was dropped because its address has too many.
    LISTENER_REFUSED = "listener.refused", Security, [Info], ["peer.ip"];
    /// A connection to an address for proxies was dropped: it came from elsewhere, or did not say whose it is.
    LISTENER_PROXY_REFUSED = "listener.proxy_refused", Security, [Warn, Info], ["peer.ip"; "error"];
    /// A client of the HTTP port took too long, or sent what is not HTTP.
    HTTP_BROKEN = "http.broken", Operations, [Debug], [];

    // The queue and the store

    /// The store failed while the queue needed it.
    QUEUE_STORE_FAILED = "queue.store_failed", Operations, [Error, Warn], ["error"; "message.id", "attempt"];
    /// An attempt ended by a fault of ours; it is made again later, as after a deferral.
    QUEUE_ATTEMPT_PANICKED = "queue.attempt.panicked", Operations, [Error], ["message.id"];
    /// A lease ran out while we worked on it.
    QUEUE_LEASE_LOST = "queue.lease_lost", Operations, [Warn], ["message.id"];
    /// At the start, recipients waited for longer than any pause lasts: the clock was ahead in an earlier run. They are due now.
    QUEUE_BROUGHT_FORWARD = "queue.brought_forward", Operations, [Warn], ["recipients"];
    /// An operator deleted what was being tried: what came of the attempt is not recorded.
    QUEUE_DELETED_AMID = "queue.deleted_amid", Mail, [Warn], ["message.id"];
    /// Mail that an operator has deleted is reported to its author as failed.
    QUEUE_CONDEMNED = "queue.condemned", Mail, [Info], ["message.id"];
    /// The connection that hears of mail that is due was lost.
    STORE_UNHEARD = "store.unheard", Operations, [Warn], ["error"];
    /// Another node was silent for too long: its leases have ended.
    NODE_TAKEN_FOR_DEAD = "node.taken_for_dead", Operations, [Error], ["node.host", "leases"];
    /// This node was silent for too long, and others took over what it had leased; it goes on under another id.
    NODE_REPLACED = "node.replaced", Operations, [Error], [];
    /// Nobody has heard of this node for so long that it transmits nothing until it is known whether its leases are still its own.
    NODE_OUT_OF_TOUCH = "node.out_of_touch", Operations, [Warn], [];
    /// What is stored of a message cannot be read; its recipients are set aside.
    QUEUE_QUARANTINED = "queue.quarantined", Operations, [Error], ["reason"; "message.id", "recipient.id"];

    // Clock and disk

    /// The clock has jumped; nothing that depends on it is ended or destroyed.
    CLOCK_DOUBTED = "clock.doubted", Operations, [Error], ["ahead_secs"];
    /// The time of day is trusted again.
    CLOCK_TRUSTED = "clock.trusted", Operations, [Info], [];
    /// An operator says that the clock is right.
    CLOCK_CONFIRMED = "clock.confirmed", Audit, [Warn], [];
    /// What is known of the clock cannot be kept.
    CLOCK_FAILED = "clock.failed", Operations, [Error], ["error"];
    /// The disk is nearly full; nothing new is taken in.
    SPACE_SHORT = "space.short", Operations, [Error], [];
    /// There is room on the disk again.
    SPACE_ENOUGH = "space.enough", Operations, [Info], [];

    // DNS

    /// The name servers allow answers to be proven.
    DNS_SELF_TEST_PASSED = "dns.self_test.passed", Operations, [Info], [];
    /// The name servers do not allow answers to be proven, or none answers.
    DNS_SELF_TEST_FAILED = "dns.self_test.failed", Operations, [Error], ["reason"];

    // Domains

    /// An unproven management record has none of the keys that are pinned.
    DOMAIN_KEYS_CONFLICT = "domain.record.keys_conflict", Security, [Warn], ["domain"];
    /// An unproven management record has keys beside the pinned ones of a proven record; they do not count.
    DOMAIN_KEYS_IGNORED = "domain.record.keys_ignored", Security, [Warn], ["domain"];
    /// A management record has other keys than before, and they are accepted.
    DOMAIN_KEYS_CHANGED = "domain.record.keys_changed", Audit, [Info], ["domain", "proof"];
    /// A domain has withdrawn its management record, with proof.
    DOMAIN_WITHDRAWN = "domain.record.withdrawn", Audit, [Info], ["domain"];
    /// An operator has a pinned management record forgotten.
    DOMAIN_PIN_FORGOTTEN = "domain.pin.forgotten", Audit, [Warn], ["domain"];
    /// Expired pins could not be dropped.
    DOMAIN_PINS_FAILED = "domain.pins.failed", Operations, [Error], ["error"];
    /// A management record fails DNSSEC validation.
    DOMAIN_BOGUS = "domain.record.bogus", Security, [Warn], ["domain"];
    /// Others do not find the management record of a domain of ours, or not with the key in use: what would be sealed in the domain's
    /// name waits. Said once, and again when the reason is another one.
    DOMAIN_OWN_RECORD_MISSING = "domain.own_record.missing", Operations, [Warn], ["domain", "reason"];
    /// The management record of a domain of ours that was missing is there.
    DOMAIN_OWN_RECORD_SEEN = "domain.own_record.seen", Operations, [Info], ["domain"];
    /// An MTA-STS policy that is in force could not be fetched again.
    STS_REFRESH_FAILED = "sts.refresh.failed", Operations, [Warn], ["domain", "reason"];
    /// MTA-STS policies could not be read or written.
    STS_STORE_FAILED = "sts.store_failed", Operations, [Error], ["error"];

    // Attempts

    /// A delivery to an account here was tried. Mail that came by DMTP has an attempt id in place of the message id, so that no
    /// line says both where it came from and for whom it was.
    QUEUE_ATTEMPT_LOCAL = "queue.attempt.local", Mail, [Info],
        ["route.kind", "route.reason", "outcome", "reply.enhanced", "delay.before_queue_ms", "delay.in_queue_ms",
         "delay.transmitting_ms", "elapsed_ms", "size_bytes"; "message.id", "attempt.id", "sender", "recipient",
         "reply.code", "reply.text"];
    /// A delivery by SMTP was tried. One line for each recipient.
    QUEUE_ATTEMPT_SMTP = "queue.attempt.smtp", Mail, [Info],
        ["route.kind", "route.reason", "destination", "peer.host", "tls.version", "tls.demanded",
         "tls.policy", "tls.verified", "outcome", "reply.enhanced", "delay.before_queue_ms", "delay.in_queue_ms",
         "delay.connecting_ms", "delay.transmitting_ms", "elapsed_ms", "size_bytes"; "message.id", "attempt.id", "sender",
         "recipient", "reply.code", "reply.text"];
    /// A mail host got no mail because of its TLS, or of what was found out about it. Without a message id where the domain has DIME.
    QUEUE_HOST_REFUSED = "queue.host.refused", Mail, [Warn],
        ["destination", "peer.host", "tls.demanded", "tls.policy"; "message.id"];
    /// The host that the configuration names for a domain did not take a message, or could not be used. Without a message id where the
    /// domain has DIME.
    QUEUE_TRANSPORT_FAILED = "queue.transport.failed", Mail, [Warn],
        ["peer.host", "outcome", "reply.enhanced", "error"; "message.id", "reply.code"];
    /// A delivery by DMTP was tried. Carries an attempt id and no message id, names nobody, and its delays are in whole seconds.
    QUEUE_ATTEMPT_DMTP = "queue.attempt.dmtp", Mail, [Info],
        ["attempt.id", "route.kind", "route.reason", "destination", "peer.host", "tls.version", "tls.demanded",
         "tls.policy", "tls.verified", "outcome", "reply.enhanced", "delay.before_queue_ms", "delay.in_queue_ms",
         "delay.connecting_ms", "delay.transmitting_ms", "elapsed_ms"; "reply.code"];
    /// A message waits for a recipient, or comes back, without an attempt: no way is open to it.
    QUEUE_ROUTE_CLOSED = "queue.route.closed", Mail, [Info], ["message.id", "route.kind", "route.reason"];
    /// A message waits for one recipient because of somebody's key set.
    QUEUE_HELD = "queue.held", Mail, [Warn], ["message.id", "rule", "actor", "route.reason"];
    /// A message was sealed for one recipient.
    QUEUE_SEALED = "queue.sealed", Mail, [Info], ["message.id", "choice", "elapsed_ms"];
    /// A sealed message goes back to be sealed again, because its recipient has new keys.
    QUEUE_SEALED_AGAIN = "queue.sealed_again", Mail, [Info], ["message.id", "times"];
    /// The daemon stopped before all work was finished, because the grace was over.
    DAEMON_GRACE_OVER = "daemon.grace_over", Operations, [Warn], [];

    // Sessions

    /// A session ended as the protocol has it.
    SESSION_CLOSED = "session.closed", Mail, [Info], ["session.id", "peer.ip", "service", "messages"];
    /// A connection broke, or its peer sent what no session can use.
    SESSION_BROKEN = "session.broken", Mail, [Info], ["session.id", "peer.ip", "service", "error"];
    /// A session ended by a fault of ours.
    SESSION_PANICKED = "session.panicked", Security, [Error], ["peer.ip"];
    /// A login was refused.
    SMTP_AUTH_REFUSED = "smtp.auth.refused", Security, [Info], ["session.id", "peer.ip"];
    /// A login could not be judged.
    LOGIN_UNDECIDED = "login.undecided", Operations, [Error], ["session.id", "error"];
    /// An account has sent its share for the hour.
    SUBMISSION_LIMITED = "submission.limited", Security, [Warn], ["session.id"];
    /// A next host was asked whether it knows a recipient of a relay domain.
    RELAY_CALLOUT = "relay.callout", Mail, [Info], ["destination", "outcome"];
    /// A recipient was refused, or put off. Says why by the codes of the reply, and names nobody.
    SMTP_RCPT_REFUSED = "smtp.rcpt.refused", Mail, [Info], ["session.id", "peer.ip", "reply.code"; "reply.enhanced"];
    /// A message was accepted and is durable.
    SMTP_MESSAGE_ACCEPTED = "smtp.message.accepted", Mail, [Info],
        ["session.id", "message.id", "size_bytes", "recipients", "held", "delay.before_queue_ms"; "sender"];
    /// SPF, DKIM and DMARC of a message from another host were checked.
    SMTP_MESSAGE_AUTHENTICATED = "smtp.message.authenticated", Mail, [Info], ["session.id", "message.id", "spf", "dkim", "dmarc"];
    /// A host was refused, or asked to come again, by what it is measured by.
    SMTP_SCREENED = "smtp.screened", Security, [Info], ["session.id", "peer.ip", "reason", "for_now"; "list"];
    /// A list in DNS refuses questions, or has whom no list may have; it is asked no more.
    SCREENING_LIST_UNUSABLE = "screening.list_unusable", Operations, [Warn], ["list"];
    /// A list in DNS passes its test again, and is asked.
    SCREENING_LIST_USED = "screening.list_used", Operations, [Info], ["list"];
    /// A list in DNS does not answer, or lacks whom every list has.
    SCREENING_LIST_ODD = "screening.list_odd", Operations, [Warn], ["list"];
    /// What is over could not be cleared from the greylist; it is tried again.
    GREYLIST_FAILED = "greylist.failed", Operations, [Error], ["error"];
    /// So many wait, from so many networks, that for a while nobody is asked to come again.
    GREYLIST_FULL = "greylist.full", Security, [Warn], [];
    /// An operator has the greylist forgotten.
    GREYLIST_CLEARED = "greylist.cleared", Audit, [Warn], [];
    /// A filter has something against a sender, a recipient or a message.
    FILTER_VERDICT = "filter.verdict", Mail, [Info], ["session.id", "filter", "verdict", "action"; "message.id"];
    /// A filter could not be reached, took too long, or broke a rule.
    FILTER_FAILED = "filter.failed", Operations, [Warn], ["session.id", "filter", "action", "error"];
    /// A filter has added a recipient who cannot get the message, and does without. Says why by the codes of the reply to RCPT.
    FILTER_ADDITION_REFUSED = "filter.addition_refused", Mail, [Warn], ["session.id", "reply.code"; "reply.enhanced"];
    /// The time of messages that were held is over, and they are deleted.
    QUEUE_HELD_EXPIRED = "queue.held_expired", Mail, [Info], ["recipients"];
    /// Messages that were held for too long could not be deleted; it is tried again.
    QUEUE_HELD_FAILED = "queue.held_failed", Operations, [Error], ["error"];
    /// A session could not go on for a fault of ours.
    SMTP_FAULT = "smtp.fault", Operations, [Error], ["session.id", "error"];
    /// A login over DMTP was refused.
    DMTP_AUTH_REFUSED = "dmtp.auth.refused", Security, [Info], ["session.id", "peer.ip"];
    /// A message that its author sealed at home was accepted and is durable.
    DMTP_SUBMISSION_ACCEPTED = "dmtp.submission.accepted", Mail, [Info], ["session.id", "message.id", "size_bytes"; "sender"];
    /// A message that its author sealed at home was refused.
    DMTP_SUBMISSION_REFUSED = "dmtp.submission.refused", Mail, [Info], ["session.id", "reply.code", "reason", "size_bytes"];
    /// A user has left wrapped keys here.
    KEY_DEPOSIT_STORED = "key_deposit.stored", Audit, [Info], ["session.id"];
    /// A user has handed in a signing request, for an administrator to decide.
    SIGNING_REQUEST_RECEIVED = "signing_request.received", Audit, [Info], ["session.id", "domain"];
    /// A user has handed in key sets signed ahead.
    KEY_SETS_RECEIVED = "key_sets.received", Audit, [Info], ["session.id", "count"];
    /// A sealed message was accepted and is durable.
    DMTP_MESSAGE_ACCEPTED = "dmtp.message.accepted", Mail, [Info], ["session.id", "message.id", "origin", "size_bytes"];
    /// A sealed message was refused.
    DMTP_MESSAGE_REFUSED = "dmtp.message.refused", Mail, [Info], ["session.id", "peer.ip", "reply.code", "reason", "size_bytes"];
    /// Which rule a refused message broke; for debugging only, and told to nobody else.
    DMTP_MESSAGE_RULE = "dmtp.message.rule", Mail, [Debug], ["session.id", "rule"];
    /// A session could not go on for a fault of ours.
    DMTP_FAULT = "dmtp.fault", Operations, [Error], ["session.id", "error"];
    /// An origin has sent more than it may within the hour.
    ORIGIN_LIMITED = "dmtp.origin.limited", Security, [Info], ["origin"];
    /// A message of somebody on the block list was refused.
    BLOCK_REFUSED = "block.refused", Security, [Info], ["origin", "kind"];
    /// Somebody wrote to a trap, and the author is blocked.
    BLOCK_TRAPPED = "block.trapped", Security, [Info], ["origin"];
    /// An operator put somebody on the block list.
    BLOCK_ADDED = "block.added", Audit, [Warn], ["kind"];
    /// An operator took somebody off the block list.
    BLOCK_REMOVED = "block.removed", Audit, [Warn], ["kind"];
    /// The time of entries of the block list was over.
    BLOCK_EXPIRED = "block.expired", Audit, [Info], ["entries"];
    /// The block list could not be looked after; it is tried again.
    BLOCK_FAILED = "block.failed", Operations, [Error], ["error"];
    /// A network has asked for too many users that have no signet.
    DMTP_ENUMERATION = "dmtp.enumeration", Security, [Warn], ["session.id", "peer.ip"];

    // DKIM

    /// A step with a key for DKIM failed; it is tried again.
    DKIM_KEY_FAILED = "dkim.key_failed", Operations, [Error], ["error"];

    // Programs of this host

    /// A message that `sendmail` left is in the spool.
    LOCAL_MESSAGE_TAKEN = "local.message.taken", Mail, [Info],
        ["message.id", "user.id", "size_bytes", "recipients", "held"; "sender"];
    /// Filters refuse what a program of this host sends; its sender is told.
    LOCAL_MESSAGE_FILTERED = "local.message.filtered", Mail, [Info], ["message.id", "recipients"];
    /// A message in the drop folder stays there for now, for a fault of ours.
    LOCAL_MESSAGE_LEFT = "local.message.left", Operations, [Error, Warn], [; "user.id", "error", "count"];
    /// Something in the drop folder was no message, and was removed.
    LOCAL_FILE_REFUSED = "local.file.refused", Security, [Warn], ["count"; "user.id", "error"];
    /// The drop folder is looked at.
    LOCAL_FOLDER_USED = "local.folder.used", Operations, [Info], [];
    /// The drop folder cannot be used.
    LOCAL_FOLDER_UNUSABLE = "local.folder.unusable", Operations, [Warn], ["reason"];
    /// The file of aliases was read, at the start or because it has changed, and is in use.
    ALIASES_READ = "aliases.read", Operations, [Warn, Info], ["count"; "reason"];
    /// The file of aliases has changed and cannot be used; the aliases from before stay in use.
    ALIASES_UNUSABLE = "aliases.unusable", Operations, [Error], ["reason"];

    // Signets and keys

    /// A signet of ours got a new key set in time.
    KEY_SET_RENEWED = "key_set.renewed", Audit, [Info], ["count"];
    /// A key set that a user had signed ahead was due and is published.
    KEY_SET_PUBLISHED = "key_set.published", Audit, [Info], ["count"];
    /// The last key set that a user has signed ahead is in use: once it has expired, mail for the user waits.
    KEY_SET_RUNNING_OUT = "key_set.running_out", Operations, [Warn], ["domain", "count"];
    /// Users whose keys are at home were told by mail that their key sets run out.
    KEY_SET_WARNED = "key_set.warned", Audit, [Info], ["count"];
    /// A key set could not be replaced; it is tried again.
    KEY_SET_FAILED = "key_set.failed", Operations, [Error], ["error"; "domain"];
    /// Private KEM keys that were due were destroyed.
    KEY_SET_DESTROYED = "key_set.destroyed", Audit, [Info], ["count"];
    /// An operator accepts whatever keys somebody has next.
    KEY_SET_ACCEPTED = "key_set.accepted", Audit, [Warn], ["domain"];
    /// A change of keys, or a domain's way out of DIME, took a step.
    KEY_ROLLOVER = "key.rollover", Audit, [Info], ["domain", "whose", "state"];
    /// A step of a change of keys failed; it is tried again.
    KEY_ROLLOVER_FAILED = "key.rollover_failed", Operations, [Error], ["error"; "domain"];
    /// Private keys that were replaced long enough ago were erased.
    KEY_ERASED = "key.erased", Audit, [Info], ["count"];
    /// An operator changed an account: added, password, quota, trust, disabled, enabled, granted or withdrawn (an address to write under).
    ACCOUNT_CHANGED = "account.changed", Audit, [Warn], ["domain", "change"];
    /// An operator removed an account.
    ACCOUNT_REMOVED = "account.removed", Audit, [Warn], ["domain"];
    /// An operator changed an alias: added or removed (the alias, or one of its targets).
    ALIAS_CHANGED = "alias.changed", Audit, [Warn], ["domain", "change"];
    /// An operator has mail for a domain taken: served, relayed, or not_relayed any more; or with recipients verified in another way:
    /// verification; or gives DIME to one that had none: joined.
    DOMAIN_CHANGED = "domain.changed", Audit, [Warn], ["domain", "change"];
    /// An operator changed who has an address in a relay domain: added, removed or replaced (the whole list).
    RELAY_RECIPIENTS_CHANGED = "relay.recipients_changed", Audit, [Warn], ["domain", "change", "count"];
    /// An operator made an address a trap, or an ordinary one again: added or removed.
    TRAP_CHANGED = "trap.changed", Audit, [Warn], ["domain", "change"];
    /// An operator decided about a user's signet: requested (handed in for the user), approved, rejected or published.
    SIGNET_CHANGED = "signet.changed", Audit, [Warn], ["domain", "change"];
    /// An operator changed somebody's key set: renewed, imported, opted_out or opted_in.
    KEY_SET_CHANGED = "key_set.changed", Audit, [Warn], ["domain", "change"];
    /// An operator changed keys for DKIM: added, rotated (new ones are made), advanced (a step that was due was taken), cancelled (those
    /// that waited are erased) or retired.
    DKIM_CHANGED = "dkim.changed", Audit, [Warn], ["domain", "change"];
    /// An operator changed mail in the queue: held, released, retried or deleted.
    QUEUE_CHANGED = "queue.changed", Audit, [Warn], ["change", "count"];
    /// An operator has drained nodes (begun), or has ended that.
    QUEUE_DRAIN_CHANGED = "queue.drain_changed", Audit, [Warn], ["change"];
    /// An operator has copied the database: copied, or copied_with_keys; or has messages written into files: exported.
    STORE_COPIED = "store.copied", Audit, [Warn], ["change"];
    /// An operator has the database repaired. Says how many rows were set aside or rebuilt.
    STORE_REPAIRED = "store.repaired", Audit, [Warn], ["count"];
    /// An operator has made an installation of a backup: restored, or restored_without_key where the master key is lost.
    STORE_RESTORED = "store.restored", Audit, [Warn], ["change"];
    /// An operator changed the master key: replaced, or put_back (out of a backup).
    KEY_MASTER_CHANGED = "key.master_changed", Audit, [Warn], ["change"];
    /// An operator has a domain served no more.
    DOMAIN_REMOVED = "domain.removed", Audit, [Warn], ["domain"];
    /// A signet of ours was taken out of service.
    SIGNET_REVOKED = "signet.revoked", Audit, [Warn], ["domain", "count"];
    /// Another certificate of ours is in use. Says of both which they are and when they end.
    TLS_CERTIFICATE_REPLACED = "tls.certificate_replaced", Operations, [Info],
        ["service", "certificate.serial", "certificate.ends", "replaced.serial", "replaced.ends"];
    /// Another certificate for DMTP is not used yet, because management records that do not vouch for it may be known to others.
    TLS_CERTIFICATE_WAITS = "tls.certificate_waits", Operations, [Warn], ["certificate.serial", "certificate.ends"];
    /// A certificate of ours has changed, and the other cannot be used, or not yet be judged; the one from before stays in use. Said
    /// again when the files or the reason change, and once a day.
    TLS_CERTIFICATE_FAILED = "tls.certificate_failed", Operations, [Error, Warn], ["service", "error"];
    /// The authority of `tls.acme` has issued a new certificate for SMTP, and it is in its file.
    TLS_CERTIFICATE_ISSUED = "tls.certificate_issued", Operations, [Info], [];
    /// The authority of `tls.acme` has issued no certificate although one is due; it is asked again.
    TLS_CERTIFICATE_NOT_ISSUED = "tls.certificate_not_issued", Operations, [Error], ["error"];
    /// An operator has told the authority of `tls.acme` that keys may be known to others: revoked (the certificate) or deactivated (the
    /// account).
    TLS_AUTHORITY_CHANGED = "tls.authority_changed", Audit, [Warn], ["change"];
    /// The files with certificate revocation lists have been read, at the start or because they have changed, and are in use.
    TLS_REVOCATION_LISTS_READ = "tls.revocation_lists_read", Operations, [Info], ["count"];
    /// The files with certificate revocation lists have changed and cannot be used; those from before stay in use.
    TLS_REVOCATION_LISTS_UNREADABLE = "tls.revocation_lists_unreadable", Operations, [Error], ["reason"];
    /// Somebody else's signing key has changed, and no chain of custody leads to the new one: mail waits.
    SIGNET_CUSTODY_BROKEN = "signet.custody_broken", Security, [Error], ["domain"];
}
