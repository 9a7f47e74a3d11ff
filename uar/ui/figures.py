"""What the figures of the dashboard have in common: how they look, and that they are made once for all viewers."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

from uar.ui.theme import FONT, Palette

NO_BAR = {"displayModeBar": False, "doubleClick": False}
# Our own layout says all that is needed of Plotly's default template, which is larger than a figure itself.
AXIS = {"automargin": True, "fixedrange": True, "showgrid": False, "zeroline": False, "ticks": ""}


class Figure(go.Figure):  # type: ignore[misc] # Plotly has no types
    """A figure that nobody changes once it is made.

    Streamlit asks for its contents in every run of every viewer; Plotly would copy them each time and search them for what JSON lacks.
    """

    _contents: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The contents, which are not to be changed."""
        if self._contents is None:
            self._contents = json.loads(to_json_plotly(super().to_dict()))
        return self._contents


def layout_base(colors: Palette) -> dict[str, Any]:
    """What every layout begins with."""
    label = {"bgcolor": colors.surface, "bordercolor": colors.outline, "align": "left", "font": {"color": colors.text, "family": FONT}}
    return {
        "template": "none",
        "autotypenumbers": "strict",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": colors.muted},
        "hoverlabel": label,
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": False,
    }
