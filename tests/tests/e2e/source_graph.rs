//! The graph of imports between the source files of a crate, for `architecture.rs`.
//!
//! The rules:
//! - An edge goes from a file to the file that defines what one of its paths names: `use crate::…`, `super::…`,
//!   `self::…`, or a path that begins with the name of a child module. Paths in `use` items and elsewhere in the code
//!   count alike.
//! - A path is resolved through re-exports: `use crate::store::Page` leads to `store/page.rs`, not to `store/mod.rs`
//!   that names it. What is defined in a `mod.rs` leads to the `mod.rs`, which is a file of its own.
//! - A re-export is an edge only if the file uses the name itself. A `mod` declaration is none.
//! - A file that two modules compile (`#[path]`) is one file with the edges of both.
//! - Code under `#[cfg(test)]` does not count: a test may look wherever it likes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

type ModulePath = Vec<String>;

/// The modules of a crate and what each of them names.
pub struct SourceGraph {
    root: PathBuf,
    modules: BTreeMap<ModulePath, Module>,
}

struct Module {
    file: PathBuf,
    /// Without comments, texts, `use` items and tests.
    code: String,
    /// Paths of `use` items, and whether they are re-exports.
    uses: Vec<(Vec<String>, String, bool)>,
}

impl SourceGraph {
    /// Reads the crate whose `lib.rs` is in `folder`.
    pub fn read(folder: &Path) -> Self {
        let mut graph = Self { root: normal(folder), modules: BTreeMap::new() };
        graph.add(Vec::new(), &folder.join("lib.rs"), folder);
        graph
    }

    fn add(&mut self, path: ModulePath, file: &Path, children: &Path) {
        let text = without_comments(&fs::read_to_string(file).unwrap());
        let code = without_tests(&without_texts(&text));
        let (code, uses) = split_uses(&code);
        for (name, given) in
            declared_modules(&text).into_iter().filter(|(name, _)| code.contains(&format!("mod {name};")))
        {
            // A file that `#[path]` names has its children beside it.
            let (child, folder) = match given {
                Some(given) => {
                    (file.parent().unwrap().join(&given), file.parent().unwrap().join(given).parent().unwrap().into())
                }
                None if children.join(format!("{name}.rs")).exists() => {
                    (children.join(format!("{name}.rs")), children.join(&name))
                }
                None => (children.join(&name).join("mod.rs"), children.join(&name)),
            };
            self.add([path.clone(), vec![name]].concat(), &child, &folder);
        }
        self.modules.insert(path, Module { file: normal(file), code, uses });
    }

    /// The files that each file depends on.
    pub fn edges(&self) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
        let mut edges: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (path, module) in &self.modules {
            let from = edges.entry(module.file.clone()).or_default();
            let used = module.uses.iter().filter(|(_, name, is_export)| !is_export || names(&module.code, name));
            let mut paths: Vec<Vec<String>> = used.map(|(path, ..)| path.clone()).collect();
            paths.extend(paths_in(&module.code));
            let found = paths.iter().filter_map(|named| self.resolve(path, named, &mut HashSet::new()));
            from.extend(found.filter(|file| *file != module.file));
        }
        edges
    }

    /// The file that defines what `named` names in the module `at`; `None` when that is not in this crate.
    fn resolve(
        &self,
        at: &ModulePath,
        named: &[String],
        seen: &mut HashSet<(ModulePath, Vec<String>)>,
    ) -> Option<PathBuf> {
        if !seen.insert((at.clone(), named.to_vec())) {
            return None;
        }
        let mut current = at.clone();
        let mut rest = named;
        match named.first()?.as_str() {
            "crate" => {
                current.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|step| step == "super") {
                    current.pop();
                    rest = &rest[1..];
                }
            }
            child if self.modules.contains_key(&[at.clone(), vec![child.to_owned()]].concat()) => {}
            _ => return None,
        }
        while let Some(step) = rest.first() {
            let child = [current.clone(), vec![step.clone()]].concat();
            if self.modules.contains_key(&child) {
                current = child;
            } else if step != "self" {
                return Some(
                    self.re_exported(&current, step, seen).unwrap_or_else(|| self.modules[&current].file.clone()),
                );
            }
            rest = &rest[1..];
        }
        Some(self.modules[&current].file.clone())
    }

    /// The file that defines `name`, if the module `at` re-exports it.
    fn re_exported(
        &self,
        at: &ModulePath,
        name: &str,
        seen: &mut HashSet<(ModulePath, Vec<String>)>,
    ) -> Option<PathBuf> {
        let module = &self.modules[at];
        let exports = || module.uses.iter().filter(|(_, _, is_export)| *is_export);
        let mut by_name = exports().filter(|(_, exported, _)| exported == name);
        if let Some(file) = by_name.find_map(|(path, ..)| self.resolve(at, path, seen)) {
            return Some(file);
        }
        let globs = exports().filter(|(_, exported, _)| exported == "*").filter_map(|(path, ..)| {
            let path = [&path[..path.len() - 1], &[name.to_owned()]].concat();
            self.resolve(at, &path, seen)
        });
        let found: Vec<_> = globs.filter(|file| *file != module.file).collect();
        found.into_iter().next()
    }

    /// The circles: sets of files of which each depends on each other one, by way of the others. Files whose paths
    /// begin with one of `unit` count as one file.
    pub fn circles(&self, unit: &[&str]) -> Vec<Vec<String>> {
        let contracted = |file: &Path| {
            let name = file.strip_prefix(&self.root).unwrap().to_string_lossy();
            if unit.iter().any(|start| name.starts_with(start)) { self.root.join(unit[0]) } else { file.to_path_buf() }
        };
        let mut edges: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
        for (from, to) in self.edges() {
            let from = contracted(&from);
            let to = to.iter().map(|to| contracted(to)).filter(|to| *to != from).collect::<Vec<_>>();
            edges.entry(from).or_default().extend(to);
        }
        let reach: BTreeMap<_, _> = edges.keys().map(|file| (file, reachable(&edges, file))).collect();
        let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
        for (file, reached) in &reach {
            if reached.contains(*file) {
                let others = reached.iter().filter(|other| reach[other].contains(*file));
                circles
                    .insert(others.map(|file| file.strip_prefix(&self.root).unwrap().display().to_string()).collect());
            }
        }
        circles.into_iter().collect()
    }
}

