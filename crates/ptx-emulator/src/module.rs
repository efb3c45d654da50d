//! A PTX file, parsed and lowered.

use super::address;
use super::ast::{self, Init, PtxFile, Space, Variable, scalar_bytes};
use super::lower::{self, Names};
use super::memory::{Buffer, Memory};
use super::parse::parse;
use super::program::{Class, Program};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a PTX file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct LoadError {
    /// The name that the text was given.
    pub file: String,
    /// Line of the PTX, from 1.
    pub line: u32,
    /// What was found and what was expected.
    pub message: String,
}

/// A kernel's parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its symbol.
    pub name: String,
    /// The type and dimension that it is declared with, as in `.u64` and `.align 8 .b8[88]`.
    pub type_name: String,
    /// Offset in the parameters' bytes.
    pub offset_bytes: u32,
    /// Its size.
    pub size_bytes: u32,
    /// Its alignment.
    pub align_bytes: u32,
}

/// One instruction of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionInfo<'a> {
    /// Opcode and modifiers, as in `ld.global.nc.v4.u32`; empty for the exit at a body's end.
    pub form: &'a str,
    /// The class that its executions are counted by.
    pub class: Class,
    /// File and line of the source, where the PTX has line information.
    pub source: Option<(&'a str, u32)>,
    /// Line of the PTX.
    pub ptx_line: u32,
}

/// A kernel of a module.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its symbol.
    pub name: String,
    /// Its parameters, in order.
    pub params: Vec<Param>,
    /// Static shared memory of a block.
    pub shared_bytes: u32,
    /// The most threads of a block, by `.maxntid`.
    pub max_threads: Option<u32>,
    /// The block's exact extents, by `.reqntid`.
    pub required_block: Option<[u32; 3]>,
    /// The cluster's exact extents, by `.reqnctapercluster`.
    pub required_cluster: Option<[u32; 3]>,
    pub(crate) program: Program,
    /// The module's `.file` table.
    files: Arc<[(u32, String)]>,
}

impl Entry {
    /// Bytes of all parameters together.
    pub fn param_bytes(&self) -> u32 {
        self.params.last().map_or(0, |p| p.offset_bytes + p.size_bytes)
    }

    /// Its instructions in the order of the PTX, calls inlined: what counts and times by
    /// instruction are parallel to. One line of PTX may have become several instructions, of which
    /// those of [`Class::Hidden`] are the emulator's own.
    pub fn instructions(&self) -> Vec<InstructionInfo<'_>> {
        let names: HashMap<u32, &str> =
            self.files.iter().rev().map(|(index, name)| (*index, name.as_str())).collect();
        let instructions = self.program.instructions.iter().zip(&self.program.origins);
        instructions
            .map(|(instruction, origin)| InstructionInfo {
                form: &origin.form,
                class: instruction.class,
                source: origin.source.and_then(|(file, line)| Some((*names.get(&file)?, line))),
                ptx_line: origin.line,
            })
            .collect()
    }
}

/// A PTX file whose every instruction is understood.
#[derive(Clone, Debug)]
pub struct Module {
    name: String,
    entries: Vec<Entry>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) files: Arc<[(u32, String)]>,
    /// Tells modules apart in a memory that holds their variables.
    pub(crate) id: u64,
}

/// The largest parameters that a kernel may take, in bytes: what PTX 8.1 and sm_70 allow.
const MAX_PARAM_BYTES: u64 = 32_764;
/// Longest PTX that is read. Reading takes up to 80 bytes of memory for each.
pub(crate) const MAX_TEXT_BYTES: usize = 8 << 20;
/// Memory that a module's variables may take.
const MAX_VARIABLE_BYTES: u64 = 1 << 30;

impl Module {
    /// Parses and lowers PTX. `name` is what errors and reports call it.
    ///
    /// # Errors
    /// For the first thing that is not understood, with its line: a syntax error, or an instruction
    /// in a form that the emulator does not support. For a text of more than 8 MiB, and kernels of
    /// more than 2^19 instructions together, calls inlined.
    pub fn parse(name: &str, text: &str) -> Result<Module, LoadError> {
        Module::parse_within(name, text, lower::MAX_INSTRUCTIONS)
    }

