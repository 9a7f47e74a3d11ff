"""The dashboard: two tabs with the same title row and filters, the Collection page, and the guide behind the Documentation button."""

from pathlib import Path

import streamlit as st

from uar.ui.frame import open_page

# An icon by name would be fetched from another host.
favicon = Path(__file__).parent / "uar" / "ui" / "favicon.png"
st.set_page_config("User Activity Report", page_icon=favicon, layout="wide", initial_sidebar_state=284)  # as wide as two dates

collection = st.Page("pages/collection.py", title="Collection", icon=":material/sensors:")
guide = st.Page("pages/guide.py", title="Guide", icon=":material/menu_book:", visibility="hidden")
my_activity = st.Page("pages/my_activity.py", title="My Activity", visibility="hidden")  # shown once there is a login
users = st.Page("pages/user_status.py", title="User Status", icon=":material/group:")
page = st.navigation(
    [
        st.Page("pages/activity_dashboard.py", title="Activity Dashboard", icon=":material/calendar_month:", default=True),
        users,
        collection,
        guide,
        my_activity,
    ],
    position="top",
)

# Drawn here and not by the pages: bound filters keep their place in the address only if changing the tab leaves them standing.
if page not in (collection, guide, my_activity):
    open_page(page.title, is_list=page is users)
page.run()
