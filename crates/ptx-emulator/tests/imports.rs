//! Which file of the crate imports which: the graph has no circle, so that the files can be read
//! one after the other, and each by itself.
//!
//! Read are `use` lines and written-out paths. A name that a module only passes on (`pub use`)
//! counts as the file that defines it, and a `pub use` by itself as no import. Modules under
//! `#[cfg(test)]` are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file of a crate: its module, and what it names.
struct File {
    module: Vec<String>,
    uses: Vec<Use>,
    /// Paths outside of `use`, of two segments or more.
    paths: Vec<Vec<String>>,
    /// Modules that it declares in files of their own.
    children: Vec<String>,
}

/// One name that a `use` brings into a module.
struct Use {
    name: String,
    path: Vec<String>,
    is_public: bool,
}

/// Text without comments and without the contents of strings and characters.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
        } else if c == '"' {
            let mut escaped = false;
            let is_end = |c: char| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            };
            rest[1..].find(is_end).map_or(rest.len(), |end| end + 2)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
            continue;
        }
        // Of a lifetime, and everything else.
        code.push(c);
        rest = &rest[c.len_utf8()..];
        // The `r` at the end of a name begins no raw string.
        if c.is_alphanumeric() || c == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            code.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    code
}

/// Of `r"`, `r#"` and so on: the number of `#`.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Bytes of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            // What is escaped may itself be a quote.
            let _ = chars.next();
            chars.find(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1)
        }
        _ => chars.next().filter(|&(_, c)| c == '\'').map_or(0, |(at, _)| at + 1),
    }
}

/// Names, `::`, and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_name(c) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The tokens without the items that are for tests only.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].starts_with(&TEST) {
            kept.push(tokens[at]);
            at += 1;
            continue;
        }
        at += TEST.len();
        // The item ends at its semicolon or with its braces.
        let mut depth = 0;
        while at < tokens.len() {
            let token = tokens[at];
            at += 1;
            depth += i32::from(token == "{") - i32::from(token == "}");
            if depth == 0 && (token == ";" || token == "}") {
                break;
            }
        }
    }
    kept
}

/// The names of a `use` tree whose part before it is `head`; returns the tokens after the tree.
fn tree<'a, 'b>(mut tokens: &'b [&'a str], head: &[&'a str], uses: &mut Vec<Use>) -> &'b [&'a str] {
    let mut path = head.to_vec();
    loop {
        match tokens {
            // Of `$crate`, in a macro.
            ["$", rest @ ..] => tokens = rest,
            ["{", rest @ ..] => {
                tokens = rest;
                while tokens[0] != "}" {
                    tokens = tree(tokens, &path, uses);
                    if tokens[0] == "," {
                        tokens = &tokens[1..];
                    }
                }
                return &tokens[1..];
            }
            [name, "::", rest @ ..] => {
                path.push(name);
                tokens = rest;
            }
            [last, rest @ ..] => {
                if *last != "self" {
                    path.push(last);
                }
                let (name, rest) = match rest {
                    ["as", name, rest @ ..] => (*name, rest),
                    _ => (path[path.len() - 1], rest),
                };
                let path = path.iter().map(|&name| name.to_owned()).collect();
                uses.push(Use { name: name.to_owned(), path, is_public: false });
                return rest;
            }
            [] => panic!("a use without an end"),
        }
    }
}

fn read(module: &[String], text: &str) -> File {
    let code = code(text);
    let tokens = without_tests(&tokens(&code));
    let (mut uses, mut paths, mut children) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = tokens.as_slice();
    let mut is_public = false;
    while let Some((first, after)) = rest.split_first() {
        match (*first, after) {
            ("pub", ["(", _, ")", after @ ..]) => {
                (is_public, rest) = (true, after);
                continue;
            }
            ("pub", _) => {
                (is_public, rest) = (true, after);
                continue;
            }
            ("use", _) => {
                let first = uses.len();
                rest = tree(after, &[], &mut uses);
                uses[first..].iter_mut().for_each(|entry| entry.is_public = is_public);
            }
            ("mod", [name, ";", after @ ..]) => {
                children.push((*name).to_owned());
                rest = after;
            }
            (_, ["::", ..]) => {
                let mut path = vec![(*first).to_owned()];
                rest = after;
                while let ["::", name, after @ ..] = rest
                    && name.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                {
                    path.push((*name).to_owned());
                    rest = after;
                }
                // Of `Vec::<u8>` the rest is none.
                rest = rest.strip_prefix(&["::"]).unwrap_or(rest);
                paths.push(path);
            }
            _ => rest = after,
        }
        is_public = false;
    }
    File { module: module.to_vec(), uses, paths, children }
}

/// The files of a crate by name, from `lib.rs` on; `text` gives a file's text if there is one.
fn files(text: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    let mut open = vec![("lib.rs".to_owned(), Vec::new())];
    while let Some((name, module)) = open.pop() {
        let file = read(&module, &text(&name).unwrap_or_else(|| panic!("no file {name}")));
        for child in &file.children {
            let mut module = module.clone();
            module.push(child.clone());
            let stem = module.join("/");
            let names = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
            let found = names.into_iter().find(|name| text(name).is_some());
            open.push((found.unwrap_or_else(|| panic!("no file of module {stem}")), module));
        }
        files.insert(name, file);
    }
    files
}

/// Which file imports which.
struct Imports<'a> {
    files: &'a BTreeMap<String, File>,
    by_module: BTreeMap<&'a [String], &'a str>,
}

impl<'a> Imports<'a> {
    fn graph(files: &'a BTreeMap<String, File>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let by_module =
            files.iter().map(|(name, file)| (file.module.as_slice(), name.as_str())).collect();
        let imports = Imports { files, by_module };
        files.iter().map(|(name, file)| (name.as_str(), imports.of(name, file))).collect()
    }

