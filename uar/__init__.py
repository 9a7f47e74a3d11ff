"""User Activity Report for Confluence: who uses Confluence, how much, and what they do there.

The folders stand in the order in which an event travels: capture (verify, spool, drain), store, report, ui.
`activity.py` holds the noun they all speak of, `config.py` the settings, `__main__.py` the command line.
"""

__version__ = "0.1.0"
