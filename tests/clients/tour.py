"""The tour of the README with a client that openapi-python-client generated into the package `epr_client`.

Usage: tour.py URL
"""
import sys
import uuid
from urllib.parse import parse_qs, urlsplit

from epr_client import AuthenticatedClient
from epr_client.api.assignments import create_assignment, revoke_assignment
from epr_client.api.authorization import authorize, check_permission
from epr_client.api.entities import archive_entity, create_entity, get_entity, list_entities
from epr_client.api.roles import create_role
from epr_client.models import (
    Allowed,
    Assignment,
    AuthorizeRequest,
    Authorized,
    Entity,
    EntityStatus,
    InvalidInput,
    NewAssignment,
    NewEntity,
    NewEntityAttributes,
    NewRole,
    PermissionCheckRequest,
    Problem,
    Revoked,
    Role,
)
from epr_client.types import UNSET

# Without authentication the service ignores the token.
client = AuthenticatedClient(base_url=sys.argv[1], token="none")
user = uuid.uuid4()


def entity(name: str, kind: str, parent: uuid.UUID | None, attributes: dict[str, object]) -> Entity:
    body = NewEntity(name=name, type_=kind, parent_id=parent, attributes=NewEntityAttributes.from_dict(attributes))
    created = create_entity.sync(client=client, body=body)
    assert isinstance(created, Entity), created
    assert created.attributes.to_dict() == attributes
    return created


def allowed(resource: uuid.UUID) -> bool:
    """Both forms of the check agree."""
    question = AuthorizeRequest(user_id=user, action="document:download", resource_id=resource)
    decision = authorize.sync(client=client, body=question)
    assert isinstance(decision, Authorized), decision
    newer = PermissionCheckRequest(principal_id=user, action="document:download", resource_id=resource)
    other = check_permission.sync(client=client, body=newer)
    assert isinstance(other, Allowed) and other.allowed == decision.authorized, other
    return decision.authorized


def pages(parent: uuid.UUID) -> list[list[Entity]]:
    """The children of an entity, in pages of two, by the cursor in the `Link` header."""
    found: list[list[Entity]] = []
    cursor: str | None = None
    while cursor is not None or not found:
        page = list_entities.sync_detailed(
            client=client, parent_id=parent, limit=2, cursor=UNSET if cursor is None else cursor
        )
        assert isinstance(page.parsed, list), page
        found.append(page.parsed)
        link = page.headers.get("link")
        cursor = None if link is None else parse_qs(urlsplit(link[1 : link.index(">")]).query)["cursor"][0]
    return found


issuer = entity("Acme Estates (Python)", "issuer", None, {"country": "DE", "tags": ["a", {"b": [1, None]}]})
spvs = [entity(f"Berlin {n} (Python)", "spv", issuer.id, {}) for n in ("One", "Two", "Three")]
assert [[row.id for row in page] for page in pages(issuer.id)] == [[spvs[2].id, spvs[1].id], [spvs[0].id]]

role = create_role.sync(client=client, body=NewRole(name="Reader (Python)", permissions=["document:download"]))
assert isinstance(role, Role), role
before = allowed(spvs[0].id)
held = create_assignment.sync(client=client, body=NewAssignment(principal_id=user, role_id=role.id, entity_id=issuer.id))
assert isinstance(held, Assignment), held
after = allowed(spvs[0].id)

# The forms of an error: a sentence, and a list of fields.
unknown = get_entity.sync(client=client, id=uuid.uuid4())
assert isinstance(unknown, Problem) and unknown.detail.endswith("not found"), unknown
taken = create_entity.sync(client=client, body=NewEntity(name=issuer.name, type_="issuer"))
assert isinstance(taken, Problem) and taken.detail.endswith("already exists"), taken
invalid = create_role.sync(client=client, body=NewRole(name="x"))
assert isinstance(invalid, InvalidInput), invalid
assert [(error.loc, error.type_) for error in invalid.detail] == [(["body", "name"], "string_too_short")], invalid

revoked = revoke_assignment.sync(client=client, id=held.id)
assert isinstance(revoked, Revoked) and revoked.assignment_id == held.id, revoked
assert not allowed(spvs[0].id)
archived = archive_entity.sync(client=client, id=spvs[0].id)
assert isinstance(archived, Entity) and archived.status is EntityStatus.ARCHIVED, archived
print(f"before: {before}\nafter: {after}".lower())
