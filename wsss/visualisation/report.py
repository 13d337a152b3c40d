"""Report page: one HTML file that needs nothing else, and asks no network.

The page's parts lie beside this file, in ``page/``: the template, its style and its script.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import cv2
import numpy as np


def render_page(content: Mapping[str, Any]) -> str:
    """Render the report as HTML.

    Args:
        content: What ``page/report.html`` asks for: texts, which are escaped; the charts of
            `wsss.visualisation.charts` under the keys ``svg`` and ``bars``; and ``gallery``, which
            the page's script reads as JSON.

    Raises:
        jinja2.UndefinedError: Something is missing.
    """
    import jinja2
    from markupsafe import Markup

    page = resources.files("wsss.visualisation") / "page"
    parts = {name: (page / f"report.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    # everything is escaped but what is marked; a missing key is an error, not an empty place
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    gallery = json.dumps(
        content["gallery"], ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return environment.from_string(parts["html"]).render(
        {
            **_with_charts(content),
            "css": Markup(parts["css"]),
            "js": Markup(parts["js"]),
            # a name may hold "</script>": inside a JSON text, < may be written as \u003c
            "gallery": Markup(gallery.replace("<", "\\u003c")),
        }
    )


def _with_charts(value: Any, key: str = "") -> Any:
    """Mark the charts of the content, and nothing else, as HTML."""
    from markupsafe import Markup

    if isinstance(value, Mapping):
        return {name: _with_charts(item, name) for name, item in value.items() if name != "gallery"}
    if isinstance(value, list):
        return [_with_charts(item) for item in value]
    return Markup(value) if key in ("svg", "bars") else value


def packed(values: np.ndarray) -> str:
    """Pack uint8 values for the page: deflated, base64."""
    if values.dtype != np.uint8:
        raise ValueError(f"values: expected uint8, got {values.dtype}")
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()


def packed_photograph(image: np.ndarray, long_side: int = 360, quality: int = 72) -> str:
    """Pack an (H, W, 3) uint8 RGB photograph for the page: made smaller, JPEG, base64."""
    height, width = image.shape[:2]
    shrink = min(1.0, long_side / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise OSError("cannot encode a photograph as JPEG")
    return base64.b64encode(encoded.tobytes()).decode()
