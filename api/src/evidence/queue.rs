//! What waits to be stored: bounded by number and by bytes, and nobody waits to put something in.

use std::sync::Arc;
use std::time::Duration;

use novastream_inference::evidence::{Clip, ClipContent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::encode::Content;

/// Bytes are counted in steps of this size, because a semaphore has 32-bit permits.
const STEP: usize = 1024;

/// A clip on its way to the store.
#[derive(Debug)]
pub struct Waiting {
    /// The clip's name.
    pub id: String,
    /// Its stream.
    pub stream_id: String,
    /// What was judged, until it is taken to be encoded.
    pub content: Option<Content>,
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The way in. Clones share it.
#[derive(Clone)]
pub struct Queue {
    places: Arc<Semaphore>,
    size: u32,
    bytes: Arc<Semaphore>,
    // No bound of its own: what holds no permits never gets in.
    sender: mpsc::UnboundedSender<Waiting>,
}

impl Queue {
    /// A queue for so many clips and bytes, those being stored among them, and its way out.
    pub fn new(clips: usize, bytes: usize) -> (Self, mpsc::UnboundedReceiver<Waiting>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let size = u32::try_from(clips).unwrap_or(u32::MAX);
        let steps = u32::try_from(bytes / STEP).unwrap_or(u32::MAX);
        let queue = Self {
            places: Arc::new(Semaphore::new(size as usize)),
            size,
            bytes: Arc::new(Semaphore::new(steps as usize)),
            sender,
        };
        (queue, receiver)
    }

    /// Copies a clip where there is room for it; answers whether there was.
    pub fn offer(&self, clip: Clip<'_>) -> bool {
        let bytes = match clip.content {
            ClipContent::Picture(image) => image.data.len(),
            ClipContent::Sound(samples) => size_of_val(samples),
        };
        let Ok(steps) = u32::try_from(bytes.div_ceil(STEP)) else {
            return false;
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return false;
        };
        let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(steps) else {
            return false;
        };
        let waiting = Waiting {
            id: clip.id.to_owned(),
            stream_id: clip.stream_id.to_owned(),
            content: Some(match clip.content {
                ClipContent::Picture(image) => Content::Picture(image.clone()),
                ClipContent::Sound(samples) => Content::Sound(samples.to_vec()),
            }),
            _place: place,
            _bytes: bytes,
        };
        self.sender.send(waiting).is_ok()
    }

    /// Waits until all that was taken is stored or given up, for a while at most; answers whether
    /// it is.
    pub async fn flush(&self, limit: Duration) -> bool {
        let all = self.places.acquire_many(self.size);
        tokio::time::timeout(limit, all).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(queue: &Queue, samples: usize) -> bool {
        let samples = vec![0.0_f32; samples];
        queue.offer(Clip {
            id: "x",
            stream_id: "s",
            content: ClipContent::Sound(&samples),
        })
    }

    #[test]
    fn number_and_bytes_are_bounded_and_come_back() {
        let (queue, mut out) = Queue::new(3, 10 * STEP);
        // Four steps each.
        assert!(offer(&queue, STEP) && offer(&queue, STEP));
        assert!(!offer(&queue, STEP), "eight of ten steps are taken");
        assert!(offer(&queue, 10));
        assert!(!offer(&queue, 0), "three of three places are taken");
        drop(out.try_recv().unwrap());
        assert!(offer(&queue, STEP));
    }

    #[test]
    fn with_nobody_at_the_other_end_nothing_is_taken() {
        let (queue, out) = Queue::new(3, 10 * STEP);
        drop(out);
        assert!(!offer(&queue, 10));
    }

    #[tokio::test]
    async fn a_flush_waits_for_what_was_taken() {
        let (queue, mut out) = Queue::new(2, 10 * STEP);
        let soon = Duration::from_millis(20);
        assert!(queue.flush(soon).await);
        assert!(offer(&queue, 10));
        assert!(!queue.flush(soon).await);
        drop(out.recv().await.unwrap());
        assert!(queue.flush(soon).await);
    }
}
