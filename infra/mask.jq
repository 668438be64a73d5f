# A task definition fit to be shown: without the values that are secrets.
def masked:
  if .name | test("TOKEN|SECRET|PASSWORD|KEY|HEADERS") then .value = "***"
  else .value |= (sub("://(?<user>[^:/@]*):.*@"; "://\(.user):***@") | sub("://[^:/?@]+@"; "://***@") | sub("(?<url>://[^?]*)\\?.*"; "\(.url)?***"))
  end;
.containerDefinitions |= map(.environment |= map(masked))
