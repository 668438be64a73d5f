"""Verifies a proof file of EPR's ledger without EPR: python3 verify_proof.py FILE KEYS

FILE is what `GET /api/v1/ledger/proof/{sequence}` or `epr audit prove` wrote, KEYS has the lines of
`GET /api/v1/ledger/key`. Needs the package `cryptography`; version 50 or later for keys of ML-DSA-44.
"""
import base64, hashlib, json, sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
except ImportError:
    MLDSA44PublicKey = None

ED25519, ML_DSA_44 = 1, 6


def fail(why):
    sys.exit(f"DISAGREES: {why}")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def short(text):
    return bytes([len(text)]) + text.encode()


def read_keys(text):
    """(name, id, type, public key) of each line."""
    for line in text.split():
        name, _, key = line.split("+", 2)
        key = base64.b64decode(key)
        yield name, sha256(name.encode(), b"\n", key)[:4], key[0], key[1:]


def read_note(note):
    """The text, and (name, key id, signature) of each line below it."""
    text, signatures = note.rsplit("\n\n", 1)
    lines = [line.removeprefix("\u2014 ").split(" ") for line in signatures.splitlines()]
    raw = [(name, base64.b64decode(signature)) for name, signature in lines]
    return text + "\n", [(name, bytes_[:4], bytes_[4:]) for name, bytes_ in raw]


def verify_signature(name, kind, key, text, origin, size, root, signature):
    """Raises InvalidSignature; returns whether this program knows the kind of key."""
    if kind == ED25519:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text.encode())
    elif kind == ML_DSA_44 and MLDSA44PublicKey:
        time, signature = signature[:8], signature[8:]
        message = b"subtree/v1\n\0" + short(name) + time + short(origin) + bytes(8) + size.to_bytes(8, "big") + root
        MLDSA44PublicKey.from_public_bytes(key).verify(signature, message)
    else:
        return False
    return True


def path_to_root(leaf, index, size, path):
    """The root to which the path leads (RFC 6962, 2.1.1)."""
    sides, begin, end = [], 0, size
    while end - begin > 1:
        middle = begin + (1 << (end - begin - 1).bit_length() - 1)
        right = index >= middle
        sides.append(right)
        begin, end = (middle, end) if right else (begin, middle)
    if len(sides) != len(path):
        fail(f"the path has {len(path)} hashes instead of {len(sides)}")
    for right, sibling in zip(reversed(sides), path):
        leaf = sha256(b"\x01", sibling, leaf) if right else sha256(b"\x01", leaf, sibling)
    return leaf


def main(proof, keys):
    head, note = proof.split("\n\n", 1)
    first, extra, index, *path = head.split("\n")
    if first != "c2sp.org/tlog-proof@v1" or not extra.startswith("extra "):
        fail("this is not a proof file with an entry")
    canonical = base64.b64decode(extra.removeprefix("extra "))
    index = int(index.removeprefix("index "))
    text, signatures = read_note(note)
    # ML-DSA keys sign origin, size and root, and no further line.
    if text.count("\n") != 3:
        fail("a checkpoint has three lines")
    origin, size, root = text.splitlines()
    size, root = int(size), base64.b64decode(root)

    entry = json.loads(canonical)
    if entry["sequence"] != index + 1:
        fail(f"the text is that of entry {entry['sequence']}, but the index is {index}")
    if index >= size:
        fail(f"index {index} is not within {size} entries")
    entry_hash = sha256(entry["previous_hash"].encode(), canonical)
    leaf = sha256(b"\x00", entry_hash)
    if path_to_root(leaf, index, size, [base64.b64decode(line) for line in path]) != root:
        fail("the path leads to another root than the checkpoint's")

    verified = 0
    for name, key_id, kind, key in read_keys(keys):
        for signature in (one[2] for one in signatures if one[:2] == (name, key_id)):
            try:
                verified += verify_signature(name, kind, key, text, origin, size, root, signature)
            except InvalidSignature:
                fail(f"a signature by {name} is wrong")
    if verified == 0:
        fail("no signature by a given key that this program knows")
    print(f"AGREES: entry {index + 1} is among the {size} of {origin} ({verified} signatures)")
    print(canonical.decode())


if __name__ == "__main__":
    main(*(open(path, encoding="utf-8").read() for path in sys.argv[1:3]))
