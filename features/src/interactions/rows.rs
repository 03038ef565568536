//! The rows of one list, and what is summed on the way to them.

use super::names::FEATURE_COUNT;

/// The rows of one list; reuse it from list to list, nothing is allocated then.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(super) values: Vec<f32>,
    /// Candidate position by item, `u32::MAX` elsewhere.
    pub(super) place: Vec<u32>,
    pub(super) own: Vec<OwnSums>,
    pub(super) similar: Vec<Similar>,
    pub(super) long: Vec<(u32, f32)>,
    pub(super) session: Vec<(u32, f32)>,
    pub(super) latest: Vec<u32>,
    pub(super) days: Vec<(u32, f32)>,
    /// Long, session, last; content, segment, sequence; factors, days.
    pub(super) scores: [Vec<f32>; 8],
    pub(super) keys: Vec<u64>,
    pub(super) unit: Vec<f32>,
    pub(super) items: Vec<u32>,
    pub(super) groups: Vec<GroupSums>,
}

impl Rows {
    /// Numbers of a row.
    pub const WIDTH: usize = FEATURE_COUNT;

    /// All rows, candidate after candidate.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One row a candidate.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(FEATURE_COUNT)
    }
}

/// Sums over the user's events with one candidate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnSums {
    pub(super) faded: [f32; 3],
    pub(super) same_hour: f32,
    pub(super) in_session: f32,
    pub(super) same_week_hour: f32,
    /// Starts right after an earlier start of the user's latest item, fading.
    pub(super) after_last: f32,
    pub(super) rank: f32,
    /// Position among the own items; `None` for a candidate that is new to the user.
    pub(super) own: Option<u32>,
}

/// What people like the user did with one candidate lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Similar {
    pub(super) close: f32,
    pub(super) close_new: f32,
    pub(super) sum: f32,
    pub(super) count: f32,
}

/// Sums over one group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GroupSums {
    pub(super) group: u32,
    /// Recent starts of its candidates.
    pub(super) active: f32,
    /// The user's starts.
    pub(super) own: f32,
}

/// The sums of a group; there are few, so they are looked for one by one.
pub(super) fn group_of(groups: &mut Vec<GroupSums>, group: u32) -> &mut GroupSums {
    let found = groups.iter().position(|sums| sums.group == group);
    let at = found.unwrap_or_else(|| {
        groups.push(GroupSums {
            group,
            ..GroupSums::default()
        });
        groups.len() - 1
    });
    &mut groups[at]
}

/// What holds for the whole list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whole {
    pub(super) same_hour: f32,
    pub(super) session: f32,
    /// All starts right after an earlier start of the latest item, fading.
    pub(super) after_last: f32,
    pub(super) distinct: f32,
    pub(super) new_in_last: f32,
    pub(super) last: Option<(u32, i64)>,
}

impl Rows {
    pub(super) fn begin(&mut self, candidates: &[u32]) {
        self.values.clear();
        self.values.resize(candidates.len() * FEATURE_COUNT, 0.0);
        self.items.clear();
        self.items.extend_from_slice(candidates);
        self.own.clear();
        self.own.resize(candidates.len(), OwnSums::default());
        self.similar.clear();
        self.similar.resize(candidates.len(), Similar::default());
        for (item, at) in candidates.iter().zip(0_u32..) {
            let item = *item as usize;
            if self.place.len() <= item {
                self.place.resize(item + 1, u32::MAX);
            }
            self.place[item] = at;
        }
    }

    pub(super) fn end(&mut self, candidates: &[u32]) {
        for item in candidates {
            self.place[*item as usize] = u32::MAX;
        }
    }

    pub(super) fn place_of(&self, item: u32) -> Option<usize> {
        self.place
            .get(item as usize)
            .filter(|place| **place != u32::MAX)
            .map(|place| *place as usize)
    }

    pub(super) fn own_of(&mut self, item: u32) -> Option<&mut OwnSums> {
        let place = self.place_of(item)?;
        Some(&mut self.own[place])
    }

    pub(super) fn row(&mut self, at: usize) -> &mut [f32] {
        &mut self.values[at * FEATURE_COUNT..(at + 1) * FEATURE_COUNT]
    }

    /// Writes into column `to` how many candidates have more in column `from`; equal values
    /// share a rank.
    pub(super) fn rank(&mut self, from: usize, to: usize) {
        self.keys.clear();
        let rows = self.values.chunks_exact(FEATURE_COUNT);
        self.keys.extend(rows.zip(0_u64..).map(|(row, at)| {
            let bits = row[from].to_bits();
            // Orders as the numbers do; inverted, so that the largest comes first.
            let ordered = if bits >> 31 == 1 {
                !bits
            } else {
                bits | (1 << 31)
            };
            (u64::from(!ordered) << 32) | at
        }));
        self.keys.sort_unstable();
        let (mut rank, mut before) = (0, None);
        for (position, key) in self.keys.iter().enumerate() {
            if before != Some(key >> 32) {
                rank = position;
                before = Some(key >> 32);
            }
            let at = (key & u64::from(u32::MAX)) as usize;
            self.values[at * FEATURE_COUNT + to] = rank as f32;
        }
    }
}
