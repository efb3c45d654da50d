//! An emulator of PTX on the CPU, warp by warp, stricter than a GPU.

#![allow(dead_code)] // while its rooms are being joined

mod ast;
mod counters;
mod registers;
mod report;

pub use counters::Counters;
pub use report::{Check, Checks, Finding, Report};
