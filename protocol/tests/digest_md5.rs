//! What a hostile peer can send in the tokens of `DIGEST-MD5`: each is read to a value or an
//! error, and what is echoed of it cannot be taken for something else.

use homing_protocol::digest_md5::{Challenge, DigestError, Response};
use proptest::collection::vec;
use proptest::prelude::*;

const CHALLENGE: &[u8] =
    br#"realm="zk-sasl-md5",nonce="OA6M\"G9tE",charset=utf-8,algorithm=md5-sess"#;

/// Bytes of which directives are made, more often than others.
fn token() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"realm",
        b"nonce",
        b"algorithm",
        b"md5-sess",
        b"charset",
        b"utf-8",
        b"qop",
        b"auth",
        b"username",
        b"cnonce",
        b"nc",
        b"digest-uri",
        b"response",
        b"rspauth",
        b"=",
        b",",
        b"\"",
        b"\\",
        b" ",
        b"\xff",
        b"\0",
        b"=\"",
        b"\",",
    ];
    let word = prop_oneof![
        4 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..8),
    ];
    vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(token in token()) {
        let _ = Response::parse(&token);
        if let Ok(challenge) = Challenge::parse(&token) {
            let _ = challenge.respond("bob", "pw", "cnonce");
        }
        let (_, proof) = Challenge::of_zookeeper("n").respond("bob", "pw", "c").unwrap();
        prop_assert!(!proof.is_in(&token));
    }

    /// Whatever stands in a nonce or a realm, the server finds its own in the response.
    #[test]
    fn what_is_echoed_comes_back(
        nonce in vec(any::<u8>(), 0..50),
        realm in vec(any::<u8>(), 0..50),
        user in ".{0,20}",
        password in ".{0,20}",
    ) {
        let challenge = Challenge { realm: Some(realm), nonce, is_utf8: true };
        prop_assert_eq!(&Challenge::parse(&challenge.token()).unwrap(), &challenge);
        let (token, expected) = challenge.respond(&user, &password, "cnonce").unwrap();
        let response = Response::parse(&token).unwrap();
        prop_assert_eq!(&response.user, &user);
        let proof = response.verify(&challenge, &password).expect("it is the password");
        prop_assert!(expected.is_in(&proof.token()));
    }
}

#[test]
fn tokens_that_are_cut_or_changed_at_every_byte() {
    let challenge = Challenge::parse(CHALLENGE).unwrap();
    let (token, proof) = challenge.respond("bob", "secret", "cnonce").unwrap();
    let response = Response::parse(&token).unwrap();
    for at in 0..CHALLENGE.len() {
        let _ = Challenge::parse(&CHALLENGE[..at]);
        for byte in 0..=255 {
            let mut changed = CHALLENGE.to_vec();
            changed[at] = byte;
            let _ = Challenge::parse(&changed);
        }
    }
    for at in 0..token.len() {
        let _ = Response::parse(&token[..at]);
        for byte in 0..=255 {
            let mut changed = token.clone();
            changed[at] = byte;
            // What is still accepted says the same.
            if let Ok(changed) = Response::parse(&changed)
                && changed.verify(&challenge, "secret").is_some()
            {
                assert_eq!(changed.user, response.user);
            }
        }
    }
    let last = proof.token();
    for at in 0..last.len() {
        assert!(!proof.is_in(&last[..at]), "{at}");
        for byte in 0..=255 {
            let mut changed = last.clone();
            changed[at] = byte;
            let is_same =
                changed[..8].eq_ignore_ascii_case(&last[..8]) && changed[8..] == last[8..];
            assert_eq!(proof.is_in(&changed), is_same, "{at} {byte}");
        }
    }
    assert!(!proof.is_in(&[&last[..], b",", &last[..]].concat()));
}

/// What bob, whose password is `secret`, answers when he wants to act as somebody, and what proves
/// the server to him. ZooKeeper 3.8.0 takes each.
#[test]
fn whom_the_client_wants_to_act_as_counts_in_the_arithmetic_alone() {
    let rows: [(&[u8], &str, &str); 6] = [
        (
            b"",
            "ed17234a616774490dfc31cf361cb075",
            "0631664cdb928df24ec69044804f5f24",
        ),
        (
            b",authzid=\"bob\"",
            "9d3b7c81ff93606d4b9559aadf756fe9",
            "220b92dfebfa4387758f363d5d020ec0",
        ),
        (
            b",authzid=\"alice\"",
            "9b0271ab564a29f155012c1eb591db55",
            "efbc12f9211f751577dcbc0640bc86dc",
        ),
        // Nobody, which is not the same as nothing said.
        (
            b",authzid=\"\"",
            "f865034516b9efc7231c7b4df08d9329",
            "eda1bb438e41e5e0fe3480b33385f38a",
        ),
        (
            br#",authzid="a\"b\\c""#,
            "fb040a80aea1689accce2eb52785831a",
            "56653f9ef29adf3bd246fb54410d8c69",
        ),
        (
            b",authzid=\"\xff\"",
            "447645c6a41d373062410b9bae0f47b0",
            "e62edf5b077a0813c8521a07e0db711d",
        ),
    ];
    let challenge = Challenge::of_zookeeper("OA6MG9tE");
    let answer = |authzid: &[u8], proof: &str| {
        let begin = br#"charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="OA6MG9tE",nc=00000001,cnonce="OA6MHXh6",digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,qop=auth,response="#;
        let token = [&begin[..], proof.as_bytes(), authzid].concat();
        Response::parse(&token).unwrap()
    };
    for (authzid, proof, rspauth) in rows {
        let shown = authzid.escape_ascii();
        let response = answer(authzid, proof);
        assert_eq!(response.user, "bob", "{shown}");
        let server = response.verify(&challenge, "secret").expect("the password");
        let rspauth = format!("rspauth={rspauth}");
        assert_eq!(server.token(), rspauth.as_bytes(), "{shown}");
        assert!(response.verify(&challenge, "wrong").is_none(), "{shown}");
        for (other, ..) in rows.into_iter().filter(|row| row.0 != authzid) {
            let response = answer(other, proof);
            assert!(response.verify(&challenge, "secret").is_none(), "{shown}");
        }
    }
    let twice = Response::parse(b"authzid=\"bob\",authzid=\"bob\"");
    assert_eq!(twice, Err(DigestError::Twice("authzid")));
}
