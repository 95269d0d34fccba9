//! Where the databases want different words. All other SQL is the same for both; functions of SQLite that it uses and that
//! PostgreSQL does not have, are defined in `migrations/postgres`.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The text of a statement: constants of ours, never anything from outside.
#[derive(Debug, Clone)]
pub(in crate::store) enum Text {
    Common(&'static str),
    Differs(Differing),
    /// Put together from texts that are common.
    Built(String),
}

/// One statement in the words of each.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Differing {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Text {
    /// As SQLite wants it.
    pub(super) fn of_sqlite(&self) -> &str {
        match self {
            Self::Common(text) => text,
            Self::Differs(differing) => differing.sqlite,
            Self::Built(text) => text,
        }
    }

    /// As PostgreSQL wants it.
    pub(super) fn of_postgres(self) -> SqlStr {
        match self {
            Self::Common(text) => text.into_sql_str(),
            Self::Differs(differing) => differing.postgres.into_sql_str(),
            Self::Built(text) => AssertSqlSafe(text).into_sql_str(),
        }
    }
}

impl From<Differing> for Text {
    fn from(differing: Differing) -> Self {
        Self::Differs(differing)
    }
}

impl From<&'static str> for Text {
    fn from(common: &'static str) -> Self {
        Self::Common(common)
    }
}

/// The lane of one kind whose turn it is, of those that there is room for. Lanes without room are stepped over: they are never
/// more than attempts are under way, and those known to be behind a next hop that has no room.
///
/// Parameters: whether it is one of ours, now, lanes without room as a list in JSON.
pub(super) const NEXT_LANE: Differing = Differing {
    sqlite: "SELECT destination, turn_at, turn_no FROM lanes \
        WHERE ours = $1 AND turn_at <= $2 AND destination NOT IN (SELECT value FROM json_each($3)) \
        ORDER BY turn_at, turn_no LIMIT 1",
    postgres: "SELECT destination, turn_at, turn_no FROM lanes \
        WHERE ours = $1 AND turn_at <= $2 AND destination NOT IN (SELECT json_array_elements_text($3::json)) \
        ORDER BY turn_at, turn_no LIMIT 1",
};

/// The same of those named.
pub(super) const NEXT_REACHED_LANE: Differing = Differing {
    sqlite: "SELECT destination, turn_at, turn_no FROM lanes \
        WHERE +ours = $1 AND +turn_at <= $2 AND destination IN (SELECT value FROM json_each($3)) \
        ORDER BY turn_at, turn_no LIMIT 1",
    postgres: "SELECT destination, turn_at, turn_no FROM lanes \
        WHERE ours = $1 AND turn_at <= $2 AND destination IN (SELECT json_array_elements_text($3::json)) \
        ORDER BY turn_at, turn_no LIMIT 1",
};

/// When it is the turn of the next of those named. Parameters: whether it is one of ours, lanes as a list in JSON.
pub(super) const NEXT_REACHED_TURN: Differing = Differing {
    sqlite: "SELECT MIN(turn_at) FROM lanes \
        WHERE +ours = $1 AND destination IN (SELECT value FROM json_each($2))",
    postgres: "SELECT MIN(turn_at) FROM lanes \
        WHERE ours = $1 AND destination IN (SELECT json_array_elements_text($2::json))",
};

/// When it is the turn of the next of them. Parameters: whether it is one of ours, lanes without room as a list in JSON.
pub(super) const NEXT_TURN: Differing = Differing {
    sqlite: "SELECT turn_at FROM lanes \
        WHERE ours = $1 AND destination NOT IN (SELECT value FROM json_each($2)) ORDER BY turn_at LIMIT 1",
    postgres: "SELECT turn_at FROM lanes \
        WHERE ours = $1 AND destination NOT IN (SELECT json_array_elements_text($2::json)) ORDER BY turn_at LIMIT 1",
};

/// The due recipients of the message in this lane that has waited longest, to be leased. Left to itself, the planner of SQLite walks
/// all that is due in the destination, hence the named indexes.
///
/// Values of a wrong kind, which SQLite may have, come as what they can be read as; what they are sealed with tells.
///
/// Parameters: destination, now, most recipients.
pub(super) const DUE_GROUP: Differing = Differing {
    sqlite: "SELECT seq, CAST(message AS TEXT), CAST(id AS TEXT), CAST(forward_path AS BLOB), CAST(attempts AS INTEGER), \
        CAST(delay_reported AS INTEGER), CAST(condemned AS INTEGER) FROM recipients INDEXED BY recipients_by_message \
        WHERE destination = $1 AND due_at <= $2 AND message = (\
            SELECT message FROM recipients INDEXED BY recipients_due \
            WHERE destination = $1 AND due_at <= $2 ORDER BY due_at LIMIT 1) \
        ORDER BY seq LIMIT $3",
    postgres: "SELECT seq, message, id, forward_path, attempts, delay_reported, condemned FROM recipients \
        WHERE destination = $1 AND due_at <= $2 AND message = (\
            SELECT message FROM recipients \
            WHERE destination = $1 AND due_at <= $2 ORDER BY due_at LIMIT 1) \
        ORDER BY seq LIMIT $3",
};

/// When the first recipient of a destination is due. A time of a wrong kind, which SQLite may have, is none.
pub(super) const EARLIEST_DUE: Differing = Differing {
    sqlite: "SELECT MIN(due_at) FROM recipients \
        WHERE destination = $1 AND due_at IS NOT NULL AND typeof(due_at) = 'integer'",
    postgres: "SELECT MIN(due_at) FROM recipients WHERE destination = $1 AND due_at IS NOT NULL",
};

/// The lane of every destination with recipients that wait.
pub(super) const ALL_LANES: Differing = Differing {
    sqlite: "INSERT INTO lanes (destination, turn_at) SELECT destination, MIN(due_at) FROM recipients \
        WHERE due_at IS NOT NULL AND typeof(due_at) = 'integer' AND typeof(destination) = 'text' GROUP BY destination",
    postgres: "INSERT INTO lanes (destination, turn_at) SELECT destination, MIN(due_at) FROM recipients \
        WHERE due_at IS NOT NULL GROUP BY destination",
};
