//! Names that say who made a node: in which session, and in which call.

/// What stands before the name of a node that was made by
/// [`protected`](crate::Request::protected), and what a marker's name begins with.
pub(crate) fn token(session_id: i64, nonce: u64) -> String {
    format!("{BEGIN}{session_id:016x}-{nonce:016x}-")
}

/// The name of the node that is made for a while, in one transaction with others, to see
/// afterwards whether it was done.
pub(crate) fn marker(session_id: i64, nonce: u64) -> String {
    token(session_id, nonce) + MARKER
}

const BEGIN: &str = "_h_";
const MARKER: &str = "marker";
const NUMBER_LEN: usize = 16;

/// The name as it was asked for, of one that [`protected`](crate::Request::protected) has put a
/// token before; other names stay as they are. Of a path it is the last name.
///
/// Sequential nodes are to be sorted by what this gives: the tokens come in no order. (As in
/// `_h_00000000000000a1-4c5f8e1f77d2a903-lock-0000000007`.)
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), homing::Error> {
/// # let server = homing_testkit::FakeServer::start();
/// # let client = homing::Client::connect(&server.connect_string()).await?;
/// use homing::plain_name;
/// client.create("/queue", b"").await?;
/// for _ in 0..3 {
///     client.create("/queue/job-", b"").sequential().protected().await?;
/// }
/// let children = client.children("/queue").await?;
/// let mut names: Vec<_> = children.iter().collect();
/// names.sort_by_key(|name| plain_name(name));
/// assert_eq!(plain_name(names[0]), "job-0000000000");
/// # Ok(())
/// # }
/// ```
pub fn plain_name(name: &str) -> &str {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    split_token(name).unwrap_or(name)
}

/// Whether a child with this name is a marker: a node without data that
/// [`resolved`](crate::Request::resolved) or [`protected`](crate::Request::protected) has made
/// next to another, to be gone in a moment. Whoever lists children can leave it out.
///
/// ```
/// assert!(homing::is_marker("_h_00000000000000a1-4c5f8e1f77d2a903-marker"));
/// assert!(!homing::is_marker("marker"));
/// ```
pub fn is_marker(name: &str) -> bool {
    split_token(name) == Some(MARKER)
}

/// What stands behind the token.
fn split_token(name: &str) -> Option<&str> {
    let rest = skip_number(name.strip_prefix(BEGIN)?)?;
    skip_number(rest)
}

fn skip_number(text: &str) -> Option<&str> {
    let (number, rest) = text.split_at_checked(NUMBER_LEN)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_hexdigit());
    rest.strip_prefix('-').filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_off_and_nothing_else() {
        for (session_id, nonce) in [(1, 2), (-1, u64::MAX), (i64::MIN, 0)] {
            let name = token(session_id, nonce) + "lock-0000000001";
            assert_eq!(plain_name(&name), "lock-0000000001");
            assert_eq!(plain_name(&format!("/a/{name}")), "lock-0000000001");
            assert!(is_marker(&marker(session_id, nonce)));
        }
        for name in [
            "lock-1",
            "_h_",
            "_h_1-2-lock",
            "_h_000000000000000g-0000000000000000-x",
        ] {
            assert_eq!(plain_name(name), name);
            assert!(!is_marker(name));
        }
        let umlauts = "_h_0000000000000000-000000000000000\u{e4}-x";
        assert_eq!(plain_name(umlauts), umlauts);
    }
}
