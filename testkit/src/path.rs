//! Paths: what is valid, and where one ends and its parent begins.

/// Nodes that exist on an empty server and cannot be deleted.
pub(crate) const RESERVED: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", CONFIG];

/// The node that holds the ensemble's configuration.
pub(crate) const CONFIG: &str = "/zookeeper/config";

/// What ClickHouse Keeper keeps for itself.
pub(crate) const KEEPER: &str = "/keeper";

/// Whether a path is that of ClickHouse Keeper or below it.
pub(crate) fn is_keeper(path: &str) -> bool {
    let rest = path.strip_prefix(KEEPER);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Splits at the last slash. The parent of a child of the root is the empty string, under which
/// the root is stored too; `None` where there is no slash.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    // Byte by byte, which for short strings is quicker than a search.
    let at = path.bytes().rposition(|byte| byte == b'/')?;
    Some((path.get(..at)?, path.get(at + 1..)?))
}

/// The full check of a path, which only create, setData, setACL and check run. The other
/// operations let anything through and find no such node.
pub(crate) fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(components) = path.strip_prefix('/') else {
        return false;
    };
    // A trailing slash is an empty last component.
    let mut names = components.as_bytes().split(|&byte| byte == b'/');
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~');
    names.all(|name| !matches!(name, b"" | b"." | b".."))
        // Most paths are plain ASCII, of which everything that can be printed is allowed.
        && (path.bytes().all(is_plain) || path.chars().all(is_allowed))
}

/// Whether creation and deletion can find a parent in it: the loose check that comes first.
pub(crate) fn has_parent(path: &str) -> bool {
    path.contains('/') && !path.contains('\0')
}

/// Java judges UTF-16 units, and surrogates are forbidden: hence nothing above U+FFFF.
fn is_allowed(c: char) -> bool {
    !matches!(c,
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{E000}'..='\u{F8FF}' | '\u{FFF0}'..)
}

/// The path itself and then each of its ancestors, up to and including the root.
pub(crate) fn with_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match split(path) {
        None | Some(("", "")) => None,
        Some(("", _)) => Some("/"),
        Some((parent, _)) => Some(parent),
    })
}

#[cfg(test)]
mod tests {
    use super::{is_valid, with_ancestors};

    #[test]
    fn paths_are_judged_as_the_server_does() {
        for good in [
            "/",
            "/a",
            "/a/b",
            "/..a",
            "/a.",
            "/ ",
            "/\u{200B}",
            "/%:",
            "/größe",
        ] {
            assert!(is_valid(good), "{good:?}");
        }
        let bad = [
            "",
            "a",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/a/..",
            "/\0",
            "/\u{1F}",
            "/\u{7F}",
            "/\u{9F}",
            "/\u{E000}",
            "/\u{F8FF}",
            "/\u{FFFD}",
            "/\u{1F600}",
        ];
        for bad in bad {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn ancestors_end_with_the_root() {
        let of = |path| with_ancestors(path).collect::<Vec<_>>();
        assert_eq!(of("/a/b"), ["/a/b", "/a", "/"]);
        assert_eq!(of("/"), ["/"]);
    }
}
