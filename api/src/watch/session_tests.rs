//! Sessions over scripted sources: ends, outages, restarts, repetitions, overload.

use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use novastream_features::media::MediaError;
use novastream_inference::{Kind, Policy};
use tokio::sync::watch;

use super::script::{Act, Kept, Opening, Script, Slow, file, live, refused};
use super::{Session, Sink, Stop, Tools, WatchRecord, WatchState, unjudged};
use crate::config::WatchSettings;
use crate::pool::Pool;

struct Run {
    kept: Arc<Kept>,
    stop: watch::Sender<Option<Stop>>,
    task: tokio::task::JoinHandle<WatchRecord>,
}

fn settings() -> WatchSettings {
    WatchSettings {
        start_timeout_s: 1,
        max_outage_s: 1,
        end_grace_s: 1,
        backoff_min_ms: 10,
        backoff_max_ms: 20,
        ..WatchSettings::default()
    }
}

fn start(script: Vec<Opening>, judge: Duration, record: WatchRecord) -> Run {
    let kept = Arc::new(Kept::default());
    let tools = Tools {
        opener: Arc::new(Script(StdMutex::new(script.into()))),
        judge: Arc::new(Slow(judge)),
        pool: Pool::new(2, 0),
        sink: Arc::clone(&kept) as Arc<dyn Sink>,
        settings: settings(),
        policy: Arc::new(Policy::builtin().unwrap()),
        governor: crate::governor::Governor::default(),
    };
    let (stop, stopped) = watch::channel(None);
    let task = tokio::spawn(Session::new(tools, record, stopped).run());
    Run { kept, stop, task }
}

fn fresh() -> WatchRecord {
    WatchRecord::new("s".into(), "rtmp://h/app".into(), None, 0)
}

async fn play(script: Vec<Opening>) -> (WatchRecord, Arc<Kept>) {
    let run = start(script, Duration::ZERO, fresh());
    let record = tokio::time::timeout(Duration::from_secs(20), run.task)
        .await
        .unwrap()
        .unwrap();
    (record, run.kept)
}

use Kind::{Gap, Window as Win};

#[tokio::test]
async fn a_file_is_judged_whole_and_ends() {
    let (record, kept) = play(vec![file(&[Act::Windows(0, 40_000)])]).await;
    assert_eq!(record.state, WatchState::Ended);
    let expected: Vec<_> = (0..20).map(|n| (Win, n * 2, n * 2 + 2)).collect();
    assert_eq!(kept.verdicts(), expected);
    assert_eq!((record.counts.windows, record.counts.shed), (20, 0));
    assert_eq!(
        kept.states(),
        [WatchState::Starting, WatchState::Running, WatchState::Ended]
    );
}

#[tokio::test]
async fn a_live_source_that_ends_and_stays_away_has_ended() {
    let (record, kept) = play(vec![live(&[Act::Windows(0, 4000)]), Err(refused())]).await;
    assert_eq!((record.state, record.error), (WatchState::Ended, None));
    assert_eq!(kept.verdicts(), [(Win, 0, 2), (Win, 2, 4)]);
    assert!(kept.states().contains(&WatchState::Reconnecting));
}

