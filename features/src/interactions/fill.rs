//! Filling one row of numbers for each candidate.

use super::BaseScores;
use super::clock::{apart, apart_in_week, fade};
use super::history::History;
use super::names::FEATURE_COUNT;
use super::person::Person;
use super::rows::{Rows, Whole, group_of};
use super::vectors::dot;

/// Half-lives of own counts in hours: half a day, three days, two weeks.
const OWN_HALF_LIVES: [f32; 3] = [12.0, 72.0, 336.0];
/// Half-life of own starts in the comparison of hours of the day.
const HOUR_HALF_LIFE: f32 = 336.0;
/// Width of an hour-of-day match in hours.
const HOUR_WIDTH: f32 = 1.0;
/// Width of an hour-of-week match in hours.
const WEEK_HOUR_WIDTH: f32 = 1.5;
/// A session: starts within this many hours.
const SESSION_HOURS: f32 = 3.0;
/// Half-life in hours of what others started lately.
const SIMILAR_HALF_LIFE: f32 = 2.0;
/// Stands for "never" among log ages, which reach about 10.
const NEVER: f32 = 20.0;

/// Latest starts that a sequence model is shown.
const LATEST: usize = 32;

impl History {
    /// Fills one row per candidate for `user` at `time`; call [`History::advance`] to that time
    /// first. Candidates must not repeat. Unknown users and items are fine.
    pub fn features(
        &self,
        user: u32,
        time: i64,
        candidates: &[u32],
        base: &mut dyn BaseScores,
        rows: &mut Rows,
    ) {
        let nobody = Person::default();
        let person = self.people.get(user as usize).unwrap_or(&nobody);
        rows.begin(candidates);
        let whole = self.own_sums(person, time, rows);
        self.similar(user, person, time, rows);
        self.next_column(time, whole, rows);
        self.base_scores(person, time, candidates, whole, base, rows);
        for (at, item) in candidates.iter().enumerate() {
            self.own_row(person, time, *item, at, rows);
            self.channel_row(time, *item, at, rows);
            self.score_row(*item, at, whole, rows);
        }
        self.list_columns(person, time, whole, rows);
        rows.end(candidates);
    }

    fn own_sums(&self, person: &Person, time: i64, rows: &mut Rows) -> Whole {
        let now = self.clock.hour_of_day(time);
        let now_in_week = self.clock.hour_of_week(time);
        let mut whole = Whole {
            last: person.events.last().copied(),
            distinct: person.own.len() as f32,
            ..Whole::default()
        };
        let latest = person.events.len().saturating_sub(10);
        let since = person.events.get(latest).map_or(i64::MAX, |event| event.1);
        whole.new_in_last = person.own.iter().filter(|own| own.first >= since).count() as f32;
        let mut before = None;
        for &(item, at) in &person.events {
            let after_last = before.is_some() && before == whole.last.map(|(last, _)| last);
            before = Some(item);
            let age = self.clock.hours(at, time);
            let near = apart(self.clock.hour_of_day(at), now) / HOUR_WIDTH;
            let same_hour = if near < 4.0 {
                (-0.5 * near * near).exp() * fade(age, HOUR_HALF_LIFE)
            } else {
                0.0
            };
            let session = if age <= SESSION_HOURS { 1.0 } else { 0.0 };
            let near = apart_in_week(self.clock.hour_of_week(at), now_in_week) / WEEK_HOUR_WIDTH;
            let same_week_hour = if near < 4.0 {
                (-0.5 * near * near).exp()
            } else {
                0.0
            };
            let after_last = if after_last {
                fade(age, OWN_HALF_LIVES[2])
            } else {
                0.0
            };
            whole.same_hour += same_hour;
            whole.session += session;
            whole.after_last += after_last;
            if let Some(sums) = rows.own_of(item) {
                for (sum, half_life) in sums.faded.iter_mut().zip(OWN_HALF_LIVES) {
                    *sum += fade(age, half_life);
                }
                sums.same_hour += same_hour;
                sums.in_session += session;
                sums.same_week_hour += same_week_hour;
                sums.after_last += after_last;
            }
        }
        // Recency ranks: the distinct items from the latest on.
        rows.keys.clear();
        rows.keys
            .extend(person.own.iter().zip(0_u64..).map(|(own, at)| {
                let age = time.saturating_sub(own.last).clamp(0, i64::from(u32::MAX)) as u64;
                (age << 32) | at
            }));
        rows.keys.sort_unstable();
        for rank in 0..rows.keys.len() {
            let own = (rows.keys[rank] & u64::from(u32::MAX)) as u32;
            if let Some(sums) = rows.own_of(person.own[own as usize].item) {
                sums.rank = rank as f32;
                sums.own = Some(own);
            }
        }
        whole
    }

