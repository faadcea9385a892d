//! Bytes that a real server and a real client exchanged (ZooKeeper 3.8.0, standalone, with an
//! empty data directory), in both directions: what a record is encoded to, and what it is read
//! from. Frames are written as hex digits, with spaces between fields.

mod handshake;
mod requests;
mod transactions;
mod watches;

use bytes::{Bytes, BytesMut};
use homing_protocol::{
    Acl, EventType, Id, Reader, Record, ReplyHeader, RequestHeader, WatchedEvent, frame, incoming,
    permission, put_request, request_len, xid,
};

#[test]
fn an_access_control_list() {
    let bytes = hex("00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65");
    let mut out = BytesMut::new();
    Acl::put_list(&mut out, &open());
    assert_eq!(out, bytes);
    assert_eq!(Acl::list_len(&open()), bytes.len());
    assert_eq!(open(), [Acl::open()]);
}

/// What the client sent with each create.
fn open() -> Vec<Acl> {
    vec![Acl {
        permissions: permission::ALL,
        id: Id {
            scheme: "world".into(),
            id: "anyone".into(),
        },
    }]
}

fn open_entry() -> incoming::AclEntry {
    incoming::AclEntry {
        permissions: 31,
        scheme: Some("world".into()),
        id: Some("anyone".into()),
    }
}

/// A request in both directions: `body` behind `header` is `bytes`, and `bytes` begins with
/// `header`. Returns the body, for the server to read.
fn sends(bytes: &str, header: RequestHeader, body: &impl Record) -> Bytes {
    let mut out = BytesMut::new();
    put_request(&mut out, header, body);
    assert_eq!(out, hex(bytes));
    assert_eq!(request_len(body), out.len());

    let frame = payload(bytes);
    assert_eq!(
        RequestHeader::read(&mut Reader::new(&frame)).unwrap(),
        header
    );
    frame.slice(RequestHeader::LEN..)
}

/// A reply in both directions. Returns the frame, for the client to read.
fn comes(bytes: &str, header: ReplyHeader, body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::zeroed(frame::LENGTH_LEN);
    header.encode(&mut out);
    assert_eq!(out.len(), frame::LENGTH_LEN + header.encoded_len());
    body(&mut out);
    let len = u32::try_from(out.len() - frame::LENGTH_LEN).unwrap();
    out[..frame::LENGTH_LEN].copy_from_slice(&len.to_be_bytes());
    assert_eq!(out, hex(bytes));

    let frame = payload(bytes);
    assert_eq!(ReplyHeader::decode(&frame).unwrap(), header);
    frame
}

/// An event in both directions.
fn notifies(bytes: &str, kind: EventType, path: &str) {
    let event = WatchedEvent {
        kind,
        path: path.into(),
    };
    let frame = comes(bytes, ok(xid::NOTIFICATION, -1), |out| event.encode(out));
    assert_eq!(WatchedEvent::read(&mut body_of(&frame)).unwrap(), event);
}

fn ok(xid: i32, zxid: i64) -> ReplyHeader {
    ReplyHeader { xid, zxid, err: 0 }
}

fn body_of(frame: &Bytes) -> Reader<'_> {
    let mut reader = Reader::new(frame);
    reader.skip(ReplyHeader::LEN, "header").unwrap();
    reader
}

/// The one frame that `bytes` is, without its length.
fn payload(bytes: &str) -> Bytes {
    let mut input = BytesMut::from(&hex(bytes)[..]);
    let frame = frame::split(&mut input, frame::REQUEST_LEN_MAX)
        .unwrap()
        .unwrap();
    assert!(input.is_empty(), "{} bytes behind the frame", input.len());
    frame
}

fn hex(digits: &str) -> Bytes {
    let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2));
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}
