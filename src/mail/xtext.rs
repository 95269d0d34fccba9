//! Text in a parameter of MAIL or RCPT: xtext (RFC 3461 §4), and the form for addresses beyond ASCII (RFC 6533 §3).

use std::fmt::Write;

/// The text that `encoded` stands for: printable ASCII other than `+` and `=` is itself, and `+` starts two upper-case
/// hexadecimal digits. `None` if it is not xtext, or does not stand for ASCII.
pub fn decode(encoded: &str) -> Option<String> {
    let mut text = String::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'=' => return None,
            b'+' => {
                let (digits, after) = after.split_first_chunk::<2>()?;
                text.push(char::from(hexadecimal(digits)?));
                after
            }
            octet if octet.is_ascii_graphic() => {
                text.push(char::from(*octet));
                after
            }
            _ => return None,
        };
    }
    text.is_ascii().then_some(text)
}

/// One octet from two upper-case digits.
fn hexadecimal(digits: &[u8; 2]) -> Option<u8> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(value(digits[0])? << 4 | value(digits[1])?)
}

/// The one shortest xtext of an ASCII text.
pub fn encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, octet| {
            match octet {
                b'!'..=b'~' if !b"+=".contains(&octet) => encoded.push(char::from(octet)),
                // Writing to a String cannot fail.
                _ => write!(encoded, "+{octet:02X}").unwrap_or_default(),
            }
            encoded
        })
}

/// The address that `encoded` stands for, in the form of RFC 6533 §3: ASCII other than `+`, `=` and `\` is itself, as is
/// everything beyond ASCII, and `\x{…}` is the character of that number. `None` if it is neither.
pub fn decode_utf8(encoded: &str) -> Option<String> {
    let mut text = String::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '\\' => {
                let (number, after) = rest.strip_prefix("\\x{")?.split_once('}')?;
                text.push(character(number)?);
                after
            }
            '+' | '=' => return None,
            '!'..='~' | '\u{a0}'.. => {
                text.push(first);
                &rest[first.len_utf8()..]
            }
            _ => return None,
        };
    }
    Some(text)
}

/// The character of a number of two to six upper-case digits. Those that stand for themselves have no number.
fn character(number: &str) -> Option<char> {
    let are_digits = number
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    if !are_digits || !(2..=6).contains(&number.len()) {
        return None;
    }
    let character = char::from_u32(u32::from_str_radix(number, 16).ok()?)?;
    let stands_for_itself = matches!(character, '!'..='~') && !matches!(character, '+' | '=' | '\\');
    (!stands_for_itself).then_some(character)
}

/// The same address in ASCII (RFC 6533 §3).
pub fn encode_utf8(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut encoded, char| {
            match char {
                '!'..='~' if !matches!(char, '+' | '=' | '\\') => encoded.push(char),
                // Writing to a String cannot fail.
                _ => write!(encoded, "\\x{{{:02X}}}", u32::from(char)).unwrap_or_default(),
            }
            encoded
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext_has_escapes_of_two_upper_case_digits() {
        assert_eq!(decode("QQ+2B314+3D159"), Some("QQ+314=159".into()));
        assert_eq!(decode("a+20b"), Some("a b".into()));
        for bad in ["a=b", "a+2", "a+", "a+2b", "a b", "é", "a+E9", "a\tb", "+G0"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(encode("a b+c=d\n"), "a+20b+2Bc+3Dd+0A");
    }

    #[test]
    fn addresses_beyond_ascii_have_two_forms() {
        assert_eq!(
            decode_utf8("zo\\x{EB}@hermail.test"),
            Some("zoë@hermail.test".into())
        );
        assert_eq!(decode_utf8("zoë@hermail.test"), Some("zoë@hermail.test".into()));
        assert_eq!(
            encode_utf8("zoë+a@hermail.test"),
            "zo\\x{EB}\\x{2B}a@hermail.test"
        );
        for bad in [
            "a+b",
            "a=b",
            "a b",
            "a\\b",
            "a\\x{41}",
            "a\\x{eb}",
            "a\\x{D800}",
            "a\\x{110000}",
            "a\\x{EB",
            "a\\x{}",
            "a\\x{0000EB}b\\x{00000EB}",
            "a\u{85}b",
        ] {
            assert_eq!(decode_utf8(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(ascii in "[\\x00-\\x7F]{0,40}", text in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&ascii)), Some(ascii));
            prop_assert_eq!(decode_utf8(&encode_utf8(&text)), Some(text));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let _ = (decode(&text), decode_utf8(&text));
        }
    }
}
