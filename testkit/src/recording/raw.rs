//! Bytes as they went over a connection, in a form that can stand at the end of a line.

use std::fmt::{self, Write};
use std::ops::Range;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};

/// What stands in the place of a secret, among the bytes.
const MASK: u8 = b'*';

/// Bytes of a connection, of which some may be masked because they are secrets. In a line they
/// are hexadecimal digits, and `**` for each byte that is masked.
///
/// ```
/// use homing_testkit::recording::Raw;
/// let raw = Raw::new(b"\0\x05secret".as_slice().into(), &[2..8]);
/// assert_eq!(raw.to_string(), "0005************");
/// assert!(raw.is_masked());
/// assert_eq!("0005************".parse(), Ok(raw));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    /// With [`MASK`] wherever something is masked.
    bytes: Bytes,
    masked: Vec<Range<usize>>,
}

impl Raw {
    /// These bytes, of which some ranges are masked.
    pub fn new(bytes: Bytes, masked: &[Range<usize>]) -> Self {
        if masked.iter().all(Range::is_empty) {
            let masked = Vec::new();
            return Self { bytes, masked };
        }
        let mut hidden = BytesMut::from(&bytes[..]);
        for range in masked {
            if let Some(secret) = hidden.get_mut(range.clone()) {
                secret.fill(MASK);
            }
        }
        let bytes = hidden.freeze();
        let masked = merged(masked);
        Self { bytes, masked }
    }

    /// The bytes; where they are masked, something else.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether some bytes are missing.
    pub fn is_masked(&self) -> bool {
        !self.masked.is_empty()
    }
}

/// Whether a text is what is left of a secret.
pub(crate) fn is_masked(text: &str) -> bool {
    text.bytes().all(|byte| byte == MASK)
}

/// In their order, and none that touches another.
fn merged(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut ranges: Vec<_> = ranges.iter().filter(|it| !it.is_empty()).cloned().collect();
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

/// Without the bytes.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.bytes.len())
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |of: u8| {
            DIGITS
                .get(usize::from(of))
                .map_or('0', |it| char::from(*it))
        };
        let mut masked = self.masked.iter().peekable();
        for (at, byte) in self.bytes.iter().enumerate() {
            while masked.peek().is_some_and(|range| range.end <= at) {
                masked.next();
            }
            if masked.peek().is_some_and(|range| range.contains(&at)) {
                f.write_str("**")?;
            } else {
                f.write_char(digit(byte >> 4))?;
                f.write_char(digit(byte & 15))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Raw {
    type Err = RawError;

    fn from_str(text: &str) -> Result<Self, RawError> {
        let mut bytes = BytesMut::with_capacity(text.len() / 2);
        let mut masked: Vec<Range<usize>> = Vec::new();
        for (at, pair) in text.as_bytes().chunks(2).enumerate() {
            match pair {
                b"**" => {
                    match masked.last_mut().filter(|range| range.end == at) {
                        Some(range) => range.end += 1,
                        None => masked.push(at..at + 1),
                    }
                    bytes.extend_from_slice(&[MASK]);
                }
                [high, low] => {
                    let byte = digit(*high).zip(digit(*low));
                    let (high, low) = byte.ok_or(RawError { at })?;
                    bytes.extend_from_slice(&[high << 4 | low]);
                }
                _ => return Err(RawError { at }),
            }
        }
        let bytes = bytes.freeze();
        Ok(Self { bytes, masked })
    }
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Something that is no pair of hexadecimal digits, nor `**`.
///
/// ```
/// use homing_testkit::recording::Raw;
/// let error = "00f".parse::<Raw>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "byte 1 is neither two hexadecimal digits nor ** for one that is masked"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawError {
    /// Which byte.
    pub at: usize,
}

impl fmt::Display for RawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        write!(
            f,
            "byte {at} is neither two hexadecimal digits nor ** for one that is masked"
        )
    }
}

impl std::error::Error for RawError {}
