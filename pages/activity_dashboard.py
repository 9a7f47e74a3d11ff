"""Activity Dashboard: the whole site. No names here."""

import streamlit as st

from uar.report.days import calendar
from uar.ui.calendar import show_calendar
from uar.ui.cards import show_cards
from uar.ui.chips import chips, show_chips
from uar.ui.frame import current_view
from uar.ui.sections import show_breakdown, show_no_results, show_week

view = current_view()
days = calendar(view.snapshot.mirror, view.filters.of_period())

show_chips(chips(view.filters))
show_cards(view, days)
if not days["events"].any():
    show_no_results(view)
show_calendar(view, days)

left, right = st.columns([3, 2])
with left:
    show_breakdown(view)
with right:
    show_week(view)
