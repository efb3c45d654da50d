//! Packed files by name: in `EFFNET_WEIGHTS_DIR`, in `./weights`, and in the user's cache.

use super::{ImportOptions, StoreError, UnknownModel, Weights, default_cache_dir, find, import};
use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ending of packed files.
pub const PACKED_EXTENSION: &str = "safetensors";

/// Why there are no weights to run.
#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    /// No packed file has the name.
    #[error(
        "no packed weights named '{name}'\nlooked in:\n{searched}\nto get them, run one of:\n\
         {pulls}  effnet import FILE   (a checkpoint that you have)\n\
         `effnet pull --list` lists the known names; a path (--weights FILE) names a packed file anywhere",
        pulls = pulls(name)
    )]
    NotFound {
        /// The name asked for.
        name: String,
        /// The folders, one a line, each with the packed files in it.
        searched: Listing,
    },
    /// More than one packed file has the name.
    #[error("'{name}' names {count} packed files:\n{list}\nname one by its path (--weights FILE)",
            count = paths.len(), list = lines(paths))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// Nothing was asked for and there is not exactly one packed file.
    #[error(
        "which weights? expected a path (--weights FILE), a name (--model NAME), or exactly one packed file, found \
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
    #[error("{path}: cannot make this folder for the packed weights: {source}; name a file (-o)",
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
         XDG_CACHE_HOME nor HOME is set, and there is no folder ./weights; name a file (-o), or \
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

/// The folder for a packed file that was given no place: the first that was asked for or exists.
/// It is made if need be.
pub fn default_folder() -> Result<PathBuf, InstalledError> {
    let wanted = |folder: &Folder| folder.origin != CURRENT || folder.path.is_dir();
    let folder = folders().into_iter().find(wanted).ok_or(InstalledError::NoFolder)?.path;
    fs::create_dir_all(&folder)
        .map_err(|source| InstalledError::Folder { path: folder.clone(), source })?;
    Ok(folder)
}

/// The packed file of a checkpoint that was given no place: its name and precision, in the
/// [`default_folder`].
pub fn default_output(
    checkpoint: &Path,
    options: &ImportOptions,
) -> Result<PathBuf, InstalledError> {
    let file_name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let name = options.name.as_deref().unwrap_or(import::stem(&file_name));
    // Published names have a publisher before a slash, which no file name can have.
    let name = name.replace(['/', '\\'], "--");
    Ok(default_folder()?.join(format!("{name}.{}.{PACKED_EXTENSION}", options.precision)))
}

/// The files in a folder that may be packed weights, sorted.
fn candidates(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == PACKED_EXTENSION));
    paths.sort();
    paths
}

/// A packed file that was found.
#[derive(Debug)]
pub struct Installed {
    /// The open file.
    pub weights: Weights,
    /// No name was asked for: it is the only packed file.
    pub by_default: bool,
}

/// Opens the packed file that a name means: of the file, of the checkpoint (in full, or as the catalogue
/// understands it), or of the variant if only one file of a folder has it. Without a name, the only
/// packed file of the first of the [`folders`] that has any.
pub fn installed(name: Option<&str>) -> Result<Installed, InstalledError> {
    choose(name, folders())
}

fn choose(name: Option<&str>, folders: Vec<Folder>) -> Result<Installed, InstalledError> {
    let mut listing = Listing(Vec::new());
    for folder in folders {
        let mut opened = Vec::new();
        for path in candidates(&folder.path) {
            match Weights::open(&path) {
                Ok(weights) => opened.push(weights),
                // The file that was asked for is there but cannot be used: that is the news.
                Err(error) if name.is_some_and(|name| stem(&path) == name) => {
                    return Err(InstalledError::Store(error));
                }
                // A checkpoint that was not imported, or of another layout version.
                Err(_) => {}
            }
        }
        let paths = opened.iter().map(|weights| weights.path().to_owned()).collect();
        match name {
            Some(name) => {
                if let Some(weights) = named(name, opened)? {
                    return Ok(Installed { weights, by_default: false });
                }
            }
            None if opened.len() == 1 => {
                let weights = opened.remove(0);
                return Ok(Installed { weights, by_default: true });
            }
            // The first folder with anything in it decides: another might hide a choice.
            None if !opened.is_empty() => {
                let count = opened.len();
                listing.0.push((folder, paths));
                return Err(InstalledError::NotOne { count, searched: listing });
            }
            None => {}
        }
        listing.0.push((folder, paths));
    }
    Err(match name {
        Some(name) => InstalledError::NotFound { name: name.to_owned(), searched: listing },
        None => InstalledError::NotOne { count: 0, searched: listing },
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
fn named(name: &str, mut opened: Vec<Weights>) -> Result<Option<Weights>, InstalledError> {
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
                return Err(InstalledError::Ambiguous {
                    name: name.to_owned(),
                    paths: paths.map(|weights| weights.path().to_owned()).collect(),
                });
            }
        }
    }
    Ok(None)
}
