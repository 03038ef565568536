use std::fmt::Write as _;
use std::path::PathBuf;

use novastream_models::recommender::{
    BaseModels, Blend, BlendPart, Popularity, RecommenderConfig, ScorerKind,
};

use super::report::Beside;
use super::verdict::Decision;
use super::*;
use crate::report::Report;

fn options(protocol: Protocol) -> RecommenderOptions {
    RecommenderOptions {
        model: PathBuf::new(),
        events: PathBuf::new(),
        availability: None,
        columns: novastream_training::recommender::ColumnArgs::default(),
        protocol,
        from: None,
        to: None,
        test: None,
        negatives: None,
        beside: Vec::new(),
        compare: None,
        html: None,
        no_ablation: false,
        json: false,
    }
}

fn bundle(trained_until: i64) -> Arc<RecommenderBundle> {
    let config = RecommenderConfig {
        blend: Blend {
            parts: vec![BlendPart {
                kind: ScorerKind::Popularity,
                factor: 1.0,
            }],
        },
        trained_until,
        ..RecommenderConfig::default()
    };
    let base = BaseModels {
        popularity: Some(Popularity {
            shares: vec![0.5, 0.3, 0.2],
        }),
        ..BaseModels::default()
    };
    let items = ["a", "b", "c"].map(str::to_owned).to_vec();
    Arc::new(RecommenderBundle::new(config, items, base))
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn events(dir: &tempfile::TempDir) -> PathBuf {
    let mut text = String::from("user,item,time\n");
    for step in 0..40 {
        let item = ["a", "b", "c"][step % 3];
        writeln!(text, "u{},{item},{step}", step % 4).unwrap();
    }
    file(dir, "events.csv", &text)
}

#[test]
fn recommender_live_judges_the_window_and_counts_what_was_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(Protocol::Live);
    options.events = events(&dir);
    let mut live = String::from("time,item\n");
    for step in 30..39 {
        write!(live, "{step},a\n{step},b\n{step},c\n").unwrap();
    }
    options.availability = Some(file(&dir, "live.csv", &live));
    let outcome = judge(&options, &bundle(30), false).unwrap();
    let hits = outcome.hits.unwrap();
    assert_eq!((hits.n, outcome.skipped, outcome.from), (9, 1, Some(30)));
    // Popularity puts a first, and a third of the targets is a.
    assert!((hits.hr1 - 1.0 / 3.0).abs() < 1e-9 && (hits.hr10 - 1.0).abs() < 1e-9);
    let random = outcome.baselines["random"].hits.unwrap();
    assert!(random.n == 9 && random.hr10 > 0.99 && random.ndcg10 < 1.0);
    options.from = Some(20);
    let error = judge(&options, &bundle(30), false).unwrap_err();
    assert_eq!(error.code(), "usage");
}

#[test]
fn recommender_catalogue_protocols_leave_out_what_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(Protocol::LeaveOut);
    options.events = file(&dir, "train.csv", "user,item\nu,a\nv,b\nw,c\n");
    options.test = Some(file(&dir, "test.csv", "user,item\nu,c\nv,a\nnobody,a\n"));
    options.negatives = Some(file(&dir, "negatives.csv", "user,n0\nu,b\nv,c\n"));
    let outcome = judge(&options, &bundle(0), false).unwrap();
    let hits = outcome.hits.unwrap();
    // u: b .3 before c .2; v: a first. The third row's user is unknown.
    assert_eq!((hits.n, outcome.skipped), (2, 1));
    assert!((hits.hr1 - 0.5).abs() < 1e-9);
    assert!((outcome.sampled.unwrap().hr1 - 0.5).abs() < 1e-9);

    options.protocol = Protocol::Ranking;
    options.negatives = None;
    let outcome = judge(&options, &bundle(0), false).unwrap();
    let lists = outcome.lists.unwrap();
    assert!((lists.map - 0.75).abs() < 1e-9 && (lists.recall10 - 1.0).abs() < 1e-9);
    assert!((lists.precision10 - 0.1).abs() < 1e-9);
    let page = dir.path().join("page.html");
    let report = RecommenderReport::new(&options, "m@1".into(), outcome, None);
    html::write(&page, &report).unwrap();
    assert!(std::fs::read_to_string(page).unwrap().contains("<table>"));
    assert!(report.text().contains("popularity"));
}

#[test]
fn recommender_options_that_contradict_are_refused() {
    assert!(options(Protocol::Ranking).validate().is_err());
    assert!(options(Protocol::Live).validate().is_ok());
    let mut odd = options(Protocol::Live);
    odd.negatives = Some(PathBuf::from("n"));
    assert!(odd.validate().is_err());
}

#[test]
fn recommender_rule_promotes_only_what_is_surely_better() {
    let outcome = |good: bool, new: f64| {
        let users = (0..50).map(|user| {
            let hits = [good || user % 2 == 0];
            (user, figures::ListFigures::of(&hits, 1))
        });
        let beside = figures::HitFigures {
            hr10: new,
            ..figures::HitFigures::default()
        };
        Outcome {
            users: users.collect(),
            new: Some(beside),
            ..Outcome::default()
        }
    };
    let decide = |ours: &Outcome, theirs: &Outcome| {
        verdict::decide(ours, "old@1".to_owned(), theirs).decision
    };
    let (better, worse) = (outcome(true, 0.4), outcome(false, 0.4));
    assert_eq!(decide(&better, &worse), Decision::Promote);
    assert_eq!(decide(&worse, &better), Decision::Keep);
    assert_eq!(decide(&better, &better), Decision::Keep);
    assert_eq!(decide(&outcome(true, 0.3), &worse), Decision::Keep);
    assert_eq!(decide(&better, &Outcome::default()), Decision::Keep);
    assert_eq!(Beside::default().hits, None);
}
