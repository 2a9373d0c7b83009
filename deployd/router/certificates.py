"""The certificates of ``--certs``, chosen by the name that a client asks for, read anew when files change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtensionOID, NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from deployd.errors import Refused

# Seconds between two looks at the files.
LOOK = 2.0
DEFAULT = "default"
MAX_CERTIFICATES = 5000
MAX_FILE = 1024 * 1024
HTTP = b"http/1.1"

# What is read of the files' state: a change of it means that they are read anew.
_Print = tuple[tuple[str, int, int], ...]


@frozen
class Certificate:
    """One certificate and its key; ``names`` are in lower case, ``*.`` in front of some."""

    names: tuple[str, ...]
    context: SSL.Context


@frozen
class Choice:
    """Which certificate a client gets: of the name it asks for, of the wildcard above that, or the default one."""

    by_name: dict[str, SSL.Context]
    default: SSL.Context

    @classmethod
    def among(cls, certificates: dict[str, Certificate]) -> Choice:
        """``certificates`` by file name. The first file that has a name keeps it."""
        by_name: dict[str, SSL.Context] = {}
        for stem in sorted(certificates):
            for name in certificates[stem].names:
                by_name.setdefault(name, certificates[stem].context)
        first = DEFAULT if DEFAULT in certificates else min(certificates)
        return cls(by_name, certificates[first].context)

    def of(self, name: bytes | None) -> SSL.Context:
        if not name:
            return self.default
        text = name.decode("ascii", "replace").lower().rstrip(".")
        wildcard = "*." + text.partition(".")[2]
        return self.by_name.get(text) or self.by_name.get(wildcard) or self.default


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """Reads ``directory``: NAME.pem with the chain and the key in it, or NAME.crt (the chain) and NAME.key.

    A file that is no good is told of once and changes nothing: the one that was read before goes on being used.
    """

    _log = Logger()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._prints: dict[str, _Print] = {}
        self._good: dict[str, Certificate] = {}
        self._choice: Choice | None = None
        self._unlisted = ""

    def look(self) -> None:
        """Read what has changed; blocks. Raise Refused if there is no certificate at all."""
        found = self._list()
        changed = False
        for stem, files in found.items():
            state = self._prints.get(stem)
            now = _print(files)
            if now == state:
                continue
            self._prints[stem] = now
            try:
                self._good[stem] = _read(files, self._choose)
                changed = True
            except (OSError, ValueError, SSL.Error) as error:
                self._complain(files[0], error)
        gone = self._prints.keys() - found.keys()
        # The last one stays, whoever deletes its file: without any, nobody could connect.
        if found:
            for stem in gone:
                del self._prints[stem]
                changed |= self._good.pop(stem, None) is not None
        if not self._good:
            raise Refused(
                f"there is no usable certificate in {self._directory}: put NAME.pem there, with chain and key"
            )
        if changed:
            self._choice = Choice.among(self._good)

    def _list(self) -> dict[str, tuple[Path, ...]]:
        try:
            found = dict(_found(self._directory))
        except OSError as error:
            if str(error) != self._unlisted:
                self._unlisted = str(error)
                self._complain(self._directory, error)
            return {}
        self._unlisted = ""
        return found

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        assert self._choice is not None
        return SSL.Connection(self._choice.default, None)

    def _choose(self, connection: SSL.Connection) -> None:
        assert self._choice is not None
        connection.set_context(self._choice.of(connection.get_servername()))

    def _complain(self, path: Path, error: Exception) -> None:
        said = "{path} is not used ({why}); what was read before stays"
        self._log.error(said, path=str(path), why=_why(error))


class Looking:
    """Looks at the files again and again, one look at a time, in another thread."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, in_thread: Callable[..., Deferred[Any]], certificates: Certificates
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._certificates = certificates
        self._next: IDelayedCall | None = None
        self._over = False

    def start(self) -> None:
        self._next = self._clock.callLater(LOOK, self._look)

    def stop(self) -> None:
        self._over = True
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _look(self) -> None:
        looking = self._in_thread(self._certificates.look)
        looking.addErrback(lambda failure: self._log.error("{error}", error=failure.value))
        looking.addCallback(lambda _: None if self._over else self.start())


def _found(directory: Path) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The files of each certificate, by name; the chain first."""
    count = 0
    for path in sorted(directory.iterdir()):
        key = path.with_suffix(".key")
        if path.suffix == ".pem":
            yield path.stem, (path,)
        elif path.suffix == ".crt" and key.exists() and not path.with_suffix(".pem").exists():
            yield path.stem, (path, key)
        else:
            continue
        count += 1
        if count >= MAX_CERTIFICATES:
            return


def _print(files: tuple[Path, ...]) -> _Print:
    found = []
    for path in files:
        try:
            state = path.stat()
            found.append((path.name, state.st_mtime_ns, state.st_size))
        except OSError:
            found.append((path.name, 0, -1))
    return tuple(found)


def _read(files: tuple[Path, ...], choose: Callable[[SSL.Connection], None]) -> Certificate:
    """Raise OSError, ValueError or SSL.Error if they are no certificate with its key."""
    chain, key = files[0], files[-1]
    if any(path.stat().st_size > MAX_FILE for path in files):
        raise ValueError("larger than any certificate")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_id(b"deployd-router")
    context.use_certificate_chain_file(str(chain))
    private: Any = _key(key.read_bytes())
    context.use_privatekey(private)
    context.check_privatekey()
    context.set_alpn_select_callback(_protocol)
    context.set_tlsext_servername_callback(choose)
    names = _names(x509.load_pem_x509_certificates(chain.read_bytes())[0])
    return Certificate(names, context)


def _key(text: bytes) -> object:
    """Raise ValueError. OpenSSL itself would ask for a password at the terminal, and everything wait for that."""
    try:
        return load_pem_private_key(text, None)
    except TypeError:
        raise ValueError("its key is behind a password") from None


def _protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return HTTP if HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found: Any = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        names = found.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(name.lower() for name in names)


def _why(error: Exception) -> str:
    if isinstance(error, SSL.Error):
        reasons = error.args[0] if error.args else ()
        return "; ".join(str(reason[-1]) for reason in reasons) or "not a certificate with its key"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
