#!/usr/bin/env python3
"""Writes the tables of the older service as SQL for psql: one role, ASSIGNMENTS assignments, ENTRIES chained entries.

Usage: older_database.py ASSIGNMENTS ENTRIES
"""
import hashlib
import json
import sys
import uuid

ROLE = "33333333-0000-4000-8000-000000000003"
STAMP = "2024-05-06 07:08:09.5"
CANONICAL_TIME = "2024-05-06T07:08:09.500000+00:00"
TABLES = """
CREATE TABLE entities (id uuid PRIMARY KEY, name varchar(255) NOT NULL, type varchar(16) NOT NULL,
  status varchar(16) NOT NULL, parent_id uuid, attributes json, created_at timestamp NOT NULL,
  updated_at timestamp NOT NULL);
CREATE TABLE roles (id uuid PRIMARY KEY, name varchar(120), description varchar(512), scope_types json,
  is_system boolean, created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
CREATE TABLE role_assignments (id uuid PRIMARY KEY, principal_id uuid NOT NULL, principal_type varchar(64) NOT NULL,
  role_id uuid NOT NULL, entity_id uuid, effective_at timestamp NOT NULL, expires_at timestamp,
  created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
CREATE TABLE audit_logs (id uuid PRIMARY KEY, sequence bigint NOT NULL UNIQUE, previous_hash varchar(64),
  entry_hash varchar(64), hash_version integer, event_id uuid UNIQUE, source varchar(128), action varchar(120),
  actor_id uuid, actor_type varchar(64), entity_id uuid, entity_type varchar(64), correlation_id varchar(120),
  details json, occurred_at timestamp);
"""


def identifier(kind, number):
    return str(uuid.UUID(int=(kind << 96) | (0x4000 << 64) | (0x8000 << 48) | number))


def main():
    assignments, entries = (int(argument) for argument in sys.argv[1:3])
    write = sys.stdout.write
    write(TABLES)
    write(f"INSERT INTO roles VALUES ('{ROLE}', 'Reader', NULL, '[]', false, '{STAMP}', '{STAMP}');\n")
    write("COPY role_assignments FROM stdin;\n")
    for number in range(assignments):
        row = identifier(1, number), identifier(2, number), "user", ROLE, r"\N", STAMP, r"\N", STAMP, STAMP
        write("\t".join(row) + "\n")
    write("\\.\nCOPY audit_logs FROM stdin;\n")
    previous = "0" * 64
    for sequence in range(1, entries + 1):
        event, actor, entity = identifier(3, sequence), identifier(2, sequence % 1000), identifier(4, sequence % 5000)
        details = {"document": f"file-{sequence}.pdf", "pages": sequence % 40, "status": "verified"}
        entry = {
            "action": "document.verified", "actor_id": actor, "actor_type": "user", "correlation_id": None,
            "details": details, "entity_id": entity, "entity_type": "spv", "event_id": event, "hash_version": 1,
            "occurred_at": CANONICAL_TIME, "previous_hash": previous, "sequence": sequence, "source": "vault",
        }
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256((previous + canonical).encode()).hexdigest()
        row = (event, str(sequence), previous, digest, "1", event, "vault", "document.verified", actor, "user", entity,
               "spv", r"\N", json.dumps(details), STAMP)
        write("\t".join(row) + "\n")
        previous = digest
    write("\\.\n")


main()
