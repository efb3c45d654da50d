//! Outputs of the program: what they replace, whose permissions they have, and what is left when
//! the program is ended in the middle.
#![cfg(unix)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A folder with packed weights for images of 32x32, and one image as a ready tensor.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        support::write_tiny(&place.path("tiny.safetensors"));
        fs::write(place.path("image.bin"), [0; 32 * 32 * 3]).unwrap();
        fs::create_dir(place.path("out")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A shell script, in which `$effnet` is the program.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("effnet", env!("CARGO_BIN_EXE_effnet"));
        command
    }

    #[track_caller]
    fn succeeds(&self, script: &str) {
        let ran = self.shell(script).output().unwrap();
        assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    fn pipe(&self, name: &str) {
        support::make_pipe(&self.path(name));
    }

    /// Names in the folder of outputs, sorted.
    fn outputs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Commands that write, each with its option for the file.
const WRITERS: [(&str, &str); 2] = [
    ("export onnx --weights tiny.safetensors --size 32", "-o"),
    ("run image.bin --weights tiny.safetensors --raw u8 --device cpu", "-o"),
];

#[test]
fn permissions_follow_the_umask_and_the_file_that_was_there() {
    let place = Place::new();
    for (i, (command, option)) in WRITERS.into_iter().enumerate() {
        for (umask, expected) in [("077", 0o600), ("022", 0o644), ("002", 0o664)] {
            let name = format!("out/{i}-{umask}");
            place.succeeds(&format!("umask {umask}; \"$effnet\" {command} {option} {name}"));
            assert_eq!(mode(&place.path(&name)), expected, "{command}");
            place.succeeds(&format!("umask 022; \"$effnet\" {command} {option} {name}"));
            assert_eq!(mode(&place.path(&name)), expected, "{command}");
        }
    }
}

#[test]
fn links_pipes_and_devices_stay() {
    let place = Place::new();
    symlink("/dev/null", place.path("out/device")).unwrap();
    symlink("target", place.path("out/link")).unwrap();
    place.pipe("out/pipe");
    for (command, option) in WRITERS {
        place.succeeds(&format!("\"$effnet\" {command} {option} out/device"));
        place.succeeds(&format!("\"$effnet\" {command} {option} out/link"));
        place.succeeds(&format!(
            "wc -c < out/pipe > count & \"$effnet\" {command} {option} out/pipe && wait"
        ));
        let count = fs::read_to_string(place.path("count")).unwrap();
        let bytes = fs::metadata(place.path("out/target")).unwrap().len();
        assert_eq!(count.trim(), bytes.to_string(), "{command}");
        fs::remove_file(place.path("out/target")).unwrap();
        assert_eq!(place.outputs(), ["device", "link", "pipe"], "{command}");
        for link in ["out/device", "out/link"] {
            assert!(fs::symlink_metadata(place.path(link)).unwrap().is_symlink(), "{command}");
        }
        assert!(fs::metadata(place.path("out/pipe")).unwrap().file_type().is_fifo(), "{command}");
    }
}

/// A run that has begun an output, and waits for a reader of the other one.
fn in_the_middle(place: &Place, before: &str) -> Child {
    if !place.path("pipe").exists() {
        place.pipe("pipe");
    }
    // Another run's, which was killed, is none of this one's.
    let left = place.outputs();
    let (command, _) = WRITERS[1];
    let script = format!("{before} exec \"$effnet\" {command} -o pipe --features out/features.npy");
    let mut command = place.shell(&script);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_new = |name: &String| name.ends_with(".tmp") && !left.contains(name);
    while !place.outputs().iter().any(is_new) {
        if child.try_wait().unwrap().is_some() || Instant::now() > deadline {
            let _ = child.kill();
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("no output was begun: {said}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn kill(signal: &str, child: &mut Child) -> ExitStatus {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    child.wait().unwrap()
}

#[test]
fn a_signal_leaves_nothing_and_is_what_ends_the_program() {
    let place = Place::new();
    for (signal, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1)] {
        let mut child = in_the_middle(&place, "");
        assert_eq!(kill(signal, &mut child).signal(), Some(number));
        assert!(place.outputs().is_empty(), "{signal}: {:?}", place.outputs());
    }
}

#[test]
fn a_signal_that_was_ignored_from_the_start_stays_so() {
    let place = Place::new();
    let mut child = in_the_middle(&place, "trap '' INT HUP;");
    for signal in ["-INT", "-HUP"] {
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
    // Signals are delivered in no particular order; these two are to have no effect at all.
    let mut logits = Vec::new();
    fs::File::open(place.path("pipe")).unwrap().read_to_end(&mut logits).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(logits.starts_with(b"\x93NUMPY"));
    assert_eq!(place.outputs(), ["features.npy"]);
}

#[test]
fn what_a_killed_program_has_left_goes_with_the_next_output() {
    let place = Place::new();
    let mut child = in_the_middle(&place, "");
    assert_eq!(kill("-KILL", &mut child).signal(), Some(9));
    let left = place.outputs();
    assert!(matches!(&left[..], [name] if name.starts_with(".effnet-")), "{left:?}");
    // Not while its writer lives.
    let mut child = in_the_middle(&place, "");
    let (command, option) = WRITERS[0];
    place.succeeds(&format!("\"$effnet\" {command} {option} out/network.onnx"));
    let now = place.outputs();
    assert_eq!(now.len(), 2, "{now:?}");
    assert!(!now.contains(&left[0]), "{now:?}");
    kill("-TERM", &mut child);
    assert_eq!(place.outputs(), ["network.onnx"]);
}

/// Whatever the moment, what has been written to a pipe are whole lines.
#[test]
fn a_signal_leaves_whole_lines_of_json() {
    let place = Place::new();
    let image = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8, y as u8, 7]));
    fs::create_dir(place.path("in")).unwrap();
    for i in 0..40 {
        image.save(place.path(&format!("in/{i}.png"))).unwrap();
    }
    let script = "exec \"$effnet\" classify --weights tiny.safetensors --device cpu --json in";
    let mut command = place.shell(script);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    output.read_line(&mut text).unwrap();
    let status = kill("-TERM", &mut child);
    output.read_to_string(&mut text).unwrap();
    assert!(status.signal() == Some(15) || status.success(), "{status:?}");
    assert!(text.ends_with('\n'), "{text}");
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["path"].is_string(), "{line}");
    }
}
