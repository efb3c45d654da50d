//! Runs of the CUDA device on the emulated driver (`tests/emulated_driver/`), seen from both sides:
//! what a caller gets, and every copy, graph and wait that reaches the driver. Then a driver that
//! refuses what a run can do without, and one that fails.
//!
//! `on_device` is of runs from device memory to device memory.
//!
//! Each device lives in a process of its own, which is this program again: the driver's library and
//! its faults are a process's.
#![cfg(all(target_os = "linux", kernels))] // the library is found through LD_LIBRARY_PATH

mod on_device;
#[path = "../support/mod.rs"]
mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::device::cuda::{BestClasses, Wait};
use effnet::device::{CudaDevice, CudaError, EmulatedDevice, InputMut};
use effnet::kernels::Compute;
use effnet::launches::{Download, LaunchOptions, LaunchPlan, Path};
use effnet::plan::{Plan, PlanOptions};

use effnet::weights::stand_in::{self, Random};
use effnet::weights::{Metadata, Precision, Weights};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use support::{emulated_driver, metadata};

const BATCH: usize = 2;
const TOP_K: usize = 3;
const CHILD: &str = "EFFNET_TEST_WITH_DRIVER";
const TRACE: &str = "EFFNET_EMULATED_DRIVER_TRACE";

/// Whether this is the process that has the driver.
fn has_driver() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs a test of this file again with the driver, and gives what it printed behind `found: `.
#[track_caller]
fn with_driver(test: &str, variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    emulated_driver::link(folder.path());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env(TRACE, folder.path().join("trace"))
        .env("LD_LIBRARY_PATH", folder.path())
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let [said, errors] = [output.stdout, output.stderr].map(|s| String::from_utf8(s).unwrap());
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{variables:?}: {said}\n{errors}"
    );
    let found = said.lines().filter_map(|line| line.split_once("found: "));
    found.map(|(_, found)| found.to_owned()).collect::<Vec<_>>().join("\n")
}

fn weights() -> Weights {
    let metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    stand_in::weights(&Metadata { classes: 10, ..metadata }, 1).unwrap()
}

fn launches(download: Download) -> LaunchPlan {
    let options = PlanOptions {
        batch: BATCH,
        size: Size::square(32),
        padding: Padding::SameDynamic,
        precision: Precision::Fp16,
    };
    let plan = Plan::new(&Network::new(Variant::Lite0, 10), options).unwrap();
    let options = LaunchOptions::new(Path::Fused, Compute::Fp16);
    LaunchPlan::new(&plan, LaunchOptions { top_k: TOP_K, download, ..options }).unwrap()
}

fn device(download: Download) -> Result<CudaDevice, CudaError> {
    CudaDevice::new(0, launches(download), &weights())
}

