//! Macros in domain-specs (RFC 7208 §7).

use std::net::IpAddr;

use super::check::Client;

/// Octets of a name that comes out: what is longer loses labels from the left (§7.3).
const MAX_NAME: usize = 253;
/// Octets that an expansion may have on the way.
const MAX_EXPANSION: usize = 4096;

/// A domain-spec, checked for its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `%%`, `%_` or `%-`.
    Escape(&'static str),
    Macro(Macro),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Macro {
    letter: u8,
    escaped: bool,
    keep: Option<usize>,
    reversed: bool,
    delimiters: String,
}

impl DomainSpec {
    /// Reads a domain-spec; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find('%').unwrap_or(rest.len()));
            if !literal.is_empty() {
                let printable = literal.bytes().all(|octet| (0x21..=0x7e).contains(&octet));
                parts.push(Part::Literal(printable.then(|| literal.to_owned())?));
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
            let (part, after) = expansion(rest)?;
            parts.push(part);
            rest = after;
        }
        (!parts.is_empty() && ends_well(&parts)).then_some(Self(parts))
    }

    /// The name it stands for; `domain` is the one whose record it is in.
    pub fn expand(&self, client: &Client<'_>, domain: &str) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => name.push_str(text),
                Part::Escape(text) => name.push_str(text),
                Part::Macro(one) => name.push_str(&one.value(client, domain)),
            }
            if name.len() > MAX_EXPANSION {
                return String::new();
            }
        }
        shortened(name.trim_end_matches('.'))
    }
}

/// The part that starts with `%`, and what follows.
fn expansion(text: &str) -> Option<(Part, &str)> {
    let rest = text.get(2..);
    match text.as_bytes().get(1)? {
        b'%' => Some((Part::Escape("%"), rest?)),
        b'_' => Some((Part::Escape(" "), rest?)),
        b'-' => Some((Part::Escape("%20"), rest?)),
        b'{' => {
            let (inner, after) = rest?.split_once('}')?;
            Some((Part::Macro(Macro::parse(inner)?), after))
        }
        _ => None,
    }
}

/// A domain-spec ends in a macro or in a dot and a label that begins with a letter or digit and is not all digits (§7.1).
fn ends_well(parts: &[Part]) -> bool {
    match parts.last() {
        Some(Part::Literal(text)) => {
            let text = text.strip_suffix('.').unwrap_or(text);
            let Some((_, top)) = text.rsplit_once('.') else {
                return false;
            };
            let is_label = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !top.is_empty()
                && top.chars().all(is_label)
                && !top.starts_with('-')
                && !top.ends_with('-')
                && !top.chars().all(|c| c.is_ascii_digit())
        }
        last => last.is_some(),
    }
}

impl Macro {
    /// Reads what stands in braces.
    fn parse(text: &str) -> Option<Self> {
        let mut chars = text.chars();
        let letter = chars.next().filter(char::is_ascii)?;
        let rest = chars.as_str();
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, rest) = rest.split_at(digits);
        let keep = match digits {
            "" => None,
            digits => Some(digits.parse().ok().filter(|keep| (1..=128).contains(keep))?),
        };
        let (reversed, delimiters) = match rest.strip_prefix(['r', 'R']) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let known = matches!(
            letter.to_ascii_lowercase(),
            's' | 'l' | 'o' | 'd' | 'i' | 'p' | 'v' | 'h'
        );
        let fits = known && delimiters.chars().all(|c| ".-+,/_=".contains(c));
        fits.then(|| Self {
            letter: letter.to_ascii_lowercase() as u8,
            escaped: letter.is_ascii_uppercase(),
            keep,
            reversed,
            delimiters: if delimiters.is_empty() { "." } else { delimiters }.to_owned(),
        })
    }

    fn value(&self, client: &Client<'_>, domain: &str) -> String {
        let value = self.raw(client, domain);
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.reversed {
            parts.reverse();
        }
        let keep = self.keep.unwrap_or(parts.len()).min(parts.len());
        let value = parts[parts.len() - keep..].join(".");
        match self.escaped {
            true => percent_encoded(&value),
            false => value,
        }
    }

    fn raw(&self, client: &Client<'_>, domain: &str) -> String {
        let (local, host) = client.sender();
        match self.letter {
            b's' => format!("{local}@{host}"),
            b'l' => local,
            b'o' => host,
            b'd' => domain.to_owned(),
            b'i' => dotted(client.address),
            b'v' if client.address.is_ipv4() => "in-addr".to_owned(),
            b'v' => "ip6".to_owned(),
            b'h' => client.hello.to_owned(),
            // Names found backwards say nothing reliable, and a look-up for them is not worth its cost (§5.5, §7.2).
            _ => "unknown".to_owned(),
        }
    }
}

fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .flat_map(|octet| [octet >> 4, octet & 15]);
            let nibbles: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            nibbles.join(".")
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(octet.into()),
            _ => out.push_str(&format!("%{octet:02X}")),
        }
    }
    out
}

fn shortened(name: &str) -> String {
    let mut name = name;
    while name.len() > MAX_NAME {
        name = name.split_once('.').map_or("", |(_, rest)| rest);
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::authentication::spf::Identity;

    fn expanded(text: &str, address: &str) -> String {
        let client = Client {
            address: address.parse().unwrap(),
            hello: "mx.example.org",
            identity: Identity::MailFrom {
                local: "strong-bad",
                domain: &"email.example.com".parse().unwrap(),
            },
        };
        let spec = DomainSpec::parse(text).unwrap();
        spec.expand(&client, "email.example.com")
    }

    /// RFC 7208 §7.4.
    #[test]
    fn the_examples_of_the_rfc_come_out_as_there() {
        for (text, name) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            (
                "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
                "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
            ),
            (
                "%{d2}.trusted-domains.example.net",
                "example.com.trusted-domains.example.net",
            ),
            ("%{L}.%{h}.example.net.", "strong-bad.mx.example.org.example.net"),
            ("a%%b%_c%-d.example.net", "a%b c%20d.example.net"),
        ] {
            assert_eq!(expanded(text, "192.0.2.3"), name, "{text}");
        }
        assert_eq!(
            expanded("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01"),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn what_is_no_domain_spec_is_refused() {
        for text in [
            "",
            "%",
            "%x",
            "%{",
            "%{}",
            "%{x}",
            "%{c}",
            "%{d0}",
            "%{d999}",
            "%{d!}",
            "a b.test",
            "a.b.123",
            "a.-x",
            "com",
            "a..",
            "%{d}.é.test",
            "a.test.%{d",
            "%{d}com",
            "a.%%com",
            "a.test..",
            "a.test/24",
            "a.test:8080",
        ] {
            assert_eq!(DomainSpec::parse(text), None, "{text}");
        }
        for text in [
            "%{i}.example.org",
            "a.%{d}",
            "a.%%",
            "%{d}.com.",
            "a:b/c@d.example.org",
        ] {
            assert!(DomainSpec::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_name_that_grows_too_long_loses_labels_and_never_eats_memory() {
        let long = format!("{}.example.org", "%{d}.".repeat(20).trim_end_matches('.'));
        let name = expanded(&long, "192.0.2.3");
        assert!(name.len() <= 253 && name.ends_with(".example.org"), "{name}");
        assert_eq!(expanded(&format!("{}.org", "%{d}".repeat(2000)), "192.0.2.3"), "");
    }
}
