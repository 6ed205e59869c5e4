"""How the ES modules in assets/ reach the page: registered once, imported from our own route."""

import hashlib
from functools import cache
from pathlib import Path

from streamlit.components import v2
from streamlit.components.v2.types import ComponentRenderer

ASSETS_FOLDER = Path(__file__).resolve().parents[2] / "assets"

# Every run of the script calls the default export again; a module's `mount` is idempotent and keeps
# its state per parentElement. Promises of one module settle in order, so `unmount` comes last.
_LOADER = """
export default function (component) {
  const url = new URL(`assets/${component.data.assets_hash}/__MODULE__`, document.baseURI).href;
  const host = component.parentElement;
  import(url).then(
    (module) => module.mount(component),
    () => {
      const message = document.createElement("p");
      message.textContent = "This part of the page could not be loaded. Reload the page.";
      host.replaceChildren(message);
    },
  );
  return () => import(url).then((module) => module.unmount(host), () => {});
}
"""


def component(name: str, module: str) -> ComponentRenderer:
    """Register one of our components; call it once, at import time.

    Args:
        name: unique in the app, such as "maskwright_viewer".
        module: an ES module in assets/ that exports ``mount(component)``, called on every run of
            the script with Streamlit's ``{data, parentElement, setStateValue, setTriggerValue}``,
            and ``unmount(parentElement)``, called once.

    Returns:
        The mounting command. Its ``data`` must hold ``assets_hash``, see `assets_hash`.
    """
    return v2.component(
        name, html="<div></div>", js=_LOADER.replace("__MODULE__", module), isolate_styles=True
    )


@cache
def assets_hash() -> str:
    """Give the hash of all files in assets/, 16 hex digits: the part of their URL that lets browsers
    keep them for ever. Read once per process."""
    digest = hashlib.sha256()
    for path in sorted(p for p in ASSETS_FOLDER.rglob("*") if p.is_file()):
        digest.update(path.relative_to(ASSETS_FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
