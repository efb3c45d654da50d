//! Opcodes of PTX: what they cost where no machine code is at hand, how long their results take,
//! and which instructions of the machine code are theirs.
//!
//! Costs are those that ptxas of CUDA 12.9 and 13.0 gives each opcode on sm_80 and sm_90: moves and
//! conversions of addresses vanish into the operands of others, `div.rn.f32` is a fast path of some
//! ten instructions with a reciprocal and a check, an integer division by a variable a product with
//! a reciprocal and its correction.

use sass_listing::Pipe;

/// Cycles from the issue of an instruction to its result, by class. Loads from global memory count
/// what is beyond the level that serves them; that level's own are the emulator's `Timing`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latencies {
    /// Sums, products, logic, comparisons.
    pub arithmetic: f64,
    /// Conversions between types.
    pub convert: f64,
    /// Special functions.
    pub special: f64,
    /// Matrix products.
    pub tensor: f64,
    /// Exchanges between the lanes of a warp.
    pub shuffle: f64,
    /// A branch on a predicate, from the predicate on.
    pub branch: f64,
    /// Shared memory.
    pub shared: f64,
    /// Atomics in global memory.
    pub atomic: f64,
    /// Fences.
    pub fence: f64,
}

/// Issue slots of one instruction, by pipe.
pub type Cost = &'static [(Pipe, f64)];

const FREE: Cost = &[];
const FMA: Cost = &[(Pipe::Fma, 1.0)];
const ALU: Cost = &[(Pipe::Alu, 1.0)];
const ALU_64: Cost = &[(Pipe::Alu, 2.0)];
const HALF: Cost = &[(Pipe::Half, 1.0)];
const SPECIAL: Cost = &[(Pipe::Special, 1.0)];
const MEMORY: Cost = &[(Pipe::LoadStore, 1.0)];
const TENSOR: Cost = &[(Pipe::Tensor, 1.0)];
const CONTROL: Cost = &[(Pipe::Control, 1.0)];
const DOUBLE: Cost = &[(Pipe::Double, 1.0)];
const MULTIPLY_64: Cost = &[(Pipe::Fma, 4.0)];
/// FMUL, FSETP, guarded FMUL, MUFU.EX2, guarded FMUL: what underflows is scaled.
const EXP_EXACT: Cost = &[(Pipe::Fma, 3.0), (Pipe::Alu, 1.0), (Pipe::Special, 1.0)];
/// MUFU.RCP, FCHK, five FFMA, and BSSY, BRA, BSYNC with two moves around the slow path.
const DIVISION: Cost =
    &[(Pipe::Special, 2.0), (Pipe::Fma, 7.0), (Pipe::Alu, 2.0), (Pipe::Control, 3.0)];
/// MUFU with two or three FFMA, and a check with its branch.
const ROOT: Cost =
    &[(Pipe::Special, 1.0), (Pipe::Fma, 3.0), (Pipe::Alu, 2.0), (Pipe::Control, 2.0)];
/// I2F, MUFU.RCP, F2I, products and corrections.
const INTEGER_DIVISION: Cost = &[(Pipe::Special, 3.0), (Pipe::Fma, 8.0), (Pipe::Alu, 9.0)];
/// LDG, and CCTL.IVALL for what the first-level cache may have of before.
const ACQUIRE: Cost = &[(Pipe::LoadStore, 2.0)];
/// MEMBAR and ERRBAR before the instruction itself.
const RELEASE: Cost = &[(Pipe::LoadStore, 2.0), (Pipe::Control, 1.0)];
/// Both.
const ACQUIRE_RELEASE: Cost = &[(Pipe::LoadStore, 3.0), (Pipe::Control, 1.0)];
/// Taken where a table has no row: a plain instruction.
const UNKNOWN: Cost = &[(Pipe::Other, 1.0)];

/// Opcode and modifiers.
struct Form<'a> {
    opcode: &'a str,
    modifiers: Vec<&'a str>,
}

