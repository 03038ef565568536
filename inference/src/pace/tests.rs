use novastream_features::picture::RgbImage;
use proptest::prelude::*;

use super::*;

fn base() -> Sampling {
    Sampling::default()
}

fn settings() -> PaceSettings {
    PaceSettings::default()
}

/// A stream that has been calm for a while.
fn calm() -> Pace {
    let mut pace = Pace::default();
    for _ in 0..10 {
        let plan = pace.plan(&base(), &settings(), UNSTRETCHED);
        pace.advance(&plan, &settings(), 2000, 0.0);
    }
    pace
}

#[test]
fn an_unknown_stream_is_looked_at_closely_and_a_calm_one_less() {
    let plan = Pace::default().plan(&base(), &settings(), UNSTRETCHED);
    assert_eq!(
        (plan.mode, plan.interval_ms, plan.extra_every, plan.carry_ms),
        (PaceMode::New, 2000, 1, 0)
    );
    let plan = calm().plan(&base(), &settings(), UNSTRETCHED);
    assert_eq!(
        (plan.mode, plan.interval_ms, plan.extra_every, plan.carry_ms),
        (PaceMode::Calm, 2000, 4, 4000)
    );
    assert_eq!(plan.first_ms, 0);
    assert_eq!(plan.shortfall(), None);
}

#[test]
fn risk_quickens_until_it_has_cooled_down() {
    let mut pace = calm();
    let plan = pace.plan(&base(), &settings(), UNSTRETCHED);
    pace.advance(&plan, &settings(), 2000, 0.5);
    for _ in 0..5 {
        let plan = pace.plan(&base(), &settings(), UNSTRETCHED);
        assert_eq!(
            (plan.mode, plan.interval_ms, plan.extra_every, plan.carry_ms),
            (PaceMode::Risk, 500, 1, 0)
        );
        pace.advance(&plan, &settings(), 2000, 0.49);
    }
    let plan = pace.plan(&base(), &settings(), UNSTRETCHED);
    assert_eq!(plan.mode, PaceMode::Calm);
}

#[test]
fn a_still_stream_carries_longer_and_a_change_ends_it() {
    let mut pace = calm();
    for _ in 0..3 {
        pace.saw(true);
    }
    let plan = pace.plan(&base(), &settings(), UNSTRETCHED);
    assert_eq!(
        (plan.mode, plan.interval_ms, plan.extra_every, plan.carry_ms),
        (PaceMode::Still, 2000, 8, 8000)
    );
    pace.saw(false);
    let plan = pace.plan(&base(), &settings(), UNSTRETCHED);
    assert_eq!(plan.mode, PaceMode::Calm);
}

#[test]
fn a_stretch_is_the_same_for_all_and_said() {
    let mut risky = calm();
    let plan = risky.plan(&base(), &settings(), UNSTRETCHED);
    risky.advance(&plan, &settings(), 2000, 1.0);
    for (pace, wanted) in [(Pace::default(), 2000), (calm(), 2000), (risky, 500)] {
        let plan = pace.plan(&base(), &settings(), 150);
        assert_eq!(plan.interval_ms, wanted * 3 / 2);
        assert!(plan.shortfall().is_some());
    }
    let most = calm().plan(&base(), &settings(), 100_000);
    assert_eq!(most.interval_ms, 8000);
}

#[test]
fn stretched_slots_go_on_from_segment_to_segment() {
    let mut pace = calm();
    let mut starts = Vec::new();
    for segment in 0..12i64 {
        let plan = pace.plan(&base(), &settings(), 150);
        let first = i64::from(plan.first_ms);
        if first < 2000 {
            starts.push(segment * 2000 + first);
        }
        pace.advance(&plan, &settings(), 2000, 0.0);
    }
    let gaps: Vec<i64> = starts.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| *gap == 3000), "{starts:?}");
    assert!(starts.len() >= 7);
}

#[test]
fn other_models_carry_nothing() {
    let mut pace = Pace::default();
    let image = RgbImage::new(8, 8, vec![9; 192]).unwrap();
    pace.remember(Some(Judged {
        at_ms: 0,
        sketch: Sketch::of(&image),
        score: FrameScore::default(),
        models: "a@1".into(),
    }));
    assert!(pace.last("a@1").is_some() && pace.last("a@2").is_none());
    let json = serde_json::to_string(&pace).unwrap();
    assert_eq!(serde_json::from_str::<Pace>(&json).unwrap(), pace);
}

proptest! {
    /// Whatever happens, no stretch of a stream longer than the longest interval and a segment is
    /// without a slot, and the same history gives the same plan.
    #[test]
    fn there_is_always_a_next_picture(
        steps in prop::collection::vec((1i64..12_000, 0.0f32..2.0, 0u32..500, any::<bool>()), 1..80),
    ) {
        let mut pace = Pace::default();
        let mut without = 0i64;
        for (duration, risk, stretch, near) in steps {
            let plan = pace.plan(&base(), &settings(), stretch);
            prop_assert_eq!(plan, pace.clone().plan(&base(), &settings(), stretch));
            prop_assert!(plan.interval_ms <= settings().max_interval_ms);
            prop_assert!(plan.interval_ms >= settings().risk_interval_ms);
            prop_assert!(plan.carry_ms <= i64::from(settings().still_interval_ms));
            prop_assert_eq!(plan.shortfall().is_some(), stretch > 100);
            if i64::from(plan.first_ms) < duration {
                without = 0;
            } else {
                without += duration;
            }
            prop_assert!(without <= i64::from(settings().max_interval_ms));
            pace.saw(near);
            pace.advance(&plan, &settings(), duration, risk);
        }
    }
}

#[test]
fn streams_that_slow_down_together_do_not_have_their_pictures_together() {
    let mut at = [0; 4];
    for stream in 0..200_u8 {
        let mut pace = calm();
        let image = RgbImage {
            width: 64,
            height: 64,
            data: (0..64 * 64 * 3)
                .map(|i| (i as u32 * u32::from(stream + 3) / 7) as u8)
                .collect(),
        };
        pace.remember(Some(Judged {
            at_ms: 0,
            sketch: Sketch::of(&image),
            score: FrameScore::default(),
            models: String::new(),
        }));
        let plan = pace.plan(&base(), &settings(), 400);
        assert_eq!(plan.interval_ms, 8000);
        at[plan.first_ms as usize / 2000] += 1;
        // From then on one in eight seconds.
        pace.advance(&plan, &settings(), 2000, 0.0);
        let mut slots = u32::from(plan.first_ms < 2000);
        for _ in 0..7 {
            let plan = pace.plan(&base(), &settings(), 400);
            slots += u32::from(plan.first_ms < 2000);
            pace.advance(&plan, &settings(), 2000, 0.0);
        }
        assert_eq!(slots, 2);
    }
    assert!(at.iter().all(|n| (30..75).contains(n)), "{at:?}");
}
