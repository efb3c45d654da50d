//! The known public checkpoints: `weights/catalogue.json`, built into the program.

use super::metadata::variant_name;
use super::{Family, RecipeOverrides};
use crate::arch::Variant;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// One public checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// Name of the entry: publisher, slash, the publisher's own name for the model.
    pub name: String,
    /// Other names that the entry is found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The variant.
    #[serde(with = "variant_name")]
    pub variant: Variant,
    /// The family: names, padding, eps.
    pub family: Family,
    /// Address of the file, or, if it is in a package, of the package's description.
    pub url: String,
    /// The Python package that the file is in, if it is not published by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Name of the checkpoint file.
    pub file_name: String,
    /// Length of the file in bytes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// SHA-256 of the file, if known in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// First eight hexadecimal digits of the SHA-256, as PyTorch's file names carry them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_prefix: Option<String>,
    /// Differences from the recipe of [`settings`](super::settings).
    pub recipe: RecipeOverrides,
    /// Outputs of the classifier.
    pub classes: usize,
    /// Published top-1 accuracy on ImageNet-1k's validation set, percent, with this recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Published top-5 accuracy, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// The licence that the publisher states.
    pub license: String,
    /// Anything else worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// A Python package on a package index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The project's name.
    pub name: String,
    /// The release.
    pub version: String,
}

impl CatalogueEntry {
    /// The known part of the file's SHA-256: all of it, its first digits, or nothing.
    pub fn digest(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.sha256_prefix.as_deref())
    }

    /// Whether the entry's file has this SHA-256 (in lower-case hexadecimal), as far as is known.
    pub fn has_digest(&self, sha256: &str) -> bool {
        self.digest().is_some_and(|known| sha256.starts_with(known))
    }

    /// The name without the publisher.
    pub fn short_name(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, name)| name)
    }
}

/// Every known checkpoint. Of one architecture, its publisher's default comes first.
pub fn catalogue() -> &'static [CatalogueEntry] {
    static ENTRIES: LazyLock<Vec<CatalogueEntry>> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../../weights/catalogue.json"))
            .expect("the built-in catalogue is valid: a test reads it")
    });
    &ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Network;
    use crate::weights::{settings, source_names};
    use std::collections::HashSet;

    #[test]
    fn every_entry_is_sound() {
        let mut names = HashSet::new();
        for entry in catalogue() {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                assert!(names.insert(name.to_ascii_lowercase()), "{name} twice");
            }
            assert!(entry.name.contains('/') && entry.url.starts_with("https://"), "{entry:?}");
            let hex = |digest: &Option<String>, digits| {
                digest.as_ref().is_none_or(|digest| {
                    digest.len() == digits
                        && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                })
            };
            assert!(hex(&entry.sha256, 64) && hex(&entry.sha256_prefix, 8), "{entry:?}");
            // Each digest agrees with a second fact: the publisher's digits in the file's name.
            if let Some(digest) = entry.digest() {
                assert!(entry.file_name.contains(&digest[..8]), "{entry:?}");
            }
            assert!(entry.sha256.is_none() || entry.sha256_prefix.is_none(), "{entry:?}");
            // A checkpoint holds its tensors in f32, and little beside them.
            let tensors = source_names(entry.family, &Network::new(entry.variant, entry.classes));
            let elems = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>());
            let floats = 4 * elems.sum::<usize>() as u64;
            let sound = |bytes| (floats..floats + (1 << 20)).contains(&bytes);
            assert!(entry.bytes.is_none_or(sound), "{floats} bytes of tensors: {entry:?}");
            assert!(!entry.file_name.contains(['/', '\\']), "{entry:?}");
            assert!(
                entry.package.is_some()
                    || entry.digest().is_none()
                    || entry.url.ends_with(&entry.file_name),
                "{entry:?}"
            );
            let recipe = settings(entry.family, entry.variant).recipe;
            entry.recipe.apply(&recipe).unwrap();
            for accuracy in [entry.top1, entry.top5].into_iter().flatten() {
                assert!((50.0..100.0).contains(&accuracy), "{entry:?}");
            }
        }
        let digests: HashSet<_> = catalogue().iter().filter_map(CatalogueEntry::digest).collect();
        let known = catalogue().iter().filter(|entry| entry.digest().is_some()).count();
        assert_eq!(digests.len(), known, "two entries share a digest");
    }

    #[test]
    fn the_first_of_each_architecture_has_the_family_s_own_recipe() {
        let mut seen = HashSet::new();
        for entry in catalogue().iter().filter(|entry| entry.name.starts_with("timm/")) {
            if seen.insert((entry.family, entry.variant)) {
                let recipe = settings(entry.family, entry.variant).recipe;
                assert_eq!(entry.recipe.apply(&recipe), Ok(recipe), "{}", entry.name);
            }
        }
    }
}
