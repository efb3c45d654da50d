//! Files that are written: whole or not at all, and never in the place of a device.
//!
//! - [`OutputFile`]: every output of library and program goes through it;
//! - [`TemporaryFolder`]: files that other code or another program writes and reads meanwhile;
//! - [`abandon`]: a program that a signal ends leaves nothing half written.
//!
//! What is not whole yet has a name that begins with `.effnet-` and ends with `.tmp`, and its
//! writer holds a lock on it while it lives. A process that was killed leaves such a file: the next
//! output in the same folder removes it. Only files of the same user are removed, and none whose
//! lock is held; no clock is asked.

mod output;
mod temporary;

pub use output::{OutputError, OutputFile};
#[cfg(feature = "cli")]
pub(crate) use temporary::Transient;
pub use temporary::{TemporaryFolder, abandon};
