//! Mutants of PTX: the text of one kernel with one instruction weakened.

use std::collections::HashMap;

/// The kind of instruction that was weakened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `bar`, `barrier`: removed.
    Barrier,
    /// `cp.async.wait_*`: removed, or satisfied with one group more under way.
    Wait,
    /// `cp.async.commit_group`: removed.
    Commit,
    /// `fence`, `membar`: removed.
    Fence,
    /// An atomic operation that acquires and releases: without the one, the other, or both.
    Order,
    /// The membermask of a `.sync` instruction: a lane left out.
    Membermask,
    /// A comparison of an index with its bound: one more index gets through.
    Shifted,
    /// A branch that depends on such a comparison, or on a null pointer: the code behind it always
    /// runs.
    Unguarded,
    /// The source size of `cp.async`: bytes that were zero are copied, or the reverse. No rule is
    /// broken, only the values can be wrong.
    SourceSize,
}

/// One kernel's PTX with one edit.
pub struct Mutant {
    pub kind: Kind,
    /// Line of the PTX, from 0.
    pub line: usize,
    /// The instruction before and after the edit.
    pub edit: String,
    /// `.cu` line of the instruction.
    pub source: Source,
    pub text: String,
}

/// Line of the source that an instruction comes from, as the compiler says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub file: String,
    pub line: usize,
}

/// The PTX of one entry by itself: everything before the first entry, the entry, everything after
/// the last.
pub fn isolate(ptx: &str, entry: &str) -> String {
    const START: &str = "\n.visible .entry ";
    const END: &str = "\n}\n";
    let first = ptx.find(START).expect("an entry");
    let last_end = ptx.rfind(END).expect("the end of an entry") + END.len();
    let start = ptx.find(&format!("{START}{entry}(")).expect("the entry");
    let end = start + ptx[start..].find(END).expect("the entry's end") + END.len();
    format!("{}{}{}", &ptx[..first], &ptx[start..end], &ptx[last_end..])
}

/// An instruction on a line of its own, as nvcc writes them.
struct Line<'t> {
    /// Negated, and the predicate.
    guard: Option<(bool, &'t str)>,
    opcode: &'t str,
    operands: Vec<&'t str>,
}

impl<'t> Line<'t> {
    fn parse(text: &'t str) -> Option<Line<'t>> {
        let mut text = text.trim().strip_suffix(';')?;
        let mut guard = None;
        if let Some(rest) = text.strip_prefix('@') {
            let (pred, rest) = rest.split_once(char::is_whitespace)?;
            guard = Some(match pred.strip_prefix('!') {
                Some(pred) => (true, pred),
                None => (false, pred),
            });
            text = rest.trim_start();
        }
        let (opcode, operands) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        // Operands hold no comma within brackets but for those of vectors, which no mutant touches.
        let operands = operands.split(',').map(str::trim).filter(|o| !o.is_empty()).collect();
        (opcode.starts_with(|c: char| c.is_ascii_lowercase())).then_some(Line {
            guard,
            opcode,
            operands,
        })
    }

    fn is_branch(&self) -> bool {
        self.opcode == "bra" || self.opcode == "bra.uni"
    }
}

/// The lines of a kernel and the facts known about their predicates.
struct Kernel<'t> {
    text: Vec<&'t str>,
    lines: Vec<Option<Line<'t>>>,
    labels: HashMap<&'t str, usize>,
    /// Lines by the register that they write first.
    definitions: HashMap<&'t str, Vec<usize>>,
}

impl<'t> Kernel<'t> {
    fn new(text: &'t str) -> Kernel<'t> {
        let text: Vec<&str> = text.lines().collect();
        let lines: Vec<Option<Line>> = text.iter().map(|line| Line::parse(line)).collect();
        let mut labels = HashMap::new();
        let mut definitions: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, line) in text.iter().enumerate() {
            if let Some(label) = line.trim().strip_suffix(':') {
                labels.insert(label, i);
            }
            if let Some(Line { operands, .. }) = &lines[i]
                && let Some(first) = operands.first()
            {
                definitions.entry(first).or_default().push(i);
            }
        }
        Kernel { text, lines, labels, definitions }
    }

    /// Whether more is executed when the branch at `at` is taken. Backward: another turn of a loop.
    /// Forward: the code after the branch is skipped, unless that code is itself the jump that
    /// skips.
    fn taken_runs_more(&self, at: usize) -> bool {
        let line = self.lines[at].as_ref().expect("a branch");
        let target = self.labels[line.operands[0]];
        let next = self.lines[at + 1..].iter().flatten().next();
        target < at
            || next.is_some_and(|next| {
                next.is_branch() && next.guard.is_none() && self.labels[next.operands[0]] > target
            })
    }

