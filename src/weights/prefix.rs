//! The model inside a trainer's module: what stands before the names of its tensors.
//!
//! A trainer keeps the model as a part of something larger (`model.`, `backbone.`,
//! `module.model.`), beside a loss's weights, a metric or a counter. The prefix is whatever stands
//! before the stem's weights, in any family's spelling, up to a dot.

use super::Family;
use super::head::USUAL;
use super::import::{Checkpoint, CheckpointError};
use super::names::stem_weight;
use std::collections::BTreeMap;

/// Why no model was taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrefixError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Several models of which none is the average of another: their prefixes.
    #[error("several models")]
    Several(String),
}

/// Names of the left-out tensors in a note.
const SHOWN: usize = 5;

/// Finds the model in a checkpoint that was opened at `key`: in the dict under the key, or in the
/// preferred dict that has one. The notes say what was chosen and what was left out.
pub(super) fn model(
    mut checkpoint: Checkpoint,
    key: Option<&str>,
) -> Result<(Checkpoint, Vec<String>), PrefixError> {
    let mut notes: Vec<String> = checkpoint.note().map(str::to_owned).into_iter().collect();
    if checkpoint.graph().is_some() {
        // The nodes of a graph tell what its tensors are, whatever their names.
        return Ok((checkpoint, notes));
    }
    let names = |checkpoint: &Checkpoint| prefixes(checkpoint.tensors().keys());
    let mut found = names(&checkpoint);
    if found.is_empty() && key.is_none() {
        let model = checkpoint
            .dicts()
            .iter()
            .find(|dict| !prefixes(dict.tensors.iter().map(|(name, _)| name)).is_empty());
        if let Some(other) = model.map(|dict| dict.key.clone()) {
            checkpoint = checkpoint.at(&other)?;
            found = names(&checkpoint);
            notes = vec![format!("took {}, where the model is", plain(&other))];
        }
    }
    // An object where the stem should be has no shape, and the list of faults no name for it.
    let stems: Vec<&String> =
        checkpoint.foreign().keys().filter(|name| prefix_of(name).is_some()).collect();
    if let (true, Some(stem)) = (found.is_empty(), stems.first()) {
        return Err(checkpoint
            .read_f32(stem)
            .err()
            .map_or(PrefixError::Several(String::new()), PrefixError::Checkpoint));
    }

    let chosen = choose(&found)?;
    let Some((prefix, others)) = chosen else { return Ok((checkpoint, notes)) };
    if !others.is_empty() {
        let list: Vec<_> = others
            .iter()
            .map(|other| match plain(other.trim_end_matches('.')) {
                name if name.is_empty() => "one without a prefix is there too".to_owned(),
                name => format!("{name} is there too: --key {name}"),
            })
            .collect();
        let name = plain(prefix.trim_end_matches('.'));
        notes.push(format!("took {name}, the moving average; {}", list.join("; ")));
    }
    if !prefix.is_empty() {
        if let (true, Some(head)) = (others.is_empty(), head_beside(&checkpoint, &prefix)) {
            for end in ["weight", "bias"] {
                checkpoint.rename(&format!("{head}.{end}"), format!("{prefix}{HEAD}.{end}"));
            }
            notes.push(format!(
                "took {}, beside '{}', as the classifier",
                plain(&head),
                plain(&prefix)
            ));
        }
        let mut left = checkpoint.keep_prefix(&prefix);
        left.retain(|name| !others.iter().any(|other| name.starts_with(other.as_str())));
        if !left.is_empty() {
            let shown: Vec<_> = left.iter().take(SHOWN).map(|name| plain(name)).collect();
            let more = if left.len() > SHOWN { ", ..." } else { "" };
            notes.push(format!(
                "took the tensors under '{}'; left out {} beside them: {}{more}",
                plain(&prefix),
                left.len(),
                shown.join(", ")
            ));
        }
    }
    Ok((checkpoint, notes))
}

/// Name of a classifier that stood beside the prefix: one of those that `head` looks for.
const HEAD: &str = "head";

/// The one linear layer beside a body without a classifier, as in a module of `backbone` and `head`
/// or in a sequence of both.
fn head_beside(checkpoint: &Checkpoint, prefix: &str) -> Option<String> {
    let root = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
    let usual = |name: &str| USUAL.contains(&root(name).as_str());
    let tensors = checkpoint.tensors();
    if tensors.keys().filter_map(|name| name.strip_prefix(prefix)).any(usual) {
        return None;
    }
    let body = prefix.trim_end_matches('.');
    let (parent, body) = body.rsplit_once('.').map_or(("", body), |(parent, body)| (parent, body));
    let parent = if parent.is_empty() { String::new() } else { format!("{parent}.") };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let beside = |name: &str| {
        let rest = name.strip_prefix(&parent).filter(|_| !name.starts_with(prefix));
        rest.is_some_and(|rest| usual(rest) || (number(body) && number(&root(rest))))
    };
    let mut layers: Vec<&str> = tensors
        .keys()
        .filter(|name| beside(name))
        .filter_map(|name| Some(name.rsplit_once('.')?.0))
        .collect();
    layers.dedup();
    let [layer] = layers[..] else { return None };
    let matrix = tensors.get(&format!("{layer}.weight"))?;
    (matrix.shape.len() == 2).then(|| layer.to_owned())
}

