//! The atomics of the hand-over: core's, or loom's when the model is checked.

#[cfg(not(all(loom, test)))]
pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(all(loom, test))]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Orders a store, an exchange or an addition before a later load of another place. With core's atomics both are `SeqCst`, which does that by itself (on x86-64 either
/// is a locked instruction, a full barrier). Loom takes `SeqCst` operations for acquire and release and knows the total order of fences only.
#[inline]
pub(super) fn barrier() {
    #[cfg(all(loom, test))]
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// A place whose readers and writers the hand-over keeps apart.
#[cfg(not(all(loom, test)))]
pub(super) struct Value<T>(core::cell::UnsafeCell<T>);

#[cfg(not(all(loom, test)))]
impl<T> Value<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(super) fn get(&self) -> *const T {
        self.0.get()
    }

    pub(super) fn get_mut(&self) -> *mut T {
        self.0.get()
    }
}

/// As above; loom notes each access and fails when two could meet.
#[cfg(all(loom, test))]
pub(super) struct Value<T>(loom::cell::UnsafeCell<T>);

#[cfg(all(loom, test))]
impl<T> Value<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    pub(super) fn get(&self) -> *const T {
        self.0.with(|at| at)
    }

    pub(super) fn get_mut(&self) -> *mut T {
        self.0.with_mut(|at| at)
    }
}
