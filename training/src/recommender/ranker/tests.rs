use novastream_datasets::events::{Clock, Event};
use novastream_models::recommender::Popularity;

use super::lists::chances;
use super::*;

/// Users who return to a channel of their own, and now and then try the next one.
fn events() -> Vec<Event> {
    let mut state = 7_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    (0..6_000)
        .map(|at| {
            let user = next(60);
            let item = if next(4) == 0 { next(30) } else { user % 30 };
            Event {
                user,
                item,
                time: at / 4,
                weight: 1.0,
                group: None,
            }
        })
        .collect()
}

fn fit_base(events: &[Event], until: i64) -> Result<BaseModels, FitError> {
    if events.iter().any(|event| event.time >= until) {
        return Err(FitError::Params(
            "base models must not see what comes after",
        ));
    }
    let mut shares = vec![0.0; 30];
    for event in events {
        shares[event.item as usize] += 1.0;
    }
    Ok(BaseModels {
        popularity: Some(Popularity { shares }),
        ..BaseModels::default()
    })
}

fn fit(events: &[Event], clock: Clock, params: &RankerParams) -> Option<RankerFit> {
    let input = RankerInput {
        events,
        users: 60,
        items: 30,
        clock,
        until: 1_500,
        availability: None,
        fit_base: &fit_base,
        without: &[],
        seed: 3,
    };
    params.fit(&input).unwrap()
}

#[test]
fn recommender_ranker_learns_habits_and_is_the_same_every_time() {
    let events = events();
    let params = RankerParams::default();
    let fitted = fit(&events, Clock::Seconds(600.0), &params).unwrap();
    assert!(fitted.lists > 500 && fitted.trees > 3, "{fitted:?}");
    // Three of four choices are the own channel among some thirty live ones.
    assert!(
        fitted.held_out_loss.unwrap() < 1.9,
        "{:?}",
        fitted.held_out_loss
    );
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let again = pool.install(|| fit(&events, Clock::Seconds(600.0), &params).unwrap());
    assert_eq!(fitted, again);
}

#[test]
fn recommender_ranker_needs_times_and_events() {
    let events = events();
    let params = RankerParams::default();
    assert!(fit(&events, Clock::Order, &params).is_none());
    assert!(fit(&events[..100], Clock::Seconds(600.0), &params).is_none());
    let few = fit(&events[..1_500], Clock::Seconds(600.0), &params).unwrap();
    assert!(few.ranker.trees.is_empty());
    assert!(
        few.ranker
            .logit
            .columns
            .iter()
            .any(|column| column.weight != 0.0)
    );
}

#[test]
fn recommender_ranker_settings_are_checked() {
    let bad = [
        BoostParams {
            trees: 0,
            ..BoostParams::default()
        },
        BoostParams {
            learning_rate: 0.0,
            ..BoostParams::default()
        },
        BoostParams {
            l2: f32::NAN,
            ..BoostParams::default()
        },
        BoostParams {
            held_out: 1.0,
            ..BoostParams::default()
        },
    ];
    assert!(bad.iter().all(|params| params.check().is_err()));
    assert!(BoostParams::default().check().is_ok());
    assert!(LogitParams { passes: 0, l2: 0.0 }.check().is_err());
}

#[test]
fn recommender_stretches_are_whole_steps_of_the_later_half() {
    let events = events();
    let stretches = SampleParams::default().stretches(&events, 1_500);
    assert_eq!(stretches.last().unwrap().to, 6_000);
    for pair in stretches.windows(2) {
        assert_eq!(pair[0].to, pair[1].from);
        assert!(pair[0].from >= 3_000 && pair[1].from % 4 == 0);
    }
}

#[test]
fn recommender_chances_count_rows_as_often_as_they_stand_for() {
    let mut out = [0.0; 3];
    let loss = chances(&[0.0, 0.0, 0.0], &[1.0, 1.0, 2.0], 0, &mut out);
    assert_eq!(out, [0.25, 0.25, 0.5]);
    assert!((loss - 4.0_f32.ln()).abs() < 1e-6);
}
