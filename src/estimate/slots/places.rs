//! Places of the source, as PTX and the listing of the machine code name them.
//!
//! A place is a chain of files and lines: the innermost first, then the call that it was inlined
//! into, and so on. Both sides' places become numbers here.

use std::collections::HashMap;
use std::sync::Arc;

/// File and line.
pub type Line = (Arc<str>, u32);

/// Calls within calls that are followed; PTX that names more is cut off there.
const DEEPEST: usize = 32;

/// Where the project's own sources lie; other files are CUDA's headers.
const KERNELS: &str = "kernels/";

/// A place's number.
pub type Place = usize;

/// Numbers of places.
#[derive(Debug, Default)]
pub struct Places {
    names: HashMap<Arc<str>, Arc<str>>,
    numbers: HashMap<Vec<Line>, Place>,
    /// The line of each place that reports name: the innermost of the project's kernels, or the
    /// innermost where none is.
    pub lines: Vec<Line>,
    /// The innermost line of each place.
    pub innermost: Vec<Line>,
    /// Numbers of chains without the call in which their innermost line is.
    outer_numbers: HashMap<Vec<Line>, usize>,
    /// For each place the number of its chain without that call: places that are alike but for it
    /// have the same.
    pub outer: Vec<usize>,
}

impl Places {
    fn name(&mut self, file: &str) -> Arc<str> {
        match self.names.get(file) {
            Some(name) => name.clone(),
            None => {
                let name = Arc::<str>::from(file);
                self.names.insert(name.clone(), name.clone());
                name
            }
        }
    }

    /// The number of a chain, innermost first; none for an empty one.
    pub fn number<'a>(&mut self, chain: impl Iterator<Item = (&'a str, u32)>) -> Option<Place> {
        let chain: Vec<Line> =
            chain.take(DEEPEST).map(|(file, line)| (self.name(file), line)).collect();
        let innermost = chain.first()?.clone();
        let ours = chain.iter().find(|(file, _)| file.starts_with(KERNELS));
        let line = ours.unwrap_or(&innermost).clone();
        let next = self.lines.len();
        let outer: Vec<Line> = chain
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(_, line)| line.clone())
            .collect();
        let place = *self.numbers.entry(chain).or_insert(next);
        if place == next {
            let next = self.outer_numbers.len();
            self.outer.push(*self.outer_numbers.entry(outer).or_insert(next));
            self.lines.push(line);
            self.innermost.push(innermost);
        }
        Some(place)
    }
}

/// Lines of a PTX text that loops, branches and places are read from.
#[derive(Debug, Default)]
pub struct Text {
    /// The place of each line of the text, counted from one, where it has one.
    pub places: Vec<Option<Place>>,
    /// The line of each label.
    labels: HashMap<String, u32>,
    /// Branches: line and label.
    branches: Vec<(u32, String)>,
    /// Lines that begin a block: labels, and what follows branches.
    starts: Vec<u32>,
}

/// A loop of the text: from a label to the branch back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLoop {
    /// Line of the label.
    pub label: u32,
    /// Line of the branch.
    pub branch: u32,
}

impl Text {
    /// Reads `.file`, `.loc`, labels and branches.
    ///
    /// ```text
    /// .file 2 "kernels/common.cuh"
    /// .loc 2 39 5, function_name $L__info_string1, inlined_at 1 69 3
    /// ```
    pub fn read(ptx: &str, places: &mut Places) -> Text {
        let files: HashMap<u32, &str> = ptx.lines().filter_map(file).collect();
        let mut text = Text { places: vec![None], ..Text::default() };
        let (mut current, mut seen) = (None, HashMap::<[u32; 3], Vec<(&str, u32)>>::new());
        for (line, number) in ptx.lines().map(str::trim).zip(1u32..) {
            if let Some((at, inlined_at)) = line.strip_prefix(".loc").and_then(location) {
                let outer = inlined_at.and_then(|at| seen.get(&at)).map_or(&[][..], Vec::as_slice);
                let chain: Vec<(&str, u32)> = files
                    .get(&at[0])
                    .map(|file| (*file, at[1]))
                    .into_iter()
                    .chain(outer.iter().copied())
                    .take(DEEPEST)
                    .collect();
                current = places.number(chain.iter().copied());
                seen.insert(at, chain);
            } else if let Some(label) = line.strip_suffix(':') {
                text.labels.insert(label.to_owned(), number);
                text.starts.push(number);
            } else if line.contains(".entry ") {
                current = None;
            } else if let Some(label) = branch(line) {
                text.branches.push((number, label.to_owned()));
                text.starts.push(number + 1);
            }
            text.places.push(current);
        }
        text
    }

