//! Opening and reading a source, on a thread of its own because libav blocks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use novastream_features::media::{
    CancelToken, LiveSource, MediaError, MediaInfo, SourceOptions, Tempo, Window,
};

use super::memory::Marks;
use super::queue::{Span, Spanned, WindowQueue};
use crate::clock;

/// Something that gives windows one after another.
pub trait Source {
    /// Container and codecs.
    fn info(&self) -> &MediaInfo;
    /// Whether the end is known: a file or a finished playlist.
    fn known_end(&self) -> bool;
    /// The next window; `None` at a clean end. Blocks.
    ///
    /// # Errors
    /// The source stalled, broke or was cancelled.
    fn next_window(&mut self) -> Result<Option<Window>, MediaError>;
    /// Lets `tempo` decide how closely to look; a source without pictures may ignore it.
    fn set_tempo(&mut self, tempo: &Tempo) {
        let _ = tempo;
    }
}

impl Source for LiveSource {
    fn info(&self) -> &MediaInfo {
        self.info()
    }

    fn known_end(&self) -> bool {
        self.known_end()
    }

    fn next_window(&mut self) -> Result<Option<Window>, MediaError> {
        self.next_window()
    }

    fn set_tempo(&mut self, tempo: &Tempo) {
        self.set_tempo(tempo);
    }
}

/// Opens sources.
pub trait Opener: Send + Sync + 'static {
    /// Opens `url`. Blocks.
    ///
    /// # Errors
    /// The source cannot be opened in time, or holds no media.
    fn open(&self, url: &str, cancel: &CancelToken) -> Result<Box<dyn Source>, MediaError>;
}

/// Opens sources with libav.
#[derive(Debug, Clone)]
pub struct LibavOpener {
    /// How sources are read.
    pub options: SourceOptions,
    /// Decides, with the URL, which frames are looked at: a sender cannot foresee it.
    pub secret: Vec<u8>,
}

impl Opener for LibavOpener {
    fn open(&self, url: &str, cancel: &CancelToken) -> Result<Box<dyn Source>, MediaError> {
        let sampling = self
            .options
            .sampling
            .with_secret(&self.secret, url.as_bytes());
        let options = SourceOptions {
            sampling,
            ..self.options.clone()
        };
        LiveSource::open(url, &options, cancel).map(|source| Box::new(source) as Box<dyn Source>)
    }
}

/// A window and when its last packet came.
#[derive(Debug)]
pub struct Arrived {
    /// The window, in the source's time.
    pub window: Window,
    /// What it can be recognised by.
    pub marks: Marks,
    /// For measuring.
    pub at: Instant,
    /// For the stream's clock.
    pub unix_ms: i64,
}

impl Spanned for Arrived {
    fn span(&self) -> Span {
        Span {
            start_ms: self.window.start_ms,
            end_ms: self.window.end_ms,
        }
    }
}

/// What a reader has to tell besides windows.
#[derive(Debug)]
pub enum News {
    /// The source is open.
    Opened {
        /// Container and codecs.
        media: MediaInfo,
        /// Whether the end is known.
        known_end: bool,
    },
    /// The source came to a clean end.
    End {
        /// Whether that end was known.
        known_end: bool,
    },
    /// The source could not be opened, or broke.
    Failed(MediaError),
}

/// The queue between a reader and its session.
pub type Queue = WindowQueue<Arrived, News>;

