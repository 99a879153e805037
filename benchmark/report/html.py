"""Static pages: a template filled in, with one script that is allowed by its hash and nothing that asks any network."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from benchmark.names import visible


def fill(template: str, *scripts: str, **values: Any) -> str:
    """A page from a template and scripts of this folder, which become one.

    Every text among the values is escaped, and what cannot be seen in it is written out. The template is given
    `script`, and `script_hash`, by which a Content-Security-Policy allows it.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    text = "\n".join(map(_text, scripts))
    digest = "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return environment.from_string(_text(template)).render(script=Markup(text), script_hash=digest, **values)


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")
