//! Four-letter words: the fake server's answers beside those of a real one.

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use homing_protocol::{Acl, ConnectRequest, Create, CreateMode, Empty, GetChildren, op, xid};
use homing_testkit::{FakeServer, ServerMode, real};
use support::socket::{Client, ask, read_frame};
use support::{create_body, delete_body, exists_body, new_session, request_frame};

/// What servers ask themselves for.
const DELETE_CONTAINER: i32 = 20;

/// So long that no session expires while a machine is busy with something else.
const TICK: Duration = Duration::from_secs(20);

fn connect(address: SocketAddr, timeout_ms: i32) -> Client {
    Client::with(address, &new_session(timeout_ms)).expect("an answer")
}

fn create(client: &mut Client, path: &str, data: &[u8], mode: CreateMode) {
    let acl = [Acl::open()];
    let create = Create {
        data,
        ..create_body(path, &acl, mode)
    };
    client.call(op::CREATE, &create).unwrap();
}

fn fake() -> FakeServer {
    let builder = FakeServer::builder();
    let all = |config: &mut homing_testkit::ServerConfig| {
        config.four_letter_words = vec!["*".into()];
    };
    builder.tick_time(TICK).config(all).start().unwrap()
}

/// A real server of this test's own, with nothing in it.
fn real() -> Option<real::ZooKeeper> {
    real::requirement()?;
    let builder = real::ZooKeeper::builder().tick_time(TICK);
    Some(builder.start().unwrap())
}

/// Sessions with something to tell of, on a server that has counted nothing before.
fn sessions(address: SocketAddr) -> [Client; 6] {
    ask(address, "srst");
    let mut first = connect(address, 300_000);
    create(&mut first, "/a", b"hello", CreateMode::Persistent);
    create(&mut first, "/e", b"", CreateMode::Ephemeral);
    first.call(op::EXISTS, &exists_body("/nope", true)).unwrap();
    first.get("/a", true).unwrap();
    let (path, watch) = ("/a".into(), true);
    let children = GetChildren { path, watch };
    first.call(op::GET_CHILDREN, &children).unwrap();
    let mut second = connect(address, 310_000);
    second.get("/a", true).unwrap();
    let told = second.set("/a", b"hello, world").unwrap();
    assert_eq!(told.events.len(), 1);
    // The other one is told as well.
    read_frame(&mut first.socket).unwrap();
    second.get("/a", true).unwrap();
    // A ping is the last operation, and not the last xid.
    let ping = request_frame(xid::PING, op::PING, &Empty);
    first.socket.write_all(&ping).unwrap();
    read_frame(&mut first.socket).unwrap();
    // Nothing is said of a write that has failed.
    let mut third = connect(address, 320_000);
    third.call(op::DELETE, &delete_body("/nope")).unwrap();
    // Nor of what clients have no use for, which counts with the writes.
    third.call(DELETE_CONTAINER, &delete_body("/nope")).unwrap();
    let mut fourth = connect(address, 330_000);
    fourth
        .call(op::EXISTS, &exists_body("/nope", false))
        .unwrap();
    // It had a watch, and an ephemeral node.
    create(&mut fourth, "/gone", b"", CreateMode::Ephemeral);
    fourth.get("/gone", true).unwrap();
    fourth.call(op::DELETE, &delete_body("/gone")).unwrap();
    // What cannot be read is no operation, but for one.
    let mut fifth = connect(address, 340_000);
    fifth.call(op::MULTI, &Empty).unwrap();
    let mut sixth = connect(address, 350_000);
    sixth.call(op::RECONFIG, &Empty).unwrap();
    // An empty frame is one as well.
    assert_eq!(ask(address, [0; 4]), "");
    [first, second, third, fourth, fifth, sixth]
}

/// A server under comparison.
struct Server {
    address: SocketAddr,
    clients: [Client; 6],
}

impl Server {
    fn new(address: SocketAddr) -> Self {
        let clients = sessions(address);
        Self { address, clients }
    }

    /// The answer to a word without what cannot be the same: ports, session ids, dates, what took
    /// how long, where it is stored.
    fn ask(&self, word: &str) -> String {
        let answer = ask(self.address, word);
        let mut lines: Vec<String> = answer.split('\n').map(|line| self.mask(line)).collect();
        if ["cons", "stat", "wchc", "wchp", "dump"].contains(&word) {
            // A real server lists things in the order of its hash tables.
            lines.sort();
        }
        lines.retain(|line| line != "(a date)");
        lines.join("\n")
    }

