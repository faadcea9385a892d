//! What a hostile peer can send in the tokens of `DIGEST-MD5`: each is read to a value or an
//! error, and what is echoed of it cannot be taken for something else.

use homing_protocol::digest_md5::{Challenge, Response};
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