impl<'a> Form<'a> {
    fn new(form: &'a str) -> Form<'a> {
        let mut words = form.split('.');
        Form { opcode: words.next().unwrap_or_default(), modifiers: words.collect() }
    }

    fn has(&self, modifier: &str) -> bool {
        self.modifiers
            .iter()
            .any(|word| *word == modifier || word.split(':').any(|w| w == modifier))
    }

    /// The last modifier, which is the type.
    fn of_type(&self, types: &[&str]) -> bool {
        self.modifiers.last().is_some_and(|last| types.contains(last))
    }

    fn is_f32(&self) -> bool {
        self.of_type(&["f32"])
    }

    fn is_half(&self) -> bool {
        self.of_type(&["f16", "f16x2", "bf16", "bf16x2"])
    }

    fn is_f64(&self) -> bool {
        self.of_type(&["f64"])
    }

    /// Whether it makes what came before it visible beyond the block: with a MEMBAR.
    fn releases(&self) -> bool {
        (self.has("release") || self.has("acq_rel")) && !self.has("cta") && !self.has("shared")
    }

    /// Whether what comes after it sees what others made visible: behind a CCTL that waits for it.
    fn acquires(&self) -> bool {
        (self.has("acquire") || self.has("acq_rel")) && !self.has("cta") && !self.has("shared")
    }

    fn is_64(&self) -> bool {
        self.of_type(&["b64", "s64", "u64"])
    }

    /// A conversion between integers and floating-point numbers, or of f64.
    fn converts_by_special(&self) -> bool {
        let (to, from) = match self.modifiers[..] {
            [.., to, from] => (to, from),
            _ => return false,
        };
        to.starts_with('f') != from.starts_with('f') || to == "f64" || from == "f64"
    }
}

/// Issue slots of an opcode, by pipe, where there is no machine code to count them in.
pub fn cost(form: &str) -> Cost {
    let form = Form::new(form);
    match form.opcode {
        "" | "mov" | "cvta" | "neg" | "abs" | "not" | "isspacep" | "pragma" => FREE,
        "ld" | "ldu" if form.has("param") || form.has("const") => FREE,
        "ld" | "st" | "atom" | "red" if form.releases() || form.acquires() => {
            match (form.acquires(), form.releases()) {
                (true, true) => ACQUIRE_RELEASE,
                (true, false) => ACQUIRE,
                _ => RELEASE,
            }
        }
        "ld" | "ldu" | "st" | "atom" | "red" | "ldmatrix" | "stmatrix" | "shfl" | "prefetch"
        | "prefetchu" | "match" | "membar" | "fence" | "discard" | "applypriority" => MEMORY,
        "cp" | "mbarrier" if form.has("wait_group") || form.has("wait_all") => CONTROL,
        "cp" | "mbarrier" | "redux" => MEMORY,
        "mma" | "wgmma" | "wmma" => TENSOR,
        "fma" | "mad" if form.is_f32() => FMA,
        "add" | "sub" | "mul" | "fma" | "min" | "max" if form.is_half() => HALF,
        "add" | "sub" | "mul" | "fma" | "mad" if form.is_f32() => FMA,
        "add" | "sub" | "mul" | "fma" | "mad" | "div" | "rcp" | "sqrt" if form.is_f64() => DOUBLE,
        "mul" | "mad" if form.is_64() && !form.has("wide") => MULTIPLY_64,
        "mul" | "mad" | "mul24" | "mad24" | "dp4a" | "dp2a" => FMA,
        "div" if form.is_f32() && form.has("rn") => DIVISION,
        "div" if form.is_f32() => &[(Pipe::Special, 1.0), (Pipe::Fma, 2.0)],
        "div" | "rem" => INTEGER_DIVISION,
        "rcp" | "sqrt" if form.has("rn") => ROOT,
        "ex2" | "lg2" if form.is_f32() && !form.has("ftz") => EXP_EXACT,
        "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh" | "popc" | "clz"
        | "brev" | "bfind" => SPECIAL,
        "cvt" if form.converts_by_special() => SPECIAL,
        // Addresses are widened by the instruction that uses them.
        "cvt" if form.of_type(&["s32", "u32"]) && (form.has("s64") || form.has("u64")) => FREE,
        "cvt" => match form.modifiers[..] {
            [.., to, from] if to.starts_with('f') && from.starts_with('f') => ALU,
            _ => FREE,
        },
        "and" | "or" | "xor" if form.of_type(&["pred"]) => FREE,
        "bfi" | "bfe" => ALU_64,
        "add" | "sub" | "shl" | "shr" | "and" | "or" | "xor" | "min" | "max" | "setp" | "selp"
            if form.is_64() =>
        {
            ALU_64
        }
        "add" | "sub" | "addc" | "subc" | "shl" | "shr" | "shf" | "and" | "or" | "xor" | "lop3"
        | "cnot" | "min" | "max" | "set" | "setp" | "selp" | "slct" | "prmt" | "sad"
        | "copysign" | "testp" | "vote" | "activemask" | "szext" | "fns" => ALU,
        "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "bar" | "barrier" | "griddepcontrol"
        | "nanosleep" | "elect" | "setmaxnreg" => CONTROL,
        _ => UNKNOWN,
    }
}

/// Cycles from issue to result, and whether the warp waits for it before it goes on.
pub fn latency(form: &str, cycles: &Latencies) -> (f64, bool) {
    let form = Form::new(form);
    match form.opcode {
        "" | "mov" | "cvta" | "neg" | "abs" | "not" => (0.0, false),
        "ld" | "ldu" if form.has("param") || form.has("const") => (0.0, false),
        // The fence before it holds up, and what is read is waited for by the fence after it.
        "st" | "red" if form.releases() => (cycles.fence, true),
        "atom" if form.releases() => (cycles.fence + cycles.atomic, true),
        "atom" if form.acquires() => (cycles.atomic, true),
        "ld" if form.acquires() => (0.0, true),
        "ld" | "ldu" | "st" | "cp" | "mbarrier" if !form.has("shared") => (0.0, false),
        // A copy into shared memory is one of global memory.
        "cp" => (0.0, false),
        "ldmatrix" | "stmatrix" => (cycles.shared, false),
        "ld" | "st" | "mbarrier" => (cycles.shared, false),
        "atom" | "red" if form.has("shared") => (cycles.shared, false),
        "atom" | "red" => (cycles.atomic, false),
        "membar" | "fence" => (cycles.fence, true),
        "mma" | "wgmma" | "wmma" => (cycles.tensor, false),
        "shfl" | "vote" | "match" | "redux" | "activemask" => (cycles.shuffle, false),
        // The branch around the slow path keeps what follows behind it: reciprocal, four dependent
        // products, the branch.
        "div" if form.is_f32() && form.has("rn") => {
            (cycles.special + 5.0 * cycles.arithmetic + cycles.branch, true)
        }
        "rcp" | "sqrt" if form.has("rn") => {
            (cycles.special + 3.0 * cycles.arithmetic + cycles.branch, true)
        }
        // I2F, MUFU.RCP and F2I one after the other, and the products between and behind them.
        "div" | "rem" if !form.is_f32() && !form.is_half() => {
            (2.0 * cycles.special + cycles.convert + 8.0 * cycles.arithmetic, false)
        }
        "ex2" | "lg2" if form.is_f32() && !form.has("ftz") => {
            (cycles.special + 3.0 * cycles.arithmetic, false)
        }
        "div" | "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh" | "popc"
        | "clz" | "brev" | "bfind" => (cycles.special, false),
        "cvt" if form.converts_by_special() => (cycles.special, false),
        "cvt" => match cost_of(&form).is_empty() {
            true => (0.0, false),
            false => (cycles.convert, false),
        },
        "bra" | "brx" => (cycles.branch, false),
        "call" | "ret" | "exit" | "bar" | "barrier" | "griddepcontrol" => (0.0, false),
        _ => (cycles.arithmetic, false),
    }
}

fn cost_of(form: &Form) -> Cost {
    let mut text = form.opcode.to_owned();
    for modifier in &form.modifiers {
        text.push('.');
        text.push_str(modifier);
    }
    cost(&text)
}

/// What an instruction of PTX and one of machine code have in common: where the source has one of a
/// kind, the machine code has one, but for copies that ptxas makes of a whole piece of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Anchor {
    /// `mma`, HMMA.
    Product,
    /// `ldmatrix`, LDSM.
    LoadMatrix,
    /// `ld.shared`, LDS.
    LoadShared,
    /// `st.shared`, STS.
    StoreShared,
    /// `ld.global`, LDG.
    LoadGlobal,
    /// `st.global`, STG.
    StoreGlobal,
    /// `cp.async`, LDGSTS.
    Copy,
    /// `cp.async.commit_group`, LDGDEPBAR.
    Commit,
    /// `shfl`, SHFL.
    Shuffle,
    /// `bar`, BAR.
    Barrier,
    /// `atom` and `red`, ATOM and RED.
    Atomic,
    /// `membar` and `fence`, MEMBAR.
    Fence,
    /// `griddepcontrol.wait`, ACQBULK.
    Wait,
    /// `griddepcontrol.launch_dependents`, PREEXIT.
    Launch,
    /// `ex2`, MUFU.EX2.
    Exp,
    /// `lg2`, MUFU.LG2.
    Log,
    /// `tanh.approx`, MUFU.TANH.
    Tanh,
    /// `div.rn.f32`, FCHK.
    Division,
    /// `fma.f32`, FFMA; not where a division or a root brings more of them.
    Fma,
    /// `fma.rm.f32`, FFMA.RM.
    FmaDown,
    /// `fma.f16x2`, HFMA2.
    HalfFma,
    /// `cvt.f32.f16`, HADD2.F32.
    ToFloat,
    /// `cvt` of f32 to f16, F2FP.
    ToHalf,
}

