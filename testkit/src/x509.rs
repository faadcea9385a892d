//! Whom a certificate names, as ZooKeeper has it: the subject as Java writes it by RFC 2253, and what
//! Java takes for such a name.
//!
//! Java is that of version 17. Newer ones read strings that are not in UTF-8 by their types.

use std::fmt::Write;

use homing_protocol::incoming;

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
        parts.push(match name {
            Some((_, name)) if is_text(tag) => {
                format!("{name}={}", escape(&incoming::text(value)))
            }
            Some((_, name)) => format!("{name}={}", hex(whole)),
            None => format!("{}={}", numbers(kind)?, hex(whole)),
        });
    }
    Some(parts.join("+"))
}

/// Whether a value is shown as a string. All of these are read as if they were in UTF-8, which two
/// of them are not; numeric strings are none.
fn is_text(tag: u8) -> bool {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const T61: u8 = 0x14;
    const IA5: u8 = 0x16;
    const GENERAL: u8 = 0x1b;
    const BMP: u8 = 0x1e;
    matches!(tag, UTF8 | PRINTABLE | T61 | IA5 | GENERAL | BMP)
}

fn escape(value: &str) -> String {
    let mut escaped = String::new();
    let text_begins = value.len() - value.trim_start_matches(BLANK).len();
    let text_ends = value.trim_end_matches(BLANK).len();
    for (at, c) in value.char_indices() {
        let is_outer_blank = at < text_begins || at >= text_ends;
        match c {
            '\0' => escaped.push_str("\\00"),
            c if is_outer_blank || ",=+<>#;\"\\".contains(c) => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What is escaped at both ends.
const BLANK: [char; 2] = [' ', '\r'];

/// An object identifier with dots.
fn numbers(oid: &[u8]) -> Option<String> {
    let mut arcs = Vec::new();
    let mut arc = 0_u128;
    for byte in oid {
        arc = arc.checked_mul(128)? + u128::from(byte & 0x7f);
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

/// Whether Java reads this as a name, in whatever syntax it knows.
pub(crate) fn is_name(text: &str) -> bool {
    let mut steps = split(text, &[',', ';']).into_iter();
    text.is_empty() || steps.all(|step| split(step, &['+']).into_iter().all(is_attribute))
}

/// What stands between separators that are neither in quotes nor behind a backslash.
fn split<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |c: char| {
        let is_plain = !is_escaped;
        is_escaped = is_plain && c == '\\';
        is_quoted ^= is_plain && c == '"';
        is_plain && !is_quoted && separators.contains(&c)
    };
    text.split(is_separator).collect()
}

/// What Java knows by name, besides numbers.
const KEYWORDS: [&str; 21] = [
    "C",
    "CN",
    "DC",
    "DNQ",
    "DNQUALIFIER",
    "EMAIL",
    "EMAILADDRESS",
    "GENERATION",
    "GIVENNAME",
    "INITIALS",
    "IP",
    "L",
    "O",
    "OU",
    "S",
    "SERIALNUMBER",
    "ST",
    "STREET",
    "SURNAME",
    "T",
    "UID",
];

fn is_attribute(text: &str) -> bool {
    let Some((keyword, value)) = text.split_once('=') else {
        return false;
    };
    let keyword = keyword.trim_matches(|c| c <= ' ').to_uppercase();
    let numbers = keyword.strip_prefix("OID.").unwrap_or(&keyword);
    (KEYWORDS.contains(&&*keyword) || are_numbers(numbers)) && is_value(value)
}

/// Whether it is an object identifier with dots.
fn are_numbers(text: &str) -> bool {
    let arcs: Option<Vec<u128>> = text.split('.').map(|arc| arc.parse().ok()).collect();
    match arcs.as_deref() {
        Some([0 | 1, second, ..]) => *second < 40,
        Some([2, _, ..]) => true,
        _ => false,
    }
}

/// A value is in hexadecimal, in quotes, or text as it is.
fn is_value(value: &str) -> bool {
    let space = [' ', '\n'];
    let value = value.trim_start_matches(space);
    if let Some(digits) = value.strip_prefix('#') {
        return bytes(digits).is_some_and(|bytes| {
            let mut der = Der(&bytes);
            der.next().is_some() && der.0.is_empty()
        });
    }
    match value.strip_prefix('"') {
        Some(quoted) => {
            let inner = quoted.trim_end_matches(space).strip_suffix('"');
            inner.is_some_and(|inner| is_escaped(inner, "\"", ",=\n+<>#;\\\""))
        }
        None => is_escaped(value, ",+<>;\"", ",=\n+<>#;\\\" "),
    }
}

/// Whether all characters are escaped that have to be, and none that may not.
fn is_escaped(text: &str, needing: &str, allowed: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let is_right = match c {
            '\\' => match chars.next() {
                // A byte by its two digits.
                Some('0'..='9' | 'a'..='f' | 'A'..='F') => {
                    chars.next().is_some_and(|c| c.is_ascii_hexdigit())
                }
                Some(c) => allowed.contains(c),
                None => false,
            },
            c => !needing.contains(c),
        };
        if !is_right {
            return false;
        }
    }
    true
}

/// The bytes that these digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = digits.chars().map(digit).collect::<Option<_>>()?;
    let mut pairs = digits.chunks_exact(2);
    let bytes = pairs
        .by_ref()
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
    let bytes = bytes.collect();
    pairs.remainder().is_empty().then_some(bytes)
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

    /// Each name is Java's.
    #[test]
    fn strings_read_as_java_reads_them_and_other_values_are_numbers() {
        const CN: &[u8] = &[0x55, 4, 3];
        let rows: [(u8, &[u8], &str); 15] = [
            (0x0c, b"\xff", "CN=\u{fffd}"),
            (0x0c, b"\xed\xa0\x80", "CN=\u{fffd}"),
            (0x13, b"a,\xc3", "CN=a\\,\u{fffd}"),
            (0x14, "ü".as_bytes(), "CN=ü"),
            (0x1e, b"\0h\0\xfc", "CN=\\00h\\00\u{fffd}"),
            (0x1b, b"bob", "CN=bob"),
            (0x12, b"12", "CN=#12023132"),
            (0x1c, b"bob", "CN=#1c03626f62"),
            (0x02, b"\x01", "CN=#020101"),
            (0x0c, b"\ra\r", "CN=\\\ra\\\r"),
            (0x0c, b" \r ", "CN=\\ \\\r\\ "),
            (0x0c, b"\na\r\nb\t", "CN=\na\r\nb\t"),
            (0x0c, b"a\0", "CN=a\\00"),
            (0x0c, b"\\ ", "CN=\\\\\\ "),
            (0x0c, b"", "CN="),
        ];
        for (tag, value, name) in rows {
            let bytes = certificate(&[(CN, tag, value)]);
            assert_eq!(subject(&bytes).as_deref(), Some(name), "{tag:x} {value:?}");
        }
        // A number of 128 bits, as made of a UUID.
        let mut oid = vec![0x69, 0x83];
        oid.extend([0xff; 17]);
        oid.push(0x7f);
        let bytes = certificate(&[(&oid, 0x13, b"a")]);
        let name = format!("2.25.{}=#130161", u128::MAX);
        assert_eq!(subject(&bytes), Some(name));
    }

    #[test]
    fn names_are_those_that_java_takes() {
        let right = [
            "",
            "CN=bob",
            "cn=bob",
            " CN =  a",
            "CN=",
            "CN=a=b",
            "CN=a\nb",
            "CN=a b ",
            "CN=a;O=b+OU=c, C = DE",
            "CN=\"a,b+c;d\" ,O=\"\"",
            "CN=\"a\\\"b\"",
            "CN=a\\,b\\+c\\;d\\\\,O=e\\20\\ ",
            "CN=#0401ff",
            "1.2.3=x",
            "OID.2.5.4.3=x",
            "2.999=x",
            "EMAILADDRESS=x",
            "GIVENNAME=x",
        ];
        for name in right {
            assert!(is_name(name), "{name:?}");
        }
        let wrong = [
            "CN",
            " ",
            "=x",
            "foo=bar",
            "CN=a,b",
            "CN=a+b",
            "CN=a,,O=b",
            "CN=a,",
            ",CN=a",
            "CN=a+",
            "CN=\"a",
            "CN=\"a\"b",
            "CN=a\"b",
            "CN=a\\",
            "CN=a\\x",
            "CN=a\\2",
            "CN=a<b",
            "CN=#zz",
            "CN=#",
            "CN=#040",
            "CN=#0401",
            "1.2.3=#0401",
            "1=x",
            "9.9=x",
            "1.40=x",
            "1.2.=x",
            "OID.x=y",
        ];
        for name in wrong {
            assert!(!is_name(name), "{name:?}");
        }
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
