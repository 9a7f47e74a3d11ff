"""User Status: everybody by name."""

import streamlit as st

from uar.ui.chips import show_chips
from uar.ui.frame import current_view

view = current_view()

show_chips(view.filters)
with st.container(border=True):
    st.header("Everybody by name", anchor=False)
    st.markdown("The list of people, with status, filters and export, is not part of this version. Period and filters apply to both tabs.")