    fn similar(&self, user: u32, person: &Person, time: i64, rows: &mut Rows) {
        rows.unit.clear();
        let length = person.length;
        if length <= 0.0 {
            return;
        }
        rows.unit
            .extend(person.vector.iter().map(|value| value / length));
        for event in &self.recent {
            if event.user == user || event.time >= time {
                continue;
            }
            let Some(place) = rows.place_of(event.item) else {
                continue;
            };
            let Some(other) = self.people.get(event.user as usize) else {
                continue;
            };
            if other.length <= 0.0 {
                continue;
            }
            let cosine = dot(&rows.unit, &other.vector) / other.length;
            let similar = &mut rows.similar[place];
            similar.sum += cosine;
            similar.count += 1.0;
            let weight = cosine.max(0.0).powi(2)
                * fade(self.clock.hours(event.time, time), SIMILAR_HALF_LIFE);
            similar.close += weight;
            if event.first {
                similar.close_new += weight;
            }
        }
    }

    fn base_scores(
        &self,
        person: &Person,
        time: i64,
        candidates: &[u32],
        whole: Whole,
        base: &mut dyn BaseScores,
        rows: &mut Rows,
    ) {
        rows.long.clear();
        rows.session.clear();
        rows.days.clear();
        for own in &person.own {
            rows.long.push((own.item, (own.count as f32).ln_1p()));
            let fresh = fade(self.clock.hours(own.last, time), OWN_HALF_LIVES[0]);
            if fresh > 0.01 {
                rows.session.push((own.item, fresh));
            }
            let late = fade(self.clock.hours(own.last, time), OWN_HALF_LIVES[1]);
            if late > 0.01 {
                rows.days
                    .push((own.item, late * (own.count as f32).ln_1p()));
            }
        }
        for scores in &mut rows.scores {
            scores.clear();
            scores.resize(candidates.len(), 0.0);
        }
        rows.latest.clear();
        let skip = person.events.len().saturating_sub(LATEST);
        let latest = person.events.iter().skip(skip);
        rows.latest.extend(latest.map(|(item, _)| *item));
        let [
            long,
            session,
            last,
            content,
            segment,
            sequence,
            factors,
            days,
        ] = &mut rows.scores;
        base.long(&rows.long, candidates, long);
        base.long(&rows.session, candidates, session);
        if let Some((item, _)) = whole.last {
            base.long(&[(item, 1.0)], candidates, last);
        }
        base.content(&rows.long, candidates, content);
        base.segment(&rows.long, candidates, segment);
        base.sequence(&rows.latest, candidates, sequence);
        base.factors(&rows.long, candidates, factors);
        base.long(&rows.days, candidates, days);
    }

    fn own_row(&self, person: &Person, time: i64, item: u32, at: usize, rows: &mut Rows) {
        let sums = rows.own[at];
        let row = rows.row(at);
        let Some(own) = sums.own.and_then(|own| person.own.get(own as usize)) else {
            row[4] = NEVER;
            row[5] = 1000.0;
            row[7] = -2.0;
            row[8] = -2.0;
            row[11] = -1.0;
            row[13] = -1.0;
            row[15] = -1.0;
            row[16] = -1000.0;
            return;
        };
        let count = own.count as f32;
        let age = self.clock.hours(own.last, time);
        let gap = self.clock.hours(own.first, own.last) / (count - 1.0).max(1.0);
        let (mut exposed, mut exposed_faded) =
            (own.exposed, own.exposed_faded_at(time, self.clock));
        let run_start = self
            .channels
            .get(item as usize)
            .map_or(i64::MIN, |channel| channel.run_start);
        let mut passed = 0.0;
        for &(other, chosen) in person.events.iter().rev() {
            if !self.is_unsettled(chosen, time) {
                break;
            }
            if chosen > own.first && self.live_around(item, chosen) {
                exposed += 1.0;
                exposed_faded += 1.0;
            }
            if other != item && chosen >= run_start {
                passed += 1.0;
            }
        }
        row[0] = count.ln_1p();
        row[1..4].copy_from_slice(&sums.faded);
        row[4] = age.ln_1p();
        row[5] = sums.rank;
        row[6] = count / person.total.max(1) as f32;
        row[7] = if own.count > 1 {
            age / (gap + 0.2)
        } else {
            -1.0
        };
        row[8] = if own.count > 1 { gap.ln_1p() } else { -1.0 };
        row[9] = sums.same_hour;
        row[11] = count / (exposed + 3.0);
        row[12] = exposed;
        row[13] = sums.faded[1] / (exposed_faded + 1.0);
        row[14] = sums.in_session;
        row[15] = self.clock.hours(own.first, time).ln_1p();
        row[16] = self.clock.hours(run_start, time) - age;
        row[17] = passed;
        row[61] = sums.same_week_hour;
    }

