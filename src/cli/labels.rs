//! What a model's classes are called, on the command line.

use super::classes::Classes;
use super::pipes;
use anyhow::{anyhow, bail};
use effnet::labels::{self, LabelFile};
use effnet::weights::{Labels, Metadata};
use std::path::Path;

/// WordNet ids of ImageNet-1k's classes in their usual order, one a line.
const SYNSETS: &str = include_str!("imagenet1k_synsets.txt");

/// What a model's classes are called.
pub struct Named {
    /// Their names.
    pub labels: Labels,
    /// Their ids, where a label file gives them.
    ids: Option<Vec<String>>,
}

impl Named {
    /// By the label file `file`, which must name every class, else as the weights say.
    pub fn open(metadata: &Metadata, file: Option<&Path>) -> anyhow::Result<Named> {
        let Some(path) = file else {
            return Ok(Named { labels: metadata.labels.clone(), ids: None });
        };
        let LabelFile { names, ids } = read(path)?;
        if names.len() != metadata.classes {
            bail!(
                "--labels: {}: expected {} class names, found {}",
                path.display(),
                metadata.classes,
                names.len(),
            );
        }
        Ok(Named { labels: Labels::Names(names), ids })
    }

    /// How a dataset may name the classes.
    pub fn classes(&self, metadata: &Metadata) -> Classes {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let names: Option<Vec<String>> = match &self.labels {
            Labels::Imagenet1k => Some(owned(labels::imagenet1k())),
            Labels::Names(names) => Some(names.clone()),
            Labels::None => None,
        };
        let is_imagenet = metadata.labels == Labels::Imagenet1k;
        let imagenet = || is_imagenet.then(|| SYNSETS.lines().map(str::to_owned).collect());
        let ids: Option<Vec<String>> = self.ids.clone().or_else(imagenet);
        Classes::new(metadata.classes, names.as_deref(), ids.as_deref())
    }
}

/// The labels of the file that --labels names.
pub fn open(path: &Path) -> anyhow::Result<Labels> {
    Ok(Labels::Names(read(path)?.names))
}

fn read(path: &Path) -> anyhow::Result<LabelFile> {
    pipes::tell(path);
    LabelFile::open(path).map_err(|error| anyhow!("--labels: {error}"))
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
