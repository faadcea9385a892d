//! The list of what is not compared.

/// A name, a colon and a reason a line.
const LIST: &str = include_str!("tolerated.txt");

/// What the code leaves out; the list has the reasons.
const KNOWN: [&str; 10] = [
    "times",
    "session ids and passwords",
    "order of lists",
    "order of the end of a session",
    "null path of a persistent watch",
    "what is never answered",
    "time to live below zero with another mode",
    "characters above U+FFFF",
    "quota that is none",
    "writes behind one that is on its way",
];

/// More would be no equality any more.
const MOST: usize = 10;

#[test]
fn what_is_tolerated_has_a_reason() {
    let lines = LIST
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let entries: Vec<_> = lines
        .map(|line| line.split_once(": ").expect(line))
        .collect();
    let names: Vec<_> = entries.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, KNOWN);
    assert!(names.len() <= MOST);
    assert!(entries.iter().all(|(_, reason)| reason.len() > 20));
}
