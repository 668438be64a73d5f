-- Filters a table of the caller by the subtrees form of a list of resources, with the extension ltree.

-- tables
CREATE EXTENSION IF NOT EXISTS ltree;
-- The caller's copy of the hierarchy. A label of a path is an id without hyphens.
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    type text NOT NULL,
    path ltree NOT NULL
);
CREATE INDEX ON nodes USING gist (path);
CREATE TABLE documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node_id uuid NOT NULL REFERENCES nodes (id),
    title text NOT NULL
);

-- query: $1 is the JSON text of the list of items
SELECT d.id, d.node_id, d.title
FROM documents d
JOIN nodes n ON n.id = d.node_id
WHERE EXISTS (
    SELECT FROM jsonb_to_recordset($1::jsonb)
        AS item (
            id uuid, everything boolean, types text[], exclusions uuid[],
            conditional boolean, more_exclusions boolean
        )
    LEFT JOIN nodes root ON root.id = item.id
    WHERE (item.everything OR n.path <@ root.path)
    AND (item.types = '{}' OR n.type = ANY (item.types))
    AND n.id <> ALL (item.exclusions)
    AND NOT COALESCE(item.conditional, false)
    AND NOT COALESCE(item.more_exclusions, false)
)
ORDER BY d.id
