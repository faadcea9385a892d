//! Initial trees: what is loaded, and what is said of those that cannot be.
#![cfg(feature = "tree")]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use homing_protocol::{Acl, CreateMode, permission};
use homing_testkit::{FakeServer, InitialNode, InitialTree, SaslConfig};
use support::Rig;

const YAML: &str = r#"
/app/config: v1
/app/empty:
/app/binary: { base64: "AAEC/w==" }
/app/secret:
  data: |
    two
    lines
  acl:
    - "world:anyone:r"
    - "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=:cdrwa"
/app/workers:
  container: true
/app/lease: { data: x, ttl_ms: 60000 }
/app/locks: { next_sequence: 42 }
"/app/queue/item-0000000007": "\u00e9\U0001F600"
"#;

const JSON: &str = r#"{
	"/app/config": "v1",
	"/app/empty": null,
	"/app/binary": { "base64": "AAEC/w==" },
	"/app/secret": {
		"data": "two\nlines\n",
		"acl": ["world:anyone:r", "digest:bob:ikIaKsbtGweaHnb/jKn7OHqbunM=:cdrwa"]
	},
	"/app/workers": { "container": true },
	"/app/lease": { "data": "x", "ttl_ms": 60000 },
	"/app/locks": { "next_sequence": 42 },
	"\/app\/queue\/item-0000000007": "\u00e9\ud83d\ude00"
}"#;

fn loaded(tree: &InitialTree) -> Rig {
    let mut rig = Rig::with(|config| config.extended_types_enabled = true);
    rig.server.load(rig.now, tree).unwrap();
    rig
}

#[test]
fn both_formats_say_the_same() {
    let yaml = InitialTree::from_yaml(YAML).unwrap();
    let json = InitialTree::from_json(JSON).unwrap();
    assert_eq!(yaml, json);
    let by_hand = InitialTree::new()
        .node("/app/config", "v1")
        .node("/app/empty", InitialNode::new())
        .node("/app/binary", &[0, 1, 2, 255][..])
        .node(
            "/app/secret",
            InitialNode::from("two\nlines\n").acl(vec![
                Acl::read_only(),
                Acl::digest("bob", "pw").permissions(permission::ALL),
            ]),
        )
        .node("/app/workers", InitialNode::new().container())
        .node(
            "/app/lease",
            InitialNode::from("x").ttl(Duration::from_secs(60)),
        )
        .node("/app/locks", InitialNode::new().next_sequence(42))
        .node("/app/queue/item-0000000007", "é😀");
    assert_eq!(yaml, by_hand);
}

#[test]
fn what_is_loaded_is_there_with_the_first_transaction() {
    let rig = loaded(&InitialTree::from_yaml(YAML).unwrap());
    let server = &rig.server;
    assert_eq!((server.last_zxid(), server.node_count()), (1, 4 + 10));
    let secret = server.node("/app/secret").unwrap();
    assert_eq!(secret.data.as_deref(), Some(&b"two\nlines\n"[..]));
    assert_eq!(secret.acl, [Acl::read_only(), Acl::digest("bob", "pw")]);
    assert_eq!((secret.stat.czxid, secret.stat.version), (1, 0));
    assert_eq!(secret.stat.ctime, rig.now.unix_ms);
    let app = server.node("/app").unwrap();
    assert_eq!((app.stat.num_children, app.stat.cversion), (8, 8));
    let empty = server.node("/app/empty").unwrap();
    assert_eq!(empty.data.as_deref(), Some(&b""[..]));
    let root = server.node("/").unwrap();
    assert_eq!((root.stat.version, root.stat.pzxid), (0, 1));
}

#[test]
fn lists_times_to_live_and_containers_are_in_force() {
    let mut rig = loaded(&InitialTree::from_yaml(YAML).unwrap());
    let peer = rig.peer();
    assert_eq!(rig.set(peer, "/app/secret", b"x").err(), -102);
    rig.auth(peer, "digest", "bob:pw");
    assert_eq!(rig.set(peer, "/app/secret", b"x").err(), 0);
    rig.make(peer, &["/app/workers/one"]);
    rig.delete(peer, "/app/workers/one");
    rig.advance(Duration::from_secs(20));
    rig.ping(peer);
    assert!(rig.server.node_exists("/app/lease"));
    for _ in 0..8 {
        rig.advance(Duration::from_secs(20));
        rig.ping(peer);
    }
    assert!(!rig.server.node_exists("/app/lease"));
    assert!(!rig.server.node_exists("/app/workers"));
}

