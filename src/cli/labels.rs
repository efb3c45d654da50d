//! What a model's classes are called, on the command line.

use super::dataset::Classes;
use anyhow::{anyhow, bail};
use effnet::labels;
use effnet::weights::{Labels, Metadata};
use std::path::Path;

/// WordNet ids of ImageNet-1k's classes in their usual order, one a line.
const SYNSETS: &str = include_str!("imagenet1k_synsets.txt");

/// The labels of `file`, which must name every class, else those of the weights.
pub fn labels(metadata: &Metadata, file: Option<&Path>) -> anyhow::Result<Labels> {
    let Some(path) = file else { return Ok(metadata.labels.clone()) };
    let labels = open(path)?;
    match &labels {
        Labels::Names(names) if names.len() != metadata.classes => bail!(
            "--labels: {}: expected {} class names, one a line, found {}",
            path.display(),
            metadata.classes,
            names.len(),
        ),
        _ => Ok(labels),
    }
}

/// The labels of the file that --labels names.
pub fn open(path: &Path) -> anyhow::Result<Labels> {
    Labels::open(path).map_err(|error| anyhow!("--labels: {error}"))
}

/// How a dataset may name the classes.
pub fn classes(metadata: &Metadata, labels: &Labels) -> Classes {
    let imagenet = metadata.labels == Labels::Imagenet1k;
    Classes {
        count: metadata.classes,
        names: match labels {
            Labels::Imagenet1k => {
                Some(labels::imagenet1k().iter().map(|&name| name.to_owned()).collect())
            }
            Labels::Names(names) => Some(names.clone()),
            Labels::None => None,
        },
        synsets: imagenet.then(|| SYNSETS.lines().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn imagenet_has_a_thousand_ids_in_ascending_order() {
        let ids: Vec<&str> = SYNSETS.lines().collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.len() == 9 && id.starts_with('n')));
        assert_eq!((ids[0], ids[3]), ("n01440764", "n01491361"));
        assert_eq!(labels::imagenet1k().len(), ids.len());
    }
}
