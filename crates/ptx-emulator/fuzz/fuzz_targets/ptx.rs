//! Text as a PTX file: loading answers, and what it accepts has entries whose parameters lie one
//! after the other.
//!
//! A seed is any PTX file, such as those of `tests/fixtures`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ptx_emulator::Module;

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
            let name = || format!("{} of {}", param.name, entry.name);
            assert!(param.offset_bytes >= end, "{}", name());
            assert_eq!(param.offset_bytes % param.align_bytes, 0, "{}", name());
            end = param.offset_bytes + param.size_bytes;
        }
    }
});
