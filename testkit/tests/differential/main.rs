//! The same random programs on the fake server and on a real ZooKeeper: replies, error codes,
//! transaction numbers, stats and events must be the same, and come in the same order.
//!
//! A program that shows a difference is made as short as it can be and printed, in a form that
//! [`program`] explains and that can be put into the folder `cases`, where it is run every time
//! from then on. What is not compared stands in `tolerated.txt`, each with its reason.
//!
//! `HOMING_DIFFERENTIAL_OPS` says how many acts there are (50,000), and
//! `HOMING_DIFFERENTIAL_SEED` which (1). `HOMING_DIFFERENTIAL_CASE` is a file with one program
//! that is run instead, and told line by line.

#![allow(
    clippy::print_stdout,
    reason = "a run says what it has done, and a case what it does"
)]

mod dialect;
mod generate;
mod known;
mod pair;
mod program;
mod shrink;
mod side;
mod tolerated;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use generate::Random;
use homing_protocol::op;
use known::Tally;
use pair::{Difference, Pair};
use program::Program;

/// How many acts a random program has.
const PROGRAM_LEN: usize = 250;

#[test]
fn the_fake_answers_as_the_real_one_does() {
    let Some(mut pair) = Pair::start() else {
        return;
    };
    if let Ok(file) = env::var("HOMING_DIFFERENTIAL_CASE") {
        return one_case(&mut pair, &file);
    }
    let seed = setting("HOMING_DIFFERENTIAL_SEED", 1);
    let ops = setting("HOMING_DIFFERENTIAL_OPS", 50_000);
    let started = Instant::now();
    let (mut done, mut programs) = (0, 0);
    while done < ops {
        let len = PROGRAM_LEN.min(ops - done);
        // Programs of neighbouring seeds have nothing in common.
        let mut random = Random(Random(seed).next().wrapping_add(programs));
        let program = pair.tame(Program::random(&mut Random(random.next()), len));
        if let Some(difference) = pair.difference(&program) {
            let end = program.steps().get(difference.step).map(|step| step.end);
            let after = done + end.unwrap_or(len);
            println!("seed {seed}: they differ after {after} operations");
            panic!("{}", report(&mut pair, &program, &difference));
        }
        (done, programs) = (done + len, programs + 1);
    }
    println!(
        "seed {seed}: {done} operations in {programs} programs, no difference, {:.1} s\n{}",
        started.elapsed().as_secs_f32(),
        summary(pair.tally())
    );
    if done >= 10_000 {
        let never = never_succeeded(&pair);
        assert!(never.is_empty(), "never succeeded: {never:?}");
    }
}

/// One program from a file, told line by line.
fn one_case(pair: &mut Pair, file: &str) {
    let case = fs::read_to_string(file).unwrap_or_else(|why| panic!("{file}: {why}"));
    let program = Program::parse(&case).unwrap_or_else(|why| panic!("{file}: {why}"));
    println!("{}", pair.tell(&program));
    assert!(pair.difference(&program).is_none(), "they differ");
}

/// What stands where the two differ, in as few acts as possible.
fn report(pair: &mut Pair, program: &Program, difference: &Difference) -> String {
    let (short, tries) = shrink::shrink(program, |program| pair.difference(program));
    if tries == 0 {
        let Difference { step, real, fake } = difference;
        let step = program.steps().get(*step).cloned();
        let acts = Program(program.0[..step.map_or(0, |step| step.end)].to_vec());
        return format!(
            "the fake server differs from the real one, but did not do so again\n\n\
             {acts}  real:\n    {real}\n  fake:\n    {fake}"
        );
    }
    format!(
        "the fake server differs from the real one; {} of {} acts are left after {tries} tries, \
         to be kept in tests/differential/cases:\n\n{short}\n{}",
        short.0.len(),
        program.0.len(),
        pair.tell(&short),
    )
}

/// How often the real server has answered what, an operation a line.
fn summary(tally: &Tally) -> String {
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for ((name, number), count) in tally.iter().rev() {
        *lines.entry(name).or_default() += &format!("  {number}: {count}");
    }
    let lines = lines.iter().map(|(name, line)| format!("{name:24}{line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The operations that a long run has found no success for; of reconfig there is none.
fn never_succeeded(pair: &Pair) -> Vec<&'static str> {
    let wanted = program::NAMES.iter().filter(|(name, op)| {
        let asked_for = !matches!(*op, op::CHECK | op::RECONFIG) && pair.knows(*op);
        asked_for && !pair.tally().contains_key(&((*name).to_owned(), 0))
    });
    wanted.map(|(name, _)| *name).collect()
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    let Ok(value) = env::var(name) else {
        return default;
    };
    let number = value.parse();
    number.unwrap_or_else(|_| panic!("{name} is {value:?}, and has to be a number"))
}

#[test]
fn the_cases_answer_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/cases");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
    cases.sort_by_key(fs::DirEntry::path);
    let Some(mut pair) = Pair::start() else {
        return;
    };
    for case in cases {
        let name = case.path().display().to_string();
        let text = fs::read_to_string(case.path()).unwrap();
        let program = Program::parse(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
        let program = pair.tame(program);
        if pair.difference(&program).is_some() {
            panic!("{name}:\n{}", pair.tell(&program));
        }
    }
}

#[test]
fn programs_are_read_as_they_were_written() {
    let mut random = Random(1);
    for _ in 0..200 {
        let program = Program::random(&mut random, 50);
        let text = program.to_string();
        assert_eq!(Program::parse(&text), Ok(program), "{text}");
    }
}

#[test]
fn what_is_no_program_is_told_by_its_line() {
    for (text, why) in [
        (
            "\n# no\nx create",
            "line 3: no number of a client: x create",
        ),
        ("0", "line 1: no act: 0"),
        ("0 crate", "line 1: no such act as crate: 0 crate"),
        (
            "0 delete \"/a",
            "line 1: a text without an end: 0 delete \"/a",
        ),
        ("0 delete /a", "line 1: not a field: /a: 0 delete /a"),
        ("0 multi { check", "line 1: no }: 0 multi { check"),
        ("0 setWatches [\"a\"", "line 1: no ]: 0 setWatches [\"a\""),
        ("0 drop it", "line 1: what is it: 0 drop it"),
    ] {
        assert_eq!(Program::parse(text), Err(why.into()));
    }
}
