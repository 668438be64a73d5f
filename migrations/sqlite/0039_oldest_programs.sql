-- The oldest program that can run on the schema after each migration, by the newest migration that the program knows. A
-- program that lacks an applied migration starts nevertheless if the migration names it or an older one. Null: only
-- programs that know the migration. Migrations up to this one say nothing: earlier programs do not read the column.
ALTER TABLE _sqlx_migrations ADD COLUMN oldest_program INTEGER;