    fn channel_row(&self, time: i64, item: u32, at: usize, rows: &mut Rows) {
        let row = rows.row(at);
        let Some(channel) = self.channels.get(item as usize).filter(|c| c.total > 0) else {
            row[27] = 1000.0;
            row[28] = 1000.0;
            row[30] = 1.0;
            return;
        };
        let (counts, first) = channel.counts_at(time, self.clock);
        row[21] = counts[0];
        row[22] = counts[1];
        row[23] = counts[2].ln_1p();
        row[24] = counts[3].ln_1p();
        row[25] = (channel.total as f32).ln_1p();
        row[26] = (counts[2] + 0.5) / (counts[3] / 7.0 + 1.0);
        row[27] = self.clock.hours(channel.last, time);
        row[28] = self.clock.hours(channel.run_start, time);
        row[29] = channel.run_count as f32;
        row[30] = channel.rhythm_at(self.clock.hour_of_day(time));
        row[31] = (first + 0.3) / (counts[2] + 1.0);
        row[65] = first.ln_1p();
        row[32] = channel.total as f32 / (channel.people as f32 + 1.0);
    }

    fn score_row(&self, item: u32, at: usize, whole: Whole, rows: &mut Rows) {
        let similar = rows.similar[at];
        let scores: [f32; 8] = std::array::from_fn(|model| rows.scores[model][at]);
        let vector = self.vectors.of(item);
        let scale = self.vectors.scale(item);
        let similar_item = vector.map_or(0.0, |vector| dot(&rows.unit, vector) * scale);
        let similar_last = match (vector, whole.last) {
            (Some(vector), Some((last, _))) => self.vectors.of(last).map_or(0.0, |other| {
                dot(vector, other) * scale * self.vectors.scale(last)
            }),
            _ => 0.0,
        };
        let row = rows.row(at);
        row[34..37].copy_from_slice(&scores[..3]);
        row[55..58].copy_from_slice(&scores[3..6]);
        row[63..65].copy_from_slice(&scores[6..]);
        row[39] = similar_item;
        row[40] = similar_last;
        row[41] = similar.close;
        row[42] = similar.close_new;
        row[43] = similar.sum / (similar.count + 1.0);
    }

    fn list_columns(&self, person: &Person, time: i64, whole: Whole, rows: &mut Rows) {
        let columns = [(20, 0), (33, 22), (37, 34), (44, 41), (62, 2)];
        for (rank, column) in columns {
            rows.rank(column, rank);
        }
        self.group_columns(person, rows);
        let (mut live, mut best) = (0.0, 0.0_f32);
        let (mut sum_12h, mut sum_3d, mut best_score) = (0.05, 0.05, f32::NEG_INFINITY);
        for row in rows.iter() {
            live += f32::from(u8::from(row[0] > 0.0));
            best = best.max(row[2]);
            sum_12h += row[1];
            sum_3d += row[2];
            best_score = best_score.max(row[34]);
        }
        let since_last = whole
            .last
            .map_or(NEVER, |(_, last)| self.clock.hours(last, time).ln_1p());
        let shared = [
            live,
            best,
            (person.total as f32).ln_1p(),
            whole.distinct / (person.total as f32 + 1.0),
            whole.new_in_last,
            whole.session,
            since_last,
            whole.same_hour,
            self.clock.hour_of_day(time),
        ];
        for row in rows.values.chunks_exact_mut(FEATURE_COUNT) {
            row[10] = row[9] / (whole.same_hour + 0.3);
            row[18] = row[1] / sum_12h;
            row[19] = row[2] / sum_3d;
            row[38] = row[34] - best_score;
            row[46..55].copy_from_slice(&shared);
        }
    }

    /// What is usually started after the user's latest start.
    fn next_column(&self, time: i64, whole: Whole, rows: &mut Rows) {
        for at in 0..rows.items.len() {
            let after = rows.own[at].after_last;
            let row = rows.row(at);
            row[58] = after;
            row[59] = after / (whole.after_last + 0.5);
        }
        let last = whole.last.map(|(item, _)| item as usize);
        let Some(channel) = last.and_then(|item| self.channels.get(item)) else {
            return;
        };
        let all: f32 = channel.next_at(time, self.clock).map(|(_, n)| n).sum();
        for (item, count) in channel.next_at(time, self.clock) {
            if let Some(place) = rows.place_of(item) {
                rows.row(place)[60] = count / (all + 2.0);
            }
        }
    }

    /// The share of the user's starts that fell into the candidate's group, and the candidate's
    /// share of the group's activity now.
    fn group_columns(&self, person: &Person, rows: &mut Rows) {
        let group = |item: u32| self.channels.get(item as usize).and_then(|c| c.group);
        rows.groups.clear();
        for at in 0..rows.items.len() {
            if let Some(group) = group(rows.items[at]) {
                let active = rows.row(at)[22];
                group_of(&mut rows.groups, group).active += active;
            }
        }
        for own in &person.own {
            if let Some(group) = group(own.item) {
                group_of(&mut rows.groups, group).own += own.count as f32;
            }
        }
        let total = person.total as f32 + 1.0;
        for at in 0..rows.items.len() {
            let Some(group) = group(rows.items[at]) else {
                continue;
            };
            let sums = *group_of(&mut rows.groups, group);
            let row = rows.row(at);
            row[45] = sums.own / total;
            row[66] = (row[22] + 0.02) / (sums.active + 1.0);
            row[67] = row[45] * row[66];
        }
    }
}
