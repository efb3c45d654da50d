//! Constants of GPUs, each with its source: those that are built in, and those of a user's file.
//!
//! A set is a JSON object with `name`, `title`, `arch` and `constants`; each constant has a `value`
//! and a `source` in words. The keys are a closed list: a missing one, an unknown one and a value
//! beyond its range are errors, since a set that is silently incomplete would predict nonsense.

use super::pairs::Pairs;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The largest file of constants that is read.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The first compute capability whose launches may begin while the one before them ends.
const DEPENDENT_LAUNCHES: u32 = 90;
/// Compute capabilities that a set may be of.
const ARCHS: [u32; 9] = [75, 80, 86, 87, 89, 90, 100, 110, 120];

/// A constant's name, unit and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// As in a file.
    pub name: &'static str,
    /// The unit, in words.
    pub unit: &'static str,
    /// The least and the greatest value that is taken.
    pub range: [f64; 2],
}

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $unit:literal, $least:literal to $most:literal;)+) => {
        /// What the model needs to know of a GPU.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Constants {
            $($(#[$doc])* pub $name: f64,)+
        }

        /// Every constant, in the order of files.
        pub const KEYS: &[Key] = &[
            $(Key { name: stringify!($name), unit: $unit, range: [$least, $most] },)+
        ];

        impl Constants {
            /// The constants from their values in the order of [`KEYS`].
            fn of(mut value: impl FnMut(&'static str) -> f64) -> Constants {
                Constants { $($name: value(stringify!($name)),)+ }
            }

            /// A constant by its name.
            fn get_mut(&mut self, name: &str) -> Option<&mut f64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }

            /// The value of each of [`KEYS`].
            fn values(&self) -> Vec<f64> {
                vec![$(self.$name),+]
            }
        }
    };
}

constants! {
    /// Number of multiprocessors.
    multiprocessors: "multiprocessors", 1.0 to 1024.0;
    /// Clock under load.
    clock_ghz: "GHz", 0.1 to 10.0;
    /// Rate of device memory that copies reach.
    dram_gbps: "10^9 bytes a second", 1.0 to 100000.0;
    /// Rate of the L2 cache that loads reach.
    l2_gbps: "10^9 bytes a second", 1.0 to 1000000.0;
    /// Part of the L2 cache that keeps what a run left.
    l2_mib: "MiB", 0.125 to 4096.0;
    /// First-level cache and shared memory of a multiprocessor, together.
    l1_kib: "KiB", 16.0 to 4096.0;
    /// Bytes that a multiprocessor takes from the L2 cache in a cycle.
    sm_l2_bytes: "bytes a cycle", 1.0 to 1024.0;
    /// Bytes that first-level cache and shared memory deliver in a cycle.
    l1_bytes: "bytes a cycle", 16.0 to 1024.0;
    /// Schedulers of a multiprocessor, each of which issues one instruction a cycle at most.
    schedulers: "schedulers", 1.0 to 16.0;
    /// Part of its cycles in which a scheduler with enough warps issues.
    sustained_issue: "part of 1", 0.05 to 1.0;
    /// Lanes of f32 and f16 arithmetic in a multiprocessor.
    fma_lanes: "lanes", 1.0 to 1024.0;
    /// Lanes of integer and logic operations.
    alu_lanes: "lanes", 1.0 to 1024.0;
    /// Lanes of special functions.
    special_lanes: "lanes", 1.0 to 1024.0;
    /// Lanes of loads and stores.
    load_store_lanes: "lanes", 1.0 to 1024.0;
    /// Multiply-accumulates of f16 matrix products in a cycle of a multiprocessor; half of it in
    /// TF32.
    tensor_macs: "multiply-accumulates a cycle", 1.0 to 100000.0;
    /// From an arithmetic instruction to its result.
    arithmetic_cycles: "cycles", 1.0 to 1000.0;
    /// From a conversion to its result.
    convert_cycles: "cycles", 1.0 to 1000.0;
    /// From a special function to its result.
    special_cycles: "cycles", 1.0 to 1000.0;
    /// From a matrix product to its result.
    tensor_cycles: "cycles", 1.0 to 1000.0;
    /// From an exchange between lanes to its result.
    shuffle_cycles: "cycles", 1.0 to 1000.0;
    /// From a branch's predicate to the next instruction.
    branch_cycles: "cycles", 0.0 to 1000.0;
    /// From a load of shared memory to its result.
    shared_cycles: "cycles", 1.0 to 1000.0;
    /// From a load that the first-level cache serves to its result.
    l1_cycles: "cycles", 1.0 to 1000.0;
    /// From a load that the L2 cache serves to its result.
    l2_cycles: "cycles", 10.0 to 10000.0;
    /// From a load that device memory serves to its result.
    dram_cycles: "cycles", 10.0 to 100000.0;
    /// From an atomic operation on global memory to its result.
    atomic_cycles: "cycles", 10.0 to 100000.0;
    /// A fence of the whole GPU.
    fence_cycles: "cycles", 1.0 to 100000.0;
    /// From the last warp's arrival at a barrier to the next instruction.
    barrier_cycles: "cycles", 1.0 to 10000.0;
    /// Between two launches of a graph without programmatic dependence.
    launch_us: "us", 0.0 to 1000.0;
    /// Between two launches of a graph of which the second may begin early; from compute capability
    /// 9.0 on, equal to launch_us before.
    dependent_launch_us: "us", 0.0 to 1000.0;
}

