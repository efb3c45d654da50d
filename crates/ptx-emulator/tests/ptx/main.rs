//! Control, memory and synchronisation of the emulator, opcode by opcode: PTX written here, against
//! values computed from the definitions of the PTX ISA.

mod asynchronous;
mod atomics;
mod barriers;
mod clusters;
mod control;
mod counters;
mod exchange;
mod faults;
mod gather;
mod memory;
mod refusals;
mod sample;

use bytemuck::Pod;
use ptx_emulator::{Check, Finding, Launch, Memory, Module, Report, Schedule};

/// A kernel `k` of two pointers, `out` and `in`, with a launch.
///
/// The body finds the pointers in `%rd0` and `%rd1`, `%tid.x` in `%r0` and the addresses of its own
/// 4-byte elements, `out + 4 * tid` and `in + 4 * tid`, in `%rd2` and `%rd3`. Registers are
/// declared: `%p %h %r %rd %f %fd`.
pub(crate) struct Ptx {
    globals: String,
    body: String,
    params: String,
    threads: [u32; 3],
    blocks: [u32; 3],
    cluster: Option<[u32; 3]>,
    cooperative: bool,
    shared_bytes: u32,
    input: Vec<u8>,
    out_bytes: usize,
    budget: Option<u64>,
    schedule: Schedule,
}

/// One warp, 4 bytes of output for each lane.
pub(crate) fn ptx(body: &str) -> Ptx {
    Ptx {
        globals: String::new(),
        body: body.to_owned(),
        params: String::new(),
        threads: [32, 1, 1],
        blocks: [1; 3],
        cluster: None,
        cooperative: false,
        shared_bytes: 0,
        input: Vec::new(),
        out_bytes: 128,
        budget: None,
        schedule: Schedule::InOrder,
    }
}

impl Ptx {
    /// Variables and functions of the module.
    pub(crate) fn globals(mut self, globals: &str) -> Ptx {
        self.globals = globals.to_owned();
        self
    }

    pub(crate) fn threads(mut self, threads: u32) -> Ptx {
        self.threads = [threads, 1, 1];
        self
    }

    pub(crate) fn shape(mut self, blocks: [u32; 3], threads: [u32; 3]) -> Ptx {
        (self.blocks, self.threads) = (blocks, threads);
        self
    }

    pub(crate) fn blocks(mut self, blocks: u32) -> Ptx {
        self.blocks = [blocks, 1, 1];
        self
    }

    pub(crate) fn cluster(mut self, blocks: u32) -> Ptx {
        self.cluster = Some([blocks, 1, 1]);
        self
    }

    pub(crate) fn cooperative(mut self) -> Ptx {
        self.cooperative = true;
        self
    }

    pub(crate) fn dynamic_shared(mut self, bytes: u32) -> Ptx {
        self.shared_bytes = bytes;
        self
    }

    pub(crate) fn input<T: Pod>(mut self, values: &[T]) -> Ptx {
        self.input = bytemuck::cast_slice(values).to_vec();
        self
    }

    pub(crate) fn out_bytes(mut self, bytes: usize) -> Ptx {
        self.out_bytes = bytes;
        self
    }

    pub(crate) fn budget(mut self, instructions: u64) -> Ptx {
        self.budget = Some(instructions);
        self
    }

    pub(crate) fn adversarial(mut self, seed: u64) -> Ptx {
        self.schedule = Schedule::Adversarial(seed);
        self
    }

    pub(crate) fn text(&self) -> String {
        format!(
            ".version 9.0\n.target sm_90\n.address_size 64\n{}\n\
             .visible .entry k(.param .u64 out, .param .u64 in{})\n{{\n\
             .reg .pred %p<16>;\n.reg .b16 %h<16>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<64>;\n\
             .reg .f32 %f<16>;\n.reg .f64 %fd<16>;\n\
             ld.param.u64 %rd0, [out];\nld.param.u64 %rd1, [in];\nmov.u32 %r0, %tid.x;\n\
             mul.wide.u32 %rd2, %r0, 4;\nadd.u64 %rd3, %rd1, %rd2;\nadd.u64 %rd2, %rd0, %rd2;\n\
             {}\nret;\n}}\n",
            self.globals, self.params, self.body
        )
    }

    /// Runs it, whatever the checks find.
    pub(crate) fn run(self) -> Outcome {
        let text = self.text();
        let module = Module::parse("k.ptx", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut memory = Memory::new();
        let out = memory.zeroed("out", self.out_bytes);
        let input = memory.upload("in", &self.input);
        let mut launch = Launch::new(&module, "k")
            .expect("the entry")
            .grid(self.blocks)
            .block(self.threads)
            .shared_bytes(self.shared_bytes)
            .cooperative(self.cooperative)
            .schedule(self.schedule)
            .count_traffic(true)
            .arg(out.address())
            .arg(input.address());
        if let Some(cluster) = self.cluster {
            launch = launch.cluster(cluster);
        }
        if let Some(budget) = self.budget {
            launch = launch.budget(budget);
        }
        let report = launch.run(&mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let bytes = memory.download(&out);
        Outcome { text, report, bytes }
    }

    /// Runs it without a finding: the output.
    #[track_caller]
    pub(crate) fn clean<T: Pod>(self) -> Vec<T> {
        let outcome = self.run();
        let findings: Vec<String> =
            outcome.report.findings.iter().map(Finding::to_string).collect();
        assert!(outcome.report.is_clean(), "{}\n{}", findings.join("\n"), outcome.text);
        outcome.output()
    }

    /// Runs it; there must be a finding of this kind, the first of them at the line that holds
    /// `instruction`.
    #[track_caller]
    pub(crate) fn finds(self, check: Check, instruction: &str) -> Finding {
        let outcome = self.run();
        let findings = &outcome.report.findings;
        let Some(finding) = findings.iter().find(|finding| finding.check == check) else {
            panic!("no {check} in {findings:#?}\n{}", outcome.text)
        };
        assert_eq!(finding.kernel, "k");
        let line = line_of(&outcome.text, instruction);
        assert_eq!(finding.ptx_line, line, "{finding}\n{}", outcome.text);
        finding.clone()
    }
}

/// What a run left.
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) report: Report,
    pub(crate) bytes: Vec<u8>,
}

impl Outcome {
    pub(crate) fn output<T: Pod>(&self) -> Vec<T> {
        let elements = self.bytes.chunks_exact(size_of::<T>());
        elements.map(bytemuck::pod_read_unaligned).collect()
    }
}

/// Line, from 1, of the first line that holds `part`.
#[track_caller]
pub(crate) fn line_of(text: &str, part: &str) -> u32 {
    let line = text.lines().position(|line| line.contains(part));
    line.unwrap_or_else(|| panic!("{part:?} is in no line of\n{text}")) as u32 + 1
}

/// One value for each lane.
pub(crate) fn lanes<T>(value: impl FnMut(u32) -> T) -> Vec<T> {
    (0..32).map(value).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Ptx {
    /// Runs it; the first finding must be one of these.
    #[track_caller]
    pub(crate) fn run_has_one_of(self, checks: &[Check]) {
        let outcome = self.run();
        let Some(finding) = outcome.report.findings.first() else {
            panic!("nothing is found, expected one of {checks:?}\n{}", outcome.text)
        };
        assert!(checks.contains(&finding.check), "{finding}\n{}", outcome.text);
    }
}
