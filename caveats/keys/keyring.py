"""Keys: master key -> audience key -> root key. Knows derivation and states, knows no tokens and no files.

A downstream app gets the keys of its own audience only. With them it verifies offline; at worst it mints tokens for
itself. HKDF is RFC 5869 with SHA-256, without salt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

from caveats.errors import InvalidKey
from caveats.keys.key_text import key_from_text
from caveats.pickling import Secret
from caveats.token import chain
from caveats.token.chain import Pads
from caveats.token.identifier import Identifier, is_audience, is_key_id
from caveats.token.wire import encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEY_SIZE = 32
_ROOT = b"caveats/v1/root/"
_MOST_AUDIENCES = 1024


class KeyState(Enum):
    """What a key may do. Published and verifying: verify. Active: verify and issue. Retired: nothing."""

    PUBLISHED = "published"
    ACTIVE = "active"
    VERIFYING = "verifying"
    RETIRED = "retired"


def _check_secret(secret: object) -> bytes:
    if type(secret) is not bytes or len(secret) != KEY_SIZE or not any(secret):
        raise InvalidKey(f"a key is {KEY_SIZE} bytes, not all zero")
    return secret


def _check_key_id(key_id: object) -> None:
    if not is_key_id(key_id):
        raise InvalidKey("a key id reads k1, k2, ...")


@dataclass(frozen=True, slots=True, repr=False)
class MasterKey(Secret):
    """32 random bytes (`secret`) with an id: k1, k2, ... Every other key is derived from it. Raises `InvalidKey`."""

    key_id: str
    secret: bytes
    state: KeyState = KeyState.ACTIVE

    def __post_init__(self) -> None:
        _check_key_id(self.key_id)
        _check_secret(self.secret)

    def audience_key(self, audience: str) -> AudienceKey:
        """The key of one audience: `HKDF-SHA256(master, info="caveats/v1/audience/" + audience)`. Raises `InvalidKey`."""
        if not is_audience(audience):
            raise InvalidKey(f"not an audience: {audience!r}")
        secret = hkdf(self.secret, f"caveats/v1/audience/{audience}".encode("ascii"), KEY_SIZE)
        return AudienceKey(self.key_id, audience, secret, self.state)

    def __repr__(self) -> str:
        return f"MasterKey({self.key_id!r}, {self.state.value})"


@dataclass(frozen=True, slots=True, repr=False)
class AudienceKey(Secret):
    """The key of one audience under one master key: 32 bytes (`secret`). Raises `InvalidKey`."""

    key_id: str
    audience: str
    secret: bytes
    state: KeyState = KeyState.ACTIVE

    def __post_init__(self) -> None:
        _check_key_id(self.key_id)
        if not is_audience(self.audience):
            raise InvalidKey(f"not an audience: {self.audience!r}")
        _check_secret(self.secret)

    def root_key(self, identifier: bytes) -> bytes:
        """The root key of one token, 32 bytes: `HMAC-SHA256(audience key, "caveats/v1/root/" + identifier)`."""
        return chain.mac(self.root_pads(), identifier)

    def root_pads(self) -> Pads:
        """The key as `chain.mac` and `chain.derive_from` take it, with the label `caveats/v1/root/` included."""
        inner, outer = chain.pads(self.secret)
        return Pads(inner + _ROOT, outer)

    def __repr__(self) -> str:
        return f"AudienceKey({self.key_id!r}, {self.audience!r}, {self.state.value})"


_Key = TypeVar("_Key", MasterKey, AudienceKey)


class Keyring(Protocol):
    """What a verifier needs of its keys."""

    def root_pads(self, key_id: str, audience: str) -> Pads | None:
        """The HMAC key that derives root keys for this key id and audience. None if the keyring has none."""

    def has_key(self, key_id: str) -> bool:
        """Whether tokens under the master key of this id are verified: it is neither unknown nor retired."""


class MasterKeyring(Secret):
    """The keys of every audience, derived from the master keys. For issuers. Immutable: rotation makes a new one."""

    def __init__(self, masters: Iterable[MasterKey]) -> None:
        """Leaves out retired keys. Raises `InvalidKey` if two keys have one id, or more than one is active."""
        self._masters = _by_id(master for master in masters if master.state is not KeyState.RETIRED)
        active = [master for master in self._masters.values() if master.state is KeyState.ACTIVE]
        if len(active) > 1:
            raise InvalidKey("more than one key is active")
        self._active = active[0] if active else None
        self._ready: dict[tuple[str, str], Pads] = {}

    @property
    def active(self) -> MasterKey:
        """The key to issue under. Raises `InvalidKey` if no key is active."""
        if self._active is None:
            raise InvalidKey("no key is active")
        return self._active

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that verify."""
        return tuple(self._masters)

    def root_pads(self, key_id: str, audience: str) -> Pads | None:
        """See `Keyring`. Keeps the keys of up to 1024 audiences in memory."""
        ready = self._ready.get((key_id, audience))
        if ready is None:
            master = self._masters.get(key_id)
            if master is None or not is_audience(audience):
                return None
            if len(self._ready) >= _MOST_AUDIENCES:
                self._ready.clear()
            ready = self._ready[key_id, audience] = master.audience_key(audience).root_pads()
        return ready

    def has_key(self, key_id: str) -> bool:
        """See `Keyring`."""
        return key_id in self._masters

    def root_key(self, identifier: Identifier) -> bytes:
        """The root key to mint `identifier` under, 32 bytes. Raises `InvalidKey` without its master key."""
        master = self._masters.get(identifier.key_id)
        if master is None:
            raise InvalidKey(f"no key {identifier.key_id} here")
        return master.audience_key(identifier.audience).root_key(identifier.encode())

    def export(self, audience: str) -> AudienceKeyring:
        """The keys of one audience, for the app that serves it. Raises `InvalidKey` for what is no audience's name."""
        return AudienceKeyring(audience, [master.audience_key(audience) for master in self._masters.values()])

    def __repr__(self) -> str:
        return f"MasterKeyring({', '.join(self._masters)})"