impl Anchor {
    /// The anchor that an instruction of PTX is.
    pub fn of_ptx(form: &str) -> Option<Anchor> {
        let form = Form::new(form);
        Some(match form.opcode {
            "mma" | "wmma" => Anchor::Product,
            "ldmatrix" => Anchor::LoadMatrix,
            "ld" if form.has("shared") => Anchor::LoadShared,
            "st" if form.has("shared") => Anchor::StoreShared,
            "ld" | "ldu" if !form.has("param") && !form.has("const") && !form.has("local") => {
                Anchor::LoadGlobal
            }
            "st" if !form.has("local") && !form.has("param") => Anchor::StoreGlobal,
            "cp" if form.has("commit_group") => Anchor::Commit,
            "cp" if form.has("async") && !form.has("bulk") && !form.has("wait_group") => {
                Anchor::Copy
            }
            "shfl" => Anchor::Shuffle,
            "bar" | "barrier" if !form.has("cluster") => Anchor::Barrier,
            "atom" | "red" => Anchor::Atomic,
            "membar" | "fence" => Anchor::Fence,
            "griddepcontrol" if form.has("wait") => Anchor::Wait,
            "griddepcontrol" => Anchor::Launch,
            "ex2" => Anchor::Exp,
            "lg2" => Anchor::Log,
            "tanh" => Anchor::Tanh,
            "div" if form.is_f32() && form.has("rn") => Anchor::Division,
            "fma" if form.is_f32() && form.has("rm") => Anchor::FmaDown,
            "fma" if form.is_f32() => Anchor::Fma,
            "fma" if form.is_half() => Anchor::HalfFma,
            "cvt" if form.has("f32") && form.of_type(&["f16"]) => Anchor::ToFloat,
            "cvt" if form.has("f16") || form.has("f16x2") => Anchor::ToHalf,
            _ => return None,
        })
    }

