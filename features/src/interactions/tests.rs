use super::*;

fn clock() -> HourClock {
    HourClock::new(600.0).unwrap()
}

fn vectors() -> ItemVectors {
    let values = (0..40).map(|n| ((n * 7 % 11) as f32) - 5.0).collect();
    ItemVectors::new(4, values).unwrap()
}

fn events() -> Vec<Interaction> {
    let mut state = 1_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    (0..600)
        .map(|at| Interaction {
            user: next(7),
            item: next(12),
            time: i64::from(at / 3),
            group: (next(3) > 0).then_some(at % 2),
        })
        .collect()
}

fn base(history: &[(u32, f32)], candidates: &[u32], out: &mut [f32]) {
    for (out, candidate) in out.iter_mut().zip(candidates) {
        let near = |(item, weight): &(u32, f32)| weight / (1.0 + item.abs_diff(*candidate) as f32);
        *out = history.iter().map(near).sum();
    }
}

fn ask(history: &History, user: u32, time: i64) -> Vec<f32> {
    let mut rows = Rows::default();
    let candidates: Vec<u32> = (0..14).collect();
    history.features(user, time, &candidates, &mut base, &mut rows);
    assert_eq!(rows.iter().len(), 14);
    rows.values().to_vec()
}

#[test]
fn recommender_online_features_equal_offline_features() {
    let events = events();
    // Offline: one replay, asked before each event.
    let mut replay = History::new(clock(), HistoryLimits::default(), vectors());
    let mut offline = Vec::new();
    for event in &events {
        replay.advance(event.time);
        offline.push(ask(&replay, event.user, event.time));
        replay.observe(*event);
    }
    // Online: a fresh history for single moments, fed one by one with other questions in between.
    for at in [0, 1, 50, 299, 450, 599] {
        let mut live = History::new(clock(), HistoryLimits::default(), vectors());
        for (number, event) in events[..at].iter().enumerate() {
            live.observe(*event);
            if number % 5 == 0 {
                live.advance(event.time + 1);
                ask(&live, event.user ^ 1, event.time + 1);
            }
        }
        live.advance(events[at].time);
        let online = ask(&live, events[at].user, events[at].time);
        if at > 0 && events[at - 1].time == events[at].time && (at - 1) % 5 == 0 {
            continue;
        }
        assert_eq!(online, offline[at], "event {at}");
    }
}

#[test]
fn recommender_features_do_not_see_the_same_step_or_later() {
    let mut with = History::new(clock(), HistoryLimits::default(), vectors());
    let mut without = with.clone();
    for event in events() {
        if event.time < 100 {
            without.observe(event);
        }
        if event.time <= 100 {
            with.observe(event);
        }
    }
    with.advance(100);
    without.advance(100);
    assert_eq!(ask(&with, 3, 100), ask(&without, 3, 100));
}

#[test]
fn recommender_features_are_finite_and_bounded_in_memory() {
    let limits = HistoryLimits {
        events_per_user: 5,
        recent_events: 8,
    };
    let mut history = History::new(clock(), limits, ItemVectors::default());
    for event in events() {
        history.observe(event);
    }
    // Late, far away and unknown.
    history.observe(Interaction {
        user: 0,
        item: 1,
        time: 3,
        group: None,
    });
    history.advance(i64::MAX);
    assert!(
        history
            .people
            .iter()
            .all(|p| p.events.len() <= 5 && p.own.len() <= 5)
    );
    assert!(history.recent.len() <= 8);
    for (user, time) in [(0, 200), (99, 200), (0, i64::MAX), (0, i64::MIN)] {
        assert!(
            ask(&history, user, time)
                .iter()
                .all(|value| value.is_finite())
        );
    }
}

#[test]
fn recommender_feature_names_are_distinct() {
    let names = FeatureNames::current().into_vec();
    assert!(FeatureNames::matches(&names));
    assert!(!FeatureNames::matches(&names[1..]));
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), Rows::WIDTH);
}

#[test]
fn recommender_own_counts_and_exposure_follow_the_events() {
    let mut history = History::new(clock(), HistoryLimits::default(), ItemVectors::default());
    let at = |item, time| Interaction {
        user: 0,
        item,
        time,
        group: None,
    };
    // Item 1 at 0, then item 2 while 1 is still live, then long after.
    for event in [at(1, 0), at(2, 6), at(1, 200)] {
        history.observe(event);
    }
    history.advance(400);
    assert_eq!(history.count(0, 1), 2);
    assert_eq!(history.counts(0).collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    let rows = ask(&history, 0, 400);
    let row = |item: usize| &rows[item * Rows::WIDTH..];
    let column = |name| FEATURES.iter().position(|known| *known == name).unwrap();
    let exposed = column("own_exposed");
    // Exposed to 1 at times 6 and 200 and chosen twice; 2 was off at 200.
    assert!((row(1)[exposed] - 2.0).abs() < 1e-6);
    assert!(row(2)[exposed].abs() < 1e-6);
    assert!((row(1)[column("own_chosen_of_exposed")] - 0.4).abs() < 1e-6);
    assert!((row(2)[column("own_recency_rank")] - 1.0).abs() < 1e-6);
}
