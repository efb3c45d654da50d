//! The `effnet` binary from end to end: synthetic packed weights, generated pictures.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::weights::{Labels, Precision};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for each test: files in `weights/` are found by name.
struct Place {
    folder: tempfile::TempDir,
}

const NAMES: [&str; 10] =
    ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay, blue jay"];

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("weights")).unwrap();
        Place { folder }
    }

    /// A place with the packed weights `tiny`: ten classes, 32x32 pixels.
    fn with_weights() -> Place {
        let place = Place::new();
        let names = NAMES.map(String::from).into();
        packed(&place.path("weights/tiny.safetensors"), Labels::Names(names), 10);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A picture that is unlike those of other seeds, in the format of the name's ending.
    fn picture(&self, name: &str, seed: u32) {
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

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_remove("EFFNET_WEIGHTS_DIR").env("EFFNET_CACHE", self.path("cache"));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::new(args, self.command(args).output().unwrap())
    }
}

/// Exit status and output of a command.
#[derive(Debug)]
struct Ran {
    #[allow(dead_code)] // shown when an assertion fails
    args: String,
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(args: &[&str], output: Output) -> Ran {
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
    fn exits(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error without '{part}': {self:#?}");
        }
        self
    }

    #[track_caller]
    fn json(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Packed lite0 weights for pictures of 32x32 pixels.
fn packed(path: &Path, labels: Labels, classes: usize) {
    let mut metadata = support::metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    metadata.name = "tiny network".into();
    metadata.recipe.size = Size::square(32);
    metadata.classes = classes;
    metadata.labels = labels;
    support::write_random(path, &metadata, 1);
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["path"].as_str().unwrap()).collect()
}

/// The index of the most probable class.
fn best(line: &Value) -> u64 {
    line["top"][0]["index"].as_u64().unwrap()
}

#[test]
fn info_gives_the_published_counts() {
    let lines = Place::new().run(&["info", "--json"]).exits(0).json();
    #[rustfmt::skip]
    let expected = [
        ("b0",       5_288_548, 0.386, 224, 16),
        ("b1",       7_794_184, 0.687, 240, 23),
        ("b2",       9_109_994, 0.994, 260, 23),
        ("b3",      12_233_232, 1.827, 300, 26),
        ("b4",      19_341_616, 4.394, 380, 32),
        ("b5",      30_389_784, 10.27, 456, 39),
        ("b6",      43_040_704, 19.07, 528, 45),
        ("b7",      66_347_960, 37.75, 600, 55),
        ("b8",      87_413_142, 62.60, 672, 61),
        ("b0-small", 4_652_008, 0.385, 224, 16),
        ("lite0",    4_652_008, 0.385, 224, 16),
        ("lite1",    5_416_680, 0.600, 240, 21),
        ("lite2",    6_092_072, 0.860, 260, 21),
        ("lite3",    8_197_096, 1.383, 280, 24),
        ("lite4",   13_006_568, 2.553, 300, 30),
    ];
    assert_eq!(lines.len(), expected.len());
    for (line, (variant, parameters, gmacs, side, blocks)) in lines.iter().zip(expected) {
        assert_eq!(line["variant"], variant);
        assert_eq!(line["parameters"], parameters, "{variant}");
        assert_eq!(line["blocks"], blocks, "{variant}");
        assert_eq!(line["size"]["h"], side, "{variant}");
        let found = line["macs"].as_f64().unwrap() / 1e9;
        assert!((found / gmacs - 1.0).abs() < 0.005, "{variant}: {found} against {gmacs} GMAC");
        let stages = line["stages"].as_array().unwrap();
        let in_stages: u64 = stages.iter().map(|stage| stage["blocks"].as_u64().unwrap()).sum();
        assert_eq!(in_stages, blocks, "{variant}");
        assert!(line["published"][0]["top1"].as_f64().unwrap() > 70.0, "{variant}");
    }
}

#[test]
fn info_reads_variants_and_files() {
    let place = Place::with_weights();
    let table = place.run(&["info"]).exits(0).stdout;
    assert!(table.contains("5,288,548") && table.contains("0.386 G"), "{table}");
    let text = place.run(&["info", "EfficientNetB4"]).exits(0).stdout;
    assert!(text.contains("19,341,616") && text.contains("380x380"), "{text}");
    let line =
        &place.run(&["info", "b0", "--classes", "10", "--size", "64x96", "--json"]).json()[0];
    assert_eq!(line["parameters"], 5_288_548 - 990 * 1281);
    assert_eq!((&line["size"]["h"], &line["size"]["w"]), (&64.into(), &96.into()));
    let file = &place.run(&["info", "--json", "weights/tiny.safetensors"]).exits(0).json()[0];
    assert_eq!(file["metadata"]["variant"], "lite0");
    assert_eq!(file["metadata"]["classes"], 10);
    place.run(&["info", "b9"]).exits(2).says(&["'b9'", "b0-small", "nor is there a file"]);
    place
        .run(&["info", "weights/tiny.safetensors", "--size", "64"])
        .exits(2)
        .says(&["weights/tiny.safetensors is a file", "leave them out"]);
    place.run(&["info", "--size", "0"]).exits(2).says(&["--size", "HEIGHTxWIDTH"]);
}

#[test]
fn plan_adds_up() {
    let place = Place::new();
    let plan = &place.run(&["plan", "b0", "--batch", "2", "--json"]).exits(0).json()[0];
    let steps = plan["steps"].as_array().unwrap();
    let buffers = plan["buffers"].as_array().unwrap();
    let sum =
        |list: &[Value], key: &str| list.iter().map(|x| x[key].as_u64().unwrap()).sum::<u64>();
    let totals = &plan["totals"];
    for key in ["macs", "activation_bytes", "weight_bytes"] {
        assert_eq!(totals[key], sum(steps, key), "{key}");
    }
    let info = &place.run(&["info", "b0", "--json"]).json()[0];
    assert_eq!(totals["macs"].as_u64(), info["macs"].as_u64().map(|macs| 2 * macs));
    assert_eq!(totals["steps"], steps.len());
    for buffer in buffers {
        let ends = ["first_step", "last_step"].map(|end| buffer[end].as_u64().unwrap());
        assert!(ends[0] <= ends[1] && ends[1] < steps.len() as u64, "{buffer}");
        // Where buffers are is a matter of the machine.
        assert!(buffer.get("arena_offset_bytes").is_none() && totals.get("arena_bytes").is_none());
    }
    let memory = &plan["device_memory"];
    let stored = memory["buffers"].as_array().unwrap();
    let in_arena: Vec<&Value> = stored.iter().filter(|b| b["region"] == "arena").collect();
    let bytes = |buffer: &Value| buffer["bytes"].as_u64().unwrap();
    let end = |buffer: &&Value| buffer["offset_bytes"].as_u64().unwrap() + bytes(buffer);
    let last = in_arena.iter().map(end).max().unwrap();
    let arena = memory["arena_bytes"].as_u64().unwrap();
    assert!(last <= arena && arena < last + 256, "{last} of {arena}");
    assert!(arena < in_arena.into_iter().map(bytes).sum());
    assert_eq!(steps[0]["output_shape"], serde_json::json!([2, 112, 112, 32]));
    for step in steps {
        for index in step["reads"].as_array().unwrap() {
            assert!(index.as_u64().unwrap() < buffers.len() as u64);
        }
    }

    let launches = plan["launches"].as_array().unwrap();
    let macs: u64 = launches.iter().map(|launch| launch["macs"].as_u64().unwrap()).sum();
    assert_eq!(Some(macs), totals["macs"].as_u64());
    assert_eq!(launches.last().unwrap()["name"], "classifier");
    assert!(launches.iter().all(|launch| launch["grid"].as_array().unwrap().len() == 3));
    let layerwise = ["plan", "b0", "--batch", "2", "--json", "--path", "layerwise"];
    let layerwise = &place.run(&layerwise).exits(0).json()[0];
    assert!(layerwise["launches"].as_array().unwrap().len() > 2 * launches.len());

    let text =
        place.run(&["plan", "lite0", "--padding", "same-frozen:240", "--steps"]).exits(0).stdout;
    assert!(text.contains("blocks.15.project") && text.contains("arena "), "{text}");
    assert!(text.contains("each machine places the buffers in memory of its own"), "{text}");
    let fp16 = &place.run(&["plan", "b1", "--json"]).json()[0]["device_memory"]["arena_bytes"];
    let fp32 = &place.run(&["plan", "b1", "--json", "--precision", "fp32"]).json()[0];
    assert!(fp32["device_memory"]["arena_bytes"].as_u64() > fp16.as_u64());
    place.run(&["plan", "b0", "--batch", "0"]).exits(2).says(&["1 to 1024"]);
    place.run(&["plan", "b0", "--padding", "valid"]).exits(2).says(&["symmetric", "same-frozen"]);
}

#[test]
fn completions_name_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&["completions", shell]).exits(0).stdout;
        for command in ["classify", "eval", "info", "import", "pull", "plan"] {
            assert!(script.contains(command), "{shell} without {command}");
        }
    }
}