    fn mask(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (name, client) in ["first", "second", "third", "fourth", "fifth", "sixth"]
            .iter()
            .zip(&self.clients)
        {
            let id = format!("0x{:x}", client.session.session_id);
            line = line.replace(&id, &format!("0x({name})"));
            let port = client.socket.local_addr().unwrap().port();
            line = line.replace(&format!(":{port}"), &format!(":({name})"));
        }
        if line.contains(" expire at ") {
            return "(a date)".into();
        }
        if let Some(rest) = line.strip_prefix("Zookeeper version: 3.8.0-") {
            let (_, built) = rest.split_once(", built on ").unwrap();
            assert!(built.ends_with(" UTC"), "{line}");
            return "Zookeeper version".into();
        }
        let line = mask_number(&line, "/127.0.0.1:");
        let line = mask_number(&line, "Sets (");
        ["est=", "lresp=", "llat=", "minlat=", "avglat=", "maxlat="]
            .iter()
            .fold(line, |line, label| mask_number(&line, label))
    }
}

/// Takes away the number behind a label.
fn mask_number(line: &str, label: &str) -> String {
    let Some((front, rest)) = line.split_once(label) else {
        return line.into();
    };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{front}{label}{rest}")
}

/// A real server counts a reply a moment after it has sent it, and both may take a moment to see that
/// a client is gone.
fn wait_for_counts(fake: &Server, real: &Server) {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let (fake, real) = (fake.ask("cons"), real.ask("cons"));
        // Who asks is there as well.
        let are_gone = fake.matches("recved=").count() == 7;
        if fake == real && are_gone {
            return;
        }
        assert!(Instant::now() < give_up, "{fake}\n{real}");
    }
}

fn names(text: &str, separator: char) -> Vec<&str> {
    let name = |line| str::split_once(line, separator).map_or(line, |(name, _)| name);
    text.lines().map(name).collect()
}

