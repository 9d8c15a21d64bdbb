//! Known bugs, to be switched on by tests alone: they show that the simulation and the interleavings find them.
//!
//! Without the feature `faults` none can be switched on, and asking costs nothing.

/// A bug that a system of this kind has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A delta is applied whatever version the view is at, and views are compared by version alone: an old delta brings
    /// back what was removed.
    ZombieEntry,
    /// A release removes the sensor from the sets of all nodes.
    UnscopedDelete,
    /// Nobody compares sets after the last delta.
    LostLastDelta,
    /// A node that comes back is not told again what is wanted.
    StaleInterest,
    /// A new claim's epoch follows the clock alone.
    EpochGoesBack,
    /// A partition is replaced by the first chunk of its cut.
    PartialCut,
    /// A reader lets go of the queue between its look and its wait: what comes in between does not wake it.
    LookThenWait,
    /// A series is resolved anew while rows under its old number are still gathered.
    NumberGivenEarly,
    /// What comes live before its series' start is delivered, and the start as well.
    StartTwice,
}

#[cfg(feature = "faults")]
thread_local! {
    static ON: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Switches one bug on for this thread, or all off.
#[cfg(feature = "faults")]
pub fn set(fault: Option<Fault>) {
    ON.set(fault);
}

/// Whether a bug is switched on.
#[cfg(feature = "faults")]
pub fn is_on(fault: Fault) -> bool {
    ON.get() == Some(fault)
}

/// Whether a bug is switched on: never, without the feature.
#[cfg(not(feature = "faults"))]
pub const fn is_on(_fault: Fault) -> bool {
    false
}
