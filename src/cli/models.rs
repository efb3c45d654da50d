//! Which packed weights a command runs: `--weights FILE`, `--model NAME`, or the only ones there.

use effnet::weights::default_cache_dir;
use effnet::weights::{StoreError, UnknownModel, Weights, find};
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ending of packed files.
pub const EXTENSION: &str = "safetensors";

/// Which weights to run.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Packed weights, as `effnet import` and `effnet pull` write them.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    weights: Option<PathBuf>,
    /// Name of packed weights in EFFNET_WEIGHTS_DIR, ./weights or the user's cache folder: of the
    /// file, of the checkpoint, or of the variant if only one file has it.
    /// [default: the only packed weights there]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Read the packed weights into memory instead of mapping their file, which other programs must
    /// otherwise leave as it is while it is in use.
    #[arg(long)]
    copy_weights: bool,
}

/// Packed weights, and whether the command line named them.
pub struct Chosen {
    /// The open file.
    pub weights: Weights,
    /// Not named: found as the only packed file.
    pub by_default: bool,
}

impl Chosen {
    /// Refuses weights without a classifier, for commands that need logits.
    pub fn expect_classifier(&self) -> anyhow::Result<()> {
        if self.weights.metadata().classes == 0 {
            anyhow::bail!(
                "{}: expected a model with a classifier, found one without: its checkpoint was \
                 saved without (as timm does for num_classes=0), so that there are no classes to \
                 tell; `effnet run --features FILE` and `effnet export onnx` give the features, \
                 `effnet import` of a checkpoint with a classifier the classes",
                self.weights.path().display(),
            );
        }
        Ok(())
    }

    /// The file, and what is in it, for people.
    pub fn describe(&self) -> String {
        let metadata = self.weights.metadata();
        format!(
            "weights {}: {} ({}, {})",
            self.weights.path().display(),
            metadata.name,
            metadata.variant,
            metadata.precision,
        )
    }
}

/// Why there are no weights to run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No packed file has the name.
    #[error(
        "no packed weights named '{name}'\nlooked in:\n{searched}\nto get them, run one of:\n\
         {pulls}  effnet import FILE   (a checkpoint that you have)\n\
         `effnet pull --list` lists the known names; --weights FILE names a packed file anywhere",
        pulls = pulls(name)
    )]
    NotFound {
        /// The name asked for.
        name: String,
        /// The folders, one a line, each with the packed files in it.
        searched: Listing,
    },
    /// More than one packed file has the name.
    #[error("'{name}' names {count} packed files:\n{list}\nname one with --weights FILE",
            count = paths.len(), list = lines(paths))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// Nothing was asked for and there is not exactly one packed file.
    #[error(
        "which weights? expected --weights FILE, --model NAME, or exactly one packed file, found \
         {count}\nlooked in:\n{searched}\n\
         to get weights, run:\n  effnet pull NAME     (`effnet pull --list` lists the names)\n  \
         effnet import FILE   (a checkpoint that you have)"
    )]
    NotOne {
        /// How many packed files there are.
        count: usize,
        /// The folders, one a line, each with the packed files in it.
        searched: Listing,
    },
    /// The folder for packed weights cannot be made.
    #[error("{path}: cannot make this folder for the packed weights: {source}; name a file with -o",
            path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No folder for packed weights is known.
    #[error(
        "no folder for the packed weights: neither EFFNET_WEIGHTS_DIR, EFFNET_CACHE, \
         XDG_CACHE_HOME nor HOME is set, and there is no folder ./weights; name a file with -o, or \
         set EFFNET_WEIGHTS_DIR to a folder"
    )]
    NoFolder,
    /// The only packed file with the name cannot be used.
    #[error("{0}")]
    Store(StoreError),
}

/// The folders that were searched, and the packed files in them.
#[derive(Debug)]
pub struct Listing(Vec<(Folder, Vec<PathBuf>)>);

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (folder, files)) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}  {} ({})", folder.path.display(), folder.origin)?;
            if !folder.path.is_dir() {
                f.write_str(": no such folder")?;
            } else if files.is_empty() {
                f.write_str(": no packed weights")?;
            }
            for file in files {
                write!(f, "\n    {}", file.display())?;
            }
        }
        if default_cache_dir().is_none() {
            f.write_str(
                "\n  (no user's cache: neither EFFNET_CACHE, XDG_CACHE_HOME nor HOME is set)",
            )?;
        }
        Ok(())
    }
}

/// The commands that would get what `name` may mean, one a line.
fn pulls(name: &str) -> String {
    let names = match find(name) {
        Ok(_) => vec![name],
        Err(UnknownModel::Ambiguous { candidates, .. }) => candidates,
        Err(UnknownModel::Unknown { .. }) => Vec::new(),
    };
    names.iter().map(|name| format!("  effnet pull {name}\n")).collect()
}

fn lines(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("  {}", path.display())).collect::<Vec<_>>().join("\n")
}

