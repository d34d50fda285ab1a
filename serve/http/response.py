"""Labels the engine's answer with its revision and counts its tokens, on the bytes, without parsing it.

The patterns cannot occur in an answer's text, where JSON writes each quotation mark as \\".
"""

import re

EVENT_END = b"\n\n"
CONTENT = re.compile(rb'"(?:content|text|delta|arguments|reasoning|reasoning_content)":"[^"]')
PROMPT_TOKENS = re.compile(rb'"(?:prompt_tokens|input_tokens)":(\d+)')
COMPLETION_TOKENS = re.compile(rb'"(?:completion_tokens|output_tokens)":(\d+)')
ENDS = (b"data: [DONE]", b'"type":"response.completed"', b'"type":"response.incomplete"')
FAILED = (b'data: {"error"', b'"type":"response.failed"')
USAGE_ONLY = b'"choices":[]'


class ResponseRewriter:
    """Writes the revision into the engine's JSON as `system_fingerprint`, and counts what passes.

    The engine writes `"model":"persona@revision"` once in each document.
    """

    def __init__(self, engine_name: str, revision: str, *, drop_usage: bool = False) -> None:
        self._model = f'"model":"{engine_name}"'.encode()
        self._fingerprint = f'"system_fingerprint":"{revision}"'.encode()
        self._labelled = self._model + b"," + self._fingerprint
        self._drop_usage = drop_usage
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.events = 0
        """Number of blocks of a stream with content."""
        self.ended = False
        """Whether the engine marked the answer as complete."""
        self.failed = False
        """Whether the engine reported an error within the answer."""

    def document(self, body: bytes) -> bytes:
        """Labels a whole answer that was not streamed."""
        self._count(body)
        self.ended = True
        return self._label(body)

    def block(self, events: bytes) -> tuple[bytes, bool]:
        """Labels whole events of a stream; also returns whether they have content."""
        if b'_tokens":' in events:
            self._count(events)
        if self._drop_usage and USAGE_ONLY in events:
            events = b"".join(e + EVENT_END for e in events.split(EVENT_END) if e and USAGE_ONLY not in e)
        if any(end in events for end in ENDS):
            self.ended = True
        if any(failed in events for failed in FAILED):
            self.failed = True
        content = CONTENT.search(events) is not None
        self.events += content
        return self._label(events), content

    def _label(self, document: bytes) -> bytes:
        if b'"system_fingerprint":null' in document:
            return document.replace(b'"system_fingerprint":null', self._fingerprint)
        return document.replace(self._model, self._labelled)

    def _count(self, document: bytes) -> None:
        prompt, completion = PROMPT_TOKENS.findall(document), COMPLETION_TOKENS.findall(document)
        self.prompt_tokens = int(prompt[-1]) if prompt else self.prompt_tokens
        self.completion_tokens = int(completion[-1]) if completion else self.completion_tokens


def with_usage(body: dict) -> tuple[dict, bool]:
    """Adds a request for token counts to a streamed body; also returns whether to drop them from the answer."""
    options = body.get("stream_options")
    if body.get("stream") is not True or not (options is None or isinstance(options, dict)):
        return body, False
    if (options or {}).get("include_usage"):
        return body, False
    return {**body, "stream_options": {**(options or {}), "include_usage": True}}, True
