//! Weights: from public checkpoints to packed files, and from packed files to typed views.
//!
//! Reading order: [`Family`] (who publishes weights), `names` (how they spell the tensors),
//! `evidence` (what is known beside the tensors), `head` (the classifier), `recognise` (which
//! family and variant a file is), `graph` (the same for exported graphs), [`settings`] (the padding,
//! eps and recipe that belong to it), [`import`](fn@import) (into the layouts of `layout`),
//! [`Weights`] (the packed file, opened), [`catalogue`] (known checkpoints); [`find`](fn@find),
//! [`pull`](fn@pull) and [`installed`](fn@installed) (by name, fetched, and found again: with the
//! feature `cli`); [`stand_in`] (random ones). The module [`import`](mod@import) reads the
//! containers.

mod activation;
mod catalogue;
mod evidence;
mod family;
#[cfg(feature = "cli")]
mod find;
mod graph;
mod head;
pub mod import;
#[cfg(feature = "cli")]
mod installed;
mod layout;
mod metadata;
mod names;
mod pack;
mod prefix;
#[cfg(feature = "cli")]
mod pull;
mod recognise;
mod settings;
pub mod stand_in;
mod store;
mod strangers;
mod wheel;
mod write;

pub use activation::{OutputActivation, UnknownActivation};
pub use catalogue::{CatalogueEntry, Package, catalogue};
#[doc(hidden)]
pub use evidence::told_beside;
pub use family::{Family, UnknownFamily};
#[cfg(feature = "cli")]
pub use find::{UnknownModel, find};
pub use graph::GraphFault;
#[cfg(feature = "cli")]
pub use installed::{
    Folder, Installed, InstalledError, Listing, PACKED_EXTENSION, default_folder, default_output,
    folders, installed,
};
pub use layout::{Layer, PackedTensor, Precision, TensorId, TensorKind, packed_tensors};
pub use metadata::{Labels, Metadata, Source};
pub use names::{SourceRole, SourceTensor, source_names};
pub use pack::{ImportError, ImportOptions, ImportReport, import, open_checkpoint};
#[cfg(feature = "cli")]
pub use pull::{
    Checked, Progress, PullError, PullOptions, PullReport, default_cache_dir, packed_path, pull,
};
pub use recognise::{RecogniseError, TensorFault};
pub use settings::{
    PaddingChoice, RecipeOverrides, SettingError, Settings, UnknownPadding, settings,
};
pub use store::{StoreError, Weights};
pub use wheel::WheelError;
pub use write::write_packed;
