//! Where downloads and packed files are kept.

use crate::weights::{CatalogueEntry, Precision};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `EFFNET_CACHE`, else `effnet` in the user's cache folder (`XDG_CACHE_HOME`, else `.cache` in
/// `HOME`, each an absolute path); none where no such variable is set. A folder that others can
/// write to, as `/tmp`, is never taken by itself: its weights might be anyone's.
pub fn default_cache_dir() -> Option<PathBuf> {
    cache_dir(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from);
    folder("EFFNET_CACHE").or_else(|| {
        // A relative path is no user's folder (XDG Base Directory Specification): it would be a
        // folder of whoever owns the current one.
        let folder = |name| folder(name).filter(|path| path.is_absolute());
        let user = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
        Some(user.join("effnet"))
    })
}

/// Path of an entry's packed file, unless told otherwise.
pub fn packed_path(cache_dir: &Path, entry: &CatalogueEntry, precision: Precision) -> PathBuf {
    cache_dir.join(format!("{}.{precision}.safetensors", entry.name.replace('/', "--")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(dir(&[("XDG_CACHE_HOME", "x"), ("HOME", ".")]), None);
        assert_eq!(
            dir(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]),
            Some("/h/.cache/effnet".into())
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
