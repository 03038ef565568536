//! Wakes the followers of a stream when something new was committed for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

type Map = HashMap<String, watch::Sender<u64>>;

/// One counter for each stream that somebody follows. Holds nothing for the others.
#[derive(Debug, Clone, Default)]
pub struct Topics {
    map: Arc<Mutex<Map>>,
}

impl Topics {
    /// Follows a stream.
    pub fn subscribe(&self, stream_id: &str) -> Subscription {
        let receiver = self.with(|map| {
            if let Some(sender) = map.get(stream_id) {
                return sender.subscribe();
            }
            let (sender, receiver) = watch::channel(0);
            map.insert(stream_id.to_owned(), sender);
            receiver
        });
        Subscription {
            stream_id: stream_id.to_owned(),
            receiver: Some(receiver),
            topics: self.clone(),
        }
    }

    /// Wakes the followers of `stream_id`.
    pub fn wake(&self, stream_id: &str) {
        self.with(|map| {
            if let Some(sender) = map.get(stream_id) {
                sender.send_modify(|n| *n += 1);
            }
        });
    }

    /// Wakes everybody.
    pub fn wake_all(&self) {
        self.with(|map| {
            for sender in map.values() {
                sender.send_modify(|n| *n += 1);
            }
        });
    }

    fn with<T>(&self, f: impl FnOnce(&mut Map) -> T) -> T {
        // A panic in here leaves the map whole: every change is a single call.
        f(&mut self.map.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A follower. Forgets the stream when the last follower is dropped.
#[derive(Debug)]
pub struct Subscription {
    stream_id: String,
    receiver: Option<watch::Receiver<u64>>,
    topics: Topics,
}

impl Subscription {
    /// Waits until something was committed since the last call (or since the subscription).
    pub async fn changed(&mut self) {
        if let Some(receiver) = &mut self.receiver
            && receiver.changed().await.is_ok()
        {
            return;
        }
        // The sender lives as long as a receiver does, so this is never reached; waiting is the
        // answer that cannot spin.
        std::future::pending::<()>().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver = None;
        self.topics.with(|map| {
            if map
                .get(&self.stream_id)
                .is_some_and(|s| s.receiver_count() == 0)
            {
                map.remove(&self.stream_id);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_the_stream_that_changed_wakes_its_followers() {
        let topics = Topics::default();
        let mut a = topics.subscribe("a");
        let mut b = topics.subscribe("b");
        topics.wake("a");
        topics.wake("nobody");
        a.changed().await;
        assert!(
            tokio::time::timeout(Duration::from_millis(20), b.changed())
                .await
                .is_err()
        );
        topics.wake_all();
        b.changed().await;
    }

    #[tokio::test]
    async fn streams_without_followers_are_forgotten() {
        let topics = Topics::default();
        let first = topics.subscribe("a");
        let second = topics.subscribe("a");
        drop(first);
        assert_eq!(topics.with(|m| m.len()), 1);
        drop(second);
        assert_eq!(topics.with(|m| m.len()), 0);
    }
}
