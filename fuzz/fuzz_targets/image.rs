//! Any bytes as an image of any format, told by its content; JPEG has the target `jpeg` beside.

#![no_main]

#[path = "shared/preprocess.rs"]
mod preprocess;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| preprocess::check(data));
