//! Exported graphs as checkpoints: recognised by content, with the files that belong to them.

use super::graph::Graph;
use super::paddle_inference::{self, Pair};
use super::tensor::{Data, View};
use super::{CheckpointError, Container, Part, onnx, tar};
use crate::mapped::MappedFile;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file beside a checkpoint that holds tensors of it.
pub(super) struct Beside {
    pub(super) path: PathBuf,
    pub(super) map: Arc<MappedFile>,
}

/// An exported graph, its tensors, and the files beside it.
pub(super) struct Exported {
    pub(super) container: Container,
    pub(super) graph: Graph,
    pub(super) tensors: Vec<(String, View)>,
    pub(super) beside: Vec<Beside>,
}

/// What `part` is, if it is an exported graph.
pub(super) fn index(part: &Part) -> Result<Option<Exported>, CheckpointError> {
    let file: &[u8] = &part.source;
    let path = part.path.as_deref();
    if onnx::recognises(file) {
        let folder = path.map(|path| path.parent().unwrap_or(path));
        let onnx::Indexed { graph, tensors, beside } = onnx::index(file, folder)?;
        return Ok(Some(Exported { container: Container::Onnx, graph, tensors, beside }));
    }
    let is_program = paddle_inference::recognises_program(file);
    if is_program || paddle_inference::recognises_parameters(file) {
        let pair = paddle_inference::beside(path.unwrap_or(Path::new("")), is_program)?;
        return of_pair(file, is_program, &pair).map(Some);
    }
    if tar::recognises(file) {
        return of_tar(file, &Data::File);
    }
    match tar::unpack(file)? {
        Some(archive) => of_tar(&archive, &|range| Data::Owned(archive[range].into())),
        None => Ok(None),
    }
}

/// The Paddle inference model of two files, of which `file` is one.
fn of_pair(
    file: &[u8],
    is_program: bool,
    pair: &Pair<PathBuf>,
) -> Result<Exported, CheckpointError> {
    let path = if is_program { &pair.parameters } else { &pair.program };
    let map = Arc::new(super::map(path)?);
    let (graph, tensors) = if is_program {
        let data = |range| Data::Beside { map: map.clone(), range };
        paddle_inference::index(file, &map, &data)?
    } else {
        paddle_inference::index(&map, file, &Data::File)?
    };
    let beside = vec![Beside { path: path.clone(), map }];
    Ok(Exported { container: Container::PaddleInference, graph, tensors, beside })
}

/// The Paddle inference model in a tar archive, if that holds one; `data` makes the place of bytes
/// from their range in the archive.
fn of_tar(
    archive: &[u8],
    data: &dyn Fn(Range<usize>) -> Data,
) -> Result<Option<Exported>, CheckpointError> {
    let (entries, fault) = tar::entries(archive);
    let Some(Pair { program, parameters }) = paddle_inference::pair(&entries) else {
        return Ok(None);
    };
    if let Some(fault) = fault {
        return Err(fault);
    }
    let start = parameters.start;
    let place = |range: Range<usize>| data(start + range.start..start + range.end);
    let (graph, tensors) =
        paddle_inference::index(&archive[program], &archive[parameters], &place)?;
    let container = Container::PaddleInference;
    Ok(Some(Exported { container, graph, tensors, beside: vec![] }))
}
