//! What names mean, and which servers there are, where that is asked outside.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use homing_transport::Action;

use super::{Phase, Session};
use crate::config::{ServerSource, Servers};
use crate::connect_string::{Host, Server};
use crate::outside::Inquiry;
use crate::status::{Attempt, Failure};
use crate::timeouts;

/// Where the list of servers comes from, and what is under way there.
#[derive(Debug)]
pub(super) struct ServerList {
    source: ServerSource,
    inquiry: Option<(Instant, Inquiry<Servers>)>,
}

impl From<ServerSource> for ServerList {
    fn from(source: ServerSource) -> Self {
        Self {
            source,
            inquiry: None,
        }
    }
}

impl ServerList {
    pub(super) fn until(&self) -> Option<Instant> {
        self.inquiry.as_ref().map(|(until, _)| *until)
    }
}

impl Session {
    /// Has the name of the server looked up that is tried.
    pub(super) fn look_up(&mut self, now: Instant, server: Server, name: &str) {
        let until = now + self.attempt_max;
        let queue = &self.shared.queue;
        let names = self.names.as_ref();
        let inquiry = names.map(|ask| ask.ask(queue, server.clone(), self.attempt_max));
        if inquiry.is_none() {
            self.ask_system(name, server.port);
        }
        self.phase = Phase::Resolving { until, inquiry };
        self.server = Some(server);
    }

    fn ask_system(&mut self, name: &str, port: u16) {
        self.actions.push_back(Action::Resolve {
            host: name.into(),
            port,
        });
    }

    /// Looks whether there is an answer.
    pub(super) fn check_resolved(&mut self, now: Instant) {
        let Phase::Resolving { until, inquiry } = &mut self.phase else {
            return;
        };
        let until = *until;
        match inquiry.as_mut().and_then(Inquiry::poll) {
            Some(Some(Ok(Some(addresses)))) => self.resolved(now, until, Ok(addresses)),
            // It is left to the system.
            Some(Some(Ok(None))) => {
                *inquiry = None;
                if let Some(Server {
                    host: Host::Name(name),
                    port,
                    ..
                }) = self.server.clone()
                {
                    self.ask_system(&name, port);
                }
            }
            Some(Some(Err(error))) => self.resolved(now, until, Err(error)),
            Some(None) => self.resolved(now, until, Err(WENT_AWAY.into())),
            None if until <= now => {
                self.failed(None, Failure::ResolveTimedOut);
                self.try_next(now);
            }
            None => {}
        }
    }

    pub(super) fn resolved(
        &mut self,
        now: Instant,
        until: Instant,
        addresses: Result<Vec<SocketAddr>, String>,
    ) {
        match addresses {
            Ok(mut addresses) if !addresses.is_empty() => {
                if let Some(Server {
                    host: Host::Name(name),
                    ..
                }) = &self.server
                {
                    let ips = addresses.iter().map(SocketAddr::ip).collect();
                    self.resolved.insert(name.clone(), ips);
                }
                self.hosts.shuffle(&mut addresses);
                // The lookup has taken its part.
                let time_left = until.saturating_duration_since(now);
                self.attempt_max = timeouts::attempt_max(time_left, addresses.len());
                self.addresses = VecDeque::from(addresses);
            }
            Ok(_) => self.failed(None, Failure::Resolve("the name has no address".into())),
            Err(error) => self.failed(None, Failure::Resolve(error)),
        }
        self.try_next(now);
    }

    /// Asks which servers there are, without waiting for the answer: the ones that are known are
    /// tried meanwhile.
    pub(super) fn ask_for_servers(&mut self, now: Instant) {
        if let Some(list) = &mut self.list
            && list.inquiry.is_none()
        {
            let within = timeouts::SERVER_LIST_MAX;
            let inquiry = list.source.ask.ask(&self.shared.queue, (), within);
            list.inquiry = Some((now + within, inquiry));
        }
    }

    /// Looks whether there is an answer.
    pub(super) fn check_list(&mut self, now: Instant) {
        let Some(list) = &mut self.list else {
            return;
        };
        let Some((until, inquiry)) = &mut list.inquiry else {
            return;
        };
        let failure = match inquiry.poll() {
            None if *until > now => return,
            None => Some(Failure::ServersTimedOut),
            Some(None) => Some(Failure::Servers(WENT_AWAY.into())),
            Some(Some(Err(error))) => Some(Failure::Servers(error)),
            Some(Some(Ok(Some(servers)))) if servers.is_empty() => {
                Some(Failure::Servers("there are none".into()))
            }
            Some(Some(Ok(Some(servers)))) => {
                list.inquiry = None;
                return self.take_servers(now, servers);
            }
            // Those that are known are all there are.
            Some(Some(Ok(None))) => None,
        };
        list.inquiry = None;
        if let Some(failure) = failure {
            let attempt = Attempt {
                server: list.source.name.clone(),
                address: None,
                failure,
            };
            self.note_failure(attempt);
        }
    }

    fn take_servers(&mut self, now: Instant, servers: Vec<Server>) {
        if self.hosts.is_same(&servers) {
            return;
        }
        let had_none = self.hosts.len() == 0;
        self.replace_servers(now, servers);
        if had_none && matches!(self.phase, Phase::Pausing { .. }) {
            self.try_next(now);
        }
    }
}

const WENT_AWAY: &str = "whoever was asked went away";
