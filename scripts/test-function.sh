#!/usr/bin/env bash
# Runs end-to-end tests over the function for AWS Lambda, on both databases: each request of a test to the API in its
# process is an event of API Gateway, which an instance of the function answers.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
Usage: scripts/test-function.sh [--list]
Runs the modules of tests/tests/e2e that this script names, with EPR_TEST_OVER=function, on SQLite and PostgreSQL,
and prints which of their tests it skips, and why. A name in the lists of modules and of skipped tests that matches no
test is an error. Uses the servers of EPR_TEST_POSTGRES_URL and EPR_TEST_AWS_URL (SNS), and starts those that are not
set.
  --list   prints the names of the tests and runs none
HELP
}

list_only=false
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --list) list_only=true; shift ;;
        *) usage >&2; exit 2 ;;
    esac
done

# The modules whose tests send requests to the API in their process: what a caller observes. Left out are
# - modules whose subject is a command, an example, a stream of events, a server beside EPR, or the database past EPR:
#   they use the API to prepare what they test, or not at all;
# - cache and its kin: a function keeps nothing in memory, nor do the instances of these tests;
# - the laws over many random worlds (*_law, cached_equals_uncached), which take minutes: they compare decisions with a
#   model, and the HTTP interface takes no part in a decision;
# - assignment_groups: an instance has one call at a time, and never a second assignment to share a transaction with.
modules=(
    # The registry.
    entities entity_types hierarchy hierarchy_depth roles assignments external_ids list_filters
    principals principals_erase principals_suspension conditions_registry
    # Decisions.
    check check_batch conditions_check explain access_actions access_principals access_resources access_subtrees
    authzen_evaluation authzen_batch authzen_search authzen_races stated_reasons
    # The ledger, events and changes.
    ledger ledger_attacks ledger_every ledger_proofs ledger_replay events event_trail changes revisions reincarnation
    past_reads
    # What is common to all calls.
    input headers paths unknown_members openapi idempotency races auth_routes access_tokens named_callers metrics
    older_service
)

# Tests of these modules that the function cannot pass, or that show nothing about it: the name, and the reason.
skips=(
    "changes::a_poll_that_waits_holds_no_permit_and_ends_with_the_next_change: no call waits for changes"
    "changes::a_poll_waits_longer_than_a_request_may_take_and_then_answers_with_nothing: no call waits for changes"
    "changes::readers_are_a_part_of_the_connections: no call waits for changes"
    "changes::many_readers_that_wake_at_once_delay_no_other_call: no call waits for changes"
    "changes::a_poll_that_waits_is_refused_when_a_new_incarnation_begins: no call waits for changes"
    "authzen_races::a_batch_reads_its_facts_once_and_appends_once: it calls a process"
    "check_batch::the_statements_of_a_batch_do_not_grow_with_its_checks: it calls a process"
    "entity_types::the_command_works_with_added_types: it tests the command"
    "event_trail::a_consumer_that_acts_on_flat_fields_archives_what_epr_archived_and_nothing_else: it calls a process"
    "idempotency::a_repeat_gets_the_answer_of_a_process_that_was_killed_before_it_answered: it calls a process"
    "named_callers::a_token_without_an_actor_is_recorded_by_its_name: it calls a process"
    "principals_erase::no_personal_field_is_in_a_log: it calls a process"
    "revisions::a_process_whose_feed_is_silent_answers_from_the_named_state: it calls a process"
    "access_tokens::the_command_starts_a_new_key: it tests the command"
    "changes::the_command_lists_changes_and_follows_them_on_the_database_and_over_the_api: it tests the command"
    "changes::the_command_prints_the_changes_before_a_damaged_one_then_fails: it tests the command"
    "conditions_check::the_command_takes_a_context_as_json_or_from_a_file: it tests the command"
    "conditions_registry::the_client_and_the_command_write_and_show_conditions: it tests the command"
    "conditions_registry::conditions_are_exported_and_imported_and_older_files_keep_them: it tests the command"
    "conditions_registry::doctor_names_conditions_that_this_version_cannot_compile: it tests the command"
    "explain::the_client_and_the_command_show_the_same_explanation: it tests the command"
    "external_ids::the_command_sets_finds_and_removes_external_ids: it tests the command"
    "named_callers::a_change_by_the_command_names_user_and_host: it tests the command"
    "stated_reasons::reports_show_who_granted_an_assignment_when_and_why: it tests the command"
    "headers::a_header_that_is_read_is_given_once: a gateway joins a repeated header"
    "headers::changes_refuse_what_is_not_one_actor: a gateway joins a repeated header"
    "auth_routes::malformed_authorization_headers_are_refused: a gateway joins a repeated header"
    "auth_routes::checks_ignore_a_bad_actor_and_refuse_anothers: a gateway joins a repeated header"
    "idempotency::a_key_that_is_not_valid_is_refused_with_the_other_errors: a gateway joins a repeated header"
    "revisions::a_revision_that_is_malformed_foreign_or_never_reached_is_no_answer: a gateway joins a repeated header"
    "unknown_members::an_actor_is_named_once: a gateway joins a repeated header"
    "stated_reasons::a_reason_is_given_once: a gateway joins a repeated header"
    "auth_routes::a_request_that_waits_for_the_issuer_holds_no_permit: an instance has one call at a time"
    "check::every_cell_of_the_matrix_is_decided_as_the_model_says: thousands of calls, which compare decisions with a model"
    "ledger_replay::a_name_and_the_facts_behind_it_are_of_one_moment: calls race one another for over a minute"
    "authzen_evaluation::the_ledger_has_ids_and_of_other_names_a_hash: it expects an answer from the cache"
    "check_batch::each_decision_is_recorded_once_as_that_of_a_single_check: it expects an answer from the cache"
    "conditions_check::the_ledger_has_the_hash_of_the_context_or_the_values_and_of_other_decisions_nothing: it expects an answer from the cache"
    "ledger_every::cached_answers_are_recorded: it expects an answer from the cache"
    "revisions::a_decision_names_the_state_of_its_facts_cached_or_not: it expects an answer from the cache"
    "input::health_and_readiness_follow_the_database: it expects a cache in /readyz"
    "input::request_ids_are_echoed_and_recorded: a request without an id has that of the gateway, which is no UUID"
)

