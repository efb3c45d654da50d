//! `effnet estimate` from end to end: what it predicts says so, its sample stands for the whole
//! launch, and constants go out to files and come back.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.current_dir(self.folder.path()).args(args).output().unwrap()
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.run(&[&["estimate"], args].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--json"]].concat())).unwrap()
    }

    /// Ends with exit status 2, no panic, and every one of `says`.
    #[track_caller]
    fn refused(&self, args: &[&str], says: &[&str]) {
        let output = self.run(&[&["estimate"], args].concat());
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        for part in says {
            assert!(said.contains(part), "{said:?} does not say {part:?}");
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

const SMALL: [&str; 5] = ["lite0", "--size", "64", "--gpu", "h100"];

#[test]
fn every_output_says_that_it_is_predicted() {
    let place = Place::new();
    for by in ["launch", "block", "op", "cause"] {
        let text = place.text(&[&SMALL[..], &["--by", by]].concat());
        assert!(text.starts_with("predicted: lite0, batch 1, 64x64, fp16, fused, on NVIDIA H100"));
        assert!(text.contains("predicted us") && text.contains("none is measured"), "{text}");
        assert!(text.contains("Issue slots come from"), "{text}");
    }
    let launches = place.text(&[&SMALL[..], &["--by", "launch", "--html", "page.html"]].concat());
    assert!(launches.lines().any(|line| line.starts_with("blocks.0.project")), "{launches}");
    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    for part in [
        "Predicted time of each block",
        "Predicted critical path of a block, by op",
        "predicted us",
        "<svg",
        "none is measured",
        "dram_gbps",
        "assumed",
    ] {
        assert!(page.contains(part), "no {part:?}");
    }
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for absent in ["http://", "https://", "<script"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn the_json_adds_up_and_has_its_constants_with_their_sources() {
    let place = Place::new();
    let found = place.json(&SMALL);
    assert_eq!(found["schema"], "effnet-estimate/1");
    assert_eq!((&found["predicted"], &found["gpu"]["arch"]), (&json!(true), &json!(90)));
    assert!(found["model"].as_str().unwrap().contains("docs/performance.md"));
    for (name, constant) in found["gpu"]["constants"].as_object().unwrap() {
        assert!(number(&constant["value"]) >= 0.0, "{name}");
        assert!(!constant["source"].as_str().unwrap().is_empty(), "{name}");
    }
    let launches = list(&found["launches"]);
    let total = number(&found["total"]["predicted_us"]);
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    let sum = |of: &[Value], key: &str| of.iter().map(|one| number(&one[key])).sum::<f64>();
    assert!(close(sum(launches, "predicted_us"), total));
    for by in ["block", "op", "cause"] {
        let groups = list(&found["groups"][by]);
        assert!(close(sum(groups, "predicted_us"), total), "{by}");
    }
    for launch in launches {
        let name = &launch["name"];
        let parts = number(&launch["launch_us"]) + number(&launch["body_us"]);
        assert!(close(parts, number(&launch["predicted_us"])), "{name}");
        // The body is no shorter than any of its terms, and the largest is its cause.
        let terms = launch["terms_us"].as_object().unwrap();
        let largest = terms.values().map(number).fold(0.0, f64::max);
        assert!(number(&launch["body_us"]) >= largest, "{name}");
        assert_eq!(number(&terms[launch["cause"].as_str().unwrap()]), largest, "{name}");
        assert!(number(&launch["slots"]["all"]) > 0.0, "{name}");
        assert!(!list(&launch["path_lines"]).is_empty(), "{name}");
        // No path waits for less than a load beyond the first-level cache.
        let path: f64 = launch["path_cycles"].as_object().unwrap().values().map(number).sum();
        assert!(path > number(&found["gpu"]["constants"]["l2_cycles"]["value"]), "{name}");
    }
    // The stem's launch is the first, and waits for what is before it.
    let full = number(&found["gpu"]["constants"]["launch_us"]["value"]);
    assert!(number(&launches[0]["launch_us"]) >= full);
}

/// A sample against all blocks, for three images of B0. Where an extent of the grid is sampled, the
/// first and the last position stand for themselves, and only those between are weighted. Blocks
/// between differ where a row of tiles ends among them: of a map of `c` tiles a row 2 in `c`, which
/// do half of the work at least, so that a launch is off by 1 / c at most, a sixth for rows of six
/// tiles, the shortest that are not run as a whole. Launches err in either direction: all of them
/// together are held to a third of that.
#[test]
fn a_sample_of_the_blocks_stands_for_all_of_them() {
    let place = Place::new();
    let args = ["b0", "--size", "96", "--batch", "3"];
    let sampled = place.json(&[&args[..], &["--gpu", "h100"]].concat());
    let output =
        place.run(&[&["profile"], &args[..], &["--device", "emulator", "--json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let whole: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (ours, theirs) = (list(&sampled["launches"]), list(&whole["items"]));
    assert_eq!(ours.len(), theirs.len());
    let (mut run, mut blocks) = (0.0, 0.0);
    // Which blocks have conflicts is no matter of a launch's edges alone: few do, and only all
    // launches together are held to a bound.
    let counts = [
        ("instructions", "instructions", true),
        ("sectors", "global_sectors", true),
        ("bank_conflicts", "bank_conflicts", false),
    ];
    for (mine, other, of_each) in counts {
        let (mut sum, mut expected) = (0.0, 0.0);
        for (launch, item) in ours.iter().zip(theirs) {
            assert_eq!(launch["name"], item["name"]);
            let (found, all) = (number(&launch[mine]), number(&item["counters"][other]));
            assert!(
                !of_each || (found - all).abs() <= all / 6.0,
                "{}: {mine}: {found}, all blocks {all}",
                launch["name"]
            );
            sum += found;
            expected += all;
        }
        assert!((sum - expected).abs() <= expected / 18.0, "{mine}: {sum}, all blocks {expected}");
    }
    for launch in ours {
        run += number(&launch["sampled_blocks"]);
        blocks += number(&launch["blocks"]);
    }
    assert!(run < 0.8 * blocks, "{run} of {blocks} blocks is no sample");
}

#[test]
fn more_of_everything_takes_longer_and_a_slower_gpu_too() {
    let place = Place::new();
    let total = |args: &[&str]| number(&place.json(args)["total"]["predicted_us"]);
    let one = total(&SMALL);
    assert!(total(&[&SMALL[..], &["--batch", "64"]].concat()) > one);
    assert!(total(&["lite0", "--size", "64", "--gpu", "orin", "--batch", "64"]) > 2.0 * one);
    assert!(total(&[&SMALL[..], &["--path", "layerwise"]].concat()) > one);
}

#[test]
fn constants_go_out_to_a_file_and_come_back() {
    let place = Place::new();
    let file = place.text(&["--print-gpu", "h100"]);
    std::fs::write(place.path("mine.json"), file.replace("1.755", "0.8775")).unwrap();
    let mine = ["lite0", "--size", "64", "--gpu", "./mine.json"];
    let body = |found: &Value| number(&found["total"]["body_us"]);
    let (fast, slow) = (place.json(&SMALL), place.json(&mine));
    // At half the clock everything but device memory and L2 takes twice as long.
    let times = body(&slow) / body(&fast);
    assert!((1.8..=2.0 + 1e-9).contains(&times), "{times}");
    std::fs::write(place.path("bad.json"), file.replace("1.755", "-1")).unwrap();
    let bad = ["lite0", "--gpu", "bad.json"];
    place.refused(&bad, &["bad.json: clock_ghz: found -1, expected 0.1 to 10 GHz"]);
}

#[test]
fn what_cannot_be_predicted_is_said_before_anything_runs() {
    let place = Place::new();
    place.refused(&["b0", "--gpu", "h10"], &["no GPU named h10", "did you mean h100?", "orin"]);
    place.refused(&["b0", "--gpu", "absent.json"], &["absent.json: "]);
    place.refused(&["b0"], &["--gpu"]);
    place.refused(&["--gpu", "h100"], &["VARIANT"]);
    place.refused(&["b9", "--gpu", "h100"], &["b9"]);
    place.refused(&["--print-gpu", "abacus"], &["no GPU named abacus"]);
    std::fs::write(place.path("m.json"), "{}").unwrap();
    let measured = [&SMALL[..], &["--measured", "m.json"]].concat();
    place.refused(&measured, &["m.json: ", "effnet profile --device cuda --json"]);
}

/// What `effnet profile --device cuda --json` would print on a GPU that takes the predicted times.
fn profile(found: &Value) -> Value {
    let launch_us = number(&found["gpu"]["constants"]["launch_us"]["value"]);
    let items = list(&found["launches"]).iter().map(|launch| {
        json!({ "name": launch["name"], "time_us": launch_us + number(&launch["body_us"]) })
    });
    let subject = &found["subject"];
    json!({
        "schema": "effnet-profile/1",
        "kind": "times",
        "subject": {
            "variant": subject["variant"], "device": "cuda:0", "device_name": "a made-up GPU",
            "path": subject["path"], "precision": subject["precision"],
            "batch": subject["batch"], "size": subject["size"],
        },
        "run_us": { "median": found["total"]["predicted_us"] },
        "items": items.collect::<Vec<_>>(),
    })
}

/// Constants that times were made from are found again in the times, and predicted then equals
/// measured.
#[test]
fn measured_times_lie_beside_and_refit_the_constants() {
    let place = Place::new();
    let truth = place.text(&["--print-gpu", "h100"]);
    let truth = truth.replace("\"value\": 290.0", "\"value\": 340.0").replace(": 1.3,", ": 2.2,");
    std::fs::write(place.path("truth.json"), truth).unwrap();
    let mut fits = Vec::new();
    for batch in ["1", "32"] {
        let subject = ["lite0", "--size", "64", "--batch", batch];
        let found = place.json(&[&subject[..], &["--gpu", "truth.json"]].concat());
        let name = format!("measured-{batch}.json");
        std::fs::write(place.path(&name), profile(&found).to_string()).unwrap();
        fits.extend(["--fit".to_owned(), name]);
    }
    let fits: Vec<&str> = fits.iter().map(String::as_str).collect();
    // A fit keeps to the paths through the blocks at the constants before; from the constants found,
    // the slowest path may be another.
    let first = place.text(&[&["--gpu", "h100"], &fits[..]].concat());
    std::fs::write(place.path("first.json"), &first).unwrap();
    let fitted = place.text(&[&["--gpu", "first.json"], &fits[..]].concat());
    std::fs::write(place.path("fitted.json"), &fitted).unwrap();
    let value = |name: &str| {
        let file: Value = serde_json::from_str(&fitted).unwrap();
        number(&file["constants"][name]["value"])
    };
    for (name, expected) in [("launch_us", 2.2), ("l2_cycles", 340.0)] {
        let found = value(name);
        assert!((found / expected - 1.0).abs() < 0.02, "{name}: {found}, expected {expected}");
    }
    assert!(fitted.contains("fitted by effnet estimate --fit to measured-1.json (a made-up GPU)"));

    let subject =
        ["lite0", "--size", "64", "--gpu", "fitted.json", "--measured", "measured-1.json"];
    let table = place.text(&[&subject[..], &["--by", "launch"]].concat());
    assert!(table.contains("predicted/measured") && table.contains("a made-up GPU"), "{table}");
    for launch in list(&place.json(&subject)["launches"]) {
        let alone = value("launch_us") + number(&launch["body_us"]);
        let ratio = alone / number(&launch["measured_us"]);
        assert!((0.9..1.1).contains(&ratio), "{}: {ratio}", launch["name"]);
    }
    let other = ["lite0", "--gpu", "h100", "--measured", "measured-1.json"];
    place.refused(&other, &["measured-1.json: measured with --size 64x64", "224x224"]);
}

/// Counts of the golden table: what a launch is asked to do, before any constant of a GPU.
const COUNTS: [&str; 9] = [
    "instructions",
    "slots.all",
    "slots.fma",
    "slots.alu",
    "slots.special",
    "slots.load_store",
    "slots.tensor",
    "sectors",
    "bank_conflicts",
];

fn counts_of(place: &Place, variant: &str, table: &mut String) -> String {
    let found = place.json(&[variant, "--gpu", "h100"]);
    let mut ops: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for launch in list(&found["launches"]) {
        let mut row = vec![1.0];
        for name in COUNTS {
            row.push(match name.split_once('.') {
                Some((object, field)) => number(&launch[object][field]),
                None => number(&launch[name]),
            });
        }
        row.push(number(&launch["bytes"]));
        let sums = ops.entry(launch["op"].as_str().unwrap()).or_insert(vec![0.0; row.len()]);
        sums.iter_mut().zip(row).for_each(|(sum, one)| *sum += one);
    }
    for (op, sums) in ops {
        let cells: Vec<String> = sums.iter().map(|sum| format!("{sum:.0}")).collect();
        writeln!(table, "{variant}\t{op}\t{}", cells.join("\t")).unwrap();
    }
    format!("sm_{}, slots from {}", found["code_arch"], found["slots_from"].as_str().unwrap())
}

/// Counts of B0, B4 and Lite0, batch 1, by op, against `tests/golden/estimate_counts.tsv`. A change
/// that is meant to alter them records them anew, with its reason in the commit: `EFFNET_RECORD=1
/// cargo test --test estimate_cli`. Another compiler makes other counts: a build by one that the
/// table was not recorded with is told, and not compared.
#[test]
fn counts_change_only_with_a_reason() {
    let place = Place::new();
    let mut table = String::new();
    let mut made_by = String::new();
    for variant in ["b0", "b4", "lite0"] {
        made_by = counts_of(&place, variant, &mut table);
    }
    let built = effnet::kernels::built().unwrap();
    let head = format!("# {}, PTX of sm_{}; {made_by}\n", built.nvcc, built.ptx_arch);
    let names = format!("variant\top\tlaunches\t{}\tbytes\n", COUNTS.join("\t"));
    let found = format!("{head}{names}{table}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/estimate_counts.tsv");
    if std::env::var("EFFNET_RECORD").is_ok_and(|value| value == "1") {
        std::fs::write(&file, found).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    let recorded = golden.lines().next().unwrap_or_default();
    if recorded != head.trim_end() {
        println!("not compared: recorded with {recorded}, built with {head}");
        return;
    }
    for (line, expected) in found.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "EFFNET_RECORD=1 records what is meant to change");
    }
    assert_eq!(found.lines().count(), golden.lines().count());
}