/// A GPU to predict for.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// As on the command line.
    pub name: String,
    /// The card in words.
    pub title: String,
    /// Compute capability, as in 90 for 9.0.
    pub arch: u32,
    /// The constants.
    pub constants: Constants,
    /// The source of each constant, in words, in the order of [`KEYS`].
    pub sources: Vec<String>,
    /// Whether launches are kept from beginning early.
    serial: bool,
}

/// Why there are no constants.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum GpuError {
    #[error(
        "no GPU named {found}{nearest}: known are {known}, or a file of constants as --print-gpu \
         writes one"
    )]
    Unknown { found: String, nearest: String, known: String },
    #[error("{file}: {message}")]
    Unreadable { file: String, message: String },
    #[error("{file}: {key}: found {found}, expected {expected}")]
    Value { file: String, key: String, found: String, expected: String },
}

/// Names and files of the sets that are built in, in the order of the documentation.
const BUILT_IN: [(&str, &str); 7] = [
    ("h100", include_str!("gpus/h100.json")),
    ("h200", include_str!("gpus/h200.json")),
    ("a100", include_str!("gpus/a100.json")),
    ("l4", include_str!("gpus/l4.json")),
    ("rtx4090", include_str!("gpus/rtx4090.json")),
    ("t4", include_str!("gpus/t4.json")),
    ("orin", include_str!("gpus/orin.json")),
];

