//! A session whose calls share batches: rows of many callers go through the engine together.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::batcher::{Batcher, Runner, Waiting};
use super::queue::Limits;
use super::served::Counted;
use super::shapes::Shapes;
use super::stats::{Snapshot, Stats};
use super::trace::{CallSpan, RowSpan};
use crate::backend::{BackendError, NamedTensor, Session, Tensor, TensorData};

/// Rows of one call that wait at the same time, so that one large call cannot fill the queue.
const WINDOW: usize = 64;

/// How a model is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// The manifest's name.
    pub model: &'a str,
    /// The manifest's version.
    pub version: &'a str,
    /// Calls of the engine at once.
    pub workers: usize,
    /// Bounds of the queue and of the batches.
    pub limits: Limits,
    /// The second axis of the inputs, where it is a length that differs between rows and is padded
    /// with zeros.
    pub padded: Option<Padded>,
}

/// Bounds of rows of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Padded {
    /// The longest row.
    pub longest: usize,
    /// One more than the largest integer.
    pub vocabulary: i64,
}

/// Batches of texts: at most 16 of them and 1,024 padded tokens, which is where a core's throughput
/// stops growing.
pub(crate) const TEXTS: Limits = Limits {
    waiting: 1_024,
    waiting_of_tenant: 768,
    batch_items: 16,
    batch_length: 1_024,
    bucket: 8,
};

/// Batches of texts where no padding is computed: chat lines of any length go together, and eight of
/// them are enough for a core's full throughput.
pub(crate) const PACKED_TEXTS: Limits = Limits {
    batch_items: 8,
    bucket: 64,
    ..TEXTS
};

/// Batches of pictures or windows of sound, all of one size. One fills a core for milliseconds, so a
/// larger batch gains nothing on a processor and only makes its first row wait for its last.
pub(crate) const WHOLES: Limits = Limits {
    waiting: 256,
    waiting_of_tenant: 192,
    batch_items: 2,
    batch_length: 2,
    bucket: 1,
};

/// Pictures one by one, for kernels that gain nothing from several: none is copied into a batch, and
/// none waits for another that came with it.
pub(crate) const SINGLES: Limits = Limits {
    batch_items: 1,
    batch_length: 1,
    ..WHOLES
};

/// One row of a call: a tensor an input, without the first axis.
struct Row {
    tensors: Vec<NamedTensor>,
    length: usize,
    span: RowSpan,
}

/// See the module.
pub(crate) struct Batched {
    batcher: Batcher<Row, Vec<NamedTensor>>,
    padded: Option<Padded>,
    backend: &'static str,
    shapes: Arc<Shapes>,
    model: String,
    version: String,
}

impl Batched {
    /// Puts a queue and `plan.workers` threads before `session`, whose inputs and outputs all have
    /// rows as their first axis.
    ///
    /// # Errors
    /// [`BackendError::Load`]: a thread could not be started.
    pub(crate) fn start(plan: Plan<'_>, session: Arc<dyn Session>) -> Result<Self, BackendError> {
        let backend = session.backend();
        let padded = plan.padded;
        let stats = Arc::new(Stats::new(plan.model, plan.version));
        let shapes = Arc::new(Shapes::default());
        let runner = Arc::new(Rows {
            session,
            padded: padded.is_some(),
            shapes: Arc::clone(&shapes),
        });
        let batcher = Batcher::start(
            stats,
            plan.model,
            plan.limits,
            plan.workers,
            runner,
            |row: &Row| row.length,
        )?;
        Ok(Self {
            batcher,
            padded,
            backend,
            shapes,
            model: plan.model.to_owned(),
            version: plan.version.to_owned(),
        })
    }

    /// Shapes of the last batches: rows, and their padded length.
    pub(crate) fn shapes(&self) -> Vec<(usize, usize)> {
        self.shapes.recent()
    }

    /// Whether anything waits.
    pub(crate) fn busy(&self) -> bool {
        self.batcher.waiting() > 0
    }