#[test]
fn pull_lists_what_there_is_and_fails_at_once_without_a_network() {
    let place = Place::new();
    let known = place.run(&["pull", "--list", "--json"]).exits(0).json();
    assert!(known.iter().any(|entry| entry["name"] == "lite-pytorch/efficientnet-lite0"));
    assert_eq!(place.run(&["pull", "--list"]).exits(0).stdout.lines().count(), known.len() + 1);

    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/b0.pdparams");
    let ran = place.run(&["pull", "EfficientNetB0", "--url", &url]).exits(2);
    let ran = ran.says(&[&url, "curl -L -o", "effnet import"]);
    assert!(ran.stdout.is_empty(), "{ran:#?}");
    place
        .run(&["pull", "EfficientNetB0_smal"])
        .exits(2)
        .says(&["paddle-clas/EfficientNetB0_small"]);
    place.run(&["pull"]).exits(2).says(&["NAME"]);
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    for (args, parts) in [
        (&["classify"][..], &["PATH"][..]),
        (&["classify", "a.png", "--frobnicate"], &["--frobnicate"]),
        (&["classify", "a.png", "--topk", "0"], &["--topk", "expected a whole number"]),
        (&["classify", "a.png", "--batch", "0"], &["--batch", "1 to 1024"]),
        (&["classify", "a.png", "--threads", "0"], &["--threads"]),
        (&["classify", "a.png", "--json", "--csv"], &["cannot be used with"]),
        (
            &["classify", "a.png", "--device", "gpu"],
            &["expected auto, cuda, cuda:N, emulator or cpu"],
        ),
        (&["classify", "a.png", "--size", "64x"], &["HEIGHTxWIDTH"]),
        (&["import", "x.pth", "--family", "caffe"], &["caffe", "torchvision"]),
        (&["import", "x.pth", "--mean", "1,2"], &["three numbers"]),
        (&["import", "x.pth"], &["x.pth"]),
        (&["frobnicate"], &["frobnicate"]),
    ] {
        let ran = place.run(args).exits(2).says(parts);
        assert!(ran.stdout.is_empty(), "{ran:#?}");
    }
    for args in [&["--help"][..], &["classify", "--help"], &["eval", "-h"], &["--version"]] {
        let ran = place.run(args).exits(0);
        assert!(ran.stdout.contains("effnet") && ran.stderr.is_empty(), "{ran:#?}");
    }
    assert!(place.run(&["--help"]).stdout.contains("Exit status"));
}

