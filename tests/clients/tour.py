"""The tour of the README with a client that openapi-python-client generated into the package `epr_client`.

Usage: tour.py URL
"""
import sys
import uuid

from epr_client import AuthenticatedClient
from epr_client.api.assignments import create_assignment
from epr_client.api.authorization import authorize
from epr_client.api.entities import create_entity, get_entity
from epr_client.api.roles import create_role
from epr_client.models import (
    Assignment,
    AuthorizeRequest,
    Authorized,
    Entity,
    EntityType,
    NewAssignment,
    NewEntity,
    NewEntityAttributes,
    NewRole,
    Problem,
    Role,
)

# Without authentication the service does not look at the token.
client = AuthenticatedClient(base_url=sys.argv[1], token="none")
user = uuid.uuid4()


def entity(name: str, kind: EntityType, parent: uuid.UUID | None, attributes: dict[str, object]) -> Entity:
    body = NewEntity(name=name, type_=kind, parent_id=parent, attributes=NewEntityAttributes.from_dict(attributes))
    made = create_entity.sync(client=client, body=body)
    assert isinstance(made, Entity), made
    assert made.attributes.to_dict() == attributes
    return made


def allowed(resource: uuid.UUID) -> bool:
    question = AuthorizeRequest(user_id=user, action="document:download", resource_id=resource)
    answer = authorize.sync(client=client, body=question)
    assert isinstance(answer, Authorized), answer
    return answer.authorized


issuer = entity("Acme Estates (Python)", EntityType.ISSUER, None, {"country": "DE", "tags": ["a", {"b": [1, None]}]})
spv = entity("Berlin One (Python)", EntityType.SPV, issuer.id, {})
role = create_role.sync(client=client, body=NewRole(name="Reader (Python)", permissions=["document:download"]))
assert isinstance(role, Role), role
before = allowed(spv.id)
held = create_assignment.sync(client=client, body=NewAssignment(principal_id=user, role_id=role.id, entity_id=issuer.id))
assert isinstance(held, Assignment), held
unknown = get_entity.sync(client=client, id=uuid.uuid4())
assert isinstance(unknown, Problem) and unknown.detail.endswith("not found"), unknown
print(f"before: {before}\nafter: {allowed(spv.id)}".lower())
