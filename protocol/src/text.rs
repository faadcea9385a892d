//! Text as ZooKeeper's Java side writes it, UTF-8 or, above U+FFFF, CESU-8, and as it reads it.

use std::borrow::Cow;

/// Decodes leniently: plain UTF-8 is borrowed, surrogate pairs of three bytes each are joined,
/// everything else that is malformed becomes U+FFFD, one for each byte that fits nowhere and, as
/// Java has it, one for a surrogate that stands alone.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(decode_malformed(bytes)),
    }
}

fn decode_malformed(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    if !bytes.contains(&SURROGATE_LEAD) {
        return text;
    }
    // Rare: only now pay for a pass that looks at every byte for surrogate pairs.
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Some((pair, tail)) = surrogate_pair(rest) {
            text.push(pair);
            rest = tail;
            continue;
        }
        if let Some(tail) = lone_surrogate(rest) {
            text.push(char::REPLACEMENT_CHARACTER);
            rest = tail;
            continue;
        }
        // Up to the next byte that could begin a pair, but at least one byte.
        let end = rest.iter().skip(1).position(|&b| b == SURROGATE_LEAD);
        let (part, tail) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
        for chunk in part.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        rest = tail;
    }
    text
}

/// Decodes as Java does: a surrogate is no character, alone or in a pair, and becomes one U+FFFD
/// even where its last byte is missing.
pub(crate) fn decode_as_java_does(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    // How many bytes of a surrogate may still come: here they are chunks of their own.
    let mut missing = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.valid().is_empty() {
            missing = 0;
        }
        missing = match (chunk.invalid(), missing) {
            ([], _) => break,
            ([0xA0..=0xBF], 2) => 1,
            ([0x80..=0xBF], 1) => 0,
            (invalid, _) => {
                text.push(char::REPLACEMENT_CHARACTER);
                if invalid == [SURROGATE_LEAD] { 2 } else { 0 }
            }
        };
    }
    Cow::Owned(text)
}

/// The first byte of every surrogate in CESU-8 (U+D000..U+DFFF).
const SURROGATE_LEAD: u8 = 0xED;

fn surrogate_pair(bytes: &[u8]) -> Option<(char, &[u8])> {
    let (pair, tail) = bytes.split_at_checked(6)?;
    let [SURROGATE_LEAD, b1, b2, SURROGATE_LEAD, b4, b5] = *pair else {
        return None;
    };
    if b1 & 0xF0 != 0xA0 || b4 & 0xF0 != 0xB0 || [b2, b5].iter().any(|b| b & 0xC0 != 0x80) {
        return None;
    }
    let high = (u32::from(b1 & 0x0F) << 6) | u32::from(b2 & 0x3F);
    let low = (u32::from(b4 & 0x0F) << 6) | u32::from(b5 & 0x3F);
    char::from_u32(0x1_0000 + (high << 10) + low).map(|c| (c, tail))
}

/// What follows a surrogate of three bytes.
fn lone_surrogate(bytes: &[u8]) -> Option<&[u8]> {
    let (surrogate, tail) = bytes.split_at_checked(3)?;
    let [SURROGATE_LEAD, b1, b2] = *surrogate else {
        return None;
    };
    (b1 & 0xE0 == 0xA0 && b2 & 0xC0 == 0x80).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::{decode, decode_as_java_does};

    #[test]
    fn utf8_is_borrowed() {
        assert!(matches!(
            decode("größe".as_bytes()),
            std::borrow::Cow::Borrowed("größe")
        ));
    }

    #[test]
    fn surrogate_pairs_are_joined() {
        // U+1F600, as a 3.8.0 server sends it back.
        assert_eq!(decode(b"a\xED\xA0\xBD\xED\xB8\x80b"), "a\u{1F600}b");
    }

    #[test]
    fn anything_else_is_replaced() {
        for bytes in [
            &b"a\xFFb"[..],
            b"\xED",
            b"\xED\xA0\xBD",
            b"\xED\xB8\x80\xED\xA0\xBD",
            b"\xED\xA0\xBDx",
        ] {
            assert!(decode(bytes).contains('\u{FFFD}'), "{bytes:?}");
        }
        assert_eq!(decode(b"a\xED\xA0\x80b"), "a\u{FFFD}b");
        // A three-byte character that only begins like a surrogate is left alone.
        assert_eq!(decode(b"\xED\x80\x80\xFF"), "\u{D000}\u{FFFD}");
    }

    #[test]
    fn java_reads_no_surrogates() {
        // As a real server echoed the path of a sync.
        let rows = [
            (&b"\xED\xA0"[..], "\u{FFFD}"),
            (b"\xED\xA0a", "\u{FFFD}a"),
            (b"\xED\xA0\xED\xA0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xED\xA0\xBD\xED\xB8\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xED\xA0\x80\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xED\xA0\xA0\xA0", "\u{FFFD}\u{FFFD}"),
            (b"\xED\xA0\xF0\x9F\x98\x80", "\u{FFFD}\u{1F600}"),
            (b"\xEDa\xA0", "\u{FFFD}a\u{FFFD}"),
            (b"\xED\xED\xA0", "\u{FFFD}\u{FFFD}"),
            (b"\xED\x80", "\u{FFFD}"),
            (b"\xED\x80\x80\xFF", "\u{D000}\u{FFFD}"),
            (b"\xE1\x80a", "\u{FFFD}a"),
            (b"\xE0\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xF0\x90\x80a", "\u{FFFD}a"),
            (b"\xF0\x9F\x98\x80", "\u{1F600}"),
        ];
        for (bytes, text) in rows {
            assert_eq!(decode_as_java_does(bytes), text, "{bytes:02x?}");
        }
    }
}
