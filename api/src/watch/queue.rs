//! Between the thread that reads a source and the task that has its windows judged.
//!
//! A live source cannot wait long: when analysis lags, the oldest window gives up its pictures and
//! sound and stays in its place as a mark, which becomes a degraded verdict. A file does wait.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A stretch of stream time, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start_ms: i64,
    /// Where it ends.
    pub end_ms: i64,
}

/// What comes out, in the order in which it went in.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<W, E> {
    /// A window to judge.
    Window(W),
    /// Windows that were shed, next to each other.
    Shed {
        /// From the first to the last.
        span: Span,
        /// How many.
        windows: u32,
    },
    /// News from the reader.
    Event(E),
}

/// Something that covers a stretch of stream time.
pub trait Spanned {
    /// The stretch.
    fn span(&self) -> Span;
}

/// The queue: at most `capacity` windows, everything else is small and few.
#[derive(Debug)]
pub struct WindowQueue<W, E> {
    items: Mutex<VecDeque<Item<W, E>>>,
    capacity: usize,
    filled: Notify,
    emptied: Condvar,
}

impl<W: Spanned, E> WindowQueue<W, E> {
    /// A queue for `capacity` windows, 1 or more.
    pub fn new(capacity: usize) -> Self {
        Self {
            items: Mutex::new(VecDeque::new()),
            capacity: capacity.max(1),
            filled: Notify::new(),
            emptied: Condvar::new(),
        }
    }

    /// Adds a window. When there is no room it waits until `until`, then sheds the oldest one;
    /// `None` waits for as long as it takes. Drops the window once `cancelled` says so.
    pub fn push(&self, window: W, until: Option<Instant>, cancelled: impl Fn() -> bool) {
        let mut items = self.lock();
        while windows(&items) >= self.capacity {
            if cancelled() {
                return;
            }
            if until.is_some_and(|t| t <= Instant::now()) {
                shed_oldest(&mut items);
                break;
            }
            // Short, because a cancellation does not wake the condition.
            let wait = self.emptied.wait_timeout(items, Duration::from_millis(20));
            items = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        items.push_back(Item::Window(window));
        drop(items);
        self.filled.notify_one();
    }

    /// Adds news.
    pub fn tell(&self, event: E) {
        self.lock().push_back(Item::Event(event));
        self.filled.notify_one();
    }

    /// Takes the oldest item; waits for one. Safe to drop while waiting.
    pub async fn pop(&self) -> Item<W, E> {
        loop {
            if let Some(item) = self.take() {
                return item;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Item<W, E>> {
        let item = self.lock().pop_front();
        self.emptied.notify_one();
        item
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Item<W, E>>> {
        // A panic in here leaves the deque whole: each change is one push or pop.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn windows<W, E>(items: &VecDeque<Item<W, E>>) -> usize {
    items
        .iter()
        .filter(|i| matches!(i, Item::Window(_)))
        .count()
}

fn shed_oldest<W: Spanned, E>(items: &mut VecDeque<Item<W, E>>) {
    let oldest = items.iter().position(|i| matches!(i, Item::Window(_)));
    let Some(index) = oldest else { return };
    let Some(Item::Window(window)) = items.get(index) else {
        return;
    };
    let span = window.span();
    let before = index.checked_sub(1).and_then(|i| items.get_mut(i));
    if let Some(Item::Shed {
        span: earlier,
        windows,
    }) = before
    {
        earlier.end_ms = span.end_ms;
        *windows += 1;
        items.remove(index);
    } else if let Some(slot) = items.get_mut(index) {
        *slot = Item::Shed { span, windows: 1 };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct W(i64);

    impl Spanned for W {
        fn span(&self) -> Span {
            Span {
                start_ms: self.0 * 10,
                end_ms: self.0 * 10 + 10,
            }
        }
    }

    type Q = WindowQueue<W, &'static str>;

    fn push_now(q: &Q, w: W) {
        q.push(w, Some(Instant::now()), || false);
    }

    #[tokio::test]
    async fn order_is_kept_and_the_oldest_is_shed_in_its_place() {
        let q = Q::new(2);
        q.tell("opened");
        for n in 0..5 {
            push_now(&q, W(n));
        }
        q.tell("end");
        assert_eq!(q.pop().await, Item::Event("opened"));
        let span = Span {
            start_ms: 0,
            end_ms: 30,
        };
        assert_eq!(q.pop().await, Item::Shed { span, windows: 3 });
        assert_eq!(q.pop().await, Item::Window(W(3)));
        assert_eq!(q.pop().await, Item::Window(W(4)));
        assert_eq!(q.pop().await, Item::Event("end"));
    }

    #[tokio::test]
    async fn memory_stays_bounded_however_far_analysis_lags() {
        let q = Q::new(3);
        for n in 0..10_000 {
            push_now(&q, W(n));
        }
        assert_eq!(q.lock().len(), 4);
    }

    #[tokio::test]
    async fn a_patient_reader_waits_for_room_and_for_the_cancellation() {
        let q = Arc::new(Q::new(1));
        push_now(&q, W(0));
        let (other, cancel) = (Arc::clone(&q), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&cancel);
        let reader = tokio::task::spawn_blocking(move || {
            other.push(W(1), None, || false);
            other.push(W(2), None, || flag.load(Ordering::Relaxed));
        });
        assert_eq!(q.pop().await, Item::Window(W(0)));
        // W(1) takes the room that W(0) left; W(2) has none until it is told to give up.
        while q.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.store(true, Ordering::Relaxed);
        reader.await.unwrap();
        assert_eq!(q.pop().await, Item::Window(W(1)));
        assert!(q.take().is_none());
    }

    #[tokio::test]
    async fn waiting_ends_when_something_comes() {
        let q = Arc::new(Q::new(1));
        let other = Arc::clone(&q);
        let waiting = tokio::spawn(async move { other.pop().await });
        tokio::task::yield_now().await;
        q.tell("hello");
        assert_eq!(waiting.await.unwrap(), Item::Event("hello"));
    }
}
