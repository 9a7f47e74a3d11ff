"""The user guide, as the Documentation and Support buttons open it. Works without internet and without a store."""

from pathlib import Path

import streamlit as st

st.page_link("pages/activity_dashboard.py", label="Activity Dashboard", icon=":material/arrow_back:")
with st.container(width=860):
    st.markdown((Path(__file__).parent.parent / "docs" / "guide.md").read_text(encoding="utf-8"))
