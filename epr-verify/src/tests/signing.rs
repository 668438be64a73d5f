//! Signatures, cosignatures and proof files.

use super::{Ledger, ORIGIN, assert_found, assert_unreadable, checkpoint_of, key, keys, named_key, signed};
use crate::finding::{Level, Stop};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::{inclusion_ranges, leaf_hash};
use crate::ledger::note::{KeyType, Note};
use crate::ledger::proof::InclusionProof;
use crate::ledger::tile::{Tile, node_in_tile, read_hashes};
use crate::proof;
use crate::signatures::{Keys, Signed, read_keys, read_note, verify};

fn verified(note: &str, keys: &Keys) -> Result<Signed, Stop> {
    verify(&read_note(note, "a note")?, keys)
}

#[test]
fn every_key_of_the_ledger_must_have_signed() {
    let checkpoint = Ledger::new(3).checkpoint(3);
    let note = signed(&checkpoint, &[key(1), key(2)]);
    for ledger in [vec![key(1)], vec![key(2)], vec![key(1), key(2)]] {
        let signatures = ledger.len();
        let expected = Signed { checkpoint: checkpoint.clone(), signatures, cosignatures: 0 };
        assert_eq!(verified(&note, &keys(&ledger, &[], 0)).unwrap(), expected);
    }
    assert_eq!(verified(&note, &Keys::default()).unwrap().signatures, 0, "nothing is trusted without a key");
    let missing = format!("the note has no signature by {ORIGIN}");
    assert_found(verified(&note, &keys(&[key(1), key(3)], &[], 0)), Level::Signature, &missing);
    assert_found(verified(&note, &keys(&[key(3)], &[], 0)), Level::Signature, &missing);
    // A key of another incarnation beside it does no harm, and is not enough.
    let other = || named_key("epr.test/ledger/other", 1, KeyType::Ed25519);
    assert_eq!(verified(&note, &keys(&[other(), key(1)], &[], 0)).unwrap().signatures, 1);
    let nobody = format!("no given key has signed the checkpoint of {ORIGIN}");
    assert_found(verified(&note, &keys(&[other()], &[], 0)), Level::Signature, &nobody);
    // Not even with its signature: the key of one ledger says nothing about another one.
    assert_found(verified(&signed(&checkpoint, &[other()]), &keys(&[other()], &[], 0)), Level::Signature, &nobody);
    let cosigner = || named_key(ORIGIN, 1, KeyType::Cosignature);
    let note = signed(&checkpoint, &[cosigner()]);
    assert_found(verified(&note, &keys(&[cosigner()], &[], 0)), Level::Signature, &nobody);
}

#[test]
fn every_change_of_a_note_is_found() {
    let checkpoint = Ledger::new(3).checkpoint(3);
    let note = signed(&checkpoint, &[key(1)]);
    let known = keys(&[key(1)], &[], 0);
    assert!(verified(&note, &known).is_ok());
    for changed in [checkpoint_of(4, checkpoint.root), checkpoint_of(3, leaf_hash(b"other"))] {
        let note = note.replace(&checkpoint.to_string(), &changed.to_string());
        assert_found(verified(&note, &known), Level::Signature, &format!("the signature by {ORIGIN} is wrong"));
    }
    let elsewhere = Checkpoint::new("epr.test/ledger/other", 3, checkpoint.root).unwrap();
    let elsewhere = note.replace(&checkpoint.to_string(), &elsewhere.to_string());
    assert_found(verified(&elsewhere, &known), Level::Signature, "no given key has signed the checkpoint of epr.test/");
    let mut other: Note = note.parse().unwrap();
    for at in [0, 31, 32, 63] {
        other.signatures[0].bytes[at] ^= 1;
        assert_found(verified(&other.to_string(), &known), Level::Signature, "is wrong");
        other.signatures[0].bytes[at] ^= 1;
    }
    other.signatures[0].bytes.pop();
    assert_found(verified(&other.to_string(), &known), Level::Signature, "is wrong");
    // Under the id of another key it is the signature of a key that nobody knows.
    let mut other: Note = note.parse().unwrap();
    other.signatures[0].key_id[3] ^= 1;
    assert_found(verified(&other.to_string(), &known), Level::Signature, "has no signature by");
    let mut other: Note = note.parse().unwrap();
    other.signatures[0].name = "somebody.example".to_owned();
    assert_found(verified(&other.to_string(), &known), Level::Signature, "has no signature by");
    let not_a_checkpoint = note.replacen(ORIGIN, &format!("{ORIGIN}\nmore"), 1);
    assert_found(verified(&not_a_checkpoint, &known), Level::Signature, "the text of the note is not a checkpoint");
    assert_unreadable(verified("nothing", &known), "this is not a signed note");
}

