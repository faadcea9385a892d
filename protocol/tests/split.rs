//! Whatever goes in comes out: frames in whatever pieces they arrive, records through their
//! encoding, text through either of the two encodings that servers use.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_protocol::{
    Acl, Check, CheckWatches, ConnectRequest, ConnectResponse, Create, CreateMode, Delete, Empty,
    ErrorCode, EventType, Exists, GetAcl, GetAllChildrenNumber, GetChildren, GetData,
    GetEphemerals, Id, Multi, MultiOp, MultiResult, PASSWORD_LEN_MAX, PathRef, Reader, Reconfig,
    Record, RemoveWatches, ReplyHeader, RequestHeader, SessionPassword, SetAcl, SetData, Stat,
    Sync, Ttl, WatchedEvent, WatcherType, frame, incoming, op, put_buffer, put_count, put_request,
    put_string, reply, request_len,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 200;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // ---- Frames --------------------------------------------------------------------------------

    #[test]
    fn frames_come_out_however_they_are_cut(
        frames in vec(vec(any::<u8>(), 0..=LIMIT), 0..8),
        pieces in vec(1..100_usize, 1..20),
    ) {
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| put_frame(&mut wire, frame));
        let mut input = BytesMut::new();
        let mut found = Vec::new();
        for len in pieces.into_iter().cycle() {
            if wire.is_empty() {
                break;
            }
            input.unsplit(wire.split_to(len.min(wire.len())));
            while let Some(frame) = frame::split(&mut input, LIMIT).unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn an_incomplete_frame_stays_as_it_is(frame in vec(any::<u8>(), 0..100)) {
        let mut wire = BytesMut::new();
        put_frame(&mut wire, &frame);
        for len in 0..wire.len() {
            let mut input = BytesMut::from(&wire[..len]);
            prop_assert_eq!(frame::split(&mut input, LIMIT), Ok(None));
            prop_assert_eq!(&input[..], &wire[..len]);
        }
    }

    #[test]
    fn a_bad_length_is_found_as_soon_as_it_is_there(
        len in prop_oneof![i32::MIN..0, (LIMIT as i32 + 1)..=i32::MAX],
        behind in vec(any::<u8>(), 0..20),
    ) {
        let mut input = BytesMut::new();
        input.put_i32(len);
        input.put_slice(&behind);
        let before = input.clone();
        prop_assert!(frame::split(&mut input, LIMIT).is_err());
        prop_assert_eq!(input, before);
    }

    // ---- Records -------------------------------------------------------------------------------

    #[test]
    fn connect_requests(
        last_zxid_seen: i64,
        timeout_ms: i32,
        session_id: i64,
        password in password(),
        read_only: Option<bool>,
        noise in noise(),
    ) {
        let request =
            ConnectRequest { last_zxid_seen, timeout_ms, session_id, password, read_only };
        let bytes = encoded(&request);
        prop_assert_eq!(&ConnectRequest::decode(&bytes), &Ok(request.clone()));
        if read_only.is_some() {
            prop_assert_eq!(ConnectRequest::decode(&followed_by(&bytes, &noise)), Ok(request));
        }
    }

    #[test]
    fn connect_responses(
        timeout_ms: i32,
        session_id: i64,
        password in password(),
        read_only: Option<bool>,
        noise in noise(),
    ) {
        let response = ConnectResponse { timeout_ms, session_id, password, read_only };
        let bytes = encoded(&response);
        prop_assert_eq!(&ConnectResponse::decode(&bytes), &Ok(response.clone()));
        if read_only.is_some() {
            prop_assert_eq!(ConnectResponse::decode(&followed_by(&bytes, &noise)), Ok(response));
        }
    }

    #[test]
    fn headers(xid: i32, op: i32, zxid: i64, err: i32) {
        let request = RequestHeader { xid, op };
        let bytes = encoded(&request);
        prop_assert_eq!(RequestHeader::read(&mut Reader::new(&bytes)), Ok(request));
        let reply = ReplyHeader { xid, zxid, err };
        prop_assert_eq!(ReplyHeader::decode(&encoded(&reply)), Ok(reply));
    }

    #[test]
    fn stats(stat in stat(), noise in noise()) {
        let bytes = encoded(&stat);
        prop_assert_eq!(bytes.len(), Stat::LEN);
        prop_assert_eq!(Stat::read(&mut Reader::new(&bytes)), Ok(stat));
        let frame = answer(|out| { stat.encode(out); out.put_slice(&noise); });
        prop_assert_eq!(reply::stat(&frame), Ok(stat));
    }

    #[test]
    fn watched_events(kind in event_type(), path: String) {
        let event = WatchedEvent { kind, path };
        let bytes = encoded(&event);
        prop_assert_eq!(WatchedEvent::read(&mut Reader::new(&bytes)), Ok(event));
    }

    #[test]
    fn access_control_lists(acl in acl(), version: i32, stat in stat()) {
        let body = request(&SetAcl { path: "/a".into(), acl: &acl, version });
        let read = incoming::SetAcl::read(&mut Reader::new(&body)).unwrap();
        prop_assert_eq!(read.path.as_deref(), Some("/a"));
        prop_assert_eq!(read.version, version);
        prop_assert_eq!(read.acl, Some(entries(&acl)));
        let frame = answer(|out| { Acl::put_list(out, &acl); stat.encode(out); });
        prop_assert_eq!(reply::get_acl(&frame), Ok((acl.clone(), stat)));
        for entry in acl {
            prop_assert!(encoded(&entry).len() >= Acl::LEN_MIN);
        }
    }

    #[test]
    fn replies(
        stat in stat(),
        path: String,
        data: Option<Vec<u8>>,
        names in vec(any::<String>(), 0..6),
    ) {
        let frame = answer(|out| { put_string(out, &path); stat.encode(out); });
        prop_assert_eq!(reply::create2(&frame), Ok((path, stat)));

        let frame = answer(|out| { put_buffer(out, data.as_deref()); stat.encode(out); });
        prop_assert_eq!(reply::get_data(&frame), Ok((data.map(Bytes::from), stat)));

        let mut list = BytesMut::new();
        names.iter().for_each(|name| put_string(&mut list, name));
        let frame = answer(|out| {
            put_count(out, names.len());
            out.put_slice(&list);
            stat.encode(out);
        });
        prop_assert_eq!(reply::get_children2(&frame), Ok((names.len(), list.freeze(), stat)));
    }

    // ---- Requests ------------------------------------------------------------------------------

    #[test]
    fn requests_come_out_as_they_went_in(
        (chroot, path) in path(),
        data: Vec<u8>,
        acl in acl(),
        mode in mode(),
        version: i32,
        watch: bool,
    ) {
        let node = PathRef::new(&chroot, &path);
        let text = node.to_string();
        let path = Some(text.as_str());

        let body = request(&Create { path: node, data: &data, acl: &acl, mode });
        let read = incoming::Create::read(&mut Reader::new(&body)).unwrap();
        prop_assert_eq!(read.path.as_deref(), path);
        prop_assert_eq!(read.data.as_deref(), Some(&data[..]));
        prop_assert_eq!(read.acl, Some(entries(&acl)));
        prop_assert_eq!((read.flags, read.ttl), (mode.flags(), None));
        prop_assert_eq!(mode.op() == op::CREATE_TTL, mode.ttl().is_some());
        if let Some(ttl) = mode.ttl() {
            let read = incoming::Create::read_with_ttl(&mut Reader::new(&body)).unwrap();
            prop_assert_eq!(read.ttl, Some(ttl.as_millis()));
        }

        let body = request(&SetData { path: node, data: &data, version });
        let read = incoming::SetData::read(&mut Reader::new(&body)).unwrap();
        prop_assert_eq!(read.path.as_deref(), path);
        prop_assert_eq!((read.data.as_deref(), read.version), (Some(&data[..]), version));

        let body = request(&Delete { path: node, version });
        let read = incoming::path_and_version(&mut Reader::new(&body)).unwrap();
        prop_assert_eq!((read.0.as_deref(), read.1), (path, version));

        for body in [
            request(&Exists { path: node, watch }),
            request(&GetData { path: node, watch }),
            request(&GetChildren { path: node, watch }),
        ] {
            let read = incoming::path_and_watch(&mut Reader::new(&body)).unwrap();
            prop_assert_eq!((read.0.as_deref(), read.1), (path, watch));
        }

        for body in [request(&Sync { path: node }), request(&GetAcl { path: node })] {
            let read = incoming::path(&mut Reader::new(&body)).unwrap();
            prop_assert_eq!(read.as_deref(), path);
        }

        prop_assert_eq!(request(&Empty), Bytes::new());
    }

    #[test]
    fn transactions(
        (chroot, path) in path(),
        data: Vec<u8>,
        acl in acl(),
        mode in mode(),
        version: i32,
        which in vec(0..4_usize, 0..6),
        noise in noise(),
    ) {
        let node = PathRef::new(&chroot, &path);
        let text = node.to_string();
        let path = Some(text.as_str());
        let ops = which.iter().map(|which| match which {
            0 => {
                let create = Create { path: node, data: &data, acl: &acl, mode };
                MultiOp::Create(mode.op(), create)
            }
            1 => MultiOp::SetData(SetData { path: node, data: &data, version }),
            2 => MultiOp::Delete(Delete { path: node, version }),
            _ => MultiOp::Check(Check { path: node, version }),
        });
        let body = request(&Multi(ops));
        let mut reader = Reader::new(&body);
        for which in &which {
            let code = incoming::multi_header(&mut reader).unwrap();
            let expected = [mode.op(), op::SET_DATA, op::DELETE, op::CHECK];
            prop_assert_eq!(code, Some(expected[*which]));
            let read = match which {
                0 if mode.ttl().is_some() => {
                    incoming::Create::read_with_ttl(&mut reader).unwrap().path
                }
                0 => incoming::Create::read(&mut reader).unwrap().path,
                1 => incoming::SetData::read(&mut reader).unwrap().path,
                _ => incoming::path_and_version(&mut reader).unwrap().0,
            };
            prop_assert_eq!(read.as_deref(), path);
        }
        prop_assert_eq!(incoming::multi_header(&mut reader), Ok(None));
        prop_assert_eq!(reader.remaining(), 0);

        // What is behind the last result is not looked at.
        let frame = answer(|out| {
            for _ in &which {
                put_result(out, op::DELETE, false, 0);
            }
            put_result(out, -1, true, -1);
            out.put_slice(&noise);
        });
        let results: Result<Vec<_>, _> = reply::multi(&frame).unwrap().collect();
        prop_assert_eq!(results, Ok(vec![MultiResult::Deleted; which.len()]));
    }

    #[test]
    fn results(
        stat in stat(),
        path: String,
        data: Option<Vec<u8>>,
        names in vec(any::<String>(), 0..6),
        code: i32,
    ) {
        let mut list = BytesMut::new();
        names.iter().for_each(|name| put_string(&mut list, name));
        let frame = answer(|out| {
            put_result(out, op::CREATE, false, 0);
            put_string(out, &path);
            put_result(out, op::CREATE2, false, 0);
            put_string(out, &path);
            stat.encode(out);
            put_result(out, op::SET_DATA, false, 0);
            stat.encode(out);
            put_result(out, op::CHECK, false, 0);
            put_result(out, op::GET_DATA, false, 0);
            put_buffer(out, data.as_deref());
            stat.encode(out);
            put_result(out, op::GET_CHILDREN, false, 0);
            put_count(out, names.len());
            out.put_slice(&list);
            put_result(out, -1, false, code);
            out.put_i32(code);
            put_result(out, -1, true, -1);
        });
        let results: Result<Vec<_>, _> = reply::multi(&frame).unwrap().collect();
        prop_assert_eq!(results, Ok(vec![
            MultiResult::Created(path.clone(), None),
            MultiResult::Created(path, Some(stat)),
            MultiResult::Set(stat),
            MultiResult::Checked,
            MultiResult::Data(data.map(Bytes::from), stat),
            MultiResult::Children(names.len(), list.freeze()),
            MultiResult::Failed(code),
        ]));
    }

    #[test]
    fn requests_and_replies_that_few_servers_know(
        (chroot, path) in path(),
        texts in any::<[Option<String>; 3]>(),
        from_config: i64,
        identities in vec(any::<(String, String)>(), 0..6),
        paths in vec(any::<String>(), 0..6),
        count: i32,
        noise in noise(),
    ) {
        let node = PathRef::new(&chroot, &path);
        let text = node.to_string();
        for body in [
            request(&GetAllChildrenNumber { path: node }),
            request(&GetEphemerals { prefix: node }),
        ] {
            let read = incoming::path(&mut Reader::new(&body)).unwrap();
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }
        for kind in [WatcherType::Children, WatcherType::PersistentRecursive] {
            for body in [
                request(&CheckWatches { path: node, kind }),
                request(&RemoveWatches { path: node, kind }),
            ] {
                let read = incoming::path_and_kind(&mut Reader::new(&body)).unwrap();
                let expected = (Some(text.as_str()), kind as i32);
                prop_assert_eq!((read.0.as_deref(), read.1), expected);
            }
        }
        let [joining, leaving, members] = texts.each_ref().map(Option::as_deref);
        let body = request(&Reconfig { joining, leaving, members, from_config });
        let mut reader = Reader::new(&body);
        let read = incoming::Reconfig::read(&mut reader).unwrap();
        let texts = [&read.joining, &read.leaving, &read.members].map(Option::as_deref);
        prop_assert_eq!(texts, [joining, leaving, members]);
        prop_assert_eq!((read.from_config, reader.remaining()), (from_config, 0));

        let frame = answer(|out| {
            put_count(out, identities.len());
            for (scheme, user) in &identities {
                put_string(out, scheme);
                put_string(out, user);
            }
            out.put_slice(&noise);
        });
        let read = reply::who_am_i(&frame).unwrap().into_iter();
        let read: Vec<_> = read.map(|one| (one.scheme, one.user)).collect();
        prop_assert_eq!(read, identities);
        let frame = answer(|out| {
            put_count(out, paths.len());
            paths.iter().for_each(|path| put_string(out, path));
            out.put_slice(&noise);
        });
        prop_assert_eq!(reply::ephemerals(&frame), Ok(paths));
        let frame = answer(|out| { out.put_i32(count); out.put_slice(&noise); });
        prop_assert_eq!(reply::all_children_number(&frame), Ok(count));
        let frame = answer(|out| { put_string(out, &text); out.put_slice(&noise); });
        prop_assert_eq!(reply::create(&frame), Ok(text));
    }

    // ---- Text and codes ------------------------------------------------------------------------

    #[test]
    fn text_survives_the_encoding_that_java_writes(text: String, noise in noise()) {
        let mut wire = BytesMut::new();
        put_buffer(&mut wire, Some(&cesu8(&text)));
        let wire = wire.freeze();
        prop_assert_eq!(Reader::new(&wire).string("text").unwrap(), text.as_str());

        // Malformed bytes around it are replaced and take nothing else along.
        let mut wire = BytesMut::new();
        let around = [b"\xFF\xED", &cesu8(&text)[..], b"|", &noise[..]].concat();
        put_buffer(&mut wire, Some(&around));
        let wire = wire.freeze();
        let read = Reader::new(&wire).string("text").unwrap();
        let expected = format!("\u{FFFD}\u{FFFD}{text}|");
        prop_assert!(read.starts_with(&expected), "{:?} is not {:?}", read, expected);
    }

    #[test]
    fn codes(code: i32) {
        for code in [code, code % 130] {
            prop_assert_eq!(ErrorCode::from_code(code).code(), code);
        }
    }
}

