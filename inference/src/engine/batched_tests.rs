use std::sync::Mutex;

use super::*;

/// Sums each row of `ids`, and remembers the shapes that it saw.
struct Sums(Mutex<Vec<Vec<usize>>>);

impl Session for Sums {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        let tensor = &inputs[0].tensor;
        self.0.lock().unwrap().push(tensor.shape.clone());
        let TensorData::I64(values) = &tensor.data else {
            panic!("integers expected");
        };
        assert!(!values.contains(&99_999), "on purpose");
        let sums = values.chunks(tensor.shape[1].max(1));
        let sums: Vec<f32> = sums.map(|row| row.iter().sum::<i64>() as f32).collect();
        Ok(vec![NamedTensor::f32("sums", vec![sums.len(), 1], sums)?])
    }

    fn backend(&self) -> &'static str {
        "sums"
    }
}

fn batched(sums: Arc<Sums>) -> Batched {
    let plan = Plan {
        model: "sums",
        version: "1",
        workers: 2,
        limits: TEXTS,
        padded: Some(Padded {
            longest: 100,
            vocabulary: 1 << 20,
        }),
    };
    Batched::start(plan, sums).unwrap()
}

fn call(session: &dyn Session, rows: usize, values: Vec<i64>) -> Result<Vec<f32>, BackendError> {
    let shape = vec![rows, values.len() / rows];
    let input = NamedTensor {
        name: "ids".into(),
        tensor: Tensor::new(shape, TensorData::I64(values))?,
    };
    let outputs = session.run(vec![input])?;
    assert_eq!(outputs[0].tensor.shape, [rows, 1]);
    match &outputs[0].tensor.data {
        TensorData::F32(values) => Ok(values.clone()),
        _ => panic!("floats expected"),
    }
}

#[test]
fn callers_padding_is_cut_before_rows_are_sorted_by_length() {
    let sums = Arc::new(Sums(Mutex::default()));
    let session = batched(Arc::clone(&sums));
    let mut values = vec![0; 3 * 100];
    values[0] = 7;
    values[100] = 8;
    values[200..300].fill(1);
    assert_eq!(call(&session, 3, values).unwrap(), [7.0, 8.0, 100.0]);
    let shapes = sums.0.lock().unwrap().clone();
    assert!(shapes.iter().any(|s| s[1] == 1), "{shapes:?}");
    assert!(shapes.contains(&vec![1, 100]), "{shapes:?}");
    assert_eq!(session.counts().answered, 3);
}

#[test]
fn concurrent_calls_keep_their_rows_and_a_panic_stays_with_its_own() {
    let session = batched(Arc::new(Sums(Mutex::default())));
    std::thread::scope(|scope| {
        for caller in 1..=8i64 {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..50 {
                    if caller == 8 {
                        let error = call(session, 1, vec![99_999]).unwrap_err();
                        assert_eq!(error.code(), "model_panicked");
                    } else {
                        let answer = call(session, 2, vec![caller, 0, caller, caller]);
                        let one = caller as f32;
                        assert_eq!(answer.unwrap(), [one, 2.0 * one]);
                    }
                }
            });
        }
    });
    assert_eq!(session.counts().failed, 50);
}

#[test]
fn a_call_of_more_rows_than_the_queue_has_places_is_still_served() {
    let session = batched(Arc::new(Sums(Mutex::default())));
    let rows = 3 * TEXTS.waiting;
    let values: Vec<i64> = (1..=rows as i64).collect();
    let wanted: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    assert_eq!(call(&session, rows, values).unwrap(), wanted);
}

#[test]
fn inputs_without_rows_are_refused() {
    let session = batched(Arc::new(Sums(Mutex::default())));
    assert_eq!(session.run(vec![]).unwrap_err().code(), "model_tensor");
    let flat = |name: &str, shape| NamedTensor {
        name: name.to_owned(),
        tensor: Tensor::new(shape, TensorData::I64(vec![1, 2])).unwrap(),
    };
    let scalar = NamedTensor {
        name: "ids".into(),
        tensor: Tensor::new(vec![], TensorData::I64(vec![1])).unwrap(),
    };
    assert!(session.run(vec![scalar]).is_err());
    assert!(session.run(vec![flat("ids", vec![2])]).is_err());
    let uneven = vec![flat("ids", vec![1, 2]), flat("mask", vec![2, 1])];
    assert!(session.run(uneven).is_err());
    assert!(call(&session, 1, vec![-1]).is_err());
    assert!(call(&session, 1, vec![1 << 20]).is_err());
    assert!(call(&session, 1, vec![1; 101]).is_err());
    let mut padded = vec![0; 300];
    padded[99] = 1;
    assert_eq!(call(&session, 1, padded).unwrap(), [1.0]);
}
