//! Scripts of faults as text: both ways, and what is said about those that are wrong.

use std::time::Duration;

use homing_testkit::faults::{
    Change, Connections, Fault, Faults, Kind, Point, REFERENCE, Rule, Way,
};

/// Every fault, in every shape.
fn faults() -> Vec<Fault> {
    let ms = Duration::from_millis;
    vec![
        Fault::Refuse,
        Fault::Cut,
        Fault::Reset,
        Fault::HalfClose,
        Fault::Hang(None),
        Fault::Hang(Some(ms(2_000))),
        Fault::Stall(None),
        Fault::Stall(Some(Duration::from_micros(1_500))),
        Fault::Delay(ms(50)..=ms(50)),
        Fault::Delay(Duration::ZERO..=Duration::from_nanos(1)),
        Fault::Throttle(1_000),
        Fault::Throttle(u64::MAX),
        Fault::Corrupt,
        Fault::Truncate(20),
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Drop,
        Fault::Length(i32::MAX),
        Fault::Count(i32::MIN),
        Fault::Xid(Change::By(1)),
        Fault::Xid(Change::To(-7)),
        Fault::Zxid(Change::By(-5)),
        Fault::Zxid(Change::To(i64::MIN)),
        Fault::Error(-7_777),
        Fault::Session(Change::To(0)),
        Fault::Storm {
            events: 1_000,
            path: "/a/b".into(),
        },
        Fault::Expire,
        Fault::Move,
    ]
}

fn points() -> Vec<Option<Point>> {
    let kinds = [
        Kind::Frame,
        Kind::Handshake,
        Kind::Resumption,
        Kind::Event,
        Kind::Request,
        Kind::Read,
        Kind::Write,
        Kind::operation("create").unwrap(),
        Kind::operation("ping").unwrap(),
    ];
    let places = [Point::Start, Point::Byte(1), Point::Byte(1_200)];
    let each = kinds.map(Point::each);
    let third = kinds.map(|kind| Point::nth(kind, 3));
    let all = places.into_iter().chain(each).chain(third).map(Some);
    all.chain([None]).collect()
}

fn connections() -> [Connections; 5] {
    [
        Connections::All,
        Connections::nth(2),
        Connections::Range(2..=4),
        Connections::Range(0..=u64::MAX),
        Connections::Every(12),
    ]
}

fn ways(rule: Rule) -> [Rule; 3] {
    [rule.clone(), rule.clone().to_client(), rule.to_server()]
}

#[test]
fn whatever_can_be_built_can_be_written_and_read() {
    let mut legal = 0;
    for fault in faults() {
        for point in points() {
            let rule = match point {
                None => Rule::from(fault.clone()),
                Some(point) => fault.clone().at(point),
            };
            for (rule, at) in ways(rule).into_iter().zip(0..) {
                let connections = connections()[(legal + at) % 5].clone();
                let rule = match legal % 3 {
                    0 => rule,
                    1 => rule.on(connections).times(1).chance(0.123_456),
                    _ => rule.on(connections).times(3).chance(1e-6),
                };
                let seed = u64::try_from(legal).unwrap();
                let Ok(faults) = Faults::new().seed(seed).with(rule) else {
                    continue;
                };
                legal += 1;
                let text = faults.to_string();
                assert_eq!(text.parse().as_ref(), Ok(&faults), "{text}");
            }
        }
    }
    assert!(legal > 500, "{legal} rules");
}

#[test]
fn numbers_at_their_bounds_can_be_written_and_read() {
    for text in [
        "seed 18446744073709551615; cut",
        "throttle 18446744073709551615",
        "zxid =-9223372036854775808 at exists",
        "session =0x7fffffffffffffff",
        "cut on every 1st connection",
        "cut on every 111th connection",
        "cut on every 22nd connection",
        "delay 86400s",
        "cut with 0.0001%",
    ] {
        let faults: Faults = text.parse().unwrap();
        assert_eq!(faults.to_string().parse(), Ok(faults), "{text}");
    }
}

