//! Service extensions, as EHLO announces them (RFC 5321 §4.1.1.1).

use super::auth::Mechanism;

/// What a server offers. `Default` is a server that knows none of it, as after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// What the server calls itself; it is in the greeting and no keyword.
    pub host: String,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): the largest message in octets; 0 if no limit is named.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// AUTH (RFC 4954) with these mechanisms; those that we do not know are left out.
    pub auth: Vec<Mechanism>,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
    /// HELP.
    pub help: bool,
}

/// What a server says it will not go beyond; those that we do not know are left out, as are values that are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// RCPTMAX: recipients of one transaction.
    pub recipients: Option<usize>,
    /// MAILMAX: transactions of one session.
    pub transactions: Option<usize>,
}

impl Limits {
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut limits = Self::default();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            match name.to_ascii_uppercase().as_str() {
                "RCPTMAX" => limits.recipients = limit(value),
                "MAILMAX" => limits.transactions = limit(value),
                _ => (),
            }
        }
        limits
    }

    fn keyword(&self) -> String {
        let limits = [("RCPTMAX", self.recipients), ("MAILMAX", self.transactions)];
        let named = limits
            .into_iter()
            .filter_map(|(name, limit)| Some((name, limit?)));
        named.fold("LIMITS".to_owned(), |line, (name, limit)| {
            format!("{line} {name}={limit}")
        })
    }
}

/// One to six digits, not all of them 0 (RFC 9422 §3).
fn limit(value: &str) -> Option<usize> {
    let is_number = (1..=6).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse().ok().filter(|limit| is_number && *limit > 0)
}

impl Extensions {
    /// Reads the lines of a reply to EHLO; the first is the greeting. Unknown keywords are skipped.
    pub fn parse(lines: &[String]) -> Self {
        let host = lines
            .first()
            .and_then(|line| line.split_ascii_whitespace().next());
        let mut found = Self {
            host: host.unwrap_or_default().to_owned(),
            ..Self::default()
        };
        for line in lines.iter().skip(1) {
            found.add(line);
        }
        found
    }

    /// The keyword lines that [`parse`](Self::parse) reads.
    pub fn keywords(&self) -> Vec<String> {
        let mechanisms: Vec<&str> = self.auth.iter().map(|mechanism| mechanism.name()).collect();
        let auth = format!("AUTH {}", mechanisms.join(" "));
        let limits = self.limits.keyword();
        let size = match self.size {
            Some(limit) => format!("SIZE {limit}"),
            None => String::new(),
        };
        [
            (self.pipelining, "PIPELINING"),
            (self.size.is_some(), size.as_str()),
            (self.eight_bit_mime, "8BITMIME"),
            (self.chunking, "CHUNKING"),
            (self.smtputf8, "SMTPUTF8"),
            (self.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
            (self.starttls, "STARTTLS"),
            (self.require_tls, "REQUIRETLS"),
            (!self.auth.is_empty(), auth.as_str()),
            (self.dsn, "DSN"),
            (self.limits != Limits::default(), limits.as_str()),
            (self.help, "HELP"),
        ]
        .into_iter()
        .filter(|(offered, _)| *offered)
        .map(|(_, keyword)| keyword.to_owned())
        .collect()
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => self.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
            "8BITMIME" => self.eight_bit_mime = true,
            "CHUNKING" => self.chunking = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "STARTTLS" => self.starttls = true,
            "REQUIRETLS" => self.require_tls = true,
            "AUTH" => self.auth.extend(words.filter_map(Mechanism::from_name)),
            "DSN" => self.dsn = true,
            "LIMITS" => self.limits = Limits::parse(words),
            "HELP" => self.help = true,
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn greeting_is_not_a_keyword() {
        let expected = Extensions {
            host: "STARTTLS".to_owned(),
            ..Extensions::default()
        };
        assert_eq!(Extensions::parse(&lines("STARTTLS greets you")), expected);
        assert_eq!(Extensions::parse(&[]), Extensions::default());
    }

    #[test]
    fn keywords_are_read_in_any_case_and_unknown_ones_skipped() {
        let found = Extensions::parse(&lines(
            "mx.test\nsize\nX-FOO bar\nauth LOGIN X-BAR plain\nstarttls\n",
        ));
        let expected = Extensions {
            host: "mx.test".to_owned(),
            size: Some(0),
            auth: vec![Mechanism::Login, Mechanism::Plain],
            starttls: true,
            ..Extensions::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn limits_are_numbers_of_few_digits() {
        let limits = |text: &str| Extensions::parse(&lines(&format!("mx.test\nLIMITS {text}"))).limits;
        assert_eq!(
            limits("rcptmax=20 RCPTDOMAINMAX=1 MAILMAX=5").recipients,
            Some(20)
        );
        assert_eq!(limits("RCPTMAX=20 MAILMAX=000005").transactions, Some(5));
        for none in [
            "",
            "RCPTMAX",
            "RCPTMAX=",
            "RCPTMAX=0",
            "RCPTMAX=-1",
            "RCPTMAX=+1",
            "RCPTMAX=1000000",
        ] {
            assert_eq!(limits(none), Limits::default(), "{none:?}");
        }
    }

    #[test]
    fn parse_inverts_keywords() {
        let host = || "mx.test".to_owned();
        let all = Extensions {
            host: host(),
            pipelining: true,
            size: Some(52_428_800),
            eight_bit_mime: true,
            chunking: true,
            smtputf8: true,
            enhanced_status_codes: true,
            starttls: true,
            require_tls: true,
            auth: Mechanism::ALL.to_vec(),
            dsn: true,
            limits: Limits {
                recipients: Some(1000),
                transactions: Some(10),
            },
            help: true,
        };
        let none = Extensions {
            host: host(),
            ..Extensions::default()
        };
        for extensions in [all, none] {
            let reply = [vec![host()], extensions.keywords()].concat();
            assert_eq!(Extensions::parse(&reply), extensions);
        }
    }
}
