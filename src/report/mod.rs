//! Reports: tables, plots and self-contained HTML pages.
//!
//! - [`table`]: columns of text, and numbers as people read them;
//! - [`plot`]: bars, lines and rooflines as SVG, from plain data;
//! - [`html`]: a page of sections with the environment, that needs no other file.
//!
//! A command's JSON is one document with a `schema` such as `effnet-bench/1`, its `environment`,
//! and its rows. Names carry their units (`_us`, `_bytes`). The number after the slash grows when a
//! field changes its meaning or goes; new fields do not change it, and readers take no offence at
//! them.

pub mod html;
pub mod plot;
pub mod table;

pub use table::{Align, Table};