#[test]
fn every_word_is_answered_as_a_real_server_answers_it() {
    let Some(real_server) = real() else { return };
    let fake_server = fake();
    let fake = Server::new(fake_server.addr());
    let real = Server::new(real_server.addr());

    wait_for_counts(&fake, &real);
    for word in [
        "cons", "srvr", "stat", "ruok", "isro", "wchs", "wchc", "wchp", "dump", "hash", "gtmk",
        "crst", "cons", "stat", "srst", "srvr",
    ] {
        let (fake, real) = (fake.ask(word), real.ask(word));
        // The machine's figures: nothing takes any time here.
        let latency = |text: &str| {
            let lines = text.lines().map(|line| match line.split_once(": ") {
                Some(("Latency min/avg/max", _)) => "Latency".to_owned(),
                _ => line.to_owned(),
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(latency(&fake), latency(&real), "{word}");
        assert_eq!(fake.ends_with('\n'), real.ends_with('\n'), "{word}");
    }
    for server in [&fake, &real] {
        assert_eq!(ask(server.address, "stmk\0\0\0\0\0\0\x01\x2c"), "300");
        assert_eq!(ask(server.address, "stmk"), "");
        assert_eq!(ask(server.address, "stmk\0\0\0\0\0\0\x01"), "");
        assert_eq!(ask(server.address, "gtmk"), "300");
        assert_eq!(ask(server.address, TELNET_CLOSE), "");
    }
}

/// What telnet sends when it is interrupted.
const TELNET_CLOSE: &[u8] = b"\xff\xf4\xff\xfd\x06";

#[test]
fn what_telnet_sends_is_a_word_that_can_be_unlisted() {
    let fake = FakeServer::start();
    let real = real::requirement().map(|_| {
        let builder = real::ZooKeeper::builder().property("4lw.commands.whitelist", "conf");
        builder.start().unwrap()
    });
    let addresses = [Some(fake.addr()), real.as_ref().map(real::ZooKeeper::addr)];
    for address in addresses.into_iter().flatten() {
        for (word, name) in [(TELNET_CLOSE, "telnet close"), (b"ruok", "ruok")] {
            let expected = format!("{name} is not executed because it is not in the whitelist.\n");
            assert_eq!(ask(address, word), expected);
        }
    }
}

#[test]
fn settings_and_surroundings_have_the_names_that_a_real_server_has() {
    let Some(real) = real() else { return };
    let fake = fake();
    let [fake_conf, real_conf] = [fake.addr(), real.addr()].map(|at| ask(at, "conf"));
    assert_eq!(names(&fake_conf, '='), names(&real_conf, '='));
    let port = format!("clientPort={}\n", fake.addr().port());
    assert!(fake_conf.starts_with(&port), "{fake_conf}");
    for line in ["minSessionTimeout=", "tickTime=", "serverId=", "secure"] {
        let of = |conf: &str| {
            let mut lines = conf.lines().map(str::to_owned);
            lines.find(|it| it.starts_with(line))
        };
        assert_eq!(of(&fake_conf), of(&real_conf));
    }
    let [fake_envi, real_envi] = [fake.addr(), real.addr()].map(|at| ask(at, "envi"));
    assert_eq!(names(&fake_envi, '='), names(&real_envi, '='));
    let [fake_dirs, real_dirs] = [fake.addr(), real.addr()].map(|at| ask(at, "dirs"));
    assert_eq!(names(&fake_dirs, ':'), names(&real_dirs, ':'));
}

/// What is measured, and has to be the same on both.
const MEASURED: [&str; 30] = [
    "zk_server_state",
    "zk_ephemerals_count",
    "zk_num_alive_connections",
    "zk_outstanding_requests",
    "zk_znode_count",
    "zk_global_sessions",
    "zk_local_sessions",
    "zk_last_client_response_size",
    "zk_max_client_response_size",
    "zk_min_client_response_size",
    "zk_packets_sent",
    "zk_packets_received",
    "zk_watch_count",
    "zk_auth_failed_count",
    "zk_approximate_data_size",
    "zk_connection_drop_probability",
    "zk_bytes_received_count",
    "zk_connection_request_count",
    "zk_connection_rejected",
    "zk_connection_revalidate_count",
    "zk_connection_drop_count",
    "zk_stale_sessions_expired",
    "zk_unsuccessful_handshake",
    "zk_sessionless_connections_expired",
    "zk_response_bytes",
    "zk_watch_bytes",
    "zk_prep_processor_request_queued",
    "zk_sync_processor_request_queued",
    "zk_cnt_readlatency",
    "zk_cnt_updatelatency",
];

/// Clients that are not there any more when they have been counted.
fn come_and_go(address: SocketAddr) {
    let old = ConnectRequest {
        session_id: 77,
        ..new_session(300_000)
    };
    Client::with(address, &old).unwrap().wait_for_end();
    let ahead = ConnectRequest {
        last_zxid_seen: 1 << 40,
        ..new_session(300_000)
    };
    assert!(Client::with(address, &ahead).is_none());
    // All are told of the data of one node, and two of its end, of whom one watches it twice.
    let mut watchers = [(); 3].map(|()| connect(address, 360_000));
    create(&mut watchers[0], "/seen", b"", CreateMode::Persistent);
    for watcher in &mut watchers {
        watcher.get("/seen", true).unwrap();
    }
    watchers[0].set("/seen", b"x").unwrap();
    for watcher in &mut watchers[1..] {
        read_frame(&mut watcher.socket).unwrap();
    }
    let (path, watch) = ("/seen".into(), true);
    let children = GetChildren { path, watch };
    for watcher in &mut watchers[1..] {
        watcher.call(op::GET_CHILDREN, &children).unwrap();
    }
    watchers[1].get("/seen", true).unwrap();
    watchers[0].call(op::DELETE, &delete_body("/seen")).unwrap();
    for watcher in &mut watchers[1..] {
        read_frame(&mut watcher.socket).unwrap();
    }
}

#[test]
fn mntr_has_all_the_names_of_a_real_server_and_its_figures() {
    let Some(real_server) = real() else { return };
    let fake_server = fake();
    let fake = Server::new(fake_server.addr());
    let real = Server::new(real_server.addr());
    for server in [&fake, &real] {
        come_and_go(server.address);
    }
    wait_for_counts(&fake, &real);
    let [fake, real] = [&fake, &real].map(|server| {
        let lines = server.ask("mntr");
        let lines = lines.lines().map(str::to_owned);
        lines
            .filter(|line| !line.contains("_per_namespace"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    assert_eq!(names(&fake, '\t'), names(&real, '\t'));
    let value = |text: &str, name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('\t'));
        let (_, value) = pairs.find(|(it, _)| *it == name).unwrap();
        value.to_owned()
    };
    for name in MEASURED {
        assert_eq!(value(&fake, name), value(&real, name), "{name}");
    }
    for kind in ["created", "deleted", "changed", "children"] {
        for part in ["avg", "min", "max", "cnt", "sum"] {
            let name = format!("zk_{part}_node_{kind}_watch_count");
            assert_eq!(value(&fake, &name), value(&real, &name), "{name}");
        }
    }
    assert_eq!(value(&fake, "zk_avg_node_deleted_watch_count"), "1.3333");
    // A fraction is one on both.
    for (fake, real) in fake.lines().zip(real.lines()).skip(2) {
        assert_eq!(fake.contains('.'), real.contains('.'), "{fake} {real}");
    }
}

#[test]
fn a_member_of_an_ensemble_says_so() {
    let rows = [
        (ServerMode::Leader, "leader", "leading - broadcast"),
        (ServerMode::Follower, "follower", "following - broadcast"),
        (ServerMode::Observer, "observer", "observing - broadcast"),
    ];
    for (mode, name, state) in rows {
        let fake = FakeServer::builder()
            .config(|config| {
                config.mode = mode;
                config.four_letter_words = vec!["mntr".into(), "conf".into()];
                config.ensemble = "server.1=a:2888:3888:participant\nversion=0".into();
            })
            .start()
            .unwrap();
        let srvr = ask(fake.addr(), "srvr");
        assert!(srvr.contains(&format!("\nMode: {name}\n")), "{srvr}");
        assert_eq!(
            srvr.contains("\nProposal sizes last/min/max: -1/-1/-1\n"),
            mode == ServerMode::Leader
        );
        let mntr = ask(fake.addr(), "mntr");
        assert!(
            mntr.contains(&format!("\nzk_peer_state\t{state}\n")),
            "{mntr}"
        );
        assert_eq!(mntr.contains("\nzk_learners\t"), mode == ServerMode::Leader);
        let conf = ask(fake.addr(), "conf");
        let members = "\nmembership: \nserver.1=a:2888:3888:participant\nversion=0";
        assert!(conf.ends_with(members), "{conf}");
    }
}

#[test]
fn members_of_an_ensemble_tell_what_those_of_a_real_one_tell() {
    if real::requirement().is_none() {
        return;
    }
    let real_ensemble = real::Ensemble::start().unwrap();
    let ensemble = FakeServer::builder()
        .four_letter_words(["*"])
        .ensemble(3)
        .start()
        .unwrap();
    assert!(ask(ensemble.member(0).addr(), "mntr").contains("\nzk_quorum_size\t3\n"));
    let real: Vec<_> = real_ensemble.members().iter().map(|it| it.addr()).collect();
    let fake: Vec<_> = ensemble.members().iter().map(FakeServer::addr).collect();
    for mode in ["leader", "follower"] {
        let of = |members: &[SocketAddr]| {
            let plays = |at: &SocketAddr| ask(*at, "srvr").contains(&format!("Mode: {mode}\n"));
            let found = members.iter().copied().find(plays);
            found.unwrap_or_else(|| panic!("there is a {mode}"))
        };
        let [fake, real] = [of(&fake), of(&real)];
        for (word, separator) in [("srvr", ':'), ("mntr", '\t'), ("conf", '=')] {
            let [fake, real] = [fake, real].map(|at| ask(at, word));
            let [mut fake, mut real] = [&fake, &real].map(|text| names(text, separator));
            if word == "mntr" {
                // Where those stand that only a member has is a matter of its hash table. What a
                // leader measures of each follower by its number is left out.
                fake.sort_unstable();
                real.sort_unstable();
                let is_left_out = |name: &str| {
                    name.contains("_learner_handler_qp_") || name.ends_with("_per_namespace")
                };
                real.retain(|name| !is_left_out(name));
            }
            let differ = |some: &[&str], others: &[&str]| {
                let only = some.iter().filter(|it| !others.contains(it));
                only.map(|it| (*it).to_owned()).collect::<Vec<_>>()
            };
            let differences = [differ(&fake, &real), differ(&real, &fake)];
            assert_eq!(differences, [[""; 0]; 2], "{mode}");
            assert_eq!(fake, real, "{mode}");
        }
    }
}
