-- Conditions on assignments, and on single actions of roles. A null column is an unconditional row, which is what a
-- program without conditions writes. Such a program also reads past these columns: it would allow what a condition
-- denies. So conditions may be written only when no process of an earlier version runs (docs/UPGRADING.md).
--
-- The triggers of migrations 0005 and 0009 fire for every change of these tables, so that a changed condition renews
-- decisions.
-- Text and not jsonb: the ledger hashes the condition as it was written, and jsonb would store another text.

ALTER TABLE role_assignments ADD COLUMN condition text;
ALTER TABLE role_permissions ADD COLUMN condition text;
