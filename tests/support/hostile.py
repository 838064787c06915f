"""Paths as attackers, broken clients and spreadsheets write them: data for tests, stored as real rows."""

TEXTS = {
    "script": "<script>alert(1)</script>",
    "end of script": "</script><script>alert(1)</script>",
    "marked script": "</script><script>window.__pwned=1</script>",
    "image": '"><img src=x onerror=alert(1)>',
    "marked image": "'><img src=x onerror=window.__pwned=1>",
    "drawing": "<svg onload=window.__pwned=1><title>x</title></svg>",
    "javascript": "javascript:alert(1)",
    "marked javascript": "javascript:window.__pwned=1//",
    "other host": "//evil.test/x.js",
    "braces": "{{7*7}}",
    "template": "{% raw %}",
    "end of template": "{% endraw %}{{ site }}",
    "comment": "<!--",
    "end of comment": "--><b>",
    "section": "<![CDATA[",
    "end of section": "]]>",
    "entity": "&lt;b&gt;&amp;&#0;",
    "line separator": "/a\u2028b\u2029c",
    "right to left override": "/gnp\u202egpj.exe\u202c",
    "right to left isolate": "/\u2067left\u2069\u200f",
    "hebrew": "/\u05e9\u05dc\u05d5\u05dd/1",
    "nul": "/nul\x00nul",
    "controls": "/\x01\x0b\x1f\x7f\x85\x9b",
    "line break": "/a\r\nb\tc",
    "emoji": "/\U0001f469\u200d\U0001f4bb/\u2764\ufe0f",
    "combining marks": "/e\u0301" + "\u0336" * 12 + "/x",
    "formula": '=HYPERLINK("http://x","y")',
    "plus": "+1",
    "minus": "-1",
    "at": "@SUM(1)",
    "tab": "\tx",
    "carriage return": "\rx",
    "percent": "/%zz%00%ff%",
    "quotes": "/\"'`\\'\\\"\\\\",
    "style": "</style><style>*{display:none}</style>",
    "prototype": "__proto__",
    "constructor": "constructor",
    "empty": "",
    "spaces": "  /a  b  ",
    "noncharacter": "/\ufffe\ufdd0\U0010ffff",
    "the name of the rest": "Other",
    "2000 letters": "/" + "long<i>" * 286,
    "2000 letters without a break": "/" + "w" * 1999,
}
"""Paths by what they try."""

NOT_UTF8 = {"surrogate": b"/\xed\xa0\x80", "latin": b"/caf\xe9", "cut": b"/\xf0\x9f\x98"}
"""Bytes that are not UTF-8, which only SQLite stores as text; one is a lone surrogate."""

STORED: tuple[str | bytes, ...] = (
    *TEXTS.values(),
    *(f"/{text}" for text in TEXTS.values() if not text.startswith("/")),
    *NOT_UTF8.values(),
)
"""Every path; those without a leading slash also with one, so that they become links."""


def read(path: str | bytes) -> str:
    """Return a stored path as reports for programs have it: each byte that is not UTF-8 as an escape."""
    return path if isinstance(path, str) else path.decode("utf-8", "backslashreplace")


PATHS = tuple(map(read, STORED))
