//! What cannot be, and how it is named.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use homing_testkit::FakeServer;
use socket2::{Domain, Socket, Type};

use super::{Running, Scratch, refused};

#[test]
fn a_taken_port_is_named_and_what_to_do() {
    let other = FakeServer::start();
    let address = other.connect_string();
    let said = "# homing-testkit recording 1\n0.0 1 -> word \"ruok\"\t72756f6b\n";
    let recording = Scratch::with("taken", said);
    let upstream = ["--upstream", "127.0.0.1:1"];
    for (arguments, before) in [
        (&["serve"][..], ""),
        (&[&["proxy"], &upstream[..]].concat(), ""),
        (&[&["record"], &upstream[..]].concat(), ""),
        (&["replay", recording.path()], "cannot replay "),
    ] {
        let (code, errors) = refused(&[arguments, &["--listen", &address]].concat());
        assert_eq!(code, 1);
        let beginning = format!("homing-testkit: {before}");
        assert!(errors.starts_with(&beginning), "{errors}");
        let expected = format!("cannot listen on {address}: ");
        assert!(errors.contains(&expected), "{errors}");
        let advice = "; choose another port with --listen, or 0 for a free one";
        assert!(errors.contains(advice), "{errors}");
    }
}

#[test]
fn of_an_ensemble_s_ports_the_one_that_is_taken_is_named() {
    // Two in a row: the first is kept and can be listened on, on the second is somebody else.
    let (other, kept) = loop {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let kept = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        kept.set_reuse_address(true).unwrap();
        let before = other.local_addr().unwrap().port() - 1;
        let before = SocketAddr::from((Ipv4Addr::LOCALHOST, before));
        if kept.bind(&before.into()).is_ok() {
            break (other, kept);
        }
    };
    let listen = kept.local_addr().unwrap().as_socket().unwrap().to_string();
    let taken = other.local_addr().unwrap();
    let (code, errors) = refused(&["serve", "--ensemble", "3", "--listen", &listen]);
    assert_eq!(code, 1);
    let expected = format!("homing-testkit: cannot listen on {taken}: ");
    assert!(errors.starts_with(&expected), "{errors}");
    let advice = "0 for a free one (an ensemble takes the ports behind it too)\n";
    assert!(errors.ends_with(advice), "{errors}");
}

#[test]
fn an_address_that_cannot_be_is_no_fault_of_the_tree() {
    let (code, errors) = refused(&["serve", "--listen", "[fe80::1]:2999"]);
    assert_eq!(code, 1);
    let expected = "homing-testkit: cannot listen on [fe80::1]:2999: ";
    assert!(errors.starts_with(expected), "{errors}");
    // Where there is IPv6 at all.
    if errors.contains("Invalid argument") {
        assert!(errors.contains("the number of its interface"), "{errors}");
    }
}

