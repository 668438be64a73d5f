//! The suite exercises every method of the contract.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The methods that the traits of a file of the contract declare. `LedgerVisitor` is what a caller implements.
fn methods(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_trait = false;
    for line in text.lines() {
        if line.starts_with("pub trait ") {
            in_trait = !line.contains("Visitor");
        } else if line.starts_with('}') {
            in_trait = false;
        }
        let code = line.trim_start();
        let declared = code.strip_prefix("async fn ").or_else(|| code.strip_prefix("fn "));
        if let (true, Some(rest)) = (in_trait, declared) {
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            found.insert(name.to_owned());
        }
    }
    found
}

#[test]
fn every_method_of_the_contract_is_exercised_by_the_file_of_its_subject() {
    let contract = root().join("epr-core/src/store/contract");
    let mut subjects = 0;
    let mut missing = Vec::new();
    for file in fs::read_dir(contract).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let declared = methods(&fs::read_to_string(&path).unwrap());
        if declared.is_empty() {
            continue;
        }
        subjects += 1;
        let suite = root().join("tests/tests/store").join(&name);
        let suite = fs::read_to_string(&suite).unwrap_or_else(|_| panic!("the suite has no file {name}"));
        missing.extend(
            declared
                .iter()
                .filter(|method| !suite.contains(&format!(".{method}(")))
                .map(|one| format!("{name}: {one}")),
        );
    }
    assert!(subjects >= 8, "the contract was not found: {subjects} subjects");
    assert_eq!(missing, Vec::<String>::new(), "methods without a test");
}