    /// Whether more is executed, or copied, where the predicate is true.
    fn true_runs_more(&self, pred: &str) -> Option<bool> {
        let mut answers = self.lines.iter().enumerate().filter_map(|(i, line)| {
            let line = line.as_ref()?;
            if let Some((negated, guard)) = line.guard
                && guard == pred
            {
                let more = !line.is_branch() || self.taken_runs_more(i);
                return Some(more != negated);
            }
            let reads = line.operands.iter().skip(1).any(|&operand| operand == pred);
            match line.opcode {
                "not.pred" if reads => self.true_runs_more(line.operands[0]).map(|more| !more),
                "and.pred" | "or.pred" if reads => self.true_runs_more(line.operands[0]),
                "selp.b32" if line.operands[3] == pred => {
                    let value = |i: usize| line.operands[i].parse::<i64>().ok();
                    Some(value(1)? > value(2)?)
                }
                _ => None,
            }
        });
        answers.next()
    }

    /// Whether a predicate comes from the comparison of an integer with a bound, or of a pointer
    /// with null.
    fn is_bound(&self, pred: &str) -> bool {
        self.definitions.get(pred).into_iter().flatten().any(|&at| {
            let line = self.lines[at].as_ref().expect("a definition is an instruction");
            match line.opcode {
                "and.pred" | "or.pred" | "not.pred" => {
                    line.operands[1..].iter().any(|operand| self.is_bound(operand))
                }
                opcode => is_bound_comparison(opcode) || is_null_comparison(line),
            }
        })
    }

    /// The value of an operand that is an immediate or only ever moved from one.
    fn constant(&self, operand: &str) -> Option<i64> {
        if let Ok(value) = operand.parse() {
            return Some(value);
        }
        let [at] = self.definitions.get(operand)?.as_slice() else { return None };
        let line = self.lines[*at].as_ref()?;
        match line.opcode {
            "mov.u32" | "mov.b32" => line.operands[1].parse().ok(),
            _ => None,
        }
    }

    /// The source of a line: the last `.loc` before it that names one; of an inlined function, its
    /// own line.
    fn source(&self, at: usize) -> Source {
        let files: HashMap<&str, &str> = self
            .text
            .iter()
            .filter_map(|line| {
                let (number, name) = line.trim().strip_prefix(".file")?.trim().split_once(' ')?;
                Some((number, name.split('"').nth(1)?))
            })
            .collect();
        let loc = self.text[..at].iter().rev().find_map(|line| {
            let mut parts = line.trim().strip_prefix(".loc")?.split_whitespace();
            let file = files.get(parts.next()?)?.to_string();
            let line = parts.next()?.parse().ok()?;
            // Line 0: of the compiler's own making.
            (line > 0).then_some(Source { file, line })
        });
        loc.unwrap_or_default()
    }

    fn mutant(&self, kind: Kind, line: usize, edit: &str, replacement: &str) -> Mutant {
        let mut text: Vec<&str> = self.text.clone();
        text[line] = replacement;
        Mutant {
            kind,
            line,
            edit: format!("{}  ({edit})", self.text[line].trim().replace('\t', " ")),
            source: self.source(line),
            text: text.join("\n") + "\n",
        }
    }
}

/// Integers in order, as bounds are compared; equality has no neighbour.
fn is_bound_comparison(opcode: &str) -> bool {
    let parts: Vec<&str> = opcode.split('.').collect();
    matches!(parts[..], ["setp", "lt" | "le" | "gt" | "ge", "s32" | "u32" | "s64" | "u64"])
}

fn is_null_comparison(line: &Line) -> bool {
    matches!(line.opcode, "setp.eq.s64" | "setp.ne.s64") && line.operands[2] == "0"
}