    /// The anchor that an instruction of machine code is.
    pub fn of_machine(opcode: &str) -> Option<Anchor> {
        let (base, modifiers) = opcode.split_once('.').unwrap_or((opcode, ""));
        Some(match base {
            "HMMA" | "IMMA" => Anchor::Product,
            "LDSM" => Anchor::LoadMatrix,
            "LDS" => Anchor::LoadShared,
            "STS" => Anchor::StoreShared,
            "LDG" | "LD" => Anchor::LoadGlobal,
            "STG" | "ST" => Anchor::StoreGlobal,
            "LDGSTS" => Anchor::Copy,
            "LDGDEPBAR" => Anchor::Commit,
            "SHFL" => Anchor::Shuffle,
            "BAR" => Anchor::Barrier,
            "ATOM" | "ATOMG" | "ATOMS" | "RED" | "REDG" => Anchor::Atomic,
            "MEMBAR" => Anchor::Fence,
            "ACQBULK" => Anchor::Wait,
            "PREEXIT" => Anchor::Launch,
            "MUFU" => match modifiers {
                "EX2" => Anchor::Exp,
                "LG2" => Anchor::Log,
                "TANH" => Anchor::Tanh,
                _ => return None,
            },
            "FCHK" => Anchor::Division,
            "FFMA" if modifiers.is_empty() => Anchor::Fma,
            "FFMA" if modifiers == "RM" => Anchor::FmaDown,
            // HFMA2.MMA also loads constants.
            "HFMA2" if !modifiers.contains("MMA") => Anchor::HalfFma,
            "HADD2" if modifiers == "F32" => Anchor::ToFloat,
            "F2FP" => Anchor::ToHalf,
            _ => return None,
        })
    }

