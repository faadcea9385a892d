//! Numbers as Java reads them.

use std::str::FromStr;

/// A whole number: Java takes the digits of any script, in any mixture.
pub(crate) fn number<T: FromStr>(text: &str) -> Option<T> {
    if text.is_ascii() {
        return text.parse().ok();
    }
    let ascii: String = text.chars().map(|c| digit(c).unwrap_or(c)).collect();
    ascii.parse().ok()
}

/// The ASCII digit that is worth as much.
fn digit(c: char) -> Option<char> {
    let zero = ZEROS.iter().rev().find(|zero| **zero <= c)?;
    char::from_digit(u32::from(c) - u32::from(*zero), 10)
}

/// The zeros of all scripts, as far as one UTF-16 unit can say them: Java looks at these.
const ZEROS: [char; 37] = [
    '0', '\u{660}', '\u{6F0}', '\u{7C0}', '\u{966}', '\u{9E6}', '\u{A66}', '\u{AE6}', '\u{B66}',
    '\u{BE6}', '\u{C66}', '\u{CE6}', '\u{D66}', '\u{DE6}', '\u{E50}', '\u{ED0}', '\u{F20}',
    '\u{1040}', '\u{1090}', '\u{17E0}', '\u{1810}', '\u{1946}', '\u{19D0}', '\u{1A80}', '\u{1A90}',
    '\u{1B50}', '\u{1BB0}', '\u{1C40}', '\u{1C50}', '\u{A620}', '\u{A8D0}', '\u{A900}', '\u{A9D0}',
    '\u{A9F0}', '\u{AA50}', '\u{ABF0}', '\u{FF10}',
];

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn digits_of_every_script_count() {
        let rows = [
            ("12", Some(12)),
            ("-7", Some(-7)),
            ("+7", Some(7)),
            ("\u{661}2\u{FF13}", Some(123)),
            ("-\u{ABF9}", Some(-9)),
            // Two UTF-16 units each.
            ("\u{1D7CE}", None),
            ("\u{FF1A}", None),
            ("\u{BD}", None),
            ("", None),
            ("-", None),
            (" 1", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in rows {
            assert_eq!(number::<i64>(text), expected, "{text:?}");
        }
    }
}