#[test]
fn sequential_names_go_on_behind_those_that_are_there() {
    let mut rig = loaded(&InitialTree::from_yaml(YAML).unwrap());
    let peer = rig.peer();
    let mode = CreateMode::PersistentSequential;
    let path = |answer: support::Answer| answer.path();
    assert_eq!(
        path(rig.create(peer, "/app/locks/l-", mode)),
        "/app/locks/l-0000000042"
    );
    assert_eq!(
        path(rig.create(peer, "/app/queue/item-", mode)),
        "/app/queue/item-0000000008"
    );
    // As many as there are children, where none of them has a number.
    assert_eq!(path(rig.create(peer, "/app/x", mode)), "/app/x0000000008");
}

#[test]
fn the_root_can_be_closed() {
    let tree =
        InitialTree::from_json(r#"{ "/": { "data": "r", "acl": ["world:anyone:r"] }, "/a": "" }"#)
            .unwrap();
    let mut rig = loaded(&tree);
    let peer = rig.peer();
    let refused = rig.create(peer, "/b", CreateMode::Persistent);
    assert_eq!(refused.err(), -102);
    assert_eq!(rig.get(peer, "/", false).err(), 0);
    assert!(rig.server.node_exists("/a"));
}

#[test]
fn a_loaded_quota_counts() {
    let tree = InitialTree::new()
        .node("/q/a", "12345")
        .node(
            "/zookeeper/quota/q/zookeeper_limits",
            "count=1,bytes=-1=;byteHardLimit=-1;countHardLimit=2",
        )
        .node("/zookeeper/quota/q/zookeeper_stats", "count=2,bytes=5");
    let mut rig = Rig::with(|config| config.enforce_quota = true);
    rig.server.load(rig.now, &tree).unwrap();
    let peer = rig.peer();
    let refused = rig.create(peer, "/q/b", CreateMode::Persistent);
    assert_eq!(refused.err(), -125);
}

#[test]
fn loading_later_tells_whoever_watches() {
    let mut rig = Rig::new();
    let peer = rig.peer();
    assert_eq!(rig.exists(peer, "/late", true).err(), -101);
    let tree = InitialTree::new().node("/late", "x");
    rig.server.load(rig.now, &tree).unwrap();
    let events = rig.take_events(peer.connection);
    assert_eq!(
        events,
        [(homing_protocol::EventType::NodeCreated, "/late".to_owned())]
    );
    assert_eq!(rig.server.node("/late").unwrap().stat.czxid, 2);
}

#[test]
fn a_list_of_one_needs_no_brackets() {
    let one = InitialTree::from_yaml("/a: { acl: 'world:anyone:r' }").unwrap();
    let list = InitialTree::from_yaml("/a: { acl: ['world:anyone:r'] }").unwrap();
    assert_eq!(one, list);
}

#[test]
fn an_empty_tree_is_no_transaction() {
    let rig = loaded(&InitialTree::from_yaml("# nothing\n").unwrap());
    assert_eq!(rig.server.last_zxid(), 0);
    assert_eq!(InitialTree::from_json("{}").unwrap(), InitialTree::new());
}

/// A file that cannot be read, and what has to be said of it.
const WRONG: [(&str, &[&str]); 19] = [
    (
        r#"{ "/a": "#,
        &["did not find expected node content", "line 2 column 1"],
    ),
    (r#"[]"#, &["an object with paths for its keys"]),
    (
        "{ \"/a\": \"\",\n  \"b\": \"\" }",
        &["\"b\"", "slash", "line 2 column 3"],
    ),
    (r#"{ "/a/": "" }"#, &["\"/a/\"", "no path"]),
    (
        "{ \"/a\": \"\",\n\"/a\": \"\" }",
        &["\"/a\" is there twice", "line 2"],
    ),
    (
        r#"{ "/a": 5 }"#,
        &["integer `5`", "numbers in quotes", "line 1 column 9"],
    ),
    (
        r#"{ "/a": { "date": "x" } }"#,
        &["unknown field `date`", "`data`"],
    ),
    (
        r#"{ "/a": { "data": "x", "data": "y" } }"#,
        &["\"data\" is there twice"],
    ),
    (
        r#"{ "/a": { "data": "x", "base64": "" } }"#,
        &["one of them"],
    ),
    (
        r#"{ "/a": { "base64": "AAE" } }"#,
        &["no base64", "line 1 column 21"],
    ),
    (r#"{ "/a": { "acl": 31 } }"#, &["expected a list of scheme"]),
    (
        r#"{ "/a": { "acl": ["world"] } }"#,
        &["scheme:id:permissions"],
    ),
    (
        r#"{ "/a": { "acl": ["world:anyone"] } }"#,
        &["scheme:id:permissions"],
    ),
    (
        r#"{ "/a": { "acl": ["world:anyone:rx"] } }"#,
        &["letters of cdrwa"],
    ),
    (
        r#"{ "/a": { "acl": ["world:anyone:"] } }"#,
        &["letters of cdrwa"],
    ),
    (
        r#"{ "/a": { "acl": ["word:anyone:r"] } }"#,
        &["word:…", "no server takes this"],
    ),
    (
        r#"{ "/a": { "acl": ["digest:bob:r"] } }"#,
        &["digest:user:hash"],
    ),
    (r#"{ "/a": { "ttl_ms": -1 } }"#, &["-1", "line 1 column 21"]),
    (
        r#"{ "/a": { "container": "yes" } }"#,
        &["expected a boolean"],
    ),
];

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, expected) in WRONG {
        let error = InitialTree::from_json(text).unwrap_err().to_string();
        for part in expected {
            assert!(
                error.contains(part),
                "{part:?} is missing in {error:?}: {text}"
            );
        }
    }
    let error = InitialTree::from_yaml("/a: v1\n/b:\n  acl: [ nobody ]\n").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("/b") && error.contains("line 3 column"),
        "{error}"
    );
    let error = InitialTree::from_yaml("/a: v1\n/b: {\n").unwrap_err();
    assert!(error.to_string().contains("line 3"), "{error}");
}

#[test]
fn secrets_stay_out_of_errors() {
    for list in [
        "[\"digest:bob:c2VjcmV0:xyz\"]",
        "\"digest:bob:c2VjcmV0:xyz\"",
    ] {
        let text = format!("{{ \"/a\": {{ \"acl\": {list} }} }}");
        let error = InitialTree::from_json(&text).unwrap_err().to_string();
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
}

#[test]
fn a_tree_that_the_server_refuses_is_not_half_loaded() {
    let good = || InitialTree::new().node("/a/b", "x");
    let ttl = InitialNode::new().ttl(Duration::from_secs(1));
    let sasl = InitialNode::new().acl(vec![Acl::new("sasl", "bob")]);
    let rows = [
        (good().node("relative", ""), "\"relative\""),
        (good().node("/zookeeper/config", ""), "it is there already"),
        (good().node("/z", ttl.clone()), "--extended-types"),
        (good().node("/z", ttl.container()), "not both"),
        (good().node("/z", sasl), "sasl and x509 take"),
        (good().node("/z", InitialNode::new().acl(vec![])), "\"/z\""),
        (good().node("/", InitialNode::new().acl(vec![])), "\"/\""),
        (
            good().node("/z", InitialNode::new().next_sequence(-1)),
            "negative",
        ),
    ];
    for (tree, expected) in rows {
        let mut rig = Rig::new();
        let error = rig.server.load(rig.now, &tree).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{expected:?} is missing in {error:?}"
        );
        let server = &rig.server;
        assert_eq!((server.node_count(), server.last_zxid()), (4, 0), "{error}");
        let error = FakeServer::builder().tree(tree).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let mut rig = Rig::new();
    rig.server.load(rig.now, &good()).unwrap();
    let again = rig.server.load(rig.now, &good()).unwrap_err();
    assert!(again.to_string().contains("it is there already"), "{again}");
    assert_eq!(rig.server.last_zxid(), 1);
}

#[test]
fn a_server_that_knows_a_scheme_takes_its_entries() {
    let sasl = InitialNode::new().acl(vec![Acl::new("sasl", "bob")]);
    let server = FakeServer::builder()
        .sasl(SaslConfig::new().user("bob", "secret"))
        .tree(InitialTree::new().node("/a", sasl))
        .start()
        .unwrap();
    assert!(server.with_server(|server| server.node_exists("/a")));
}

#[test]
fn a_file_is_what_its_name_says() {
    let folder = std::env::temp_dir().join(format!("homing-tree-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let read = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        InitialTree::from_file(&path)
    };
    assert!(read("a.json", JSON).is_ok());
    assert!(read("a.yaml", YAML).is_ok());
    assert!(read("a.YML", YAML).is_ok());
    let error = read("a.txt", YAML).unwrap_err().to_string();
    assert!(
        error.contains("a.txt") && error.contains(".json, .yaml or .yml"),
        "{error}"
    );
    let error = read("wrong.yaml", "/a: [").unwrap_err().to_string();
    assert!(
        error.contains("wrong.yaml: ") && error.contains("line"),
        "{error}"
    );
    let missing = InitialTree::from_file(folder.join("none.json")).unwrap_err();
    assert!(missing.to_string().contains("cannot read "), "{missing}");
    std::fs::remove_dir_all(&folder).unwrap();
}