/// A folder that packed weights are looked for in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// What makes it one.
    pub origin: &'static str,
}

const CURRENT: &str = "in the current folder";

/// The folders that packed weights are looked for in, in order.
pub fn folders() -> Vec<Folder> {
    let mut list = Vec::new();
    if let Some(path) = env::var_os("EFFNET_WEIGHTS_DIR").filter(|path| !path.is_empty()) {
        list.push(Folder { path: path.into(), origin: "EFFNET_WEIGHTS_DIR" });
    }
    list.push(Folder { path: "weights".into(), origin: CURRENT });
    if let Some(path) = default_cache_dir() {
        list.push(Folder { path, origin: "the user's cache" });
    }
    list
}

impl ModelArgs {
    /// As if given on the command line.
    pub fn new(weights: Option<PathBuf>, model: Option<String>) -> ModelArgs {
        ModelArgs { weights, model, copy_weights: false }
    }

    /// Opens the weights that the arguments choose.
    pub fn open(&self) -> anyhow::Result<Chosen> {
        let chosen = match &self.weights {
            Some(path) => Chosen { weights: Weights::open(path)?, by_default: false },
            None => choose(self.model.as_deref(), folders())?,
        };
        if !self.copy_weights {
            return Ok(chosen);
        }
        let weights = Weights::open_copied(chosen.weights.path())?;
        Ok(Chosen { weights, ..chosen })
    }
}

/// The folder for a packed file that was given no place: the first that was asked for or exists.
/// It is made if need be.
pub fn default_folder() -> Result<PathBuf, ModelError> {
    let wanted = |folder: &Folder| folder.origin != CURRENT || folder.path.is_dir();
    let folder = folders().into_iter().find(wanted).ok_or(ModelError::NoFolder)?.path;
    fs::create_dir_all(&folder)
        .map_err(|source| ModelError::Folder { path: folder.clone(), source })?;
    Ok(folder)
}

/// The files in a folder that may be packed weights, sorted.
fn candidates(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    paths.sort();
    paths
}

fn choose(name: Option<&str>, folders: Vec<Folder>) -> Result<Chosen, ModelError> {
    let mut listing = Listing(Vec::new());
    for folder in folders {
        let mut opened = Vec::new();
        for path in candidates(&folder.path) {
            match Weights::open(&path) {
                Ok(weights) => opened.push(weights),
                // The file that was asked for is there but cannot be used: that is the news.
                Err(error) if name.is_some_and(|name| stem(&path) == name) => {
                    return Err(ModelError::Store(error));
                }
                // A checkpoint that was not imported, or of another layout version.
                Err(_) => {}
            }
        }
        let paths = opened.iter().map(|weights| weights.path().to_owned()).collect();
        match name {
            Some(name) => {
                if let Some(weights) = named(name, opened)? {
                    return Ok(Chosen { weights, by_default: false });
                }
            }
            None if opened.len() == 1 => {
                let weights = opened.remove(0);
                return Ok(Chosen { weights, by_default: true });
            }
            // The first folder with anything in it decides: another might hide a choice.
            None if !opened.is_empty() => {
                let count = opened.len();
                listing.0.push((folder, paths));
                return Err(ModelError::NotOne { count, searched: listing });
            }
            None => {}
        }
        listing.0.push((folder, paths));
    }
    Err(match name {
        Some(name) => ModelError::NotFound { name: name.to_owned(), searched: listing },
        None => ModelError::NotOne { count: 0, searched: listing },
    })
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("")
}

/// A packed file's name without its ending and without its precision.
fn short_stem(path: &Path) -> &str {
    let stem = stem(path);
    stem.strip_suffix(".fp16").or(stem.strip_suffix(".fp32")).unwrap_or(stem)
}

/// The one of a folder's packed files that `name` means: by file name, else by the checkpoint's
/// name (in full, or as the catalogue understands it), else by variant.
fn named(name: &str, mut opened: Vec<Weights>) -> Result<Option<Weights>, ModelError> {
    let variant = name.parse().ok();
    let published = find(name).ok();
    let tests: [&dyn Fn(&Weights) -> bool; 5] = [
        &|weights| stem(weights.path()) == name,
        &|weights| short_stem(weights.path()) == name,
        &|weights| weights.metadata().name == name,
        &|weights| published.is_some_and(|entry| entry.name == weights.metadata().name),
        &|weights| Some(weights.metadata().variant) == variant,
    ];
    for test in tests {
        let mut found = opened.iter().enumerate().filter(|(_, weights)| test(weights));
        match (found.next(), found.next()) {
            (Some((index, _)), None) => return Ok(Some(opened.swap_remove(index))),
            (None, _) => {}
            (Some(_), Some(_)) => {
                let paths = opened.iter().filter(|&weights| test(weights));
                return Err(ModelError::Ambiguous {
                    name: name.to_owned(),
                    paths: paths.map(|weights| weights.path().to_owned()).collect(),
                });
            }
        }
    }
    Ok(None)
}
