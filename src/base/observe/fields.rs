//! What fields of log lines are. Every line also has `timestamp` (RFC 3339, UTC), `level`, `target` (of its class), `event` and
//! `message` (a sentence for people, which may change).

use super::Field;

/// Every field, by name.
pub const FIELDS: &[Field] = &[
    field(
        "action",
        "word",
        "what follows from a filter's verdict or failure",
    ),
    field(
        "actor",
        "word, or empty",
        "whose key set it is: author, origin, destination or recipient",
    ),
    field(
        "ahead_secs",
        "seconds",
        "how far the clock has jumped ahead; negative if back",
    ),
    field("attempt", "number", "how often recording a result was tried"),
    field(
        "attempt.id",
        "id, 25 characters",
        "one delivery attempt. For mail that goes or came by DMTP; no other line has it",
    ),
    field(
        "certificate.ends",
        "Unix seconds",
        "when the certificate in question is valid no longer",
    ),
    field(
        "certificate.serial",
        "hexadecimal",
        "the number that its authority gave the certificate in question",
    ),
    field(
        "change",
        "word",
        "what an operator has done, of those that the event names",
    ),
    field(
        "choice",
        "text",
        "format and suite that a message was sealed with",
    ),
    field(
        "class",
        "word",
        "the class of lines that the file is for, by its target",
    ),
    field("connections", "number", "connections taken at a time"),
    field("count", "number", "of what the event is about"),
    field(
        "delay.before_queue_ms",
        "milliseconds",
        "from MAIL until the message was accepted; 0 for what was made here or did not come by SMTP",
    ),
    field(
        "delay.connecting_ms",
        "milliseconds",
        "of the attempt until the message could be sent: DNS, policies, connections, TLS, greetings, hosts that were of no use",
    ),
    field(
        "delay.in_queue_ms",
        "milliseconds",
        "from acceptance to the attempt, earlier attempts included",
    ),
    field(
        "delay.transmitting_ms",
        "milliseconds",
        "from MAIL to the last reply of the next host; to accounts here, the whole delivery",
    ),
    field("destination", "domain", "the recipient's domain"),
    field("dkim", "word", "result of DKIM (RFC 8601)"),
    field("dmarc", "word", "result of DMARC (RFC 8601)"),
    field("domain", "domain", "whom the event is about"),
    field("elapsed_ms", "milliseconds", "time that the step took"),
    field("entries", "number", "entries of the block list"),
    field("error", "text", "what went wrong, in words that may change"),
    field("filter", "text", "name of the filter in the configuration"),
    field(
        "for_now",
        "boolean",
        "the host was asked to come again, not refused for good",
    ),
    field("held", "boolean", "an operator has to release the message"),
    field("keys", "text", "keys of the configuration, with commas"),
    field("kind", "word", "what an entry of the block list is about"),
    field("leases", "number", "recipients whose leases have ended"),
    field(
        "leases_freed",
        "number",
        "leases of a daemon that ended without a word",
    ),
    field(
        "limit",
        "number",
        "how many files and sockets the process may have open",
    ),
    field("list", "text", "name of the list in the configuration"),
    field("lost", "number", "lines that could not be written"),
    field("message.id", "id, 25 characters", "one message in the spool"),
    field("messages", "number", "messages accepted in the session"),
    field("node.host", "domain", "host name of another node"),
    field("origin", "domain", "the domain that a sealed message comes from"),
    field(
        "outcome",
        "word",
        "delivered, relayed, expanded, deferred or failed; of a callout, what the next host says",
    ),
    field(
        "peer.host",
        "host name, or empty",
        "the host that gave the last word",
    ),
    field("peer.ip", "IP address", "whose connection it is"),
    field("proof", "word", "how far an answer of DNS is proven"),
    field(
        "reason",
        "word or text",
        "why, by a word that stays where there is one",
    ),
    field(
        "recipient",
        "32 hexadecimal digits, or an address",
        "who gets the message, as [log] addresses says; `dimed log hash` prints the digits",
    ),
    field(
        "recipient.id",
        "id, 25 characters",
        "one recipient of a message in the spool",
    ),
    field(
        "recipients",
        "number",
        "recipients of the message, or of all messages",
    ),
    field(
        "replaced.ends",
        "Unix seconds",
        "when the certificate that was replaced is valid no longer",
    ),
    field(
        "replaced.serial",
        "hexadecimal",
        "the number that its authority gave the certificate that was replaced",
    ),
    field(
        "reply.code",
        "number, 3 digits",
        "code of the reply, the other side's or ours (RFC 5321)",
    ),
    field("reply.enhanced", "D.D.D", "enhanced status (RFC 3463)"),
    field(
        "reply.text",
        "text, 300 characters at most",
        "what the other side said, without addresses, and with [log] addresses = \"clear\" alone: it may name anybody and quote \
         what was sent. Never of mail by DMTP. `dimed queue show` has all of it",
    ),
    field("route.kind", "word", "local, smtp, dmtp, defer or bounce"),
    field(
        "route.reason",
        "word",
        "why this route, as `dimed route explain` has it",
    ),
    field("rule", "word", "the rule of D/MIME that counted"),
    field(
        "sender",
        "32 hexadecimal digits, an address, or <>",
        "the reverse-path, as [log] addresses says; <> for reports",
    ),
    field("service", "word", "what the listener or the certificate is for"),
    field("session.id", "id, 25 characters", "one connection from a peer"),
    field("size_bytes", "octets", "size of the message"),
    field("spf", "word", "result of SPF (RFC 8601)"),
    field("state", "word", "the step that was reached"),
    field("times", "number", "how often the message has been sealed again"),
    field(
        "tls.demanded",
        "word, or empty",
        "what the TLS towards the host had to be",
    ),
    field("tls.policy", "word, or empty", "what demanded it"),
    field("tls.verified", "boolean", "the host's certificate was verified"),
    field(
        "tls.version",
        "text",
        "version of TLS towards the host; none without TLS",
    ),
    field("user.id", "number", "user of this host"),
    field("verdict", "word", "what a filter says"),
    field("wanted", "number", "connections that the configuration asks for"),
    field("what", "word", "what stands still: queue or store"),
    field("whose", "word", "organization, user or domain"),
];

const fn field(name: &'static str, shape: &'static str, meaning: &'static str) -> Field {
    Field { name, shape, meaning }
}