#[test]
fn the_version_is_a_line_and_verbose_tells_the_build() {
    let place = Place::new();
    let line = format!("effnet {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.run(&["--version"]).exits(0).stdout, line);
    let told = place.run(&["--version", "--verbose"]).exits(0).stdout;
    assert!(told.starts_with(&line), "{told}");
    for name in ["commit", "kernels", "nvcc", "features", "profile"] {
        let value = told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(!value.trim().is_empty(), "{name}: {told}");
    }
    assert!(told.lines().any(|line| line.starts_with("features") && line.contains("cli")));
    if let Ok(built) = effnet::kernels::built() {
        assert!(built.archs.iter().all(|arch| told.contains(&format!("sm_{arch}"))), "{told}");
        assert!(told.contains(&format!("PTX of compute_{}", built.ptx_arch)), "{told}");
        assert!(told.contains(built.nvcc), "{told}");
    }
    for args in [&["--verbose", "--version"][..], &["-vV"], &["-V", "-v"]] {
        assert_eq!(place.run(args).exits(0).stdout, told, "{args:?}");
    }
}

/// The emulator's work is told at the end, where people read.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
#[cfg(feature = "emulator")]
fn classify_on_the_emulator_tells_its_work() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let args = ["classify", "a.png", "--device", "emulator"];
    place.run(&args).exits(0).says(&[" launches, ", " M warp instructions, no finding, "]);
    let quiet = place.run(&[&args[..], &["--json"]].concat()).exits(0);
    assert!(!quiet.stderr.contains("warp instructions"), "{quiet:#?}");
}

#[test]
fn the_weights_are_found_or_the_error_says_how_to_get_them() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let classify = |args: &[&str]| place.run(&[&["classify", "--json", "a.png"], args].concat());
    let ran = classify(&[]).exits(0).says(&["weights/tiny.safetensors", "lite0"]);
    let expected = ran.stdout;
    for name in ["tiny", "tiny network", "lite0"] {
        assert_eq!(classify(&["--model", name]).exits(0).stdout, expected, "{name}");
    }
    let path = "weights/tiny.safetensors";
    assert_eq!(classify(&["--weights", path]).exits(0).stdout, expected);
    classify(&["--model", "b7"]).exits(2).says(&[
        "'b7'",
        path,
        "cache",
        "effnet pull paddle-clas/EfficientNetB7",
        "effnet import FILE",
    ]);
    let ran = classify(&["--model", "nothing"]).exits(2).says(&["'nothing'", "effnet pull --list"]);
    assert!(!ran.stderr.contains("effnet pull nothing"), "{ran:#?}");
    classify(&["--weights", "a.png"]).exits(2).says(&["a.png", "effnet import"]);

    // Two files of one variant: the file's name still decides, the variant's no more.
    packed(&place.path("weights/other.safetensors"), Labels::None, 10);
    classify(&["--model", "other"]).exits(0);
    classify(&["--model", "lite0"]).exits(2).says(&["names 2", "weights/other.safetensors"]);
    classify(&[]).exits(2).says(&["found 2", "weights/other.safetensors", path]);

    // Neither is a packed file that cannot be opened passed over in silence.
    fs::write(place.path("weights/broken.safetensors"), b"not one").unwrap();
    classify(&["--model", "broken"]).exits(2).says(&["weights/broken.safetensors"]);

    // The folder of the environment comes first, and alone if it has the weights.
    fs::rename(place.path("weights"), place.path("elsewhere")).unwrap();
    classify(&["--model", "tiny"]).exits(2).says(&["no such folder"]);
    let args = ["classify", "--json", "a.png", "--model", "tiny"];
    let output = place.command(&args).env("EFFNET_WEIGHTS_DIR", "elsewhere").output().unwrap();
    assert_eq!(Ran::new(&args, output).exits(0).stdout, expected);
}

