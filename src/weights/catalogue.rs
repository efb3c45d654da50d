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

/// A name that is no checkpoint's, or several's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownModel {
    /// The name is not known.
    #[error("unknown model '{name}': nearest are {list}", list = close.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The most similar names.
        close: Vec<&'static str>,
    },
    /// Several publishers have a model of this name.
    #[error("'{name}' may be any of {list}: give one of these", list = candidates.join(", "))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The models' full names.
        candidates: Vec<&'static str>,
    },
}

/// The checkpoint of a name: in full (`timm/tf_efficientnet_b0.ap_in1k`), or shortened as far as
/// only one publisher's is left (`tf_efficientnet_b0.ap_in1k`, `tf_efficientnet_b0` for the default
/// tag, `EfficientNetB0`, `lite0`). Case does not matter.
pub fn find(name: &str) -> Result<&'static CatalogueEntry, UnknownModel> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let all = catalogue();
    if let Some(entry) =
        all.iter().find(|entry| is(&entry.name) || entry.aliases.iter().any(|alias| is(alias)))
    {
        return Ok(entry);
    }
    // From the narrowest meaning to the widest: the first that any entry has, counts.
    let untagged = |name: &'static str| name.split('.').next().unwrap_or(name);
    let matches: [&dyn Fn(&'static CatalogueEntry) -> bool; 3] = [
        &|entry| is(entry.short_name()),
        &|entry| is(untagged(&entry.name)) || is(untagged(entry.short_name())),
        &|entry| is(entry.variant.name()),
    ];
    for matches in matches {
        let found: Vec<_> = all.iter().filter(|&entry| matches(entry)).collect();
        let Some(first) = found.first() else { continue };
        let architecture = untagged(&first.name);
        if found.iter().all(|entry| untagged(&entry.name) == architecture) {
            return Ok(first);
        }
        return Err(UnknownModel::Ambiguous {
            name: name.to_owned(),
            candidates: found.iter().map(|entry| entry.name.as_str()).collect(),
        });
    }
    Err(UnknownModel::Unknown { name: name.to_owned(), close: close(name) })
}

/// The most similar names, best first.
fn close(name: &str) -> Vec<&'static str> {
    const SHOWN: usize = 3;
    let name = name.to_ascii_lowercase();
    let mut scored: Vec<(f64, &str)> = catalogue()
        .iter()
        .map(|entry| {
            let names = [entry.name.as_str(), entry.short_name()];
            let score = names
                .into_iter()
                .chain(entry.aliases.iter().map(String::as_str))
                .map(|other| strsim::normalized_damerau_levenshtein(&name, &other.to_lowercase()))
                .fold(0.0, f64::max);
            (score, entry.name.as_str())
        })
        .collect();
    // A stable sort: of equally similar names the catalogue's first.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::settings;
    use std::collections::HashSet;

    #[test]
    fn every_entry_is_sound() {
        let mut names = HashSet::new();
        for entry in catalogue() {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                assert!(names.insert(name.to_ascii_lowercase()), "{name} twice");
                assert_eq!(find(name), Ok(entry), "{name}");
            }
            assert!(entry.name.contains('/') && entry.url.starts_with("https://"), "{entry:?}");
            let hex = |digest: &Option<String>, digits| {
                digest.as_ref().is_none_or(|digest| {
                    digest.len() == digits
                        && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                })
            };
            assert!(hex(&entry.sha256, 64) && hex(&entry.sha256_prefix, 8), "{entry:?}");
            if let Some(prefix) = &entry.sha256_prefix {
                assert!(entry.file_name.contains(prefix), "{entry:?}");
            }
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

    #[test]
    fn short_names_are_found_where_only_one_is_meant() {
        for (name, expected) in [
            ("tf_efficientnet_b0.ap_in1k", "timm/tf_efficientnet_b0.ap_in1k"),
            ("tf_efficientnet_b0", "timm/tf_efficientnet_b0.ns_jft_in1k"),
            ("timm/efficientnet_b1", "timm/efficientnet_b1.ra4_e3600_r240_in1k"),
            ("torchvision/efficientnet_b1", "torchvision/efficientnet_b1.v2"),
            ("efficientnetb0", "paddle-clas/EfficientNetB0"),
            ("efficientnet-b3", "lukemelas/efficientnet-b3"),
            ("lite0", "lite-pytorch/efficientnet-lite0"),
            ("lite4", "timm/tf_efficientnet_lite4.in1k"),
            ("b0-small", "paddle-clas/EfficientNetB0_small"),
        ] {
            assert_eq!(find(name).map(|entry| entry.name.as_str()), Ok(expected), "{name}");
        }
    }

    #[test]
    fn other_names_get_suggestions() {
        let error = find("efficientnet_b0").unwrap_err().to_string();
        for name in ["timm/efficientnet_b0.ra_in1k", "torchvision/efficientnet_b0.v1"] {
            assert!(error.contains(name), "{error}");
        }
        let Err(UnknownModel::Unknown { close, .. }) = find("EfficientNetB0_smal") else {
            panic!("found")
        };
        assert_eq!(close[0], "paddle-clas/EfficientNetB0_small");
    }
}
