"""The code cells of notebooks that were saved as text, and a stand-in for what only a notebook has, so that they run as they are."""

from __future__ import annotations

import ast
import builtins
import getpass
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

MARK = "In [None]:"


def marked_cells(text: str) -> list[str]:
    """The cells of a text that marks where each begins. A cell ends where the text is no longer Python."""
    return [_python(part.lstrip("\n")) for part in text.split(MARK)[1:]]


def cells_beginning(text: str, beginnings: Iterable[str]) -> list[str]:
    """The cells of a text that marks nothing, by the first line of each, in this order."""
    places = []
    start = 0
    for beginning in beginnings:
        start = text.index(f"\n{beginning}", start) + 1
        places.append(start)
    ends = [*places[1:], len(text)]
    return [_python(text[start:end]) for start, end in zip(places, ends, strict=True)]


def _python(text: str) -> str:
    """The longest beginning of a text, in lines, that is Python."""
    lines = text.split("\n")
    for count in range(len(lines), 0, -1):
        source = "\n".join(lines[:count])
        try:
            ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        return source
    return ""


def filled(source: str, values: Mapping[str, str]) -> str:
    """A cell with what its author leaves to the reader filled in."""
    for placeholder, value in values.items():
        source = source.replace(placeholder, value)
    return source


class _Shown:
    """`IPython.display.JSON`, as far as it matters here: it takes what can be shown as a tree, and refuses everything else."""

    def __init__(self, data: object = None, **_: object) -> None:
        if data is not None and not isinstance(data, dict | list):
            raise TypeError(f"{type(data).__name__} cannot be shown as JSON")
        self.data = data


@dataclass
class Notebook:
    """Cells run one after the other in one namespace. What they send over `requests` is kept."""

    monkeypatch: pytest.MonkeyPatch
    username: str
    password: str
    answers: list[requests.Response] = field(default_factory=list)
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def __post_init__(self) -> None:
        send = requests.Session.request

        def kept(session: requests.Session, *arguments: Any, **more: Any) -> requests.Response:
            answer = send(session, *arguments, **more)
            self.answers.append(answer)
            return answer

        self.monkeypatch.setattr(requests.Session, "request", kept)
        self.monkeypatch.setattr(builtins, "input", self._typed)
        self.monkeypatch.setattr(getpass, "getpass", lambda *_, **__: self.password)
        display = types.ModuleType("IPython.display")
        display.JSON = _Shown  # type: ignore[attr-defined]
        self.monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
        self.monkeypatch.setitem(sys.modules, "IPython.display", display)

    def _typed(self, prompt: str = "") -> str:
        return self.username if "user" in prompt.lower() else "an order"

    def log_in_with(self, token: Callable[[str, str], str]) -> None:
        """A stand-in for the helper `destinelab`, whose host is written into it."""
        helper = types.ModuleType("destinelab")

        class AuthHandler:
            def __init__(self, username: str, password: str) -> None:
                self._login = username, password

            def get_token(self) -> str:
                return token(*self._login)

        helper.AuthHandler = AuthHandler  # type: ignore[attr-defined]
        self.monkeypatch.setitem(sys.modules, "destinelab", helper)

    def run(self, source: str) -> list[requests.Response]:
        """Run a cell; what it was answered."""
        before = len(self.answers)
        exec(compile(source, "<cell>", "exec"), self.namespace)
        return self.answers[before:]
