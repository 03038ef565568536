//! Scripted sources, a judge of no opinion and a sink that remembers, for the tests of sessions.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use novastream_features::media::{CancelToken, Frame, MediaError, MediaInfo, Window};
use novastream_features::picture::RgbImage;
use novastream_inference::{Action, Kind, ModelStatus, Policy, StreamHistory, TextItem, Verdict};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::queue::Span;
use super::{Opener, Sink, Source, Step, WatchState, unjudged};
use crate::error::ApiError;
use crate::judge::{Context, Judge};
use crate::store::{Committed, StoreResult};

/// What a scripted source does next.
#[derive(Clone)]
pub enum Act {
    /// Windows of two seconds, from the first start to before the second, step 2000 ms.
    Windows(i64, i64),
    /// The same with other content.
    Others(i64, i64),
    /// Windows of 20 ms, one every 20 ms.
    Paced(i64, i64),
    Wait(u64),
    Fail(MediaError),
    /// Blocks until the session has enough of it.
    Hang,
}

#[derive(Clone)]
pub struct Attempt {
    pub known_end: bool,
    pub acts: Vec<Act>,
}

pub type Opening = Result<Attempt, MediaError>;

#[allow(clippy::unnecessary_wraps, reason = "a script is a list of results")]
pub fn live(acts: &[Act]) -> Opening {
    Ok(Attempt {
        known_end: false,
        acts: acts.to_vec(),
    })
}

#[allow(clippy::unnecessary_wraps, reason = "a script is a list of results")]
pub fn file(acts: &[Act]) -> Opening {
    Ok(Attempt {
        known_end: true,
        acts: acts.to_vec(),
    })
}

pub fn refused() -> MediaError {
    MediaError::Source {
        message: "connection refused".into(),
    }
}

/// Plays one attempt an opening; afterwards the source is gone.
pub struct Script(pub StdMutex<VecDeque<Opening>>);

impl Opener for Script {
    fn open(&self, _: &str, cancel: &CancelToken) -> Result<Box<dyn Source>, MediaError> {
        let attempt = self
            .0
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or_else(|| Err(refused()))?;
        let info = MediaInfo {
            container: "script".into(),
            video: None,
            audio: None,
        };
        Ok(Box::new(Playing {
            acts: attempt.acts.into(),
            known_end: attempt.known_end,
            info,
            cancel: cancel.clone(),
        }))
    }
}

pub struct Playing {
    acts: VecDeque<Act>,
    known_end: bool,
    info: MediaInfo,
    cancel: CancelToken,
}

impl Source for Playing {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    fn known_end(&self) -> bool {
        self.known_end
    }

    fn next_window(&mut self) -> Result<Option<Window>, MediaError> {
        loop {
            match self.acts.front_mut() {
                None => return Ok(None),
                Some(Act::Windows(from, to)) if *from < *to => {
                    *from += 2000;
                    return Ok(Some(window(*from - 2000, *from, 0)));
                }
                Some(Act::Others(from, to)) if *from < *to => {
                    *from += 2000;
                    return Ok(Some(window(*from - 2000, *from, 1)));
                }
                Some(Act::Paced(from, to)) if *from < *to => {
                    std::thread::sleep(Duration::from_millis(20));
                    *from += 20;
                    return Ok(Some(window(*from - 20, *from, 0)));
                }
                Some(Act::Fail(error)) => return Err(error.clone()),
                Some(Act::Wait(ms)) => std::thread::sleep(Duration::from_millis(*ms)),
                Some(Act::Hang) => {
                    while !self.cancel.is_cancelled() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    return Err(MediaError::Cancelled);
                }
                Some(Act::Windows(..) | Act::Others(..) | Act::Paced(..)) => {}
            }
            self.acts.pop_front();
        }
    }
}

/// A window whose picture depends on its time, and on `take` where the content is another one.
pub fn window(start_ms: i64, end_ms: i64, take: u8) -> Window {
    let shade = (start_ms / 20 % 251) as u8;
    let image = RgbImage::new(1, 1, vec![shade, take, 0]).unwrap();
    Window {
        start_ms,
        end_ms,
        frames: vec![Frame {
            image,
            timestamp_ms: start_ms,
            keyframe: true,
        }],
        audio: None,
        notices: Vec::new(),
    }
}

/// Allows every window, after a while.
pub struct Slow(pub Duration);

impl Judge for Slow {
    fn models(&self) -> Vec<ModelStatus> {
        Vec::new()
    }

    fn text(&self, _: &[TextItem], _: &Policy) -> Vec<Verdict> {
        Vec::new()
    }

    fn image(&self, _: &[u8], _: Option<&str>, _: &Context) -> Result<Verdict, ApiError> {
        Err(ApiError::internal("no pictures here"))
    }

    fn segment(
        &self,
        _: Arc<[u8]>,
        _: &Context,
        _: &mut StreamHistory,
        _: &CancelToken,
    ) -> Result<Verdict, ApiError> {
        Err(ApiError::internal("no segments here"))
    }

    fn window(
        &self,
        window: Window,
        _: &MediaInfo,
        context: &Context,
        _: &mut StreamHistory,
    ) -> Verdict {
        std::thread::sleep(self.0);
        let span = Span {
            start_ms: window.start_ms,
            end_ms: window.end_ms,
        };
        let mut verdict = unjudged::window(context, &context.policy, span, "x", "x");
        (verdict.action, verdict.review) = (Action::Allow, false);
        verdict.degraded.clear();
        verdict
    }
}

#[derive(Default)]
pub struct Kept {
    pub steps: StdMutex<Vec<Step>>,
    history: Arc<Mutex<StreamHistory>>,
}

impl Sink for Kept {
    fn history<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, StoreResult<OwnedMutexGuard<StreamHistory>>> {
        Arc::clone(&self.history).lock_owned().map(Ok).boxed()
    }

    fn keep(&self, step: Step) -> BoxFuture<'_, StoreResult<Option<Committed>>> {
        let mut steps = self.steps.lock().unwrap();
        let seq = steps.len() as i64;
        steps.push(step);
        async move {
            Ok(Some(Committed {
                seq,
                latency_ms: Some(1.0),
            }))
        }
        .boxed()
    }
}

impl Kept {
    /// Kind, start and end of every verdict, seconds.
    pub fn verdicts(&self) -> Vec<(Kind, i64, i64)> {
        let steps = self.steps.lock().unwrap();
        let verdicts = steps
            .iter()
            .filter_map(|s| s.verdict.as_ref().map(|v| &v.verdict));
        verdicts
            .map(|v| (v.kind, v.start_ms.unwrap() / 1000, v.end_ms.unwrap() / 1000))
            .collect()
    }

    pub fn reasons(&self) -> Vec<String> {
        let steps = self.steps.lock().unwrap();
        let verdicts = steps
            .iter()
            .filter_map(|s| s.verdict.as_ref().map(|v| &v.verdict));
        verdicts
            .flat_map(|v| v.degraded.iter().map(|d| d.reason.clone()))
            .collect()
    }

    pub fn states(&self) -> Vec<WatchState> {
        let steps = self.steps.lock().unwrap();
        let mut states: Vec<WatchState> = steps.iter().map(|s| s.record.state).collect();
        states.dedup();
        states
    }
}