impl Gpu {
    /// Names of the sets that are built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A set that is built in, or one of a file: what has a dot or a separator is a file.
    ///
    /// # Errors
    ///
    /// [`GpuError`] where there is no such set, or the file is not one.
    pub fn find(name: &str) -> Result<Gpu, GpuError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Gpu::parse(&format!("{name}.json"), text);
        }
        if name.contains(['.', '/', '\\']) {
            return Gpu::read(Path::new(name));
        }
        let lower = name.to_lowercase();
        let nearest = Gpu::names()
            .map(|known| (strsim::damerau_levenshtein(&lower, known), known))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        Err(GpuError::Unknown {
            found: name.to_owned(),
            nearest: nearest
                .map_or(String::new(), |(_, known)| format!(" (did you mean {known}?)")),
            known: Gpu::names().collect::<Vec<_>>().join(", "),
        })
    }

    fn read(path: &Path) -> Result<Gpu, GpuError> {
        let file = path.display().to_string();
        let failed = |message: String| GpuError::Unreadable { file: file.clone(), message };
        let text = super::pairs::read_text(path, MAX_FILE_BYTES).map_err(failed)?;
        Gpu::parse(&file, &text)
    }

    /// A set from the text of a file.
    ///
    /// # Errors
    ///
    /// [`GpuError`] names the file, the key, what was found and what was expected.
    pub fn parse(file: &str, text: &str) -> Result<Gpu, GpuError> {
        let unreadable = |message: String| GpuError::Unreadable { file: file.to_owned(), message };
        let top: Pairs =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let wrong = |key: &str, found: String, expected: String| GpuError::Value {
            file: file.to_owned(),
            key: key.to_owned(),
            found,
            expected,
        };
        let known = ["name", "title", "arch", "constants"];
        if let Some((key, _)) = top.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            return Err(wrong(key, "this key".into(), format!("only {}", known.join(", "))));
        }
        let field = |key: &str| {
            let found = top.0.iter().find(|(name, _)| name == key).map(|(_, value)| value);
            found.ok_or_else(|| wrong(key, "nothing".into(), "this key".into()))
        };
        let words = |key: &str| {
            let value = field(key)?;
            match value.as_str() {
                Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
                _ => Err(wrong(key, value.to_string(), "words".into())),
            }
        };
        let (name, title) = (words("name")?, words("title")?);
        let arch = match field("arch")?.as_u64() {
            Some(arch) if ARCHS.iter().any(|&known| u64::from(known) == arch) => arch as u32,
            _ => {
                let known = ARCHS.map(|arch| arch.to_string()).join(", ");
                let expected = format!("a compute capability, as 90 for 9.0: {known}");
                return Err(wrong("arch", field("arch")?.to_string(), expected));
            }
        };
        let constants: Pairs = Pairs::deserialize(field("constants")?)
            .map_err(|error| wrong("constants", error.to_string(), "an object".into()))?;
        if let Some((key, _)) =
            constants.0.iter().find(|(key, _)| !KEYS.iter().any(|known| known.name == key))
        {
            let known: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            return Err(wrong(key, "this key".into(), format!("only {}", known.join(", "))));
        }
        let mut values = Vec::with_capacity(KEYS.len());
        let mut sources = Vec::with_capacity(KEYS.len());
        for key in KEYS {
            let entry = constants.0.iter().find(|(name, _)| name == key.name);
            let Some((_, entry)) = entry else {
                let expected = format!("a value in {} and its source", key.unit);
                return Err(wrong(key.name, "nothing".into(), expected));
            };
            let (value, source) = constant(entry)
                .map_err(|(found, expected)| wrong(key.name, found, expected.to_owned()))?;
            let [least, most] = key.range;
            if !(least..=most).contains(&value) {
                let expected = format!("{least} to {most} {}", key.unit);
                return Err(wrong(key.name, value.to_string(), expected));
            }
            values.push(value);
            sources.push(source);
        }
        let mut rest = values.into_iter();
        let constants = Constants::of(|_| rest.next().unwrap_or_default());
        let whole =
            [("multiprocessors", constants.multiprocessors), ("schedulers", constants.schedulers)];
        for (key, value) in whole {
            if value.fract() != 0.0 {
                return Err(wrong(key, value.to_string(), "a whole number".into()));
            }
        }
        if constants.dram_cycles < constants.l2_cycles {
            let expected = format!("at least l2_cycles, {}", constants.l2_cycles);
            return Err(wrong("dram_cycles", constants.dram_cycles.to_string(), expected));
        }
        Ok(Gpu { name, title, arch, constants, sources, serial: false })
    }

    /// Whether a launch may begin while the one before it ends.
    pub fn dependent_launches(&self) -> bool {
        self.arch >= DEPENDENT_LAUNCHES && !self.serial
    }

    /// The same GPU where each launch begins only after the one before it has ended.
    pub fn serial(self) -> Gpu {
        Gpu { serial: true, ..self }
    }

    /// Cycles of a time in microseconds.
    pub fn cycles(&self, us: f64) -> f64 {
        us * self.constants.clock_ghz * 1e3
    }

    /// Microseconds of a number of cycles.
    pub fn us(&self, cycles: f64) -> f64 {
        cycles / (self.constants.clock_ghz * 1e3)
    }

    /// The same GPU with a constant of another source; unknown names change nothing.
    pub fn with(mut self, name: &str, value: f64, source: &str) -> Gpu {
        if let Some(constant) = self.constants.get_mut(name) {
            *constant = value;
        }
        if let Some(index) = KEYS.iter().position(|key| key.name == name) {
            self.sources[index] = source.to_owned();
        }
        self
    }

    /// The constants with their units and sources, in the order of [`KEYS`].
    pub fn rows(&self) -> impl Iterator<Item = (&'static Key, f64, &str)> {
        let values = self.constants.values().into_iter();
        KEYS.iter()
            .zip(values)
            .zip(&self.sources)
            .map(|((key, value), source)| (key, value, source.as_str()))
    }

    /// The set as a file that [`Gpu::parse`] reads.
    pub fn json(&self) -> Value {
        let constants: serde_json::Map<String, Value> = self
            .rows()
            .map(|(key, value, source)| {
                (key.name.to_owned(), json!({ "value": value, "source": source }))
            })
            .collect();
        json!({
            "name": self.name, "title": self.title, "arch": self.arch, "constants": constants,
        })
    }

    /// [`Gpu::json`] with a line for each constant.
    pub fn file(&self) -> String {
        let mut text = format!(
            "{{\n  \"name\": {},\n  \"title\": {},\n  \"arch\": {},\n  \"constants\": {{\n",
            json!(self.name),
            json!(self.title),
            self.arch
        );
        let rows: Vec<String> = self
            .rows()
            .map(|(key, value, source)| {
                let (name, value, source) = (json!(key.name), json!(value), json!(source));
                format!("    {name}: {{ \"value\": {value}, \"source\": {source} }}")
            })
            .collect();
        text.push_str(&rows.join(",\n"));
        text.push_str("\n  }\n}\n");
        text
    }
}

