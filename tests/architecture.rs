//! The table of ARCHITECTURE.md says what each room may import, and the sources are held to it.
//!
//! A room is a folder or a file of `src/` with a row of its own; a file belongs to the innermost
//! room that holds it. Counted are the paths in `use` items and in code, from `crate`, `super` or
//! `self`, and from `effnet` in the binary; what `#[cfg(test)]` covers is left out. A name that a
//! room takes over from a file inside it (`pub use`) counts as that file's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// A path of names, as in `["weights", "layout"]`.
type Names = Vec<String>;

/// A row of the table.
struct Room {
    path: Names,
    /// Rooms whose names it may use; none where it may use all.
    may_import: Option<Vec<Names>>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// The module of a file below `src/`, as in `["weights", "store"]` for `weights/store.rs`.
fn module_of(file: &Path) -> Names {
    let stem = file.with_extension("");
    let mut names: Names =
        stem.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn names(path: &str) -> Names {
    path.split("::").map(str::to_owned).collect()
}

/// The rows of ARCHITECTURE.md whose first cell names something in `src/`.
fn rooms() -> Vec<Room> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let mut rooms = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [place, _, may_import] = cells[..] else { continue };
        let may_import = match may_import {
            "everything" => None,
            "nothing" => Some(Vec::new()),
            list => Some(quoted(list).map(names).collect()),
        };
        for path in quoted(place).filter_map(|place| place.strip_prefix("src/")) {
            let path = path.trim_end_matches('/');
            let on_disk = root().join("src").join(path);
            assert!(on_disk.exists(), "ARCHITECTURE.md names src/{path}, which does not exist");
            let path = module_of(Path::new(path));
            rooms.push(Room { path, may_import: may_import.clone() });
        }
    }
    assert!(rooms.len() > 10, "ARCHITECTURE.md has no table of rooms any more");
    rooms
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every path that a file uses, made absolute.
struct Paths {
    module: Names,
    found: BTreeSet<Names>,
    /// Names that the file takes over from below, with where they are from.
    taken_over: BTreeMap<String, Names>,
}

impl Paths {
    /// The path from the crate's root; none for one that starts elsewhere.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" | "effnet" => (Vec::new(), &path[1..]),
            "self" => (self.module.clone(), &path[1..]),
            "super" => (self.module.clone(), path),
            _ => return None,
        };
        while rest.first().is_some_and(|name| name == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn tree(&mut self, before: &mut Names, tree: &syn::UseTree, public: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree, public);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.tree(before, item, public));
            }
            syn::UseTree::Glob(_) => self.used(before.clone()),
            syn::UseTree::Name(name) => self.leaf(before, name.ident.to_string(), None, public),
            syn::UseTree::Rename(rename) => {
                let name = rename.rename.to_string();
                self.leaf(before, rename.ident.to_string(), Some(name), public);
            }
        }
    }

    fn leaf(&mut self, before: &Names, name: String, renamed: Option<String>, public: bool) {
        let mut path = before.clone();
        if name != "self" {
            path.push(name.clone());
        }
        // `pub use child::Name` in a module: the child is below it.
        if public && !matches!(path[0].as_str(), "crate" | "super" | "self") {
            let from = [self.module.clone(), path.clone()].concat();
            self.taken_over.insert(renamed.unwrap_or(name), from);
        }
        self.used(path);
    }

    fn used(&mut self, path: Names) {
        self.found.extend(self.absolute(&path));
    }
}

