//! What a real 3.8.0 server answered, byte for byte. Clocks are set so that session ids and the
//! times in stats come out as recorded.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use homing_testkit::{ConnectionId, Now, Output, Server, ServerConfig};
use support::unhex;

/// The first session of an empty server. `@` sets the wall clock to so many milliseconds.
const SESSION: &str = "
> 0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000 00
< 00000025 00000000 00007530 0100001be8c40000 00000010 fe2d1fcab3fa55890c5cddb7b441a502 00
# create /a
@ 000001a1fa35a312
> 00000033 00000001 00000001 00000002 2f61 00000002 6869 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000
< 00000016 00000001 0000000000000002 00000000 00000002 2f61
# getData /a
> 0000000f 00000002 00000004 00000002 2f61 00
< 0000005a 00000002 0000000000000002 00000000 00000002 6869
  0000000000000002 0000000000000002 000001a1fa35a312 000001a1fa35a312 00000000 00000000 00000000 0000000000000000 00000002 00000000 0000000000000002
# exists /b with watch, NoNode
> 0000000f 00000003 00000003 00000002 2f62 01
< 00000010 00000003 0000000000000002 ffffff9b
# create2 /b: first the notification, then the reply
@ 000001a1fa35a322
> 00000031 00000004 0000000f 00000002 2f62 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000
< 0000001e ffffffff ffffffffffffffff 00000000 00000001 00000003 00000002 2f62
< 0000005a 00000004 0000000000000003 00000000 00000002 2f62
  0000000000000003 0000000000000003 000001a1fa35a322 000001a1fa35a322 00000000 00000000 00000000 0000000000000000 00000000 00000000 0000000000000003
# getChildren /
> 0000000e 00000005 00000008 00000001 2f 00
< 0000002b 00000005 0000000000000003 00000000 00000003 00000001 61 00000001 62 00000009 7a6f6f6b6565706572
# setData /a, version 0
@ 000001a1fa35a337
> 00000018 00000007 00000005 00000002 2f61 00000002 796f 00000000
< 00000054 00000007 0000000000000004 00000000
  0000000000000002 0000000000000004 000001a1fa35a312 000001a1fa35a337 00000001 00000000 00000000 0000000000000000 00000002 00000000 0000000000000002
# createTTL /t, null data
> 00000039 00000008 00000015 00000002 2f74 ffffffff 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000005 00000000000003e8
< 0000005a 00000008 0000000000000005 00000000 00000002 2f74
  0000000000000005 0000000000000005 000001a1fa35a337 000001a1fa35a337 00000000 00000000 00000000 0000000000000000 00000000 00000000 0000000000000005
# addWatch /a recursive
> 00000012 00000009 0000006a 00000002 2f61 00000001
< 00000014 00000009 0000000000000005 00000000 00000000
# setWatches2 since zxid 2: data [/a], child [/], recursive [/a]
> 00000035 fffffff8 00000069 0000000000000002 00000001 00000002 2f61 00000000 00000001 00000001 2f 00000000 00000001 00000002 2f61
< 0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f61
< 0000001d ffffffff ffffffffffffffff 00000000 00000004 00000003 00000001 2f
< 00000010 fffffff8 0000000000000005 00000000
# ping, auth digest bob:pw, sync /
> 00000008 fffffffe 0000000b
< 00000010 fffffffe 0000000000000005 00000000
> 00000020 fffffffc 00000064 00000000 00000006 646967657374 00000006 626f623a7077
< 00000010 fffffffc 0000000000000000 00000000
> 0000000d 0000000a 00000009 00000001 2f
< 00000015 0000000a 0000000000000005 00000000 00000001 2f
# removeWatches /a any, whoAmI
> 00000012 0000000b 00000012 00000002 2f61 00000003
< 00000010 0000000b 0000000000000005 00000000
> 00000008 0000000c 0000006b
< 00000038 0000000c 0000000000000005 00000000 00000002 00000006 646967657374 00000003 626f62 00000002 6970 00000009 3132372e302e302e31
# multi: check /a v1, create /a/c sequential, delete /b
> 0000006b 0000000d 0000000e
  0000000d 00 ffffffff 00000002 2f61 00000001
  00000001 00 ffffffff 00000004 2f612f63 00000000 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000002
  00000002 00 ffffffff 00000002 2f62 ffffffff
  ffffffff 01 ffffffff
< 00000046 0000000d 0000000000000006 00000000
  0000000d 00 00000000
  00000001 00 00000000 0000000e 2f612f6330303030303030303030
  00000002 00 00000000
  ffffffff 01 ffffffff
# multi that fails at its first operation
> 00000037 0000000e 0000000e 00000002 00 ffffffff 00000002 2f61 ffffffff 0000000d 00 ffffffff 00000002 2f61 00000001 ffffffff 01 ffffffff
< 00000033 0000000e 0000000000000007 00000000 ffffffff 00 ffffff91 ffffff91 ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff
# multiRead: getData /a, getChildren /zz
> 00000032 0000000f 00000016 00000004 00 ffffffff 00000002 2f61 00 00000008 00 ffffffff 00000003 2f7a7a 00 ffffffff 01 ffffffff
< 00000079 0000000f 0000000000000007 00000000 00000004 00 00000000 00000002 796f
  0000000000000002 0000000000000004 000001a1fa35a312 000001a1fa35a337 00000001 00000001 00000000 0000000000000000 00000002 00000001 0000000000000006
  ffffffff 00 ffffff9b ffffff9b ffffffff 01 ffffffff
# closeSession
> 00000008 00000001 fffffff5
< 00000010 00000001 0000000000000008 00000000
x
";

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
