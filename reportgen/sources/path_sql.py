"""Path rules as SQL of PostgreSQL and DuckDB: the same as :mod:`reportgen.core.path_rules`."""

import re
from collections.abc import Sequence
from itertools import count

from reportgen.core.path_rules import (
    EXCLUDED,
    LOWER,
    QUERY,
    UPPER,
    UTF8,
    PathRules,
    any_pattern,
    glob_pattern,
    head_pattern,
)
from reportgen.sources.base import literal

QUERIES = rf"{QUERY}|[^?]+"
"""The pattern of each query of a path, and of each part between them."""
ENCODED = f"(?:{UTF8})+|[^%]+|%"
"""The pattern of encoded characters, and of each part between them: other text, or a ``%`` alone."""

BELOW = r"\1"
"""What stands for the path below a folder, in a replacement."""


class PathSql:
    """DuckDB's SQL."""

    stored = "form"

    def text(self, value: str) -> str:
        """Return a literal."""
        return literal(value)

    def matches(self, text: str, pattern: str) -> str:
        """Return whether the whole text matches the pattern."""
        return f"regexp_full_match({text}, {self.text(f'(?s){pattern}')})"

    def matches_any(self, text: str, globs: Sequence[str]) -> str:
        """Return whether the text matches one of the globs."""
        return self.matches(text, any_pattern(tuple(globs)))

    def kept(self, path: str, names: str) -> str:
        """Return the path with those parts of each query that have one of the ``names``."""
        parts = f"[x FOR x IN string_split(substr(q, 2), '&') IF split_part(x, '=', 1) IN ({names})]"
        query = f"coalesce('?' || nullif(array_to_string({parts}, '&'), ''), '')"
        queries = f"[CASE WHEN q[1] = '?' THEN {query} ELSE q END FOR q IN {self._parts(path, QUERIES)}]"
        return f"array_to_string({queries}, '')"

    def decoded(self, path: str) -> str:
        """Return the path without encoded characters beyond ASCII."""
        characters = "decode(unhex(replace(q, '%', '')))"
        is_encoded = "q[1] = '%' AND length(q) > 1"
        parts = f"[CASE WHEN {is_encoded} THEN {characters} ELSE q END FOR q IN {self._parts(path, ENCODED)}]"
        return f"array_to_string({parts}, '')"

    def _parts(self, path: str, pattern: str) -> str:
        return f"regexp_extract_all({path}, {self.text(f'(?s){pattern}')})"

    def by_rules(self, relation: str, rules: PathRules) -> str:
        """Return ``relation`` with ``path`` and ``section``, which the rules make of its column ``form``."""
        sql, numbers = relation, count()

        def add(expression: str) -> str:
            """Add a column, and return its name."""
            nonlocal sql
            name = f"step_{next(numbers)}"
            # OFFSET 0 keeps PostgreSQL from computing a step once for each time that its result is used.
            sql = f"(SELECT *, {expression} AS {name} FROM {sql} OFFSET 0) AS of_{name}"
            return name

        path = add(self.stored)
        if rules.query:
            kept = self.kept(path, ", ".join(map(self.text, rules.query)))
            path = add(f"CASE WHEN strpos({path}, '?') > 0 THEN {kept} ELSE {path} END")
        elif rules.query is not None:
            without = f"regexp_replace({path}, {self.text(f'(?s){QUERY}')}, '', 'g')"
            # A regular expression takes longer, and few paths have a #.
            cut = f"CASE WHEN strpos({path}, '#') > 0 THEN {without} ELSE split_part({path}, '?', 1) END"
            path = add(f"CASE WHEN strpos({path}, '?') > 0 THEN {cut} ELSE {path} END")
        if rules.decode:
            path = add(f"CASE WHEN strpos({path}, '%') > 0 THEN {self.decoded(path)} ELSE {path} END")
        head = first = add(f"split_part({path}, '?', 1)")
        if rules.lower:
            head = add(f"translate({head}, '{UPPER}', '{LOWER}')")
        if rules.index:
            names = "|".join(map(glob_pattern, rules.index))
            end = f"(?:/+(?:{names}))+/*$" if rules.slash else f"(?:/(?:{names}))+$"
            without = f"regexp_replace({head}, {self.text(f'(?s){end}')}, '/')"
            found = " OR ".join(f"strpos({head}, {self.text(f'/{name}')}) > 0" for name in rules.index)
            head = add(f"CASE WHEN {found} THEN {without} ELSE {head} END")
        if rules.slash:
            stripped = f"coalesce(nullif(rtrim({head}, '/'), ''), '/')"
            head = add(f"CASE WHEN right({head}, 1) = '/' THEN {stripped} ELSE {head} END")
        if rules.renames:
            cases = " ".join(self._rename(head, old, new) for old, new in rules.renames)
            head = add(f"CASE {cases} ELSE {head} END")
        is_excluded = add(self.matches_any(head, rules.exclude) if rules.exclude else "false")
        path = f"CASE WHEN NOT {is_excluded} THEN {head} || substr({path}, length({first}) + 1) END"
        sections = self._sections(head, [globs for _, globs in rules.sections])
        section = f"CASE WHEN {is_excluded} THEN {EXCLUDED}{sections} ELSE 0 END"
        return f"(SELECT *, {path} AS path, {section} AS section FROM {sql}) AS ruled"

    def _rename(self, head: str, old: str, new: str) -> str:
        start, folder = old.removesuffix("/**"), new.removesuffix("/**")
        rest = f"substr({head}, length({self.text(start)}) + 1)"
        if "*" in start:
            rest = f"regexp_replace({head}, {self.text(f'(?s)^{head_pattern(old)}$')}, {self.text(BELOW)})"
        name = self.text(folder) + (f" || {rest}" if folder != new else "")
        return f"WHEN {self.matches_any(head, [old])} THEN {name}"

    def _sections(self, head: str, sections: Sequence[tuple[str, ...]]) -> str:
        return "".join(
            f" WHEN {self.matches_any(head, globs)} THEN {number}" for number, globs in enumerate(sections, 1)
        )


