"""Requests made at random, from what clients send to what nobody should: no 5xx, and no secret in any reply or in the log.

`THRESHER_FUZZ_REQUESTS` says how many (2,000 have been made without a finding).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
from collections import Counter
from typing import Any

import pytest
from fixtures_services import run_catalogue

from catalogue.hook.workflows import Workflows
from common.access_settings import SecretsSettings
from common.config import Settings

REQUESTS = int(os.environ.get("THRESHER_FUZZ_REQUESTS", "250"))
SECRET = "S3CR3T"
PROPERTIES = ["Id", "id", "Name", "name", "Status", "WorkflowName", "Priority", "SubmissionDate", "CompletedDate", "NoSuch", "BatchOrderId"]
OPERATORS = ["eq", "ne", "lt", "le", "gt", "ge", "EQ", "in", "add", "like", ""]
LITERALS = [
    *("1", "-5", "1e400", "9" * 30, "'x'", "'it''s'", "''", "'", "'%_\\'", "lai", "data-harvest", "null", "true", "now()", "(1,2)", "$1"),
    *("2024-01-01T00:00:00Z", "2024-02-31", "duration'P1D'", "6f0a2c53-6d0b-5f0e-9c0b-6f2b8d1f4a77", "geography'POINT(1 1)'"),
    *("'\x00'", "\ud800", "é"),
]
MEANT = [
    *(
        "id eq 5",
        "Id gt 2 and Id lt 90",
        "Name eq 'a name'",
        "Name eq data-harvest",
        "contains(Name,'a')",
        "(endswith(Name,'e'))",
        "1 eq 1",
    ),
    *(
        "Status in ('queued','cancelled')",
        "SubmissionDate gt 2024-01-01T00:00:00Z",
        "not contains(tolower(Name),'x')",
        "year(now()) ge 2024",
    ),
]
FUNCTIONS = ["contains", "startswith", "endswith", "tolower", "length", "indexof", "concat", "year", "substring", "any", "cast", "pg_sleep"]
METHODS = [*["GET"] * 12, "POST", "PUT", "DELETE", "HEAD"]
OPTIONS = sorted({name for workflow in Workflows().current().workflows for spec in workflow.options for name in (spec.name, *spec.aliases)})
SECRETS = {name for each in Workflows().current().workflows for spec in each.options if spec.secret for name in (spec.name, *spec.aliases)}
WORKFLOWS = [name for name, _ in Workflows().current().named()]


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, choices: list[Any]) -> Any:
        return self.random.choice(choices)

    def condition(self, depth: int = 0) -> str:
        match self.random.randrange(8):
            case 0 if depth < 6:
                return f"({self.condition(depth + 1)} {self.pick(['and', 'or', 'xor'])} {self.condition(depth + 1)})"
            case 1 if depth < 6:
                return f"{self.pick(['not ', 'not', 'NOT '])}({self.condition(depth + 1)})"
            case 2:
                arguments = ",".join(self.operand(depth + 1) for _ in range(self.random.randrange(4)))
                return f"{self.pick(FUNCTIONS)}({arguments})" + self.pick(["", f" {self.pick(OPERATORS)} {self.pick(LITERALS)}"])
            case 3:
                return "".join(self.pick([*"()', \t\n", *PROPERTIES, *LITERALS, *OPERATORS]) for _ in range(self.random.randrange(30)))
            case 4:
                return "(" * self.random.randrange(1, 500) + "1 eq 1"
        return f"{self.operand(depth)} {self.pick(OPERATORS)} {self.operand(depth)}"

    def operand(self, depth: int) -> str:
        if depth < 4 and not self.random.randrange(6):
            return f"{self.pick(FUNCTIONS)}({self.operand(depth + 1)})"
        return str(self.pick([self.pick(PROPERTIES), self.pick(LITERALS)]))

    def query(self) -> dict[str, str]:
        found: dict[str, str] = {}
        if self.random.random() < 0.8:
            found["$filter"] = self.condition() if self.random.random() < 0.7 else self.pick(MEANT)
        for name, values in (
            ("$orderby", ["Id asc", "Name desc, Id", "NoSuch", "Id sideways", ",,,", "Name" * 50]),
            ("$top", ["0", "1", "1000", "1001", "-1", "x", "1e3", ""]),
            ("$skip", ["0", "5", "999999999", "99999999999", "-1"]),
            ("$count", ["true", "false", "perhaps"]),
            ("$expand", ["WorkflowOptions", "NoSuch", "*"]),
            ("$select", ["Id"]),
            ("$nosuch", ["1"]),
        ):
            if self.random.random() < 0.15:
                found[name] = self.pick(values)
        return {key: value.encode("utf-8", "replace").decode() for key, value in found.items()}

    def path(self, most: int) -> str:
        number = self.pick([str(self.random.randrange(1, most + 2)), "'1'", "0", "-1", "9" * 20, "x", "1)", "%00", "é", ""])
        return str(
            self.pick(
                [
                    "Workflows",
                    "BatchOrder",
                    "ProductionOrders",
                    f"BatchOrder({number})",
                    f"BatchOrder({number})/Products",
                    f"BatchOrder({number})/Product({number})",
                    f"BatchOrder({number})/Product({number})/$value",
                    f"BatchOrder({number})/OData.CSC.Cancel",
                    f"ProductionOrder({number})",
                    f"ProductionOrder({number})/OData.CSC.Cancel",
                    f"ProductionOrder({number})/Product/$value",
                    f"ProductionOrders({number})",
                    f"Downloads({number})/x.zip?expires={number}&signature=x",
                    "$metadata",
                ]
            )
        )

    def value(self, name: str) -> Any:
        """Of an option: that of a secret one can be told from all others."""
        if name in SECRETS:
            return self.pick([f"k-{SECRET}", f"k-{SECRET}", f"\x00{SECRET}", [SECRET], {"a": SECRET}])
        return self.pick(
            ["text", "https://example.org", "s3://bucket/a", 120, 1.5, True, None, "", [], {"a": 1}, "PRIVATE", "24", "9" * 5000]
        )

    def body(self) -> str:
        names = [self.pick([*OPTIONS, "nosuch", ""]) for _ in range(self.random.randrange(8))]
        options = [{"Name": name, "Value": self.value(name)} for name in names]
        document: dict[str, Any] = {
            "Name": self.pick([*["a name"] * 8, "", "x" * 600, 5, None]),
            "WorkflowName": self.pick([*WORKFLOWS, *["odp-test"] * 20, "nosuch", None]),
            "IdentifierList": self.pick([[], [""], ["noidentifier"], ["A", "B"], ["C"], None, "A", [1], ["x" * 2000]]),
            "WorkflowOptions": self.pick([options, options, [], [], [], None, {}, "x"]),
        }
        for name, values in (
            ("Priority", [1, 10, "high", 1.5, 10**12, True]),
            ("NotificationEndpoint", ["https://example.org/x", "http://127.0.0.1/", "file:///etc/passwd", "x", 5]),
            ("NotificationEpPassword", [f"p-{SECRET}"]),
            ("BatchSize", [1, -1, "x"]),
            ("InputProductReference", [{"Reference": "A"}, {"Reference": 5}, {"ContentDate": {"Start": "yesterday"}}, "x"]),
        ):
            if self.random.random() < 0.2:
                document[name] = self.pick(values)
        text = json.dumps(document)
        return str(self.pick([*[text] * 20, text[:-5], f"[{text}]", "", "null", "[" * 5000]))


@pytest.mark.timeout(900)
async def test_nothing_that_is_sent_breaks_it_or_makes_it_tell_a_secret(
    catalogue_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = SecretsSettings(keys=base64.urlsafe_b64encode(b"f" * 32).decode())  # type: ignore[arg-type]
    maker, statuses, told = Maker(20240131), Counter[int](), []
    async with run_catalogue(catalogue_settings.model_copy(update={"secrets": keys})) as catalogue:

        async def one(number: int) -> None:
            method = maker.pick(METHODS)
            path, data = maker.path(number), None
            if maker.random.random() < 0.35:
                method, data = "POST", maker.body().encode("utf-8", "replace")
                path = maker.pick(["BatchOrder/OData.CSC.Order", "ProductionOrder/OData.CSC.Order"])
            headers = {"Idempotency-Key": maker.pick(["a", "b", "x" * 300])} if maker.random.random() < 0.2 else {}
            query = maker.query() if method == "GET" else {}
            url = f"{catalogue.url}/odata/v1/{path}"
            async with catalogue.http.request(method, url, params=query, data=data, headers=headers, allow_redirects=False) as answer:
                text = await answer.text(errors="replace")
                statuses[answer.status] += 1
                asked = f"{method} {path} {query} {data!r}"
                assert answer.status < 500, f"{asked}: {answer.status} {text}"
                if answer.status >= 400 and method != "HEAD":
                    assert json.loads(text)["detail"], asked
                told.append(text)

        for first in range(0, REQUESTS, 4):
            await asyncio.gather(*(one(number) for number in range(first, first + 4)))
        rows = await catalogue.database.fetch("SELECT o::text AS row FROM hook_order o UNION ALL SELECT i::text FROM hook_item i")
    assert min(statuses[200], statuses[201]) > REQUESTS / 100, statuses
    assert {400, 404, 422} <= set(statuses), statuses
    assert not [text for text in (*told, *(row["row"] for row in rows), *caplog.messages) if SECRET in text]
