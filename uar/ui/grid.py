"""The list of people as a grid: one page of rows, drawn by AG Grid (community edition) in a frame of its own.

    rows of the table -> `grid_rows` (what is shown) -> AgGrid -> click, sort or filter -> the address -> the next run

Sorting and filtering happen in Python over all rows. The grid shows a page that is already right, so its own comparisons always answer
"equal" and "yes". All its JavaScript is constant text of this module.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
from st_aggrid import AgGrid, JsCode
from st_aggrid.shared import StAggridTheme

from uar.activity import ActivityType
from uar.report.status import Status, local_date
from uar.ui.people_filters import NUMBER_COLUMNS, SORTABLE, Where, current_where, set_sort, set_where, where_of
from uar.ui.theme import DARK, Palette
from uar.ui.words import short_date

ROW_PX, HEAD_PX, MOST_PX = 38, 48, 688
DEFAULT_COLUMNS = ("status", "days", "active_days", "current_streak", "longest_streak", "events", "line", "groups")
CHOICE = {
    "status": "Status",
    "days": "Last active",
    "active_days": "Active days",
    "current_streak": "Current streak",
    "longest_streak": "Longest streak",
    "events": "Events",
    "line": "Last 30 days",
    "groups": "Groups",
    "email": "Email",
    "last_type": "Last event type",
} | {kind.key: kind.label for kind in ActivityType}
WIDTHS = {"status": 152, "days": 108, "line": 164, "groups": 130, "email": 200, "last_type": 110}
NUMBER_PX = 80
# Each at least 4.5:1 on the theme's background; the shape says the same.
STATUS_COLORS = {
    Status.ACTIVE: ("#216e4e", "#7ee2b8"),
    Status.LOW: ("#7f5f01", "#f5cd47"),
    Status.INACTIVE: ("#ae2e24", "#fd9891"),
    Status.NEVER_SEEN: ("#ae2e24", "#fd9891"),
    Status.NEW: ("#0055cc", "#85b8ff"),
    Status.INVITED: ("#0055cc", "#85b8ff"),
}
# A filter or order set elsewhere (chip, Clean-up, Back) reaches the grid by another key or by `columns_state`.
TOLD = JsCode("""function({streamlitRerunEventTriggerName, eventData}) {
  const api = eventData.api;
  return {
    event: streamlitRerunEventTriggerName,
    person: eventData.data ? eventData.data.account_id : "",
    sort: api.getColumnState().filter(one => one.sort).map(one => one.colId + "-" + one.sort).join(),
    filter: api.getFilterModel(),
    at: Date.now()
  };
}""")
IS_TELLING = JsCode("""function({streamlitRerunEventTriggerName, eventData}) {
  if (streamlitRerunEventTriggerName === "sortChanged") return eventData.source !== "api";
  return streamlitRerunEventTriggerName !== "cellKeyDown" || eventData.event.key === "Enter";
}""")
# The drawer gives the focus back to the frame when it closes, but not to the cell within.
REFOCUS = JsCode("""function({api}) {
  window.addEventListener("focus", () => {
    const cell = api.getFocusedCell();
    if (cell && document.activeElement === document.body) api.setFocusedCell(cell.rowIndex, cell.column);
  });
}""")
ROW_ID = JsCode("function(params) { return params.data.account_id; }")
EQUAL = JsCode("function() { return 0; }")
YES = JsCode("function() { return true; }")
THOUSANDS = JsCode("function(params) { return params.value === null ? '' : params.value.toLocaleString('en-US'); }")
LAST = JsCode("function(params) { return params.data.last; }")
FONT_FILES = "static/static/media"


def show_grid(table: pd.DataFrame, columns: list[str], sort: tuple[str, str], today: date, zone: str, colors: Palette) -> None:
    """Draw one page of people; `table` as from `people_table`.

    A click on a row, or Enter in it, puts the person into the address.
    """
    where = current_where()
    key = _key(where, colors)
    AgGrid(
        grid_rows(table, today, zone),
        gridOptions=_options(columns, where, sort),
        height=min(MOST_PX, HEAD_PX + ROW_PX * max(len(table), 3) + 4),
        key=key,
        theme=_theme(colors),
        custom_css=_style(colors),
        data_return_mode="CUSTOM",
        custom_jscode_for_grid_return=TOLD,
        should_grid_return=IS_TELLING,
        update_on=["sortChanged", "filterChanged", "rowClicked", "cellKeyDown"],
        callback=_told,
        columns_state=_column_state(columns, sort),
        server_sync_strategy="server_wins",
        allow_unsafe_jscode=True,
        show_toolbar=False,
    )


def _key(where: tuple[Where, ...], colors: Palette) -> str:
    """Another key, and so a fresh frame, if the grid's own filters are not those of the address, or the theme has changed."""
    if st.session_state.get("grid.where") != where:
        st.session_state["grid.where"] = where
        st.session_state["grid.number"] = st.session_state.get("grid.number", 0) + 1
    return f"people_grid_{st.session_state.get('grid.number', 0)}_{'dark' if colors == DARK else 'light'}"


