//! CUDA's driver library whose GPU is the PTX emulator: `tests/emulated_driver/`, which is built as
//! an example.

use std::path::{Path, PathBuf};

fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    let folder = exe.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let library = folder.join("examples/libemulated_driver.so");
    assert!(library.is_file(), "{}: run `cargo build --examples`", library.display());
    library
}

/// Puts the library into a folder, for a process that has the folder in `LD_LIBRARY_PATH`.
#[cfg(unix)]
pub fn link(folder: &Path) {
    std::os::unix::fs::symlink(library(), folder.join("libcuda.so")).expect("an empty folder");
}
