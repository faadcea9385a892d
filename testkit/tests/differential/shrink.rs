//! Makes a program that shows a difference as short and plain as it can be.

use std::time::{Duration, Instant};

use crate::pair::Difference;
use crate::program::{Act, Body, Field, Program, What};

/// When what is left has to do.
const TIME: Duration = Duration::from_secs(60);

/// A shorter program that shows a difference too, and how many were tried. None were if the
/// difference did not come again.
pub(crate) fn shrink(
    program: &Program,
    differ: impl FnMut(&Program) -> Option<Difference>,
) -> (Program, usize) {
    let mut shrinker = Shrinker {
        differ,
        best: program.clone(),
        tries: 0,
        until: Instant::now() + TIME,
    };
    if shrinker.holds(program.clone()) {
        while shrinker.remove_acts() | shrinker.simplify_acts() {}
    } else {
        shrinker.tries = 0;
    }
    (shrinker.best, shrinker.tries)
}

struct Shrinker<F> {
    differ: F,
    best: Program,
    tries: usize,
    until: Instant,
}

impl<F: FnMut(&Program) -> Option<Difference>> Shrinker<F> {
    /// Takes a program for the best so far if it shows a difference.
    fn holds(&mut self, mut program: Program) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        self.tries += 1;
        let Some(difference) = (self.differ)(&program) else {
            return false;
        };
        // What comes behind does not count.
        let step = program.steps().get(difference.step).cloned();
        program
            .0
            .truncate(step.map_or(program.0.len(), |step| step.end));
        self.best = program;
        true
    }

    /// Leaves out halves, quarters and so on down to single acts, and says whether any could be.
    fn remove_acts(&mut self) -> bool {
        let before = self.best.0.len();
        let mut chunk = before.div_ceil(2);
        while chunk > 0 {
            // From the end: what comes late depends on what came early.
            let mut end = self.best.0.len();
            while end > 0 {
                let mut program = self.best.clone();
                program.0.drain(end.saturating_sub(chunk)..end);
                self.holds(program);
                end = end.saturating_sub(chunk).min(self.best.0.len());
            }
            chunk /= 2;
        }
        self.best.0.len() < before
    }

    /// Puts a plainer act in the place of each, and says whether any could be.
    fn simplify_acts(&mut self) -> bool {
        let mut any = false;
        let mut at = 0;
        while at < self.best.0.len() {
            let act = &self.best.0[at];
            let plainer = plainer(act).into_iter().find(|plainer| {
                let mut program = self.best.clone();
                program.0[at] = plainer.clone();
                self.holds(program)
            });
            match plainer {
                Some(_) => any = true,
                None => at += 1,
            }
        }
        any
    }
}

/// What might do in the place of an act. Each is smaller in some way, so that it ends.
fn plainer(act: &Act) -> Vec<Act> {
    let mut acts = Vec::new();
    if act.client > 0 {
        acts.push(Act {
            client: act.client - 1,
            ..act.clone()
        });
    }
    let What::Request(request) = &act.what else {
        return acts;
    };
    let mut push = |change: &dyn Fn(&mut crate::program::Request)| {
        let mut plainer = request.clone();
        change(&mut plainer);
        if plainer != *request {
            acts.push(Act {
                client: act.client,
                what: What::Request(plainer),
            });
        }
    };
    push(&|request| request.xid = None);
    push(&|request| request.cut = None);
    push(&|request| request.into = None);
    push(&|request| request.with_next = false);
    match &request.body {
        Body::Fields(fields) => {
            for plainer in plainer_fields(fields) {
                push(&|request| request.body = Body::Fields(plainer.clone()));
            }
        }
        Body::Ops(ops) => {
            for at in 0..ops.len() {
                let mut fewer = ops.clone();
                fewer.remove(at);
                push(&|request| request.body = Body::Ops(fewer.clone()));
                for plainer in plainer_fields(&ops[at].1) {
                    let mut ops = ops.clone();
                    ops[at].1 = plainer;
                    push(&|request| request.body = Body::Ops(ops.clone()));
                }
            }
        }
    }
    acts
}

/// The same fields with one of them plainer.
fn plainer_fields(fields: &[Field]) -> Vec<Vec<Field>> {
    let mut all = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let plainer: Vec<Field> = match field {
            Field::Int(number) if *number != 0 => vec![Field::Int(0)],
            Field::Byte(byte) if *byte != 0 => vec![Field::Byte(0)],
            Field::Version(version) if *version != -1 => vec![Field::Version(-1)],
            Field::SeenVersion => vec![Field::Version(-1)],
            // With a smaller number it takes fewer acts to get there.
            Field::Since(since) if *since > 0 => {
                vec![
                    Field::Since(0),
                    Field::Since(since / 2),
                    Field::Since(since - 1),
                ]
            }
            Field::Text(path) if at == 0 => shorter_path(path),
            // See `tolerated.txt`.
            Field::Text(text) if text.starts_with("count=") => Vec::new(),
            Field::Text(text) if !text.is_empty() => vec![Field::Text(String::new())],
            Field::Fill(_) => vec![Field::Text(String::new())],
            Field::List(entries) if entries.len() > 1 => (0..entries.len())
                .map(|at| {
                    let mut fewer = entries.clone();
                    fewer.remove(at);
                    Field::List(fewer)
                })
                .collect(),
            _ => Vec::new(),
        };
        all.extend(plainer.into_iter().map(|plainer| {
            let mut fields = fields.to_vec();
            fields[at] = plainer;
            fields
        }));
    }
    all
}

/// The parent's path.
fn shorter_path(path: &str) -> Vec<Field> {
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    let parent = parent.filter(|parent| !parent.is_empty());
    parent
        .map(|parent| Field::Text(parent.into()))
        .into_iter()
        .collect()
}

#[test]
fn what_is_left_shows_the_difference_and_nothing_else() {
    let text = "0 sync \"/a\"
        1 create \"/a\" \"x\" [31 \"world\" \"anyone\", 1 \"ip\" \"1.2.3.4\"] 1 -> $1
        0 reconnect
        2 multi { check \"/b\" v1; delete \"/a/x\" v= }
        0 sync \"/a\"
        0 ping";
    let program = Program::parse(text).unwrap();
    // Whatever deletes after something was created.
    let differ = |program: &Program| {
        let at = |what: &str| {
            let mut acts = program.0.iter();
            acts.position(|act| act.to_string().contains(what))
        };
        let (create, delete) = (at("create")?, at("delete")?);
        (create < delete).then(|| Difference {
            step: delete,
            real: String::new(),
            fake: String::new(),
        })
    };
    let (short, tries) = shrink(&program, differ);
    let lines = "0 create \"/a\" \"\" [1 \"ip\" \"1.2.3.4\"] 0\n0 multi { delete \"/a\" v-1 }\n";
    assert_eq!(short.to_string(), lines);
    assert!(tries < 100, "{tries}");
    assert_eq!(shrink(&program, |_| None), (program, 0));
}
