//! How the host waits for a run.

use std::time::Duration;

/// How the host waits for the end of a run.
///
/// A thread that sleeps is woken some microseconds after the GPU is done, tens of them in some
/// virtual machines (predicted, not measured here). One that looks again and again is not late, and
/// keeps a core busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// A run by itself is looked for during its first two milliseconds, and then slept for; a run
    /// beside others is slept for, since the host has other work then.
    #[default]
    Auto,
    /// Every run is looked for, however long: for the lowest latency, at the cost of a core.
    Spin,
    /// Every run is slept for: for the least work of the host.
    Sleep,
}

/// A run by itself of a small batch takes less than this, and a longer one hides a late wake-up.
const SHORT: Duration = Duration::from_millis(2);

/// How long a wait looks before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spin {
    Never,
    For(Duration),
    Always,
}

impl Wait {
    /// For a run by itself.
    pub(super) fn alone(self) -> Spin {
        match self {
            Wait::Auto => Spin::For(SHORT),
            Wait::Spin => Spin::Always,
            Wait::Sleep => Spin::Never,
        }
    }

    /// For a run beside others.
    pub(super) fn beside_others(self) -> Spin {
        match self {
            Wait::Spin => Spin::Always,
            Wait::Auto | Wait::Sleep => Spin::Never,
        }
    }
}
