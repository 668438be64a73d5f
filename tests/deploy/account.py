"""Prepares an AWS account in moto for a deployment (network, cluster, the stacks of infra/) and tests the stacks.

    account.py MOTO_URL        prints NAME=value lines for the deployment
"""

import ast
import io
import json
import sys
import zipfile

import boto3

session = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="eu-central-1")


def client(service):
    return session.client(service, endpoint_url=sys.argv[1])


def shown(what, holds, seen):
    if not holds:
        sys.exit(f"FAILED: {what}: {seen}")
    print(f"ok {what}", file=sys.stderr)


def stack(name, template, parameters):
    with open(template) as text:
        client("cloudformation").create_stack(
            StackName=name, TemplateBody=text.read(), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()])
    outputs = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


ec2 = client("ec2")
vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.1.{part}.0/24")["Subnet"]["SubnetId"] for part in (1, 2)]
group = ec2.create_security_group(VpcId=vpc, GroupName="epr", Description="epr")["GroupId"]
client("ecs").create_cluster(clusterName="platform")

# moto's CloudFormation knows neither subscriptions nor alarms nor the policies of queues, nor does it resolve secrets: these
# only cfn-lint has looked at.
messaging = stack("messaging", "infra/messaging.yaml", {})
sqs, sns = client("sqs"), client("sns")
queue, dead_letters = (
    sqs.get_queue_url(QueueName=messaging[name])["QueueUrl"] for name in ("AuditQueueName", "AuditDeadLetterQueueName"))
sns.subscribe(TopicArn=messaging["AuditTopicArn"], Protocol="sqs", Endpoint=messaging["AuditQueueArn"])
sns.publish(TopicArn=messaging["AuditTopicArn"], Message='{"source": "vault", "action": "document.upload"}')
for _ in range(5):
    seen = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0, WaitTimeSeconds=0).get("Messages", [])
    body = json.loads(seen[0]["Body"]) if seen else {}
    if body.get("Type") != "Notification" or json.loads(body["Message"])["action"] != "document.upload":
        sys.exit(f"FAILED: what was published to the audit topic does not come out of the queue: {seen}")
shown("messaging.yaml: what is published to the audit topic comes out of the queue, in an envelope", True, None)
again = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=0).get("Messages", [])
dead = sqs.receive_message(QueueUrl=dead_letters, WaitTimeSeconds=0).get("Messages", [])
shown("messaging.yaml: received five times and never deleted, it is in the dead-letter queue", not again and len(dead) == 1, (again, dead))
statements = client("iam").get_policy_version(PolicyArn=messaging["TaskPolicyArn"], VersionId="v1")["PolicyVersion"]["Document"]["Statement"]
rights = [(statement["Action"], statement["Resource"]) for statement in statements]
wanted = [
    (["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"], messaging["AuditQueueArn"]),
    ("sns:Publish", messaging["DocumentTopicArn"]),
]
shown("messaging.yaml: the task may do four things, to one queue and one topic", rights == wanted, rights)

code = io.BytesIO()
with zipfile.ZipFile(code, "w") as archive:
    archive.writestr("bootstrap", "")
