//! What every driver must do: one list, run by each transport's tests on streams of its own.

pub(crate) mod bytes;
pub(crate) mod dials;
pub(crate) mod ends;
pub(crate) mod engine;
pub(crate) mod layer;
pub(crate) mod plan;
pub(crate) mod questions;
pub(crate) mod secure;
pub(crate) mod sleep;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use homing_transport::{Driver, Engine};

use engine::{Remote, Why};
use plan::{DialStep, Plan};

/// A transport, over TCP streams that are disturbed as planned.
pub(crate) trait Backend {
    fn start(&self, plan: Plan, engine: Box<dyn Engine>) -> Arc<dyn Driver>;
}

/// Makes a test of everything in the list. What is missing here is unused, which the compiler
/// tells.
macro_rules! every_driver {
    ($backend:expr) => {
        $crate::every_driver::every_driver! { $backend =>
            bytes {
                bytes_go_both_ways,
                short_writes_lose_nothing,
                short_reads_lose_nothing,
                would_block_at_every_position_loses_nothing,
                what_a_stream_does_not_take_is_written_later,
                frames_leave_though_they_come_one_by_one,
                a_frame_may_come_in_pieces,
                a_half_frame_is_forgotten_with_its_connection,
            }
            ends {
                the_end_of_the_stream_is_told_once,
                data_before_the_end_is_delivered,
                what_is_left_of_an_ended_stream_is_read,
                an_end_that_comes_with_the_connection_is_not_missed,
                a_reset_is_told_once,
                a_failed_read_is_told_once,
                a_failed_write_is_told_once,
                what_follows_a_failed_write_is_done_at_once,
                what_arrived_before_a_write_failed_is_delivered,
                a_write_of_nothing_is_a_failure,
            }
            dials {
                a_refused_dial_is_told_once,
                a_dial_that_cannot_begin_is_told_once,
                dialling_again_at_once_is_possible_each_time,
                a_dial_can_be_given_up,
                a_connection_can_be_given_up,
                giving_up_what_has_just_ended_is_told_once,
                giving_up_nothing_says_nothing,
                what_was_not_written_is_given_back,
                stop_drops_the_engine,
                a_ring_after_the_end_does_nothing,
            }
            questions {
                names_are_looked_up,
                a_name_that_does_not_resolve_is_told,
                only_the_last_lookup_is_answered,
                a_question_is_asked_beside_the_stream,
                a_question_is_asked_through_a_layer,
                a_question_that_nobody_answers_is_told,
            }
            secure {
                a_layers_bytes_go_both_ways,
                a_layer_counts_as_open_when_its_handshake_is_done,
                a_layer_that_cannot_begin_is_told_once,
                a_refused_handshake_is_told_once,
                an_end_in_the_handshake_is_a_failure_of_the_layer,
                what_comes_before_a_layers_error_is_delivered,
                the_end_of_a_layer_is_the_end_of_the_stream,
                a_layer_says_goodbye,
                what_a_layer_has_not_taken_is_given_back,
                a_layer_is_forgotten_with_its_connection,
            }
            sleep {
                the_first_turn_comes_by_itself,
                an_idle_driver_sleeps,
                a_stalled_peer_keeps_nobody_busy,
                a_turn_is_taken_when_it_is_time,
                an_engine_that_refuses_to_sleep_has_another_turn,
                wakers_are_called,
            }
        }
    };
    ($backend:expr => $($module:ident { $($name:ident,)* })*) => {
        $($(
            #[test]
            fn $name() {
                $crate::every_driver::$module::$name(&$backend);
            }
        )*)*
    };
}
pub(crate) use every_driver;

/// The other end.
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Takes a connection that has been made already.
    pub(crate) fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(engine::PATIENCE)).unwrap();
        stream
    }
}

/// In bytes. A loopback connection takes a few MiB, for both ends together.
const LARGER_THAN_ALL_BUFFERS: usize = 32 << 20;

/// A driver with a connection, and the other end of it.
fn connect(backend: &impl Backend, plan: &Plan) -> (Remote, Server, TcpStream) {
    let (remote, server) = (Remote::start(backend, plan), Server::new());
    remote.dial(server.address());
    remote.expect_connected();
    let peer = server.accept();
    (remote, server, peer)
}

#[track_caller]
fn expect_bytes(peer: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    peer.read_exact(&mut bytes).unwrap();
    assert!(bytes == expected, "other bytes than expected");
}

#[track_caller]
pub(crate) fn expect_end(peer: &mut TcpStream) {
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

/// Bytes of which no two places look alike for long.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// An address at which nobody listens.
fn nowhere() -> SocketAddr {
    Server::new().address()
}

/// Both directions at once, piece by piece.
pub(crate) fn exchange(backend: &impl Backend, plan: &Plan, context: &str) {
    let (remote, _server, mut peer) = connect(backend, plan);
    remote.take_frames_of(4);
    let question = noise(24);
    remote.send_all(question.chunks(5).map(<[u8]>::to_vec));
    peer.write_all(b"0123456789abcdef").unwrap();
    expect_bytes(&mut peer, &question);
    remote.expect_bytes(b"0123456789abcdef");
    peer.write_all(b"last").unwrap();
    drop(peer);
    remote.expect_bytes(b"last");
    let expected = (Why::Closed, Vec::new());
    assert_eq!(remote.expect_disconnected(), expected, "{context}");
    remote.stop();
}

/// A server that has written and closed before its client hears that it is connected.
fn writes_and_ends(
    server: &Arc<Server>,
    data: &[u8],
) -> impl FnMut(usize) -> DialStep + Send + 'static {
    let (server, data) = (Arc::clone(server), data.to_vec());
    move |call| {
        let (server, data) = (Arc::clone(&server), data.clone());
        match call {
            0 => DialStep::After(Box::new(move || {
                server.accept().write_all(&data).unwrap();
            })),
            _ => DialStep::Pass,
        }
    }
}