#[test]
fn half_a_pair_of_surrogates_joins_nothing() {
    // U+D000 is no surrogate, though its first byte is that of one, and U+DC00 stands alone.
    let mut wire = BytesMut::new();
    put_buffer(&mut wire, Some(b"\xED\x80\x80\xED\xB0\x80/"));
    let wire = wire.freeze();
    let read = Reader::new(&wire).string("text").unwrap();
    assert_eq!(read, "\u{D000}\u{FFFD}/");
}

fn put_frame(out: &mut BytesMut, frame: &[u8]) {
    put_buffer(out, Some(frame));
}

fn encoded(record: &impl Record) -> Bytes {
    let mut out = BytesMut::new();
    record.encode(&mut out);
    assert_eq!(out.len(), record.encoded_len());
    out.freeze()
}

/// The body of a request, cut out of its frame.
fn request(body: &impl Record) -> Bytes {
    let header = RequestHeader { xid: 1, op: 2 };
    let mut out = BytesMut::new();
    put_request(&mut out, header, body);
    assert_eq!(out.len(), request_len(body));
    let frame = frame::split(&mut out, usize::MAX).unwrap().unwrap();
    assert!(out.is_empty());
    assert_eq!(frame[RequestHeader::LEN..], encoded(body));
    frame.slice(RequestHeader::LEN..)
}

