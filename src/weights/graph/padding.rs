//! The padding convention that a graph's pads prove.
//!
//! At one size of the image a window is the same function wherever its first zeros and its output
//! size are the same. Pads that follow the image's size, by `auto_pad` or by the graph's own
//! arithmetic, can be SAME and nothing else. Constant ones are symmetric, or SAME frozen at a size
//! (cropped, where a row and a column are dropped): at the size that the graph was exported for,
//! frozen and SAME cannot be told apart, and are the same network.

use super::GraphFault;
use super::sizes::{Placed, place};
use super::walk::Walked;
use crate::arch::{ConvGeometry, NetworkGeometry, Padding, Size};
use crate::weights::RecogniseError;
use crate::weights::import::graph::{Graph, Op, Pads};

/// The convention, and the input's size where it is fixed.
pub(super) fn padding(
    graph: &Graph,
    walked: &Walked,
) -> Result<(Padding, Option<Size>), RecogniseError> {
    let native = walked.network.variant.native();
    let declared = match graph.input_shape[..] {
        [_, _, Some(h), Some(w)] if h.max(w) <= Size::MAX_SIDE => Some(Size { h, w }),
        _ => None,
    };
    let size = declared.unwrap_or(native);
    let odd = Size { h: size.h + 1, w: size.w + 1 };
    let auto = walked.windows.iter().any(|window| {
        matches!(graph.nodes[window.conv].op, Op::Conv { pads: Pads::SameUpper, .. })
    });
    let Some(placed) = place(graph, walked, size) else {
        return Err(fault(graph, walked, 0, "pads that can be computed", "others"));
    };
    let first_zeros = |placed: &[Placed]| -> Vec<_> {
        placed.iter().map(|window| (window.pad_top, window.pad_left)).collect()
    };
    let follows =
        place(graph, walked, odd).is_some_and(|other| first_zeros(&other) != first_zeros(&placed));

    // A graph for any size must be the convention at sizes even and odd.
    let cropped = walked.windows.iter().any(|window| window.crop != [0; 2]);
    let mut sizes = vec![size];
    if declared.is_none() {
        sizes.extend([odd, Size { h: 97, w: 130 }]);
    }
    // Once for each size: many conventions are compared with them.
    let placements: Vec<(Size, Option<Vec<Placed>>)> =
        sizes.into_iter().map(|size| (size, place(graph, walked, size))).collect();
    let fits = |padding: Padding, placements: &[(Size, Option<Vec<Placed>>)]| {
        placements.iter().all(|(size, placed)| {
            let differs = |placed: &Vec<_>| first_difference(walked, placed, *size, padding);
            placed.as_ref().is_some_and(|placed| differs(placed).is_none())
        })
    };
    // What this project's export says, where the graph agrees.
    let written = graph.properties.get("effnet.padding").and_then(|text| parse(text));
    if let Some(written) = written.filter(|&written| fits(written, &placements[..1])) {
        return Ok((written, declared));
    }
    if auto || follows {
        if fits(Padding::SameDynamic, &placements) {
            return Ok((Padding::SameDynamic, declared));
        }
        return Err(differs(graph, walked, &placed, size, Padding::SameDynamic));
    }
    if fits(Padding::Symmetric, &placements) {
        return Ok((Padding::Symmetric, declared));
    }
    // Rows are dropped by PaddleClas, who freezes pads at the native size; else a fixed size is the
    // one that they were frozen at.
    let kind = if cropped { Padding::SameCropped } else { Padding::SameFrozen };
    let usual = [Some(native), declared].map(|size| size.map(kind));
    let usual = if cropped { usual } else { [usual[1], usual[0]] };
    const LARGEST_TRIED: usize = 1024;
    let others = (32..=LARGEST_TRIED).map(|side| kind(Size::square(side)));
    for padding in usual.into_iter().flatten().chain(others) {
        if fits(padding, &placements) {
            return Ok((padding, declared));
        }
    }
    // Of the two conventions the one that holds for longer is the one that was meant.
    let holds = |padding: &Padding| {
        first_difference(walked, &placed, size, *padding).map_or(usize::MAX, |(index, _)| index)
    };
    let frozen = if cropped { kind(native) } else { kind(size) };
    let nearest = [frozen, Padding::Symmetric].into_iter().max_by_key(holds);
    Err(differs(graph, walked, &placed, size, nearest.unwrap_or(Padding::Symmetric)))
}

/// A convention in the words of this project's export.
fn parse(text: &str) -> Option<Padding> {
    match text {
        "symmetric" => Some(Padding::Symmetric),
        "same" => Some(Padding::SameDynamic),
        _ => {
            let (kind, size): (fn(Size) -> Padding, _) = match text.split_once(':')? {
                ("same-frozen", size) => (Padding::SameFrozen, size),
                ("same-cropped", size) => (Padding::SameCropped, size),
                _ => return None,
            };
            let (h, w) = size.split_once('x')?;
            let side =
                |side: &str| side.parse().ok().filter(|side| (1..=Size::MAX_SIDE).contains(side));
            Some(kind(Size { h: side(h)?, w: side(w)? }))
        }
    }
}

/// The first window that is not the convention's, with the one that is.
fn first_difference(
    walked: &Walked,
    placed: &[Placed],
    size: Size,
    padding: Padding,
) -> Option<(usize, Option<Placed>)> {
    let Ok(geometry) = NetworkGeometry::new(&walked.network, size, padding) else {
        return Some((0, None));
    };
    let wanted = std::iter::once(&geometry.stem).chain(&geometry.blocks);
    let wanted = wanted.map(|&ConvGeometry { pad_top, pad_left, output, .. }| Placed {
        pad_top,
        pad_left,
        output,
    });
    let mut pairs = wanted.zip(placed).enumerate();
    pairs
        .find(|(_, (wanted, found))| wanted != *found)
        .map(|(index, (wanted, _))| (index, Some(wanted)))
}

fn differs(
    graph: &Graph,
    walked: &Walked,
    placed: &[Placed],
    size: Size,
    padding: Padding,
) -> RecogniseError {
    let words = |placed: &Placed| {
        let Placed { pad_top, pad_left, output } = placed;
        format!("{pad_top} rows above and {pad_left} columns before, output {output}")
    };
    match first_difference(walked, placed, size, padding) {
        Some((index, Some(wanted))) => {
            let expected = format!("pads of {padding} at {size}: {}", words(&wanted));
            fault(graph, walked, index, expected, words(&placed[index]))
        }
        _ => fault(graph, walked, 0, format!("pads of {padding}"), "others"),
    }
}

/// The fault of a window's pads.
fn fault(
    graph: &Graph,
    walked: &Walked,
    window: usize,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> RecogniseError {
    let window = &walked.windows[window];
    let node = &graph.nodes[window.pad.unwrap_or(window.conv)];
    RecogniseError::Graph(Box::new(GraphFault {
        variant: walked.network.variant,
        node: node.name.clone(),
        op_type: node.op_type.clone(),
        expected: expected.into(),
        found: found.into(),
    }))
}
