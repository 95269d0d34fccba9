//! Values of another kind than their column. SQLite keeps whatever it is given, so that one row, damaged or changed by hand, would
//! make reading fail for all beside it.

use crate::store::Error;

/// Whether it was a value that could not be read, and not the database that failed.
pub(super) fn is_misread(error: &Error) -> bool {
    matches!(
        error,
        Error::Database(sqlx::Error::ColumnDecode { .. } | sqlx::Error::AnyDriverError(_))
    )
}

/// What cannot be read is to be set aside; other failures are told as they are.
pub(super) fn unreadable(what: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| {
        let error = Error::from(error);
        match is_misread(&error) {
            true => Error::Unreadable(what),
            false => error,
        }
    }
}

/// The same where each column of a tuple has a name for people.
pub(super) fn unreadable_column(words: &'static [&'static str]) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| {
        let place = match &error {
            sqlx::Error::ColumnDecode { index, .. } => index.parse().ok(),
            _ => None,
        };
        let word = place.and_then(|place: usize| words.get(place).copied());
        unreadable(word.unwrap_or("value"))(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misread(index: &str) -> sqlx::Error {
        sqlx::Error::ColumnDecode {
            index: index.to_owned(),
            source: "it is text".into(),
        }
    }

    #[test]
    fn a_value_of_another_kind_is_told_by_its_column_and_a_database_that_fails_is_not_taken_for_one() {
        let told = unreadable_column(&["state", "due time"]);
        assert!(matches!(told(misread("1")), Error::Unreadable("due time")));
        let told = unreadable_column(&["state", "due time"]);
        assert!(matches!(told(misread("2")), Error::Unreadable("value")));
        let busy = unreadable_column(&["state"])(sqlx::Error::PoolTimedOut);
        assert!(matches!(busy, Error::Database(sqlx::Error::PoolTimedOut)));
        assert!(!is_misread(&busy));
        assert!(is_misread(&misread("x").into()));
        assert!(matches!(
            unreadable("body piece")(misread("0")),
            Error::Unreadable("body piece")
        ));
    }
}
