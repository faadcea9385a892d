//! Random work on an ensemble whose members lag, are cut off, stopped, elected, and change at
//! random: in the end all of them know the same.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use homing_protocol::{Auth, CreateMode, Delete, Empty, Reconfig, op};
use homing_testkit::{Dialect, Ensemble, Fate, NodeInfo, Server};
use support::ensemble::{End, Peer, Rig, resume};
use support::{Raw, new_session, unhex};

/// xorshift: good enough to choose from lists.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// What a server has stored, for two to be compared.
fn state(server: &Server) -> (BTreeMap<String, NodeInfo>, BTreeMap<i64, Vec<String>>) {
    let mut nodes = BTreeMap::new();
    let mut rest = vec![String::new()];
    while let Some(path) = rest.pop() {
        let node = server.node(&path).expect("it is in a list of children");
        rest.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        nodes.insert(path, node);
    }
    let sessions = server.sessions().into_iter();
    let sessions = sessions.map(|session| (session.id, session.ephemerals));
    (nodes, sessions.collect())
}

/// All members run, reach each other and lag no more.
fn mend(rig: &mut Rig) {
    for member in 0..rig.ensemble.len() {
        rig.act(|ensemble, now| {
            ensemble.set_lag(now, member, Duration::ZERO);
            ensemble.heal(now, member);
            if !ensemble.is_serving(member) {
                ensemble.restart(now, member);
            }
        });
    }
    rig.advance(Duration::from_secs(1));
}

struct Client {
    member: usize,
    end: End,
    peer: Option<Peer>,
    /// What it has asked and not heard of.
    asked: VecDeque<i32>,
    zxid: i64,
}

impl Client {
    fn new(member: usize, end: End) -> Self {
        Self {
            member,
            end,
            peer: None,
            asked: VecDeque::new(),
            zxid: 0,
        }
    }

    /// Takes what has come: replies in the order of the requests, and time that does not run
    /// backwards.
    fn listen(&mut self, rig: &mut Rig, peer: Peer) {
        for header in rig.headers(peer) {
            // Events have no place in that order, nor has what an older server does not know.
            if header.xid == -1 || header.err == -6 {
                continue;
            }
            assert_eq!(self.asked.pop_front(), Some(header.xid));
            assert!(header.zxid >= self.zxid, "{} < {}", header.zxid, self.zxid);
            self.zxid = header.zxid;
        }
    }
}

const PATHS: [&str; 6] = ["/a", "/b", "/a/1", "/a/2", "/b/1", "/c"];

/// setData of "/a" and create of "/a/m", both or neither.
const MULTI: &str = "00000005 00 ffffffff 00000002 2f61 00000001 78 ffffffff
    00000001 00 ffffffff 00000004 2f612f6d ffffffff 00000001 0000001f
    00000005 776f726c64 00000006 616e796f6e65 00000000 ffffffff 01 ffffffff";

fn work(rig: &mut Rig, dice: &mut Dice, client: &mut Client) {
    if client.peer.is_none() && !rig.is_closed(client.end) {
        let response = rig.response(client.end);
        client.peer = response.filter(|it| it.timeout_ms > 0).map(|it| Peer {
            end: client.end,
            session: it.session_id,
            password: it.password,
        });
    }
    if let Some(peer) = client.peer {
        client.listen(rig, peer);
    }
    let Some(peer) = client.peer.filter(|_| !rig.is_closed(client.end)) else {
        // Somewhere else, with the old session or without.
        client.member = dice.roll(rig.ensemble.len());
        let request = client.peer.filter(|_| dice.roll(8) > 0);
        let zxid = client.zxid;
        let request = request.map_or(new_session(30_000), |peer| resume(peer, zxid));
        let end = rig.knock(client.member, &request);
        *client = Client::new(client.member, end);
        client.zxid = request.last_zxid_seen;
        return;
    };
    let path = dice.pick(&PATHS);
    let xid = match dice.roll(12) {
        0..4 => {
            let modes = [
                CreateMode::Persistent,
                CreateMode::Ephemeral,
                CreateMode::PersistentSequential,
                CreateMode::Container,
            ];
            rig.send_create(peer, path, dice.pick(&modes))
        }
        4 | 5 => {
            let delete = Delete {
                path: path.into(),
                version: -1,
            };
            rig.send(peer, op::DELETE, &delete)
        }
        6 | 7 => {
            let data = unhex(dice.pick(&["", "00", "ffff"]));
            rig.send_set(peer, path, &data)
        }
        8 => rig.send(peer, op::MULTI, &Raw::from(MULTI)),
        9 => rig.send_get(peer, path, true),
        10 => rig.send_sync(peer, path),
        _ if dice.roll(8) == 0 => rig.send(peer, op::CLOSE_SESSION, &Empty),
        // Unreadable: it takes a number nonetheless, as does what clients have no use for.
        _ if dice.roll(2) == 0 => rig.send(peer, -10, &Empty),
        _ => rig.send(peer, op::SET_DATA, &Raw(vec![0; 3])),
    };
    client.asked.push_back(xid);
}

