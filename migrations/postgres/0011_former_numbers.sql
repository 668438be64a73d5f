-- Earlier versions wrote some doubles in another form than the contract's (docs/AUDIT.md, "Numbers"). Entries up to this
-- sequence may hold such forms; their hashes are of the text as it is stored, and nothing is rewritten.
ALTER TABLE audit_chain_head ADD COLUMN former_numbers_up_to bigint NOT NULL DEFAULT 0;
UPDATE audit_chain_head SET former_numbers_up_to = sequence;