/// Value and source of an entry, or what was found and what was expected.
fn constant(entry: &Value) -> Result<(f64, String), (String, &'static str)> {
    let expected = "an object with a number `value` and words as `source`, and nothing else";
    let wrong = || (entry.to_string(), expected);
    let object = entry.as_object().ok_or_else(wrong)?;
    if object.keys().any(|key| key != "value" && key != "source") {
        return Err(wrong());
    }
    let value = object.get("value").and_then(Value::as_f64).ok_or_else(wrong)?;
    let source = object.get("source").and_then(Value::as_str).ok_or_else(wrong)?;
    if source.trim().is_empty() || !value.is_finite() {
        return Err(wrong());
    }
    Ok((value, source.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_whole_and_reads_back_as_written() {
        for name in Gpu::names() {
            let gpu = Gpu::find(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(gpu.name, name);
            assert_eq!(Gpu::parse("again", &gpu.file()), Ok(gpu.clone()), "{name}");
            assert_eq!(Gpu::parse("again", &gpu.json().to_string()), Ok(gpu), "{name}");
        }
    }

    #[test]
    fn the_rates_are_the_data_sheets() {
        // SMs, FP16 tensor TFLOPS of the card's data sheet (dense), part of them that is assumed.
        let sheets = [
            ("h100", 132.0, 2.0 * 132.0 * 1.755e9 * 2048.0, 0.625),
            ("a100", 108.0, 312e12, 1.0),
            ("l4", 58.0, 121e12, 1.0),
            ("rtx4090", 128.0, 165.2e12, 1.0),
            ("t4", 40.0, 65e12, 1.0),
        ];
        for (name, multiprocessors, flops, part) in sheets {
            let Constants { multiprocessors: found, clock_ghz, tensor_macs, .. } =
                Gpu::find(name).unwrap().constants;
            assert_eq!(found, multiprocessors, "{name}");
            let reached = 2.0 * found * clock_ghz * 1e9 * tensor_macs / (flops * part);
            assert!((0.97..1.03).contains(&reached), "{name}: {reached}");
        }
    }

    #[test]
    fn a_name_that_is_not_known_gets_the_list_and_the_nearest() {
        let said = Gpu::find("h10").unwrap_err().to_string();
        assert!(
            said.contains("did you mean h100?") && said.contains("rtx4090, t4, orin"),
            "{said}"
        );
        let said = Gpu::find("quantum").unwrap_err().to_string();
        assert!(!said.contains("did you mean"), "{said}");
    }

    fn edited(edit: impl FnOnce(&mut Value)) -> String {
        let mut value = Gpu::find("h100").unwrap().json();
        edit(&mut value);
        Gpu::parse("mine.json", &value.to_string()).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_file_is_named_with_its_key_and_what_was_found() {
        let said = edited(|v| v["constants"]["clock_ghz"]["value"] = json!(-1.0));
        assert_eq!(said, "mine.json: clock_ghz: found -1, expected 0.1 to 10 GHz");
        let said = edited(|v| v["constants"]["l2_mib"]["value"] = json!("40"));
        assert!(said.starts_with("mine.json: l2_mib: found {"), "{said}");
        let said = edited(|v| v["constants"]["l2_cycles"]["source"] = json!(" "));
        assert!(said.contains("l2_cycles") && said.contains("`source`"), "{said}");
        let said = edited(|v| v["constants"]["l2_cycles"]["remark"] = json!(1));
        assert!(said.contains("nothing else"), "{said}");
        let said = edited(|v| {
            v["constants"].as_object_mut().unwrap().remove("launch_us");
        });
        assert!(said.starts_with("mine.json: launch_us: found nothing"), "{said}");
        let said = edited(|v| v["constants"]["luanch_us"] = json!({ "value": 1, "source": "x" }));
        assert!(said.starts_with("mine.json: luanch_us: found this key"), "{said}");
        let said = edited(|v| v["arch"] = json!(61));
        assert!(said.contains("arch: found 61"), "{said}");
        let said = edited(|v| v["multiprocessors"] = json!(3));
        assert!(said.contains("only name, title, arch, constants"), "{said}");
        let said = edited(|v| v["constants"]["multiprocessors"]["value"] = json!(1.5));
        assert!(said.contains("a whole number"), "{said}");
        let said = edited(|v| v["constants"]["dram_cycles"]["value"] = json!(100.0));
        assert!(said.contains("at least l2_cycles"), "{said}");
        for text in ["", "[]", "{\"name\": NaN}", "{\"name\": 1, \"name\": 2}", "1e999"] {
            let said = Gpu::parse("mine.json", text).unwrap_err().to_string();
            assert!(said.starts_with("mine.json: "), "{said}");
        }
        let text = Gpu::find("h100").unwrap().file().replacen("0.72", "1e999", 1);
        assert!(Gpu::parse("mine.json", &text).is_err());
    }
}
