//! What a machine does not give: threads, paths of any length, a writer for every pipe. Each is told
//! in time.
#![cfg(unix)]

mod support;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with packed weights for images of 32x32, an image, and the same as a ready tensor.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        support::write_tiny(&place.path("tiny.safetensors"));
        let image = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8, y as u8, 7]));
        image.save(place.path("image.png")).unwrap();
        fs::write(place.path("image.bin"), image.as_raw()).unwrap();
        fs::write(place.path("list.csv"), "image.png,1\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pipe(&self) {
        support::make_pipe(&self.path("pipe"));
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.args(line.split(' ')).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// No address space has room for the stack of a thread, so that the system refuses to start one, as
/// it does at the limit of processes.
#[test]
fn threads_that_cannot_be_started_are_told() {
    let place = Place::new();
    for line in [
        "classify image.png --weights tiny.safetensors --device cpu --threads 2",
        "classify image.png --weights tiny.safetensors --device cpu --threads 1",
        "eval . --list list.csv --weights tiny.safetensors --device cpu --threads 2",
        "run image.bin --raw u8 --weights tiny.safetensors --device cpu --threads 2",
        "bench lite0 --device cpu --threads 2 --size 32 --batch 1",
        "profile --weights tiny.safetensors --device cpu --threads 2",
    ] {
        let output = place.command(line).env("RUST_MIN_STACK", (1_u64 << 60).to_string()).output();
        let output = output.unwrap();
        let said = said(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{line}: {output:?}");
        assert!(said.contains("thread"), "{line}: {said}");
    }
}

#[cfg(feature = "emulator")]
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_emulators_threads_are_told_too() {
    let place = Place::new();
    let line = "verify --weights tiny.safetensors --device emulator --size 32";
    let output = place.command(line).env("RUST_MIN_STACK", (1_u64 << 60).to_string()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("no threads for the emulator"), "{output:?}");
}

/// The command says that it waits before it does, and goes on once somebody writes.
#[test]
fn a_named_pipe_is_told_and_read() {
    let place = Place::new();
    place.pipe();
    for (line, content) in [
        ("classify pipe --weights tiny.safetensors --device cpu --json", "image.png"),
        ("run pipe --raw u8 --weights tiny.safetensors --device cpu --json", "image.bin"),
        ("eval . --list pipe --weights tiny.safetensors --device cpu --json", "list.csv"),
    ] {
        let mut command = place.command(line);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut note = String::new();
        while !note.contains("pipe: a named pipe; waiting") {
            note.clear();
            assert!(said.read_line(&mut note).unwrap() > 0, "{line}: nothing is said");
        }
        fs::write(place.path("pipe"), fs::read(place.path(content)).unwrap()).unwrap();
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{line}: {rest}");
    }
}

/// Nobody at the terminal has named what a list names.
#[test]
fn a_list_that_names_a_pipe_does_not_wait() {
    let place = Place::new();
    place.pipe();
    fs::write(place.path("list.csv"), "image.png,1\npipe,2\n/dev/zero,3\n").unwrap();
    let line = "eval . --list list.csv --weights tiny.safetensors --device cpu --json";
    let output = place.command(line).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = said(&output);
    assert_eq!(said.matches("expected a file, as a list names").count(), 2, "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["images"], &report["failed"]), (&3.into(), &2.into()));
}

/// Weights and checkpoints are mapped, which no pipe can be: nobody waits for its writer.
#[test]
fn a_pipe_in_the_place_of_weights_is_refused() {
    let place = Place::new();
    place.pipe();
    for line in [
        "classify image.png --weights pipe",
        "info pipe",
        "import pipe -o out.safetensors",
        "import pipe --list",
        "run pipe --weights tiny.safetensors",
        "export onnx --weights pipe -o out.onnx",
    ] {
        let output = place.command(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {output:?}");
        let said = said(&output);
        assert!(said.contains("pipe") && !said.contains("empty"), "{line}: {said}");
    }
}

/// Files whose names are no text are told apart in JSON by their bytes.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_told_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let weights = ["--weights", "tiny.safetensors", "--device", "cpu", "--json"];
    let names = [&b"r\xe9.png"[..], b"r\xff.png"].map(OsStr::from_bytes);
    for name in names {
        fs::copy(place.path("image.png"), place.0.path().join(name)).unwrap();
    }
    let output = place.command("classify").args(weights).args(names).output().unwrap();
    said(&output);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["path"], lines[1]["path"]);
    assert_eq!(lines[0]["path_bytes"], "cukucG5n");
    assert_eq!(lines[1]["path_bytes"], "cv8ucG5n");

    let [input, logits] = [&b"i\xe9.bin"[..], b"l\xe9.npy"].map(OsStr::from_bytes);
    fs::copy(place.path("image.bin"), place.0.path().join(input)).unwrap();
    let mut command = place.command("run --raw u8");
    let output = command.args(weights).arg(input).arg("-o").arg(logits).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["input"]["path_bytes"], "aekuYmlu");
    assert_eq!(report["outputs"][0]["path_bytes"], "bOkubnB5");
}
