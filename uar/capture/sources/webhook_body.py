"""What a webhook's body is about: Data Center and the Cloud webhooks name their objects alike (`page`, `comment`, `attachedTo` …)."""

from __future__ import annotations

from uar.capture.delivery import Unreadable
from uar.capture.payload import MAX_TITLE, Payload, Subject, id_at, object_at, text_at

HOLDERS = ("container", "parent")
CONTENT_OBJECTS = ("page", "blog", "comment", "content")
# Events about one of these are worth nothing without its id; a label, user or group event may well have no content.
NEEDS_CONTENT = ("page", "blogpost", "comment", "content")


def subjects(payload: Payload, kind: str) -> list[tuple[str | None, Subject]]:
    """What the event is about, one entry per object, each with what tells it from the others of the delivery."""
    if kind == "attachment":
        return attachment_subjects(payload)
    return [(None, content_subject(payload, kind))]


def attachment_subjects(payload: Payload) -> list[tuple[str | None, Subject]]:
    """One entry per file; the space is that of the page they hang on."""
    files = payload.get("attachments")
    if not isinstance(files, list) or not files:
        raise Unreadable("`attachments` is not a list of files.")
    page = object_at(payload, "attachedTo") or {}
    found: list[tuple[str | None, Subject]] = []
    for file in files:
        file_id = id_at(file) if isinstance(file, dict) else None
        if file_id is None:
            raise Unreadable("An attachment has no id.")
        title = text_at(file, "fileName", MAX_TITLE) or text_at(file, "title", MAX_TITLE)
        found.append((file_id, Subject(file_id, title, space_key(page) or space_key(payload))))
    return found


def content_subject(payload: Payload, kind: str) -> Subject:
    """The page, blog post, comment, labeled object or space that the event is about."""
    space = object_at(payload, "space")
    if space is not None and kind not in NEEDS_CONTENT:
        return Subject(None, None, text_at(space, "key"), text_at(space, "title") or text_at(space, "name"))
    content = next((found for name in CONTENT_OBJECTS if (found := object_at(payload, name)) is not None), None)
    if content is None and kind not in NEEDS_CONTENT:
        content = object_at(payload, "labeled")
    if content is None:
        content = {}
    content_id = id_at(content)
    if content_id is None and kind in NEEDS_CONTENT:
        raise Unreadable(f"The {kind} has no id.")
    return Subject(content_id, text_at(content, "title", MAX_TITLE), space_key(content) or space_key(payload))


def space_key(holder: Payload) -> str | None:
    """The key of the space that an object names, or else what it hangs on: a comment may name it in its page only."""
    return _own_space_key(holder) or next(
        (key for name in HOLDERS if (key := _own_space_key(object_at(holder, name) or {})) is not None),
        None,
    )


def _own_space_key(holder: Payload) -> str | None:
    return text_at(holder, "spaceKey") or text_at(object_at(holder, "space") or {}, "key")
