//! What is known of a checkpoint beside its tensors, and which of it counts.
//!
//! timm's `efficientnet_*` and `tf_efficientnet_*` have the same tensors but other padding and eps,
//! and a recipe is written in no tensor at all. In the order of trust:
//!
//! 1. what the user says;
//! 2. the catalogue, for a file that it knows by its digest;
//! 3. what the file says of itself, as in `arch` or `args.model`;
//! 4. the `config.json` beside it;
//! 5. the names of the folders above it, the nearest first, as in
//!    `models--timm--tf_efficientnet_b0.ns_jft_in1k`, where the file is and where its link leads;
//! 6. the file's own name.
//!
//! [`Evidence`] collects 3 to 6. Of two that contradict each other the earlier counts, and a note
//! says so. The shapes of the tensors alone tell the variant: a text that names another is noted,
//! and its recipe is left out.

mod architecture;
mod config;
mod transformers;

pub(crate) use config::Config;

use super::import::Facts;
use super::{CatalogueEntry, Family, Labels, RecipeOverrides};
use crate::arch::Variant;
use architecture::{Architecture, mentioned, mentions_tf, named};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use transformers::Conventions;

/// Folders above a file whose names are looked at: in a cache of the Hugging Face Hub, the third is
/// the model's.
const FOLDERS: usize = 4;

/// A text that names one of timm's architectures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Clue {
    /// [`Family::Timm`] or [`Family::TimmTf`].
    pub family: Family,
    /// The variant that it names.
    pub variant: Option<Variant>,
    /// The published checkpoint that it names.
    pub entry: Option<&'static CatalogueEntry>,
    /// For people, as in `config.json beside it says tf_efficientnet_b0`.
    pub text: String,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Facts,
    Config,
    Name,
}

impl Clue {
    fn new(place: Place, whose: &str, found: Architecture) -> Clue {
        let Architecture { family, variant, entry, name } = found;
        Clue { family, variant, entry, text: format!("{whose} says {name}"), place }
    }

    fn fits(&self, family: Family, variant: Variant) -> bool {
        self.family == family && self.variant.is_none_or(|named| named == variant)
    }
}

/// What is known of a checkpoint beside its tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    /// What names an architecture, the most trusted first.
    pub(super) clues: Vec<Clue>,
    /// The configuration beside the file.
    pub config: Option<Config>,
    /// The recipe that the file was trained with, by its own words.
    trained: RecipeOverrides,
    /// transformers' configuration of its processor, where `config` is transformers'.
    processor: Option<Value>,
    /// For people: what could not be used.
    pub notes: Vec<String>,
}

/// A recipe that evidence gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub recipe: RecipeOverrides,
    pub labels: Option<Labels>,
    /// Whose recipe it is, as in `config.json's`.
    pub whose: String,
    /// Values of it that make no sense here.
    pub notes: Vec<String>,
    /// Padding and eps, where they are written down.
    pub conventions: Conventions,
}

impl Evidence {
    /// Looks at what a file says of itself, and at what is beside and above it. `path` is the file
    /// as it was given, or a folder that holds the whole checkpoint.
    pub(super) fn of(path: &Path, facts: &Facts) -> Evidence {
        let mut evidence = Evidence { clues: of_facts(facts), ..Evidence::default() };
        // timm's training script keeps its arguments beside the weights.
        let mut ignored = |_: String| ();
        evidence.trained = config::recipe(&arguments(facts), &mut ignored);

        let places = places(path);
        let folders = places.iter().map(|place| match place.is_dir() {
            true => place.clone(),
            false => place.parent().unwrap_or(Path::new("")).to_owned(),
        });
        for folder in folders {
            match Config::beside(&folder) {
                Ok(None) => continue,
                Ok(Some(config)) => evidence.config = Some(config),
                Err(note) => evidence.notes.push(note),
            }
            break;
        }
        if let Some(config) = &evidence.config {
            let whose = format!("{} beside it", config::NAME);
            if transformers::is_ours(&config.value) {
                match config::object(&config.path.with_file_name(transformers::PROCESSOR)) {
                    Ok(processor) => evidence.processor = processor,
                    Err(note) => evidence.notes.push(note),
                }
            }
            let found = config.architecture.as_deref().and_then(named);
            evidence.clues.extend(found.map(|found| Clue::new(Place::Config, &whose, found)));
        }

        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let folder = places.iter().find_map(|place| {
            place
                .ancestors()
                .skip(1)
                .take(FOLDERS)
                .filter_map(name)
                .find_map(|name| mentioned(&name))
        });
        evidence
            .clues
            .extend(folder.map(|found| Clue::new(Place::Name, "a folder above it", found)));
        let file = places.iter().filter_map(|place| name(place)).find_map(|name| {
            let tf = || Architecture {
                family: Family::TimmTf,
                variant: None,
                entry: None,
                name: "tf_".to_owned(),
            };
            mentioned(&name).or_else(|| mentions_tf(&name).then(tf))
        });
        evidence.clues.extend(file.map(|found| Clue::new(Place::Name, "the file's name", found)));
        evidence
    }

