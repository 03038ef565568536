//! From the queue to the store.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::{Notify, mpsc};

use super::queue::Waiting;
use super::{ClipError, PREVIEW, count, encode, original, place, valid};
use crate::store::{NewClip, Store, StoreError, Write};

/// Clips that are encoded and stored at once.
const TOGETHER: usize = 2;

/// Takes clips out of the queue. Holds no way into it, so that it ends with the last one.
pub struct Filler {
    /// Where the bytes go.
    pub objects: Arc<dyn ObjectStore>,
    /// Where they are noted.
    pub index: Arc<dyn Store>,
    /// Told when much has come.
    pub early: Arc<Notify>,
    /// How many bytes that is.
    pub enough: u64,
}

impl Filler {
    /// Encodes and stores what comes, until nobody can send any more.
    pub async fn fill(self, mut waiting: mpsc::UnboundedReceiver<Waiting>) {
        let store = |clip: Waiting| self.try_put(clip);
        let mut stored = poll_fn(move |context| waiting.poll_recv(context))
            .map(store)
            .buffer_unordered(TOGETHER);
        let mut since = 0;
        while let Some(bytes) = stored.next().await {
            since += bytes;
            if since >= self.enough {
                since = 0;
                self.early.notify_one();
            }
        }
    }

    /// Bytes that were stored. The clip's place in the queue is free afterwards.
    async fn try_put(&self, mut clip: Waiting) -> u64 {
        match self.put(&mut clip).await {
            Ok(bytes) => {
                count("stored");
                bytes
            }
            Err(error) => {
                count("failed");
                tracing::warn!(clip = %clip.id, %error, "an evidence clip was not stored");
                0
            }
        }
    }

    async fn put(&self, clip: &mut Waiting) -> Result<u64, ClipError> {
        if !valid(&clip.id) {
            return Err(ClipError::Encode("that is no clip's name".to_owned()));
        }
        let content = clip.content.take();
        let encoded = tokio::task::spawn_blocking(move || content.as_ref().map(encode::files));
        let files = match encoded.await {
            Ok(Some(Ok(files))) => files,
            Ok(Some(Err(error))) => return Err(ClipError::Encode(error.to_string())),
            Ok(None) => return Err(ClipError::Encode("nothing is left of it".to_owned())),
            Err(panicked) => return Err(ClipError::Encode(panicked.to_string())),
        };
        let bytes = files.preview.len() + files.original.len();
        let note = NewClip {
            id: clip.id.clone(),
            stream_id: clip.stream_id.clone(),
            sound: files.sound,
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        };
        // Noted first: what is noted and not there is forgotten in time, what is there and not
        // noted would stay.
        let written = self.index.write(Write {
            clip: Some(note),
            ..Write::default()
        });
        let Some(stored_at) = written.await?.clip_stored_at else {
            return Err(ClipError::Index(StoreError::Closed));
        };
        // The original last: where only one of the two comes, it is the harmless one.
        let parts = [
            (PREVIEW, files.preview),
            (original(files.sound), files.original),
        ];
        for (suffix, part) in parts {
            let path = place(&clip.id, stored_at, suffix);
            self.objects.put(&path, part.into()).await?;
        }
        Ok(bytes as u64)
    }
}
