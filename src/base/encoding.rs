//! Base64 in the forms DIME and SMTP use.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Text that is not base64 of the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64")]
pub struct NotBase64;

/// Padding may be present or missing; stray bits at the end are tolerated on input, as libdime does.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const STRICT_PADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new());

const STRICT_UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Standard alphabet with padding, one line.
pub fn base64(data: &[u8]) -> String {
    STRICT_PADDED.encode(data)
}

/// Standard alphabet without padding: fingerprints, `pok=`, `tls=`.
pub fn base64_unpadded(data: &[u8]) -> String {
    STRICT_UNPADDED.encode(data)
}

/// Decodes the standard alphabet, padded or not; white space and foreign characters are refused.
pub fn base64_decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    TOLERANT.decode(text).map_err(|_| NotBase64)
}

/// Decodes the one canonical padded form (SASL, RFC 4954 §4).
pub fn base64_decode_padded(text: &str) -> Result<Vec<u8>, NotBase64> {
    STRICT_PADDED.decode(text).map_err(|_| NotBase64)
}

/// Decodes exactly `N` octets from the one canonical unpadded form.
pub fn base64_decode_unpadded<const N: usize>(text: &str) -> Result<[u8; N], NotBase64> {
    let octets = STRICT_UNPADDED.decode(text).map_err(|_| NotBase64)?;
    octets.try_into().map_err(|_| NotBase64)
}

/// Decodes the one canonical unpadded form of the URL-safe alphabet, as magma stores objects (`prime.md` §6).
pub fn base64url_decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotBase64)
}

/// Lower-case hexadecimal.
pub fn hex(data: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    data.iter()
        .flat_map(|octet| [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerant_decoding_takes_both_paddings_but_no_junk() {
        assert_eq!(base64_decode("aGk="), Ok(b"hi".to_vec()));
        assert_eq!(base64_decode("aGk"), Ok(b"hi".to_vec()));
        assert_eq!(base64_decode("aG k="), Err(NotBase64));
        assert_eq!(base64_decode("aG-_"), Err(NotBase64));
    }

    #[test]
    fn strict_decoding_takes_one_form_only() {
        assert_eq!(base64_decode_unpadded::<2>("aGk"), Ok(*b"hi"));
        assert_eq!(base64_decode_unpadded::<2>("aGk="), Err(NotBase64));
        assert_eq!(base64_decode_unpadded::<2>("aGl"), Err(NotBase64));
        assert_eq!(base64_decode_unpadded::<3>("aGk"), Err(NotBase64));
        assert_eq!(base64_decode_padded("aGk"), Err(NotBase64));
    }

    #[test]
    fn hex_is_lower_case() {
        assert_eq!(hex(&[0x00, 0xAF, 0x10]), "00af10");
    }
}