    /// As [`Module::parse`], with at most `most` instructions in all kernels together.
    fn parse_within(name: &str, text: &str, most: usize) -> Result<Module, LoadError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let error = |line, message| LoadError { file: name.to_owned(), line, message };
        if text.len() > MAX_TEXT_BYTES {
            let found = text.len();
            return Err(error(
                1,
                format!("expected at most {MAX_TEXT_BYTES} bytes, found {found}"),
            ));
        }
        let source = parse(text).map_err(|e| error(e.line, e.message))?;
        let names = Names::new(&source);
        let files: Arc<[_]> = source.files.as_slice().into();
        let mut left = most;
        let mut entries = Vec::new();
        for function in source.functions.iter().filter(|f| f.entry) {
            let params = params(function).map_err(|message| error(function.line, message))?;
            let program = lower::lower(&source, &names, function, left)
                .map_err(|e| error(e.line, e.message))?;
            left -= program.instructions.len();
            let directive = |name: &str| {
                function
                    .directives
                    .iter()
                    .find(|(n, _)| n == name)
                    .map(|(_, values)| extents(values))
            };
            entries.push(Entry {
                name: function.name.clone(),
                params,
                shared_bytes: program.shared_bytes,
                max_threads: directive("maxntid")
                    .map(|[x, y, z]| x.saturating_mul(y).saturating_mul(z)),
                required_block: directive("reqntid"),
                required_cluster: directive("reqnctapercluster"),
                program,
                files: Arc::clone(&files),
            });
        }
        let PtxFile { variables, .. } = source;
        let placed: HashSet<&str> = variables
            .iter()
            .filter(|v| matches!(v.space, Space::Global | Space::Const) && !v.is_extern)
            .map(|v| v.name.as_str())
            .collect();
        let mut total = 0u64;
        for variable in &variables {
            let bytes = match variable.space {
                Space::Global | Space::Const => variable.bytes(),
                _ => 0,
            };
            total = total.saturating_add(bytes);
            if total > MAX_VARIABLE_BYTES {
                let message =
                    format!("{}: more than {MAX_VARIABLE_BYTES} bytes of variables", variable.name);
                return Err(error(variable.line, message));
            }
            check_initialiser(variable, &placed).map_err(|m| error(variable.line, m))?;
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Module { name: name.to_owned(), entries, variables, files, id })
    }

    /// The name that it was parsed under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kernels, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The kernel of a name.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// File and line of the source of each instruction of one of its kernels, in the order of the
    /// PTX; nothing of PTX without line information.
    pub fn source_lines<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = (&'a str, u32)> {
        let places = entry.program.origins.iter().filter_map(|origin| origin.source);
        places.filter_map(|(file, line)| {
            let (_, name) = self.files.iter().find(|(index, _)| *index == file)?;
            Some((name.as_str(), line))
        })
    }

    /// Addresses of the module's variables in a memory, which gets them at their first use.
    pub(crate) fn place_variables(&self, memory: &mut Memory) -> Vec<u64> {
        if let Some(addresses) = memory.module_variables(self.id) {
            return addresses;
        }
        let buffers: Vec<Option<Buffer>> = self
            .variables
            .iter()
            .map(|variable| match variable.space {
                Space::Global | Space::Const if !variable.is_extern => {
                    Some(memory.zeroed(&variable.name, variable.bytes() as usize))
                }
                _ => None,
            })
            .collect();
        let addresses: Vec<u64> =
            buffers.iter().map(|buffer| buffer.as_ref().map_or(0, Buffer::address)).collect();
        let mut places = HashMap::new();
        for (index, variable) in self.variables.iter().enumerate() {
            places.entry(variable.name.as_str()).or_insert(index);
        }
        for (variable, buffer) in self.variables.iter().zip(&buffers) {
            if let (Some(init), Some(buffer)) = (&variable.init, buffer) {
                memory.write(buffer, 0, &self.initial_bytes(variable, init, &places, &addresses));
            }
        }
        memory.keep_module_variables(self.id, addresses.clone());
        addresses
    }

    fn initial_bytes(
        &self,
        variable: &Variable,
        init: &[Init],
        places: &HashMap<&str, usize>,
        addresses: &[u64],
    ) -> Vec<u8> {
        let width = scalar_bytes(&variable.scalar).unwrap_or(1) as usize;
        let mut bytes = Vec::with_capacity(init.len() * width);
        for value in init {
            let bits = match value {
                Init::Int(value) => *value as u64,
                Init::Bits(bits) => *bits,
                Init::Symbol { name, offset, generic } => {
                    let address = places.get(name.as_str()).map_or(0, |&i| {
                        let window = match self.variables[i].space {
                            Space::Const if *generic => address::CONST,
                            _ => 0,
                        };
                        addresses[i] + window
                    });
                    address.wrapping_add(*offset as u64)
                }
            };
            bytes.extend_from_slice(&u128::from(bits).to_le_bytes()[..width]);
        }
        bytes
    }
}

