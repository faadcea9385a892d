//! The table of `docs/coming_from.md` is complete, and the tests that it names are there and run
//! where it says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// All of Curator's framework that has to have a row: the methods of `CuratorFramework`, those of
/// its builders that are more than an argument, and the settings of its factory.
const CURATOR: &[&str] = &[
    "LOST",
    "aclProvider",
    "advancedTracerDriver",
    "authorization",
    "blockUntilConnected",
    "build",
    "buildTemp",
    "builder",
    "canBeReadOnly",
    "checkExists",
    "checkExists().creatingParentsIfNeeded()",
    "clearWatcherReferences",
    "close",
    "compressed",
    "compressionProvider",
    "connectString",
    "connectionStateErrorPolicy",
    "connectionStateListenerManagerFactory",
    "connectionTimeoutMs",
    "create",
    "createContainers",
    "creatingParentContainersIfNeeded",
    "creatingParentsIfNeeded",
    "decompressed",
    "defaultData",
    "delete",
    "deletingChildrenIfNeeded",
    "dontUseContainerParents",
    "enableCompression",
    "ensembleProvider",
    "ensembleTracker",
    "getACL",
    "getChildren",
    "getConfig",
    "getConnectionStateListenable",
    "getCuratorListenable",
    "getCurrentConfig",
    "getData",
    "getNamespace",
    "getSchemaSet",
    "getState",
    "getUnhandledErrorListenable",
    "getZookeeperClient",
    "guaranteed",
    "idempotent",
    "inBackground",
    "inTransaction",
    "isStarted",
    "maxCloseWaitMs",
    "namespace",
    "newClient",
    "newNamespaceAwareEnsurePath",
    "newWatcherRemoveCuratorFramework",
    "nonNamespaceView",
    "orSetData",
    "postSafeNotify",
    "quietly",
    "reconfig",
    "removeWatchers",
    "retryPolicy",
    "runSafe",
    "runSafeService",
    "schemaSet",
    "sessionTimeoutMs",
    "setACL",
    "setData",
    "simulatedSessionExpirationPercent",
    "start",
    "storingStatIn",
    "sync",
    "threadFactory",
    "transaction",
    "transactionOp",
    "usingNamespace",
    "usingWatcher",
    "waitForShutdownTimeoutMs",
    "watched",
    "watchers().add()",
    "watchers().remove()",
    "watches",
    "withACL",
    "withMode",
    "withProtection",
    "withTtl",
    "withVersion",
    "zk34CompatibilityMode",
    "zkClientConfig",
    "zookeeperCompatibility",
    "zookeeperFactory",
];

/// What is not done by clients, and so is no constant here.
const INTERNAL: [(i32, &str); 4] = [
    (0, "notification"),
    (20, "deleteContainer"),
    (-10, "createSession"),
    (-1, "error"),
];

/// Which servers a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Fake,
    Real,
    Both,
}

/// Where tests of other files than the facade's run, the first that fits; on the fake server
/// alone where none does.
const ELSEWHERE: &[(&str, On)] = &[
    ("create_modes.rs::a_server_without", On::Real),
    ("create_modes.rs::", On::Both),
    ("deadlines.rs::", On::Both),
    ("endings.rs::another_session", On::Fake),
    ("endings.rs::its_driver", On::Fake),
    ("endings.rs::", On::Both),
    ("ensemble.rs::", On::Real),
    ("idle.rs::", On::Both),
    ("many_watches.rs::", On::Both),
    ("moves.rs::a_client_follows_what_a_fake", On::Fake),
    ("moves.rs::", On::Real),
    ("reconfig.rs::a_change_is_told", On::Both),
    ("reconfig.rs::a_member_leaves", On::Both),
    ("restart.rs::a_server_that_stays_away", On::Fake),
    ("restart.rs::", On::Both),
    ("sasl.rs::servers_that_have_no_sasl", On::Fake),
    ("sasl.rs::a_server_that_insists", On::Fake),
    ("sasl.rs::", On::Both),
    (
        "transport-tls/tests/client/working.rs::requests_and_watches",
        On::Both,
    ),
];

#[derive(Debug)]
struct Row<'a> {
    theirs: &'a str,
    here: &'a str,
    since: &'a str,
    tests: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Self {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        let [theirs, here, since, tests] = cells.collect::<Vec<_>>()[..] else {
            panic!("four columns: {line}");
        };
        Self {
            theirs,
            here,
            since,
            tests,
        }
    }

    /// The names of what it is about.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        code(self.theirs)
    }
}

/// What stands between backquotes.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The three tables, by their first columns.
fn tables(text: &str) -> BTreeMap<&str, Vec<Row<'_>>> {
    let mut tables = BTreeMap::new();
    let mut title = "";
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let row = Row::parse(line);
        if row.here == "here" {
            title = row.theirs;
        } else if !row.here.starts_with("---") {
            tables.entry(title).or_insert_with(Vec::new).push(row);
        }
    }
    tables
}

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = crate_folder().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn table() -> String {
    read("docs/coming_from.md")
}

