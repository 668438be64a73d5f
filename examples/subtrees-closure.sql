-- Filters a table of the caller by the subtrees form of a list of resources, with a closure table.

-- tables
-- The caller's copy of the hierarchy.
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    type text NOT NULL
);
-- One row for each node and each of its ancestors, and one for the node itself.
CREATE TABLE node_paths (
    ancestor_id uuid NOT NULL REFERENCES nodes (id),
    node_id uuid NOT NULL REFERENCES nodes (id),
    PRIMARY KEY (ancestor_id, node_id)
);
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
    WHERE (
        item.everything
        OR EXISTS (SELECT FROM node_paths p WHERE p.ancestor_id = item.id AND p.node_id = n.id)
    )
    AND (item.types = '{}' OR n.type = ANY (item.types))
    AND n.id <> ALL (item.exclusions)
    AND NOT COALESCE(item.conditional, false)
    AND NOT COALESCE(item.more_exclusions, false)
)
ORDER BY d.id