/// The part of a name before the stem's weights.
fn prefix_of(name: &str) -> Option<&str> {
    Family::ALL.into_iter().find_map(|family| {
        let prefix = name.strip_suffix(&stem_weight(family))?;
        (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
    })
}

/// The prefixes before a stem, the first ones, and the number of weights under each and under no
/// longer one.
fn prefixes<'a>(names: impl Iterator<Item = &'a String> + Clone) -> BTreeMap<String, usize> {
    // Each name is compared with each prefix; an ensemble has fewer models.
    const MAX_PREFIXES: usize = 64;
    let stems = names.clone().filter_map(|name| prefix_of(name)).take(MAX_PREFIXES);
    let mut found: BTreeMap<String, usize> = stems.map(|prefix| (prefix.to_owned(), 0)).collect();
    for name in names.filter(|name| !name.ends_with("num_batches_tracked")) {
        let longest = found
            .iter_mut()
            .filter(|(prefix, _)| name.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len());
        if let Some((_, count)) = longest {
            *count += 1;
        }
    }
    found
}

/// The prefix to take, and those of other whole models; `None` where there is no stem.
fn choose(found: &BTreeMap<String, usize>) -> Result<Option<(String, Vec<String>)>, PrefixError> {
    let most = found.values().copied().max().unwrap_or(0);
    // A part of a model is none: half as many weights are not a head more or less.
    let whole: Vec<&String> =
        found.iter().filter(|&(_, &count)| count * 2 > most).map(|(prefix, _)| prefix).collect();
    let averages: Vec<&String> =
        whole.iter().copied().filter(|prefix| is_average(prefix)).collect();
    let taken = match (&whole[..], &averages[..]) {
        ([], _) => return Ok(None),
        (&[only], _) | (_, &[only]) => only,
        _ => {
            let list: Vec<_> = whole
                .iter()
                .map(|prefix| match plain(prefix.trim_end_matches('.')) {
                    name if name.is_empty() => "one without a prefix".to_owned(),
                    name => name,
                })
                .collect();
            return Err(PrefixError::Several(list.join(", ")));
        }
    };
    let others = whole.iter().filter(|&&prefix| prefix != taken).map(|&prefix| prefix.clone());
    Ok(Some((taken.clone(), others.collect())))
}

/// Whether a prefix is by its name that of a moving average.
fn is_average(prefix: &str) -> bool {
    const WORDS: [&str; 6] = ["ema", "teacher", "average", "averaged", "avg", "swa"];
    let lower = prefix.to_ascii_lowercase();
    lower.split(['.', '_']).any(|word| WORDS.contains(&word))
}

/// A name of a file, cut, and without control characters.
fn plain(name: &str) -> String {
    const MAX_CHARS: usize = 80;
    name.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(names: &[&str]) -> BTreeMap<String, usize> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        prefixes(names.iter())
    }

    #[test]
    fn a_prefix_ends_at_a_dot_before_any_family_s_stem() {
        for (name, prefix) in [
            ("conv_stem.weight", Some("")),
            ("model.conv_stem.weight", Some("model.")),
            ("module.model.features.0.0.weight", Some("module.model.")),
            ("0._conv_stem.weight", Some("0.")),
            ("a.b.c._ef._conv_stem._conv._conv._conv.weight", Some("a.b.c.")),
            ("my_conv_stem.weight", None),
            ("myfeatures.0.0.weight", None),
            ("conv_stem.weight.x", None),
        ] {
            assert_eq!(prefix_of(name), prefix, "{name}");
        }
    }

    #[test]
    fn many_stems_are_not_compared_with_many_names() {
        let names: Vec<String> = (0..60_000).map(|i| format!("{i}.conv_stem.weight")).collect();
        assert_eq!(prefixes(names.iter()).len(), 64);
    }

    #[test]
    fn the_average_of_two_whole_models_is_taken() {
        let take = |names: &[&str]| choose(&counts(names)).map_err(|error| format!("{error:?}"));
        let some = |prefix: &str, others: &[&str]| {
            Ok(Some((prefix.to_owned(), others.iter().map(|&other| other.to_owned()).collect())))
        };
        let two = |a: &str, b: &str| {
            let of = |p: &str| [format!("{p}conv_stem.weight"), format!("{p}bn1.weight")];
            let names = [of(a), of(b)].concat();
            take(&names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(take(&["fc.weight"]), Ok(None));
        assert_eq!(take(&["net.conv_stem.weight", "loss.weight"]), some("net.", &[]));
        assert_eq!(two("model.", "ema_model."), some("ema_model.", &["model."]));
        assert_eq!(two("student.", "teacher."), some("teacher.", &["student."]));
        assert_eq!(two("", "model_ema.module."), some("model_ema.module.", &[""]));
        assert!(two("a.", "b.").unwrap_err().contains("a, b"));
        // The words are whole ones, and a stem alone is no model.
        assert!(two("schema.", "cinema.").is_err());
        let part = ["m.conv_stem.weight", "m.a", "m.b", "m.c", "ema.conv_stem.weight"];
        assert_eq!(take(&part), some("m.", &[]));
    }
}