def _told(answer: Any) -> None:
    """What the viewer did in the grid, as its own JavaScript says it."""
    told = answer.raw_data or {}
    match told.get("event"):
        case "sortChanged":
            column, _, direction = str(told.get("sort", "")).rpartition("-")
            set_sort(column if column in SORTABLE else "", direction)
        case "filterChanged":
            where = tuple(filter(None, (_where(column, model) for column, model in (told.get("filter") or {}).items())))
            st.session_state["grid.where"] = where
            set_where(where)
        case "rowClicked" | "cellKeyDown":
            if told.get("person"):
                st.query_params["person"] = str(told["person"])


def _where(column: str, model: dict[str, Any]) -> Where | None:
    """A column's filter from AG Grid's model of it (ag-grid.com, "Simple filter", filter models)."""
    value, to = (_text(model.get(name)) for name in ("filter", "filterTo"))
    return where_of(".".join([column, str(model.get("type")), value + (f"~{to}" if to else "")]))


def _text(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)


def grid_rows(table: pd.DataFrame, today: date, zone: str) -> pd.DataFrame:
    """What the grid shows of these rows of `people_table`: plain numbers and text, one row per person."""
    names = table["display_name"].astype("str").fillna("")
    days = table["days_since_last_active"]
    shown = {
        "account_id": table["account_id"].astype("str"),
        "person": names.where(names != "", table["account_id"].astype("str")),
        "status": [f"{Status(word).shape} {word}" for word in table["status"]],
        "days": days.astype("object").where(days.notna(), None),
        "last": [_days_ago(day, source) for day, source in zip(days, table["last_source"], strict=True)],
        "last_day": [_day(at, zone, source) for at, source in zip(table["last_active_at"], table["last_source"], strict=True)],
        "line": table["line"].astype("str"),
        "groups": table["groups"].astype("str").str.replace("; ", ", ", regex=False),
        "email": table["email"].astype("str").fillna(""),
        "last_type": table["last_type"].astype("str").fillna("").str.capitalize(),
    }
    return pd.DataFrame(shown | {name: table[name] for name in NUMBER_COLUMNS if name != "days"}).reset_index(drop=True)


def _days_ago(days: Any, source: str) -> str:
    if pd.isna(days):
        return "never"
    words = {0: "today", 1: "yesterday"}.get(int(days), f"{int(days):,} days ago")
    return f"{words} ({source})" if source else words


def _day(at: Any, zone: str, source: str) -> str:
    """The date only: at what hour somebody works is nobody's business."""
    if pd.isna(at):
        return "No activity is recorded"
    return short_date(local_date(int(at), zone)) + (f", as {source} says" if source else "")


def _options(columns: list[str], where: tuple[Where, ...], sort: tuple[str, str]) -> dict[str, Any]:
    definitions = [_person_column(), *(_column(name, name not in columns) for name in CHOICE)]
    options: dict[str, Any] = {
        "columnDefs": [
            one | ({"initialSort": sort[1]} if one["field"] == sort[0] else {}) | ({"flex": 1} if one["field"] == _widest(columns) else {})
            for one in definitions
        ],
        "defaultColDef": {
            "resizable": True,
            "sortable": True,
            "comparator": EQUAL,
            "wrapHeaderText": True,
            "sortingOrder": ["desc", "asc"],
        },
        "getRowId": ROW_ID,
        "onGridReady": REFOCUS,
        "rowHeight": ROW_PX,
        "headerHeight": HEAD_PX,
        "suppressMovableColumns": True,
        "animateRows": False,
        "enableCellTextSelection": True,
        "enableBrowserTooltips": True,
        "suppressDragLeaveHidesColumns": True,
        "overlayNoRowsTemplate": "Nobody fits these filters.",
        "initialState": {"filter": {"filterModel": {one.column: _model(one) for one in where}}},
    }
    return options


def _person_column() -> dict[str, Any]:
    return {
        "field": "person", "headerName": "Person", "pinned": "left", "width": 168, "tooltipField": "person",
        "sortingOrder": ["asc", "desc"], "cellClass": "person",
    } | _text_filter()  # fmt: skip