/// Initial values must be of the variable's extent, and name variables that have an address.
fn check_initialiser(variable: &Variable, placed: &HashSet<&str>) -> Result<(), String> {
    let Some(init) = &variable.init else { return Ok(()) };
    let elems = variable.elems.saturating_mul(variable.lanes.into());
    if init.len() as u64 > elems {
        return Err(format!("{}: {} initial values, expected {elems}", variable.name, init.len()));
    }
    for value in init {
        if let Init::Symbol { name, .. } = value {
            if !placed.contains(name.as_str()) {
                return Err(format!("{}: {name} has no address known at load", variable.name));
            }
            if !matches!(scalar_bytes(&variable.scalar), Some(8)) {
                return Err(format!("{}: an address in .{}", variable.name, variable.scalar));
            }
        }
    }
    Ok(())
}

fn extents(values: &[u32]) -> [u32; 3] {
    std::array::from_fn(|axis| values.get(axis).copied().unwrap_or(1))
}

fn params(function: &ast::Function) -> Result<Vec<Param>, String> {
    let mut offset = 0u64;
    let mut params = Vec::with_capacity(function.params.len());
    for variable in &function.params {
        let size = variable.bytes();
        offset = offset.next_multiple_of(u64::from(variable.align.max(1)));
        let end = offset.saturating_add(size);
        if end > MAX_PARAM_BYTES {
            return Err(format!(
                "{}: parameters of {end} bytes, expected at most {MAX_PARAM_BYTES}",
                variable.name
            ));
        }
        let type_name = if variable.elems == 1 && variable.lanes == 1 {
            format!(".{}", variable.scalar)
        } else {
            let elems = variable.elems * u64::from(variable.lanes);
            format!(".align {} .{}[{elems}]", variable.align, variable.scalar)
        };
        params.push(Param {
            name: variable.name.clone(),
            type_name,
            offset_bytes: offset as u32,
            size_bytes: size as u32,
            align_bytes: variable.align,
        });
        offset = end;
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

    #[test]
    fn kernels_share_the_instructions_that_a_module_may_have() {
        let kernel = |name: &str| format!(".visible .entry {name}() {{ bar.sync 0; ret; }}\n");
        let text = format!("{HEAD}{}", kernel("a"));
        let alone = Module::parse("k.ptx", &text).unwrap().entries[0].program.instructions.len();
        assert!(Module::parse_within("k.ptx", &text, alone).is_ok());
        let text = format!("{text}{}", kernel("b"));
        assert!(Module::parse_within("k.ptx", &text, 2 * alone).is_ok());
        let error = Module::parse_within("k.ptx", &text, 2 * alone - 1).unwrap_err().to_string();
        assert!(error.contains("instructions in all kernels"), "{error}");
    }

    #[test]
    fn a_text_longer_than_any_is_refused_unread() {
        let text = format!("{HEAD}{}", " ".repeat(MAX_TEXT_BYTES));
        let error = Module::parse("k.ptx", &text).unwrap_err().to_string();
        assert!(error.contains("expected at most 8388608 bytes, found 8388"), "{error}");
        assert!(Module::parse("k.ptx", &text[..MAX_TEXT_BYTES]).is_ok());
    }

    #[test]
    fn the_first_variable_of_a_name_is_meant() {
        let text =
            format!("{HEAD}.global .u32 x[2];\n.global .u64 y[1] = {{x}};\n.shared .u32 s;\n");
        assert!(Module::parse("k.ptx", &text).is_ok());
        let error = Module::parse("k.ptx", &text.replace("{x}", "{s}")).unwrap_err().to_string();
        assert!(error.contains("s has no address known at load"), "{error}");
    }
}
