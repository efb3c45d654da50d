//! Paddle's inference models: a program that names the parameters, and the parameters in a file of
//! their own.
//!
//! | file | contents | module |
//! |---|---|---|
//! | `NAME.pdmodel` | the program, a protocol buffer (Paddle 2) | `program` |
//! | `NAME.json` | the program as JSON (Paddle 3, "PIR") | `pir` |
//! | `NAME.pdiparams` | the parameters one after the other, sorted by name, without names | `parameters` |
//!
//! Any of these files stands for the pair, and so do their folder and a tar archive of it.

mod operation;
mod parameters;
mod pir;
mod program;

use super::CheckpointError;
use super::error::{quote, unsupported};
use super::graph::{Builder, Constant, Graph};
use super::tensor::View;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

pub(super) use parameters::recognises as recognises_parameters;

/// A parameter as the program declares it: sides of -1 are free.
struct Declared {
    shape: Vec<i64>,
}

/// A program, read.
struct Program {
    builder: Builder,
    /// The parameters by name: the order in which they are stored.
    parameters: BTreeMap<String, Declared>,
}

/// Whether a file starts like a program in either form.
pub(super) fn recognises_program(file: &[u8]) -> bool {
    program::recognises(file) || pir::recognises(file)
}

/// Largest program: B7's has 2 MB. JSON takes up to 20 times its size in memory.
const MAX_PROGRAM_BYTES: usize = 4 << 20;

/// The graph of `program`, and the tensors of `parameters`, whose views are made by `view`: from a
/// range in that file.
pub(super) fn index(
    program: &[u8],
    parameters: &[u8],
    view: &parameters::ToData<'_>,
) -> Result<(Graph, Vec<(String, View)>), CheckpointError> {
    if program.len() > MAX_PROGRAM_BYTES {
        let (limit, found) = (MAX_PROGRAM_BYTES as u64, program.len() as u64);
        let what = "bytes of a Paddle program".to_owned();
        return Err(CheckpointError::TooLarge { what, offset: 0, limit, found });
    }
    let Program { builder, parameters: declared } =
        if pir::recognises(program) { pir::read(program)? } else { program::read(program)? };
    let tensors = parameters::index(parameters, &declared, view)?;
    Ok((builder.graph, tensors))
}

/// Adds the parameters to the graph.
fn add_parameters(builder: &mut Builder, parameters: &BTreeMap<String, Declared>) {
    for (name, declared) in parameters {
        // A free side is none of a parameter: its tensor is refused when it is read.
        let shape = declared.shape.iter().map(|&side| side.max(0) as usize).collect();
        builder.constant(name, Constant { name: name.clone(), shape, small: None });
    }
}

/// Endings of the programs' names.
const PROGRAMS: [&str; 2] = ["json", "pdmodel"];
const PARAMETERS: &str = "pdiparams";

/// The two files of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<T> {
    pub(super) program: T,
    pub(super) parameters: T,
}

/// The pair that one file, already recognised as one of a pair, belongs to.
pub(super) fn beside(path: &Path, is_program: bool) -> Result<Pair<PathBuf>, CheckpointError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let missing = |wanted: String, found: &str| {
        unsupported("Paddle inference model", 0, wanted, format!("{found} alone"))
    };
    if is_program {
        let parameters = path.with_extension(PARAMETERS);
        if !parameters.is_file() {
            let name = parameters.file_name().unwrap_or_default().to_string_lossy();
            return Err(missing(format!("{} beside the program", quote(&name)), "a program"));
        }
        return Ok(Pair { program: path.to_owned(), parameters });
    }
    let programs = PROGRAMS.map(|ending| path.with_extension(ending));
    match programs.into_iter().find(|program| program.is_file()) {
        Some(program) => Ok(Pair { program, parameters: path.to_owned() }),
        None => {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let folder = quote(&folder.to_string_lossy());
            let wanted = format!("{stem}.json or {stem}.pdmodel in {folder}");
            Err(missing(wanted, "parameters without names"))
        }
    }
}

/// The pair among names, each with its place: `inference` if there are more than one.
pub(super) fn pair<T: Clone>(names: &[(PathBuf, T)]) -> Option<Pair<T>> {
    // The first of each name counts: an archive can have one many times.
    let mut places: HashMap<&Path, &T> = HashMap::new();
    for (name, place) in names {
        places.entry(name).or_insert(place);
    }
    let of = |stem: &Path, ending: &str| {
        places.get(&*stem.with_extension(ending)).map(|&place| place.clone())
    };
    let mut stems: Vec<&Path> = names
        .iter()
        .filter(|(name, _)| name.extension().is_some_and(|ending| ending == PARAMETERS))
        .map(|(name, _)| name.as_path())
        .collect();
    stems.sort_by_key(|stem| (stem.file_stem().is_none_or(|stem| stem != "inference"), *stem));
    stems.into_iter().find_map(|stem| {
        let program = PROGRAMS.iter().find_map(|ending| of(stem, ending))?;
        Some(Pair { program, parameters: of(stem, PARAMETERS)? })
    })
}

/// The pair in a folder, if there is one.
pub(super) fn in_folder(folder: &Path) -> Option<Pair<PathBuf>> {
    // More entries than any model's folder has are not looked at.
    const MAX_ENTRIES: usize = 10_000;
    let entries = std::fs::read_dir(folder).ok()?;
    let names: Vec<(PathBuf, PathBuf)> = entries
        .take(MAX_ENTRIES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ending = path.extension().unwrap_or_default();
            PROGRAMS.iter().any(|known| ending == *known) || ending == PARAMETERS
        })
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), path))
        .collect();
    pair(&names)
}
