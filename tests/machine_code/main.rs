//! Lints of the machine code of every kernel, for sm_80 and sm_90, and of what it would execute.
//!
//! `bounds.txt` has today's values. A bound only goes down: a change that makes a value better
//! records it, by `EFFNET_RECORD=1 cargo test --test machine_code`, which never writes a worse one.
//! Numbers depend on the compilers, so all of this is for those that `make cuda` fetches.
//!
//! | file | what is held |
//! |---|---|
//! | `code.rs` | what is in the code: loads before the dependent wait, divisions in loops and slow paths, registers |
//! | `executed.rs` | what launches execute: slots of a product, an output, a swish; bank conflicts |

mod bounds;
mod code;
mod executed;

/// Targets that are looked at.
const ARCHS: [u32; 2] = [80, 90];
