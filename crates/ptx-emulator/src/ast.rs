//! The syntax tree of a PTX file: what was written, with nothing decided yet about its meaning.

/// A PTX file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PtxFile {
    /// `.version`, as in (9, 0).
    pub version: (u32, u32),
    /// `.target`, as in `sm_80`.
    pub target: String,
    /// `.file` directives: index and path.
    pub files: Vec<(u32, String)>,
    /// Module-scope variables.
    pub variables: Vec<Variable>,
    /// `.entry` and `.func`, declarations without a body left out.
    pub functions: Vec<Function>,
    /// Names of functions that are declared here and not defined, as `__assertfail` and `vprintf`.
    pub externs: Vec<String>,
}

/// `.entry` or `.func`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    pub name: String,
    /// `.entry`, a kernel.
    pub entry: bool,
    /// Line of its name in the PTX file, from 1.
    pub line: u32,
    /// Return parameters of a `.func`: `.param` variables or `.reg` names.
    pub returns: Vec<Variable>,
    pub params: Vec<Variable>,
    /// Performance and launch directives after the parameters: name without the dot, and values, as
    /// in `("maxntid", [256, 1, 1])`, `("explicitcluster", [])`.
    pub directives: Vec<(String, Vec<u32>)>,
    pub body: Vec<Statement>,
}

/// State space of a variable or of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    Reg,
    Param,
    Global,
    Shared,
    Local,
    Const,
}

/// A variable in any space; registers are `Statement::Registers`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variable {
    pub space: Space,
    pub name: String,
    pub line: u32,
    /// Without the dot: `b8`, `f32`, `u64`, `pred`...
    pub scalar: String,
    /// `.v2` and `.v4` declare vectors of `scalar`; otherwise 1.
    pub lanes: u32,
    /// `.align`, or the natural alignment of `scalar` times `lanes`.
    pub align: u32,
    /// Elements in all, over all dimensions, each of `lanes` scalars: 1 for a plain variable, 0 for
    /// the `name[]` of an `.extern`. The bytes of all of them, see `bytes`, are fewer than 2^63.
    pub elems: u64,
    /// `.extern`: defined elsewhere; for `.shared`, the dynamic shared memory.
    pub is_extern: bool,
    /// Initial values of scalars, flattened; fewer than `elems * lanes` means that zeros follow.
    /// `None` without `=`.
    pub init: Option<Vec<Init>>,
}

impl Variable {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        let element = u64::from(scalar_bytes(&self.scalar).unwrap_or(0)) * u64::from(self.lanes);
        self.elems.saturating_mul(element)
    }
}

/// Bytes of a type that a variable can have; a predicate, which is in no memory, is `None`.
pub(crate) fn scalar_bytes(scalar: &str) -> Option<u32> {
    Some(match scalar {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// One initial value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Init {
    /// An integer, truncated to the scalar.
    Int(i128),
    /// A float by its bits, already converted to the scalar's width (f32, b32, f64 or b64).
    Bits(u64),
    /// An address: a variable's, plus an offset. `generic(name)` is told apart.
    Symbol { name: String, offset: i64, generic: bool },
}

/// One statement of a body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    /// `.reg .b32 %r<5>;` gives the names `%r0` to `%r4` by their stem and count.
    Registers {
        scalar: String,
        lanes: u32,
        names: Vec<RegisterNames>,
        line: u32,
    },
    Variable(Variable),
    Label {
        name: String,
        line: u32,
    },
    Instruction(Instruction),
    /// `.loc`: a place of the source, and the place of the call where it was inlined.
    Loc {
        at: SourcePlace,
        inlined_at: Option<SourcePlace>,
    },
    /// `{ ... }`, a scope of names.
    Scope(Vec<Statement>),
    /// `name: .branchtargets a, b, c;`
    BranchTargets {
        name: String,
        labels: Vec<String>,
        line: u32,
    },
    /// `name: .callprototype ...;` and `name: .calltargets ...;`, which indirect calls name.
    CallTargets {
        name: String,
        line: u32,
    },
    /// `.pragma`, which has no effect on the result.
    Ignored,
}

/// Index in `.file`, line, column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SourcePlace {
    pub file: u32,
    pub line: u32,
    pub column: u32,
}

/// `%r` of `%r<5>` with count 5, or a single name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegisterNames {
    pub stem: String,
    pub count: Option<u32>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instruction {
    /// Line of its opcode in the PTX file, from 1.
    pub line: u32,
    /// `@p` and `@!p`.
    pub guard: Option<Guard>,
    /// Up to the first dot: `mad` of `mad.lo.s32`.
    pub opcode: String,
    /// The rest, without dots: `["lo", "s32"]`. `::` stays inside one: `shared::cta`, `L2::128B`,
    /// `mbarrier::arrive`.
    pub modifiers: Vec<String>,
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Guard {
    pub name: String,
    pub negated: bool,
}

/// One operand, separated by commas at the top level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    /// A register, special register (`%tid.x`, with its component), variable, function or label.
    Name(String),
    /// `!p`.
    Not(String),
    /// An integer, possibly negative. `U` suffixes and every base are read.
    Int(i128),
    /// `0f3F800000`.
    F32(u32),
    /// `0d3FF0000000000000`, and decimal literals such as `1.5`.
    F64(u64),
    /// `{a, b, c, d}`.
    Vector(Vec<Operand>),
    /// `[base]`, `[base+offset]`; the base is a name, or an integer address. Instructions that take
    /// two things inside brackets (tensor coordinates) are refused by the parser.
    Address { base: Base, offset: i64 },
    /// `p|q`: two destinations.
    Pair(Box<Operand>, Box<Operand>),
    /// `name+4` outside of brackets.
    Offset(String, i64),
    /// `_`, a destination that is dropped.
    Sink,
    /// `(a, b)` of a call: returns and arguments.
    List(Vec<Operand>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Base {
    Name(String),
    Int(u64),
}

impl Instruction {
    /// The opcode with its modifiers, as messages show it: `mad.lo.s32`.
    pub fn form(&self) -> String {
        let mut form = self.opcode.clone();
        for modifier in &self.modifiers {
            form.push('.');
            form.push_str(modifier);
        }
        form
    }
}