#[tokio::test]
async fn a_playlist_that_says_it_is_finished_has_ended_at_once() {
    let begun = std::time::Instant::now();
    let (record, kept) = play(vec![
        live(&[Act::Windows(0, 4000)]),
        file(&[Act::Windows(0, 4000)]),
    ])
    .await;
    assert_eq!(record.state, WatchState::Ended);
    assert_eq!(kept.verdicts().len(), 2);
    assert!(begun.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn an_outage_is_a_gap_and_repeated_windows_are_left_out() {
    let stalled = MediaError::Stalled {
        after: Duration::from_secs(10),
    };
    let (record, kept) = play(vec![
        live(&[Act::Windows(100_000, 120_000), Act::Fail(stalled)]),
        Err(refused()),
        // The server repeats four seconds, then goes on.
        live(&[Act::Windows(116_000, 122_000), Act::Fail(refused())]),
        // Back after eight seconds that nobody has.
        live(&[Act::Windows(130_000, 132_000)]),
    ])
    .await;
    assert_eq!(record.state, WatchState::Ended);
    let verdicts = kept.verdicts();
    assert_eq!(
        verdicts[10..],
        [(Win, 120, 122), (Gap, 122, 130), (Win, 130, 132)]
    );
    assert_eq!(record.counts.repeated, 2);
    assert_eq!((record.counts.gaps, record.counts.outages), (1, 3));
    assert!(
        kept.reasons()[0].starts_with("source_failed: "),
        "{:?}",
        kept.reasons()
    );
    let sequences: Vec<u64> = {
        let steps = kept.steps.lock().unwrap();
        steps
            .iter()
            .filter_map(|s| s.verdict.as_ref()?.verdict.sequence)
            .collect()
    };
    assert!(
        sequences.windows(2).all(|w| w[1] == w[0] + 1),
        "{sequences:?}"
    );
}

#[tokio::test]
async fn a_restarted_source_that_counts_anew_is_judged_not_skipped() {
    let (record, kept) = play(vec![
        live(&[Act::Windows(100_000, 120_000), Act::Fail(refused())]),
        // The same timestamps, another stream.
        live(&[Act::Others(110_000, 124_000)]),
    ])
    .await;
    assert_eq!(record.counts.repeated, 0);
    assert_eq!(record.counts.windows, 17);
    // On the stream's clock it goes on where the first one stopped.
    let verdicts = kept.verdicts();
    assert_eq!(verdicts[10], (Win, 120, 122));
    assert_eq!(verdicts[16], (Win, 132, 134));
}

#[tokio::test]
async fn a_source_that_does_not_come_back_fails_with_a_gap() {
    let (record, kept) = play(vec![live(&[Act::Windows(0, 2000), Act::Fail(refused())])]).await;
    assert_eq!(record.state, WatchState::Failed);
    assert_eq!(record.error.unwrap().code, "source_failed");
    let verdicts = kept.verdicts();
    assert_eq!(verdicts.len(), 2);
    assert_eq!((verdicts[1].0, verdicts[1].1), (Gap, 2));
    assert!(verdicts[1].2 >= 3, "{verdicts:?}");
    assert!(kept.reasons()[0].starts_with("given up: source_failed"));
}

#[tokio::test]
async fn a_source_that_was_never_there_fails_without_a_gap() {
    let (record, kept) = play(vec![]).await;
    assert_eq!(record.state, WatchState::Failed);
    assert!(kept.verdicts().is_empty());
    let begun = std::time::Instant::now();
    let bad = MediaError::UnsupportedUrl { reason: "x".into() };
    let (record, _) = play(vec![Err(bad)]).await;
    assert_eq!(record.error.unwrap().code, "url_unsupported");
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "no use in trying again"
    );
}

#[tokio::test]
async fn a_source_that_repeats_itself_forever_is_given_up() {
    let same = || {
        live(&[
            Act::Windows(100_000, 110_000),
            Act::Wait(100),
            Act::Fail(refused()),
        ])
    };
    let again = || {
        live(&[
            Act::Windows(106_000, 110_000),
            Act::Wait(100),
            Act::Fail(refused()),
        ])
    };
    let mut script = vec![same()];
    script.extend((0..100).map(|_| again()));
    let (record, kept) = play(script).await;
    assert_eq!(record.state, WatchState::Failed);
    assert_eq!(kept.verdicts().iter().filter(|v| v.0 == Win).count(), 5);
}

#[tokio::test]
async fn when_analysis_lags_the_oldest_windows_are_shed_and_said_so() {
    // Forty windows of 20 ms at the speed of the clock; each takes the judge three times as long.
    let script = vec![live(&[Act::Paced(0, 800)])];
    let run = start(script, Duration::from_millis(60), fresh());
    let record = tokio::time::timeout(Duration::from_secs(20), run.task)
        .await
        .unwrap()
        .unwrap();
    assert!(record.counts.shed > 0, "{:?}", record.counts);
    assert_eq!(record.counts.shed + record.counts.windows, 40);
    assert!(run.kept.reasons().iter().all(|r| r.starts_with("shed: ")));
    // Nothing is left out: the verdicts cover the whole time, one after another.
    let steps = run.kept.steps.lock().unwrap();
    let mut end = 0;
    for verdict in steps
        .iter()
        .filter_map(|s| s.verdict.as_ref().map(|v| &v.verdict))
    {
        assert_eq!(verdict.start_ms, Some(end));
        end = verdict.end_ms.unwrap();
        assert_eq!(unjudged::notable(verdict), !verdict.degraded.is_empty());
    }
    assert_eq!(end, 800);
}

#[tokio::test]
async fn stopping_is_kept_and_a_shutdown_leaves_the_watch_active() {
    for (why, state) in [
        (Stop::Caller, WatchState::Stopped),
        (Stop::Shutdown, WatchState::Running),
    ] {
        let script = vec![live(&[Act::Windows(0, 4000), Act::Hang])];
        let run = start(script, Duration::ZERO, fresh());
        while run.kept.verdicts().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run.stop.send(Some(why)).unwrap();
        let record = tokio::time::timeout(Duration::from_secs(5), run.task)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(record.state, state);
        assert_eq!(run.kept.states().last(), Some(&state));
    }
}

#[tokio::test]
async fn a_resumed_watch_goes_on_where_it_was_and_reports_its_absence() {
    let (first, _) = play(vec![live(&[Act::Windows(100_000, 110_000)])]).await;
    let mut record = first;
    record.state = WatchState::Running;
    let script = vec![live(&[
        Act::Windows(108_000, 110_000),
        Act::Windows(116_000, 118_000),
    ])];
    let run = start(script, Duration::ZERO, record);
    let record = run.task.await.unwrap();
    assert_eq!(run.kept.verdicts(), [(Gap, 110, 116), (Win, 116, 118)]);
    assert_eq!(run.kept.reasons(), ["nobody watched"]);
    assert_eq!(run.kept.states()[0], WatchState::Reconnecting);
    assert_eq!(record.sequence, 7);
}
