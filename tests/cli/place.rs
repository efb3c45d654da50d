//! A folder with weights and pictures, and the program run in it.

use super::support;
use effnet::arch::{Padding, Size, Variant};
use effnet::weights::{Labels, Precision};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for each test: files in `weights/` are found by name.
pub struct Place {
    pub folder: tempfile::TempDir,
}

pub const NAMES: [&str; 10] =
    ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay, blue jay"];

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("weights")).unwrap();
        Place { folder }
    }

    /// A place with the packed weights `tiny`: ten classes, 32x32 pixels.
    pub fn with_weights() -> Place {
        let place = Place::new();
        let names = NAMES.map(String::from).into();
        packed(&place.path("weights/tiny.safetensors"), Labels::Names(names), 10);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A picture that is unlike those of other seeds, in the format of the name's ending.
    pub fn picture(&self, name: &str, seed: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let level = |x: u32, y: u32, c: u32| {
            let wave = (x * (seed + 1) + y * (2 * seed + 3) + c * 40 * seed) % 256;
            if (x / (2 + seed) + y / 5).is_multiple_of(2) { wave as u8 } else { 255 - wave as u8 }
        };
        let image =
            RgbImage::from_fn(40, 36, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
        // The kind of a file follows from its content: one named .jpg is a PNG here.
        let format = ImageFormat::from_path(&path).unwrap();
        let format = if format == ImageFormat::Jpeg { ImageFormat::Png } else { format };
        image.save_with_format(&path, format).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("EFFNET_WEIGHTS_DIR").env("EFFNET_CACHE", self.path("cache"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::new(args, self.command(args).output().unwrap())
    }
}

/// Exit status and output of a command.
#[derive(Debug)]
pub struct Ran {
    #[allow(dead_code)] // shown when an assertion fails
    args: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(args: &[&str], output: Output) -> Ran {
        let ran = Ran {
            args: args.join(" "),
            status: output.status.code().expect("not killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
        ran
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error without '{part}': {self:#?}");
        }
        self
    }

    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Packed lite0 weights for pictures of 32x32 pixels.
pub fn packed(path: &Path, labels: Labels, classes: usize) {
    let mut metadata = support::metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    metadata.name = "tiny network".into();
    metadata.recipe.size = Size::square(32);
    metadata.classes = classes;
    metadata.labels = labels;
    support::write_random(path, &metadata, 1);
}
