"""Placing an order: its row and those of its items, in one transaction; a repeated request with the same key is the same order."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from catalogue.database import Connection
from catalogue.graphs import GraphShelf
from catalogue.hook.estimates import estimate
from catalogue.hook.options import Options
from catalogue.hook.orders import Secrets
from catalogue.hook.requests import Asked, Complaint, InvalidOrderError
from catalogue.hook.workflows import SourceKind, Workflow, WorkflowShelf
from common.errors import ConflictError, UserError
from common.sealing import Sealer
from common.validation import text_trouble

CHANNEL = "thresher_orders"
"""NOTIFY on it is a hint that there is something to do for orders."""
NOTIFICATION_PASSWORD = "notification_password"  # noqa: S105 - the name of a secret
_PLACE = ("body", "WorkflowName")
_LONGEST_KEY = 255


@dataclass(frozen=True)
class Placed:
    """Number of the order, and whether it is new."""

    id: int
    new: bool


def find_workflow(shelf: WorkflowShelf, name: str, tools: Sequence[str], graphs: GraphShelf) -> Workflow:
    """The workflow that is ordered; raises InvalidOrderError where there is none or this deployment cannot run it."""
    workflow = shelf.get(name)
    if workflow is None:
        known = ", ".join(each.name for each in shelf.workflows)
        raise InvalidOrderError([Complaint(_PLACE, f"there is no workflow '{name[:80]}'; there are: {known}", "value_error")])
    lacking = [reason for tool, reason in workflow.requires.items() if tool not in tools]
    if lacking:
        raise InvalidOrderError(
            [Complaint(_PLACE, f"workflow '{workflow.name}' cannot be ordered here: {'; '.join(lacking)}", "value_error")]
        )
    try:
        graphs.get(workflow.graphs.scene, field="graphs.scene")
        graphs.check_layers(workflow.graphs.tile, workflow.layers)
    except UserError as error:
        raise _not_here(workflow, error.detail) from None
    return workflow


def _not_here(workflow: Workflow, reason: str) -> InvalidOrderError:
    return InvalidOrderError([Complaint(_PLACE, f"workflow '{workflow.name}' cannot be ordered here: {reason}", "value_error")])


def check_sealable(asked: Asked, workflow: Workflow, options: Options, sealer: Sealer) -> None:
    """Raises InvalidOrderError where the order cannot be carried out without a key of this deployment, and there is none."""
    if sealer.is_able:
        return
    complaints: list[Complaint] = []

    def complain(place: tuple[str, ...], what: str) -> None:
        complaints.append(Complaint(("body", *place), f"this service has no key (setting secrets.keys) {what}", "value_error"))

    if workflow.output and options.values.get("output_storage", "TEMPORARY") == "TEMPORARY":
        complain(("WorkflowOptions", "output_storage"), "to sign links with: TEMPORARY results cannot be ordered here")
    for name in options.secrets:
        complain(("WorkflowOptions", name), f"to seal secrets with: '{name}' cannot be given here")
    if workflow.source is SourceKind.FILES or any(name in options.values for name in ("source_catalogue_api_url", "source_type")):
        complain(("WorkflowOptions",), "to seal with how files are fetched: an order cannot bring its own source here")
    if asked.body.NotificationEpPassword:
        complain(("NotificationEpPassword",), "to seal secrets with: a password cannot be given here")
    if complaints:
        raise InvalidOrderError(complaints)


def checked_key(text: str | None) -> str | None:
    """The Idempotency-Key header, if there is one; raises UserError."""
    if text is None:
        return None
    if not text.strip() or len(text) > _LONGEST_KEY or text_trouble(text) is not None or not text.isprintable():
        raise UserError(f"1 to {_LONGEST_KEY} printable characters are needed", field="Idempotency-Key")
    return text


async def place_order(
    connection: Connection, owner: str, asked: Asked, workflow: Workflow, options: Options, secrets: Secrets, key: str | None = None
) -> Placed:
    """Write the order and its items. Raises ConflictError where the key stands for another order."""
    body = asked.body
    names = frozenset(name for spec in workflow.options if spec.secret for name in (spec.name, *spec.aliases))
    digest = asked.digest(names)
    sealed = secrets.seal(options.secrets) if options.secrets else None
    password = {NOTIFICATION_PASSWORD: body.NotificationEpPassword} if body.NotificationEpPassword else {}
    async with connection.transaction():
        order: int | None = await connection.fetchval(
            _ORDER,
            _uuid_of(owner),
            owner,
            body.Name,
            body.WorkflowName,
            workflow.version,
            1 if body.Priority is None else body.Priority,
            options.values,
            options.given,
            sealed,
            getattr(body, "BatchSize", None),
            key,
            digest,
            body.NotificationEndpoint,
            body.NotificationEpUsername,
            secrets.seal(password) if password else None,
        )
        if order is None:
            return await _existing(connection, owner, key, digest)
        await connection.execute(_ITEMS, order, asked.identifiers, asked.content_date)
        await estimate(connection, order)
        await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
    return Placed(order, True)


def _uuid_of(owner: str) -> uuid.UUID:
    """`KeycloakUUID`: always the same for somebody."""
    try:
        return uuid.UUID(owner.rpartition(":")[2])
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"thresher:owner:{owner}")


async def _existing(connection: Connection, owner: str, key: str | None, digest: bytes) -> Placed:
    row = await connection.fetchrow("SELECT id, request_digest FROM hook_order WHERE owner = $1 AND idempotency_key = $2", owner, key)
    if row is None or row["request_digest"] != digest:
        raise ConflictError("this key was used for another order", field="Idempotency-Key")
    return Placed(row["id"], False)


_ORDER = """
INSERT INTO hook_order (uuid, owner, name, workflow, version, priority, options, given, sealed, batch_size, idempotency_key, request_digest,
                        notification_endpoint, notification_username, notification_sealed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT (owner, idempotency_key) DO NOTHING RETURNING id
"""

_ITEMS = """
INSERT INTO hook_item (id, order_id, owner, name, workflow, priority, submitted_at, identifier, content_date)
SELECT CASE WHEN cardinality($2::text[]) = 1 THEN o.id ELSE nextval('hook_number') END,
       o.id, o.owner, o.name, o.workflow, o.priority, o.submitted_at, given.identifier, $3::jsonb
FROM hook_order o, unnest($2::text[]) WITH ORDINALITY AS given (identifier, place) WHERE o.id = $1 ORDER BY given.place
"""