#[cfg(feature = "tree")]
#[test]
fn a_tree_that_cannot_be_loaded_is_named_with_the_place() {
    let broken = Scratch::with("broken.yaml", "/a: v1\n/b: {\n");
    let relative = Scratch::with("relative.json", r#"{ "a": "" }"#);
    let ttl = Scratch::with("ttl.yaml", "/a: { ttl_ms: 5 }");
    let other = Scratch::with("tree.txt", "");
    for (path, expected) in [
        (broken.path(), "line 3"),
        (relative.path(), "\"a\": this is no path"),
        (ttl.path(), "--extended-types"),
        (other.path(), ".json, .yaml or .yml"),
        ("/nonexistent/tree.yaml", "cannot read "),
    ] {
        let (code, errors) = refused(&["serve", "--listen", "127.0.0.1:0", "--tree", path]);
        assert_eq!(code, 1, "{errors}");
        assert!(errors.contains(path), "{path} is missing in {errors}");
        assert!(
            errors.contains(expected),
            "{expected} is missing in {errors}"
        );
    }
}

#[test]
fn users_that_cannot_be_are_named_without_their_passwords() {
    let broken = Scratch::with("users-broken", "bob:secret\nhunter2\n");
    let twice = Scratch::with("users-twice", "bob:secret\neve:secret\nbob:hunter2\n");
    let nobody = Scratch::with("users-nobody", "# bob:hunter2\n");
    let others = Scratch::with("users-others", "bob:hunter2\n");
    for (path, expected) in [
        (broken.path(), "line 2 has to be user:password"),
        (twice.path(), "line 3 has the user bob again"),
        (nobody.path(), "it has no user"),
        (others.path(), "has no user alice"),
        ("/nonexistent", "cannot read /nonexistent: "),
    ] {
        let users = ["--sasl-users", path, "--sasl-super-user", "alice"];
        let (code, errors) = refused(&[&["serve"], &users[..]].concat());
        assert_eq!(code, 1, "{errors}");
        assert!(errors.contains(path), "{errors}");
        assert!(errors.contains(expected), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}

#[test]
fn a_digest_of_a_super_user_that_is_none_is_not_told() {
    for bad in [
        "super:admin",
        "bob:xQJmxLMiHGwaqBvst5y6rkB6HQs=",
        "nonsense",
    ] {
        let (code, errors) = refused(&["serve", "--super-digest", bad]);
        assert_eq!(code, 1);
        assert!(errors.contains("openssl sha1"), "{errors}");
        assert!(!errors.contains(bad), "{errors}");
    }
}

#[test]
fn nonsense_is_refused_and_named() {
    for (arguments, expected) in [
        (&["--listen", "nowhere"][..], "nowhere"),
        (
            &["--listen", "localhost:2181"],
            "an address and a port, such as 127.0.0.1:2181",
        ),
        (&["--tick-time-ms", "0"], "--tick-time-ms"),
        (&["--dialect", "3.3"], "there are 3.4, 3.5"),
        (&["--sasl-super-user", "bob"], "--sasl-users"),
        (&["--server-id", "256"], "--server-id"),
        (&["--ensemble", "0"], "--ensemble"),
        (&["--ensemble", "3", "--lag", "500"], "such as 2:500"),
        (&["--ensemble", "3", "--lag", "4:500"], "no server 4"),
        (&["--lag", "1:500"], "--ensemble"),
        (&["--ensemble", "3", "--read-only"], "--read-only"),
        (&["--ensemble", "3", "--lag", "3:500"], "server 3 leads"),
        (&["--observers", "1"], "--ensemble"),
        (
            &["--ensemble", "3", "--observers", "3"],
            "one at least must have a vote",
        ),
        (
            &["--ensemble", "3", "--observers", "1", "--lag", "2:5"],
            "server 2 leads",
        ),
        (
            &["--ensemble", "3", "--lag", "1:5", "--lag", "1:6"],
            "server 1 has one already",
        ),
        (
            &["--ensemble", "3", "--lag", "1:2147483648"],
            "such as 2:500",
        ),
        (
            &["--ensemble", "2", "--listen", "127.0.0.1:65535"],
            "the last port is 65535",
        ),
        (
            &["--require-auth", "foo"],
            "no scheme \"foo\", they are digest",
        ),
        (&["--require-auth", "digest,"], "no scheme \"\""),
        (&["--require-auth", "Digest"], "no scheme \"Digest\""),
        (&["--require-auth", "sasl"], "--sasl-users"),
        (&["--require-auth", "x509"], "x509 takes TLS"),
        (&["--tick-time-ms", "2147483648"], "--tick-time-ms"),
        (&["--tick-time-ms", "107374183"], "--tick-time-ms"),
        (
            &["--min-session-timeout-ms", "2147483648"],
            "--min-session-timeout-ms",
        ),
        (
            &["--max-session-timeout-ms", "2147483648"],
            "--max-session-timeout-ms",
        ),
        (
            &["--max-session-timeout-ms", "3999"],
            "from 4000 to 3999 ms",
        ),
        (
            &["--min-session-timeout-ms", "40001"],
            "from 40001 to 40000 ms",
        ),
        (&["--latency", "2147483648"], "--latency"),
        (&["--first-zxid", "-1"], "--first-zxid"),
        (&["--first-zxid", "9223372036854775807"], "--first-zxid"),
        (&["--max-request", "0"], "--max-request"),
        (&["--max-request", "2147483648"], "--max-request"),
        (&["--four-letter-words", "ruok,rouk"], "rouk"),
        (&["--faults", "explode"], "explode"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let (code, errors) = refused(&[&["serve"], arguments].concat());
        assert!(matches!(code, 1 | 2), "{arguments:?}");
        assert!(
            errors.contains(expected),
            "{expected} is missing in {errors}"
        );
    }
}

#[test]
fn a_server_without_an_address_is_named() {
    let host = "such as localhost:2181";
    for (upstream, expected) in [
        ("nowhere", host),
        ("", host),
        (":2181", host),
        ("::1", host),
        ("a:2181/app", host),
        ("a:65536", host),
        ("a:1,b:2", "one server, such as localhost:2181"),
        ("127.0.0.1:0", "nobody listens on port 0"),
        (
            "no.such.invalid:1",
            "cannot use --upstream no.such.invalid:1: ",
        ),
    ] {
        for subcommand in ["proxy", "record"] {
            let arguments = ["--upstream", upstream, "--listen", "127.0.0.1:0"];
            let (code, errors) = refused(&[&[subcommand][..], &arguments].concat());
            assert!(matches!(code, 1 | 2), "{errors}");
            assert!(errors.contains("--upstream"), "{errors}");
            assert!(errors.contains(expected), "{upstream}: {errors}");
            assert!(!errors.contains("cannot listen"), "{errors}");
        }
    }
    let server = FakeServer::start();
    let port = server.addr().port();
    let proxy = Running::proxy(&[], &format!("localhost:{port}"));
    assert!(proxy.ask("srvr").contains("\nMode: standalone\n"));
}

#[test]
fn a_script_that_is_wrong_has_its_examples_in_the_help_of_its_subcommand() {
    let wrong = ["--listen", "127.0.0.1:0", "--faults", "explode"];
    let upstream = ["--upstream", "127.0.0.1:1"];
    for (subcommand, others) in [("serve", &[][..]), ("proxy", &upstream)] {
        let (code, errors) = refused(&[&[subcommand], &wrong[..], others].concat());
        assert_eq!(code, 1);
        let advice = format!("\"homing-testkit {subcommand} --help\" has an example of each\n");
        assert!(errors.ends_with(&advice), "{errors}");
    }
}
