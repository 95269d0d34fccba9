//! Failures as lines of the log have them.

use std::error::Error;
use std::fmt;

/// Characters of a failure that stand in a line.
const LONGEST: usize = 300;

/// Causes that are looked at. No chain is longer.
const DEEPEST: usize = 16;

/// A failure with its causes in one line, which names nobody; a cause that the one above it quotes is not said again.
#[derive(Debug, Clone, Copy)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let causes = std::iter::successors(self.0.source(), |&cause| cause.source());
        for cause in causes.take(DEEPEST) {
            let text = cause.to_string();
            if !line.ends_with(&text) {
                line += ": ";
                line += &text;
            }
        }
        f.write_str(&without_addresses(&line))
    }
}

/// Words of others may name people: what has an at-sign is left out, and so is what no reader needs.
pub fn without_addresses(text: &str) -> String {
    let word = |word: &'_ str| match word.contains('@') {
        true => "…".to_owned(),
        false => word.to_owned(),
    };
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    words.join(" ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the database failed")]
    struct Failed(#[source] Quoting);

    #[derive(Debug, thiserror::Error)]
    #[error("it cannot be reached: {0}")]
    struct Quoting(#[source] std::io::Error);

    #[test]
    fn a_line_has_every_cause_once() {
        let failed = Failed(Quoting(std::io::Error::other("no route\nto host")));
        assert_eq!(
            Causes(&failed).to_string(),
            "the database failed: it cannot be reached: no route to host"
        );
    }

    #[test]
    fn what_others_say_is_logged_without_the_people_in_it() {
        assert_eq!(
            without_addresses("550 5.1.1 <bob@hismail.test>: no\r\n such user (alice@hermail.test)"),
            "550 5.1.1 … no such user …"
        );
        assert_eq!(without_addresses(&"x".repeat(1000)).len(), LONGEST);
        let named = std::io::Error::other("alice@hermail.test is nobody");
        assert_eq!(Causes(&named).to_string(), "… is nobody");
    }
}
