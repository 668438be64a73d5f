# Fills a template of infra/: replaces every ${NAME} inside a string by the environment variable NAME. Values are data:
# they are not expanded again, and jq quotes them.
#
# Containers: a variable without a value is omitted; one whose value is the ARN of a secret becomes an entry of
# `secrets`. Settings of EPR that the template does not list reach every container too, so that none is silently lost.
# Arguments: $worker, whether to include the container `audit-worker`; $exec, whether to enable ECS Exec, whose agent
# writes to the root file system.

def fill:
  gsub("\\$\\{(?<name>[A-Z0-9_]+)\\}"; .name as $name
    | if $ENV | has($name) then $ENV[$name] else error("the template needs \($name), which is not set") end);

def is_secret_arn:
  test("^arn:aws[a-z-]*:(secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:|ssm:[a-z0-9-]+:[0-9]{12}:parameter/).");

# Variables of the scripts and the tests do not belong to the service.
def is_ours:
  (startswith("EPR_") or . == "RUN_MIGRATIONS")
  and (test("^EPR_(TEST|BENCH)_|^EPR_(CACHE|APT_UPDATED)$") | not);

# $elsewhere: settings that a template gives to one container and the others do not need.
def settings($elsewhere):
  .environment as $listed
  | ($listed | map(.name)) as $names
  | ($ENV | to_entries | map(select(.key | is_ours) | select(.key | IN($elsewhere[], $names[]) | not) | {name: .key, value})) as $more
  | ($listed + $more | map(select(.value | test("[^[:space:]]")))) as $set
  | .environment = [$set[] | select(.value | is_secret_arn | not)]
  | .secrets = [$set[] | select(.value | is_secret_arn) | {name, valueFrom: .value}];

["EPR_AUDIT_SQS_URL", "EPR_AUDIT_SQS_MAX_MESSAGES", "EPR_AUDIT_SQS_WAIT_TIME", "EPR_AUDIT_SQS_VISIBILITY_TIMEOUT",
  "EPR_REDIS_URL", "EPR_REDIS_TOKEN", "EPR_REDIS_CACHE_PREFIX", "EPR_REDIS_CACHE_TTL", "EPR_DOCUMENT_VAULT_TOPIC_ARN"] as $elsewhere
| if $worker then . else
    .containerDefinitions |= map(select(.name != "audit-worker"))
  end
| walk(if type == "string" then fill else . end)
| .containerDefinitions |= map(
    settings($elsewhere)
    | .readonlyRootFilesystem = ($exec | not)
    # A label without a value is omitted: the schema of an image that another checkout was built from may be unknown.
    | .dockerLabels |= with_entries(select(.value != ""))
  )
