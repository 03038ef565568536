use novastream_models::sound::SoundCnn;

use super::super::clips::Clip;
use super::*;

fn args(out: &Path, rest: &[&str]) -> AudioArgs {
    let out = out.to_str().unwrap();
    let fixed = [
        "--base",
        "cnn",
        "--out",
        out,
        "--epochs",
        "4",
        "--batch",
        "4",
        "--channels",
        "3,4",
        "--checkpoint-every",
        "1",
    ];
    AudioArgs::of(&[&fixed[..], rest].concat()).unwrap()
}

/// Eight tones, low or high.
fn clips() -> Clips {
    let clip = |i: usize| {
        let hz = [300.0, 3_000.0][i % 2] + 20.0 * i as f32;
        let tone = |t: usize| (t as f32 / 16_000.0 * std::f32::consts::TAU * hz).sin() * 0.3;
        Clip {
            name: format!("l/{i}"),
            label: i % 2,
            fold: 1,
            sha256: format!("{i}"),
            samples: (0..24_000).map(tone).collect(),
        }
    };
    Clips {
        labels: vec!["low".into(), "high".into()],
        all: (0..8).map(clip).collect(),
        named_folds: false,
    }
}

/// A teacher that hears four groups of two clips each.
fn lessons() -> Lessons {
    let of = |clip: usize| (0..6).map(|k| ((clip / 2 + k) % 4) as f32).collect();
    Lessons::made_up((0..8).map(of).collect(), 24_000)
}

fn trainer<'a>(args: &'a AudioArgs, clips: &'a Clips, log: &mut RunLog) -> CnnTrainer<'a> {
    let untaught = AudioArgs {
        teacher: None,
        ..args.clone()
    };
    let spectra = CnnTrainer::new(&untaught, clips, log).unwrap().spectra;
    CnnTrainer {
        args,
        clips,
        mel: LogMel::yamnet(),
        spectra,
        lessons: args.teacher.map(|_| lessons()),
    }
}

const ALL: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const TAUGHT: [&str; 3] = ["--heights", "--teacher", "yamnet"];

#[test]
fn a_run_that_was_stopped_ends_as_if_it_had_not_been() {
    let clips = clips();
    let weights = |stop: bool| {
        let out = tempfile::tempdir().unwrap();
        let args = args(out.path(), &TAUGHT);
        let mut log = RunLog::append(out.path()).unwrap();
        if stop {
            let trainer = trainer(&args, &clips, &mut log);
            let mut training = trainer.start(&ALL, "all", &mut log).unwrap();
            trainer.learn(&mut training, 5, &mut log).unwrap();
            // Two passes of two steps were saved; the fifth step is done again.
            let again = trainer.start(&ALL, "all", &mut log).unwrap();
            assert_eq!((training.step, again.step), (5, 4));
        }
        let mut trainer = trainer(&args, &clips, &mut log);
        trainer.fit(&ALL, "all", &mut log).unwrap().weights
    };
    assert_eq!(weights(true), weights(false));
}

#[test]
fn clean_norms_are_those_of_the_clips_as_they_are_judged() {
    let clips = clips();
    let weights = |rest: &[&str]| {
        let out = tempfile::tempdir().unwrap();
        let args = args(out.path(), rest);
        let mut log = RunLog::append(out.path()).unwrap();
        let mut trainer = trainer(&args, &clips, &mut log);
        // Each clip is one window, so eight fill two batches of four.
        let windows: Vec<Vec<f32>> = (0..8).map(|i| trainer.windows(i).1).collect();
        let windows: Vec<&[f32]> = windows.iter().map(Vec::as_slice).collect();
        let batches = trainer.shuffled(&windows, 4);
        assert_eq!(batches.len(), 2);
        for window in &windows {
            let times = batches.iter().flatten().filter(|w| *w == window).count();
            assert_eq!(times, 1);
        }
        assert_eq!(trainer.shuffled(&windows[..5], 4).concat().len(), 8);
        trainer.fit(&ALL, "all", &mut log).unwrap().weights
    };
    let clean = weights(&["--clean-norms"]);
    assert_eq!(clean, weights(&["--clean-norms"]));
    assert_ne!(clean, weights(&[]));
}

#[test]
fn a_checkpoint_of_other_lessons_is_refused() {
    let (clips, out) = (clips(), tempfile::tempdir().unwrap());
    let mut log = RunLog::append(out.path()).unwrap();
    let first = args(out.path(), &TAUGHT);
    let started = trainer(&first, &clips, &mut log);
    let mut training = started.start(&ALL, "all", &mut log).unwrap();
    started.learn(&mut training, 2, &mut log).unwrap();
    for other in [
        vec!["--heights"],
        vec!["--teacher", "yamnet"],
        vec!["--heights", "--teacher", "yamnet", "--teacher-weight", "2"],
    ] {
        let other = args(out.path(), &other);
        let trainer = trainer(&other, &clips, &mut log);
        assert!(trainer.start(&ALL, "all", &mut log).is_err(), "{other:?}");
    }
}

#[test]
fn a_teacher_is_learned_from_and_leaves_no_trace_in_the_file() {
    let (clips, out) = (clips(), tempfile::tempdir().unwrap());
    let mut log = RunLog::append(out.path()).unwrap();
    let taught = [&TAUGHT[..], &["--mixup", "0", "--dropout", "0"]].concat();
    let args = AudioArgs {
        epochs: 20,
        ..args(out.path(), &taught)
    };
    let trainer = trainer(&args, &clips, &mut log);
    let mut training = trainer.start(&ALL, "all", &mut log).unwrap();
    let kernel = |t: &Training<'_>| t.net.variables()[0].1.flatten_all().unwrap();
    let before: Vec<f32> = kernel(&training).to_vec1().unwrap();
    let first = trainer.step(&mut training).unwrap();
    trainer.learn(&mut training, u64::MAX, &mut log).unwrap();
    training.step = 0;
    let last = trainer.step(&mut training).unwrap();
    assert!(last[1] < 0.8 * first[1], "{first:?} {last:?}");

    // The teacher alone moves the blocks: the labels' gradient is taken away.
    let pooled_by_teacher = {
        let fresh = trainer.start(&ALL[..4], "other", &mut log).unwrap();
        let lesson = fresh.pupil.as_ref().unwrap();
        let batch = trainer.examples(&ALL[..4], &ALL, 0, -4.0, Some(&lesson.lesson));
        assert_eq!(batch.heard.len(), 4 * 6);
        let pooled = fresh.net.pooled(&batch.windows, None).unwrap();
        let loss = lesson.loss(&pooled, batch.heard).unwrap();
        let gradients = loss.backward().unwrap();
        let kernel = &fresh.net.variables()[0].1;
        let gradient = gradients.get(kernel).unwrap().flatten_all().unwrap();
        gradient.to_vec1::<f32>().unwrap()
    };
    assert!(pooled_by_teacher.iter().any(|g| g.abs() > 1e-6));
    let after: Vec<f32> = kernel(&training).to_vec1().unwrap();
    assert_ne!(before, after);

    let fitted = trainer.finish(&training).unwrap();
    let cnn = SoundCnn::from_bytes(&fitted.weights).unwrap();
    assert!(cnn.shape().heights);
    let text = String::from_utf8_lossy(&fitted.weights).into_owned();
    assert!(!text.contains("teacher"));
}
