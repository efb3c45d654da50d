//! The images of a run, from a file of tensors or of bare numbers.

use anyhow::{anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use effnet::arch::Size;
use effnet::image::{Recipe, normalise_pixels};
use effnet::weights::import::{Checkpoint, Dtype, TensorInfo};
use half::f16;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any batch of images that fits a machine, and what a file, a pipe or a device may give.
const MAX_BYTES: u64 = 16 << 30;

/// Type of bare numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// Normalised, 4 bytes each.
    F32,
    /// Normalised, 2 bytes each.
    F16,
    /// Pixels.
    U8,
}

const RAW: [(&str, Raw); 3] = [("f32", Raw::F32), ("f16", Raw::F16), ("u8", Raw::U8)];

/// Parses a type of bare numbers.
pub fn raw() -> impl TypedValueParser<Value = Raw> {
    one_of(RAW)
}

impl Raw {
    fn name(self) -> &'static str {
        RAW.iter().find(|(_, raw)| *raw == self).map_or("", |(name, _)| name)
    }

    fn elem_bytes(self) -> usize {
        match self {
            Raw::F32 => 4,
            Raw::F16 => 2,
            Raw::U8 => 1,
        }
    }
}

/// Order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Images, rows, columns, channels.
    Nhwc,
    /// Images, channels, rows, columns.
    Nchw,
}

const LAYOUTS: [(&str, Layout); 2] = [("nhwc", Layout::Nhwc), ("nchw", Layout::Nchw)];

/// Parses an order of axes.
pub fn layout() -> impl TypedValueParser<Value = Layout> {
    one_of(LAYOUTS)
}

impl Layout {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        LAYOUTS.iter().find(|(_, layout)| *layout == self).map_or("", |(name, _)| name)
    }

    fn other(self) -> Layout {
        match self {
            Layout::Nhwc => Layout::Nchw,
            Layout::Nchw => Layout::Nhwc,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Layout::Nhwc => "[n, height, width, 3] or [height, width, 3]",
            Layout::Nchw => "[n, 3, height, width] or [3, height, width]",
        }
    }

    /// Images and their size, of a shape with this order.
    fn images(self, shape: &[usize]) -> Option<(usize, Size)> {
        let (n, axes) = match *shape {
            [n, a, b, c] => (n, [a, b, c]),
            [a, b, c] => (1, [a, b, c]),
            _ => return None,
        };
        let (h, w, channels) = match (self, axes) {
            (Layout::Nhwc, [h, w, c]) => (h, w, c),
            (Layout::Nchw, [c, h, w]) => (h, w, c),
        };
        (n > 0 && channels == 3).then_some((n, Size { h, w }))
    }
}

fn one_of<T: Clone + Send + Sync + 'static>(
    names: impl IntoIterator<Item = (&'static str, T)> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    let listed: Vec<&'static str> = names.clone().into_iter().map(|(name, _)| name).collect();
    PossibleValuesParser::new(listed).try_map(move |name| {
        let found = names.clone().into_iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value).ok_or("unknown name")
    })
}

/// Where the numbers are.
enum Numbers {
    Tensor(Box<Checkpoint>, String, Dtype),
    Bare(Raw, Vec<u8>),
}

/// The images of a run.
pub struct Input {
    path: PathBuf,
    /// The tensor's name in its file; none of bare numbers.
    pub tensor: Option<String>,
    /// Sides of the tensor, as the file has them.
    pub shape: Vec<usize>,
    /// Number of images.
    pub n: usize,
    /// Size of each.
    pub size: Size,
    layout: Layout,
    numbers: Numbers,
}

