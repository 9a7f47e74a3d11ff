"""My Activity: the viewer's own record. It needs to know who the viewer is."""

import streamlit as st

st.page_link("pages/activity_dashboard.py", label="Activity Dashboard", icon=":material/arrow_back:")
with st.container(width=860):
    st.title("My Activity", anchor=False)
    st.info(
        "This page shows the person who is logged in their own record. The dashboard has no login, so it cannot know who you are. "
        "Your record stands on User Status: open it and look for your name.",
        icon=":material/lock_person:",
    )
    st.page_link("pages/user_status.py", label="User Status", icon=":material/group:")
