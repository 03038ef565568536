//! Hateful, offensive or neither: macro-F1 on files that label both, as Davidson et al. (2017) do.

use novastream_datasets::chat::ChatRow;
use serde::Serialize;

/// Fewest rows of each class.
const MIN_OF_EACH: usize = 20;

/// Figures of the three classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThreeClass {
    /// Rows that have both labels.
    pub n: usize,
    /// Mean of the three F1.
    pub macro_f1: f64,
    /// F1 of `hate`.
    pub hateful: f64,
    /// F1 of toxic without hate.
    pub offensive: f64,
    /// F1 of the rest.
    pub neither: f64,
}

/// A row is hateful where its `hate` score reaches the threshold, else offensive where its
/// `toxicity` does. `None` where a class has too few rows.
pub fn three_class(rows: &[ChatRow], scores: &[(f32, f32)], threshold: f32) -> Option<ThreeClass> {
    let class = |toxic: bool, hateful: bool| match (toxic, hateful) {
        (_, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
    };
    let mut confusion = [[0_usize; 3]; 3];
    for (row, (toxicity, hate)) in rows.iter().zip(scores) {
        let (Some(toxic), Some(hateful)) = (row.label("toxicity"), row.label("hate")) else {
            continue;
        };
        let given = class(*toxicity >= threshold, *hate >= threshold);
        confusion[class(toxic, hateful)][given] += 1;
    }
    if confusion
        .iter()
        .any(|row| row.iter().sum::<usize>() < MIN_OF_EACH)
    {
        return None;
    }
    let f1 = |class: usize| {
        let right = confusion[class][class] as f64;
        let truly: usize = confusion[class].iter().sum();
        let called: usize = confusion.iter().map(|row| row[class]).sum();
        2.0 * right / (truly + called) as f64
    };
    let [hateful, offensive, neither] = [f1(0), f1(1), f1(2)];
    Some(ThreeClass {
        n: confusion.iter().flatten().sum(),
        macro_f1: (hateful + offensive + neither) / 3.0,
        hateful,
        offensive,
        neither,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_count_alike() {
        let mut rows = Vec::new();
        let mut scores = Vec::new();
        for i in 0..90 {
            let mut labels = [None; novastream_datasets::chat::CHAT_HEADS.len()];
            labels[0] = Some(i % 3 != 2);
            labels[1] = Some(i % 3 == 0);
            rows.push(ChatRow {
                text: String::new(),
                source: "test".to_owned(),
                weak: false,
                labels,
            });
            // Hate is never seen; it is taken for offence.
            scores.push((if i % 3 == 2 { 0.1 } else { 0.9 }, 0.1));
        }
        let figures = three_class(&rows, &scores, 0.5).unwrap();
        assert_eq!(
            (figures.hateful, figures.neither, figures.n),
            (0.0, 1.0, 90)
        );
        assert!((figures.offensive - 2.0 / 3.0).abs() < 1e-9);
        assert!((figures.macro_f1 - 5.0 / 9.0).abs() < 1e-9);
        rows.truncate(50);
        assert_eq!(three_class(&rows, &scores, 0.5), None);
    }
}
