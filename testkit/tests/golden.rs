//! What a real 3.8.0 server answered, byte for byte. Clocks are set so that session ids and the
//! times in stats come out as recorded.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};
use support::unhex;

/// The first session of an empty server. `@` sets the wall clock to so many milliseconds.
const SESSION: &str = include_str!("recordings/session.hex");

/// Re-attaching to it: first with its password, then to a session that never was.
const AGAIN: &str = "
> 0000002d 00000000 0000000000000001 00007530 0100001be8c40000 00000010 fe2d1fcab3fa55890c5cddb7b441a502 00
< 00000025 00000000 00007530 0100001be8c40000 00000010 fe2d1fcab3fa55890c5cddb7b441a502 00
";

const UNKNOWN: &str = "
> 0000002d 00000000 0000000000000000 00002710 000000000000004d 00000010 00000000000000000000000000000000 00
< 00000025 00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00
x
";

/// A client before 3.4: without the byte there is none in the response.
const OLD: &str = "
> 0000002c 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000
< 00000024 00000000 00007530 0100001be8c40000 00000010 fe2d1fcab3fa55890c5cddb7b441a502
";

struct Replay {
    server: Server,
    now: Now,
    outputs: Vec<Output>,
}

impl Replay {
    fn new() -> Self {
        let mut config = ServerConfig::default();
        config.extended_types_enabled = true;
        let now = Now {
            instant: std::time::Instant::now(),
            unix_ms: 0x1b_e8c4,
        };
        Self {
            server: Server::new(config),
            now,
            outputs: Vec::new(),
        }
    }

    /// Plays a recording on a connection of its own, `chunk` bytes at a time.
    fn play(&mut self, recording: &str, chunk: usize) -> ConnectionId {
        let connection = self.server.accept(self.now, [127, 0, 0, 1].into());
        let recording = recording.replace("\n  ", " ");
        let mut input = BytesMut::new();
        for line in recording
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (mark, bytes) = (&line[..1], unhex(&line[1..]));
            match mark {
                "@" => self.now.unix_ms = i64::from_be_bytes(bytes.try_into().unwrap()),
                ">" => {
                    assert_eq!(self.outputs, [], "unexpected before {line}");
                    for piece in bytes.chunks(chunk) {
                        input.extend_from_slice(piece);
                        self.server.handle_bytes(self.now, connection, &mut input);
                    }
                    self.outputs
                        .extend(std::iter::from_fn(|| self.server.poll_output()));
                }
                "<" => {
                    let Output::Send(to, frame) = self.outputs.remove(0) else {
                        panic!("closed before {line}");
                    };
                    assert_eq!((to, hex(&frame)), (connection, hex(&bytes)), "{line}");
                }
                "x" => assert_eq!(self.outputs.remove(0), Output::Close(connection)),
                other => panic!("{other}"),
            }
        }
        assert_eq!(self.outputs, []);
        connection
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_session_is_answered_as_recorded() {
    Replay::new().play(SESSION, usize::MAX);
}

#[test]
fn the_pieces_in_which_bytes_arrive_do_not_matter() {
    for chunk in [1, 3, 4, 7, 50] {
        Replay::new().play(SESSION, chunk);
    }
}

#[test]
fn a_session_is_taken_up_again_as_recorded() {
    let mut replay = Replay::new();
    let begin: String = SESSION
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    let first = replay.play(&begin, usize::MAX);
    replay.server.handle_disconnected(replay.now, first);
    replay.now = replay.now.after(Duration::from_secs(1));
    replay.play(AGAIN, usize::MAX);
}

#[test]
fn an_unknown_session_is_refused_as_recorded() {
    Replay::new().play(UNKNOWN, usize::MAX);
}

#[test]
fn a_client_before_3_4_is_answered_without_the_byte() {
    Replay::new().play(OLD, usize::MAX);
}