/// A reply with a header of zeros.
fn answer(body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::zeroed(ReplyHeader::LEN);
    body(&mut out);
    out.freeze()
}

/// What stands before a result.
fn put_result(out: &mut BytesMut, code: i32, done: bool, err: i32) {
    out.put_i32(code);
    out.put_u8(done.into());
    out.put_i32(err);
}

fn followed_by(bytes: &[u8], noise: &[u8]) -> Bytes {
    [bytes, noise].concat().into()
}

/// UTF-8 in which every surrogate of UTF-16 has three bytes of its own.
fn cesu8(text: &str) -> Vec<u8> {
    let unit = |unit: u16| match char::from_u32(unit.into()) {
        Some(c) => c.to_string().into_bytes(),
        None => vec![
            0xE0 | (unit >> 12) as u8,
            0x80 | (unit >> 6 & 0x3F) as u8,
            0x80 | (unit & 0x3F) as u8,
        ],
    };
    text.encode_utf16().flat_map(unit).collect()
}

fn entries(acl: &[Acl]) -> Vec<incoming::AclEntry> {
    let entry = |acl: &Acl| incoming::AclEntry {
        permissions: acl.permissions,
        scheme: Some(acl.id.scheme.clone()),
        id: Some(acl.id.id.clone()),
    };
    acl.iter().map(entry).collect()
}

