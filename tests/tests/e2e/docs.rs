//! The documentation is true where a program can tell: links, headings, commands, paths and names of tests exist,
//! examples are the tested ones, and the words are those of the glossary.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use epr_testkit::process::program;
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every file of the project below `folder`, without build results and data.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", "node_modules", "data", "artifacts", "corpus"].contains(&name) && !name.starts_with('.') {
                files(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// The folders of the project that have pages; a working copy may have others.
const FOLDERS: [&str; 11] = [
    "docs",
    "epr-client",
    "epr-core",
    "examples",
    "fuzz",
    "infra",
    "migrations",
    "no-public-roots",
    "runtimes",
    "scripts",
    "tests",
];

/// Every page, by its path from the root.
fn pages() -> BTreeMap<String, String> {
    let mut found: Vec<_> = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    for folder in FOLDERS {
        files(&root().join(folder), &mut found);
    }
    found.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of a page outside of fenced blocks, and those inside.
fn prose_and_blocks(page: &str) -> (String, String) {
    let (mut prose, mut blocks, mut fenced) = (String::new(), String::new(), false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let part = if fenced { &mut blocks } else { &mut prose };
        part.push_str(line);
        part.push('\n');
    }
    (prose, blocks)
}

/// The texts between backticks.
fn code_spans(prose: &str) -> impl Iterator<Item = &str> {
    prose.split('`').skip(1).step_by(2)
}

/// Prose without its code spans.
fn without_code(prose: &str) -> String {
    prose.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let (prose, _) = prose_and_blocks(page);
    let mut seen = BTreeMap::<String, usize>::new();
    let mut found = BTreeSet::new();
    for heading in prose.lines().filter(|line| line.starts_with('#')) {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>();
        let count = seen.entry(slug.clone()).or_default();
        found.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages();
    let mut broken = Vec::new();
    for (name, page) in &pages {
        let (prose, _) = prose_and_blocks(page);
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
            let folder = root().join(name).parent().unwrap().to_path_buf();
            let file = if path.is_empty() { root().join(name) } else { folder.join(path) };
            let headings = || anchors(&fs::read_to_string(&file).unwrap_or_default());
            if !file.exists() || anchor.is_some_and(|anchor| !headings().contains(anchor)) {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_script_and_package_that_a_page_names_exists() {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    let manifests = paths.iter().filter(|path| path.ends_with("Cargo.toml"));
    let packages: BTreeSet<String> = manifests
        .filter_map(|path| {
            fs::read_to_string(path)
                .unwrap()
                .lines()
                .find_map(|line| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned()))
        })
        .collect();
    let mut missing = Vec::new();
    for (name, page) in &pages() {
        let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        for (at, _) in page.match_indices("scripts/") {
            let before = page[..at].chars().next_back();
            let path: String = page[at..].chars().take_while(|c| is_path(*c)).collect();
            let path = path.trim_end_matches(['.', '/']);
            let ends = [".sh", ".py", ".toml"].iter().any(|ending| path.ends_with(ending));
            // The older service's scripts are named on the page about its commands.
            let ours = before.is_none_or(|c| !is_path(c)) && !path.contains("verify_audit_chain");
            if ours && ends && !root().join(path).exists() {
                missing.push(format!("{name}: {path}"));
            }
        }
        let words: Vec<&str> = page.split_whitespace().map(|word| word.trim_matches(['`', ')', '.', ','])).collect();
        for pair in words.windows(2).filter(|pair| ["-p", "--package"].contains(&pair[0]) && pair[1].starts_with("epr"))
        {
            if !packages.contains(pair[1]) {
                missing.push(format!("{name}: package {}", pair[1]));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// The names below "Commands:" in a help text.
fn commands_in(help: &str) -> BTreeSet<String> {
    let rest = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    rest.filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect()
}

async fn help(words: &[&str]) -> String {
    let output = Command::new(program("epr")).env_clear().args(words).arg("--help").output().await.unwrap();
    assert!(output.status.success(), "epr {words:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn every_command_that_a_page_names_exists() {
    let mut known = BTreeMap::new();
    for command in commands_in(&help(&[]).await).into_iter().filter(|command| command != "help") {
        let below = commands_in(&help(&[&command]).await);
        known.insert(command, below);
    }
    assert!(known.len() > 10, "{known:?}");
    let mut wrong = Vec::new();
    for (name, page) in &pages() {
        let (prose, blocks) = prose_and_blocks(page);
        let spans = code_spans(&prose).map(str::to_owned);
        let typed = blocks.lines().map(|line| line.trim_start_matches("$ ").to_owned());
        for line in spans.chain(typed) {
            let line = line.replace("cargo run -q -p epr-cli -- ", "epr ");
            let Some(rest) = line.strip_prefix("epr ") else { continue };
            let mut words = rest.split_whitespace();
            let is_word =
                |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
            let Some(first) = words.next().filter(is_word) else { continue };
            let Some(below) = known.get(first) else {
                wrong.push(format!("{name}: epr {first}"));
                continue;
            };
            if let Some(second) = words.next().filter(is_word)
                && !below.is_empty()
                && !below.contains(second)
            {
                wrong.push(format!("{name}: epr {first} {second}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    let mut paths = Vec::new();
    files(&root(), &mut paths);
    let paths: Vec<String> =
        paths.iter().map(|path| format!("/{}", path.strip_prefix(root()).unwrap().display())).collect();
    let mut missing = Vec::new();
    for (name, page) in &pages() {
        for span in code_spans(&prose_and_blocks(page).0) {
            let is_source = matches!(Path::new(span).extension().and_then(OsStr::to_str), Some("rs" | "tsv"));
            let is_path = !span.contains([' ', '*', '{', '…']);
            if is_source && is_path && !paths.iter().any(|path| path.ends_with(&format!("/{span}"))) {
                missing.push(format!("{name}: {span}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_test_that_the_table_of_promises_names_exists() {
    let page = fs::read_to_string(root().join("docs/CONTRACT-COVERAGE.md")).unwrap();
    let mut missing = Vec::new();
    let rows = page.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    let tests = code_spans(&rows).filter(|span| span.contains("::") && !span.contains('/'));
    for span in tests.filter(|span| !span.starts_with("ledger::number")) {
        let (suite, test) = span.strip_prefix("soak: ").map_or(("e2e", span), |test| ("soak", test));
        let (module, function) = test.split_once("::").unwrap();
        let file = root().join(format!("tests/tests/{suite}/{module}.rs"));
        let source = fs::read_to_string(&file).unwrap_or_default();
        let stem = function.trim_end_matches('*');
        if source.is_empty() || !source.contains(stem) {
            missing.push(span.to_owned());
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_embedding_page_shows_what_is_tested() {
    let page = fs::read_to_string(root().join("docs/EMBEDDING.md")).unwrap();
    let source = include_str!("embedding_page.rs");
    let examples: Vec<&str> = source
        .split("// example: ")
        .skip(1)
        .filter_map(|rest| rest.split_once('\n'))
        .map(|(_, rest)| rest.split("// end").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        assert!(page.contains(&format!("```rust\n{example}```")), "docs/EMBEDDING.md lacks this text:\n{example}");
    }
}

/// Phrases that the language of the project does not use, in lower case: household metaphors and sentences without a
/// clear subject.
const PHRASES: &[&str] = &[
    "a stranger",
    "are away",
    "are told",
    "at fault",
    "be told",
    "been told",
    "beside yardsticks",
    "came to be",
    "can be told",
    "counts as",
    "doubtful",
    "figure",
    "figures",
    "forgets",
    "forgotten",
    "gave up on it",
    "gets into",
    "gets through",
    "go behind",
    "goes behind",
    "goes on",
    "gone silent",
    "got through",
    "hand back",
    "heard of",
    "hears",
    "held against",
    "hold against",
    "holds against",
    "is away",
    "is given away",
    "is held by",
    "is told",
    "kept aside",
    "knows nothing of",
    "lie in",
    "look after",
    "looked after",
    "looking after",
    "made anew",
    "make anew",
    "nobody",
    "own code",
    "patience",
    "puts in doubt",
    "says nothing",
    "settle",
    "settled",
    "settles",
    "stand against",
    "stands",
    "stands in",
    "strangers",
    "takes no place",
    "tells",
    "told",
    "told apart",
    "went away",
    "what came of",
    "what is left",
    "what is there",
    "whoever",
];

/// Where a phrase is right: the page and the text around it.
const EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn the_words_are_those_of_the_field() {
    let mut found = Vec::new();
    for (name, page) in &pages() {
        let prose = without_code(&prose_and_blocks(page).0);
        let words = prose.split_whitespace().collect::<Vec<_>>().join(" ");
        let plain = words.to_lowercase();
        let edge = |at: usize| plain[at..].chars().next().is_none_or(|c| !c.is_alphanumeric());
        for phrase in PHRASES {
            for (at, _) in plain.match_indices(phrase) {
                let begins = plain[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
                let from = plain[..at].char_indices().rev().nth(40).map_or(0, |(index, _)| index);
                let to = plain[at..].char_indices().nth(60).map_or(plain.len(), |(index, _)| at + index);
                let around = &plain[from..to];
                let allowed = EXCEPTIONS.iter().any(|(page, text)| page == name && around.contains(text));
                if begins && edge(at + phrase.len()) && !allowed {
                    found.push(format!("{name}: “{phrase}” in “{around}”"));
                }
            }
        }
    }
    assert_eq!(found, Vec::<String>::new(), "see CONTRIBUTING.md, \"Language\"");
}
