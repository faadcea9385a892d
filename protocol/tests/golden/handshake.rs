//! The handshake.

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{
    ConnectRequest, ConnectResponse, ErrorCode, Record, ReplyHeader, SessionPassword,
};

use super::{hex, payload};

#[test]
fn a_new_session() {
    let request = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 30_000,
        session_id: 0,
        password: SessionPassword::NONE,
        read_only: Some(false),
    };
    connects(
        "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010
         00000000000000000000000000000000 00",
        &request,
    );
    connects(
        "0000002c 00000000 0000000000000000 00007530 0000000000000000 00000010
         00000000000000000000000000000000",
        &ConnectRequest {
            read_only: None,
            ..request
        },
    );
    accepts(
        "00000025 00000000 00007530 0100001be8c40000 00000010
         fe2d1fcab3fa55890c5cddb7b441a502 00",
        &session(Some(false)),
    );
    accepts(
        "00000024 00000000 00007530 0100001be8c40000 00000010
         fe2d1fcab3fa55890c5cddb7b441a502",
        &session(None),
    );
}

#[test]
fn a_session_is_resumed() {
    let session = session(Some(false));
    connects(
        "0000002d 00000000 0000000000000007 00007530 0100001be8c40000 00000010
         fe2d1fcab3fa55890c5cddb7b441a502 00",
        &ConnectRequest {
            last_zxid_seen: 7,
            timeout_ms: 30_000,
            session_id: session.session_id,
            password: session.password,
            read_only: Some(false),
        },
    );
}

#[test]
fn an_unknown_session_is_expired() {
    connects(
        "0000002d 00000000 0000000000000000 00002710 000000000000004d 00000010
         00000000000000000000000000000000 00",
        &ConnectRequest {
            last_zxid_seen: 0,
            timeout_ms: 10_000,
            session_id: 77,
            password: SessionPassword::NONE,
            read_only: Some(false),
        },
    );
    accepts(
        "00000025 00000000 00000000 0000000000000000 00000010
         00000000000000000000000000000000 00",
        &ConnectResponse {
            read_only: Some(false),
            ..ConnectResponse::EXPIRED
        },
    );
}

#[test]
fn a_read_only_server_refuses_with_a_header() {
    let refusal = hex("00000000 0000000000000000 ffffff89");
    assert!(refusal.len() < ConnectResponse::LEN_MIN);
    assert!(ConnectResponse::decode(&refusal).is_err());
    let header = ReplyHeader::decode(&refusal).unwrap();
    assert_eq!(ErrorCode::from_code(header.err), ErrorCode::NotReadOnly);
}

fn session(read_only: Option<bool>) -> ConnectResponse {
    ConnectResponse {
        timeout_ms: 30_000,
        session_id: 0x0100_001b_e8c4_0000,
        password: SessionPassword::new(&hex("fe2d1fcab3fa55890c5cddb7b441a502")).unwrap(),
        read_only,
    }
}

fn connects(bytes: &str, request: &ConnectRequest) {
    assert_eq!(framed(request), hex(bytes));
    assert_eq!(&ConnectRequest::decode(&payload(bytes)).unwrap(), request);
}

fn accepts(bytes: &str, response: &ConnectResponse) {
    assert_eq!(framed(response), hex(bytes));
    assert_eq!(&ConnectResponse::decode(&payload(bytes)).unwrap(), response);
}

fn framed(record: &impl Record) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(record.encoded_len()).unwrap());
    record.encode(&mut out);
    out.freeze()
}