/// The files that can be reached from `start` by at least one edge.
fn reachable(edges: &BTreeMap<PathBuf, BTreeSet<PathBuf>>, start: &Path) -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&PathBuf> = edges[start].iter().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file.clone()) {
            open.extend(&edges[file]);
        }
    }
    reached
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.canonicalize().unwrap()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Replaces texts, and comments at the ends of lines.
fn without_texts(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        let raw = (c == 'r' && matches!(next, Some('"' | '#')) && !code.ends_with(is_word)).then(|| {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
        });
        if let Some(Some(hashes)) = raw {
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            at += hashes + 2;
            while !chars[at..].starts_with(&end) {
                at += 1;
            }
            at += end.len();
            code.push_str("\"\"");
        } else if c == '"' {
            at += 1;
            while chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            code.push_str("\"\"");
        } else if c == '\'' && (next == Some('\\') || chars.get(at + 2) == Some(&'\'')) {
            at += 2;
            while chars[at] != '\'' {
                at += 1;
            }
            // An escaped quote.
            at += if chars.get(at + 1) == Some(&'\'') && chars[at - 1] == '\\' { 2 } else { 1 };
            code.push_str("' '");
        } else if c == '/' && next == Some('/') {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else {
            code.push(c);
            at += 1;
        }
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Removes each item under `#[cfg(test)]`: to the end of its braces, or to its semicolon.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..start]);
        let item = &rest[start..];
        let mut depth = 0;
        let end = item.char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, ';' | '}')).then_some(at + 1)
        });
        rest = &item[end.unwrap()..];
    }
    kept + rest
}

/// The modules that a file declares, with their `#[path]`.
fn declared_modules(text: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut given = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            given = path.strip_suffix("\"]").map(str::to_owned);
            continue;
        }
        let item = line.strip_suffix(';').and_then(|line| line.split_once("mod "));
        if let Some((visibility, name)) = item
            && (visibility.is_empty() || visibility.starts_with("pub"))
            && name.chars().all(is_word)
        {
            found.push((name.to_owned(), given.take()));
        }
        if !line.starts_with("#[") {
            given = None;
        }
    }
    found
}

/// The code without its `use` items, and those: each path, the name it gets, and whether it is re-exported.
fn split_uses(text: &str) -> (String, Vec<(Vec<String>, String, bool)>) {
    let (mut code, mut uses) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(start) = rest.match_indices("use ").map(|(at, _)| at).find(|at| !rest[..*at].ends_with(is_word)) {
        let line = rest[..start].rfind('\n').map_or(0, |at| at + 1);
        let before = rest[line..start].trim();
        let end = start + rest[start..].find(';').unwrap();
        if before.is_empty() || before.starts_with("pub") {
            code.push_str(&rest[..line]);
            expand(&rest[start + 4..end], &[], before.starts_with("pub"), &mut uses);
        } else {
            code.push_str(&rest[..end]);
        }
        rest = &rest[end + 1..];
    }
    (code + rest, uses)
}

/// Expands `a::{b, c as d}`.
fn expand(tree: &str, prefix: &[String], is_export: bool, uses: &mut Vec<(Vec<String>, String, bool)>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let prefix: Vec<String> = prefix.iter().cloned().chain(steps(head)).collect();
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        let (mut depth, mut start) = (0, 0);
        for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !group[start..at].trim().is_empty() {
                        expand(&group[start..at], &prefix, is_export, uses);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let path: Vec<String> = prefix.iter().cloned().chain(steps(path)).collect();
    let name = alias.map_or_else(|| path.iter().rfind(|step| *step != "self").cloned(), |alias| Some(alias.to_owned()));
    uses.push((path, name.unwrap_or_default(), is_export));
}

fn steps(path: &str) -> impl Iterator<Item = String> + '_ {
    path.split("::").map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned)
}

/// The paths of at least two steps in code.
fn paths_in(code: &str) -> Vec<Vec<String>> {
    let words = code.split(|c: char| !(is_word(c) || c == ':'));
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    paths.map(|word| steps(word).collect()).collect()
}

/// Whether `code` holds `name` as a word, `mod` declarations aside.
fn names(code: &str, name: &str) -> bool {
    let is_declaration = |line: &str| line.ends_with(';') && line.split_whitespace().rev().nth(1) == Some("mod");
    let lines = code.lines().filter(|line| !is_declaration(line.trim()));
    lines.flat_map(|line| line.split(|c: char| !is_word(c))).any(|word| word == name)
}
