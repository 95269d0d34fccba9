//! The one list of vectors where ours does something else than libdime, because libdime takes what it should not, or refuses
//! what is right.
//!
//! Ids are the same in every set of this shape, so the list holds for all of them.

use super::Set;

/// A difference from libdime.
pub struct Exception {
    /// Id of the vector; a `*` stands for any characters. After `#` the actor whose view differs, if not every view does.
    pub id: &'static str,
    /// What ours does, in the words of the vector's kind: a state, `load-fail`, or the result of a view.
    pub ours: &'static str,
    /// Why that is right.
    pub why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        id: "ssr/author-*",
        ours: "SS_SSR",
        why: "signet.md D3: the custody signature is field 4, and it verifies with the predecessor's key",
    },
    Exception {
        id: "rotation/no-previous",
        ours: "SS_ID",
        why: "signet.md D5, §13: an unknown predecessor leaves continuity unproven; the signet is valid",
    },
    Exception {
        id: "negative/signet-*-trailing-fixed",
        ours: "load-fail",
        why: "signet.md D1: octets after field 255 are covered by no signature",
    },
    Exception {
        id: "negative/signet-user-no-org",
        ours: "SS_ID",
        why: "verification without an organization cannot be written down here, so the right one is given",
    },
    Exception {
        id: "records/strict-explicit-expiry",
        ours: "keeps exp and syn",
        why: "management-record.md §7.2, §11 no. 4: libdime drops both; exp bounds how long a record is pinned",
    },
    Exception {
        id: "records/tls-long",
        ours: "keeps exp and syn",
        why: "management-record.md §7.2, §11 no. 4: libdime drops both; exp bounds how long a record is pinned",
    },
    Exception {
        id: "records/parse-expiry-and-syndicates",
        ours: "keeps exp and syn",
        why: "management-record.md §7.2, §11 no. 4: libdime drops both; exp bounds how long a record is pinned",
    },
    Exception {
        id: "records/parse-long-names",
        ours: "keeps exp and syn",
        why: "management-record.md §7.2, §11 no. 4: libdime drops both; exp bounds how long a record is pinned",
    },
    Exception {
        id: "dmtp/commands#format NOOP =*",
        ours: "NOOP\n",
        why: "dmtp.md §12.3 no. 2: nameless arguments are a defect, and NOOP needs none",
    },
    Exception {
        id: "dmtp/commands#parse NOOP anything",
        ours: "accepted",
        why: "dmtp.md §6.12: any argument of NOOP is accepted and ignored",
    },
    Exception {
        id: "dmtp/commands#parse ehlo HOST=*",
        ours: "accepted",
        why: "dmtp.md §12.3 no. 5: any case is accepted",
    },
    Exception {
        id: "dmtp/commands#parse EHLO <*",
        ours: "accepted",
        why: "dmtp.md §2: that is the bracket grammar, which libdime's own client speaks",
    },
    Exception {
        id: "dmtp/commands#parse DATA [*",
        ours: "accepted",
        why: "dmtp.md §2: the bracket grammar",
    },
    Exception {
        id: "dmtp/commands#parse SGNT <*",
        ours: "accepted",
        why: "dmtp.md §2: the bracket grammar",
    },
    Exception {
        id: "dmtp/commands#parse EHLO HOST=<>",
        ours: "refused",
        why: "dmtp.md §6.1: empty values are refused",
    },
    Exception {
        id: "dmtp/commands#parse STARTTLS HOST=<*MODE=",
        ours: "refused",
        why: "dmtp.md §5.3: an unknown MODE is refused, the empty one too",
    },
    Exception {
        id: "dmtp/client-transcript#server STATS*",
        ours: "refused",
        why: "dmtp.md §6.10: nobody defined what it should answer",
    },
    Exception {
        id: "dmtp/client-transcript#client sgnt-long-line",
        ours: "done",
        why: "dmtp.md §4.4: our client reads lines as long as the largest signet",
    },
    Exception {
        id: "messages/flag-*#author",
        ours: "decrypt-fail",
        why: "dmime.md §9: flags that are not implemented fail closed",
    },
    Exception {
        id: "messages/flag-*#recipient",
        ours: "decrypt-fail",
        why: "dmime.md §9: flags that are not implemented fail closed",
    },
    Exception {
        id: "messages/two-display-large-first#recipient",
        ours: "decrypt-fail",
        why: "dmime.md M6: unequal chunks are well formed; refused here only because the origin has not signed yet",
    },
    Exception {
        id: "messages/bounce-flags-0#origin-signing",
        ours: "ok",
        why: "dmime.md M4: a display placeholder that is not signed is removed, so that the message verifies",
    },
    Exception {
        id: "messages/bounce-flags-1#origin-signing",
        ours: "ok",
        why: "dmime.md M4: a display placeholder that is not signed is removed, so that the message verifies",
    },
    Exception {
        id: "negative/msg-swap-*",
        ours: "decrypt-fail",
        why: "dmime.md A1: chunks stand in the order of their types",
    },
    Exception {
        id: "negative/msg-dup-*",
        ours: "decrypt-fail",
        why: "dmime.md A2: a chunk that may not repeat stands once, and nothing is replaced",
    },
];

/// What ours does with a vector (or `id#actor`) where that is not what libdime does.
pub fn ours(id: &str) -> Option<&'static str> {
    EXCEPTIONS
        .iter()
        .find(|exception| matches(exception.id, id))
        .map(|exception| exception.ours)
}

fn matches(pattern: &str, id: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == id,
        Some((start, end)) => id
            .strip_prefix(start)
            .is_some_and(|rest| end.is_empty() || rest.ends_with(end)),
    }
}

#[test]
fn every_exception_is_of_a_vector_and_says_why() {
    let set = Set::load();
    for exception in EXCEPTIONS {
        let vector = exception.id.split('#').next().unwrap();
        let used = set
            .all()
            .any(|entry| matches(vector, entry["id"].as_str().unwrap()));
        assert!(used, "{} is of no vector", exception.id);
        assert!(!exception.why.is_empty(), "{} says no reason", exception.id);
    }
}
