-- For SQLite only: here the pattern of the indexes of migration 20 matches a UUID, which the name of a parameter's type
-- is not.
SELECT 1;
