//! The tests on the page "Testing your application" are those in this folder.

use std::fs;
use std::path::Path;

/// The page, as a reader sees it: without the lines that rustdoc hides.
fn page() -> String {
    let page = read("client/docs/testing.md");
    let mut is_code = false;
    let is_seen = |line: &&str| {
        is_code ^= line.starts_with("```");
        !(is_code && (line.starts_with("# ") || *line == "#"))
    };
    page.lines()
        .filter(is_seen)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn each_test_is_on_the_page_as_it_is_here() {
    let page = page();
    for name in ["lost_connection", "leadership", "configuration"] {
        let file = read(&format!("examples/tests/{name}.rs"));
        let is_head = |line: &&str| line.starts_with("//!") || line.is_empty();
        let code = file.lines().skip_while(is_head);
        let code: String = code.map(|line| format!("{line}\n")).collect();
        assert!(page.contains(&code), "{name} is another one on the page");
    }
    let python = read("testkit/tests/other_clients/a_test.py");
    assert!(page.contains(&python), "the test in Python is another one");
}

#[test]
fn the_page_runs_each_test() {
    let whole = read("client/docs/testing.md");
    for name in ["lost_connection", "leadership", "configuration"] {
        let file = read(&format!("examples/tests/{name}.rs"));
        let mut tests = file.split("#[tokio::test]\nasync fn ").skip(1).peekable();
        assert!(tests.peek().is_some());
        for test in tests {
            let (test, _) = test.split_once('(').unwrap();
            let call = format!("{test}().await;");
            let is_called = |line: &str| {
                let hidden = line.strip_prefix("# ");
                hidden.is_some_and(|code| code.trim() == call)
            };
            assert!(whole.lines().any(is_called), "{test}");
        }
    }
}
