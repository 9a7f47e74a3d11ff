"""The dashboard: two tabs on top, and the guide behind the Documentation button."""

from pathlib import Path

import streamlit as st

# An icon by name would be fetched from another host.
st.set_page_config("User Activity Report", page_icon=Path(__file__).parent / "uar" / "ui" / "favicon.png", layout="wide")

page = st.navigation(
    [
        st.Page("pages/activity_dashboard.py", title="Activity Dashboard", icon=":material/calendar_month:", default=True),
        st.Page("pages/user_status.py", title="User Status", icon=":material/group:"),
        st.Page("pages/guide.py", title="Guide", icon=":material/menu_book:", visibility="hidden"),
    ],
    position="top",
)
page.run()
