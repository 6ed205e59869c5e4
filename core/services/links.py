"""Signed links: a route has no login, so the address itself says what it allows and until when.

A link is ``path?exp=<unix seconds>&sig=<HMAC-SHA256>`` relative to the app's root. The key lies in
the home folder. Expiry is rounded up to whole periods, so that the same photo keeps the same
address for hours and the browser can cache it.
"""

import contextlib
import functools
import hashlib
import hmac
import secrets
import time
from pathlib import Path
from urllib.parse import quote, urlencode

from core.domain.errors import AppError
from core.services.home import Store
from core.storage.blobs import write_atomically

PERIOD_SECONDS = 6 * 3600


class LinkRefused(AppError):
    """A link is forged, damaged or too old."""


def sign(store: Store, path: str, **parameters: str) -> str:
    """Give the signed link of a path; it holds for six to twelve hours."""
    expires = (int(time.time()) // PERIOD_SECONDS + 2) * PERIOD_SECONDS
    query = {**parameters, "exp": str(expires)}
    return f"{quote(path)}?{urlencode(query)}&sig={_signature(store, path, query)}"


def check(store: Store, path: str, parameters: dict[str, str]) -> None:
    """Check a link that came in.

    Raises:
        LinkRefused: it was not made here, was changed, or is over.
    """
    query = {key: value for key, value in parameters.items() if key != "sig"}
    given = parameters.get("sig", "").encode()
    if not hmac.compare_digest(_signature(store, path, query).encode(), given):
        raise LinkRefused("This link was not made by this app. Open the page again.")
    if int(query.get("exp", "0")) < time.time():
        raise LinkRefused("This link has expired. Reload the page.")


def _signature(store: Store, path: str, query: dict[str, str]) -> str:
    message = path + "?" + urlencode(sorted(query.items()))
    return hmac.new(_key(store.home), message.encode(), hashlib.sha256).hexdigest()


@functools.lru_cache(maxsize=8)
def _key(home: Path) -> bytes:
    """Read the home's key; the first process makes it, and of two first ones only one wins."""
    path = home / "link.key"
    if not path.exists():
        fresh = home / f"link.key.{secrets.token_hex(4)}"
        write_atomically(fresh, secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
        fresh.unlink()
    return path.read_bytes()