    fn of(&self, name: &str, file: &File) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut modules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for entry in &file.uses {
            let Some(path) = self.absolute(file, &entry.path) else { continue };
            // A module's own name is no import; what is named through it is.
            if self.by_module.contains_key(path.as_slice()) {
                modules.insert(&entry.name, path);
            } else if !entry.is_public {
                found.insert(self.defined_in(path));
            }
        }
        for path in &file.paths {
            let absolute = match modules.get(path[0].as_str()) {
                Some(module) => Some([module, &path[1..]].concat()),
                None => self.absolute(file, path),
            };
            found.extend(absolute.map(|path| self.defined_in(path)));
        }
        found.remove(name);
        found
    }

    /// The path from the crate's root; none for what is of another crate, or no path of modules.
    fn absolute(&self, file: &File, path: &[String]) -> Option<Vec<String>> {
        let module = &file.module;
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        Some(match path[0].as_str() {
            "crate" => path[1..].to_vec(),
            "super" => [&module[..module.len().checked_sub(ups)?], &path[ups..]].concat(),
            "self" => [module, &path[1..]].concat(),
            child if file.children.iter().any(|name| name == child) => [module, path].concat(),
            _ => return None,
        })
    }

    /// The file that defines what a path from the root names.
    fn defined_in(&self, mut path: Vec<String>) -> &'a str {
        // Longer than any chain of names that are passed on.
        for _ in 0..16 {
            let modules = (0..=path.len()).rev();
            let length = modules
                .into_iter()
                .find(|&length| self.by_module.contains_key(&path[..length]))
                .unwrap_or(0);
            let name = self.by_module[&path[..length]];
            let file = &self.files[name];
            let Some(item) = path.get(length) else { return name };
            let passed_on = file.uses.iter().find(|entry| entry.name == *item);
            match passed_on.and_then(|entry| self.absolute(file, &entry.path)) {
                // A macro of the file may name what the file itself defines.
                Some(further) if further[..] != path[..=length] => {
                    path = [&further, &path[length + 1..]].concat();
                }
                _ => return name,
            }
        }
        panic!("{path:?} is passed on in a circle");
    }
}

/// A circle of files, each of which imports the next; none where there is none.
fn circle<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn visit<'a>(
        file: &'a str,
        graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = way.iter().position(|&on| on == file) {
            return Some(way[start..].to_vec());
        }
        if done.contains(file) {
            return None;
        }
        way.push(file);
        let found = graph[file].iter().find_map(|&next| visit(next, graph, way, done));
        way.pop();
        done.insert(file);
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|&file| visit(file, graph, &mut Vec::new(), &mut done))
}

#[test]
fn files_import_each_other_in_one_direction() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files(&|name| fs::read_to_string(root.join(name)).ok());
    let graph = Imports::graph(&files);
    // What is read is really the crate.
    assert!(files.len() > 60, "{} files", files.len());
    for (file, imported) in [
        ("launch.rs", "group.rs"),
        ("arithmetic/float.rs", "arithmetic/form.rs"),
        ("accesses.rs", "memory/params.rs"),
        ("cli/run.rs", "memory/buffers.rs"),
    ] {
        assert!(graph[file].contains(imported), "{file} imports {:?}", graph[file]);
    }
    if let Some(circle) = circle(&graph) {
        panic!("these files import each other in a circle: {}", circle.join(" -> "));
    }
}

/// What the imports of a made-up crate are.
fn circle_of(texts: &[(&str, &str)]) -> Option<Vec<String>> {
    let find = |name: &str| texts.iter().find(|(n, _)| *n == name);
    let files = files(&|name| find(name).map(|(_, text)| (*text).to_owned()));
    let circle = circle(&Imports::graph(&files))?;
    Some(circle.into_iter().map(str::to_owned).collect())
}

#[test]
fn circles_are_found() {
    let root = ("lib.rs", "mod a; mod b;");
    let expected = Some(vec!["a.rs".to_owned(), "b.rs".to_owned()]);
    for back in [
        "use super::a::A;",
        "use super::{a::{self, A as C}, c};",
        "use crate::a; fn f() -> a::A { a::A }",
        "fn f() { crate::a::f() }",
        "const C: char = '\"'; use crate::a::A; const D: char = '\"';",
    ] {
        let found = circle_of(&[root, ("a.rs", "use crate::b::{B};"), ("b.rs", back)]);
        assert_eq!(found, expected, "{back}");
    }
    // Through what a parent passes on.
    let found = circle_of(&[
        ("lib.rs", "mod a; mod b; pub use a::A;"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "use super::A;"),
    ]);
    assert_eq!(found, expected);
    // A parent that uses a child which uses it.
    let found = circle_of(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod b; use b::B; pub struct A;"),
        ("a/b.rs", "use super::A; pub struct B;"),
    ]);
    assert_eq!(found, Some(vec!["a/b.rs".to_owned(), "a/mod.rs".to_owned()]));
}

#[test]
fn what_is_no_import_makes_no_circle() {
    let root = ("lib.rs", "mod a; mod b; pub use b::B;");
    for back in [
        "// use super::a::A;",
        "const TEXT: &str = \"use super::a::A;\";",
        "const TEXT: &str = r#\"\"use super::a::A;\"#;",
        "#[cfg(test)] mod tests { use crate::a::A; }",
        "#[cfg(test)] use super::a::A;",
        "pub use super::a::A;",
        "use std::a::A;",
    ] {
        let found = circle_of(&[root, ("a.rs", "use crate::b::B;"), ("b.rs", back)]);
        assert_eq!(found, None, "{back}");
    }
}
