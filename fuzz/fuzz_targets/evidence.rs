//! What stands beside a checkpoint, and what it says of itself: notes, or settings that a packed file
//! may have.
//!
//! The first byte chooses family and variant. Then, with a zero byte between them: `config.json`,
//! `preprocessor_config.json`, and facts, one `key=value` a line.

#![no_main]

use effnet::arch::{Size, Variant};
use effnet::weights::import::Facts;
use effnet::weights::{Family, Labels, Metadata, told_beside};
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|data: &[u8]| {
    let Some((form, rest)) = data.split_first() else { return };
    let mut parts = rest.splitn(3, |&byte| byte == 0);
    let folder = std::env::temp_dir().join(format!("effnet-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    for name in ["config.json", "preprocessor_config.json"] {
        fs::write(folder.join(name), parts.next().unwrap_or_default()).expect("a temporary file");
    }
    let facts: Facts = String::from_utf8_lossy(parts.next().unwrap_or_default())
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let families = [Family::Timm, Family::TimmTf, Family::Transformers];
    let family = families[usize::from(form % 3)];
    let variants: Vec<Variant> = Variant::all().collect();
    let variant = variants[usize::from(form / 3) % variants.len()];
    let path = folder.join("model.safetensors");
    for asked in [false, true] {
        let (recipe, labels) = told_beside(&path, &facts, (family, variant), asked);
        if let Some(size) = recipe.size {
            assert!([size.h, size.w].iter().all(|side| (1..=Size::MAX_SIDE).contains(side)));
        }
        if let Some(Labels::Names(names)) = labels {
            assert!((1..=Metadata::MAX_CLASSES).contains(&names.len()));
        }
    }
});