/// As the names of operations are compared: ZooKeeper has `getACL` where we have `GET_ACL`.
fn plain(name: &str) -> String {
    name.replace('_', "").to_lowercase()
}

#[test]
fn every_operation_code_has_a_row() {
    let text = table();
    let tables = tables(&text);
    let number = |row: &Row<'_>| -> i32 { row.theirs.split(' ').next().unwrap().parse().unwrap() };
    let rows = tables["code"].iter().map(|row| (number(row), row));
    let rows: BTreeMap<i32, &Row<'_>> = rows.collect();
    let source = read("../protocol/src/op.rs");
    let constants = source.lines().filter_map(|line| {
        let (name, code) = line.strip_prefix("pub const ")?.split_once(": i32 = ")?;
        Some((code.trim_end_matches(';').parse().unwrap(), name))
    });
    let mut codes: Vec<(i32, &str)> = constants.collect();
    assert!(codes.len() > 25, "{codes:?}");
    codes.extend(INTERNAL);
    for (code, name) in &codes {
        let row = rows.get(code);
        let row = row.unwrap_or_else(|| panic!("there is no row for {code}, {name}"));
        let told = row.names().next().unwrap();
        assert_eq!(plain(told), plain(name), "{row:?}");
    }
    assert_eq!(rows.len(), codes.len());
}

#[test]
fn every_method_of_javas_client_has_a_row() {
    let text = table();
    let tables = tables(&text);
    let rows = tables["method"].iter().flat_map(Row::names);
    let rows: Vec<&str> = rows
        .map(|name| name.rsplit('.').next().unwrap_or(name))
        .collect();
    let methods = read("tests/java_methods.txt");
    let methods: Vec<&str> = methods
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '.']).next())
        .collect();
    assert!(methods.len() > 70, "{methods:?}");
    for method in &methods {
        assert!(rows.contains(method), "there is no row for {method}");
    }
    for row in rows {
        assert!(methods.contains(&row), "there is no method {row}");
    }
}

#[test]
fn all_of_curators_framework_has_a_row() {
    let text = table();
    let tables = tables(&text);
    let rows: Vec<&str> = tables["Curator"].iter().flat_map(Row::names).collect();
    for name in CURATOR {
        assert!(rows.contains(name), "there is no row for {name}");
    }
    for name in &rows {
        let is_known = CURATOR.contains(name);
        assert!(is_known, "nobody looks for the row of {name}");
    }
}

/// Where the file of a test is: a name with folders is the repository's.
fn file_of(name: &str) -> PathBuf {
    match name.split('/').next() {
        Some("facade" | "pool") => Path::new("tests").join(name),
        Some(first) if first != name => Path::new("..").join(name),
        _ => Path::new("tests").join(name),
    }
}

/// The names of the facade's tests that only the fake server can run.
fn tests_of_the_fake(list: &str) -> Vec<&str> {
    let mut of_the_fake = false;
    let mut names = Vec::new();
    for line in list.lines() {
        if let Some(name) = line.strip_prefix("macro_rules! ") {
            of_the_fake = name.contains("on_the_fake") || name.contains("of_the_fake");
        }
        if line == "}" {
            of_the_fake = false;
        }
        if of_the_fake {
            names.push(line.trim().trim_end_matches(';'));
        }
    }
    names
}

fn runs_on(test: &str, list: &str) -> On {
    let (file, name) = test.split_once("::").unwrap();
    if file.starts_with("facade/") {
        let is_listed = |name: &str| {
            list.lines()
                .any(|line| line.trim().trim_end_matches(';') == name)
        };
        assert!(is_listed(name), "{test} is in no list of the facade's");
        return match tests_of_the_fake(list).contains(&name) {
            true => On::Fake,
            false => On::Both,
        };
    }
    let mut elsewhere = ELSEWHERE.iter();
    elsewhere
        .find(|(start, _)| test.starts_with(start))
        .map_or(On::Fake, |(_, on)| *on)
}

#[test]
fn every_test_is_there_and_runs_where_the_row_says() {
    let text = table();
    let list = read("tests/facade/main.rs");
    let mut count = 0;
    for row in tables(&text).values().flatten() {
        assert!(!row.since.is_empty() && !row.here.is_empty(), "{row:?}");
        let mut on = Vec::new();
        for test in code(row.tests) {
            let (file, name) = test.split_once("::").unwrap();
            let source = read(file_of(file));
            let function = format!("fn {name}(");
            assert!(source.contains(&function), "there is no {test}: {row:?}");
            on.push(runs_on(test, &list));
            count += 1;
        }
        if on.is_empty() {
            let says_why = row.here.starts_with("not there");
            assert!(says_why, "it is there, and no test runs it: {row:?}");
            continue;
        }
        let on_both = on.contains(&On::Both) || (on.contains(&On::Fake) && on.contains(&On::Real));
        let admits = row.tests.contains(" alone)");
        assert!(on_both || admits, "it runs on one kind of server: {row:?}");
        let on_the_fake = on.iter().all(|on| *on == On::Fake);
        let says = row.tests.ends_with("(fake alone)");
        assert_eq!(on_the_fake, says, "{row:?}");
    }
    assert!(count > 150, "{count}");
}
