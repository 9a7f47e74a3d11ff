"""Colors of what we draw ourselves. What Streamlit draws takes them from `.streamlit/config.toml`."""

from __future__ import annotations

from dataclasses import dataclass

from uar.activity import ActivityType

# One set for both themes; every color has at least 3:1 on both backgrounds and always stands beside a written label.
TYPE_COLORS = {
    ActivityType.VIEW: "#388bff",
    ActivityType.CREATE: "#4ca756",
    ActivityType.UPDATE: "#e86e12",
    ActivityType.DELETE: "#df1500",
    ActivityType.COMMENT: "#7a5ad5",
    ActivityType.LIKE: "#f856b1",
    ActivityType.ATTACHMENT: "#01a3bd",
    ActivityType.LABEL: "#985059",
    ActivityType.SPACE: "#4f6591",
    ActivityType.OTHER: "#7f8271",
}
FONT = '"Source Sans", sans-serif'


@dataclass(frozen=True)
class Palette:
    """The colors of one theme. `levels` are the calendar's five, from nothing to most; neighbors differ by about 1.5:1 or more."""

    background: str
    surface: str
    text: str
    muted: str
    border: str
    primary: str
    levels: tuple[str, str, str, str, str]
    outline: str


LIGHT = Palette(
    background="#ffffff",
    surface="#f7f8f9",
    text="#172b4d",
    muted="#44546f",
    border="#dcdfe4",
    primary="#0055cc",
    levels=("#eceff3", "#a9c9e6", "#5b9bd1", "#2468a8", "#0b3b70"),
    outline="#8993a5",
)
DARK = Palette(
    background="#161a1d",
    surface="#1d2125",
    text="#dee4ea",
    muted="#9fadbc",
    border="#2c333a",
    primary="#579dff",
    levels=("#1f242c", "#20507c", "#3a86c4", "#85bdea", "#d6ebfc"),
    outline="#738496",
)


def palette(theme: str | None) -> Palette:
    """The palette of Streamlit's theme type, `light` or `dark`; light where it is unknown."""
    return DARK if theme == "dark" else LIGHT


def page_rules(colors: Palette) -> str:
    """The style sheet of both tabs, each rule scoped to a key of ours.

    On a phone the buttons at the top keep their icons; their words stay for screen readers. Two dates fit into their field. What is
    chosen in a list is written on the primary color, where Streamlit's white has only 2.7:1 in the dark theme.
    """
    return f"""<style>
      @media (max-width: 640px) {{
        .st-key-utility :is(button, a) p {{
          position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
        }}
        .st-key-search {{ flex: 1 1 100%; width: 100%; max-width: none; }}
      }}
      .st-key-range [role=group] {{ font-size: 0.8rem; }}
      [data-tag] :is(span[title], button) {{ color: {colors.background}; }}
    </style>"""
