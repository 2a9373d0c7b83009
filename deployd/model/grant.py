"""What an authorized key may register, and the line that says so (docs/registry, Keys)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error

from attrs import field, frozen

from deployd.model.instance import is_instance_id
from deployd.model.invalid import Invalid
from deployd.model.names import drone_name, is_commit, role_name, shown
from deployd.model.registration import Registration, namespace_name

KEY_BYTES = 32
MAX_LINE = 4096
ANY = frozenset({"*"})

_KIND = "ed25519"
_OPTIONS = ("roles", "namespaces")
_SPACE = re.compile(r"[ \t]+")


@frozen
class Grant:
    """The owner of the Ed25519 public key ``key`` may register ``roles`` in ``namespaces``; ANY is all of them.

    Its rows say ``name`` where a drone's say the drone.
    """

    key: bytes = field(repr=False)
    name: str
    roles: frozenset[str] = ANY
    namespaces: frozenset[str] = ANY

    @classmethod
    def parse(cls, text: str) -> Grant:
        """``ed25519 BASE64 NAME roles=ROLE,.. namespaces=NAMESPACE,..``; raise Invalid with a sentence.

        Nothing is open by omission: both options are asked for, and ``*`` is what opens all.
        """
        if len(text) > MAX_LINE:
            raise Invalid(f"the line has more than {MAX_LINE} characters")
        kind, *words = _SPACE.split(text.strip(" \t"))
        if kind != _KIND:
            # Not what it is instead, which may be a private key.
            raise Invalid(f"a line begins with {_KIND!r}")
        if len(words) < 2:
            raise Invalid("after 'ed25519' come the key, a name, roles=... and namespaces=...")
        given = _options(words[2:])
        return cls(
            public_key(words[0]),
            _name(words[1]),
            frozenset(map(_role, given["roles"])),
            frozenset(map(_namespace, given["namespaces"])),
        )

    @classmethod
    def of(cls, key: bytes, name: str, roles: tuple[str, ...] = (), namespaces: tuple[str, ...] = ()) -> Grant:
        """A grant by its parts, none meaning any; raise Invalid."""
        return cls(
            key,
            _name(name),
            frozenset(map(_role, roles)) or ANY,
            frozenset(map(_namespace, namespaces)) or ANY,
        )

    def line(self) -> str:
        """What ``parse`` makes this grant of."""
        roles, namespaces = (",".join(sorted(words)) for words in (self.roles, self.namespaces))
        return f"{_KIND} {key_text(self.key)} {self.name} roles={roles} namespaces={namespaces}"

    def refusal(self, row: Registration) -> str:
        """Why this key may not register ``row``; "" when it may.

        Whatever it is granted, it may not pose as what drones run: not in a commit's namespace, nor for an app, nor
        under an id that an instance of a drone may have now or later.
        """
        if is_commit(row.namespace):
            return "rows of a commit are written only by drones that the hub has accepted"
        if row.app or row.release:
            return f"{row.id}: only what knows the secret may name an app or a release"
        if is_instance_id(row.id):
            return f"{row.id}: such ids, a word and ten hex digits, are for what drones run; take another"
        if not _takes(self.roles, row.role):
            return f"the key of {self.name} may not register the role {row.role!r}, only {_listed(self.roles)}"
        if not _takes(self.namespaces, row.namespace):
            return (
                f"the key of {self.name} may not register in the namespace {shown(row.namespace)}, "
                f"only in {_listed(self.namespaces)}"
            )
        return ""


def public_key(text: str) -> bytes:
    """The key that ``text`` is in base64; raise Invalid."""
    try:
        key = b64decode(text.encode("ascii"), validate=True)
    except (Error, UnicodeEncodeError):
        key = b""
    # Also what other text would be decoded to: a key has one name.
    if len(key) != KEY_BYTES or key_text(key) != text:
        raise Invalid(f"a key is {KEY_BYTES} bytes in base64: copy it from `deployctl key show`")
    return key


def key_text(key: bytes) -> str:
    """A public key as it is written."""
    return b64encode(key).decode("ascii")


def _options(words: list[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _OPTIONS or not equals:
            raise Invalid(f"{shown(word)} is neither roles=... nor namespaces=...; a name is one word")
        if name in given:
            raise Invalid(f"{name}= is there twice")
        given[name] = value.split(",")
    for name in _OPTIONS:
        if name not in given:
            raise Invalid(f"{name}=... is missing; {name}=* opens all of them")
    return given


def _name(text: str) -> str:
    try:
        return drone_name(text)
    except Invalid:
        raise Invalid(f"{shown(text)} is no name for a key: use up to 63 letters, digits, '.', '_' and '-'") from None


def _role(text: str) -> str:
    return text if text == "*" else role_name(text)


def _namespace(text: str) -> str:
    if is_commit(text):
        raise Invalid(f"{shown(text)} is a commit, whose rows are written only by drones that the hub has accepted")
    return text if text == "*" else namespace_name(text)


def _takes(granted: frozenset[str], word: str) -> bool:
    return "*" in granted or word in granted


def _listed(words: frozenset[str]) -> str:
    found = ", ".join(sorted(words))
    return found if len(found) <= 200 else found[:197] + "..."