    /// How much the anchor says about its block, beside others: one where nothing else becomes
    /// such an instruction.
    pub fn weight(self) -> f64 {
        match self {
            Anchor::Fma | Anchor::HalfFma | Anchor::ToFloat | Anchor::ToHalf => 0.5,
            _ => 1.0,
        }
    }

    /// Whether another instruction of PTX becomes, among others, instructions that look like this
    /// anchor.
    pub fn is_blurred_by(self, form: &str) -> bool {
        let form = Form::new(form);
        let rounds = matches!(form.opcode, "div" | "rcp" | "sqrt");
        matches!(self, Anchor::Fma) && rounds && form.is_f32()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(form: &str) -> f64 {
        cost(form).iter().map(|(_, slots)| slots).sum()
    }

    #[test]
    fn costs_without_machine_code() {
        for (form, expected) in [
            ("mov.u32", 0.0),
            ("cvta.to.global.u64", 0.0),
            ("ld.param.u64", 0.0),
            ("fma.rn.f32", 1.0),
            ("div.rn.f32", 14.0),
            ("ex2.approx.f32", 5.0),
            ("ex2.approx.ftz.f32", 1.0),
            ("rcp.approx.ftz.f32", 1.0),
            ("div.s32", 20.0),
            ("rem.u32", 20.0),
            ("cvt.f32.f16", 1.0),
            ("cvt.rn.f16.f32", 1.0),
            ("cvt.s64.s32", 0.0),
            ("cvt.rn.f32.s32", 1.0),
            ("ld.global.nc.v4.u32", 1.0),
            ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 1.0),
            ("and.pred", 0.0),
            ("add.s64", 2.0),
            ("atom.relaxed.gpu.global.add.u32", 1.0),
            ("atom.acq_rel.gpu.global.add.u32", 4.0),
            ("atom.add.release.gpu.global.u32", 3.0),
            ("red.release.gpu.global.add.u32", 3.0),
            ("ld.acquire.gpu.global.u32", 2.0),
            ("ld.relaxed.gpu.global.v4.f32", 1.0),
            ("atom.acq_rel.cta.shared.add.u32", 1.0),
            ("fence.acq_rel.gpu", 1.0),
            ("cp.async.ca.shared.global", 1.0),
            ("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16", 1.0),
            ("min.f16x2", 1.0),
        ] {
            assert_eq!(slots(form), expected, "{form}");
        }
        assert_eq!(cost("cvt.rn.f32.s32")[0].0, Pipe::Special);
        assert_eq!(cost("cp.async.cg.shared.global")[0].0, Pipe::LoadStore);
        assert_eq!(cost("cp.async.wait_group")[0].0, Pipe::Control);
        assert_eq!(cost("max.f16x2")[0].0, Pipe::Half);
        assert_eq!(cost("mul.f16x2")[0].0, Pipe::Half);
        assert_eq!(cost("frobnicate.b32")[0].0, Pipe::Other);
    }