client("s3").create_bucket(Bucket="epr-code", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
client("s3").put_object(Bucket="epr-code", Key="1.zip", Body=code.getvalue())
secret = client("secretsmanager").create_secret(Name="epr/database", SecretString="postgresql://epr:secret@db/epr")["ARN"]
stack("audit-lambda", "infra/lambda.yaml", {
    "CodeBucket": "epr-code", "CodeKey": "1.zip", "DatabaseUrlSecretArn": secret,
    "AuditQueueArn": messaging["AuditQueueArn"], "AuditQueueName": messaging["AuditQueueName"],
    "AuditDeadLetterQueueName": messaging["AuditDeadLetterQueueName"],
    "SubnetIds": ",".join(subnets), "SecurityGroupIds": group,
})
sources = client("lambda").list_event_source_mappings(FunctionName="omen-epr-audit")["EventSourceMappings"]
shown("lambda.yaml: the function reads the queue, and reports single failures",
      [(source["EventSourceArn"], source["FunctionResponseTypes"]) for source in sources]
      == [(messaging["AuditQueueArn"], ["ReportBatchItemFailures"])], sources)
function = client("lambda").get_function_configuration(FunctionName="omen-epr-audit")
url = function["Environment"]["Variables"]["EPR_DATABASE_URL"]
shown("lambda.yaml: the database's URL comes from the secret, and the stack does not contain it",
      url in ("postgresql://epr:secret@db/epr", "{{resolve:secretsmanager:" + secret + "}}") and function["Runtime"] == "provided.al2023", function)

api = stack("api-lambda", "infra/lambda-api.yaml", {
    "CodeBucket": "epr-code", "CodeKey": "1.zip", "DatabaseUrlSecretArn": secret, "ApiTokensSecretArn": secret,
    "DocumentTopicArn": messaging["DocumentTopicArn"], "SubnetIds": ",".join(subnets), "SecurityGroupIds": group,
    "DatabasePooler": "transaction", "ThrottleRate": "50",
})
function = client("lambda").get_function_configuration(FunctionName=api["FunctionName"])
variables = function["Environment"]["Variables"]
shown("lambda-api.yaml: the mode of the pooler is that of the parameter",
      variables["EPR_DATABASE_POOLER"] == "transaction", function)
shown("lambda-api.yaml: the function requires tokens, does not migrate, and has time beyond a request's",
      (variables["EPR_AUTH_MODE"], variables["RUN_MIGRATIONS"]) == ("token", "false")
      and int(variables["EPR_REQUEST_TIMEOUT"]) + 5 < function["Timeout"] < 30, function)
targets = client("events").list_targets_by_rule(Rule="omen-epr-api-upkeep")["Targets"]
shown("lambda-api.yaml: the schedule invokes the function, as it is",
      [(one["Arn"], one.get("Input")) for one in targets] == [(function["FunctionArn"], None)], targets)

# moto's CloudFormation knows neither auto-scaling nor filters of logs, alarms, `Rules`, or the load balancer of a service.
secrets = {
    name: client("secretsmanager").create_secret(Name=f"epr/{name}", SecretString="x")["ARN"]
    for name in ("database-read-url", "redis-url", "api-tokens")}
repository = "arn:aws:ecr:eu-central-1:123456789012:repository/platform/omen-epr"
service = stack("service", "infra/service.yaml", {
    "NamePrefix": "stack", "Image": f"{repository}:one", "RepositoryArn": repository, "VpcId": vpc,
    "TaskSubnetIds": ",".join(subnets), "BalancerSubnetIds": ",".join(subnets), "DatabaseUrlSecretArn": secret,
    "DatabaseReadUrlSecretArn": secrets["database-read-url"], "RedisUrlSecretArn": secrets["redis-url"],
    "AuthMode": "token", "ApiTokensSecretArn": secrets["api-tokens"],
    "DocumentTopicArn": messaging["DocumentTopicArn"], "AuditQueueUrl": messaging["AuditQueueUrl"],
    "AuditQueueArn": messaging["AuditQueueArn"], "AuditQueueName": messaging["AuditQueueName"],
    "AuditDeadLetterQueueName": messaging["AuditDeadLetterQueueName"],
})
ecs, iam = client("ecs"), client("iam")
services = ecs.describe_services(
    cluster=service["ClusterName"], services=[service["ApiServiceName"], service["WorkerServiceName"]])["services"]
counts = [(each["serviceName"], each["desiredCount"]) for each in services]
shown("service.yaml: two services, of two tasks and of one", counts == [("stack-api", 2), ("stack-worker", 1)], counts)
listeners = client("elbv2").describe_listeners(
    LoadBalancerArn=client("elbv2").describe_load_balancers(Names=["stack"])["LoadBalancers"][0]["LoadBalancerArn"])["Listeners"]
forwards = [(one["Port"], one["DefaultActions"][0]["TargetGroupArn"]) for one in listeners]
shown("service.yaml: the load balancer forwards to the API", forwards == [(80, service["TargetGroupArn"])], forwards)
groups = client("elbv2").describe_target_groups(TargetGroupArns=[service["TargetGroupArn"]])["TargetGroups"]
shown("service.yaml: the load balancer asks /readyz of port 8080",
      [(group["HealthCheckPath"], group["Port"], group["TargetType"]) for group in groups] == [("/readyz", 8080, "ip")], groups)
api, worker = (
    ecs.describe_task_definition(taskDefinition=each["taskDefinition"])["taskDefinition"] for each in services)
of_containers = [
    # moto keeps a null for what a condition leaves out.
    (sorted(one["name"] for one in container.get("secrets", []) if one), container.get("command", []), container["readonlyRootFilesystem"])
    for task in (api, worker) for container in task["containerDefinitions"]]
shown("service.yaml: URLs and tokens are secrets, and the worker has only the database's", of_containers == [
    (["EPR_API_TOKENS", "EPR_DATABASE_READ_URL", "EPR_DATABASE_URL", "EPR_REDIS_URL"], [], True),
    (["EPR_DATABASE_URL"], ["epr-audit-worker"], True)], of_containers)
for one in (*api["containerDefinitions"], *worker["containerDefinitions"]):
    plain = [entry["name"] for entry in one["environment"] if entry and "secret" in entry["value"]]
    shown(f"service.yaml: no setting of {one['name']} has a secret", not plain, plain)


def rights_of(role):
    described = client("cloudformation").describe_stack_resource(StackName="service", LogicalResourceId=role)
    name = described["StackResourceDetail"]["PhysicalResourceId"]
    documents = [iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                 for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]]
    # moto keeps a policy of a stack as the text of a Python value.
    read = [ast.literal_eval(document) if isinstance(document, str) else document for document in documents]
    statements = [statement for document in read for statement in document["Statement"] if statement]
    return [(statement["Action"], statement["Resource"]) for statement in statements]


rights = [rights_of("ApiRole"), rights_of("WorkerRole")]
shown("service.yaml: the API may publish to one topic, the worker may read one queue", rights == [
    [("sns:Publish", messaging["DocumentTopicArn"])],
    [(["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"], messaging["AuditQueueArn"])]], rights)
everything = [right for right in rights_of("ExecutionRole") if right[1] == "*"]
shown("service.yaml: ECS may do only one thing without a resource, which has none",
      everything == [("ecr:GetAuthorizationToken", "*")], everything)

print(f"SUBNETS={','.join(subnets)}\nGROUP={group}\nQUEUE={messaging['AuditQueueUrl']}\nDOCUMENT_TOPIC={messaging['DocumentTopicArn']}")
