//! A server that speaks TLS, of either kind.

use homing_testkit::FakeServer;
use homing_testkit::real::{self, ZooKeeper};
use homing_transport_tls::{ClientAuth, Tls};

use crate::pki::{Authority, Pair, trusting, with_certificate};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fake,
    Real,
}

impl Kind {
    pub(crate) fn is_there(self) -> bool {
        self == Self::Fake || real::requirement().is_some()
    }
}

enum Server {
    Fake(FakeServer),
    Real(ZooKeeper),
}

/// A server with its authority, which signs clients as well.
pub(crate) struct World {
    server: Server,
    pub(crate) authority: Authority,
}

impl World {
    pub(crate) fn new(kind: Kind, clients: ClientAuth) -> Self {
        let authority = Authority::new("CA");
        let pair = authority.server(|_| {});
        let server = match kind {
            Kind::Fake => Server::Fake(fake(&pair, clients, &authority)),
            Kind::Real => Server::Real(real(&pair, clients, &authority)),
        };
        Self { server, authority }
    }

    pub(crate) fn connect_string(&self) -> String {
        match &self.server {
            Server::Fake(server) => server.connect_string(),
            Server::Real(server) => server.tls_connect_string().unwrap(),
        }
    }

    /// Where it can be spoken to without TLS, if it can.
    pub(crate) fn plain(&self) -> Option<String> {
        match &self.server {
            Server::Fake(_) => None,
            Server::Real(server) => Some(server.connect_string()),
        }
    }

    /// Settings that trust it.
    pub(crate) fn tls(&self) -> Tls {
        trusting(&self.authority)
    }

    pub(crate) fn tls_as(&self, name: &str) -> Tls {
        with_certificate(self.tls(), &self.authority.client(name))
    }

    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            Server::Fake(server) => server.stop(),
            Server::Real(server) => server.kill(),
        }
    }

    pub(crate) fn restart(&mut self) {
        match &mut self.server {
            Server::Fake(server) => server.restart().unwrap(),
            Server::Real(server) => server.restart().unwrap(),
        }
    }

    pub(crate) fn fake(&self) -> &FakeServer {
        match &self.server {
            Server::Fake(server) => server,
            Server::Real(_) => panic!("this test is for the fake server alone"),
        }
    }
}

fn fake(pair: &Pair, clients: ClientAuth, authority: &Authority) -> FakeServer {
    let acceptor = match clients {
        ClientAuth::None => pair.acceptor(),
        mode => pair.acceptor_asking(mode, authority),
    };
    FakeServer::builder().tls(acceptor).start().unwrap()
}

fn real(pair: &Pair, clients: ClientAuth, authority: &Authority) -> ZooKeeper {
    let clients = match clients {
        ClientAuth::None => "none",
        ClientAuth::Want => "want",
        ClientAuth::Need => "need",
    };
    let builder = ZooKeeper::builder().tick_time(std::time::Duration::from_secs(2));
    let builder = builder.tls(&pair.key_store(), &authority.pem(), clients);
    builder.start().unwrap_or_else(|error| panic!("{error}"))
}
