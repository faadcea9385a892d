//! Bytes that nobody may see.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::BytesMut;
use zeroize::{Zeroize, Zeroizing};

/// What must not be shown: it has no `Display`, its `Debug` says nothing, and its memory is
/// wiped when it is dropped.
///
/// ```
/// let secret = homing_session::Secret::new(b"bob:pw");
/// assert_eq!(format!("{secret:?}"), "[redacted]");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Keeps a copy; the original is the caller's to wipe.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    /// Takes the only copy.
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A buffer whose bytes do not show in `Debug`.
#[derive(Default)]
pub(crate) struct Unshown(pub(crate) BytesMut);

impl Deref for Unshown {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.0
    }
}

impl DerefMut for Unshown {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.0
    }
}

impl fmt::Debug for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// Drops a buffer that held something secret.
pub(crate) fn wipe(mut buffer: BytesMut) {
    buffer.as_mut().zeroize();
}