    #[test]
    fn latencies_by_class() {
        let cycles = Latencies {
            arithmetic: 4.0,
            convert: 6.0,
            special: 24.0,
            tensor: 33.0,
            shuffle: 25.0,
            branch: 10.0,
            shared: 30.0,
            atomic: 650.0,
            fence: 400.0,
        };
        for (form, expected) in [
            ("mov.u32", (0.0, false)),
            ("add.f32", (4.0, false)),
            ("cvt.f32.f16", (6.0, false)),
            ("cvt.s64.s32", (0.0, false)),
            ("ex2.approx.ftz.f32", (24.0, false)),
            ("div.rn.f32", (54.0, true)),
            ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", (33.0, false)),
            ("ld.shared.v4.u32", (30.0, false)),
            ("ldmatrix.sync.aligned.m8n8.x4.shared.b16", (30.0, false)),
            ("ld.global.v4.u32", (0.0, false)),
            ("cp.async.cg.shared.global", (0.0, false)),
            ("atom.global.add.u32", (650.0, false)),
            ("atom.acq_rel.gpu.global.add.u32", (1050.0, true)),
            ("atom.acquire.gpu.global.add.u32", (650.0, true)),
            ("atom.release.cta.shared.add.u32", (30.0, false)),
            ("red.release.gpu.global.add.u32", (400.0, true)),
            ("ld.acquire.gpu.global.u32", (0.0, true)),
            ("ld.relaxed.gpu.global.v4.f32", (0.0, false)),
            ("fence.acq_rel.gpu", (400.0, true)),
            ("membar.gl", (400.0, true)),
            ("shfl.sync.bfly.b32", (25.0, false)),
            ("bra", (10.0, false)),
        ] {
            assert_eq!(latency(form, &cycles), expected, "{form}");
        }
    }

    #[test]
    fn anchors_of_both_sides() {
        for (form, opcode) in [
            ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "HMMA.16816.F32"),
            ("ldmatrix.sync.aligned.m8n8.x4.shared.b16", "LDSM.16.M88.4"),
            ("ld.shared.v2.u32", "LDS.64"),
            ("st.shared.f32", "STS"),
            ("ld.global.nc.v4.u32", "LDG.E.128.CONSTANT"),
            ("st.global.v4.f32", "STG.E.128"),
            ("cp.async.cg.shared.global", "LDGSTS.E.BYPASS.128"),
            ("cp.async.commit_group", "LDGDEPBAR"),
            ("shfl.sync.bfly.b32", "SHFL.BFLY"),
            ("bar.sync", "BAR.SYNC.DEFER_BLOCKING"),
            ("bar.red.or.pred", "BAR.RED.OR.DEFER_BLOCKING"),
            ("atom.global.add.u32", "ATOMG.E.ADD.STRONG.GPU"),
            ("membar.gl", "MEMBAR.SC.GPU"),
            ("fence.acq_rel.gpu", "MEMBAR.ALL.GPU"),
            ("atom.acq_rel.gpu.global.add.u32", "ATOMG.E.ADD.STRONG.GPU"),
            ("ld.relaxed.gpu.global.v4.f32", "LDG.E.128.STRONG.GPU"),
            ("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "LDSM.16.MT88.4"),
            ("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", "HMMA.1688.F32"),
            ("cp.async.ca.shared.global", "LDGSTS.E.64"),
            ("griddepcontrol.wait", "ACQBULK"),
            ("griddepcontrol.launch_dependents", "PREEXIT"),
            ("ex2.approx.ftz.f32", "MUFU.EX2"),
            ("tanh.approx.f32", "MUFU.TANH"),
            ("div.rn.f32", "FCHK"),
            ("fma.rn.f32", "FFMA"),
            ("fma.rm.f32", "FFMA.RM"),
            ("cvt.f32.f16", "HADD2.F32"),
            ("cvt.rn.f16x2.f32", "F2FP.F16.F32.PACK_AB"),
        ] {
            let anchor = Anchor::of_ptx(form);
            assert!(anchor.is_some(), "{form}");
            assert_eq!(anchor, Anchor::of_machine(opcode), "{form}, {opcode}");
        }
        for form in ["ld.param.u32", "mov.b32", "cp.async.wait_group", "add.s32"] {
            assert_eq!(Anchor::of_ptx(form), None, "{form}");
        }
        for opcode in ["MUFU.RCP", "HFMA2.MMA", "FFMA.RZ", "IMAD", "LDC"] {
            assert_eq!(Anchor::of_machine(opcode), None, "{opcode}");
        }
        assert!(Anchor::Fma.is_blurred_by("div.rn.f32"));
        assert!(!Anchor::Exp.is_blurred_by("div.rn.f32"));
        assert!(!Anchor::Fma.is_blurred_by("div.s32"));
    }
}