def _column(name: str, is_hidden: bool) -> dict[str, Any]:
    column: dict[str, Any] = {"field": name, "headerName": CHOICE[name], "hide": is_hidden, "width": WIDTHS.get(name, NUMBER_PX)}
    if name == "days":
        column |= {"valueFormatter": LAST, "tooltipField": "last_day", "sortingOrder": ["asc", "desc"]} | _number_filter()
    elif name in NUMBER_COLUMNS:
        column |= {"type": "rightAligned", "valueFormatter": THOUSANDS} | _number_filter()
    elif name == "line":
        column |= {"cellClass": "line", "minWidth": WIDTHS["line"]}
    else:
        column |= {"tooltipField": name, "sortingOrder": ["asc", "desc"]} | _text_filter()
    if name == "status":
        column["cellClassRules"] = {_class(status): f"data.status.endsWith(' {status.value}')" for status in STATUS_COLORS}
    if name == "groups":
        column["minWidth"] = 90
    return column


def _widest(columns: list[str]) -> str | None:
    """Who takes the room that the others leave."""
    return next((name for name in ("groups", "email", "line", "status", *columns) if name in columns), None)


def _class(status: Status) -> str:
    return "is-" + status.value.lower().replace(" ", "-")


def _text_filter() -> dict[str, Any]:
    parameters = {"filterOptions": ["contains", "equals", "startsWith"], "textMatcher": YES}
    return {"filter": "agTextColumnFilter", "filterParams": parameters | _buttons()}


def _number_filter() -> dict[str, Any]:
    parameters = {"filterOptions": ["greaterThanOrEqual", "lessThanOrEqual", "equals", "inRange"], "inRangeInclusive": True}
    return {"filter": "agNumberColumnFilter", "filterParams": parameters | _buttons()}


def _buttons() -> dict[str, Any]:
    return {"maxNumConditions": 1, "buttons": ["reset", "apply"], "closeOnApply": True}


def _model(where: Where) -> dict[str, Any]:
    is_number = where.column in NUMBER_COLUMNS
    model: dict[str, Any] = {"filterType": "number" if is_number else "text", "type": where.comparison}
    model["filter"] = float(where.value) if is_number else where.value
    return model | ({"filterTo": float(where.to)} if where.to else {})


def _column_state(columns: list[str], sort: tuple[str, str]) -> list[dict[str, Any]]:
    """Which columns are shown, the arrow of the order, and who takes the room that is left, for `applyColumnState` of the grid."""
    widest = _widest(columns)
    return [
        {
            "colId": name,
            "sort": sort[1] if name == sort[0] else None,
            "hide": name not in (*columns, "person"),
            "flex": 1 if name == widest else None,
        }
        for name in ("person", *CHOICE)
    ]


def _theme(colors: Palette) -> StAggridTheme:
    """AG Grid's own parameters with our colors (ag-grid.com, "Theme parameters")."""
    return StAggridTheme(base="quartz").withParams(
        fontFamily=["Source Sans", "sans-serif"],
        fontSize=14,
        headerFontSize=12,
        headerFontWeight=600,
        backgroundColor=colors.background,
        foregroundColor=colors.text,
        headerTextColor=colors.muted,
        headerBackgroundColor=colors.surface,
        borderColor=colors.border,
        accentColor=colors.primary,
        rowHoverColor=colors.surface,
        chromeBackgroundColor=colors.surface,
        menuBackgroundColor=colors.background,
        inputBackgroundColor=colors.background,
        browserColorScheme="dark" if colors == DARK else "light",
        wrapperBorderRadius=8,
        cellHorizontalPadding=9,
    )


def _style(colors: Palette) -> dict[str, dict[str, str]]:
    """The page's font, read from Streamlit's own files, and the colors of the words for status."""
    number = int(colors == DARK)
    rules = {f".ag-cell.{_class(status)}": {"color": shades[number]} for status, shades in STATUS_COLORS.items()}
    return rules | {
        "@font-face": {"font-family": "'Source Sans'", "src": f"url({_font()})", "font-weight": "200 900"},
        ".ag-row": {"cursor": "pointer"},
        ".ag-header-cell-text": {"word-break": "normal", "overflow-wrap": "normal"},
        # Ten of these icons are noise and take the room of the words; they come with the mouse or the keyboard.
        ".ag-header-cell:not(:hover):not(:focus-within) .ag-header-cell-filter-button": {"display": "none"},
        ".ag-header-cell-filtered .ag-header-cell-text": {"color": colors.primary, "text-decoration": "underline"},
        ".ag-cell": {"font-variant-numeric": "tabular-nums"},
        ".ag-cell.person": {"font-weight": "600"},
        ".ag-cell.line": {
            "color": colors.levels[2], "font-family": "'DejaVu Sans Mono', monospace", "font-size": "8px", "text-overflow": "clip",
        },
    }  # fmt: skip


def _font() -> str:
    """The address of the page's font, as seen from the grid's frame; the file's name changes with Streamlit's version."""
    found = sorted(Path(st.__file__).parent.joinpath(FONT_FILES).glob("SourceSansVF-Upright*.woff2"))
    return f"../../static/media/{found[0].name}" if found else ""
