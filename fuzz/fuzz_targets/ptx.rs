//! Text as a PTX file: loading answers, and a file that it accepts has entries whose parameters lie
//! one after the other.
//!
//! A seed is any PTX file, as nvcc writes it: `nvcc -ptx -lineinfo kernels/depthwise.cu`.

#![no_main]

use effnet::emulator::Module;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let module = match Module::parse("fuzz.ptx", text) {
        Ok(module) => module,
        Err(error) => {
            assert!(error.to_string().starts_with("fuzz.ptx"), "{error}");
            return;
        }
    };
    for entry in module.entries() {
        let mut end = 0;
        for param in &entry.params {
            assert!(param.offset_bytes >= end, "{} of {}", param.name, entry.name);
            assert_eq!(param.offset_bytes % param.align_bytes, 0, "{} of {}", param.name, entry.name);
            end = param.offset_bytes + param.size_bytes;
        }
    }
});
