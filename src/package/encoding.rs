//! The text of a file of a package: UTF-8, or UTF-16 with a byte order mark, as `kubectl` reads it. The mark is no part of the text.

/// The text of the file with these `bytes`.
///
/// # Errors
/// Why it is no text that is read, for an error message that begins with the file's path.
pub fn decode(bytes: Vec<u8>) -> Result<String, &'static str> {
    const NEITHER: &str = "is neither UTF-8 nor UTF-16 with a byte order mark; save it as UTF-8 text";
    let unit: fn([u8; 2]) -> u16 = match bytes.as_slice() {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xef, 0xbb, 0xbf, rest @ ..] => return String::from_utf8(rest.to_vec()).map_err(|_| NEITHER),
        _ => return String::from_utf8(bytes).map_err(|_| NEITHER),
    };
    let (pairs, odd) = bytes.as_chunks::<2>();
    let text = String::from_utf16(&pairs.iter().copied().skip(1).map(unit).collect::<Vec<u16>>());
    text.ok().filter(|_| odd.is_empty()).ok_or(NEITHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn utf_8_and_utf_16_are_read() {
        let text = "---\n# é\na: 😀\n";
        let marked = ["\u{feff}".as_bytes(), text.as_bytes()].concat();
        for bytes in [text.as_bytes().to_vec(), marked, utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes)] {
            assert_eq!(decode(bytes).unwrap(), text);
        }
        assert_eq!(decode(Vec::new()).unwrap(), "");
    }

    #[test]
    fn other_bytes_are_refused() {
        let lonely = utf16("a", u16::to_le_bytes).into_iter().chain([0x00, 0xd8]).collect();
        for bytes in [b"caf\xe9".to_vec(), b"\xff\xfea".to_vec(), lonely] {
            assert!(decode(bytes).unwrap_err().starts_with("is neither UTF-8"));
        }
    }
}
