//! Exports: each change of a line, of the order of lines, and of everything behind it.

use super::{Ledger, assert_found, assert_unreadable, line, text};
use crate::export::{Verified, verify};
use crate::finding::{Level, Stop};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::hex;

/// More than the blocks that are read at a time.
const MANY: usize = 9_000;

fn verified(export: &str, checkpoints: &[Checkpoint]) -> Result<Verified, Stop> {
    verify(export.as_bytes(), checkpoints, |_, _| Ok(()))
}

#[test]
fn an_export_agrees_with_itself_and_with_its_checkpoints() {
    for size in [0, 1, 2, 255, 256, 257, 600, MANY] {
        let ledger = Ledger::new(size);
        let known = [1, 2, 256, 300, size].into_iter().filter(|known| *known <= size);
        let checkpoints: Vec<_> = known.map(|known| ledger.checkpoint(known)).collect();
        let expected = Verified {
            first: u64::from(size > 0),
            entries: u64::try_from(size).unwrap(),
            last_hash: ledger.data.last().copied(),
            root: Some(ledger.root(size)),
        };
        let export = ledger.export();
        assert_eq!(verified(&export, &checkpoints).unwrap(), expected, "{size}");
        assert_eq!(verified(export.trim_end(), &checkpoints).unwrap(), expected, "{size}");
        let mut hashes = Vec::new();
        let take = |index: u64, hash: &_| {
            hashes.push((index, *hash));
            Ok(())
        };
        verify(export.as_bytes(), &[], take).unwrap();
        assert_eq!(hashes, (0..).zip(ledger.data).collect::<Vec<_>>(), "{size}");
    }
}

#[test]
fn another_spelling_of_the_same_json_agrees_too() {
    let ledger = Ledger::new(3);
    let spelled: Vec<String> = ledger
        .lines
        .iter()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let canonical = value["canonical"].to_string().replace("Zo", r"\u005ao");
            let (sequence, hash, previous) = (&value["sequence"], &value["entry_hash"], &value["previous_hash"]);
            format!(
                "{{ \"canonical\": {canonical}, \"entry_hash\":{hash}, \"previous_hash\":{previous}, \
                 \"sequence\" : {sequence}, \"more\": 1}}\n\n"
            )
        })
        .collect();
    assert_eq!(verified(&spelled.concat(), &[]).unwrap(), verified(&ledger.export(), &[]).unwrap());
}

#[test]
fn a_part_of_a_ledger_has_a_chain_but_no_tree() {
    let ledger = Ledger::new(20);
    let part: String = ledger.lines[4..].iter().flat_map(|line| [line, "\n"]).collect();
    let expected = Verified { first: 5, entries: 16, last_hash: ledger.data.last().copied(), root: None };
    assert_eq!(verified(&part, &[]).unwrap(), expected);
    assert_unreadable(verified(&part, &[ledger.checkpoint(20)]), "does not begin with entry 1");
}

/// Changes line `at` (from 0) of a ledger and expects this finding, in a small export and behind the first block.
fn expect(change: impl Fn(&Ledger, usize) -> Vec<String>, level: Level, sentence: impl Fn(usize) -> String) {
    for (size, at) in [(12, 0), (12, 7), (MANY, MANY - 9)] {
        let ledger = Ledger::new(size);
        let export = change(&ledger, at).join("\n");
        assert_found(verified(&export, &[]), level, &sentence(at + 1));
    }
}

fn replaced(ledger: &Ledger, at: usize, from: &str, to: &str) -> Vec<String> {
    let mut lines = ledger.lines.clone();
    assert!(lines[at].contains(from), "{from}");
    lines[at] = lines[at].replacen(from, to, 1);
    lines
}