fn disturb(rig: &mut Rig, dice: &mut Dice) {
    let member = dice.roll(rig.ensemble.len());
    let lag = dice.pick(&[0, 1, 20, 500, 100_000]);
    let rolled = dice.roll(16);
    rig.act(|ensemble: &mut Ensemble, now| match rolled {
        0..8 => ensemble.set_lag(now, member, Duration::from_millis(lag)),
        8 | 9 => ensemble.isolate(now, member),
        10..12 => ensemble.heal(now, member),
        12 => ensemble.stop(now, member),
        13 | 14 => ensemble.restart(now, member),
        _ => drop(ensemble.elect(now, member)),
    });
}

/// Somebody who may asks for other members, and does not wait for the answer.
fn reconfigure(rig: &mut Rig, dice: &mut Dice) {
    let end = rig.knock(dice.roll(rig.ensemble.len()), &new_session(30_000));
    let Some(response) = rig.response(end).filter(|it| it.timeout_ms > 0) else {
        return;
    };
    let peer = Peer {
        end,
        session: response.session_id,
        password: response.password,
    };
    let auth = Auth {
        scheme: "digest",
        proof: b"super:admin",
    };
    rig.send(peer, op::AUTH, &auth);
    let mut line = || {
        let member = dice.roll(rig.ensemble.len());
        let line = rig.ensemble.server_line(member).unwrap();
        match dice.roll(3) {
            0 => line.replace("participant", "observer"),
            _ => line,
        }
    };
    let (one, another) = (line(), line());
    let both = format!("{one},{another}");
    let leaves = (dice.roll(rig.ensemble.len()) + 1).to_string();
    let (joining, leaving, members) = match dice.roll(6) {
        0 | 1 => (None, Some(&leaves[..]), None),
        2 | 3 => (Some(&one[..]), None, None),
        4 => (Some(&both[..]), Some(&leaves[..]), None),
        _ => (None, None, Some(&both[..])),
    };
    let change = Reconfig {
        joining,
        leaving,
        members,
        from_config: -1,
    };
    rig.send(peer, op::RECONFIG, &change);
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let members = dice.pick(&[3, 5]);
    let dialect = match dice.roll(2) {
        0 => Dialect::default(),
        _ => dice.pick(&Dialect::ALL),
    };
    let mut rig = Rig::with(members, |config| {
        config.speak(dialect);
        config.container_check_interval = Duration::from_millis(300);
        config.super_digest = Some("super:xQJmxLMiHGwaqBvst5y6rkB6HQs=".into());
        config.reconfig_enabled = true;
        config.standalone_enabled = false;
    });
    let config = rig.ensemble.server(0).unwrap().config().clone();
    let fate = dice.pick(&[Fate::Lost, Fate::Applied]);
    rig.ensemble.set_fate(fate);
    rig.ensemble.set_serves_stale(dice.roll(2) == 0);
    let limit = dice.pick(&[0, 0, 50, 1000]);
    rig.ensemble.set_sync_limit(Duration::from_millis(limit));
    let mut clients: Vec<Client> = Vec::new();
    for member in 0..members {
        let end = rig.knock(member, &new_session(30_000));
        clients.push(Client::new(member, end));
    }
    for _ in 0..400 {
        let client = dice.roll(members);
        work(&mut rig, &mut dice, &mut clients[client]);
        if dice.roll(10) == 0 {
            disturb(&mut rig, &mut dice);
        }
        if dice.roll(20) == 0 {
            reconfigure(&mut rig, &mut dice);
        }
        if dice.roll(200) == 0 {
            let addr = ([10, 0, 0, rig.ensemble.len() as u8 + 1], 2181).into();
            let config = config.clone();
            rig.act(|ensemble, now| ensemble.add_server(now, config, addr));
        }
        if dice.roll(50) == 0 {
            mend(&mut rig);
        }
        rig.advance(Duration::from_millis(dice.pick(&[0, 0, 1, 30, 200])));
    }
    mend(&mut rig);
    mend(&mut rig);
    let leader = rig.ensemble.leader().expect("all of them reach each other");
    let zxid = rig.last_zxid(leader);
    // What was counted since the last write shows with the next one.
    let peer = rig.peer(leader);
    assert_eq!(rig.set(peer, "/", b"end").err(), 0);
    assert!(rig.last_zxid(leader) > zxid, "seed {seed}");
    let expected = state(rig.ensemble.server(leader).unwrap());
    let zxid = rig.last_zxid(leader);
    for member in 0..rig.ensemble.len() {
        assert_eq!(
            rig.ensemble.behind(member),
            0,
            "seed {seed}, member {member}"
        );
        assert_eq!(rig.last_zxid(member), zxid, "seed {seed}, member {member}");
        let state = state(rig.ensemble.server(member).unwrap());
        assert_eq!(state, expected, "seed {seed}, member {member}");
    }
}

#[test]
fn in_the_end_all_members_know_the_same() {
    for seed in 0..80 {
        run(seed);
    }
}