source scripts/need.sh
source scripts/postgres.sh
source scripts/moto.sh
need_rust
need_apt python3 python3

say "build"
cargo build --quiet --locked --workspace --bins
cargo test --quiet --locked --workspace --test e2e --no-run
mapfile -t all < <(cargo test --quiet --locked --workspace --test e2e -- --list | sed -n 's/: test$//p')
((${#all[@]} > 0)) || { echo "the end-to-end tests cannot be listed" >&2; exit 1; }

# matching NAME: the tests whose name is NAME or begins with NAME::.
matching() {
    local test
    for test in "${all[@]}"; do
        [[ $test == "$1" || $test == "$1"::* ]] && printf '%s\n' "$test"
    done
    return 0
}

failed=false
unknown() { echo "FAILED: $1 matches no test: correct the lists of scripts/test-function.sh" >&2; failed=true; }

declare -A skipped=()
say "skipped, and why"
for skip in "${skips[@]}"; do
    name=${skip%%: *}
    mapfile -t found < <(matching "$name")
    ((${#found[@]} > 0)) || unknown "the skipped test $name"
    for test in "${found[@]}"; do skipped[$test]=yes; done
    echo "$name (${#found[@]}): ${skip#*: }"
done

names=()
for module in "${modules[@]}"; do
    mapfile -t found < <(matching "$module")
    ((${#found[@]} > 0)) || unknown "the module $module"
    for test in "${found[@]}"; do
        if [[ -n ${skipped[$test]:-} ]]; then unset "skipped[$test]"; else names+=("$test"); fi
    done
done
for test in "${!skipped[@]}"; do
    echo "FAILED: the skipped test $test is in none of the modules" >&2
    failed=true
done
! $failed || exit 1
echo "== ${#names[@]} tests of ${#modules[@]} modules"
if $list_only; then
    printf '%s\n' "${names[@]}"
    exit
fi

trap 'stop_moto; stop_postgres' EXIT
if [[ -z ${EPR_TEST_POSTGRES_URL:-} ]]; then
    need_postgres
    # shellcheck disable=SC2034 # start_postgres reads it.
    PG_OPTIONS="-c fsync=off -c full_page_writes=off"
    start_postgres
fi
if [[ -z ${EPR_TEST_AWS_URL:-} ]]; then
    need_python moto 5.2.5 '[server]'
    start_moto
fi
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
say "tests over the function"
SECONDS=0
EPR_TEST_OVER=function cargo test --quiet --locked --workspace --test e2e -- --exact "${names[@]}"
say "without the build: $SECONDS s"
