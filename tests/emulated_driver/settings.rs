//! What the environment sets: faults, version, GPUs, logs.

use super::gpu::driver;
use super::results::CUresult;
use effnet::kernels;
use std::ffi::c_int;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::LazyLock;

/// CUDA 13.0.
const VERSION: c_int = 13_000;

/// What is to fail.
pub static FAIL: LazyLock<Vec<String>> = LazyLock::new(|| {
    let value = std::env::var("EFFNET_EMULATED_DRIVER_FAIL").unwrap_or_default();
    value.split(',').map(str::to_owned).collect()
});

pub fn fails(how: &str) -> bool {
    FAIL.iter().any(|fault| fault == how)
}

/// The result that this call is to have, where it is to fail.
pub fn injected(call: &str) -> Option<CUresult> {
    let fault = FAIL.iter().find_map(|fault| fault.strip_prefix(call)?.strip_prefix('='))?;
    let Some((code, number)) = fault.split_once('@') else { return fault.parse().ok() };
    let mut driver = driver();
    let calls = driver.calls.entry(call.to_owned()).or_default();
    *calls += 1;
    (number.parse() == Ok(*calls)).then(|| code.parse().ok())?
}

pub fn append(variable: &str, line: &str) {
    let Ok(path) = std::env::var(variable) else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("emulated driver: {path}: {error}");
    }
}

pub fn trace(line: &str) {
    append("EFFNET_EMULATED_DRIVER_TRACE", &format!("{line}\n"));
}

pub fn version() -> c_int {
    let given = std::env::var("EFFNET_EMULATED_DRIVER_VERSION").ok();
    let given = given.and_then(|version| version.parse().ok()).unwrap_or(VERSION);
    if fails("old-driver") { 11_020 } else { given }
}

/// Compute capabilities of the GPUs.
pub fn gpus() -> Vec<c_int> {
    if let Ok(list) = std::env::var("EFFNET_EMULATED_DRIVER_GPUS") {
        return list.split(',').filter_map(|word| word.parse().ok()).collect();
    }
    let built = kernels::built().ok();
    let newest = built.map(|built| built.archs.iter().copied().max().unwrap_or(built.ptx_arch));
    vec![if fails("architecture") { 50 } else { newest.map_or(80, |arch| arch as c_int) }]
}

pub fn capability(device: c_int) -> c_int {
    usize::try_from(device).ok().and_then(|at| gpus().get(at).copied()).unwrap_or(0)
}