    /// The number of the block that a line lies in.
    pub fn block(&self, line: u32) -> usize {
        self.starts.partition_point(|start| *start <= line)
    }

    /// The innermost loop around a line.
    pub fn loop_around(&self, line: u32) -> Option<TextLoop> {
        self.loops_around(line).min_by_key(|found| found.branch - found.label)
    }

    /// The number of loops around a line.
    pub fn depth(&self, line: u32) -> usize {
        let mut labels: Vec<u32> = self.loops_around(line).map(|found| found.label).collect();
        labels.sort_unstable();
        labels.dedup();
        labels.len()
    }

    fn loops_around(&self, line: u32) -> impl Iterator<Item = TextLoop> {
        self.branches.iter().filter_map(move |(branch, label)| {
            let label = *self.labels.get(label)?;
            (label < line && line <= *branch).then_some(TextLoop { label, branch: *branch })
        })
    }
}

/// `.file INDEX "NAME"`
fn file(line: &str) -> Option<(u32, &str)> {
    let rest = line.trim().strip_prefix(".file")?;
    let (index, rest) = rest.trim().split_once(char::is_whitespace)?;
    let name = rest.trim().strip_prefix('"')?.split('"').next()?;
    Some((index.parse().ok()?, name))
}

/// `FILE LINE COLUMN [, function_name X, inlined_at FILE LINE COLUMN]`
fn location(text: &str) -> Option<([u32; 3], Option<[u32; 3]>)> {
    let three = |text: &str| -> Option<[u32; 3]> {
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        Some([numbers.next()?, numbers.next()?, numbers.next()?])
    };
    let at = three(text.split(',').next()?)?;
    Some((at, text.split_once("inlined_at").and_then(|(_, outer)| three(outer))))
}

/// The label that `[@p] bra[.uni] LABEL;` goes to.
fn branch(line: &str) -> Option<&str> {
    let line = match line.strip_prefix('@') {
        Some(rest) => rest.split_once(char::is_whitespace)?.1.trim(),
        None => line,
    };
    let (opcode, label) = line.split_once(char::is_whitespace)?;
    (opcode == "bra" || opcode.starts_with("bra.")).then(|| label.trim().trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str = r#"
.visible .entry f()
{
    mov.u32 %r1, 0;
    .loc 1 12 3
    add.s32 %r2, %r1, 1;
$L__BB0_1:
    .loc 2 3 5, function_name $L__info_string0, inlined_at 1 12 3
    mul.f32 %f1, %f2, %f3;
    .loc 2 9 5, function_name $L__info_string1, inlined_at 2 3 5
    @%p1 bra $L__BB0_1;
    bra.uni $L__BB0_2;
$L__BB0_2:
    ret;
}
    .file 1 "kernels/a.cu"
    .file 2 "kernels/b.cuh"
    .file 3 "/usr/include/cuda_fp16.hpp"
"#;

    #[test]
    fn places_of_ptx() {
        let mut places = Places::default();
        let text = Text::read(PTX, &mut places);
        let place = |line: usize| text.places[line].map(|at| places.lines[at].clone());
        assert_eq!(place(4), None);
        assert_eq!(place(6), Some(("kernels/a.cu".into(), 12)));
        assert_eq!(place(9), Some(("kernels/b.cuh".into(), 3)));
        assert_eq!(place(11), Some(("kernels/b.cuh".into(), 9)));
        let (inner, at) = (text.places[11], text.places[9]);
        // The listing names the same chains.
        let chain = [("kernels/b.cuh", 9), ("kernels/b.cuh", 3), ("kernels/a.cu", 12)];
        assert_eq!(places.number(chain.into_iter()), inner);
        assert_eq!(places.number(chain[1..].iter().copied()), at);
        assert_eq!(places.number(std::iter::empty()), None);
        assert_ne!(places.number([("kernels/b.cuh", 9)].into_iter()), inner);
        // Lines of CUDA's headers are told as the line that called them.
        let chain = [("/usr/include/cuda_fp16.hpp", 7), ("kernels/a.cu", 12)];
        let called = places.number(chain.into_iter()).unwrap();
        assert_eq!(places.lines[called], ("kernels/a.cu".into(), 12));
    }

    #[test]
    fn loops_of_ptx() {
        let text = Text::read(PTX, &mut Places::default());
        assert_eq!(text.loop_around(9), Some(TextLoop { label: 7, branch: 11 }));
        assert_eq!((text.depth(9), text.depth(6)), (1, 0));
        assert_eq!(text.block(9), text.block(11));
        assert_ne!(text.block(6), text.block(9));
        assert_ne!(text.block(11), text.block(12));
        assert_eq!(text.loop_around(6), None);
        assert_eq!(text.loop_around(12), None);
    }
}
