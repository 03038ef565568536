//! A fixed set of things that only one caller at a time may use.

use std::{
    ops::{Deref, DerefMut},
    sync::{Condvar, Mutex, PoisonError},
};

/// Hands out its items one caller each; callers that find none wait.
#[derive(Debug)]
pub(super) struct Pool<T> {
    free: Mutex<Vec<T>>,
    returned: Condvar,
}

impl<T> Pool<T> {
    pub(super) fn new(items: Vec<T>) -> Self {
        Self {
            free: Mutex::new(items),
            returned: Condvar::new(),
        }
    }

    /// Waits for an item. The list behind the lock is only pushed to and popped from, so a lock
    /// that a panicking caller left poisoned is still sound.
    pub(super) fn take(&self) -> Taken<'_, T> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(item) = free.pop() {
                return Taken {
                    pool: self,
                    item: Some(item),
                };
            }
            free = self
                .returned
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A borrowed item; goes back to its pool when dropped, also while unwinding.
#[derive(Debug)]
pub(super) struct Taken<'a, T> {
    pool: &'a Pool<T>,
    item: Option<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    #[allow(clippy::expect_used, reason = "the item leaves only in drop")]
    fn deref(&self) -> &T {
        self.item.as_ref().expect("the item is there until drop")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[allow(clippy::expect_used, reason = "the item leaves only in drop")]
    fn deref_mut(&mut self) -> &mut T {
        self.item.as_mut().expect("the item is there until drop")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.pool
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(item);
            self.pool.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn never_more_callers_than_items_and_panics_return_theirs() {
        let pool = Pool::new(vec![(), ()]);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for i in 0..8 {
                let (pool, inside, most) = (&pool, &inside, &most);
                scope.spawn(move || {
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let _item = pool.take();
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(2));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        assert!(i % 2 == 0, "odd callers panic");
                    }));
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
        let (_a, _b) = (pool.take(), pool.take());
    }
}
