"""One self-contained HTML page per run: pictures are embedded, and every name that comes from data is escaped."""

from __future__ import annotations

import base64
import io
import warnings
from importlib.resources import files
from typing import Any

from matplotlib.figure import Figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as PNG bytes.

    Args:
        figure: a matplotlib figure.
        dpi: dots per inch.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a box in the picture says it as well
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def render(template: str, context: dict[str, Any], figures: dict[str, Figure]) -> str:
    """A page as HTML.

    Args:
        template: "table" or "series", a file in ``qkan/pages``.
        context: what the template shows; text is escaped.
        figures: name -> figure; the template finds each as ``figures.name``, a data URI.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(str(files("qkan").joinpath("pages"))),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    images = {name: "data:image/png;base64," + base64.b64encode(png(f)).decode() for name, f in figures.items()}
    return environment.get_template(f"{template}.html.j2").render(**context, figures=images)
