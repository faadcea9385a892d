//! From the bytes of a connection to its pieces: frames, four-letter words, and what is neither.

use std::fmt;
use std::iter;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use homing_protocol::frame;

use super::{Decoded, Decoder, Value, Way};

/// The largest frame that is waited for. Replies can be larger than any request, but not without
/// end.
const FRAME_LEN_MAX: usize = 64 << 20;

/// How much of what is no frame makes one piece.
const UNFRAMED_LEN_MAX: usize = 64 << 10;

/// The bytes of one connection, cut into pieces and decoded.
///
/// ```
/// use homing_testkit::decode::{Way, Stream};
/// let mut stream = Stream::new();
/// stream.push(Way::ToServer, b"ruok");
/// stream.push(Way::ToClient, b"imok");
/// let word = stream.next(Way::ToServer).unwrap();
/// assert_eq!(word.to_string(), r#"word "ruok""#);
/// let answer = stream.next(Way::ToClient).unwrap();
/// assert_eq!(answer.to_string(), r#"text "imok""#);
/// ```
#[derive(Debug, Default)]
pub struct Stream {
    decoder: Decoder,
    to_server: Half,
    to_client: Half,
}

/// One direction of it.
#[derive(Default)]
struct Half {
    input: BytesMut,
    has_begun: bool,
    mode: Mode,
}

/// What a direction carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Frames,
    /// A four-letter word was asked.
    Text,
    /// A length cannot be right, so nobody knows where a frame begins.
    Lost,
}

/// Without the bytes: there may be a password among them.
impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Half")
            .field("len", &self.input.len())
            .field("has_begun", &self.has_begun)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// A connection of which nothing was seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes have gone over it. They should be taken out with [`next`](Self::next) at once.
    pub fn push(&mut self, way: Way, bytes: &[u8]) {
        self.half(way).input.extend_from_slice(bytes);
    }

    /// The next whole piece of a direction.
    pub fn next(&mut self, way: Way) -> Option<Piece> {
        let half = self.half(way);
        match half.mode {
            Mode::Frames => {}
            Mode::Text => return half.unframed(Content::Text),
            Mode::Lost => return half.unframed(Content::Lost),
        }
        if way == Way::ToServer && !half.has_begun && half.input.len() >= 4 {
            half.has_begun = true;
            if is_word(&half.input) {
                let bytes = half.input.split_to(4).freeze();
                half.mode = Mode::Text;
                self.to_client.mode = Mode::Text;
                return Some(Piece::new(bytes, Content::Word));
            }
        }
        let announced = frame::peek_len(&half.input)?;
        let Some(len) = usize::try_from(announced)
            .ok()
            .filter(|len| *len <= FRAME_LEN_MAX)
        else {
            half.mode = Mode::Lost;
            let bytes = half.input.split_to(frame::LENGTH_LEN).freeze();
            return Some(Piece::new(bytes, Content::Length(announced)));
        };
        let end = frame::LENGTH_LEN + len;
        if half.input.len() < end {
            return None;
        }
        let bytes = half.input.split_to(end).freeze();
        let decoded = self.decoder.decode(way, &bytes.slice(frame::LENGTH_LEN..));
        Some(Piece::new(bytes, Content::Frame(decoded)))
    }

    /// What is left of a direction that has ended: the beginning of a frame.
    pub fn finish(&mut self, way: Way) -> Option<Piece> {
        let half = self.half(way);
        let announced = frame::peek_len(&half.input);
        let bytes = half.input.split().freeze();
        (!bytes.is_empty()).then(|| Piece::new(bytes, Content::Torn(announced)))
    }

    fn half(&mut self, way: Way) -> &mut Half {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

impl Half {
    fn unframed(&mut self, content: Content) -> Option<Piece> {
        let len = self.input.len().min(UNFRAMED_LEN_MAX);
        let bytes = self.input.split_to(len).freeze();
        (len > 0).then(|| Piece::new(bytes, content))
    }
}

/// Whether a fresh connection begins with an administrator's question. As a length it would be
/// 1.6 GB at least.
fn is_word(input: &[u8]) -> bool {
    input
        .first_chunk::<4>()
        .is_some_and(|word| word.iter().all(u8::is_ascii_lowercase))
}

/// A piece of a connection: a frame, or what stood in the place of one. `Display` is one line
/// without secrets.
///
/// ```
/// use homing_testkit::decode::{Way, Stream};
/// let mut stream = Stream::new();
/// stream.push(Way::ToServer, b"\xff\xff\xff\xfe");
/// let piece = stream.next(Way::ToServer).unwrap();
/// assert_eq!(piece.to_string(), "undecodable: a frame of -2 bytes");
/// assert_eq!(piece.bytes()[..], *b"\xff\xff\xff\xfe");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    bytes: Bytes,
    pub(crate) content: Content,
}

/// What a piece is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Frame(Decoded),
    Word,
    /// The answer to a word.
    Text,
    /// A length that cannot be right.
    Length(i32),
    /// Whatever comes behind that.
    Lost,
    /// The beginning of a frame and its length, if that is there.
    Torn(Option<i32>),
}

impl Piece {
    fn new(bytes: Bytes, content: Content) -> Self {
        Self { bytes, content }
    }

    /// The bytes as they went over the connection: of a frame with its length. There may be
    /// secrets among them.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What a frame says; `None` for whatever else.
    pub fn decoded(&self) -> Option<&Decoded> {
        match &self.content {
            Content::Frame(decoded) => Some(decoded),
            _ => None,
        }
    }

    /// Whether it is the answer to a four-letter word, or a part of it.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.content, Content::Text)
    }

    /// Where secrets lie, or may lie, in [`bytes`](Self::bytes).
    pub fn secrets(&self) -> Vec<Range<usize>> {
        match &self.content {
            Content::Frame(decoded) => decoded
                .secrets()
                .iter()
                .map(|at| at.start + frame::LENGTH_LEN..at.end + frame::LENGTH_LEN)
                .collect(),
            Content::Torn(_) | Content::Lost => iter::once(0..self.bytes.len()).collect(),
            Content::Word | Content::Text | Content::Length(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = || Value::Data(Some(self.bytes.clone()));
        let len = self.bytes.len();
        match &self.content {
            Content::Frame(decoded) => decoded.fmt(f),
            Content::Word => write!(f, "word {}", text()),
            Content::Text => write!(f, "text {}", text()),
            Content::Length(announced) => write!(f, "undecodable: a frame of {announced} bytes"),
            Content::Lost => write!(f, "undecodable: {len} bytes behind a wrong length"),
            Content::Torn(None) => write!(f, "undecodable: {len} bytes of a length"),
            Content::Torn(Some(announced)) => {
                let len = len.saturating_sub(frame::LENGTH_LEN);
                write!(f, "undecodable: {len} of {announced} bytes")
            }
        }
    }
}

/// Without the bytes.
impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({self})")
    }
}
