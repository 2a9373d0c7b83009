"""Certificates for a test: an authority, and what it signs, as the PEM files that endpoint strings name."""

from __future__ import annotations

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@frozen
class Certified:
    """A server's key and certificate, as files."""

    key: Path
    certificate: Path

    def listener(self, port: int = 0) -> str:
        """The server endpoint string of a TLS port on loopback."""
        return f"ssl:{port}:interface=127.0.0.1:privateKey={self.key}:certKey={self.certificate}"


class Authority:
    """Signs certificates; ``roots`` is the directory that has its own and nothing else, ``pem`` the file in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(directory.name)
        builder = _builder(self._name, self._name, self._key.public_key(), datetime.datetime.now(datetime.UTC) + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.roots = directory / "roots"
        self.roots.mkdir(parents=True)
        self.pem = self.roots / "ca.pem"
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        """A client's context that trusts nobody else."""
        return ssl.create_default_context(cafile=str(self.pem))

    def certify(self, *hosts: str, until: datetime.timedelta = DAY) -> Certified:
        """A certificate for ``hosts`` (names and IP addresses) that is valid ``until`` then, from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(hosts[0]), self._name, key.public_key(), datetime.datetime.now(datetime.UTC) + until)
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        number = len(list(self._directory.glob("*.key")))
        made = Certified(self._directory / f"{number}.key", self._directory / f"{number}.pem")
        made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        made.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(end - 30 * DAY).not_valid_after(end)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
