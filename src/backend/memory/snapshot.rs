//! Values that nearly every request reads and few change.
//!
//! A lock would do, but all threads would write its word, and the count of what it
//! guards, for each look; with four of them that took longer than the look itself.

use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};

use super::directory::lock;

/// A value that is read as it is now, and replaced as a whole.
///
/// A look waits for nobody and writes nothing that others read. A change copies the
/// value, and waits for other changes.
#[derive(Debug, Default)]
pub(super) struct Snapshot<T> {
    now: ArcSwap<T>,
    changing: Mutex<()>,
}

impl<T: Clone> Snapshot<T> {
    pub(super) fn new(value: T) -> Snapshot<T> {
        Snapshot {
            now: ArcSwap::from_pointee(value),
            changing: Mutex::default(),
        }
    }

    /// The value as it is now. It may be replaced while it is looked at.
    pub(super) fn get(&self) -> Guard<Arc<T>> {
        self.now.load()
    }

    /// Changes the value. Looks see all of the change or nothing.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let _changing = lock(&self.changing);
        let mut value = T::clone(&self.now.load());
        let result = change(&mut value);
        self.now.store(Arc::new(value));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_sees_a_change_whole_or_not_at_all() {
        let snapshot = Snapshot::new((0u64, 0u64));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        snapshot.change(|(one, other)| {
                            *one += 1;
                            *other += 1;
                        });
                    }
                });
            }
            for _ in 0..2_000 {
                let (one, other) = **snapshot.get();
                assert_eq!(one, other);
            }
        });
        assert_eq!(**snapshot.get(), (4_000, 4_000));
    }
}