class AudienceKeyring(Secret):
    """The keys of one audience. For an app that verifies locally."""

    def __init__(self, audience: str, keys: Iterable[AudienceKey]) -> None:
        """Leaves out retired keys. Raises `InvalidKey` for a key of another audience, and if two keys have one id."""
        self._keys = _by_id(key for key in keys if key.state is not KeyState.RETIRED)
        if not is_audience(audience) or any(key.audience != audience for key in self._keys.values()):
            raise InvalidKey("an audience keyring must hold the keys of one audience")
        self.audience = audience
        self._ready = {key_id: key.root_pads() for key_id, key in self._keys.items()}

    @property
    def keys(self) -> tuple[AudienceKey, ...]:
        """The keys that verify."""
        return tuple(self._keys.values())

    def root_pads(self, key_id: str, audience: str) -> Pads | None:
        """See `Keyring`."""
        return self._ready.get(key_id) if audience == self.audience else None

    def has_key(self, key_id: str) -> bool:
        """See `Keyring`. The keys of every audience have the ids of their master keys."""
        return key_id in self._keys

    def to_json(self) -> dict[str, object]:
        """The keyring as JSON members, with the secret keys. Only the app of this audience may read them."""
        keys = [{"id": k.key_id, "state": k.state.value, "key": encode_base64(k.secret)} for k in self.keys]
        return {"audience": self.audience, "keys": keys}

    @classmethod
    def from_json(cls, members: Mapping[str, object]) -> AudienceKeyring:
        """The inverse of `to_json`. Raises `InvalidKey` for anything else."""
        try:
            audience, rows = members["audience"], members["keys"]
            if not isinstance(audience, str) or not isinstance(rows, list):
                raise InvalidKey("not an exported keyring")
            keys = [
                AudienceKey(row["id"], audience, _exported_key(row["key"]), KeyState(row["state"]))
                for row in rows
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InvalidKey):
                raise
            raise InvalidKey("not an exported keyring") from None
        return cls(audience, keys)

    def __repr__(self) -> str:
        return f"AudienceKeyring({self.audience!r}, {', '.join(self._keys)})"


def _by_id(keys: Iterable[_Key]) -> dict[str, _Key]:
    ring: dict[str, _Key] = {}
    for key in keys:
        if key.key_id in ring:
            raise InvalidKey(f"two keys have the id {key.key_id}")
        ring[key.key_id] = key
    return ring


def hkdf(key: bytes, info: bytes, size: int, salt: bytes = b"") -> bytes:
    """HKDF-SHA256 (RFC 5869): `size` bytes, derived from `key` (any length) for the purpose `info`."""
    # Imported when a key is derived: the import takes 30 ms, and reading or narrowing a token needs no key.
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=size, salt=salt or None, info=info).derive(key)


def _exported_key(text: str) -> bytes:
    try:
        return key_from_text(text)
    except InvalidKey as error:
        raise InvalidKey(f"not an exported keyring: a key in it {error}") from None