class PostgresPathSql(PathSql):
    """PostgreSQL's SQL. Texts are compared and searched by code points, whatever the collation is."""

    stored = 'form COLLATE "C"'

    def text(self, value: str) -> str:
        """Return a literal that means the same with either value of standard_conforming_strings."""
        return "E" + literal(value.replace("\\", "\\\\"))

    def matches(self, text: str, pattern: str) -> str:
        """Return whether the whole text matches the pattern."""
        return f"{text} ~ {self.text(f'(?s)^(?:{pattern})$')}"

    def matches_any(self, text: str, globs: Sequence[str]) -> str:
        """Return whether the text matches one of the globs.

        LIKE, which is faster than a regular expression, first finds the texts that may. Most texts have
        no dot, and most globs have one. The second LIKE is exact if each ``*`` but the first is double.
        """
        may_match = {glob: glob.removesuffix("/**") + "**" * glob.endswith("/**") for glob in globs}
        dotted = [may_match[glob] for glob in globs if "." in glob]
        others = [may_match[glob] for glob in globs if "." not in glob]
        likes = f"{self._is_like(text, others)} OR strpos({text}, '.') > 0 AND {self._is_like(text, dotted)}"
        loose = [glob for glob in globs if "*" in re.sub(r"^\*\*/\*(?=[^/*]*$)|\*\*", "", glob)]
        exact = [part for glob in globs if glob not in loose for part in (glob, glob.removesuffix("/**"))]
        matches = super().matches_any(text, loose) if loose else "false"
        return f"CASE WHEN {likes} THEN {self._is_like(text, exact)} OR {matches} ELSE false END"

    def _is_like(self, text: str, globs: Sequence[str]) -> str:
        """Return whether the text matches one of the globs if each star in them stands for any text."""
        likes = (re.sub(r"\*+", "%", re.sub(r"([\\%_])", r"\\\1", glob)) for glob in dict.fromkeys(globs))
        return f"{text} LIKE ANY (ARRAY[{', '.join(map(self.text, likes))}]::text[])"

    def kept(self, path: str, names: str) -> str:
        """Return the path with those parts of each query that have one of the ``names``."""
        query = (
            "(SELECT coalesce('?' || string_agg(x, '&' ORDER BY place), '')"
            " FROM unnest(string_to_array(substr(q[1], 2), '&')) WITH ORDINALITY AS parts (x, place)"
            f" WHERE split_part(x, '=', 1) IN ({names}))"
        )
        return self._joined(f"CASE WHEN left(q[1], 1) = '?' THEN {query} ELSE q[1] END", path, QUERIES)

    def decoded(self, path: str) -> str:
        """Return the path without encoded characters beyond ASCII."""
        characters = "convert_from(decode(replace(q[1], '%', ''), 'hex'), 'UTF8')"
        is_encoded = "left(q[1], 1) = '%' AND length(q[1]) > 1"
        return self._joined(f"CASE WHEN {is_encoded} THEN {characters} ELSE q[1] END", path, ENCODED)

    def _joined(self, part: str, path: str, pattern: str) -> str:
        found = f"regexp_matches({path}, {self.text(f'(?s){pattern}')}, 'g')"
        return (
            f"(SELECT string_agg({part}, '' ORDER BY found.place)"
            f" FROM {found} WITH ORDINALITY AS found (q, place))"
        )
