//! Items that belong together.

use super::Item;
use std::fmt;

/// What items are put together by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum By {
    /// Nothing: each by itself.
    Launch,
    /// The layer.
    #[default]
    Layer,
    /// The block, stem and head among them.
    Block,
    /// The stage, stem and head among them.
    Stage,
    /// What is done, as in `depthwise`.
    Op,
}

impl By {
    /// What really puts items together, from the finest.
    pub const GROUPS: [By; 4] = [By::Layer, By::Block, By::Stage, By::Op];

    /// On the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            By::Launch => "launch",
            By::Layer => "layer",
            By::Block => "block",
            By::Stage => "stage",
            By::Op => "op",
        }
    }

    /// The group that an item belongs to.
    pub fn of(self, item: &Item) -> &str {
        match self {
            By::Launch => &item.name,
            By::Layer => &item.layer,
            By::Block => &item.block,
            By::Stage => &item.stage,
            By::Op => &item.op,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Each group's name and the places of its items, in the order in which groups begin.
pub fn groups(items: &[Item], by: By) -> Vec<(String, Vec<usize>)> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let name = by.of(item);
        match groups.iter_mut().find(|(other, _)| other == name) {
            Some((_, members)) => members.push(place),
            None => groups.push((name.to_owned(), vec![place])),
        }
    }
    groups
}
