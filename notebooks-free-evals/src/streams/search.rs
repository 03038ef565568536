//! Which numbers of streams to try: doubling until one is bad, then halving the gap.

/// The state of a search. Assumes that more streams are not better than fewer.
#[derive(Debug, Clone)]
pub(super) struct Search {
    good: usize,
    bad: Option<usize>,
    first: usize,
    max: usize,
    resolution: usize,
}

impl Search {
    pub(super) fn new(from: usize, max: usize, resolution: usize) -> Self {
        Self {
            good: 0,
            bad: None,
            first: from.clamp(1, max.max(1)),
            max: max.max(1),
            resolution: resolution.max(1),
        }
    }

    /// What to try next; `None` when it is known well enough.
    pub(super) fn next(&self) -> Option<usize> {
        match self.bad {
            None if self.good == 0 => Some(self.first),
            None if self.good >= self.max => None,
            None => Some((self.good * 2).min(self.max)),
            Some(bad) if bad - self.good <= self.resolution => None,
            Some(bad) => Some(usize::midpoint(self.good, bad)),
        }
    }

    /// Takes note of what came out.
    pub(super) fn found(&mut self, streams: usize, good: bool) {
        if good {
            self.good = self.good.max(streams);
        } else {
            self.bad = Some(self.bad.map_or(streams, |bad| bad.min(streams)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(truth: usize, from: usize, max: usize, resolution: usize) -> (usize, usize) {
        let mut search = Search::new(from, max, resolution);
        let mut tries = 0;
        while let Some(streams) = search.next() {
            assert!((1..=max).contains(&streams));
            search.found(streams, streams <= truth);
            tries += 1;
            assert!(tries < 40, "never ends");
        }
        (search.good, tries)
    }

    #[test]
    fn the_largest_good_number_is_found_exactly() {
        for truth in 0..70 {
            for from in [1, 4, 50] {
                let (found, _) = search(truth, from, 64, 1);
                assert_eq!(found, truth.min(64), "{truth} from {from}");
            }
        }
    }

    #[test]
    fn a_coarser_search_is_shorter_and_near() {
        let ((exact, many), (near, few)) = (search(45, 4, 256, 1), search(45, 4, 256, 4));
        assert!(few < many && exact == 45 && exact - near < 4);
    }
}