fn only_in_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if only_in_tests(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !only_in_tests(&item.attrs) {
            let public = matches!(item.vis, syn::Visibility::Public(_));
            self.tree(&mut Vec::new(), &item.tree, public);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !only_in_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.used(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// The innermost room that holds a path.
fn room_of<'a>(rooms: &'a [Room], path: &[String]) -> Option<&'a Room> {
    let holds = |room: &&Room| !room.path.is_empty() && path.starts_with(&room.path);
    rooms.iter().filter(holds).max_by_key(|room| room.path.len())
}

#[test]
fn rooms_import_what_the_table_says() {
    let rooms = rooms();
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.sort();

    let mut modules = Vec::new();
    let mut taken_over: BTreeMap<Names, Names> = BTreeMap::new();
    for file in &files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = module_of(relative);
        // `tests.rs` and what is below a folder `tests` is `#[cfg(test)]` where it is declared.
        if module.iter().any(|name| name == "tests") {
            continue;
        }
        let syntax = syn::parse_file(&read(file)).unwrap_or_else(|e| panic!("{relative:?}: {e}"));
        let found = BTreeSet::new();
        let mut paths = Paths { module: module.clone(), found, taken_over: BTreeMap::new() };
        paths.visit_file(&syntax);
        for (name, from) in paths.taken_over {
            taken_over.insert([module.clone(), vec![name]].concat(), from);
        }
        modules.push((relative, module, paths.found));
    }

    let all_modules: BTreeSet<Names> =
        modules.iter().map(|(_, module, _)| module.clone()).collect();
    let mut wrong = BTreeSet::new();
    let mut used: BTreeSet<(&Names, &Names)> = BTreeSet::new();
    let mut seen = 0;
    for (file, module, found) in modules {
        // The root and the binary's entry only name the rooms.
        if module.is_empty() {
            continue;
        }
        let Some(room) = room_of(&rooms, &module) else {
            wrong.insert(format!("{}: no row of the table holds it", file.display()));
            continue;
        };
        let Some(may_import) = &room.may_import else { continue };
        for path in found {
            // A name through the room that takes it over is its origin's.
            // (A function may have the name of a module: `weights::import`.)
            let is_module = all_modules.iter().any(|m| path.starts_with(m) && m.len() > 1);
            let origin = (1..=path.len()).rev().find_map(|n| taken_over.get(&path[..n]));
            let path = origin.filter(|_| !is_module).unwrap_or(&path);
            let Some(imported) = room_of(&rooms, path) else { continue };
            seen += 1;
            let within = imported.path == room.path || path.starts_with(&room.path);
            let allowed = may_import.iter().find(|allowed| path.starts_with(allowed));
            used.extend(allowed.map(|allowed| (&room.path, allowed)));
            if !within && allowed.is_none() {
                wrong.insert(format!(
                    "{}: imports {}, of {}",
                    file.display(),
                    path.join("::"),
                    imported.path.join("::")
                ));
            }
        }
    }
    assert!(seen > 200, "only {seen} imports were seen");
    for room in &rooms {
        for allowed in room.may_import.iter().flatten() {
            if !used.contains(&(&room.path, allowed)) {
                let (room, allowed) = (room.path.join("/"), allowed.join("::"));
                wrong.insert(format!(
                    "src/{room}: the table allows {allowed}, which nothing there imports"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the table of ARCHITECTURE.md and the sources differ; change the import, or the table with \
         the reason for it:\n{}",
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// `std::thread::spawn` and `scope`, and rayon's own functions, panic where the system starts no
/// more threads: `Builder::spawn` gives an error, and `start_shared` starts rayon's.
#[test]
fn threads_are_started_with_an_error_value() {
    let mut files = Vec::new();
    for folder in ["src", "crates/ptx-emulator/src"] {
        sources(&root().join(folder), &mut files);
    }
    let mut builders = 0;
    for file in files {
        let text = read(&file);
        // What follows is for tests alone.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let text = text.split("#[cfg(all(test").next().unwrap_or_default();
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        if name.contains("/tests/") || name.ends_with("/tests.rs") {
            continue;
        }
        for call in ["thread::spawn(", "thread::scope(", "rayon::spawn(", "rayon::join("] {
            assert!(!text.contains(call), "{name} calls {call}...)");
        }
        builders += text.matches(".spawn(").count();
        // The pool of decoding threads is built with an error value; all else is the shared one.
        let shares = text.contains("rayon::prelude") && !text.contains("ThreadPoolBuilder");
        let starts = ["crates/ptx-emulator/src/launch.rs", "src/estimate/run.rs", "src/verify/"];
        assert!(!shares || starts.iter().any(|start| name.starts_with(start)), "{name}: rayon");
    }
    assert!(builders >= 4, "only {builders} threads are started");
}