#[test]
fn a_changed_text_or_hash_is_found() {
    let changed_text = |ledger: &Ledger, at| replaced(ledger, at, "thing.done", "thing.dons");
    expect(changed_text, Level::Entry, |entry| format!("the text of entry {entry} has the hash"));
    let changed_hash = |ledger: &Ledger, at: usize| {
        let hash = hex(&ledger.data[at]);
        let other = hash.replace(&hash[..1], if hash.starts_with('a') { "b" } else { "a" });
        replaced(ledger, at, &format!(r#""entry_hash":"{hash}"#), &format!(r#""entry_hash":"{other}"#))
    };
    expect(changed_hash, Level::Entry, |entry| format!("the text of entry {entry} has the hash"));
    let no_hash = |ledger: &Ledger, at: usize| {
        let hash = hex(&ledger.data[at]);
        replaced(ledger, at, &format!(r#""entry_hash":"{hash}"#), &format!(r#""entry_hash":"{}"#, hash.to_uppercase()))
    };
    expect(no_hash, Level::Entry, |entry| format!("entry {entry} has a hash that is not 64 hex digits"));
    // The same with another text of the JSON, which is read by another parser.
    let spelled = |ledger: &Ledger, at: usize| {
        let mut lines = replaced(ledger, at, "thing.done", "thing.dons");
        lines[at] = lines[at].replacen(':', ": ", 1);
        lines
    };
    expect(spelled, Level::Entry, |entry| format!("the text of entry {entry} has the hash"));
}

/// The line of entry `at` with another sequence and previous hash beside its text, and the hash that fits.
fn line_with(ledger: &Ledger, at: usize, sequence: usize, previous: &str, text: &str) -> Vec<String> {
    let mut lines = ledger.lines.clone();
    let made = Ledger::default().with_text(sequence, previous, text);
    lines[at] = line(sequence, previous, &hex(&made.data[0]), text);
    lines
}

#[test]
fn the_text_of_another_entry_is_found_although_it_has_its_hash() {
    let previous =
        |ledger: &Ledger, at: usize| ledger.data[..at].last().map_or_else(|| "0".repeat(64), |hash| hex(hash));
    for other in [1, 2, 10, 17] {
        let moved = |ledger: &Ledger, at: usize| {
            let previous = previous(ledger, at);
            line_with(ledger, at, at + 1, &previous, &text(at + 1 + other, &previous, "thing.done"))
        };
        expect(moved, Level::Entry, |entry| format!("the text of entry {entry} is that of another entry"));
    }
    let follows_another = |ledger: &Ledger, at: usize| {
        line_with(ledger, at, at + 1, &previous(ledger, at), &text(at + 1, &"ab".repeat(32), "thing.done"))
    };
    expect(follows_another, Level::Entry, |entry| format!("the text of entry {entry} is that of another entry"));
}

#[test]
fn a_broken_chain_is_found() {
    let other = "ab".repeat(32);
    let unlinked =
        |ledger: &Ledger, at: usize| line_with(ledger, at, at + 1, &other, &text(at + 1, &other, "thing.done"));
    expect(unlinked, Level::Chain, |entry| format!("entry {entry} does not name the hash of the entry before it"));
    let removed = |ledger: &Ledger, at: usize| {
        let mut lines = ledger.lines.clone();
        lines.remove(at + 1);
        lines
    };
    expect(removed, Level::Chain, |entry| format!("entry {} is missing: entry {} is there", entry + 1, entry + 2));
    let twice = |ledger: &Ledger, at: usize| {
        let mut lines = ledger.lines.clone();
        lines.insert(at, lines[at].clone());
        lines
    };
    expect(twice, Level::Chain, |entry| format!("entry {} is missing: entry {entry} is there", entry + 1));
    let swapped = |ledger: &Ledger, at: usize| {
        let mut lines = ledger.lines.clone();
        lines.swap(at + 1, at + 2);
        lines
    };
    expect(swapped, Level::Chain, |entry| format!("entry {} is missing: entry {} is there", entry + 1, entry + 2));
}

#[test]
fn what_is_no_entry_cannot_be_read() {
    let ledger = Ledger::new(5);
    for (from, to) in
        [("\"canonical\"", "\"text\""), ("{\"sequence\"", "[\"sequence\""), ("\"sequence\":3", "\"sequence\":03")]
    {
        let export = replaced(&ledger, 2, from, to).join("\n");
        assert_unreadable(verified(&export, &[]), "a line is not an entry of an export");
    }
    // A quote that ends the text early: it is read as any other reader of JSON reads it.
    let export = replaced(&ledger, 2, r#"\"n\":3"#, r#"","n":"3"#).join("\n");
    assert_found(verified(&export, &[]), Level::Entry, "the text of entry 3 has the hash");
}

#[test]
fn a_rewritten_ledger_and_a_cut_one_are_found_with_a_checkpoint() {
    let honest = Ledger::new(600);
    let rewritten = |from: usize| {
        let kept = Ledger { lines: honest.lines[..from].to_vec(), data: honest.data[..from].to_vec() };
        (from..700).fold(kept, |ledger, _| ledger.with("thing.forged"))
    };
    for from in [0, 1, 255, 256, 300, 599] {
        let export = rewritten(from).export();
        assert!(verified(&export, &[]).is_ok(), "the chain alone says that all is well");
        let sentence = "the first 600 entries have another root than the checkpoint over them";
        assert_found(verified(&export, &[honest.checkpoint(600)]), Level::Root, sentence);
        let older = [1, 256, 300].into_iter().filter(|size| *size <= from);
        let older: Vec<_> = older.map(|size| honest.checkpoint(size)).collect();
        assert!(verified(&export, &older).is_ok(), "what was kept before entry {from} agrees");
    }
    assert!(verified(&rewritten(600).export(), &[honest.checkpoint(600)]).is_ok(), "a ledger may grow");
    let cut: String = honest.lines[..599].join("\n");
    let sentence = "a checkpoint covers 600 entries, but there are only 599: the tail is missing";
    assert_found(verified(&cut, &[honest.checkpoint(1), honest.checkpoint(600)]), Level::Root, sentence);
    assert_found(verified("", &[honest.checkpoint(600)]), Level::Root, "there are only 0");
}