#[test]
fn without_a_home_nothing_is_looked_for_or_written_in_a_folder_of_others() {
    let place = Place::new();
    place.picture("a.png", 1);
    let run = |args: &[&str]| {
        let mut command = place.command(args);
        for variable in ["EFFNET_CACHE", "XDG_CACHE_HOME", "HOME"] {
            command.env_remove(variable);
        }
        Ran::new(args, command.env("TMPDIR", place.path("tmp")).output().unwrap())
    };
    // Without ./weights too; weights are in the folder that a fall-back to TMPDIR would take.
    fs::remove_dir_all(place.path("weights")).unwrap();
    fs::create_dir_all(place.path("tmp/effnet")).unwrap();
    packed(&place.path("tmp/effnet/tiny.safetensors"), Labels::None, 10);
    let ran = run(&["classify", "a.png"]).exits(2).says(&["EFFNET_CACHE", "HOME", "found 0"]);
    assert!(!ran.stderr.contains("tmp/effnet"), "{ran:#?}");
    run(&["classify", "--model", "tiny", "a.png"]).exits(2).says(&["no user's cache"]);
    for command in ["pull", "import"] {
        let name = if command == "pull" { "lite0" } else { "a.png" };
        run(&[command, name]).exits(2);
        let found: Vec<_> = fs::read_dir(place.path("tmp/effnet")).unwrap().collect();
        assert_eq!(found.len(), 1, "{command}");
    }
    run(&["pull", "lite0"]).exits(2).says(&["EFFNET_WEIGHTS_DIR", "-o"]);
}

#[test]
fn a_damaged_jpeg_is_classified_with_a_warning_and_odd_ones_are_refused_by_name() {
    let place = Place::with_weights();
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/odd/");
    let names = ["plain-behind.jpg", "restarts-no-marker.jpg", "a.heic", "planes-tiles.tiff"];
    for name in names {
        fs::copy(format!("{odd}{name}"), place.path(name)).unwrap();
    }
    let ran = place.run(&[&["classify", "--json"], &names[..]].concat()).exits(1);
    let lines = ran.json();
    assert_eq!(paths(&lines), names);
    let ran = ran.says(&["warning: restarts-no-marker.jpg: corrupt JPEG data", "heif-convert"]);
    assert_eq!(ran.stderr.matches("warning:").count(), 2, "{ran:#?}");
    for (line, warnings) in lines.iter().zip([0, 2, 0, 0]) {
        assert_eq!(line["warnings"].as_array().unwrap().len(), warnings, "{line}");
        assert_eq!(line["error"].is_null(), line["path"] != "a.heic", "{line}");
    }
    assert!(lines[2]["error"].as_str().unwrap().contains("a HEIC image"), "{}", lines[2]);
}

