//! The `ptx-emulator` command, on kernels that nvcc compiled.

use std::path::Path;
use std::process::{Command, Output};

/// The command with these words, in the folder of the fixtures.
fn ptx_emulator(args: &[&str]) -> Output {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptx-emulator"));
    command.args(args).current_dir(fixtures).output().unwrap()
}

/// Standard output and standard error of a command that ends with this status.
#[track_caller]
fn ends(output: Output, status: i32) -> (String, String) {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The sum of 32 values of 1 by one warp.
fn warp_tree(entry: &str) -> Output {
    let ones = format!("hexbuf:{}>-", "0000803f".repeat(32));
    ptx_emulator(&[
        "reduction.ptx",
        "--entry",
        entry,
        "--grid",
        "1",
        "--block",
        "32",
        &ones,
        "zero:128>-",
    ])
}

#[test]
fn help_names_the_command() {
    let (help, _) = ends(ptx_emulator(&["--help"]), 0);
    for part in [
        "Run a kernel of a PTX file on the CPU",
        "Usage: ptx-emulator [OPTIONS] <FILE.ptx> [ARG]...",
        "\n  ptx-emulator kernel.ptx --list\n",
    ] {
        assert!(help.contains(part), "no '{part}' in\n{help}");
    }
    assert!(!help.contains("effnet"), "{help}");
    let (version, _) = ends(ptx_emulator(&["--version"]), 0);
    assert_eq!(version, concat!("ptx-emulator ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_kernel_runs_and_its_outputs_are_printed() {
    let (listed, said) = ends(ptx_emulator(&["reduction.ptx", "--list"]), 0);
    assert!(listed.starts_with("reduction\n  offset  bytes  type  parameter\n"), "{listed}");
    assert_eq!(said, "");
    let (printed, said) = ends(warp_tree("warp_tree"), 0);
    let sums = printed.lines().nth(1).unwrap();
    // 32 as f32.
    assert!(sums.starts_with("00000042"), "{sums}");
    assert_eq!(said, "");
}

#[test]
fn findings_and_errors_have_a_status_each() {
    let (printed, said) = ends(warp_tree("warp_tree_without_syncwarp"), 3);
    assert_eq!(printed.lines().count(), 2);
    assert!(said.lines().any(|line| line.starts_with("error: shared-race: ")), "{said}");
    let (printed, said) = ends(ptx_emulator(&["none.ptx", "--list"]), 2);
    assert_eq!(printed, "");
    assert!(said.starts_with("error: cannot read none.ptx: "), "{said}");
}
