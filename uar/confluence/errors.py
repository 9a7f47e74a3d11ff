"""What can go wrong on the way to Confluence, each as one sentence with its remedy.

No message holds a name, an address of a person or a token, so that it may be logged and shown.
"""

from __future__ import annotations


class ConfluenceError(Exception):
    """Confluence did not give what was asked; the message says what, where and what to do."""


class NotConfigured(ConfluenceError):
    """No address or no credentials for the site."""


class UnsafeAddress(ConfluenceError):
    """The token would travel in the clear, or to a machine that cannot be the site."""


class CredentialsRefused(ConfluenceError):
    """The site does not know the credentials, or they have expired (401)."""


class RightMissing(ConfluenceError):
    """The credentials are right, but not allowed to read this (403)."""


class NotFound(ConfluenceError):
    """Nothing at this path (404): the object is gone, or this version of Confluence does not have the call."""


class RequestRefused(ConfluenceError):
    """The site calls the request itself wrong (another 4xx)."""


class RateLimited(ConfluenceError):
    """The site asks to wait (429), again and again."""


class SiteUnreachable(ConfluenceError):
    """No answer in time, no connection, or an answer that the site itself calls a failure (5xx)."""


class NotConfluence(ConfluenceError):
    """Something answers, but not as Confluence's REST interface does: a web page, a redirect, an endless list."""


class Stopping(ConfluenceError):
    """The program ends while it was waiting."""


def refused(status: int, where: str, *, is_forge: bool = False) -> ConfluenceError:
    """The error of a status that trying again does not change."""
    if is_forge and status in (401, 403):
        # The gateway answers 401 also where a scope is missing ("scope does not match").
        return (CredentialsRefused if status == 401 else RightMissing)(
            f"{where} refused the token of the Forge app ({status}): install the app with the scopes of forge/manifest.yml (forge deploy, "
            "then forge install --upgrade), or set UAR_CONFLUENCE_URLS and UAR_CONFLUENCE_CREDENTIALS for the site."
        )
    if status == 401:
        return CredentialsRefused(
            f"{where} refused the credentials (401): make a new token and set it in UAR_CONFLUENCE_CREDENTIALS as site=email:API token "
            "(Cloud) or site=personal access token (Data Center)."
        )
    if status == 403:
        return RightMissing(
            f"{where} answered that the account of the token has no right to do this (403): use the token of an account that may open "
            "Confluence, see its users and groups, and read all spaces to be reported."
        )
    if status == 404:
        return NotFound(
            f"{where} has nothing there (404): check the address in UAR_CONFLUENCE_URLS (Cloud: https://NAME.atlassian.net/wiki; Data "
            "Center: with its context path, if it has one)."
        )
    return RequestRefused(f"{where} refused the request ({status}): this version of Confluence may not know the call.")


def unreachable(where: str, why: str) -> SiteUnreachable:
    """The error of a site that cannot be read now."""
    return SiteUnreachable(
        f"{where} cannot be reached ({why}): check the address in UAR_CONFLUENCE_URLS, the network and the proxy, then try again."
    )