    /// The call's rows, each as long as it is.
    fn rows(&self, inputs: Vec<NamedTensor>) -> Result<Vec<Row>, BackendError> {
        let count = inputs.first().and_then(|i| i.tensor.shape.first()).copied();
        let count = count.ok_or_else(|| wrong("", "has no rows".to_owned()))?;
        let mut rows: Vec<Row> = (0..count)
            .map(|_| Row {
                tensors: Vec::with_capacity(inputs.len()),
                length: 1,
                span: RowSpan::none(),
            })
            .collect();
        for NamedTensor { name, tensor } in inputs {
            let [first, rest @ ..] = tensor.shape.as_slice() else {
                return Err(wrong(&name, "has no rows".to_owned()));
            };
            if *first != count {
                let message = format!("has {first} rows where the first input has {count}");
                return Err(wrong(&name, message));
            }
            if let Some(padded) = self.padded {
                padded.check(&name, rest, &tensor.data)?;
            }
            let parts = split(tensor.data, count);
            for (row, data) in rows.iter_mut().zip(parts) {
                let tensor = Tensor::new(rest.to_vec(), data)?;
                row.tensors.push(NamedTensor {
                    name: name.clone(),
                    tensor,
                });
            }
        }
        if let Some(padded) = self.padded {
            rows.iter_mut()
                .try_for_each(|row| row.trim(padded.longest))?;
        }
        Ok(rows)
    }
}

impl Padded {
    fn check(self, name: &str, row: &[usize], data: &TensorData) -> Result<(), BackendError> {
        if row.is_empty() {
            return Err(wrong(name, "has no length".to_owned()));
        }
        if let TensorData::I64(values) = data
            && let Some(odd) = values.iter().find(|v| !(0..self.vocabulary).contains(v))
        {
            let message = format!("holds {odd}; 0 to {} are known", self.vocabulary - 1);
            return Err(wrong(name, message));
        }
        Ok(())
    }
}

impl Row {
    /// Cuts the zeros at the end that all inputs share: they are padding, and the batch that the row
    /// joins may need less of it.
    ///
    /// # Errors
    /// What is left is longer than `longest`, or the inputs were of different lengths.
    fn trim(&mut self, longest: usize) -> Result<(), BackendError> {
        let lengths = self.tensors.windows(2);
        let mut uneven = lengths.filter(|w| w[0].tensor.shape[0] != w[1].tensor.shape[0]);
        if let Some([_, odd]) = uneven.next() {
            return Err(wrong(&odd.name, "is of another length".to_owned()));
        }
        let used = |tensor: &Tensor| {
            let width: usize = tensor.shape[1..].iter().product();
            let last = match &tensor.data {
                TensorData::F32(v) => v.iter().rposition(|x| *x != 0.0),
                TensorData::I64(v) => v.iter().rposition(|x| *x != 0),
                TensorData::U8(v) => v.iter().rposition(|x| *x != 0),
                TensorData::Bytes(v) => v.iter().rposition(|x| !x.is_empty()),
            };
            last.map_or(0, |at| at / width.max(1) + 1)
        };
        let length = self.tensors.iter().map(|t| used(&t.tensor)).max();
        self.length = length.unwrap_or(1).max(1);
        if self.length > longest {
            let name = self.tensors.first().map_or("", |t| t.name.as_str());
            let message = format!("is {} long; {longest} is the most", self.length);
            return Err(wrong(name, message));
        }
        for NamedTensor { tensor, .. } in &mut self.tensors {
            resize(tensor, self.length);
        }
        Ok(())
    }
}

impl Session for Batched {
    fn run(&self, inputs: Vec<NamedTensor>) -> Result<Vec<NamedTensor>, BackendError> {
        let mut answers = Vec::new();
        let mut waiting: VecDeque<Waiting<_, _>> = VecDeque::new();
        let rows = self.rows(inputs)?;
        let span = CallSpan::new(&self.model, &self.version, rows.len());
        // An error on the way drops what waits, and with it the work.
        for mut row in rows {
            if waiting.len() == WINDOW
                && let Some(first) = waiting.pop_front()
            {
                answers.push(first.wait()?);
            }
            row.span = span.row();
            waiting.push_back(self.batcher.submit(row.length, row)?);
        }
        for one in waiting {
            answers.push(one.wait()?);
        }
        join(answers)
    }

    fn backend(&self) -> &'static str {
        self.backend
    }
}

impl Counted for Batched {
    fn counts(&self) -> Snapshot {
        self.batcher.stats()
    }
}

/// Runs rows of many calls as one.
struct Rows {
    session: Arc<dyn Session>,
    padded: bool,
    shapes: Arc<Shapes>,
}

