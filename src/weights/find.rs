//! Checkpoints of the catalogue by their names, in full or shortened.

use super::{CatalogueEntry, catalogue};

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

    #[test]
    fn every_name_and_alias_finds_its_entry() {
        for entry in catalogue() {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                assert_eq!(find(name), Ok(entry), "{name}");
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