#[test]
fn every_line_of_the_reference_is_a_fault_or_part_of_one() {
    let between = |from: &str, to: &str| {
        let rest = REFERENCE.split_once(from).unwrap().1;
        let text = rest.split_once(to).unwrap().0;
        let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        lines
            .map(|line| line.split("  ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut named = Vec::new();
    let examples = between("connection on.\n", "\nWay:");
    for example in examples {
        // The longest one has a single space between it and what it does.
        let example = example
            .split(" the first length")
            .next()
            .unwrap()
            .to_owned();
        let faults: Faults = example.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(faults.to_string(), example);
        named.push(example.split(' ').next().unwrap().to_owned());
    }
    for fault in faults() {
        let name = fault.to_string();
        let name = name.split(' ').next().unwrap();
        assert!(named.iter().any(|known| known == name), "{name} is missing");
    }
    for connections in REFERENCE.split_once("have number 0\n").unwrap().1.lines() {
        let clause = connections.trim().split("  ").next().unwrap();
        let script = format!("cut {clause}");
        let faults: Faults = script.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(faults.to_string(), script);
    }
}

#[test]
fn items_stand_behind_semicolons_or_on_lines_with_comments() {
    let lines = "# all of it\nseed 3\n  cut on connection 1 # the first\n\n;;hang at ping 2;";
    assert_eq!(
        lines.parse::<Faults>().unwrap().to_string(),
        "seed 3; cut on connection 1; hang at ping 2"
    );
    assert_eq!("".parse::<Faults>().unwrap(), Faults::new());
    assert!(" ; # nothing".parse::<Faults>().unwrap().is_empty());
}

#[test]
fn clauses_stand_in_any_order() {
    let one: Faults = "cut once with 5% on connection 2 at ping 3 to server"
        .parse()
        .unwrap();
    let other: Faults = "cut to server at ping 3 on connection 2 with 5% once"
        .parse()
        .unwrap();
    assert_eq!(one, other);
    let times: Faults = "drop at ping 3 times; drop at ping 3 4 times"
        .parse()
        .unwrap();
    let ping = Kind::operation("ping").unwrap();
    let built = Faults::new()
        .with(Fault::Drop.at(Point::each(ping)).times(3))
        .and_then(|faults| faults.with(Fault::Drop.at(Point::nth(ping, 3)).times(4)));
    assert_eq!(times, built.unwrap());
}

#[test]
fn what_is_wrong_is_named_with_its_item_and_word() {
    for (script, item, word, says) in [
        ("cut; chop", 2, "chop", "no fault; there are refuse, cut,"),
        (
            "cut at bite 12",
            1,
            "bite",
            "no point; there are start, byte,",
        ),
        ("cut at getdata", 1, "getdata", "the operations create,"),
        ("cut at", 1, "the end", "no point"),
        ("cut at byte", 1, "the end", "expected which byte"),
        (
            "cut at byte -1",
            1,
            "-1",
            "is negative; expected which byte",
        ),
        (
            "cut at write 99999999999999999999",
            1,
            "99999999999999999999",
            "is too large; expected which of them, from 1",
        ),
        ("cut at write -1", 1, "-1", "is negative; expected which"),
        (
            "cut at write 18446744073709551616 times",
            1,
            "18446744073709551616",
            "is too large; expected how often",
        ),
        (
            "drop at ping -3 times",
            1,
            "-3",
            "is negative; expected how",
        ),
        (
            "length -2147483649 at ping",
            1,
            "-2147483649",
            "is too small; expected a number",
        ),
        (
            "zxid +0x8000000000000000 at ping",
            1,
            "+0x8000000000000000",
            "is too large; expected a change",
        ),
        ("zxid = at ping", 1, "", "expected a change"),
        (
            "cut at write 2 at read 2",
            1,
            "at read 2",
            "the point has been said already",
        ),
        (
            "hang; drop to client to server at getData",
            2,
            "to server",
            "the way has been said already",
        ),
        (
            "cut once once",
            1,
            "once",
            "how often has been said already",
        ),
        ("cut 3 times once", 1, "once", "how often has been said"),
        (
            "cut on connection 1 on connections 2-",
            1,
            "on connections 2-",
            "on which connections has been said already",
        ),
        (
            "cut with 100% with 100%",
            1,
            "with 100%",
            "the probability has been said already",
        ),
        ("seed 1; cut; seed 1", 3, "seed", "a script has one seed"),
        ("delay", 1, "the end", "expected a time"),
        ("delay 50", 1, "50", "expected a time"),
        ("throttle fast", 1, "fast", "expected bytes per second"),
        ("xid 7 at ping", 1, "7", "expected a change: \"xid +1\""),
        (
            "length 2147483648 at ping",
            1,
            "2147483648",
            "expected a number",
        ),
        (
            "cut on connection two",
            1,
            "two",
            "expected \"connection 2\"",
        ),
        (
            "cut on connections 3-18446744073709551616",
            1,
            "18446744073709551616",
            "is too large; expected \"connection 2\"",
        ),
        (
            "cut on connections -4",
            1,
            "-4",
            "expected \"connection 2\"",
        ),
        (
            "cut on every third",
            1,
            "third",
            "expected \"connection 2\"",
        ),
        (
            "cut on every 3rd",
            1,
            "the end",
            "expected \"connection 2\"",
        ),
        ("cut with 101%", 1, "101%", "expected a probability"),
        ("cut with half", 1, "half", "expected a probability"),
        (
            "cut to everybody",
            1,
            "everybody",
            "expected \"client\" or \"server\"",
        ),
        ("cut twice", 1, "twice", "expected \"to client\""),
        ("seed", 1, "the end", "expected a number"),
        ("cut;\nseed 1 2", 2, "2", "nothing is expected here"),
    ] {
        let error = script.parse::<Faults>().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.item(), item, "{text}");
        assert!(text.contains(&format!(", at {word:?}: ")), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn what_cannot_strike_is_refused() {
    for (script, says) in [
        ("refuse on connection 2", "nobody listens at all"),
        ("xid +1", "needs a frame"),
        ("duplicate at byte 7", "needs a frame"),
        ("corrupt", "needs a byte or a frame"),
        ("corrupt at byte 0", "counted from 1"),
        ("cut at byte 0", "counted from 1"),
        ("delay 1s at byte 7", "delays frames"),
        ("cut at ping 0", "counted from 1"),
        ("cut to server at event", "events go to clients alone"),
        ("zxid -1 to server at ping", "it goes \"to client\""),
        ("storm 10 / to server at ping", "it goes \"to client\""),
        ("expire to client at ping", "it goes \"to server\""),
        (
            "session +1 at ping",
            "\"at handshake\" or \"at resumption\"",
        ),
        ("storm 100001 /a at ping", "100000 events at most"),
        ("delay 2s-1s", "ends before it begins"),
        ("hang 86401s", "is too long: it takes a day at most"),
        ("delay 99999999999999999999s", "is too long"),
        ("stall 99999999999999999999ns", "is too long"),
        ("cut on every 0th connection", "there is no 0th"),
        ("cut on connections 4-2", "end before they begin"),
        ("cut 0 times", "0 times is not at all"),
        ("cut with 0%", "the least probability is 0.0001%"),
        ("throttle 0", "say \"stall\""),
        ("hang 0s", "takes no time"),
        ("stall 0ms to server", "takes no time"),
        ("delay 0s", "takes no time"),
        ("storm 0 /a at ping", "say 1 at least"),
        ("xid +0 at ping", "changes nothing"),
        ("zxid -0 at ping", "changes nothing"),
        ("session +0", "changes nothing"),
        ("xid +1 at handshake", "has no place in a handshake"),
        ("zxid -1 at resumption", "has no place in a handshake"),
        ("error -7 at frame 1", "has no place in a handshake"),
        ("move at handshake", "takes the session back"),
        ("move at resumption", "takes the session back"),
        ("move at frame 1", "takes the session back"),
    ] {
        let error = script.parse::<Faults>().unwrap_err().to_string();
        let begins = format!("item 1 of the faults, {script:?}: ");
        assert!(error.starts_with(&begins), "{error}");
        assert!(error.contains(says), "{error}");
    }
    let built = Faults::new().with(Fault::Drop).unwrap_err();
    assert_eq!(
        built.to_string(),
        "fault \"drop\": needs a frame: say which, as in \"at frame 2\" or \"at getData\""
    );
    let path = Fault::Storm {
        events: 1,
        path: "/a b".into(),
    };
    let rule = path.at(Point::each(Kind::Frame));
    assert!(Faults::new().with(rule).is_err());
    let none = Fault::Cut.on(Connections::Every(0));
    assert!(Faults::new().with(none).is_err());
    assert_eq!(Way::ToServer.back(), Way::ToClient);
}
