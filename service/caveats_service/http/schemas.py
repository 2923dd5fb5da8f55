"""The request and response bodies under /v1: the HTTP contract in one file. Knows JSON shapes, does nothing.

The bodies of the bakery protocol are in `discharge/routes/schemas.py`. Times are UTC, `YYYY-MM-DDTHH:MM:SSZ`; durations are whole seconds or text such as "8h"; a scope is patterns
with one space between. A member that is not listed is refused, never ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    StringConstraints,
    Tag,
    TypeAdapter,
    create_model,
)

from caveats.context import TEXT_FACTS, frozen

Text = Annotated[str, StringConstraints(max_length=1024)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Password = Annotated[str, StringConstraints(max_length=4096)]
KeyText = Annotated[str, StringConstraints(max_length=64)]
Label = Annotated[str, StringConstraints(max_length=256)]
TokenText = Annotated[str, StringConstraints(min_length=1, max_length=64 * 1024)]
Moment = Annotated[
    datetime,
    PlainSerializer(lambda at: at.astimezone(UTC).isoformat()[:19] + "Z", return_type=str),
]
Instant = Annotated[
    datetime,
    PlainSerializer(
        lambda at: f"{at.astimezone(UTC).isoformat(timespec='milliseconds')[:23]}Z", return_type=str
    ),
]
"""To the millisecond, where a second more or less would let a token live."""


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a duration is seconds or text")  # noqa: TRY004  # pydantic turns ValueError into its own
    return value


Duration = Annotated[int | str, BeforeValidator(_not_bool)]


class Schema(BaseModel):
    """The body of a request. Strict: no coercion, no unknown members. Its repr shows none: some are passwords and tokens.

    Bodies of answers are plain dataclasses: they are written and never read, so nothing has to be checked.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def __repr_args__(self) -> tuple[()]:
        """What pydantic shows of it, in every form: nothing."""
        return ()


class RegisterRequest(Schema):
    """POST /v1/users. `must_change_password`: at the first sign-in; an administrator asks for it."""

    username: Name
    password: Password
    must_change_password: bool = False


@dataclass(slots=True, kw_only=True)
class UserResponse:
    """A user, without anything secret."""

    username: str
    is_admin: bool
    scope: str
    created_at: Moment
    disabled_at: Moment | None
    must_change_password: bool


@dataclass(slots=True, kw_only=True)
class UsersResponse:
    """GET /v1/users. `next`: give it as `after` for more."""

    users: list[UserResponse]
    next: str | None


class ChangePasswordRequest(Schema):
    """PUT /v1/users/{username}/password. `password`: the present one; an administrator may leave it out.

    `must_change_password`: the new one is good for its own change only.
    """

    password: Password | None = None
    new_password: Password
    must_change_password: bool = False


class SetGroupRequest(Schema):
    """PUT /v1/groups/{group}."""

    members: Annotated[list[Name], Field(max_length=1000)] | None = None


@dataclass(slots=True, kw_only=True)
class GroupResponse:
    """A group and who belongs to it."""

    name: str
    members: list[str]
    created_at: Moment


@dataclass(slots=True, kw_only=True)
class GroupsResponse:
    """GET /v1/groups. `next`: give it as `after` for more."""

    groups: list[GroupResponse]
    next: str | None


class RegisterAgentRequest(Schema):
    """POST /v1/agents. `public_key`: X25519, 32 bytes in base64."""

    username: Name
    public_key: KeyText
    name: Label = ""


@dataclass(slots=True, kw_only=True)
class AgentResponse:
    """A program that signs in with a key."""

    agent_id: str
    username: str
    public_key: str
    name: str
    created_at: Moment


@dataclass(slots=True, kw_only=True)
class AgentsResponse:
    """GET /v1/agents. `next`: give it as `after` for more."""

    agents: list[AgentResponse]
    next: str | None


class AddClientRequest(Schema):
    """POST /v1/clients. `users`, `groups`: for whom it issues, at least one. `longest_life`: of each token."""

    name: Name
    users: Annotated[list[Name], Field(max_length=1000)] = []
    groups: Annotated[list[Name], Field(max_length=1000)] = []
    audiences: Annotated[list[Name], Field(min_length=1, max_length=1000)]
    scope: Text
    longest_life: Duration | None = None


