//! Bytes kept as text: pickles of protocol 2 hold them as Latin-1 decoded text in UTF-8.

/// The first byte of U+0100, which is no byte's text any more.
const FIRST_FOREIGN_LEAD: u8 = 0xc4;

/// Number of bytes that `text` stands for, or the index of the first character that is no byte's.
///
/// `text` is valid UTF-8: then U+0080 to U+00FF are 0xc2 or 0xc3 and one continuation byte, and the
/// number of characters is the number of bytes that are no continuation.
pub(super) fn decoded_len(text: &[u8]) -> Result<usize, usize> {
    // Two passes without a branch: half of a weight's bytes are above 0x7f, in no order.
    if text.iter().fold(0, |most, &byte| byte.max(most)) >= FIRST_FOREIGN_LEAD {
        let foreign = text.iter().position(|&byte| byte >= FIRST_FOREIGN_LEAD);
        return Err(foreign.unwrap_or(text.len()));
    }
    Ok(text.iter().filter(|&&byte| !is_continuation(byte)).count())
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The `len` bytes of a text that [`decoded_len`] accepted.
pub(super) fn decode(text: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut at = 0;
    let mut lead = 0u8;
    for &byte in text {
        // The value of a lead byte is overwritten by that of its continuation byte.
        if let Some(out) = bytes.get_mut(at) {
            *out = if byte < 0x80 { byte } else { lead << 6 | byte & 0x3f };
        }
        at += usize::from(byte < 0xc0);
        lead = byte;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_bytes_survives() {
        let bytes: Vec<u8> = (0..=255).flat_map(|a| (0..=255).flat_map(move |b| [a, b])).collect();
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        assert_eq!(decoded_len(text.as_bytes()), Ok(bytes.len()));
        assert_eq!(decode(text.as_bytes(), bytes.len()), bytes);
    }

    #[test]
    fn other_text_is_refused_where_it_starts() {
        assert_eq!(decoded_len("ab\u{100}".as_bytes()), Err(2));
        assert_eq!(decoded_len("\u{ff}\u{1f600}".as_bytes()), Err(2));
    }
}
