"""What an app finds in its environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import quote

from deployd.model.address import is_loopback
from deployd.model.instance import AssignedInstance

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def app_environment(
    instance: AssignedInstance,
    *,
    drone: str,
    host: str,
    port: int | None,
    registry: str,
    registry_url: str,
    checkout: str,
    config: Mapping[str, str] | None = None,
    path: str = SYSTEM_PATH,
    tmpdir: str = "/tmp",
    lang: str = "C.UTF-8",
) -> dict[str, str]:
    """The whole environment of one process: this and nothing of the drone's own.

    ``drone`` is its name, ``host`` from ``bind_host``, ``port`` None for a role that has none, ``registry`` the AMP
    ``HOST:PORT``, ``registry_url`` the HTTP one without a path, ``checkout`` the directory that is also ``HOME``.
    ``config`` is the app's own, above the defaults of its ``deployd.toml``; both may change ``PATH HOME LANG TMPDIR``
    but not what deployd says of the process.
    """
    url = registry_url.rstrip("/")
    said = {
        "HOST": host,
        "COMMIT": instance.commit,
        "RELEASE": instance.release,
        "REPO": instance.app,
        "ROLE": instance.role,
        "DRONE_ID": drone,
        "PROCESS_ID": instance.id,
        "DEPLOYD_REGISTRY": registry,
        "DEPLOYD_REGISTRY_URL": url,
        "DEPLOYD_PEERS_URL": (f"{url}/v1/ports/{instance.commit}?app={quote(instance.app)}&release={instance.release}"),
    }
    if port is not None:
        said["PORT"] = str(port)
    plain = {"PATH": path, "HOME": checkout, "LANG": lang, "TMPDIR": tmpdir}
    # A PORT of the config would send a role without a port to one that the drone never gave it.
    chosen = instance.settings.env | dict(config or {})
    own = {name: value for name, value in chosen.items() if name != "PORT"}
    return plain | own | said


def bind_host(advertised: str, local_addresses: Collection[str]) -> str:
    """The address on which an app should listen: ``advertised`` if it is this machine's, else 0.0.0.0.

    ``advertised`` may be a name or an address behind a translation, which nothing can be bound to.
    """
    if advertised == "localhost":
        return "127.0.0.1"
    if advertised in local_addresses or is_loopback(advertised):
        return advertised
    return "0.0.0.0"


def machine_addresses() -> frozenset[str]:
    """The IP addresses of this machine's interfaces."""
    import psutil  # type: ignore[import-untyped]

    return frozenset(
        address.address.partition("%")[0] for addresses in psutil.net_if_addrs().values() for address in addresses
    )
