//! Leaving a server that is well for another one.
//!
//! It is done politely: nothing new is sent from the moment on that it is decided, and the
//! connection is left when everything that was sent has been answered. So no request ends with
//! "may have been applied" for the sake of a move. What was submitted meanwhile waits for the next
//! connection, as it does whenever there is none. A server that does not answer in time is left
//! all the same.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Phase, Session, Why};
use crate::answer::WhyLost;
use crate::connect_string::{Host, Server};
use crate::status::{Connection, SessionEnd};
use crate::timeouts;

impl Session {
    /// What users have asked for beside requests.
    pub(super) fn read_mail(&mut self, now: Instant) {
        let Some(mail) = self.shared.control.take() else {
            return;
        };
        if let Some(servers) = mail.servers {
            self.replace_servers(now, servers);
        }
        if mail.reconnects.is_empty() {
            return;
        }
        self.reconnects.retain(|slot| slot.is_awaited());
        self.reconnects.extend(mail.reconnects);
        self.leave(now);
    }

    pub(super) fn replace_servers(&mut self, now: Instant, servers: Vec<Server>) {
        if servers.is_empty() {
            return;
        }
        let current = self.server.clone();
        let address = match &self.phase {
            Phase::Connected(link) => Some(link.address),
            _ => None,
        };
        let moves = self.hosts.replace(servers, |server| {
            Some(server) == current.as_ref() || is_at(server, address)
        });
        self.shared.status.set_servers(self.hosts.all());
        let is_listed = |server: &Server| self.hosts.contains(server);
        if !self.server.as_ref().is_some_and(is_listed) {
            // Its other addresses are none of ours any more.
            self.addresses.clear();
        }
        if moves {
            self.leave(now);
        } else {
            self.plan_return(now);
        }
    }

    /// Leaves the server as soon as that disturbs nobody. A pause is over at once; an attempt
    /// that has begun goes on.
    pub(super) fn leave(&mut self, now: Instant) {
        self.leave_within(now, timeouts::leave_max(self.session_timeout));
    }

    /// The same, with this much patience for the answers that are due.
    pub(super) fn leave_within(&mut self, now: Instant, max: Duration) {
        match &mut self.phase {
            Phase::Connected(link) => {
                link.leave_by.get_or_insert(now + max);
            }
            Phase::Pausing { until } => *until = now,
            _ => {}
        }
    }

    pub(super) fn leave_if_due(&mut self, now: Instant) {
        let Phase::Connected(link) = &mut self.phase else {
            return;
        };
        let Some(leave_by) = link.leave_by else {
            return;
        };
        if self.close_until.is_some() {
            // The end comes sooner where the session is.
            link.leave_by = None;
            return;
        }
        if now < leave_by && self.shared.queue.taken() > 0 {
            return;
        }
        let address = link.address;
        self.hosts.begin_pass();
        self.go_to_writable();
        // Nothing is wrong with the server.
        let (why, settled) = (WhyLost::Moved, true);
        self.hang_up(address, Why::Lost { why, settled });
    }

    pub(super) fn tell_reconnected(&mut self, connection: &Connection) {
        if let Phase::Connected(link) = &self.phase
            && link.leave_by.is_some()
        {
            // They wait for the one after it.
            return;
        }
        for slot in self.reconnects.drain(..) {
            let filled = slot.fill(Ok(connection.clone()));
            self.wakers.extend(filled.ok().flatten());
        }
    }

    pub(super) fn end_moves(&mut self, end: &SessionEnd) {
        self.shared.control.close(end, &mut self.wakers);
        for slot in self.reconnects.drain(..) {
            let filled = slot.fill(Err(end.clone()));
            self.wakers.extend(filled.ok().flatten());
        }
    }
}

/// Whether the list has the server by its address, where it was connected to by another name.
fn is_at(server: &Server, address: Option<SocketAddr>) -> bool {
    match (&server.host, address) {
        (Host::Ip(ip), Some(address)) => *ip == address.ip() && server.port == address.port(),
        _ => false,
    }
}
