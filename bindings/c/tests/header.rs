//! `include/effnet.h` is what cbindgen makes of the sources, and `symbols.txt` lists its functions.
//!
//! `EFFNET_WRITE_HEADER=1 cargo test -p effnet-c --test header` writes both anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// In the order of the header.
const SOURCES: [&str; 10] = [
    "version.rs",
    "status.rs",
    "error.rs",
    "device.rs",
    "model.rs",
    "options.rs",
    "session.rs",
    "image.rs",
    "run.rs",
    "import.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The header that the sources make.
fn made() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join("src").join(source));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    let header = String::from_utf8(header).unwrap();
    let lines: Vec<&str> = header.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// The functions that a header declares.
fn functions(header: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let declared = header.lines().filter(|line| {
        let begins = line.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        begins && line.contains('(') && !line.starts_with("typedef")
    });
    declared
        .filter_map(|line| line.split('(').next()?.rsplit(|c| !is_name(c)).next())
        .map(str::to_owned)
        .collect()
}

/// The functions of the sources, told by their attribute.
fn exported() -> BTreeSet<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect();
    files.sort();
    let mut names = BTreeSet::new();
    for file in files {
        let text = read(&file);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim() == "#[unsafe(no_mangle)]" {
                let declared = lines.next().unwrap();
                let name = declared.split("fn ").nth(1).unwrap().split('(').next().unwrap();
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn the_header_is_that_of_the_sources() {
    let made = made();
    let symbols: String = functions(&made).iter().map(|name| format!("{name}\n")).collect();
    if std::env::var_os("EFFNET_WRITE_HEADER").is_some() {
        std::fs::write(root().join("include/effnet.h"), &made).unwrap();
        std::fs::write(root().join("symbols.txt"), &symbols).unwrap();
    }
    let advice = "run EFFNET_WRITE_HEADER=1 cargo test -p effnet-c --test header, and look at the \
                  difference";
    assert!(
        read("include/effnet.h") == made,
        "include/effnet.h differs from the sources: {advice}"
    );
    assert_eq!(read("symbols.txt"), symbols, "symbols.txt: {advice}");
}

#[test]
fn every_function_of_the_sources_is_in_the_header() {
    let exported = exported();
    assert!(exported.len() > 20, "{exported:?}");
    assert_eq!(functions(&made()), exported);
    assert!(exported.iter().all(|name| name.starts_with("effnet_")), "{exported:?}");
}