@dataclass(slots=True, kw_only=True)
class ClientResponse:
    """A site that issues tokens for users who are signed in there. `longest_life`: seconds."""

    client_id: str
    name: str
    users: list[str]
    groups: list[str]
    audiences: list[str]
    scope: str
    longest_life: int
    created_at: Moment


@dataclass(slots=True, kw_only=True)
class NewClientResponse(ClientResponse):
    """A client that was just added. `client_secret`: shown this once."""

    client_secret: str = field(repr=False)


@dataclass(slots=True, kw_only=True)
class ClientsResponse:
    """GET /v1/clients. `next`: give it as `after` for more."""

    clients: list[ClientResponse]
    next: str | None


class IssueTokenRequest(Schema):
    """POST /v1/tokens. Without username and password the credential is in the header."""

    username: Name | None = None
    password: Password | None = None
    scope: Text | None = None
    audience: Name | None = None
    expires_in: Duration | None = None
    caveats: Annotated[list[Text], Field(max_length=64)] = []
    note: Text | None = None


class IssueForUserRequest(Schema):
    """POST /v1/tokens by an issuing client, for a user who is signed in there. Its id and secret are here, or Basic."""

    user: Name
    client_id: Name | None = None
    client_secret: Password | None = None
    scope: Text | None = None
    audience: Name | None = None
    expires_in: Duration | None = None
    caveats: Annotated[list[Text], Field(max_length=64)] = []
    note: Text | None = None


IssueAnyRequest: TypeAdapter[IssueTokenRequest | IssueForUserRequest] = TypeAdapter(
    Annotated[
        Annotated[IssueTokenRequest, Tag("own")] | Annotated[IssueForUserRequest, Tag("client")],
        Discriminator(
            lambda body: (
                "client"
                if isinstance(body, dict) and {"user", "client_id", "client_secret"} & body.keys()
                else "own"
            )
        ),
    ]
)
"""POST /v1/tokens: for oneself or, told apart by the client's members, for a user of an issuing client."""


@dataclass(slots=True, kw_only=True)
class TokenResponse:
    """A token and what it says."""

    token: str = field(repr=False)
    token_id: str
    user: str
    audience: str
    scope: str
    issued_at: Moment
    expires_at: Moment


class RenewTokenRequest(Schema):
    """POST /v1/tokens/renew."""

    expires_in: Duration | None = None


@dataclass(slots=True, kw_only=True)
class LabelResponse:
    """A labelled token: what its user sees of it."""

    token_id: str
    note: str
    scope: str
    audience: str
    issued_at: Moment
    expires_at: Moment
    status: str
    revoked_by: str | None
    revoked_at: Moment | None
    revoked_copies: int
    last_used_at: Moment | None
    unreported_use: bool


@dataclass(slots=True, kw_only=True)
class LabelsResponse:
    """GET /v1/tokens and GET /v1/users/{username}/tokens. `next`: give it as `after` for more."""

    tokens: list[LabelResponse]
    next: str | None


_FACT = (Annotated[str, StringConstraints(max_length=8192)] | None, None)
_QUESTION: dict[str, Any] = {
    "token": (TokenText, ...),
    "scope": (Text | None, None),
    "audience": (Name | None, None),
    **dict.fromkeys(TEXT_FACTS, _FACT),
    "extra": (Annotated[dict[str, Any], AfterValidator(frozen)], Field(default_factory=dict)),
}


class VerifyRequest(create_model("_Question", __base__=Schema, **_QUESTION)):  # type: ignore[misc]  # as the library lists facts
    """POST /v1/verify: a token and the facts of the request that it came with."""


class VerifyManyRequest(Schema):
    """POST /v1/verify with a list: each is judged by itself."""

    tokens: Annotated[list[VerifyRequest], Field(min_length=1, max_length=100)]


VerifyAnyRequest: TypeAdapter[VerifyRequest | VerifyManyRequest] = TypeAdapter(
    Annotated[
        Annotated[VerifyRequest, Tag("one")] | Annotated[VerifyManyRequest, Tag("many")],
        Discriminator(lambda body: "many" if isinstance(body, dict) and "tokens" in body else "one"),
    ]
)
"""POST /v1/verify: one or many, told apart by the member `tokens`."""


@dataclass(slots=True, kw_only=True)
class JudgedCaveat:
    """One caveat, and what it said of the request."""

    index: int
    kind: str
    predicate: str
    added_by: str
    satisfied: bool
    reason: str | None = None
    hint: str | None = None