impl Runner<Row, Vec<NamedTensor>> for Rows {
    fn run(&self, rows: &mut [Row]) -> Result<Vec<Vec<NamedTensor>>, BackendError> {
        let length = rows.iter().map(|r| r.length).max().unwrap_or(0);
        self.shapes.saw(rows.len(), length);
        let _spans: Vec<_> = rows.iter().map(|r| r.span.run(rows.len())).collect();
        let mut inputs: Vec<NamedTensor> = Vec::new();
        if let [row] = &mut *rows {
            // A picture is large enough to be moved instead of copied.
            inputs = std::mem::take(&mut row.tensors);
            for input in &mut inputs {
                input.tensor.shape.insert(0, 1);
            }
        }
        // Several are copied: each may have to be run once more, alone.
        for row in rows.iter() {
            for (at, NamedTensor { name, tensor }) in row.tensors.iter().enumerate() {
                let mut tensor = Cow::Borrowed(tensor);
                if self.padded {
                    resize(tensor.to_mut(), length);
                }
                match inputs.get_mut(at) {
                    None => {
                        let mut tensor = tensor.into_owned();
                        tensor.shape.insert(0, 1);
                        inputs.push(NamedTensor {
                            name: name.clone(),
                            tensor,
                        });
                    }
                    Some(all) => append(all, name, &tensor)?,
                }
            }
        }
        let outputs = self.session.run(inputs)?;
        let mut answers: Vec<Vec<NamedTensor>> =
            vec![Vec::with_capacity(outputs.len()); rows.len()];
        for NamedTensor { name, tensor } in outputs {
            let [first, rest @ ..] = tensor.shape.as_slice() else {
                return Err(wrong(&name, "has no rows".to_owned()));
            };
            if *first != rows.len() {
                return Err(wrong(&name, format!("has {first} rows for {}", rows.len())));
            }
            for (answer, data) in answers.iter_mut().zip(split(tensor.data, rows.len())) {
                let tensor = Tensor::new(rest.to_vec(), data)?;
                answer.push(NamedTensor {
                    name: name.clone(),
                    tensor,
                });
            }
        }
        Ok(answers)
    }
}

/// Rows under one another, by the outputs' names.
fn join(answers: Vec<Vec<NamedTensor>>) -> Result<Vec<NamedTensor>, BackendError> {
    let mut out: Vec<NamedTensor> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers {
        for NamedTensor { name, mut tensor } in answer {
            if let Some(at) = places.get(&name) {
                append(&mut out[*at], &name, &tensor)?;
            } else {
                tensor.shape.insert(0, 1);
                places.insert(name.clone(), out.len());
                out.push(NamedTensor { name, tensor });
            }
        }
    }
    Ok(out)
}

/// Adds one row, without its first axis, to `all`.
fn append(all: &mut NamedTensor, name: &str, row: &Tensor) -> Result<(), BackendError> {
    if all.name != name || all.tensor.shape[1..] != row.shape {
        let message = format!(
            "has the shape {:?} beside {:?}",
            row.shape, all.tensor.shape
        );
        return Err(wrong(name, message));
    }
    match (&mut all.tensor.data, &row.data) {
        (TensorData::F32(all), TensorData::F32(row)) => all.extend_from_slice(row),
        (TensorData::I64(all), TensorData::I64(row)) => all.extend_from_slice(row),
        (TensorData::U8(all), TensorData::U8(row)) => all.extend_from_slice(row),
        (TensorData::Bytes(all), TensorData::Bytes(row)) => all.extend_from_slice(row),
        _ => return Err(wrong(name, "differs in type between rows".to_owned())),
    }
    all.tensor.shape[0] += 1;
    Ok(())
}

/// Makes the first axis `length` long, cutting at the end or padding with zeros.
fn resize(tensor: &mut Tensor, length: usize) {
    let width: usize = tensor.shape[1..].iter().product();
    tensor.shape[0] = length;
    match &mut tensor.data {
        TensorData::F32(v) => v.resize(length * width, 0.0),
        TensorData::I64(v) => v.resize(length * width, 0),
        TensorData::U8(v) => v.resize(length * width, 0),
        TensorData::Bytes(v) => v.resize(length * width, Vec::new()),
    }
}

/// Equal parts, in order.
fn split(data: TensorData, parts: usize) -> Vec<TensorData> {
    fn chunks<T: Clone>(values: Vec<T>, parts: usize) -> Vec<Vec<T>> {
        if parts == 1 {
            return vec![values];
        }
        let width = values.len() / parts.max(1);
        (0..parts)
            .map(|at| values[at * width..(at + 1) * width].to_vec())
            .collect()
    }
    match data {
        TensorData::F32(v) => chunks(v, parts).into_iter().map(TensorData::F32).collect(),
        TensorData::I64(v) => chunks(v, parts).into_iter().map(TensorData::I64).collect(),
        TensorData::U8(v) => chunks(v, parts).into_iter().map(TensorData::U8).collect(),
        TensorData::Bytes(v) => chunks(v, parts)
            .into_iter()
            .map(TensorData::Bytes)
            .collect(),
    }
}

fn wrong(name: &str, message: String) -> BackendError {
    BackendError::Tensor {
        name: name.to_owned(),
        message,
    }
}

#[cfg(test)]
#[path = "batched_tests.rs"]
mod tests;
