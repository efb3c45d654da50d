//! Memory that will not suffice is told before it is used. `EFFNET_MEMORY_MIB` stands for a machine, or
//! a control group, that has no more.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::weights::Precision;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{metadata, write_random};
use tempfile::TempDir;

/// Lite0 for pictures of 32x32 pixels with random weights, and a photograph.
fn place() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let weights = folder.path().join("tiny.safetensors");
    let mut tiny = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    tiny.recipe.size = Size::square(32);
    write_random(&weights, &tiny, 1);
    let photo =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/photos/coffee.jpg");
    (folder, weights, photo)
}

/// Exit code, standard output and standard error of a run with so many MiB.
fn run(mib: &str, args: &[&str], paths: [&Path; 2]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_effnet"))
        .args(args)
        .arg("--weights")
        .args(paths)
        .env("EFFNET_MEMORY_MIB", mib)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// At 2048x2048 an image's activations and decoded values have hundreds of MiB; at 32x32, less
/// than one.
#[test]
fn a_run_that_needs_more_is_refused_and_one_that_needs_less_is_not() {
    let (_folder, weights, photo) = place();
    let paths = [weights.as_path(), photo.as_path()];
    let one_thread = ["--threads", "1"];
    let classify = [&["classify", "--size", "2048"][..], &one_thread].concat();
    let (code, out, err) = run("100", &classify, paths);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    for part in [
        "decoded images (1 x 1) and the activations of a run need ",
        "and 100.0 MiB are what EFFNET_MEMORY_MIB allows",
        "use a smaller batch or size, or fewer decoding threads",
    ] {
        assert!(err.contains(part), "{err}");
    }
    let classify = [&["classify", "--size", "32"][..], &one_thread].concat();
    let (code, out, err) = run("100", &classify, paths);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("coffee.jpg"), "{out}");
}

#[test]
fn the_emulator_s_memory_is_counted_with_its_checks() {
    if let Err(reason) = effnet::kernels::built() {
        assert!(std::env::var_os("EFFNET_REQUIRE_KERNELS").is_none(), "{reason}");
        eprintln!("no kernels in this build: {reason}");
        return;
    }
    let (_folder, weights, photo) = place();
    let paths = [weights.as_path(), photo.as_path()];
    // Weights of 9 MiB, and as much again for each of the checks' bytes.
    let (code, _, err) = run("30", &["classify", "--device", "emulator"], paths);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("the emulated device's memory and its checks need "), "{err}");
    assert!(err.contains("and 30.0 MiB are what EFFNET_MEMORY_MIB allows"), "{err}");
}

/// Lite0 has 4.7 million weights, 17.7 MiB in f32.
#[test]
fn weights_that_do_not_fit_are_refused() {
    let (folder, weights, photo) = place();
    let (code, _, err) = run("10", &["classify"], [&weights, &photo]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("the network's weights in f32 need 17."), "{err}");
    drop(folder);
}

#[test]
fn a_variable_that_is_no_number_is_refused() {
    let (_folder, weights, photo) = place();
    let paths = [weights.as_path(), photo.as_path()];
    for bad in ["2G", "-1", "", "99999999999999999999"] {
        let (code, _, err) = run(bad, &["classify"], paths);
        assert_eq!(code, 2, "{err}");
        let expected = format!("EFFNET_MEMORY_MIB: expected a whole number of MiB, found '{bad}'");
        assert!(err.contains(&expected), "{err}");
    }
}
