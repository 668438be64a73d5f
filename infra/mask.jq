# Masks the secrets of a task definition, so that it can be printed.
def masked:
  if .name | test("TOKEN|SECRET|PASSWORD|KEY|HEADERS") then .value = "***"
  else .value |= (sub("://(?<user>[^:/@]*):.*@"; "://\(.user):***@") | sub("://[^:/?@]+@"; "://***@") | sub("(?<url>://[^?]*)\\?.*"; "\(.url)?***"))
  end;
.containerDefinitions |= map(.environment |= map(masked))
