//! The C library `libeffnet`: the runtime behind functions that C calls.
//!
//! `include/effnet.h` is made from these sources and their comments, which speak to people who
//! write C; `tests/header.rs` compares the two, and writes the header anew where it is asked to.
//!
//! In reading order: [`version`], [`status`] (codes), [`error`] (what went wrong, in words),
//! [`call`] (what every function does around its work), [`handle`] (objects that the caller holds),
//! [`versioned`] (structs that grow), [`buffer`] (the caller's memory), [`options`], [`device`],
//! [`model`], [`session`], [`run`] (tensors), [`image`] (photographs), [`import`].

// The header's names are those of the sources.
#![allow(non_camel_case_types)]
// What C has to keep to is in the comments of the header, in the words of C.
#![allow(clippy::missing_safety_doc)]

mod buffer;
mod call;
mod device;
mod error;
mod handle;
mod image;
mod import;
mod model;
mod options;
mod run;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod version;
mod versioned;
