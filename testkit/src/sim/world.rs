//! What stands behind the addresses of a simulation: one server behind all of them, or an
//! ensemble with a member behind each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::BytesMut;
use homing_transport::Engine;

use crate::config::ServerConfig;
use crate::ensemble::Ensemble;
use crate::server::{ConnectionId, Now, Output, Server};

use super::Sim;

/// A server's end of a connection, and which server it is.
pub(super) type End = (usize, ConnectionId);

/// Who answers in a simulation.
pub(super) trait World {
    /// Somebody has come to an address. `None` where nobody listens.
    fn accept(&mut self, now: Now, address: SocketAddr, read_only: bool) -> Option<End>;

    /// Bytes have arrived.
    fn handle_bytes(&mut self, now: Now, end: End, input: &mut BytesMut);

    /// The peer is gone.
    fn handle_disconnected(&mut self, now: Now, end: End);

    /// The peer breaks the rules below the protocol.
    fn close(&mut self, end: End);

    /// Time has passed.
    fn handle_timeout(&mut self, now: Now);

    /// When to say so.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What is to be done next.
    fn poll_output(&mut self) -> Option<(usize, Output)>;
}

/// Who dials in a simulation.
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl World for Server {
    fn accept(&mut self, now: Now, _: SocketAddr, read_only: bool) -> Option<End> {
        let connection = match read_only {
            true => self.accept_read_only(now, PEER),
            false => Self::accept(self, now, PEER),
        };
        Some((0, connection))
    }

    fn handle_bytes(&mut self, now: Now, (_, connection): End, input: &mut BytesMut) {
        Self::handle_bytes(self, now, connection, input);
    }

    fn handle_disconnected(&mut self, now: Now, (_, connection): End) {
        Self::handle_disconnected(self, now, connection);
    }

    fn close(&mut self, (_, connection): End) {
        self.close_connection(connection);
    }

    fn handle_timeout(&mut self, now: Now) {
        Self::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<(usize, Output)> {
        Some((0, Self::poll_output(self)?))
    }
}

/// An [`Ensemble`] in a [`Sim`], and which address leads to which member.
///
/// ```
/// use homing_testkit::{Ensemble, ServerConfig};
/// use homing_testkit::sim::Members;
///
/// let ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
/// let members = Members::new(ensemble, ["10.0.0.1:2181".parse()?, "10.0.0.2:2181".parse()?]);
/// // The third leads, and clients do not know of it.
/// assert_eq!(members.ensemble.leader(), Some(2));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Members {
    /// All of them.
    pub ensemble: Ensemble,
    addresses: BTreeMap<SocketAddr, usize>,
}

impl Members {
    /// The first address leads to the first member, and so on. Nobody listens on others, nor at a
    /// member that does not run.
    pub fn new(mut ensemble: Ensemble, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let addresses: Vec<_> = addresses.into_iter().collect();
        ensemble.set_addresses(addresses.iter().copied());
        Self {
            ensemble,
            addresses: addresses.into_iter().zip(0..).collect(),
        }
    }
}

impl World for Members {
    fn accept(&mut self, now: Now, address: SocketAddr, _: bool) -> Option<End> {
        let member = *self.addresses.get(&address)?;
        if !self.ensemble.is_running(member) {
            return None;
        }
        Some((member, self.ensemble.accept(now, member, PEER)?))
    }

    fn handle_bytes(&mut self, now: Now, (member, connection): End, input: &mut BytesMut) {
        self.ensemble.handle_bytes(now, member, connection, input);
    }

    fn handle_disconnected(&mut self, now: Now, (member, connection): End) {
        self.ensemble.handle_disconnected(now, member, connection);
    }

    fn close(&mut self, (member, connection): End) {
        if let Some(server) = self.ensemble.server(member) {
            server.close_connection(connection);
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        self.ensemble.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.ensemble.poll_timeout()
    }

    fn poll_output(&mut self) -> Option<(usize, Output)> {
        self.ensemble.poll_output()
    }
}

impl<E: Engine> Sim<E, Members> {
    /// As [`Sim::new`], with a member of an ensemble behind each address.
    ///
    /// ```
    /// use std::time::Duration;
    /// use homing_session::{Config, ConnectString, Session, SessionState};
    /// use homing_testkit::{Ensemble, ServerConfig};
    /// use homing_testkit::sim::{Members, Sim};
    ///
    /// let ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
    /// let addresses = [1, 2, 3].map(|n| ([10, 0, 0, n], 2181).into());
    /// let servers = "10.0.0.1,10.0.0.2,10.0.0.3".parse::<ConnectString>()?.servers;
    /// let (session, shared) = Session::new(Config::new(servers));
    /// let mut sim = Sim::with_ensemble(session, Members::new(ensemble, addresses));
    /// let is_connected = || matches!(shared.status.state(), SessionState::Connected(_));
    /// assert!(sim.run_until(Duration::from_secs(1), |_| is_connected()));
    ///
    /// // The leader dies, and the session lives on under another.
    /// sim.with_ensemble_now(|ensemble, now| ensemble.stop(now, 2));
    /// sim.run_for(Duration::from_millis(10));
    /// assert!(!is_connected());
    /// assert!(sim.run_until(Duration::from_secs(10), |_| is_connected()));
    /// assert_eq!(sim.ensemble().epoch(), 2);
    /// # Ok::<(), homing_session::ConnectStringError>(())
    /// ```
    pub fn with_ensemble(engine: E, members: Members) -> Self {
        Self::in_world(engine, members)
    }

    /// The ensemble behind the addresses.
    pub fn ensemble(&mut self) -> &mut Ensemble {
        &mut self.server.ensemble
    }

    /// Starts one more server, which listens at this address; see [`Ensemble::add_server`].
    ///
    /// ```
    /// # use homing_session::{Config, ConnectString, Session};
    /// # use homing_testkit::{Ensemble, ServerConfig};
    /// # use homing_testkit::sim::{Members, Sim};
    /// # let servers = "10.0.0.1".parse::<ConnectString>()?.servers;
    /// # let (session, shared) = Session::new(Config::new(servers));
    /// # let ensemble = Ensemble::new(vec![ServerConfig::default(); 3]);
    /// # let addresses = [1, 2, 3].map(|n| ([10, 0, 0, n], 2181).into());
    /// # let mut sim = Sim::with_ensemble(session, Members::new(ensemble, addresses));
    /// let added = sim.add_server(ServerConfig::default(), ([10, 0, 0, 4], 2181).into());
    /// assert_eq!(added, Some(3));
    /// # Ok::<(), homing_session::ConnectStringError>(())
    /// ```
    pub fn add_server(&mut self, config: ServerConfig, address: SocketAddr) -> Option<usize> {
        let member =
            self.with_ensemble_now(|ensemble, now| ensemble.add_server(now, config, address))?;
        self.server.addresses.insert(address, member);
        Some(member)
    }

    /// Does something to the ensemble at the time that it is, and carries out what follows.
    pub fn with_ensemble_now<T>(&mut self, act: impl FnOnce(&mut Ensemble, Now) -> T) -> T {
        let result = act(&mut self.server.ensemble, self.now);
        self.take_outputs();
        result
    }
}
