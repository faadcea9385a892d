//! The types of the lower floors, one by one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use homing::{Acl, Credentials};
use homing_protocol::{
    ConnectRequest, ConnectResponse, CreateMode, Multi, MultiOp, Reader, Record, SessionPassword,
    incoming, reply,
};
use homing_session::{Authentication, Authentications, Config, Reply, Secret, Session};
use homing_transport::{Outgoing, Slot};

use crate::find::{Prints, Secrets};

/// All public types of the lower floors that can have a secret in them.
#[test]
fn no_type_shows_its_secret() {
    const PASSWORD: &[u8; 16] = b"canary-session-1";
    const PROOF: &[u8] = b"bob:canary-of-a-type";
    let prints = Prints::default();
    let mut secrets = Secrets::default();
    let acl = [Acl::digest("bob", "canary-of-a-type")];
    let hash = acl[0].id.id.split_once(':').unwrap().1;
    secrets.add("a session's password", PASSWORD);
    secrets.add("a password", &PROOF[4..]);
    secrets.add("a hash", hash.as_bytes());

    // The wire.
    let password = SessionPassword::new(PASSWORD).unwrap();
    let request = ConnectRequest {
        last_zxid_seen: 0,
        timeout_ms: 1,
        session_id: 1,
        password,
        read_only: None,
    };
    let response = ConnectResponse {
        timeout_ms: 1,
        session_id: 1,
        password,
        read_only: None,
    };
    prints.debug((&password, &request, &response));
    let frame = encoded(&request);
    prints.debug(Reader::new(&frame));
    let create = homing_protocol::Create {
        path: "/a".into(),
        data: b"",
        acl: &acl,
        mode: CreateMode::Persistent,
    };
    let set = homing_protocol::SetAcl {
        path: "/a".into(),
        acl: &acl,
        version: 1,
    };
    prints.debug((&create, &set, &acl));
    prints.debug(MultiOp::Create(homing_protocol::op::CREATE, create));
    prints.debug(Multi([MultiOp::Create(1, create)].into_iter()));
    let (create, set) = (encoded(&create), encoded(&set));
    let mut reader = Reader::new(&create);
    prints.debug(incoming::Create::read(&mut reader).unwrap());
    prints.debug(reader);
    prints.debug(incoming::SetAcl::read(&mut Reader::new(&set)).unwrap());
    let auth = [&[0; 4][..], b"\0\0\0\x06digest", b"\0\0\0\x14", PROOF].concat();
    let auth = Bytes::from(auth);
    prints.debug(incoming::Auth::read(&mut Reader::new(&auth)).unwrap());
    let results = [&[0; 16][..], PROOF].concat();
    prints.debug(reply::multi(&Bytes::from(results)).unwrap());

    // The session.
    let credentials = Credentials::new(1, PASSWORD).unwrap();
    let authentication = Authentication {
        scheme: "digest".into(),
        proof: Secret::new(PROOF),
    };
    let authentications = Authentications::default();
    authentications.add(Arc::new(authentication.clone()));
    let mut config = Config::new(Vec::new());
    config.resume = Some(credentials);
    prints.debug((&credentials, &authentication, &authentications, &config));
    prints.debug((Secret::new(PROOF), Session::new(config)));
    let reply = Reply {
        zxid: 1,
        err: 0,
        frame: create.clone(),
    };
    let (slot, ticket) = Slot::new();
    drop(slot.fill(reply.clone()));
    prints.debug((&reply, &slot, &ticket));

    // The transport.
    let mut out = Outgoing::new();
    out.put_control(|bytes| authentication.put_frame(bytes));
    out.put_control(|bytes| request.encode(bytes));
    out.advance(5);
    prints.debug(&out);
    if let Some(found) = secrets.find(&prints.text()) {
        panic!("{found}: in {}", prints.text());
    }
}

fn encoded(record: &impl Record) -> Bytes {
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    bytes.freeze()
}