@dataclass(slots=True, kw_only=True)
class VerifyResponse:
    """The answer: granted or not, caveat by caveat.

    `revoked_branches`: those of the token's other copies, for whoever goes on with the chain by themselves.
    `judged_at`: the service's time, by which expiry was judged.
    `request_sha256`: of the body that asked, in hex; in a batch, the batch says it.
    """

    granted: bool
    code: str | None = None
    user: str | None = None
    token_id: str | None = None
    audience: str | None = None
    scope: str | None = None
    issued_at: Moment | None = None
    expires_at: Moment | None = None
    caveats: list[JudgedCaveat] = field(default_factory=list)
    branches: list[str] = field(default_factory=list)
    revoked_branches: list[str] | None = None
    judged_at: Instant | None = None
    request_sha256: str | None = None


@dataclass(slots=True, kw_only=True)
class VerifyManyResponse:
    """The answers, in the order asked. `request_sha256`: of the body that asked, in hex."""

    results: list[VerifyResponse]
    request_sha256: str


@dataclass(slots=True, kw_only=True)
class SessionResponse:
    """Who is signed in."""

    user: str
    token_id: str
    scope: str
    expires_at: Moment


class SignInRequest(Schema):
    """POST /v1/session. `note`: a label, so that the session is listed among its user's labelled tokens."""

    username: Name
    password: Password
    scope: Text | None = None
    note: Text | None = None


class RevokeRequest(Schema):
    """POST /v1/revocations. One target. `presented`: the copy in the request's head."""

    presented: bool | None = None
    token: TokenText | None = None
    token_id: Name | None = None
    branch_id: Name | None = None
    user: Name | None = None


@dataclass(slots=True, kw_only=True)
class RevocationResponse:
    """One entry of the feed.

    `already`: nothing was written, since what was to be revoked is dead: `revoked` by the entry that is shown, or
    `expired` for good, with sequence 0.
    """

    sequence: int
    kind: str
    token_id: str | None
    branch_id: str | None
    user: str | None
    issued_up_to: Instant | None
    expires_at: Moment
    already: str | None = None


@dataclass(slots=True, kw_only=True)
class RevocationsResponse:
    """GET /v1/revocations. `resync`: the reader may have missed entries and begins again at 0."""

    epoch: int
    last_sequence: int
    resync: bool
    revocations: list[RevocationResponse]


@dataclass(slots=True, kw_only=True)
class KeyResponse:
    """A master key's life. Never the key."""

    id: str
    state: str
    created_at: Moment
    activated_at: Moment | None
    verifying_since: Moment | None
    retire_after: Moment | None
    retired_at: Moment | None


@dataclass(slots=True, kw_only=True)
class KeysResponse:
    """GET /v1/keys."""

    keys: list[KeyResponse]


class RetireKeyRequest(Schema):
    """POST /v1/keys/{id}/retire. `force`: also while tokens under it may be alive."""

    force: bool = False


class RotateKeysRequest(Schema):
    """POST /v1/keys/rotate. `now`: issue under the new key without waiting for others to have it."""

    now: bool = False


@dataclass(slots=True, kw_only=True)
class MinuteResponse:
    """The requests of one minute. `requests`: all; `refused` and `failed` are among them."""

    at: Moment
    requests: int
    refused: int
    failed: int


@dataclass(slots=True, kw_only=True)
class CountsResponse:
    """GET /v1/counts. `since`: when this process began to count."""

    since: Moment
    minutes: list[MinuteResponse]


class EmptyRequest(Schema):
    """No members."""


class RegisterVerifierRequest(Schema):
    """POST /v1/verifiers. `public_key`: X25519, 32 bytes in base64url without padding."""

    audience: Name
    public_key: KeyText
    name: Label = ""


@dataclass(slots=True, kw_only=True)
class VerifierResponse:
    """An app that verifies locally. `service_public_key`: to be pinned. The last three: how it reads the feed at this process."""

    verifier_id: str
    audience: str
    name: str
    public_key: str
    service_public_key: str
    created_at: Moment
    revoked_at: Moment | None
    following: bool = False
    last_read_at: Moment | None = None
    entries_behind: int | None = None


@dataclass(slots=True, kw_only=True)
class VerifiersResponse:
    """GET /v1/verifiers."""

    verifiers: list[VerifierResponse]


@dataclass(slots=True, kw_only=True)
class VerifierKeysResponse:
    """GET /v1/verifiers/{id}/keys. `box`: base64url, for the verifier's private key and the pinned service key."""

    box: str
