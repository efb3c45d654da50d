//! Who makes an access.

use crate::order::Clock;
use crate::report::{Checks, Findings, Site};

/// Who makes an access.
pub(crate) struct Actor<'a> {
    pub site: Site,
    /// Number of the warp in the launch: block times warps of a block, plus warp.
    pub warp: u32,
    pub clock: &'a Clock,
    /// Atomic, volatile, relaxed, acquire or release: two strong accesses do not race.
    pub strong: bool,
    pub checks: Checks,
    pub findings: &'a mut Findings,
}
