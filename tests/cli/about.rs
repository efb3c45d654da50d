//! What the program says of itself, of networks and of plans.

use super::*;

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
fn there_is_a_manual_page_for_every_command() {
    let place = Place::new();
    place.run(&["man", "share/man1"]).exits(0);
    let page = |name: &str| {
        let path = place.path(&format!("share/man1/{name}.1"));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let whole = page("effnet");
    for command in ["classify", "eval", "info", "import", "pull", "plan", "man"] {
        assert!(whole.contains(&format!("effnet\\-{command}(1)")), "{command} in {whole}");
        assert!(page(&format!("effnet-{command}")).contains(".SH OPTIONS"), "{command}");
    }
    // Where no folder can be, it is said.
    fs::write(place.path("file"), "").unwrap();
    let refused = place.run(&["man", "file/man1"]).exits(2).stderr;
    assert!(refused.contains("file/man1: cannot make this folder: "), "{refused}");
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
#[cfg_attr(
    not(all(kernel_target = "80", kernel_target = "90")),
    ignore = "needs kernels for 80 and 90: build with nvcc (make cuda) and EFFNET_CUDA_ARCHS=80,90"
)]
fn plan_tells_registers_and_resident_blocks_of_the_target_asked_for() {
    use effnet::kernels::{Geometry, images, occupancy::Multiprocessor};
    let place = Place::new();
    let plan = |args: &[&str]| {
        let plan = place.run(&[&["plan", "b0", "--json"], args].concat()).exits(0).json();
        plan[0]["launches"].as_array().unwrap().clone()
    };
    for (arch, args) in [(80, &[][..]), (80, &["--arch", "80"]), (90, &["--arch", "sm_90"])] {
        for launch in plan(args) {
            let told = &launch["registers"];
            let reports = images().iter().flat_map(|image| image.resources);
            let report = { reports }.find(|r| r.arch == arch && launch["kernel"] == r.entry);
            let report = report.unwrap();
            assert_eq!(
                (&told["arch"], &told["registers"]),
                (&arch.into(), &report.registers.into())
            );
            let three = |name: &str| [0, 1, 2].map(|i| launch[name][i].as_u64().unwrap() as u32);
            let shared_bytes = launch["shared_bytes"].as_u64().unwrap() as u32;
            let geometry = Geometry { grid: three("grid"), block: three("block"), shared_bytes };
            let blocks = Multiprocessor::of(arch).unwrap().resident_blocks(report, &geometry);
            assert_eq!(told["resident_blocks"], blocks, "{launch}");
        }
    }
    let text = place.run(&["plan", "b0", "--arch", "90"]).exits(0).stdout;
    assert!(text.contains("resident") && text.contains("sm_90"), "{text}");
    place.run(&["plan", "b0", "--arch", "61"]).exits(2).says(&["--arch", "sm_80"]);
    let profile = ["profile", "b0", "--device", "cpu", "--size", "32", "--arch", "90"];
    place.run(&profile).exits(2).says(&["--arch", "cpu", "leave it out"]);
}

#[test]
fn the_version_is_a_line_and_verbose_tells_the_build() {
    let place = Place::new();
    let line = format!("effnet {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(place.run(&["--version"]).exits(0).stdout, line);
    let told = place.run(&["--version", "--verbose"]).exits(0).stdout;
    assert!(told.starts_with(&line), "{told}");
    for name in ["commit", "kernels", "nvcc", "drivers", "features", "profile"] {
        let value = told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(!value.trim().is_empty(), "{name}: {told}");
    }
    assert!(told.lines().any(|line| line.starts_with("features") && line.contains("cli")));
    if let Ok(built) = effnet::kernels::built() {
        assert!(built.archs.iter().all(|arch| told.contains(&format!("sm_{arch}"))), "{told}");
        assert!(told.contains(&format!("PTX of compute_{}", built.ptx_arch)), "{told}");
        assert!(told.contains(built.nvcc), "{told}");
        let drivers = format!("CUDA {} or newer", built.driver_for_ptx());
        assert!(
            told.lines().any(|line| line.starts_with("drivers") && line.contains(&drivers)),
            "{told}"
        );
    }
    for args in [&["--verbose", "--version"][..], &["-vV"], &["-V", "-v"]] {
        assert_eq!(place.run(args).exits(0).stdout, told, "{args:?}");
    }
}
