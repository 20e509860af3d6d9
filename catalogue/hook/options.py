"""The options of an order, checked against those its workflow declares: older names read as the present ones, defaults filled in."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from catalogue.hook.requests import Complaint, InvalidOrderError, OptionValue
from catalogue.hook.workflows import OptionSpec, Workflow
from common.errors import UserError
from common.urls import check_url

_S3_PATH = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[^\x00-\x1f\\]*)?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PLACE = ("body", "WorkflowOptions")
_LONGEST = 4096
_TOKEN_PATH = "/realms/{realm}/protocol/openid-connect/token"  # noqa: S105 - a path


@dataclass(frozen=True)
class Options:
    """The options of an order under their present names."""

    values: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    given: list[tuple[str, str | int | float | bool | None]] = field(default_factory=list)
    """As they were written, in the order they were, a secret one without its value."""


def check_options(workflow: Workflow, given: Sequence[OptionValue], allowed_urls: Sequence[str]) -> Options:
    """Raises InvalidOrderError with everything that is wrong."""
    check = _Check(workflow, allowed_urls)
    for index, option in enumerate(given):
        check.take(index, option)
    check.fold_older_forms()
    check.fill_in()
    check.require()
    if check.complaints:
        raise InvalidOrderError(check.complaints)
    secret = {spec.name for spec in workflow.options if spec.secret}
    return Options(
        {name: value for name, value in check.values.items() if name not in secret},
        {name: value for name, value in check.values.items() if name in secret and value},
        check.given,
    )


class _Check:
    def __init__(self, workflow: Workflow, allowed_urls: Sequence[str]) -> None:
        self._workflow = workflow
        self._allowed_urls = allowed_urls
        self.values: dict[str, str] = {}
        self.given: list[tuple[str, str | int | float | bool | None]] = []
        self.complaints: list[Complaint] = []

    def take(self, index: int, option: OptionValue) -> None:
        spec = self._workflow.option(option.Name)
        if spec is None:
            self._complain((index, "Name"), self._unknown(option.Name), "extra_forbidden")
            return
        self.given.append((option.Name, None if spec.secret else option.Value))
        if option.Value is None or option.Value == "":
            return
        if spec.name in self.values:
            self._complain((index, "Name"), f"option '{spec.name}' stands twice", "value_error")
            return
        try:
            self.values[spec.name] = _text_of(spec, option.Value, self._allowed_urls)
        except _WrongValueError as error:
            self._complain((index, "Value"), f"option '{option.Name}' {error}", error.type)

    def fold_older_forms(self) -> None:
        """Bucket and prefix are a path, realm and server a token URL."""
        values = self.values
        bucket, prefix = values.pop("s3_bucket", ""), values.pop("s3_prefix", "").strip("/")
        if bucket and not _BUCKET.fullmatch(bucket):
            self._complain(("s3_bucket",), "option 's3_bucket' is not the name of a bucket", "value_error")
        if bucket:
            values.setdefault("output_s3_path", f"s3://{bucket}/{prefix}".rstrip("/"))
        realm, server = values.pop("source_realm", ""), values.pop("source_server_url", "").rstrip("/")
        if realm and server and not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", realm):
            self._complain(("source_realm",), "option 'source_realm' is not the name of a realm", "value_error")
        elif realm and server:
            values.setdefault("source_token_url", server + _TOKEN_PATH.format(realm=realm))

    def fill_in(self) -> None:
        """What clients rely on to be understood, then the declared defaults."""
        values, has = self.values, self._workflow.option
        if has("output_storage"):
            values.setdefault("output_storage", "PRIVATE" if "output_s3_path" in values else "TEMPORARY")
        if "source_catalogue_api_url" in values:
            values.setdefault("source_catalogue_api_type", "ODATA")
            values.setdefault("source_type", "EXTERNAL")
        elif "desp_source_username" in values:
            values.setdefault("source_type", "DESP")
        for spec in self._workflow.options:
            if spec.default is not None:
                values.setdefault(spec.name, spec.default)

    def require(self) -> None:
        for spec in self._workflow.options:
            if spec.name not in self.values and (spec.required or self._required_with(spec)):
                reason = f" where {spec.required_with}" if spec.required_with and not spec.required else ""
                self._complain((spec.name,), f"option '{spec.name}' is required{reason}", "missing")

    def _required_with(self, spec: OptionSpec) -> bool:
        name, _, value = spec.required_with.partition("=")
        return bool(name) and name in self.values and (not value or self.values[name] == value)

    def _unknown(self, name: str) -> str:
        known = [spec.name for spec in self._workflow.options]
        guess = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"; did you mean '{guess[0]}'?" if guess else f"; it has: {', '.join(known) or 'none'}"
        return f"workflow '{self._workflow.name}' has no option '{name[:80]}'{hint}"

    def _complain(self, place: tuple[str | int, ...], message: str, type_: str) -> None:
        self.complaints.append(Complaint((*_PLACE, *place), message, type_))


class _WrongValueError(Exception):
    def __init__(self, message: str, type_: str) -> None:
        super().__init__(message)
        self.type = type_


def _text_of(spec: OptionSpec, value: str | int | float | bool, allowed_urls: Sequence[str]) -> str:
    """The value as text; never shown in a complaint where it may be a secret. Raises _WrongValueError."""
    text = _plain_text(spec, value)
    if len(text) > _LONGEST:
        raise _WrongValueError(f"is longer than {_LONGEST} characters", "string_too_long")
    if spec.choices:
        match = next((choice for choice in spec.choices if choice.lower() == text.lower()), None)
        if match is None:
            raise _WrongValueError(f"must be one of {', '.join(spec.choices)}", "literal_error")
        return match
    _check_number(spec, text)
    if spec.format == "s3-path" and (not _S3_PATH.fullmatch(text) or ".." in text.split("/")):
        raise _WrongValueError("must be s3://bucket/prefix", "value_error")
    if spec.format == "url":
        try:
            check_url(text, allowed_urls, spec.name)
        except UserError as error:
            raise _WrongValueError(f"cannot be used: {error.detail}", "url_parsing") from None
    return text


def _plain_text(spec: OptionSpec, value: str | int | float | bool) -> str:
    if spec.type == "bool":
        text = str(value).lower()
        if text not in ("true", "false"):
            raise _WrongValueError("must be true or false", "bool_parsing")
        return text
    if isinstance(value, bool):
        raise _WrongValueError("must be a text or a number", "string_type")
    return str(value).strip() if not spec.secret else str(value)


_NOT_WHOLE = ("must be a whole number", "int_parsing")
_NO_NUMBER = ("must be a number", "float_parsing")


def _check_number(spec: OptionSpec, text: str) -> None:
    whole, number = spec.type == "int" or spec.format in ("integer", "seconds"), spec.type == "float" or spec.format == "number"
    if not whole and not number:
        return
    try:
        value = int(text) if whole else float(text)
        if not math.isfinite(value) or len(text) > 40:
            raise ValueError(text)
    except (ValueError, OverflowError):
        raise _WrongValueError(
            "must be a whole number" if whole else "must be a number", "int_parsing" if whole else "float_parsing"
        ) from None
    if spec.minimum is not None and value < spec.minimum:
        raise _WrongValueError(f"must be at least {spec.minimum:g}", "greater_than_equal")
    if spec.maximum is not None and value > spec.maximum:
        raise _WrongValueError(f"must be at most {spec.maximum:g}", "less_than_equal")
