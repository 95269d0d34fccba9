//! Service extensions, as EHLO announces them (RFC 5321 §4.1.1.1).

use super::auth::Mechanism;

/// What a server offers. `Default` is a server that knows none of it, as after HELO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
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
    /// HELP.
    pub help: bool,
}

impl Extensions {
    /// Reads the lines of a reply to EHLO; the first is the greeting. Unknown keywords are skipped.
    pub fn parse(lines: &[String]) -> Self {
        let mut found = Self::default();
        for line in lines.iter().skip(1) {
            found.add(line);
        }
        found
    }

    /// The keyword lines that [`parse`](Self::parse) reads.
    pub fn keywords(&self) -> Vec<String> {
        let mechanisms: Vec<&str> = self.auth.iter().map(|mechanism| mechanism.name()).collect();
        let auth = format!("AUTH {}", mechanisms.join(" "));
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
        assert_eq!(Extensions::parse(&lines("STARTTLS")), Extensions::default());
    }

    #[test]
    fn keywords_are_read_in_any_case_and_unknown_ones_skipped() {
        let found = Extensions::parse(&lines(
            "mx.test\nsize\nX-FOO bar\nauth LOGIN X-BAR plain\nstarttls\n",
        ));
        let expected = Extensions {
            size: Some(0),
            auth: vec![Mechanism::Login, Mechanism::Plain],
            starttls: true,
            ..Extensions::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn parse_inverts_keywords() {
        let all = Extensions {
            pipelining: true,
            size: Some(52_428_800),
            eight_bit_mime: true,
            chunking: true,
            smtputf8: true,
            enhanced_status_codes: true,
            starttls: true,
            require_tls: true,
            auth: Mechanism::ALL.to_vec(),
            help: true,
        };
        for extensions in [all, Extensions::default()] {
            let reply = [vec!["mx.test".to_owned()], extensions.keywords()].concat();
            assert_eq!(Extensions::parse(&reply), extensions);
        }
    }
}
