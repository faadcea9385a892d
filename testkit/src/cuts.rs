//! Connections that break at the worst moment: just before or just after a write is applied.

/// Faults that wait for their write.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// How many writes pass before this one.
    writes_before: u32,
    cut: Cut,
}

/// When a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// The write is never seen.
    Before,
    /// It is applied, and its answer is lost.
    After,
}

impl Cuts {
    /// Waits for the `n`th write from now on; 0 counts as 1.
    pub(crate) fn add(&mut self, n: u32, applied: bool) {
        let cut = if applied { Cut::After } else { Cut::Before };
        self.waiting.push(Waiting {
            writes_before: n.saturating_sub(1),
            cut,
        });
    }

    /// A write has come: what is to happen to it. Where two faults meet, the earlier moment wins.
    pub(crate) fn next(&mut self) -> Option<Cut> {
        let due = self
            .waiting
            .extract_if(.., |waiting| waiting.writes_before == 0);
        let cut = due.map(|waiting| waiting.cut).min();
        self.waiting
            .iter_mut()
            .for_each(|waiting| waiting.writes_before -= 1);
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, Cuts};

    #[test]
    fn faults_count_side_by_side() {
        let mut cuts = Cuts::default();
        cuts.add(3, true);
        cuts.add(1, false);
        cuts.add(3, false);
        let seen: Vec<_> = (0..4).map(|_| cuts.next()).collect();
        assert_eq!(seen, [Some(Cut::Before), None, Some(Cut::Before), None]);
    }
}