/// A batch, and the same images in the other order.
fn images(plan: &LaunchPlan) -> [Vec<f32>; 2] {
    let images = Random::new(7).vector(BATCH * plan.input_elems());
    let (first, second) = images.split_at(plan.input_elems());
    let swapped = [second, first].concat();
    [images, swapped]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Lines that the driver has written since the last call.
struct Trace {
    path: PathBuf,
    seen: usize,
}

impl Trace {
    fn new() -> Trace {
        Trace { path: std::env::var_os(TRACE).unwrap().into(), seen: 0 }
    }

    fn take(&mut self) -> Vec<String> {
        let all = std::fs::read_to_string(&self.path).unwrap_or_default();
        let new = all.lines().skip(self.seen).map(str::to_owned).collect();
        self.seen = all.lines().count();
        new
    }
}

/// The copies among lines of the trace: the words of each.
fn copies(lines: &[String]) -> Vec<[&str; 4]> {
    let is_copy = |line: &&String| {
        let word = |word: &str| line.strip_prefix(word).is_some_and(|rest| !rest.starts_with("of"));
        word("upload ") || word("download ")
    };
    lines
        .iter()
        .filter(is_copy)
        .map(|line| {
            let mut words = line.split(' ');
            [(); 4].map(|()| words.next().unwrap())
        })
        .collect()
}

/// One copy to the device and one back, both of pinned memory; gives where the first was from.
#[track_caller]
fn copied_once(lines: &[String], up_bytes: usize, down_bytes: usize) -> usize {
    let copies = copies(lines);
    let [["upload", up, "pinned", from], ["download", down, "pinned", _]] = copies[..] else {
        panic!("{lines:?}");
    };
    assert_eq!([up, down], [up_bytes.to_string(), down_bytes.to_string()].each_ref().map(|s| &**s));
    usize::from_str_radix(from.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn count(lines: &[String], start: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(start)).count()
}

/// Bytes from the first output that the host gets to the end of the last, of `n` images.
fn down_bytes(plan: &LaunchPlan, n: usize) -> usize {
    let top = plan.top_k().unwrap();
    let first = match plan.options().download {
        Download::All => plan.features(),
        Download::TopK => top.classes,
    };
    (top.probabilities.offset_bytes - first.offset_bytes) as usize + n * TOP_K * 4
}

/// Writes a batch where the next run's is read, and gives where that is.
fn write(device: &mut CudaDevice, images: &[f32]) -> usize {
    let InputMut::F32(lent) = device.input_mut(BATCH).unwrap() else { panic!("a plan of f32") };
    lent.copy_from_slice(images);
    lent.as_ptr() as usize
}

#[test]
fn a_run_is_one_copy_each_way_and_so_are_the_weights() {
    if !has_driver() {
        for order in ["late", "early"] {
            let order = [("EFFNET_EMULATED_DRIVER_ORDER", order)];
            with_driver("a_run_is_one_copy_each_way_and_so_are_the_weights", &order);
        }
        return;
    }
    let mut trace = Trace::new();
    let mut device = device(Download::All).unwrap();
    let plan = device.plan().clone();
    let lines = trace.take();
    let copied = copies(&lines);
    let weights_bytes = plan.weights_bytes().to_string();
    assert!(matches!(copied[..], [["upload", bytes, "pageable", _]] if bytes == weights_bytes));

    let [images, swapped] = images(&plan);
    let mut emulator = EmulatedDevice::new(plan.clone(), &weights()).unwrap();
    emulator.run(&images, BATCH).unwrap();
    let expected = [bits(emulator.logits()), bits(emulator.features())];
    let swap = |values: &[u32]| {
        let (first, second) = values.split_at(values.len() / 2);
        [second, first].concat()
    };
    let expected_swapped = [swap(&expected[0]), swap(&expected[1])];
    let found = |device: &CudaDevice| [bits(device.logits()), bits(device.features())];

    let all_bytes = BATCH * plan.input_elems() * 4;
    device.run(&images, BATCH).unwrap();
    assert_eq!(found(&device), expected);
    let top = plan.top_k().unwrap();
    let classes: Vec<i32> = emulator.read(top.classes, BATCH * TOP_K);
    let logits: Vec<f32> = emulator.read(top.logits, BATCH * TOP_K);
    let probabilities: Vec<f32> = emulator.read(top.probabilities, BATCH * TOP_K);
    let (classes, logits, probabilities) = (&classes[..], &logits[..], &probabilities[..]);
    let best = BestClasses { k: TOP_K, classes, logits, probabilities };
    assert_eq!(device.top_k(), Some(best));

    // The first run puts its graph on the GPU before it launches it.
    let lines = trace.take();
    copied_once(&lines, all_bytes, down_bytes(&plan, BATCH));
    let graphs: Vec<_> = lines.iter().filter(|line| line.contains("of graph ")).collect();
    let [uploaded, launched] = graphs[..] else { panic!("{lines:?}") };
    let number = uploaded.strip_prefix("upload of graph ").unwrap();
    assert_eq!(launched.strip_prefix("launch of graph "), Some(number));
    // Every kernel prefers the same split of a multiprocessor's memory.
    let kernels: BTreeSet<_> =
        plan.launches(BATCH).unwrap().iter().map(|launch| launch.kernel).collect();
    assert_eq!(count(&lines, "attribute 9 57"), kernels.len());

    // Later runs replay it.
    device.run(&swapped, BATCH).unwrap();
    assert_eq!(found(&device), expected_swapped);
    let lines = trace.take();
    let staged = copied_once(&lines, all_bytes, down_bytes(&plan, BATCH));
    assert_eq!([count(&lines, "upload of"), count(&lines, "launch of")], [0, 1]);

    // What is written where the GPU reads it is not copied before: the same memory, and no other.
    assert_eq!(write(&mut device, &images), staged);
    device.run_staged(BATCH).unwrap();
    assert_eq!(found(&device), expected);
    assert_eq!(copied_once(&trace.take(), all_bytes, down_bytes(&plan, BATCH)), staged);

    // A part of the batch is a part of the copies.
    device.run(&images[..plan.input_elems()], 1).unwrap();
    copied_once(&trace.take(), all_bytes / 2, down_bytes(&plan, 1));
    assert_eq!(bits(device.logits()), expected[0][..10]);
    assert_eq!(device.top_k().unwrap().classes, &best.classes[..TOP_K]);

    // Each run asks for its input.
    let refused = device.run_staged(1).unwrap_err();
    assert!(matches!(refused, CudaError::NotStaged { asked: 1, lent: 0 }), "{refused:?}");
    assert_eq!(device.input_mut(1).unwrap().len(), plan.input_elems());
    let refused = device.run_staged(BATCH).unwrap_err();
    assert!(matches!(refused, CudaError::NotStaged { asked: BATCH, lent: 1 }), "{refused:?}");
    assert!(refused.to_string().contains("ask for `input_mut`"), "{refused}");
    assert!(matches!(device.input_mut(BATCH + 1), Err(CudaError::Plan(_))));
    assert!(device.top_k().is_some(), "no run has begun");

    // Two at once, each from memory of its own, which is lent to nobody until its run is collected.
    trace.take();
    let first = write(&mut device, &images);
    device.submit_staged(BATCH).unwrap();
    let second = write(&mut device, &swapped);
    assert_ne!(first, second);
    assert!(matches!(device.run_staged(BATCH), Err(CudaError::Busy { under_way: 1 })));
    device.submit_staged(BATCH).unwrap();
    for refused in [device.input_mut(1).err(), device.submit_staged(1).err()] {
        assert!(matches!(refused, Some(CudaError::Busy { under_way: 2 })), "{refused:?}");
    }
    assert_eq!(device.collect().unwrap(), BATCH);
    assert_eq!(found(&device), expected);
    // While the other is under way, and the outputs are still there.
    assert_eq!(write(&mut device, &swapped), first);
    assert_eq!(found(&device), expected);
    device.submit_staged(BATCH).unwrap();
    for _ in 0..2 {
        device.collect().unwrap();
        assert_eq!(found(&device), expected_swapped);
    }
    let lines = trace.take();
    let copies = copies(&lines);
    let of = |kind: &str| copies.iter().filter(|copy| copy[0] == kind).collect::<Vec<_>>();
    let from: Vec<_> = of("upload").iter().map(|copy| copy[3].to_owned()).collect();
    assert_eq!(from, [first, second, first].map(|at| format!("{at:#x}")));
    assert_eq!(of("download").len(), 3, "{lines:?}");
    assert!(copies.iter().all(|copy| copy[2] == "pinned"), "{lines:?}");
    assert!(device.notes().is_empty(), "{:?}", device.notes());
}

#[test]
fn the_best_classes_alone_are_copied_where_nothing_else_is_wanted() {
    if !has_driver() {
        with_driver("the_best_classes_alone_are_copied_where_nothing_else_is_wanted", &[]);
        return;
    }
    let mut trace = Trace::new();
    let mut device = device(Download::TopK).unwrap();
    let plan = device.plan().clone();
    let [images, _] = images(&plan);
    trace.take();
    assert_eq!(device.top_k(), None);
    device.run(&images, BATCH).unwrap();
    let down_bytes = down_bytes(&plan, BATCH);
    assert!(down_bytes <= 2 * LaunchPlan::ALIGN_BYTES + BATCH * TOP_K * 4);
    copied_once(&trace.take(), BATCH * plan.input_elems() * 4, down_bytes);
    assert!(device.logits().is_empty() && device.features().is_empty());

    let mut emulator = EmulatedDevice::new(plan.clone(), &weights()).unwrap();
    emulator.run(&images, BATCH).unwrap();
    let top = plan.top_k().unwrap();
    let found = device.top_k().unwrap();
    assert_eq!(found.classes, emulator.read::<i32>(top.classes, BATCH * TOP_K));
    assert_eq!(bits(found.logits), bits(&emulator.read(top.logits, BATCH * TOP_K)));
    let probabilities: Vec<f32> = emulator.read(top.probabilities, BATCH * TOP_K);
    assert_eq!(bits(found.probabilities), bits(&probabilities));
}

/// A process with little memory uploads tensor by tensor.
#[test]
fn weights_that_do_not_fit_the_host_twice_go_up_one_by_one() {
    if !has_driver() {
        let little = [("EFFNET_MEMORY_MIB", "2")];
        with_driver("weights_that_do_not_fit_the_host_twice_go_up_one_by_one", &little);
        return;
    }
    let mut trace = Trace::new();
    let device = device(Download::All).unwrap();
    let plan = device.plan();
    let lines = trace.take();
    assert_eq!(copies(&lines).len(), plan.weight_offsets().len());
    let weights = weights();
    for (i, &offset_bytes) in plan.weight_offsets().iter().enumerate() {
        let expected = plan.tensor_bytes(&weights, effnet::weights::TensorId(i as u32));
        let region = effnet::launches::Region::Weights;
        let at = effnet::launches::Address { region, offset_bytes };
        assert_eq!(device.read_bytes(at, expected.len()).unwrap(), *expected);
    }
}

#[test]
fn the_host_waits_as_it_is_told() {
    if !has_driver() {
        with_driver("the_host_waits_as_it_is_told", &[]);
        return;
    }
    let mut trace = Trace::new();
    let mut device = device(Download::TopK).unwrap();
    let [images, _] = images(device.plan());
    // Looks at the driver's events and sleeps, of a run by itself and of one beside others.
    for (wait, alone, beside) in
        [(Wait::Auto, [1, 0], [0, 1]), (Wait::Spin, [1, 0], [1, 0]), (Wait::Sleep, [0, 1], [0, 1])]
    {
        device.set_wait(wait);
        let waits = |lines: Vec<String>| [count(&lines, "look 3 at"), count(&lines, "sleep")];
        trace.take();
        device.run(&images, BATCH).unwrap();
        assert_eq!(waits(trace.take()), alone, "{wait:?}");
        device.submit(&images, BATCH).unwrap();
        device.collect().unwrap();
        assert_eq!(waits(trace.take()), beside, "{wait:?}");
    }
}

/// To the emulated driver's events a launch takes 50 us, and two events add 4: as many repeats as there
/// are share them. With graphs and without, the outputs are those of a run, and launches that others
/// follow leave no trace.
#[test]
fn launches_are_timed_by_repeats_between_two_events() {
    const TEST: &str = "launches_are_timed_by_repeats_between_two_events";
    if !has_driver() {
        with_driver(TEST, &[]);
        with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_FAIL", "cuGraphLaunch=801")]);
        return;
    }
    let mut device = device(Download::All).unwrap();
    let [images, swapped] = images(device.plan());
    device.run(&images, BATCH).unwrap();
    let expected = [bits(device.logits()), bits(device.features())];
    device.run(&swapped, BATCH).unwrap();
    let times = device.run_timed(&images, BATCH).unwrap();
    assert_eq!([bits(device.logits()), bits(device.features())], expected);
    // Of a run of so many launches, 8 ms of repeats.
    let launches = times.len();
    let repeats = (8000 / (50 * launches + 4)) as f32;
    assert!(launches > 10 && repeats >= 2.0, "{launches} launches, {repeats} repeats");
    for time in times {
        assert!((time - (50.0 + 4.0 / repeats)).abs() < 0.1, "{time} us of {repeats} repeats");
    }
}

/// What a driver may refuse, with the number of things that are then done without.
const REFUSALS: [(&str, usize); 8] = [
    ("cuGraphUpload=801", 0),
    ("dependent=801", 1),
    ("dependent=1", 1),
    ("cuGraphLaunch=801", 1),
    ("cuStreamBeginCapture_v2=801", 1),
    ("cuStreamEndCapture=901", 2),
    ("cuGraphInstantiateWithFlags=801", 2),
    ("dependent=801,cuGraphLaunch=801", 2),
];

#[test]
fn a_run_does_without_what_a_driver_refuses() {
    const TEST: &str = "a_run_does_without_what_a_driver_refuses";
    if !has_driver() {
        let expected = with_driver(TEST, &[]);
        for (fail, without) in REFUSALS {
            let found = with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_FAIL", fail)]);
            let (values, notes) = found.split_once(" notes ").unwrap();
            assert_eq!(
                Some(values),
                expected.split_once(" notes ").map(|(values, _)| values),
                "{fail}"
            );
            assert_eq!(notes.matches("since the driver refused more").count(), without, "{notes}");
        }
        return;
    }
    let mut device = device(Download::All).unwrap();
    let [images, swapped] = images(device.plan());
    let elems = device.plan().input_elems();
    // Refused while another run is under way, and then of a run by itself.
    device.submit(&images[..elems], 1).unwrap();
    device.submit(&swapped[..elems], 1).unwrap();
    device.collect().unwrap();
    let first = bits(device.logits());
    device.collect().unwrap();
    let second = bits(device.logits());
    device.run(&images[..elems], 1).unwrap();
    assert_eq!(bits(device.logits()), first);
    println!("found: {first:x?} {second:x?} notes {:?}", device.notes());
}

/// A fault of a run, what the error says, and what every call after it says.
#[test]
fn a_fault_of_a_run_is_told_and_ends_the_device() {
    const TEST: &str = "a_fault_of_a_run_is_told_and_ends_the_device";
    if !has_driver() {
        for (fault, says) in [
            (
                "kernel=700@3",
                ["CUDA_ERROR_ILLEGAL_ADDRESS (700)", "memory that it must not", "effnet verify"],
            ),
            (
                "kernel=702@2",
                ["CUDA_ERROR_LAUNCH_TIMEOUT (702)", "GPU with a screen", "smaller batch"],
            ),
            (
                "kernel=716@1",
                ["CUDA_ERROR_MISALIGNED_ADDRESS (716)", "not aligned", "effnet verify"],
            ),
            // The emulated driver knows this one, and its words are the name.
            ("kernel=719@9", ["CUDA_ERROR_LAUNCH_FAILED (719)", "LAUNCH_FAILED;", "effnet verify"]),
            (
                "kernel=214@1",
                ["CUDA_ERROR_ECC_UNCORRECTABLE (214)", "could not be corrected", "Xid"],
            ),
        ] {
            let found = with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_FAIL", fault)]);
            let (first, second) = found.split_once('\n').unwrap();
            for part in says.iter().chain(&["running the network: "]) {
                assert!(first.contains(part), "{first:?} does not say {part:?}");
            }
            assert!(second.contains("start the program again"), "{second}");
            assert!(second.ends_with(first), "{second} of {first}");
        }
        return;
    }
    let mut device = device(Download::All).unwrap();
    let [images, _] = images(device.plan());
    let first = device.run(&images, BATCH).unwrap_err();
    assert!(matches!(first, CudaError::Driver { .. }), "{first:?}");
    println!("found: {first}");
    assert!(device.logits().is_empty());
    let after = [
        device.run(&images, BATCH).unwrap_err(),
        device.submit(&images, BATCH).unwrap_err(),
        device.run_timed(&images, BATCH).unwrap_err(),
    ];
    for error in &after {
        assert!(matches!(error, CudaError::Lost { .. }), "{error:?}");
    }
    println!("found: {}", after[0]);
}

/// A launch by itself is named.
#[test]
fn a_launch_that_fails_is_named() {
    const TEST: &str = "a_launch_that_fails_is_named";
    if !has_driver() {
        let names: Vec<String> =
            launches(Download::All).launches(BATCH).unwrap().into_iter().map(|l| l.name).collect();
        let said = with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_FAIL", "kernel=715@2")]);
        assert!(said.starts_with(&format!("running {}: ", names[1])), "{said}");
        // Where the driver takes no launch, whichever it is.
        let refused = [("EFFNET_EMULATED_DRIVER_FAIL", "cuLaunchKernelEx=701@2")];
        let said = with_driver(TEST, &refused);
        assert!(said.starts_with(&format!("launching {}: ", names[1])), "{said}");
        assert!(said.contains("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (701)"), "{said}");
        assert!(said.contains("--path layerwise"), "{said}");
        return;
    }
    let mut device = device(Download::All).unwrap();
    let [images, _] = images(device.plan());
    device.load(&images, BATCH).unwrap();
    device.launch(0).unwrap();
    println!("found: {}", device.launch(1).unwrap_err());
}

/// Faults on the way to the first run.
#[test]
fn a_gpu_that_cannot_be_opened_says_why_and_what_to_do() {
    const TEST: &str = "a_gpu_that_cannot_be_opened_says_why_and_what_to_do";
    if !has_driver() {
        for (fault, says) in [
            (
                "cuInit=803",
                ["starting the CUDA driver", "SYSTEM_DRIVER_MISMATCH", "after an update"],
            ),
            (
                "cuInit=802",
                ["starting the CUDA driver", "SYSTEM_NOT_READY", "nvidia-fabricmanager"],
            ),
            ("cuInit=804", ["starting the CUDA driver", "COMPAT_NOT_SUPPORTED", "cuda-compat"]),
            (
                "cuDevicePrimaryCtxRetain=46",
                ["opening the GPU", "DEVICE_UNAVAILABLE", "compute mode"],
            ),
            ("cuDevicePrimaryCtxRetain=805", ["opening the GPU", "MPS_CONNECTION_FAILED", "MPS"]),
            (
                "cuModuleLoadData=222",
                ["loading the kernels of", "UNSUPPORTED_PTX_VERSION", "update"],
            ),
            (
                "cuModuleLoadData=218",
                ["loading the kernels of", "INVALID_PTX", "EFFNET_CUDA_ARCHS"],
            ),
            (
                "cuModuleLoadData=221",
                ["loading the kernels of", "JIT_COMPILER_NOT_FOUND", "container"],
            ),
            ("cuMemHostAlloc=2", ["no memory for", "on the host", "smaller batch"]),
            ("cuMemcpyHtoD_v2=1", ["uploading the weights", "INVALID_VALUE (1)", "report it"]),
            ("cuEventCreate=4242", ["making an event", "unknown (4242)", "CUresult"]),
        ] {
            let said = with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_FAIL", fault)]);
            for part in says {
                assert!(said.contains(part), "{fault}: {said:?} does not say {part:?}");
            }
        }
        return;
    }
    println!("found: {}", device(Download::All).unwrap_err());
}
