//! The names that timm gives to its architectures, where other texts contain them.

use crate::arch::Variant;
use crate::weights::{CatalogueEntry, Family, catalogue};

/// An architecture of timm's that a text names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Architecture {
    /// [`Family::TimmTf`] where the name begins with `tf_`, else [`Family::Timm`].
    pub family: Family,
    /// The variant; none where the text has no more than `tf_`.
    pub variant: Option<Variant>,
    /// The published checkpoint that the name's tag belongs to, as in `tf_efficientnet_b0.ap_in1k`.
    pub entry: Option<&'static CatalogueEntry>,
    /// The name, with the tag where that is known.
    pub name: String,
}

/// The word that all names have.
const WORD: &str = "efficientnet_";
/// Google's weights, with Google's padding and eps.
const TF: &str = "tf_";

/// The architecture that a text is the name of: `efficientnet_b0`, `tf_efficientnet_b0.ap_in1k`,
/// `hf_hub:timm/efficientnet_lite0`. None where the text is anything else, as `efficientnetv2_s`.
pub(super) fn named(text: &str) -> Option<Architecture> {
    let text = text.trim().to_ascii_lowercase();
    let text = ["hf_hub:", "hf-hub:"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(&text);
    let text = text.strip_prefix("timm/").unwrap_or(text);
    let (family, rest) = match text.strip_prefix(TF) {
        Some(rest) => (Family::TimmTf, rest),
        None => (Family::Timm, text),
    };
    of(family, rest.strip_prefix(WORD)?)
}

/// The first architecture whose name is somewhere in a text, between other words.
pub(super) fn mentioned(text: &str) -> Option<Architecture> {
    let text = text.to_ascii_lowercase();
    text.match_indices(WORD).find_map(|(at, _)| {
        let (before, rest) = (&text[..at], &text[at + WORD.len()..]);
        let family = match before.strip_suffix(TF) {
            Some(before) if ends_a_word(before) => Family::TimmTf,
            _ if ends_a_word(before) => Family::Timm,
            _ => return None,
        };
        of(family, rest)
    })
}

/// Whether a text has `tf_` at the beginning of a word, whatever follows.
pub(super) fn mentions_tf(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices(TF).any(|(at, _)| ends_a_word(&text[..at]))
}

fn ends_a_word(text: &str) -> bool {
    !text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// The architecture of a family, of which `rest` is what follows [`WORD`].
fn of(family: Family, rest: &str) -> Option<Architecture> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (token, rest) = rest.split_at(end);
    let variant = Variant::all().find(|variant| variant.name() == token)?;
    let prefix = if family == Family::TimmTf { TF } else { "" };
    let untagged = format!("{prefix}{WORD}{token}");
    // Before tags, timm had two of them as endings.
    let old = [("_ap", "ap_in1k"), ("_ns", "ns_jft_in1k")];
    let old = old.iter().find_map(|(ending, tag)| {
        let rest = rest.strip_prefix(ending)?;
        (!rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(*tag)
    });
    let new = rest.strip_prefix('.').map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    let entry = new.or(old).and_then(|tag| {
        let name = format!("timm/{untagged}.{tag}");
        catalogue().iter().find(|entry| entry.name == name)
    });
    let name = entry.map_or(untagged, |entry| entry.short_name().to_owned());
    Some(Architecture { family, variant: Some(variant), entry, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(found: Option<Architecture>) -> Option<(Family, String)> {
        found.map(|found| {
            assert_eq!(
                found.entry.map(CatalogueEntry::short_name).unwrap_or(&found.name),
                found.name
            );
            (found.family, found.name)
        })
    }

    #[test]
    fn names_are_read_with_and_without_tags() {
        use Family::{Timm, TimmTf};
        #[rustfmt::skip]
        let table: &[(&str, Option<(Family, &str)>)] = &[
            ("efficientnet_b0",                             Some((Timm, "efficientnet_b0"))),
            (" TF_EfficientNet_B7 ",                        Some((TimmTf, "tf_efficientnet_b7"))),
            ("tf_efficientnet_b0.ap_in1k",                  Some((TimmTf, "tf_efficientnet_b0.ap_in1k"))),
            ("hf_hub:timm/tf_efficientnet_b0.ns_jft_in1k",  Some((TimmTf, "tf_efficientnet_b0.ns_jft_in1k"))),
            ("hf-hub:timm/efficientnet_lite0",              Some((Timm, "efficientnet_lite0"))),
            ("tf_efficientnet_b0_ap",                       Some((TimmTf, "tf_efficientnet_b0.ap_in1k"))),
            ("tf_efficientnet_b0.mine",                     Some((TimmTf, "tf_efficientnet_b0"))),
            ("efficientnetv2_s", None),
            ("tf_efficientnetv2_b0", None),
            ("efficientnet_es", None),
            ("tf_efficientnet_cc_b0_4e", None),
            ("efficientnet_b9", None),
            ("efficientnet_b00", None),
            ("efficientnet-b0", None),
            ("my efficientnet_b0", None),
            ("mixnet_s", None),
            ("", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(family, name)| (family, name.to_owned()));
            assert_eq!(told(named(text)), expected, "{text}");
        }
    }

    #[test]
    fn names_are_found_inside_other_names() {
        use Family::{Timm, TimmTf};
        #[rustfmt::skip]
        let table: &[(&str, Option<(Family, &str)>)] = &[
            ("models--timm--tf_efficientnet_b0.ns_jft_in1k", Some((TimmTf, "tf_efficientnet_b0.ns_jft_in1k"))),
            ("20240131-101112-tf_efficientnet_b0-224",       Some((TimmTf, "tf_efficientnet_b0"))),
            ("tf_efficientnet_b0_ap-f262efe1.pth",           Some((TimmTf, "tf_efficientnet_b0.ap_in1k"))),
            ("efficientnet_b2_ra-bcdf34b7.pth",              Some((Timm, "efficientnet_b2"))),
            ("my_efficientnet_lite0.pth",                    Some((Timm, "efficientnet_lite0"))),
            ("efficientnet_x_efficientnet_b3",               Some((Timm, "efficientnet_b3"))),
            ("utf_efficientnet_b0",                          Some((Timm, "efficientnet_b0"))),
            ("myefficientnet_b0", None),
            ("efficientnet_project", None),
            ("tf_efficientnetv2_s", None),
            ("snapshots", None),
        ];
        for (text, expected) in table {
            let expected = expected.map(|(family, name)| (family, name.to_owned()));
            assert_eq!(told(mentioned(text)), expected, "{text}");
        }
        assert!(mentions_tf("tf_b0.pth") && mentions_tf("my-TF_model.bin"));
        assert!(!mentions_tf("utf_8.pth") && !mentions_tf("model.safetensors"));
    }
}