    /// Notes on clues that name another family or variant than was decided on. `asked` says that
    /// the user named the family, which is not doubted.
    pub(super) fn contradictions(
        &self,
        (family, variant): (Family, Variant),
        asked: bool,
    ) -> Vec<String> {
        if !matches!(family, Family::Timm | Family::TimmTf) {
            return Vec::new();
        }
        let mut notes = Vec::new();
        for clue in &self.clues {
            let Clue { text, .. } = clue;
            if let Some(other) = clue.variant.filter(|&other| !same_shapes(other, variant)) {
                notes.push(format!(
                    "{text}, but the tensors have the shapes of {variant}, not of {other}: took \
                     {variant}, and no recipe from there"
                ));
            } else if clue.family != family && !asked {
                notes.push(format!(
                    "{text}, of family {}, but what goes before it says {family}; if that is \
                     wrong, give --family {}",
                    clue.family, clue.family
                ));
            }
        }
        notes
    }

    /// The recipe and labels for a checkpoint of this family and variant; `asked` as above.
    pub(super) fn told(&self, family: Family, variant: Variant, asked: bool) -> Told {
        if family == Family::Transformers {
            return self.told_by_transformers(variant);
        }
        // Of the user's family, a text may say the other: its recipe is as good.
        let fits =
            |clue: &&Clue| clue.fits(family, variant) || (asked && clue.fits(clue.family, variant));
        let at = |place: Place| self.clues.iter().filter(move |clue| clue.place == place);
        let is_timm = matches!(family, Family::Timm | Family::TimmTf);
        let trained = &self.trained;
        let trained = at(Place::Facts).next().filter(fits).map(|_| trained).filter(|_| is_timm);
        let trained = trained.filter(|recipe| **recipe != RecipeOverrides::default());
        let config = self.config.as_ref().filter(|config| match &config.architecture {
            Some(_) => at(Place::Config).next().as_ref().is_some_and(fits),
            // Any program may call its file so: only timm's form says how images are prepared.
            None => config.value.get("pretrained_cfg").is_some(),
        });
        let notes = config.map(|config| config.notes.clone()).unwrap_or_default();
        let labels = config.and_then(|config| config.labels.clone());
        let config = config.filter(|config| is_timm && config.recipe != RecipeOverrides::default());
        let entry = self.clues.iter().filter(fits).find_map(|clue| clue.entry);
        let entry = entry.filter(|entry| (entry.family, entry.variant) == (family, variant));

        let layers = [
            trained.map(|recipe| (recipe, "its training arguments'".to_owned())),
            config.map(|config| (&config.recipe, format!("{}'s", config::NAME))),
            entry.map(|entry| (&entry.recipe, format!("{}'s", entry.short_name()))),
        ];
        let mut layers = layers.into_iter().flatten();
        let first = layers.next();
        let (mut recipe, whose) = match first {
            Some((recipe, whose)) => (recipe.clone(), whose),
            None => (RecipeOverrides::default(), "the family's".to_owned()),
        };
        for (other, _) in layers {
            recipe = recipe.or(other);
        }
        Told { recipe, labels, whose, notes, conventions: Conventions::default() }
    }

