//! The clock of a timed launch, on kernels written here whose times follow from the constants: the
//! sums are written out.

mod kernels;
mod model;
mod waiting;

use ptx_emulator::{
    BlockTiming, Cause, Checks, InstructionTiming, Latencies, Launch, Memory, Module, Report,
    Timing,
};

/// L1 40, L2 250 more: 290 cycles for what L1 lacks.
pub(crate) const LATENCIES: Latencies = Latencies {
    shared: 30.0,
    cluster_shared: 180.0,
    l1: 40.0,
    l2: 250.0,
    barrier: 25.0,
    cluster_barrier: 200.0,
};

/// What the instructions cost, by opcode: nothing for those that are not named.
fn cost(opcode: &str) -> InstructionTiming {
    let (issue, latency, pipe_cycles, blocking) = match opcode {
        "fma" => (1.0, 4.0, 0.0, false),
        "ex2" => (1.0, 24.0, 8.0, false),
        "div" => (12.0, 60.0, 0.0, true),
        "mma" => (1.0, 33.0, 16.0, false),
        "bra" => (1.0, 10.0, 0.0, true),
        "setp" => (1.0, 5.0, 0.0, false),
        "shfl" => (1.0, 25.0, 0.0, false),
        "ld" | "st" | "atom" | "cp" | "bar" | "barrier" | "mbarrier" | "griddepcontrol" => {
            (1.0, 0.0, 0.0, false)
        }
        _ => (0.0, 0.0, 0.0, false),
    };
    InstructionTiming { issue, latency, pipe_cycles, blocking }
}

/// A kernel `k` of two pointers with a launch that is timed.
///
/// The body finds `in` and `out` in `%rd0` and `%rd1`, `%tid.x` in `%r0`, and `in + 4 tid` and
/// `out + 4 tid` in `%rd2` and `%rd3`, all of which cost nothing.
pub(crate) struct Kernel {
    body: String,
    threads: u32,
    blocks: u32,
    cluster: u32,
    input: Vec<u8>,
    timing: Timing,
}

pub(crate) fn kernel(body: &str) -> Kernel {
    let timing = Timing {
        instructions: Vec::new(),
        latencies: LATENCIES,
        warps_per_scheduler: 1.0,
        reordered: false,
        l1_bytes: 1 << 14,
        dependent: false,
    };
    let input = vec![0; 4096];
    Kernel { body: body.to_owned(), threads: 32, blocks: 1, cluster: 1, input, timing }
}

impl Kernel {
    pub(crate) fn threads(mut self, threads: u32) -> Kernel {
        self.threads = threads;
        self
    }

    pub(crate) fn blocks(mut self, blocks: u32, cluster: u32) -> Kernel {
        (self.blocks, self.cluster) = (blocks, cluster);
        self
    }

    pub(crate) fn warps_per_scheduler(mut self, warps: f32) -> Kernel {
        self.timing.warps_per_scheduler = warps;
        self
    }

    pub(crate) fn reordered(mut self) -> Kernel {
        self.timing.reordered = true;
        self
    }

    pub(crate) fn l1_bytes(mut self, bytes: u32) -> Kernel {
        self.timing.l1_bytes = bytes;
        self
    }

    pub(crate) fn dependent(mut self) -> Kernel {
        self.timing.dependent = true;
        self
    }

    pub(crate) fn input(mut self, input: Vec<u8>) -> Kernel {
        self.input = input;
        self
    }

    pub(crate) fn text(&self) -> String {
        format!(
            ".version 9.0\n.target sm_90\n.address_size 64\n\
             .visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .pred %p<16>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<64>;\n.reg .f32 %f<64>;\n\
             .shared .align 128 .b8 tile[8192];\n.shared .align 8 .b64 mark;\n\
             ld.param.u64 %rd0, [in];\nld.param.u64 %rd1, [out];\nmov.u32 %r0, %tid.x;\n\
             mul.wide.u32 %rd2, %r0, 4;\nadd.u64 %rd3, %rd1, %rd2;\nadd.u64 %rd2, %rd0, %rd2;\n\
             {}\nret;\n}}\n",
            self.body
        )
    }

    /// Runs it with every check: the report, and the output.
    pub(crate) fn report(mut self) -> (Report, Vec<u32>) {
        let text = self.text();
        let module = Module::parse("k.ptx", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut memory = Memory::new();
        let input = memory.upload("in", &self.input);
        let out = memory.zeroed("out", 4096);
        for info in module.entries()[0].instructions() {
            let opcode = info.form.split('.').next().unwrap_or_default();
            let is_param = info.form.starts_with("ld.param");
            let mut cost = cost(if is_param { "" } else { opcode });
            // What comes after a branch is another matter where the order is free.
            cost.blocking &= !(self.timing.reordered && opcode == "bra");
            self.timing.instructions.push(cost);
        }
        let launch = Launch::new(&module, "k")
            .expect("the entry")
            .grid([self.blocks, 1, 1])
            .block([self.threads, 1, 1])
            .cluster([self.cluster, 1, 1])
            .arg(input.address())
            .arg(out.address())
            .checks(Checks::ALL)
            .timed(&self.timing);
        let report = launch.run(&mut memory).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(report.is_clean(), "{}\n{text}", report.findings[0]);
        (report, memory.download(&out))
    }

    /// The time of the only block.
    #[track_caller]
    pub(crate) fn time(self) -> BlockTiming {
        let (report, _) = self.report();
        let [timing] = &report.timings[..] else { panic!("one block, found {:?}", report.timings) };
        is_whole(timing);
        timing.clone()
    }

    /// The cycles of the only block.
    #[track_caller]
    pub(crate) fn cycles(self) -> f64 {
        self.time().cycles
    }
}

/// The parts of a path add up to the block's cycles.
#[track_caller]
pub(crate) fn is_whole(timing: &BlockTiming) {
    let sum: f64 = timing.path.iter().map(|part| part.cycles).sum();
    assert!((sum - timing.cycles).abs() < 1e-6, "{sum} of {timing:?}");
}

/// The causes of a block's cycles, those with any.
#[track_caller]
pub(crate) fn causes(timing: &BlockTiming) -> Vec<(Cause, f64)> {
    timing.cycles_by_cause().into_iter().collect()
}
