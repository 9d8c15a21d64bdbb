//! The locks and atomics of this crate: parking_lot's and the standard library's, or under the feature `shuttle` twins
//! of the same names, whose every step a scheduler of the tests decides (`tests/interleavings`).
//!
//! The twins are sequentially consistent whatever ordering is asked for. A time-out of an hour or more does not
//! elapse, so that a wake-up that is lost shows as a deadlock; a shorter one may elapse at any moment.

#[cfg(not(feature = "shuttle"))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic;
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::atomic;

#[cfg(feature = "shuttle")]
pub(crate) use modelled::{Condvar, Mutex, MutexGuard, RwLock};

/// How often a reader beside a writer looks before it waits for the writer's lock: seldom where schedules are explored,
/// so that waiting is one of them.
pub(crate) const LOOKS_MAX: usize = if cfg!(feature = "shuttle") { 3 } else { 64 };

/// parking_lot's API, as far as it is used here, over shuttle's locks. A task that panicked ends the schedule, so that
/// poison says nothing.
#[cfg(feature = "shuttle")]
mod modelled {
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::time::Duration;

    use shuttle::rand::Rng;
    use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

    /// The shortest time-out that does not elapse.
    const NEVER: Duration = Duration::from_secs(3600);
    /// Most turns of others before a shorter one does.
    const TURNS_MAX: u32 = 4;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T> {
        mutex: &'a Mutex<T>,
        /// `None` only within a wait.
        held: Option<shuttle::sync::MutexGuard<'a, T>>,
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard { mutex: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.held.as_ref().expect("held outside of waits")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.held.as_mut().expect("held outside of waits")
        }
    }

    impl<T> RwLock<T> {
        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }

        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) {
            let Some(held) = guard.held.take() else { return };
            if timeout >= NEVER {
                guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
                return;
            }
            drop(held);
            for _ in 0..shuttle::rand::thread_rng().gen_range(0..=TURNS_MAX) {
                shuttle::thread::yield_now();
            }
            guard.held = guard.mutex.lock().held.take();
        }

        pub(crate) fn wait_while_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            mut condition: impl FnMut(&mut T) -> bool,
            timeout: Duration,
        ) {
            while condition(guard) {
                self.wait_for(guard, timeout);
                if timeout < NEVER {
                    return;
                }
            }
        }
    }
}