/// A reader at work. Cancelled when dropped; its thread ends by itself soon after.
pub struct Reader {
    cancel: CancelToken,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Starts a thread that opens `url` and fills `queue` until the source ends or breaks. The last
/// thing it tells is [`News::End`] or [`News::Failed`]. `tempo` says how closely to look.
pub fn start(opener: Arc<dyn Opener>, url: String, queue: Arc<Queue>, tempo: Tempo) -> Reader {
    let cancel = CancelToken::new();
    let reader = Reader {
        cancel: cancel.clone(),
    };
    let failed = Arc::clone(&queue);
    let started = std::thread::Builder::new()
        .name("watch-reader".into())
        .spawn(move || {
            let mut last_word = LastWord {
                queue: &queue,
                word: None,
            };
            let end = read(opener.as_ref(), &url, &queue, &tempo, &cancel);
            last_word.word = Some(match end {
                Ok(known_end) => News::End { known_end },
                Err(error) => News::Failed(error),
            });
        });
    if let Err(error) = started {
        let message = format!("no thread for reading: {error}");
        failed.tell(News::Failed(MediaError::Internal { message }));
    }
    reader
}

/// Tells how the reading ended, also when it ended in a panic.
struct LastWord<'q> {
    queue: &'q Queue,
    word: Option<News>,
}

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        let broken = || {
            News::Failed(MediaError::Internal {
                message: "the reader panicked".into(),
            })
        };
        self.queue.tell(self.word.take().unwrap_or_else(broken));
    }
}

fn read(
    opener: &dyn Opener,
    url: &str,
    queue: &Queue,
    tempo: &Tempo,
    cancel: &CancelToken,
) -> Result<bool, MediaError> {
    let mut source = opener.open(url, cancel)?;
    source.set_tempo(tempo);
    let known_end = source.known_end();
    queue.tell(News::Opened {
        media: source.info().clone(),
        known_end,
    });
    let mut pace = Pace::default();
    while let Some(window) = source.next_window()? {
        let at = Instant::now();
        let until = (!known_end).then(|| at + pace.ahead(window.start_ms, at));
        let arrived = Arrived {
            marks: Marks::of(&window),
            window,
            at,
            unix_ms: clock::unix_ms(),
        };
        queue.push(arrived, until, || cancel.is_cancelled());
        if cancel.is_cancelled() {
            return Err(MediaError::Cancelled);
        }
    }
    Ok(source.known_end())
}

/// How far a live source runs ahead of the clock on the wall. A playlist gives its last segments
/// at once when it is opened; waiting for as long as it is ahead loses nothing.
#[derive(Debug, Default)]
struct Pace {
    base: Option<(i64, Instant)>,
}

impl Pace {
    fn ahead(&mut self, start_ms: i64, now: Instant) -> Duration {
        let (base_ms, base) = *self.base.get_or_insert((start_ms, now));
        let wall_ms = now.duration_since(base).as_millis() as i64;
        let ahead = start_ms.saturating_sub(base_ms).saturating_sub(wall_ms);
        // More than a minute is a jump of the source's clock, not a lead.
        if (0..60_000).contains(&ahead) {
            Duration::from_millis(ahead as u64)
        } else {
            self.base = Some((start_ms, now));
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_time_and_a_paced_source_has_none() {
        let mut pace = Pace::default();
        let t = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(pace.ahead(100_000, t), ms(0));
        assert_eq!(pace.ahead(102_000, t), ms(2000));
        assert_eq!(pace.ahead(104_000, t + ms(1000)), ms(3000));
        assert_eq!(pace.ahead(106_000, t + ms(9000)), ms(0));
        assert_eq!(pace.ahead(900_000, t + ms(9000)), ms(0));
        assert_eq!(pace.ahead(902_000, t + ms(9000)), ms(2000));
    }

    struct Panics;

    impl Opener for Panics {
        fn open(&self, _: &str, _: &CancelToken) -> Result<Box<dyn Source>, MediaError> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_as_a_failure() {
        use super::super::queue::Item;
        let queue = Arc::new(Queue::new(1));
        let _reader = start(
            Arc::new(Panics),
            "x".into(),
            Arc::clone(&queue),
            Tempo::default(),
        );
        let item = queue.pop().await;
        assert!(matches!(
            item,
            Item::Event(News::Failed(MediaError::Internal { .. }))
        ));
    }
}
