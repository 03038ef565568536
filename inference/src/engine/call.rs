//! On whose behalf a thread works: what the engine needs to know of a request, without every layer
//! between the request and the models having to pass it on.

use std::cell::Cell;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_64;

use super::queue::Priority;

thread_local! {
    static CURRENT: Cell<Call> = const { Cell::new(Call::NONE) };
}

/// What is known of the request that a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose work it is; tenants share the models fairly.
    pub tenant: u64,
    /// What is served first.
    pub priority: Priority,
    /// When the answer is worth nothing any more.
    pub deadline: Option<Instant>,
}

impl Default for Call {
    fn default() -> Self {
        Self::NONE
    }
}

impl Call {
    const NONE: Self = Self {
        tenant: 0,
        priority: Priority::Normal,
        deadline: None,
    };

    /// The same call on behalf of `name`, such as a channel or a caller.
    #[must_use]
    pub fn of_tenant(self, name: &str) -> Self {
        Self {
            tenant: xxh3_64(name.as_bytes()),
            ..self
        }
    }

    /// The call of this thread.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Runs `work` as this call; the thread's own call is back afterwards, also after a panic.
    pub fn enter<T>(self, work: impl FnOnce() -> T) -> T {
        struct Back(Call);
        impl Drop for Back {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _back = Back(CURRENT.replace(self));
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_nest_and_survive_panics() {
        let outer = Call::default().of_tenant("channel-1");
        let inner = Call {
            priority: Priority::Bulk,
            ..outer
        };
        assert_ne!(outer.tenant, Call::default().of_tenant("channel-2").tenant);
        outer.enter(|| {
            assert_eq!(Call::current(), outer);
            let panicked = std::panic::catch_unwind(|| {
                inner.enter(|| {
                    assert_eq!(Call::current(), inner);
                    panic!("on purpose");
                })
            });
            assert!(panicked.is_err());
            assert_eq!(Call::current(), outer);
        });
        assert_eq!(Call::current(), Call::default());
    }
}
