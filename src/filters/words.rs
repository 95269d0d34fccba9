//! Words of filters that others get to read.

use crate::mail::reply::{EnhancedStatus, Reply};

/// Lines of a reply at most.
const MAX_LINES: usize = 8;
/// Characters of a line at most; with code and status it stays below the 512 octets of RFC 5321 §4.5.3.1.5.
const MAX_LINE: usize = 400;
/// Characters of a reason at most.
const MAX_REASON: usize = 200;

/// The reply that a milter writes: lines of code, enhanced status code and text; `%%` stands for `%`. `None` if it is not one
/// that refuses something.
pub fn reply(text: &str) -> Option<Reply> {
    let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap_or(text).split("\r\n").collect();
    let first = lines.first()?.get(..3)?;
    let code = code(first)?;
    if lines.len() > MAX_LINES {
        return None;
    }
    let last = lines.len() - 1;
    let texts = lines.iter().enumerate().map(|(index, line)| {
        let rest = line.strip_prefix(first)?;
        let text = match rest.chars().next() {
            None if index == last => "",
            Some(' ') if index == last => &rest[1..],
            Some('-') if index < last => &rest[1..],
            _ => return None,
        };
        is_clean(text).then_some(text)
    });
    let texts: Vec<&str> = texts.collect::<Option<_>>()?;
    let class = (code / 100) as u8;
    let status = texts.first().and_then(|text| status(text));
    let status = status.filter(|status| status.0 == class);
    let lines = texts.iter().map(|text| unescape(without_status(text)));
    Some(Reply {
        code,
        enhanced: Some(status.unwrap_or(EnhancedStatus(class, 7, 1))),
        lines: lines.collect(),
    })
}

/// RFC 5321 §4.2.1: the second digit is 0 to 5.
fn code(text: &str) -> Option<u16> {
    let digits = text.as_bytes();
    let fits = matches!(digits, [b'4' | b'5', b'0'..=b'5', b'0'..=b'9']);
    fits.then(|| text.parse().ok()).flatten()
}

fn status(text: &str) -> Option<EnhancedStatus> {
    EnhancedStatus::parse(text.split(' ').next().unwrap_or_default())
}

fn without_status(text: &str) -> &str {
    match (status(text), text.split_once(' ')) {
        (Some(_), Some((_, rest))) => rest,
        (Some(_), None) => "",
        (None, _) => text,
    }
}

fn is_clean(text: &str) -> bool {
    text.len() <= MAX_LINE && text.bytes().all(|octet| (b' '..=b'~').contains(&octet))
}

fn unescape(text: &str) -> String {
    text.replace("%%", "%")
}

/// Something for one line of a log, a list or a reply: printable ASCII, not too much of it.
pub fn reason(text: &str) -> String {
    let printable = |letter: char| match letter {
        ' '..='~' => letter,
        _ => '?',
    };
    text.chars().take(MAX_REASON).map(printable).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn replies_of_filters_are_read() {
        let read = |text| reply(text).unwrap().to_wire();
        for (text, wire) in [
            ("550 5.7.26 no 100%% proof", "550 5.7.26 no 100% proof\r\n"),
            ("451", "451 4.7.1 \r\n"),
            ("451 later", "451 4.7.1 later\r\n"),
            ("550 4.7.1 muddled", "550 5.7.1 muddled\r\n"),
            (
                "554-5.7.1 one\r\n554 5.7.1 two\r\n",
                "554-5.7.1 one\r\n554 5.7.1 two\r\n",
            ),
        ] {
            assert_eq!(read(text), wire.as_bytes(), "{text}");
        }
    }

    #[test]
    fn nothing_else_reaches_a_client() {
        for text in [
            "",
            "5",
            "55",
            "250 fine",
            "354 go",
            "650 x",
            "560 x",
            "5x0 x",
            "550x",
            "550-open",
            "550 a\r\n550 b",
            "550-a\r\n551 b",
            "550 a\rb",
            "550 a\nb",
            "550 a\r\n250 ok",
            "550 \u{e9}",
            "550 \u{7f}",
            "550 \0",
            "\u{e9}50 x",
        ] {
            assert_eq!(reply(text), None, "{text:?}");
        }
        assert_eq!(reply(&format!("550 {}", "x".repeat(401))), None);
        assert_eq!(reply(&format!("{}550 x", "550-x\r\n".repeat(8))), None);
        assert_eq!(reason("a\r\nb\u{e9}"), "a??b?");
        assert_eq!(reason(&"x".repeat(900)).len(), 200);
    }
}