#[test]
fn witnesses_are_counted_and_a_wrong_cosignature_is_found() {
    let checkpoint = Ledger::new(3).checkpoint(3);
    let witness = |seed: u8| named_key(&format!("witness-{seed}.example"), seed, KeyType::Cosignature);
    let note = signed(&checkpoint, &[key(1), witness(5), witness(6)]);
    for (witnesses, count) in [(vec![], 0), (vec![witness(5)], 1), (vec![witness(6), witness(5), witness(7)], 2)] {
        for quorum in 0..4 {
            let found = verified(&note, &keys(&[key(1)], &witnesses, quorum));
            if quorum <= count {
                assert_eq!(found.unwrap().cosignatures, count);
            } else {
                let sentence = format!("{count} witnesses cosigned, but {quorum} are required");
                assert_found(found, Level::Signature, &sentence);
            }
        }
    }
    // The time is signed with the checkpoint: each of its bytes, and the signature behind it.
    for at in [0, 7, 8, 71] {
        let mut other: Note = note.parse().unwrap();
        other.signatures[1].bytes[at] ^= 1;
        let found = verified(&other.to_string(), &keys(&[key(1)], &[witness(5)], 0));
        assert_found(found, Level::Signature, "the signature by witness-5.example is wrong");
    }
    let mut short: Note = note.parse().unwrap();
    short.signatures[1].bytes.truncate(7);
    assert_found(verified(&short.to_string(), &keys(&[], &[witness(5)], 0)), Level::Signature, "is wrong");
}

#[test]
fn keys_are_read_from_lines() {
    let both = format!("# the keys\n\n {} \r\n{}\n", key(1).key, key(2).key);
    assert_eq!(read_keys(&both).unwrap(), [key(1).key, key(2).key]);
    assert_unreadable(read_keys("nothing"), "not a verifier key");
}

/// A proof file of entry `index` in a ledger of `size`.
fn proof_of(ledger: &Ledger, index: usize, extra: Option<&str>) -> InclusionProof {
    let (files, size) = (ledger.published(), u64::try_from(ledger.data.len()).unwrap());
    let index = u64::try_from(index).unwrap();
    let hash = |node| {
        let tile = Tile::holding(node, size).unwrap();
        let hashes = read_hashes(&files.0[&tile.to_string()], tile.width).unwrap();
        node_in_tile(&hashes, node).ok_or(())
    };
    InclusionProof {
        extra: extra.map(|text| text.as_bytes().to_vec()),
        index,
        path: inclusion_ranges(index, size).unwrap().into_iter().map(|range| range.root(hash).unwrap()).collect(),
        checkpoint: signed(&ledger.checkpoint(ledger.data.len()), &[key(1)]).parse().unwrap(),
    }
}

fn canonical(ledger: &Ledger, index: usize) -> String {
    let line: serde_json::Value = serde_json::from_str(&ledger.lines[index]).unwrap();
    line["canonical"].as_str().unwrap().to_owned()
}

#[test]
fn a_proof_file_is_bound_to_its_entry_its_index_and_its_checkpoint() {
    let known = keys(&[key(1)], &[], 0);
    for size in [1, 2, 257, 600] {
        let ledger = Ledger::new(size);
        for index in [0, size / 2, size - 1] {
            let text = canonical(&ledger, index);
            let good = proof_of(&ledger, index, Some(&text));
            let proven = proof::verify(&good.to_string(), &known).unwrap();
            assert_eq!((proven.sequence, &proven.canonical), (good.index + 1, &text));
            assert_eq!(proven.signed.checkpoint, ledger.checkpoint(size));

            let verify = |proof: &InclusionProof| proof::verify(&proof.to_string(), &known);
            let forged = InclusionProof { extra: Some(text.replace("done", "dons").into_bytes()), ..good.clone() };
            assert_found(verify(&forged), Level::Root, "the path leads to another root");
            let forged = text.replace("\"previous_hash\":\"", "\"previous_hash\":\"0");
            let forged = InclusionProof { extra: Some(forged.into_bytes()), ..good.clone() };
            assert_found(verify(&forged), Level::Root, "the path leads to another root");
            let moved = InclusionProof { index: good.index + 1, ..good.clone() };
            assert_found(verify(&moved), Level::Entry, "the text is that of entry");
            let longer = InclusionProof { path: [&good.path[..], &[[7; 32]]].concat(), ..good.clone() };
            assert_found(verify(&longer), Level::Root, "hashes, but a tree of");
            for at in 0..good.path.len() {
                let mut changed = good.clone();
                changed.path[at][31] ^= 1;
                assert_found(verify(&changed), Level::Root, "the path leads to another root");
            }
            let mut unsigned = good.clone();
            unsigned.checkpoint.signatures[0].bytes[5] ^= 1;
            assert_found(verify(&unsigned), Level::Signature, "is wrong");
            assert_unreadable(verify(&InclusionProof { extra: None, ..good.clone() }), "has no text of an entry");
            let no_entry = InclusionProof { extra: Some(b"{}".to_vec()), ..good };
            assert_found(verify(&no_entry), Level::Entry, "no sequence or previous_hash");
        }
    }
    assert_unreadable(proof::verify("nothing", &known), "this is not a proof file");
    // Beyond the entries of the checkpoint.
    let ledger = Ledger::new(300);
    let outside = InclusionProof {
        index: 300,
        extra: Some(canonical(&Ledger::new(301), 300).into_bytes()),
        ..proof_of(&ledger, 299, None)
    };
    assert_found(proof::verify(&outside.to_string(), &known), Level::Root, "300 is not within a tree of 300 entries");
}