impl Input {
    /// Finds the images in a file, `-` for standard input. `bare` is the type of bare numbers and
    /// the size of their images.
    pub fn open(
        path: &Path,
        name: Option<&str>,
        bare: Option<(Raw, Size)>,
        layout: Layout,
    ) -> anyhow::Result<Input> {
        let shown = path.display();
        if let Some((raw, size)) = bare {
            let bytes = read(path)?;
            let image = size.pixels() * 3 * raw.elem_bytes();
            if bytes.is_empty() || !bytes.len().is_multiple_of(image) {
                bail!(
                    "{shown}: expected images of {image} bytes, {size} of 3 {}, found {} bytes; \
                     --size gives another size",
                    raw.name(),
                    bytes.len()
                );
            }
            let n = bytes.len() / image;
            let shape = match layout {
                Layout::Nhwc => vec![n, size.h, size.w, 3],
                Layout::Nchw => vec![n, 3, size.h, size.w],
            };
            let (path, numbers) = (path.to_owned(), Numbers::Bare(raw, bytes));
            return Ok(Input { path, tensor: None, shape, n, size, layout, numbers });
        }
        let file = if path == Path::new("-") {
            Checkpoint::from_bytes(read(path)?)
        } else {
            Checkpoint::open(path)
        };
        let file = file.map_err(|error| {
            anyhow!("{shown}: {error}; expected a .npy, .npz or .safetensors file, or --raw TYPE")
        })?;
        let tensors = file.tensors();
        let name = match name {
            Some(name) => name.to_owned(),
            None => match tensors.keys().next() {
                Some(name) if tensors.len() == 1 => name.clone(),
                _ => bail!(
                    "{shown}: which tensor? expected --tensor NAME, found {}:{}",
                    tensors.len(),
                    list(tensors)
                ),
            },
        };
        let Some(TensorInfo { dtype, shape }) = tensors.get(&name).cloned() else {
            let name = name.escape_debug();
            bail!("{shown}: no tensor called '{name}', found {}:{}", tensors.len(), list(tensors));
        };
        let Some((n, size)) = layout.images(&shape) else {
            let hint = match layout.other().images(&shape) {
                Some(_) => format!("; give --layout {}", layout.other().name()),
                None => String::new(),
            };
            bail!(
                "{shown}: tensor '{}': expected {}, found {shape:?}{hint}",
                name.escape_debug(),
                layout.expected()
            );
        };
        if [size.h, size.w].iter().any(|side| !(1..=Size::MAX_SIDE).contains(side)) {
            bail!("{shown}: images of {size}: expected sides of 1 to {}", Size::MAX_SIDE);
        }
        Ok(Input {
            path: path.to_owned(),
            tensor: Some(name.clone()),
            shape,
            n,
            size,
            layout,
            numbers: Numbers::Tensor(Box::new(file), name, dtype),
        })
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> String {
        match &self.numbers {
            Numbers::Tensor(_, _, dtype) => dtype.to_string(),
            Numbers::Bare(raw, _) => raw.name().to_owned(),
        }
    }

    /// The network's input, `[n, h, w, 3]`: pixels normalised, other numbers as they are.
    pub fn values(&self, recipe: &Recipe) -> anyhow::Result<Vec<f32>> {
        let failed = |error| anyhow!("{}: {error}", self.path.display());
        let values = match &self.numbers {
            Numbers::Tensor(file, name, Dtype::U8) => {
                let pixels = self.nhwc(file.read_u8(name).map_err(failed)?);
                return Ok(normalise_pixels(&pixels, recipe)?);
            }
            Numbers::Bare(Raw::U8, bytes) => {
                return Ok(normalise_pixels(&self.nhwc(bytes.clone()), recipe)?);
            }
            Numbers::Tensor(file, name, _) => file.read_f32(name).map_err(failed)?,
            Numbers::Bare(Raw::F32, bytes) => {
                bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
            }
            Numbers::Bare(Raw::F16, bytes) => {
                let halves = bytes.as_chunks().0;
                halves.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
            }
        };
        Ok(self.nhwc(values))
    }

    /// Values in the file's order as `[n, h, w, 3]`.
    fn nhwc<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        if self.layout == Layout::Nhwc {
            return values;
        }
        let pixels = self.size.pixels();
        values
            .chunks_exact(3 * pixels)
            .flat_map(|image| {
                (0..pixels).flat_map(move |pixel| (0..3).map(move |c| image[c * pixels + pixel]))
            })
            .collect()
    }
}

/// A file's tensors, one a line, as far as a message has room.
fn list(tensors: &std::collections::BTreeMap<String, TensorInfo>) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    for (name, TensorInfo { dtype, shape }) in tensors.iter().take(SHOWN) {
        let name: String = name.chars().take(80).collect();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}: {dtype} {shape:?}", name.escape_debug());
    }
    if tensors.len() > SHOWN {
        text.push_str("\n  ...");
    }
    text
}

/// A whole file, or what standard input has.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let failed = |error: io::Error| anyhow!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        // Opened once: a pipe's writer is gone after that.
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            bail!("{}: expected a file of numbers, found a folder", path.display());
        }
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{}: expected at most {MAX_BYTES} bytes", path.display());
    }
    Ok(bytes)
}
