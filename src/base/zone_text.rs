//! Text as zone files have it (RFC 1035 §5.1).

/// Longest character-string of a TXT record (RFC 1035 §3.3).
const STRING_OCTETS: usize = 255;

/// Quoted character-strings of at most 255 octets, separated by a space; a resolver joins them to the text again.
pub fn character_strings(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    if text.is_empty() {
        return quoted(text);
    }
    let strings: Vec<String> = text.chunks(STRING_OCTETS).map(quoted).collect();
    strings.join(" ")
}

/// A character-string in quotes; what is special there or not printable ASCII is escaped.
fn quoted(octets: &[u8]) -> String {
    let inner: String = octets
        .iter()
        .map(|octet| match octet {
            b'"' | b'\\' => format!("\\{}", char::from(*octet)),
            0x20..=0x7E => char::from(*octet).to_string(),
            other => format!("\\{other:03}"),
        })
        .collect();
    format!("\"{inner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_at_255_octets_and_escaped() {
        assert_eq!(character_strings(""), "\"\"");
        assert_eq!(character_strings("v=spf1 mx -all"), "\"v=spf1 mx -all\"");
        assert_eq!(character_strings("a\"b\\c;\u{e9}"), "\"a\\\"b\\\\c;\\195\\169\"");
        for (octets, lengths) in [
            (255, vec![255]),
            (256, vec![255, 1]),
            (510, vec![255, 255]),
            (511, vec![255, 255, 1]),
        ] {
            let text = character_strings("x".repeat(octets));
            let strings = text.trim_matches('"').split("\" \"");
            assert_eq!(strings.map(str::len).collect::<Vec<_>>(), lengths);
        }
    }
}
