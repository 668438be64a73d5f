"""Verifies a file written by `epr audit export`, without EPR: python3 verify_export.py ledger.jsonl"""
import hashlib, json, sys

count, previous = 0, None
with open(sys.argv[1], encoding="utf-8") as lines:
    for entry in map(json.loads, lines):
        hashed = json.loads(entry["canonical"])
        right = hashlib.sha256((entry["previous_hash"] + entry["canonical"]).encode()).hexdigest()
        follows = previous is None or (
            entry["previous_hash"] == previous["entry_hash"] and entry["sequence"] == previous["sequence"] + 1
        )
        first = entry["sequence"] != 1 or entry["previous_hash"] == "0" * 64
        same = hashed["sequence"] == entry["sequence"] and hashed["previous_hash"] == entry["previous_hash"]
        if not (right == entry["entry_hash"] and follows and first and same):
            print(f"entry {entry['sequence']} is broken")
            sys.exit(1)
        count, previous = count + 1, entry
print(f"{count} entries hold")
