# Sourced after deploy-ecs.sh, not run: which schema the programs of task definitions know, and whether a rollback between
# them is possible. Each revision has two labels: the newest migration of its program, and the oldest program that can run
# on the schema after that migration, by the newest migration that the program knows (docs/UPGRADING.md).
# shellcheck shell=bash

# The most revisions that are read to find out how far the database may have been migrated, or what an image knows.
SCHEMA_REVISIONS=20

# checkout_schema: prints both numbers of this checkout.
checkout_schema() {
    local newest oldest
    newest=$(find migrations/postgres -name '[0-9][0-9][0-9][0-9]_*.sql' -printf '%f\n' | sort | tail -n 1)
    oldest=$(grep -v '^#' migrations/oldest_programs.tsv | cut -f 2 | sort -n | tail -n 1)
    echo "$((10#${newest%%_*})) $oldest"
}

# described_schema: prints both numbers of the task definition on standard input, or nothing if it has no labels.
described_schema() {
    jq -r '[.taskDefinition.containerDefinitions[].dockerLabels // {} | select(has("epr.schema"))
        | "\(.["epr.schema"]) \(.["epr.oldest-program"])"] | first // ""'
}

# revision_schema REVISION: fails if there is no such revision.
revision_schema() {
    local described
    described=$(aws ecs describe-task-definition --task-definition "$1" --output json) && described_schema <<<"$described"
}

# database_schema FAMILY NUMBER: prints the newest migration that this revision's program knows, and both numbers of the
# schema that the database may have if the revisions from NUMBER on have run; nothing if the revision has no labels.
# Revisions of failed deployments count: their programs may have migrated the database.
database_schema() {
    local number=$2 found known schema=0 oldest=0
    while ((number < $2 + SCHEMA_REVISIONS)) && found=$(revision_schema "$1:$number" 2>/dev/null); do
        number=$((number + 1))
        if [[ -z $found ]]; then
            [[ -n ${known:-} ]] || return 0
            continue
        fi
        known=${known:-${found% *}}
        ((${found% *} <= schema)) || schema=${found% *}
        ((${found#* } <= oldest)) || oldest=${found#* }
    done
    [[ -z ${known:-} ]] || echo "$known $schema $oldest"
}

# image_schema FAMILY IMAGE CONTAINER: prints both numbers of the newest revision that runs this image and has labels.
image_schema() {
    local number described found numbers
    mapfile -t numbers < <(aws ecs list-task-definitions --family-prefix "$1" --status ACTIVE --output json |
        jq -r --arg family "$1" '.taskDefinitionArns[] | split("/")[-1] | split(":") | select(.[0] == $family) | .[1]' |
        sort -rn)
    for number in "${numbers[@]:0:SCHEMA_REVISIONS}"; do
        described=$(aws ecs describe-task-definition --task-definition "$1:$number" --output json)
        jq -e --arg image "$2" --arg name "$3" \
            '.taskDefinition.containerDefinitions[] | select(.name == $name and .image == $image)' \
            <<<"$described" >/dev/null || continue
        found=$(described_schema <<<"$described")
        [[ -z $found ]] || { echo "$found"; return; }
    done
}

# say_deployment FORMER DATABASE NEW: says before a deployment what the new program does to the schema, and whether FORMER
# can be rolled back to. DATABASE is what database_schema prints for FORMER, NEW has the numbers of the new program; either
# may be empty.
say_deployment() {
    local former=$1 new=$3 known before schema oldest
    if [[ -z $2 || -z $new ]]; then
        say "schema: no label says which schema $former or this image knows, so that a rollback may be impossible"
        return
    fi
    read -r known before oldest <<<"$2"
    schema=$before
    if ((${new% *} < oldest)); then
        say "WARNING: schema: the database may be at version $before, which admits programs from version $oldest on." \
            "This image knows version ${new% *}: its tasks do not start"
        return
    fi
    ((${new% *} <= schema)) || schema=${new% *}
    ((${new#* } <= oldest)) || oldest=${new#* }
    local change="version $schema, as before"
    ((before == schema)) || change="the new program migrates from version $before to $schema"
    if ((known >= oldest)); then
        say "schema: $change. A rollback to $former needs no restored database"
    else
        say "WARNING: schema: $change, which admits programs from version $oldest on. $former knows version $known:" \
            "a rollback to it needs a restored database. Save the database first (docs/BACKUP.md)"
    fi
}

# can_go_back TARGET DATABASE: says before a rollback whether TARGET can run on the database; fails if it cannot.
# DATABASE is as above.
can_go_back() {
    local target=$1 known schema oldest
    if [[ -z $2 ]]; then
        say "schema: no label says which schema $target knows or which one the database has: its tasks may not start"
        return
    fi
    read -r known schema oldest <<<"$2"
    if ((known >= oldest)); then
        say "schema: $target knows version $known. The database may be at version $schema, which admits it"
    else
        say "schema: $target knows version $known. The database may be at version $schema, which admits programs from" \
            "version $oldest on: its tasks would not start"
        return 1
    fi
}
