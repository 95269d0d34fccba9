//! Questions to whoever sits at the terminal.

use std::fmt::Display;
use std::io::{BufRead, Read as _, Write};
use std::str::FromStr;

use crate::cli::Misuse;
use crate::cli::answer::printable;

/// Octets of an answer at most.
const MAX_ANSWER: u64 = 4096;

/// Asks, and asks again as long as the answer has no meaning.
pub struct Questions<'a> {
    input: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
}

impl<'a> Questions<'a> {
    /// To and from there.
    pub fn new(input: &'a mut dyn BufRead, out: &'a mut dyn Write) -> Self {
        Self { input, out }
    }

    /// An answer; an empty one is the default.
    pub fn ask<T>(&mut self, question: &str, default: T) -> anyhow::Result<T>
    where
        T: FromStr<Err: Display> + Display,
    {
        loop {
            write!(self.out, "{question} [{default}]: ")?;
            let answer = self.answer()?;
            if answer.is_empty() {
                return Ok(default);
            }
            match answer.parse::<T>() {
                Ok(value) => return Ok(value),
                Err(error) => writeln!(self.out, "{} is {error}.", printable(&answer))?,
            }
        }
    }

    /// Something to know before the next question.
    pub fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Yes or no.
    pub fn agree(&mut self, question: &str) -> anyhow::Result<bool> {
        loop {
            write!(self.out, "{question} [yes/no]: ")?;
            match self.answer()?.to_ascii_lowercase().as_str() {
                "yes" | "y" => return Ok(true),
                "no" | "n" => return Ok(false),
                _ => writeln!(self.out, "Say yes or no.")?,
            }
        }
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        self.out.flush()?;
        let mut line = String::new();
        let read = (&mut *self.input).take(MAX_ANSWER).read_line(&mut line)?;
        if read == 0 {
            return Err(
                Misuse("the answers ended before the questions: say the rest with options".into()).into(),
            );
        }
        Ok(line.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::mail::address::Domain;

    fn asked(answers: &str) -> (anyhow::Result<Domain>, String) {
        let (mut input, mut out) = (answers.as_bytes(), Vec::new());
        let default: Domain = "mx.example".parse().unwrap();
        let answer = Questions::new(&mut input, &mut out).ask("Host", default);
        (answer, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_answer_without_a_meaning_is_asked_for_again() {
        let (answer, said) = asked("a..b\x1b\nMail.Example\n");
        assert_eq!(answer.unwrap().as_str(), "mail.example");
        assert_eq!(
            said,
            "Host [mx.example]: a..b\\u{1b} is not a domain name.\nHost [mx.example]: "
        );
        assert_eq!(asked("\n").0.unwrap().as_str(), "mx.example");
        assert!(asked("").0.is_err());
    }
}