/// The comparison `opcode a, b` that lets one more `a` through, where more runs if it is `more`.
fn shifted(operands: &[&str], opcode: &str, more: bool) -> String {
    let [_, order, of] = opcode.split('.').collect::<Vec<_>>()[..] else {
        unreachable!("an opcode of is_bound_comparison")
    };
    let [pred, a, b] = operands else { unreachable!("setp has three operands") };
    // Another order, or the same with the bound moved.
    let (order, moved) = match (order, more) {
        ("lt", true) => ("le", 0),
        ("gt", true) => ("ge", 0),
        ("le", true) => ("le", 1),
        ("ge", true) => ("ge", -1),
        ("le", false) => ("lt", 0),
        ("ge", false) => ("gt", 0),
        ("lt", false) => ("lt", -1),
        ("gt", false) => ("gt", 1),
        _ => unreachable!("an order of is_bound_comparison"),
    };
    match (moved, b.parse::<i64>()) {
        (0, _) => format!("\tsetp.{order}.{of} {pred}, {a}, {b};"),
        (_, Ok(b)) => format!("\tsetp.{order}.{of} {pred}, {a}, {};", b + moved),
        (_, Err(_)) => format!(
            "\t{{ .reg .{of} %shifted; add.{of} %shifted, {b}, {moved}; \
             setp.{order}.{of} {pred}, {a}, %shifted; }}"
        ),
    }
}

/// Every mutant of a kernel's PTX, in the order of its lines.
pub fn mutants(text: &str) -> Vec<Mutant> {
    let kernel = Kernel::new(text);
    let mut mutants = Vec::new();
    for (at, line) in kernel.lines.iter().enumerate() {
        let Some(line) = line else { continue };
        let opcode = line.opcode;
        let mut add = |kind, edit: &str, replacement: &str| {
            mutants.push(kernel.mutant(kind, at, edit, replacement));
        };
        if opcode.starts_with("bar.") || opcode.starts_with("barrier.") {
            add(Kind::Barrier, "removed", "");
        }
        if opcode.starts_with("fence.") || opcode.starts_with("membar.") {
            add(Kind::Fence, "removed", "");
        }
        if opcode.contains(".acq_rel.") {
            for weaker in ["acquire", "release", "relaxed"] {
                let operands = line.operands.join(", ");
                let weak = opcode.replace(".acq_rel.", &format!(".{weaker}."));
                add(Kind::Order, weaker, &format!("\t{weak} {operands};"));
            }
        }
        if opcode == "cp.async.commit_group" {
            add(Kind::Commit, "removed", "");
        }
        if opcode.starts_with("cp.async.wait") {
            add(Kind::Wait, "removed", "");
            if let Some(pending) = line.operands.first().and_then(|n| n.parse::<u32>().ok()) {
                let replacement = format!("\t{opcode} {};", pending + 1);
                add(Kind::Wait, "one group more under way", &replacement);
            }
        }
        let has_membermask = opcode.contains(".sync")
            && ["shfl", "vote", "match", "redux", "elect", "bar.warp"]
                .iter()
                .any(|start| opcode.starts_with(start));
        if has_membermask && let Some(mask) = line.operands.last() {
            let lanes = kernel.constant(mask).expect("a constant membermask") as u32;
            let fewer = lanes & !(1 << (31 - lanes.leading_zeros()));
            let mut operands = line.operands.clone();
            let fewer = fewer.to_string();
            *operands.last_mut().expect("a membermask") = &fewer;
            let replacement = format!("\t{opcode} {};", operands.join(", "));
            add(Kind::Membermask, "without its last lane", &replacement);
        }
        if is_bound_comparison(opcode) {
            let more = kernel.true_runs_more(line.operands[0]).unwrap_or(true);
            let replacement = shifted(&line.operands, opcode, more);
            add(Kind::Shifted, replacement.trim(), &replacement);
        }
        if let Some((_, pred)) = line.guard
            && line.is_branch()
            && kernel.is_bound(pred)
        {
            if kernel.taken_runs_more(at) {
                let replacement = format!("\tbra {};", line.operands[0]);
                add(Kind::Unguarded, "always taken", &replacement);
            } else {
                add(Kind::Unguarded, "never taken", "");
            }
        }
        if opcode.starts_with("cp.async.c") && opcode.contains("shared") && line.operands.len() == 4
        {
            let [to, from, bytes, _] = line.operands[..] else { unreachable!("four operands") };
            for (edit, size) in [("copies what lies outside", bytes), ("copies nothing", "0")] {
                let replacement = format!("\t{opcode} {to}, {from}, {bytes}, {size};");
                add(Kind::SourceSize, edit, &replacement);
            }
        }
    }
    mutants
}

/// The kernel with a `trap` before a line: whether the line is ever reached.
pub fn trapped(text: &str, line: usize) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(line, "\ttrap;");
    lines.join("\n") + "\n"
}
