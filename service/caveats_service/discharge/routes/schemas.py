"""The JSON bodies of the bakery protocol. Knows JSON shapes, does nothing.

An endpoint without a body here takes a form (`protocol.DischargeForm`) and answers with a `protocol.BakeryAnswer`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from caveats_service.http.schemas import KeyText, Name, Password, Schema


class AgentLoginRequest(Schema):
    """POST /discharge/agent-login/{visit}. `public_key`: X25519, 32 bytes in base64."""

    username: Name
    public_key: KeyText


class FormFields(Schema):
    """The fields of the form."""

    username: Name
    password: Password = Field(repr=False)


class FillInRequest(Schema):
    """POST /discharge/form/{wait}."""

    form: FormFields


@dataclass(slots=True, kw_only=True)
class FormToken:
    """The token to ask for the discharge with. `value`: 32 bytes in base64."""

    kind: str
    value: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class FillInResponse:
    """The answer to a form that was filled in."""

    token: FormToken
