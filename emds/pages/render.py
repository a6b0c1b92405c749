"""From a template and values to the text of a page."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray


def render(template: str, **values: object) -> str:
    """Return a page, with every value escaped.

    Parameters
    ----------
    template : str
        A file in ``emds/pages/templates``. Beside the filters of Jinja it has ``number``
        (`show_number`) and ``png`` (`data_uri`).
    **values
        What the template names; a name without a value is an error.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("emds.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": show_number, "png": data_uri}
    return environment


def show_number(value: float | None) -> str:
    """Write a measure with four significant digits; None is infinite.

    Examples
    --------
    >>> [show_number(value) for value in (26.2149, 0.71828, 0.012345, 0.0, None)]
    ['26.21', '0.7183', '0.01235', '0', '∞']
    """
    return "∞" if value is None else f"{value:#.4g}" if value else "0"


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, (Y, X) grey or (Y, X, 3) colour, as the ``src`` of an ``<img>``: a PNG."""
    content: Any = imagecodecs.png_encode(np.ascontiguousarray(image), level=9)
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
