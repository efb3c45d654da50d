//! Bytes kept as text: pickles of protocol 2 hold them as Latin-1 decoded text in UTF-8.

/// How many bytes `text` stands for, or the index of the first byte that no such text has.
pub(super) fn decoded_len(text: &[u8]) -> Result<usize, usize> {
    let mut len = 0;
    let mut at = 0;
    while at < text.len() {
        at += match (text[at], text.get(at + 1)) {
            (0..=0x7f, _) => 1,
            // U+0080..=U+00FF
            (0xc2 | 0xc3, Some(0x80..=0xbf)) => 2,
            _ => return Err(at),
        };
        len += 1;
    }
    Ok(len)
}

/// The `len` bytes of a text that [`decoded_len`] accepted.
pub(super) fn decode(text: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    let mut text = text.iter();
    while let Some(&byte) = text.next() {
        bytes.push(match byte {
            0..=0x7f => byte,
            lead => lead << 6 | text.next().map_or(0, |trail| trail & 0x3f),
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        assert_eq!(decoded_len(text.as_bytes()), Ok(256));
        assert_eq!(decode(text.as_bytes(), 256), bytes);
    }

    #[test]
    fn other_text_is_refused_where_it_starts() {
        assert_eq!(decoded_len("ab\u{100}".as_bytes()), Err(2));
        assert_eq!(decoded_len(b"a\xc3"), Err(1));
        assert_eq!(decoded_len(b"\x80"), Err(0));
    }
}