// ---- What is tried -----------------------------------------------------------------------------

fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn password() -> impl Strategy<Value = SessionPassword> {
    vec(any::<u8>(), 0..=PASSWORD_LEN_MAX).prop_map(|bytes| SessionPassword::new(&bytes).unwrap())
}

fn stat() -> impl Strategy<Value = Stat> {
    let numbers = (any::<[i64; 6]>(), any::<[i32; 5]>());
    numbers.prop_map(|(long, int)| Stat {
        czxid: long[0],
        mzxid: long[1],
        ctime: long[2],
        mtime: long[3],
        version: int[0],
        cversion: int[1],
        aversion: int[2],
        ephemeral_owner: long[4],
        data_length: int[3],
        num_children: int[4],
        pzxid: long[5],
    })
}

fn event_type() -> impl Strategy<Value = EventType> {
    prop_oneof![
        Just(EventType::NodeCreated),
        Just(EventType::NodeDeleted),
        Just(EventType::NodeDataChanged),
        Just(EventType::NodeChildrenChanged),
    ]
}

fn mode() -> impl Strategy<Value = CreateMode> {
    prop_oneof![
        Just(CreateMode::Persistent),
        Just(CreateMode::Ephemeral),
        Just(CreateMode::PersistentSequential),
        Just(CreateMode::EphemeralSequential),
        Just(CreateMode::Container),
        ttl().prop_map(CreateMode::PersistentWithTtl),
        ttl().prop_map(CreateMode::PersistentSequentialWithTtl),
    ]
}

fn ttl() -> impl Strategy<Value = Ttl> {
    (1..=Ttl::MAX_MS.unsigned_abs()).prop_map(|ms| Ttl::new(Duration::from_millis(ms)).unwrap())
}

fn acl() -> impl Strategy<Value = Vec<Acl>> {
    let entry = any::<(i32, String, String)>().prop_map(|(permissions, scheme, id)| Acl {
        permissions,
        id: Id { scheme, id },
    });
    vec(entry, 0..4)
}

/// A chroot, or none, and a path below it.
fn path() -> impl Strategy<Value = (String, String)> {
    ("(/[a-zä]{1,8}){0,3}", "/([a-zß中]{1,8}(/[a-z]{1,8}){0,3})?")
}
