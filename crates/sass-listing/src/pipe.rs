//! The pipe of every opcode.
//!
//! Sources: the names of NVIDIA's profiler for the pipes of a multiprocessor's quarter (Nsight
//! Compute, kernel profiling guide, "Pipelines"); the opcodes of the instruction set reference
//! (CUDA binary utilities). Half precision has a pipe of its own up to sm_80, and is executed by
//! the FMA pipes from sm_86 on.

/// What executes an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pipe {
    /// Products and sums in f32, integer products; pairs of halves from sm_86 on.
    Fma,
    /// Integer sums, logic, comparisons, selections, moves.
    Alu,
    /// Pairs of halves, where they have a pipe of their own.
    Half,
    /// f64.
    Double,
    /// Special functions; conversions between integers and floating-point numbers.
    Special,
    /// Global, shared and local memory, constants by register, shuffles, atomics, copies.
    LoadStore,
    /// Textures and surfaces.
    Texture,
    /// Matrix products.
    Tensor,
    /// What a whole warp computes once.
    Uniform,
    /// Branches, barriers, waits, special registers.
    Control,
    /// An opcode that this table does not know.
    Other,
}

/// First target that executes pairs of halves with the FMA pipes.
const HALF_BY_FMA: u32 = 86;

impl Pipe {
    /// All pipes.
    pub const ALL: [Pipe; 11] = [
        Pipe::Fma,
        Pipe::Alu,
        Pipe::Half,
        Pipe::Double,
        Pipe::Special,
        Pipe::LoadStore,
        Pipe::Texture,
        Pipe::Tensor,
        Pipe::Uniform,
        Pipe::Control,
        Pipe::Other,
    ];

    /// A short name, as in `special`.
    pub fn name(self) -> &'static str {
        match self {
            Pipe::Fma => "fma",
            Pipe::Alu => "alu",
            Pipe::Half => "half",
            Pipe::Double => "double",
            Pipe::Special => "special",
            Pipe::LoadStore => "load/store",
            Pipe::Texture => "texture",
            Pipe::Tensor => "tensor",
            Pipe::Uniform => "uniform",
            Pipe::Control => "control",
            Pipe::Other => "other",
        }
    }

    /// The pipe of an opcode with or without modifiers, on a target as in 90 for 9.0.
    pub fn of(opcode: &str, target: u32) -> Pipe {
        let base = opcode.split('.').next().unwrap_or_default();
        match base {
            "FFMA" | "FFMA2" | "FFMA32I" | "FMUL" | "FMUL2" | "FMUL32I" | "FADD" | "FADD2"
            | "FADD32I" | "IMAD" | "IMAD32I" | "IMUL" | "IMUL32I" | "IDP" | "IDP4A" => Pipe::Fma,
            "HFMA2" | "HADD2" | "HMUL2" | "HFMA2_32I" | "HADD2_32I" | "HMUL2_32I" => {
                if target < HALF_BY_FMA { Pipe::Half } else { Pipe::Fma }
            }
            "HSET2" | "HSETP2" | "HMNMX2" | "VHMNMX" => {
                if target < HALF_BY_FMA {
                    Pipe::Half
                } else {
                    Pipe::Alu
                }
            }
            "IADD3" | "IADD" | "IADD32I" | "LOP3" | "LOP" | "LOP32I" | "SHF" | "SHL" | "SHR"
            | "ISETP" | "IMNMX" | "IMNMX3" | "VIMNMX" | "VIMNMX3" | "VIADD" | "VIADDMNMX"
            | "LEA" | "SEL" | "FSEL" | "FSET" | "FSETP" | "FMNMX" | "FMNMX3" | "FSWZADD"
            | "PRMT" | "MOV" | "MOV32I" | "PLOP3" | "PSETP" | "P2R" | "R2P" | "IABS" | "BMSK"
            | "SGXT" | "F2FP" | "I2FP" | "CS2R" | "VOTE" | "LEPC" | "VABSDIFF" | "VABSDIFF4"
            | "ICMP" | "VOTEU" => Pipe::Alu,
            "MUFU" | "FCHK" | "F2F" | "F2I" | "I2F" | "I2I" | "FRND" | "POPC" | "FLO" | "BREV"
            | "F2IP" => Pipe::Special,
            "DADD" | "DMUL" | "DFMA" | "DSETP" | "DMNMX" => Pipe::Double,
            "HMMA" | "IMMA" | "BMMA" | "DMMA" | "QMMA" | "OMMA" | "HGMMA" | "IGMMA" | "QGMMA"
            | "BGMMA" | "UTCHMMA" | "UTCIMMA" | "UTCQMMA" | "UTCOMMA" => Pipe::Tensor,
            "LD" | "LDG" | "LDL" | "LDS" | "LDSM" | "LDC" | "LDGSTS" | "LDGDEPBAR" | "ST"
            | "STG" | "STL" | "STS" | "STSM" | "STAS" | "ATOM" | "ATOMG" | "ATOMS" | "RED"
            | "REDG" | "REDAS" | "SHFL" | "MATCH" | "QSPC" | "CCTL" | "CCTLL" | "CCTLT"
            | "MEMBAR" | "FENCE" | "SYNCS" | "ARRIVES" | "MOVM" | "UBLKCP" | "UBLKPF"
            | "UBLKRED" | "UTMALDG" | "UTMASTG" | "UTMAREDG" | "UTMAPF" | "UTMACMDFLUSH"
            | "REDUX" | "CREDUX" | "LDCU" => Pipe::LoadStore,
            "TEX" | "TLD" | "TLD4" | "TMML" | "TXD" | "TXQ" | "SULD" | "SUST" | "SUATOM"
            | "SURED" | "SUQUERY" => Pipe::Texture,
            "BRA" | "BRX" | "BRXU" | "JMP" | "JMX" | "JMXU" | "CALL" | "RET" | "EXIT" | "KILL"
            | "BSSY" | "BSYNC" | "BREAK" | "BMOV" | "BPT" | "RPCMOV" | "WARPSYNC" | "YIELD"
            | "NANOSLEEP" | "BAR" | "UCGABAR_ARV" | "UCGABAR_WAIT" | "B2R" | "R2B" | "DEPBAR"
            | "NOP" | "S2R" | "GETLMEMBASE" | "SETLMEMBASE" | "SETCTAID" | "LEPI" | "PREEXIT"
            | "ACQBULK" | "ACQSHMINIT" | "ERRBAR" | "CGAERRBAR" | "ELECT" | "WARPGROUP"
            | "WARPGROUPSET" | "USETMAXREG" | "PMTRIG" | "RTT" | "ENDCOLLECTIVE" => Pipe::Control,
            "R2UR" | "S2UR" | "CS2UR" => Pipe::Uniform,
            _ if base.len() > 1 && base.starts_with('U') => Pipe::Uniform,
            _ => Pipe::Other,
        }
    }
}
