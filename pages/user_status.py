"""User Status: everybody by name."""

import streamlit as st

from uar.ui import address
from uar.ui.frame import current_view
from uar.ui.grid import show_grid
from uar.ui.people import counts, directory, everybody, listed
from uar.ui.people_filters import nearest_people_filters, people_filters
from uar.ui.people_head import (
    page_of,
    show_nobody,
    show_notes,
    show_pages,
    show_people_chips,
    show_share,
    show_statuses,
    show_toolbar,
)
from uar.ui.person_dialog import open_person

view = current_view()
known = directory(view.site)
group_names = sorted(known.groups["name"], key=str.casefold)
address.settle(nearest_people_filters(group_names), once="people.is_settled")

filters = people_filters(st.session_state["filters.slot"], group_names)
people = everybody(view, known)
rows = listed(people, filters, known)
by_status = counts(people, filters, known)

show_statuses(by_status, filters)
show_share(by_status, view.colors)
columns = show_toolbar(view, people, rows, filters)
show_people_chips(view, filters)
show_notes(view, people, known)
if not len(rows):
    show_nobody(people)
show_grid(people.table.iloc[page_of(rows)], columns, filters.sort, view.filters.today, view.filters.zone, view.colors)
show_pages(len(rows))
open_person(view, people, rows, known)