    /// What transformers' own files say of a checkpoint of this variant.
    fn told_by_transformers(&self, variant: Variant) -> Told {
        let config = self.config.as_ref().filter(|config| transformers::is_ours(&config.value));
        let conventions = config.map(|config| transformers::conventions(&config.value, variant));
        let labels = config.and_then(|config| transformers::labels(&config.value));
        let mut notes = Vec::new();
        let mut note = |what: String| notes.push(format!("{}: {what}", transformers::PROCESSOR));
        let processor = self.processor.as_ref().and_then(Value::as_object);
        let recipe = processor.map(|processor| transformers::recipe(processor, &mut note));
        let whose = match recipe {
            Some(_) => format!("{}'s", transformers::PROCESSOR),
            None => "the family's".to_owned(),
        };
        Told {
            recipe: recipe.unwrap_or_default(),
            labels,
            whose,
            notes,
            conventions: conventions.unwrap_or_default(),
        }
    }
}

/// The recipe and the labels that are told beside a checkpoint at `path`, which says `facts` of
/// itself: for the fuzz target `evidence`, which has no checkpoint.
#[doc(hidden)]
pub fn told_beside(
    path: &Path,
    facts: &Facts,
    (family, variant): (Family, Variant),
    asked: bool,
) -> (RecipeOverrides, Option<Labels>) {
    let evidence = Evidence::of(path, facts);
    let told = evidence.told(family, variant, asked);
    (told.recipe, told.labels)
}

/// Whether two variants have the same tensors, so that shapes do not tell them apart.
fn same_shapes(a: Variant, b: Variant) -> bool {
    let twins = |v: Variant| if v == Variant::B0Small { Variant::Lite0 } else { v };
    twins(a) == twins(b)
}

/// The file as it was given, and where it leads if it is a link.
fn places(path: &Path) -> Vec<PathBuf> {
    let given = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let target = path.canonicalize().ok().filter(|target| *target != given);
    [Some(given), target].into_iter().flatten().collect()
}

/// Ends of the keys under which trainers keep an architecture's name, the most usual first.
const KEYS: [&str; 10] = [
    "arch",
    "architecture",
    "model",
    "model_name",
    "model_arch",
    "backbone",
    "backbone_name",
    "encoder",
    "encoder_name",
    "name",
];

/// What a file says of itself: of several keys, first the one nearest to the top.
fn of_facts(facts: &Facts) -> Vec<Clue> {
    let mut found: Vec<_> = facts
        .iter()
        .filter_map(|(key, value)| {
            let end = key.rsplit('.').next().unwrap_or(key);
            let rank = KEYS.iter().position(|known| *known == end)?;
            // The weights of a model that taught this one are not in the file, or not taken.
            if key.split('.').any(|part| part.contains("teacher")) {
                return None;
            }
            Some((key.matches('.').count(), rank, key, named(value)?))
        })
        .collect();
    found.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
    let mut clues: Vec<Clue> = Vec::new();
    for (.., key, architecture) in found {
        let whose = format!("its own '{}'", key.escape_debug());
        let clue = Clue::new(Place::Facts, &whose, architecture);
        // A second key that says the same adds nothing.
        let is_new = |known: &Clue| (known.family, known.variant) != (clue.family, clue.variant);
        if clues.iter().all(is_new) {
            clues.push(clue);
        }
    }
    clues
}

/// The arguments of timm's training script, as a data configuration.
fn arguments(facts: &Facts) -> Map<String, Value> {
    let get = |key: &str| {
        let text = facts.get(&format!("args.{key}"))?;
        // Numbers and lists are JSON; anything else is a text.
        Some(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())))
    };
    let keys = ["input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std"];
    let mut config: Map<String, Value> =
        keys.into_iter().filter_map(|key| Some((key.to_owned(), get(key)?))).collect();
    if !config.get("input_size").is_some_and(Value::is_array)
        && let Some(side) = get("img_size").filter(Value::is_u64)
    {
        let side = side.as_u64();
        config.insert("input_size".to_owned(), Value::from(vec![Some(3), side, side]));
    }
    config
}

#[cfg(test)]
mod tests;
