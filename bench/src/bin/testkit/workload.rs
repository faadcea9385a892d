//! What is asked of a server.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use homing_protocol::{Acl, Create, CreateMode, Delete, Exists, GetData, PathRef, SetData, op};

use crate::client::{self, Load};

/// How many nodes there are to read and to set.
const NODES: usize = 1000;

const DATA: [u8; 100] = [b'x'; 100];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    GetData,
    Exists,
    SetData,
    Create,
    /// Of what `Create` has made.
    Delete,
    /// Six getData, two exists and two setData of ten.
    Mixed,
}

impl Workload {
    /// In an order in which they can be run.
    pub const ALL: [Self; 6] = [
        Self::GetData,
        Self::Exists,
        Self::SetData,
        Self::Create,
        Self::Delete,
        Self::Mixed,
    ];

    /// At most so many requests make a measurement: nodes take room.
    pub fn max(self) -> usize {
        match self {
            Self::Create | Self::Delete => 200_000,
            _ => 10_000_000,
        }
    }

    /// Runs `requests` of it over `connections` and tells how long they took.
    pub fn run(
        self,
        server: SocketAddr,
        connections: usize,
        requests: usize,
        window: usize,
    ) -> io::Result<Duration> {
        let each = requests / connections;
        let loads: Vec<_> = (0..connections)
            .map(|connection| self.load(connection, each))
            .collect();
        client::run(server, &loads, each, window)
    }

    pub fn load(self, connection: usize, requests: usize) -> Load {
        let mut load = Load::default();
        // All nodes, in an order that jumps about; each connection begins elsewhere.
        let nodes = (0..NODES).map(|index| node((index * 377 + connection * 13) % NODES));
        match self {
            Self::GetData => nodes.for_each(|path| get_data(&mut load, &path)),
            Self::Exists => nodes.for_each(|path| exists(&mut load, &path)),
            Self::SetData => nodes.for_each(|path| set_data(&mut load, &path)),
            Self::Mixed => nodes
                .enumerate()
                .for_each(|(index, path)| match index % 10 {
                    2 | 7 => exists(&mut load, &path),
                    4 | 9 => set_data(&mut load, &path),
                    _ => get_data(&mut load, &path),
                }),
            Self::Create => {
                (0..requests).for_each(|index| create(&mut load, &made(connection, index)));
            }
            Self::Delete => (0..requests).for_each(|index| {
                let path = made(connection, index);
                let path = PathRef::from(path.as_str());
                load.push(op::DELETE, &Delete { path, version: -1 });
            }),
        }
        load
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.to_string() == name);
        found.ok_or_else(|| {
            format!(
                "it is one of {}",
                Self::ALL.map(|it| it.to_string()).join(", ")
            )
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GetData => "getData",
            Self::Exists => "exists",
            Self::SetData => "setData",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Mixed => "mixed",
        })
    }
}

/// Makes the nodes that are read and set, and the parent of those that are made and deleted.
pub fn prepare(server: SocketAddr) -> io::Result<()> {
    client::run(server, &[preparation()], NODES + 2, NODES + 2)?;
    Ok(())
}

/// What makes them.
pub fn preparation() -> Load {
    let mut load = Load::default();
    create(&mut load, "/bench");
    create(&mut load, "/made");
    (0..NODES).for_each(|index| create(&mut load, &node(index)));
    load
}

fn node(index: usize) -> String {
    format!("/bench/node-{index:06}")
}

fn made(connection: usize, index: usize) -> String {
    format!("/made/node-{connection:02}-{index:06}")
}

fn get_data(load: &mut Load, path: &str) {
    let path = path.into();
    load.push(op::GET_DATA, &GetData { path, watch: false });
}

fn exists(load: &mut Load, path: &str) {
    let path = path.into();
    load.push(op::EXISTS, &Exists { path, watch: false });
}

fn set_data(load: &mut Load, path: &str) {
    let (path, data) = (path.into(), &DATA[..]);
    load.push(
        op::SET_DATA,
        &SetData {
            path,
            data,
            version: -1,
        },
    );
}

fn create(load: &mut Load, path: &str) {
    let acl = [Acl::open()];
    load.push(
        op::CREATE,
        &Create {
            path: path.into(),
            data: &DATA,
            acl: &acl,
            mode: CreateMode::Persistent,
        },
    );
}