#[cfg(unix)]
#[test]
fn a_pipe_in_a_folder_is_passed_over_and_a_named_one_is_read() {
    let place = Place::with_weights();
    place.picture("in/a.png", 1);
    let pipe = place.path("in/pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let expected = place.run(&["classify", "--json", "in"]).exits(0).json();
    assert_eq!(paths(&expected), ["in/a.png"]);
    let image = fs::read(place.path("in/a.png")).unwrap();
    let writer = std::thread::spawn(move || fs::write(pipe, image).unwrap());
    let found = place.run(&["classify", "--json", "in/pipe.png"]).exits(0).json();
    writer.join().unwrap();
    assert_eq!(found[0]["top"], expected[0]["top"]);
}

#[test]
fn text_is_for_people() {
    let place = Place::with_weights();
    place.picture("one.png", 1);
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/photos/chelsea.jpg");
    fs::copy(photo, place.path("two.jpg")).unwrap();
    let ran = place.run(&["classify", "one.png", "two.jpg", "--topk", "3"]).exits(0).says(&["CPU"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 9, "{ran:#?}");
    assert_eq!((lines[0], lines[4], lines[5]), ("one.png", "", "two.jpg"));
    let mut before = 100.0;
    for line in &lines[1..4] {
        let mut words = line.split_whitespace();
        let percent: f64 = words.next().unwrap().parse().unwrap();
        assert_eq!(words.next(), Some("%"));
        let index: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(words.collect::<Vec<_>>().join(" "), NAMES[index]);
        assert!(percent <= before);
        before = percent;
    }
}

#[test]
fn json_has_an_object_a_line_in_the_order_of_the_paths() {
    let place = Place::with_weights();
    for seed in 0..9 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let ran = place.run(&["classify", "--json", "in/8.png", "in", "in/3.png"]).exits(0);
    let lines = ran.json();
    let expected = [
        "in/8.png", "in/0.png", "in/1.png", "in/2.png", "in/3.png", "in/4.png", "in/5.png",
        "in/6.png", "in/7.png", "in/8.png", "in/3.png",
    ];
    assert_eq!(paths(&lines), expected);
    assert_eq!((&lines[0], &lines[4]), (&lines[9], &lines[10]), "one picture, two results");
    let different: std::collections::HashSet<_> =
        lines[1..10].iter().map(|line| line["top"][0]["logit"].to_string()).collect();
    assert!(different.len() > 5, "all pictures look the same to the network: {ran:#?}");
    for line in &lines {
        assert_eq!(line["error"], Value::Null);
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["activation", "error", "path", "top", "warnings"]);
        assert_eq!(line["warnings"], Value::Array(Vec::new()));
        let top = line["top"].as_array().unwrap();
        assert_eq!(top.len(), 5);
        for class in top {
            assert_eq!(class["label"], NAMES[class["index"].as_u64().unwrap() as usize]);
        }
        for pair in top.windows(2) {
            assert!(pair[0]["logit"].as_f64() >= pair[1]["logit"].as_f64());
            let odds =
                pair[0]["probability"].as_f64().unwrap() / pair[1]["probability"].as_f64().unwrap();
            let logits = pair[0]["logit"].as_f64().unwrap() - pair[1]["logit"].as_f64().unwrap();
            assert!((odds.ln() - logits).abs() < 1e-4, "{line}");
        }
    }
    // All classes: the probabilities are whole.
    let all = &place.run(&["classify", "--json", "in/0.png", "--topk", "99"]).exits(0).json()[0];
    let top = all["top"].as_array().unwrap();
    assert_eq!(top.len(), 10);
    let sum: f64 = top.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn batches_and_threads_change_nothing() {
    let place = Place::with_weights();
    for seed in 0..7 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    fs::write(place.path("in/4.png"), b"broken").unwrap();
    let run = |batch: &str, threads: &str| {
        let args = ["classify", "--json", "in", "--batch", batch, "--threads", threads];
        place.run(&args).exits(1).stdout
    };
    let expected = run("1", "1");
    for (batch, threads) in [("1", "3"), ("2", "2"), ("3", "1"), ("64", "2")] {
        assert_eq!(run(batch, threads), expected, "batch {batch}, {threads} threads");
    }
}

#[test]
fn csv_has_its_columns_and_quotes_what_needs_it() {
    let place = Place::with_weights();
    place.picture("a,b.png", 3);
    let ran = place.run(&["classify", "--csv", "a,b.png", "--topk", "10"]).exits(0);
    let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
    assert_eq!(reader.headers().unwrap(), vec!["path", "rank", "index", "label", "probability"]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 10);
    for (rank, row) in rows.iter().enumerate() {
        assert_eq!((&row[0], &row[1]), ("a,b.png", (rank + 1).to_string().as_str()));
        assert_eq!(&row[3], NAMES[row[2].parse::<usize>().unwrap()]);
        assert!((0.0..=1.0).contains(&row[4].parse::<f64>().unwrap()));
    }
}

#[test]
fn a_broken_image_fails_alone() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    place.picture("z.png", 2);
    let whole = fs::read(place.path("a.png")).unwrap();
    fs::write(place.path("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(place.path("empty.jpg"), b"").unwrap();
    let args = ["classify", "a.png", "cut.png", "nowhere.png", "empty.jpg", "z.png"];
    let ran = place.run(&[&args[..], &["--json"]].concat()).exits(1);
    let ran = ran.says(&["cut.png", "nowhere.png: no such file", "empty.jpg", "3 of 5"]);
    let lines = ran.json();
    assert_eq!(paths(&lines), args[1..]);
    for (line, fails) in lines.iter().zip([false, true, true, true, false]) {
        assert_eq!(line["error"].is_string(), fails, "{line}");
        let error = line["error"].as_str().unwrap_or_default();
        assert!(!error.contains(line["path"].as_str().unwrap()), "the path is beside it: {line}");
        assert_eq!(line["top"].as_array().unwrap().is_empty(), fails, "{line}");
    }
    let text = place.run(&args).exits(1).says(&["cut.png"]);
    assert!(text.stdout.contains("a.png\n") && text.stdout.contains("\nz.png\n"), "{text:#?}");
    let csv = place.run(&[&args[..], &["--csv", "--topk", "1"]].concat()).exits(1);
    assert_eq!(csv.stdout.lines().count(), 3, "{csv:#?}");
}

#[test]
fn without_any_image_nothing_starts() {
    let place = Place::with_weights();
    fs::create_dir(place.path("empty")).unwrap();
    let ran = place.run(&["classify", "--csv", "nowhere.png", "*.gif", "empty"]).exits(2);
    let ran = ran.says(&["nowhere.png: no such file", "*.gif: no file matches", "empty: no image"]);
    assert!(ran.stdout.is_empty(), "{ran:#?}");
    let lines = place.run(&["classify", "--json", "nowhere.png", "empty"]).exits(2).json();
    assert_eq!(paths(&lines), ["nowhere.png", "empty"]);
    assert!(lines.iter().all(|line| line["error"].is_string()), "{lines:#?}");
    assert_eq!(lines[0]["error"], "no such file or folder");
}

#[test]
fn quiet_leaves_warnings_and_errors() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let args = ["classify", "a.png", "nowhere.png"];
    let loud = place.run(&args).exits(1).says(&["note: CPU, f32", "note: 1 of 2 images failed"]);
    for quiet in ["-q", "--quiet"] {
        let ran = place.run(&[&args[..], &[quiet]].concat()).exits(1);
        assert_eq!(ran.stderr, "error: nowhere.png: no such file or folder\n");
        assert_eq!(ran.stdout, loud.stdout);
    }
    let ran = place.run(&["--quiet", "classify", "a.png", "--verbose"]).exits(0);
    assert!(ran.stderr.is_empty(), "{ran:#?}");
}

/// File names are bytes on these systems.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_unicode_survive() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::with_weights();
    place.picture("d/a.png", 1);
    let name = OsStr::from_bytes(b"d/r\xe9sum\xe9.png");
    fs::copy(place.path("d/a.png"), place.folder.path().join(name)).unwrap();
    place.run(&["classify", "d/*.gif"]).exits(2).says(&["no file matches this pattern"]);
    for path in ["d", "d/*.png"] {
        let lines = place.run(&["classify", "--json", path]).exits(0).json();
        assert_eq!(paths(&lines), ["d/a.png", "d/r\u{fffd}sum\u{fffd}.png"]);
        assert_eq!(lines[0].get("path_bytes"), None);
        assert_eq!(lines[1]["path_bytes"], "ZC9y6XN1bekucG5n");
        assert_eq!(lines[0]["top"], lines[1]["top"]);
    }
    let broken = place.folder.path().join(OsStr::from_bytes(b"d/\xff.png"));
    fs::write(&broken, b"no picture").unwrap();
    let line = &place.run(&["classify", "--json", "d"]).exits(1).json()[2];
    assert_eq!((&line["path_bytes"], line["error"].is_string()), (&"ZC//LnBuZw==".into(), true));
    let csv = place.command(&["classify", "--csv", "--topk", "1", "d"]).output().unwrap().stdout;
    let rows: Vec<&[u8]> = csv.split(|&byte| byte == b'\n').collect();
    assert!(rows[2].starts_with(b"d/r\xe9sum\xe9.png,1,"), "{:?}", rows[2].escape_ascii());
}

#[test]
fn folders_and_patterns_are_expanded() {
    let place = Place::with_weights();
    for (seed, name) in
        ["d/b.png", "d/a.JPG", "d/e/c.webp", "d/.h.png", "d/g.gif"].iter().enumerate()
    {
        place.picture(name, seed as u32);
    }
    fs::write(place.path("d/notes.txt"), "no image").unwrap();
    let found = |path: &str| {
        let lines = place.run(&["classify", "--json", path]).exits(0).json();
        paths(&lines).join(" ")
    };
    assert_eq!(found("d"), "d/a.JPG d/b.png d/e/c.webp d/g.gif");
    assert_eq!(found("d/*.[pJ]*"), "d/a.JPG d/b.png");
    assert_eq!(found("**/c.*"), "d/e/c.webp");
}

#[test]
fn standard_input_is_an_image() {
    let place = Place::with_weights();
    place.picture("a.png", 5);
    let bytes = fs::read(place.path("a.png")).unwrap();
    let run = |bytes: &[u8]| {
        let args = ["classify", "--json", "-"];
        let mut command = place.command(&args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        Ran::new(&args, child.wait_with_output().unwrap())
    };
    let piped = &run(&bytes).exits(0).json()[0];
    assert_eq!(piped["path"], "-");
    let file = &place.run(&["classify", "--json", "a.png"]).json()[0];
    assert_eq!(piped["top"], file["top"]);
    let empty = run(b"").exits(1);
    assert!(empty.json()[0]["error"].is_string(), "{empty:#?}");
}

#[test]
fn labels_can_be_replaced() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    let classify = |labels: &str| {
        fs::write(place.path("labels.txt"), labels).unwrap();
        place.run(&["classify", "--json", "a.png", "--labels", "labels.txt"])
    };
    let names: Vec<String> = (0..10).map(|class| format!("class number {class}")).collect();
    for class in classify(&names.join("\n")).exits(0).json()[0]["top"].as_array().unwrap() {
        assert_eq!(class["label"], names[class["index"].as_u64().unwrap() as usize]);
    }
    let numbered = names.iter().enumerate().map(|(class, name)| (class.to_string(), name));
    let numbered: std::collections::BTreeMap<_, _> = numbered.collect();
    let json = serde_json::json!({ "id2label": numbered });
    assert_eq!(classify(&json.to_string()).stdout, classify(&names.join("\n")).stdout);
    classify("only one\n").exits(2).says(&["labels.txt", "expected 10", "found 1"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::with_weights();
    for seed in 0..4 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let many: Vec<&str> = std::iter::repeat_n("in", 200).collect();
    for args in [&[&["classify", "--json"], &many[..]].concat()[..], &["plan", "b7"]] {
        let mut command = place.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // As `head -1` does: the output after the first bytes is not wanted.
        let mut stdout = child.stdout.take().unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
        drop(stdout);
        let ran = Ran::new(args, child.wait_with_output().unwrap()).exits(0);
        assert!(!ran.stderr.contains("error"), "{ran:#?}");
    }
}

#[test]
fn eval_counts_what_is_right() {
    let place = Place::with_weights();
    for seed in 0..6 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let all = place.run(&["classify", "--json", "in", "--topk", "10"]).exits(0).json();
    let index = |line: &Value, rank: usize| line["top"][rank]["index"].as_u64().unwrap();
    // The true classes come at these ranks: 4 of 6 are first, 5 of 6 among the first five.
    let ranks = [0, 0, 2, 0, 9, 0];
    let truths: Vec<u64> = all.iter().zip(ranks).map(|(line, rank)| index(line, rank)).collect();
    let list: String = (0..6)
        .map(|i| match i {
            0 => format!("0.png\t{}\n", NAMES[truths[0] as usize]),
            i => format!("{i}.png {}\n", truths[i]),
        })
        .collect();
    fs::write(place.path("in/list.txt"), &list).unwrap();
    let check = |args: &[&str]| {
        let report = &place.run(&[&["eval", "--json"], args].concat()).exits(0).json()[0];
        assert_eq!(report["images"], 6, "{report}");
        assert_eq!((&report["top1_correct"], &report["top5_correct"]), (&4.into(), &5.into()));
        assert!((report["top1"].as_f64().unwrap() - 100.0 * 4.0 / 6.0).abs() < 1e-9, "{report}");
        assert!(report["images_per_s"].as_f64().unwrap() > 0.0, "{report}");
    };
    check(&["in/list.txt"]);
    fs::write(place.path("elsewhere.csv"), list.replace(' ', ",")).unwrap();
    check(&["in", "--list", "elsewhere.csv", "--batch", "4"]);

    for (i, truth) in truths.iter().enumerate() {
        let folder = place.path(&format!("classes/{truth}"));
        fs::create_dir_all(&folder).unwrap();
        fs::copy(place.path(&format!("in/{i}.png")), folder.join(format!("{i}.png"))).unwrap();
    }
    check(&["classes"]);
    let text = place.run(&["eval", "classes"]).exits(0).stdout;
    assert!(text.contains("66.67 %  (4 of 6)") && text.contains("83.33 %  (5 of 6)"), "{text}");

    // A broken image is left out.
    fs::write(place.path("classes/0/broken.png"), b"no").unwrap_or_else(|_| {
        fs::create_dir(place.path("classes/0")).unwrap();
        fs::write(place.path("classes/0/broken.png"), b"no").unwrap();
    });
    let ran = place.run(&["eval", "classes", "--json"]).exits(1).says(&["broken.png"]);
    let report = &ran.json()[0];
    assert_eq!((&report["images"], &report["failed"]), (&7.into(), &1.into()));
    assert_eq!(report["top1_correct"], 4);
}

#[test]
fn eval_reads_what_classify_writes() {
    let place = Place::new();
    // Names that are numbers, none at its own place.
    let names = (0..10).map(|class| ((class + 1) % 10).to_string()).collect();
    packed(&place.path("weights/tiny.safetensors"), Labels::Names(names), 10);
    for seed in 0..4 {
        place.picture(&format!("in/{seed}, {seed}.png"), seed);
    }
    fs::write(place.path("in/broken.png"), b"no picture").unwrap();
    for (format, topk) in [("--csv", "1"), ("--csv", "5"), ("--json", "3")] {
        let own = place.run(&["classify", format, "--topk", topk, "in"]).exits(1).stdout;
        fs::write(place.path("own.txt"), own).unwrap();
        for list in [&["own.txt"][..], &["/", "--list", "own.txt"]] {
            let ran = place.run(&[&["eval", "--json"], list].concat()).exits(0);
            let report = &ran.json()[0];
            assert_eq!(
                (&report["images"], &report["top1"]),
                (&4.into(), &100.0.into()),
                "{ran:#?}"
            );
            assert_eq!(report["classes_by"], "index");
            assert_eq!(ran.stderr.contains("1 image of the list has an error"), format == "--json");
        }
    }
}

/// The folder is named as `classify` calls its images.
#[test]
fn eval_takes_names_that_are_numbers_for_names() {
    let place = Place::with_weights();
    for seed in 0..3 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let labels: String = (0..10).map(|class| format!("{}\n", (class + 3) % 10)).collect();
    fs::write(place.path("labels.txt"), labels).unwrap();
    let args = ["--labels", "labels.txt", "--json"];
    for line in place.run(&[&["classify", "in"], &args[..]].concat()).exits(0).json() {
        let label = line["top"][0]["label"].as_str().unwrap();
        let path = line["path"].as_str().unwrap();
        fs::create_dir_all(place.path("ds").join(label)).unwrap();
        fs::copy(place.path(path), place.path("ds").join(label).join(&path[3..])).unwrap();
    }
    let ran = place.run(&[&["eval", "ds"], &args[..]].concat()).exits(0);
    let ran = ran.says(&["note: class names are numbers", "--classes-by index"]);
    let report = &ran.json()[0];
    assert_eq!((&report["top1"], &report["classes_by"]), (&100.0.into(), &"name".into()));
    assert_eq!(report["other_reading"]["by"], "index");
    assert_eq!(report["other_reading"]["top1_correct"], 0);
    // Read as what they are not, the other reading is told with its accuracy.
    let forced = place.run(&["eval", "ds", "--json", "--classes-by", "index", args[0], args[1]]);
    assert_eq!(forced.exits(0).json()[0]["top1_correct"], 0);
    place.run(&["eval", "ds", "--classes-by", "name"]).exits(2).says(&["names no class"]);
    place.run(&["eval", "ds", "--classes-by", "number"]).exits(2).says(&["index, name"]);
}

#[test]
fn eval_tells_folders_sorted_as_text_and_classes_off_by_one() {
    let place = Place::new();
    packed(&place.path("weights/tiny.safetensors"), Labels::None, 12);
    for seed in 0..12 {
        place.picture(&format!("in/{seed}.png"), seed);
    }
    let found = place.run(&["classify", "--json", "in"]).exits(0).json();
    // As a training with ImageFolder would name them: 0, 1, 10, 11, 2, 3.
    let mut sorted: Vec<String> = (0..12).map(|class| class.to_string()).collect();
    sorted.sort();
    let mut lower = String::new();
    for line in &found {
        let (path, class) = (line["path"].as_str().unwrap(), best(line) as usize);
        let folder = place.path("ds").join(&sorted[class]);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(place.path(path), folder.join(&path[3..])).unwrap();
        if class < 11 {
            lower += &format!("{path} {}\n", class + 1);
        }
    }
    let several = found.iter().map(best).collect::<std::collections::HashSet<_>>();
    assert!(several.len() > 1 && several.iter().any(|&class| class > 1), "{several:?}");
    let ran = place.run(&["eval", "ds", "--json"]).exits(0);
    let ran = ran.says(&["warning: top-1 is", "100.00 % in the other way: --classes-by name"]);
    let report = &ran.says(&["torchvision"]).json()[0];
    assert_eq!(
        (&report["classes_by"], &report["other_reading"]["by"]),
        (&"index".into(), &"order".into())
    );
    assert_eq!(report["other_reading"]["top1"], 100.0);
    let ran = place.run(&["eval", "ds", "--json", "--classes-by", "name"]).exits(0);
    assert_eq!((&ran.json()[0]["top1"], ran.stderr.contains("warning")), (&100.0.into(), false));

    fs::write(place.path("list.txt"), &lower).unwrap();
    let ran = place.run(&["eval", "list.txt", "--json"]).exits(0);
    let ran = ran.says(&["warning: top-1 is 0.00 %, and 100.00 % if every class is one lower"]);
    let report = &ran.json()[0]["off_by_one"];
    assert_eq!(
        (&report["by"], &report["top1_correct"]),
        (&"lower".into(), &lower.lines().count().into())
    );
}

#[test]
fn eval_says_what_is_wrong_with_a_dataset() {
    let place = Place::with_weights();
    place.picture("in/zebra/a.png", 1);
    place.run(&["eval", "in"]).exits(2).says(&["'zebra' names no class", "0 to 9", "--list"]);
    place.picture("flat/a.png", 1);
    place.run(&["eval", "flat"]).exits(2).says(&["a.png", "--list FILE"]);
    place.run(&["eval", "nowhere"]).exits(2).says(&["nowhere"]);
    fs::write(place.path("list.txt"), "flat/a.png 1\nflat/a.png 10\n").unwrap();
    place.run(&["eval", "list.txt"]).exits(2).says(&["list.txt:2", "0 to 9"]);
    fs::write(place.path("list.txt"), "flat/b.png 1\n").unwrap();
    place.run(&["eval", "list.txt"]).exits(2).says(&["flat/b.png", "none of 1"]);
}

#[test]
fn eval_knows_imagenet_ids() {
    let place = Place::new();
    packed(&place.path("weights/tiny.safetensors"), Labels::Imagenet1k, 1000);
    place.picture("in/x.png", 1);
    let line = &place.run(&["classify", "--json", "in"]).exits(0).json()[0];
    let ids: Vec<&str> = include_str!("../src/cli/imagenet1k_synsets.txt").lines().collect();
    let id = ids[best(line) as usize];
    place.picture(&format!("flat/{id}_some_name.png"), 1);
    place.picture("flat/n01440764.png", 1);
    let report = &place.run(&["eval", "flat", "--json"]).exits(0).json()[0];
    assert_eq!((&report["images"], &report["top1_correct"]), (&2.into(), &1.into()));
    place.picture(&format!("folders/{id}/1.png"), 1);
    let report = &place.run(&["eval", "folders", "--json"]).exits(0).json()[0];
    assert_eq!((&report["images"], &report["top1_correct"]), (&1.into(), &1.into()));
}

#[test]
fn wrong_files_are_named_with_what_would_do() {
    let place = Place::with_weights();
    place.picture("a.png", 1);
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("notes.txt"), b"no weights at all").unwrap();
    let classify = |weights| place.run(&["classify", "a.png", "--weights", weights]).exits(2);
    classify("folder").says(&["folder: expected a file of packed weights", "found a folder"]);
    classify("notes.txt").says(&["notes.txt: ", "run `effnet import`"]);
    place.run(&["import", "weights/tiny.safetensors"]).exits(2).says(&["already", "--weights"]);
    let help = place.run(&["classify", "--help"]).exits(0).stdout;
    assert!(help.find("--csv") < help.find("--verbose"), "{help}");
    for (file, cause) in [
        ("folder", "a folder with one checkpoint, found none"),
        ("nowhere.pth", "expected a checkpoint"),
    ] {
        let ran = place.run(&["import", file]).exits(2).says(&[cause]);
        let place = format!("{file}: ");
        assert_eq!(ran.stderr.matches(&place).count(), 1, "{ran:#?}");
    }
}
