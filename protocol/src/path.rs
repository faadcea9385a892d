//! What a node's path may look like: the rules that client and server share.

use std::fmt;

/// Checks a path by ZooKeeper's rules, which clients apply before they send and servers when
/// they create or change a node.
///
/// A path begins with a slash and, unless it is `/` itself, does not end with one. No component
/// is empty, `.` or `..`. Control characters, surrogates, private use (U+E000 to U+F8FF),
/// U+FFF0 to U+FFFF and anything above U+FFFF are not allowed.
///
/// # Errors
/// What is wrong, and at which byte.
///
/// ```
/// use homing_protocol::validate_path;
/// assert!(validate_path("/app/config").is_ok());
/// assert_eq!(
///     validate_path("/app//config").unwrap_err().to_string(),
///     "an empty component at byte 5",
/// );
/// assert_eq!(validate_path("app").unwrap_err().to_string(), "it does not begin with a slash");
/// ```
pub fn validate_path(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(PathError::NotAbsolute);
    };
    if rest.is_empty() {
        return Ok(());
    }
    if rest.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    let mut at = 1;
    for component in rest.split('/') {
        match component {
            "" => return Err(PathError::EmptyComponent { at }),
            "." | ".." => return Err(PathError::Relative { at }),
            _ => {}
        }
        if let Some((offset, character)) = component.char_indices().find(|(_, c)| is_forbidden(*c))
        {
            return Err(PathError::Character {
                at: at + offset,
                character,
            });
        }
        at += component.len() + 1;
    }
    Ok(())
}

fn is_forbidden(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1F}'
            | '\u{7F}'..='\u{9F}'
            | '\u{E000}'..='\u{F8FF}'
            | '\u{FFF0}'..
    )
}

/// Why a path is not one.
///
/// ```
/// use homing_protocol::{PathError, validate_path};
/// assert_eq!(validate_path("/a/"), Err(PathError::TrailingSlash));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// It has no characters at all.
    Empty,
    /// It does not begin with a slash.
    NotAbsolute,
    /// It ends with a slash and is not `/`.
    TrailingSlash,
    /// Two slashes follow each other.
    EmptyComponent {
        /// The offset of the second one, in bytes.
        at: usize,
    },
    /// A component is `.` or `..`: ZooKeeper knows no relative paths.
    Relative {
        /// The offset of the component, in bytes.
        at: usize,
    },
    /// A character that ZooKeeper does not allow.
    Character {
        /// Its offset, in bytes.
        at: usize,
        /// The character.
        character: char,
    },
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::NotAbsolute => f.write_str("it does not begin with a slash"),
            Self::TrailingSlash => f.write_str("it ends with a slash"),
            Self::EmptyComponent { at } => write!(f, "an empty component at byte {at}"),
            Self::Relative { at } => write!(f, "a component `.` or `..` at byte {at}"),
            Self::Character { at, character } => write!(
                f,
                "the character U+{:04X} at byte {at} is not allowed",
                u32::from(*character)
            ),
        }
    }
}

impl std::error::Error for PathError {}
