//! Whom a certificate names, as ZooKeeper has it: the subject as Java writes it by RFC 2253.

use std::fmt::Write;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// The version, which certificates of version 1 leave out.
const VERSION: u8 = 0xa0;

/// The attributes that have a short name there; all others are written in numbers.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
];

/// The subject of a certificate in DER; `None` if it is none.
pub(crate) fn subject(certificate: &[u8]) -> Option<String> {
    let certificate = Der(certificate).expect(SEQUENCE)?.1;
    let mut fields = Der(certificate).expect(SEQUENCE).map(|(_, tbs)| Der(tbs))?;
    if fields.0.first() == Some(&VERSION) {
        fields.next()?;
    }
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        fields.next()?;
    }
    let mut rdns = Der(fields.expect(SEQUENCE)?.1);
    let mut parts = Vec::new();
    while !rdns.0.is_empty() {
        parts.push(relative(rdns.expect(SET)?.1)?);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// One step of the name; it may have several attributes.
fn relative(set: &[u8]) -> Option<String> {
    let mut attributes = Der(set);
    let mut parts = Vec::new();
    while !attributes.0.is_empty() {
        let mut attribute = Der(attributes.expect(SEQUENCE)?.1);
        let (_, kind) = attribute.expect(OBJECT_IDENTIFIER)?;
        let whole = attribute.0;
        let (tag, value) = attribute.next()?;
        let name = NAMES.iter().find(|(oid, _)| *oid == kind);
        parts.push(match (name, text(tag, value)) {
            (Some((_, name)), Some(value)) => format!("{name}={}", escape(&value)),
            _ => format!("{}={}", numbers(kind)?, hex(whole)),
        });
    }
    Some(parts.join("+"))
}

/// A string of one of the usual types.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        // UTF-8, and three that are ASCII.
        0x0c | 0x12 | 0x13 | 0x16 => String::from_utf8(value.to_vec()).ok(),
        // T.61, which is read as Latin-1.
        0x14 => Some(value.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

fn escape(value: &str) -> String {
    let mut escaped = String::new();
    let spaces_before = value.len() - value.trim_start_matches(' ').len();
    let text_ends = value.trim_end_matches(' ').len();
    for (at, c) in value.char_indices() {
        let is_outer_space = c == ' ' && (at < spaces_before || at >= text_ends);
        if is_outer_space || ",=+<>#;\"\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// An object identifier with dots.
fn numbers(oid: &[u8]) -> Option<String> {
    let mut arcs = Vec::new();
    let mut arc = 0_u64;
    for byte in oid {
        arc = arc.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(std::mem::take(&mut arc));
        }
    }
    let (first, rest) = arcs.split_first()?;
    let top = (first / 40).min(2);
    let mut text = format!("{top}.{}", first - 40 * top);
    for arc in rest {
        write!(text, ".{arc}").ok()?;
    }
    Some(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("#".into(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is left of a run of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, mut rest) = rest.split_first()?;
        let mut len = usize::from(short);
        if short & 0x80 != 0 {
            let (bytes, behind) = rest.split_at_checked(usize::from(short & 0x7f))?;
            rest = behind;
            len = 0;
            for byte in bytes {
                len = len.checked_mul(256)?.checked_add(usize::from(*byte))?;
            }
        }
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<(u8, &'a [u8])> {
        self.next().filter(|(found, _)| *found == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let len = u8::try_from(value.len()).unwrap();
        let mut der = vec![tag];
        if len > 127 {
            der.push(0x81);
        }
        der.push(len);
        der.extend(value);
        der
    }

    /// A certificate, as far as it is looked at.
    fn certificate(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let rdn = |(oid, tag, value): &(&[u8], u8, &[u8])| {
            let pair = [der(OBJECT_IDENTIFIER, &[oid]), der(*tag, &[value])];
            der(SET, &[&der(SEQUENCE, &[&pair.concat()])])
        };
        let subject: Vec<_> = attributes.iter().map(rdn).collect();
        let subject = der(SEQUENCE, &[&subject.concat()]);
        let tbs = [
            der(VERSION, &[&[2, 1, 2]]),
            der(2, &[&[7]]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &[]),
            subject,
        ];
        der(SEQUENCE, &[&der(SEQUENCE, &[&tbs.concat()])])
    }

    #[test]
    fn a_subject_reads_as_java_writes_it() {
        let bytes = certificate(&[
            (&[0x55, 4, 6], 0x13, b"DE"),
            (&[0x55, 4, 10], 0x0c, b"Homing, Inc."),
            (&[0x55, 4, 3], 0x0c, " a+b ü#".as_bytes()),
            // An address of mail has no short name.
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], 0x16, b"a@b"),
        ]);
        assert_eq!(
            subject(&bytes).unwrap(),
            "1.2.840.113549.1.9.1=#1603614062,CN=\\ a\\+b ü\\#,O=Homing\\, Inc.,C=DE"
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_subject() {
        let bytes = certificate(&[(&[0x55, 4, 3], 0x0c, b"bob")]);
        for len in 0..bytes.len() {
            assert_eq!(subject(&bytes[..len]), None);
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            // Whatever it is now, nothing breaks.
            let _ = subject(&bytes);
        }
        assert_eq!(
            subject(&[0x30, 0x89, 255, 255, 255, 255, 255, 255, 255, 255, 255]),
            None
        );
    }
}
