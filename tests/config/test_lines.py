"""The lines on which a TOML text sets its keys."""

from reportgen.config.settings import lines_of_keys

TABLES = """\
[a."b.c".d]
x = 1
[[a.list]]
y = 1
[a.list.z]
w = 1
[[a.list]]
  [[ a.list.q ]]
  k = 2
"""
VALUES = '''\
a = """
x = """
b = \'\'\'[x]
[c]\'\'\' # """
d = [
  [1, 2], # ]
  { x = "]" },
]
"e'" . f = 1
'''


def test_each_section_and_each_table_of_an_array_has_its_line() -> None:
    assert lines_of_keys(TABLES) == {
        ("a",): 1, ("a", "b.c"): 1, ("a", "b.c", "d"): 1, ("a", "b.c", "d", "x"): 2,
        ("a", "list"): 3, ("a", "list", 0): 3, ("a", "list", 0, "y"): 4,
        ("a", "list", 0, "z"): 5, ("a", "list", 0, "z", "w"): 6,
        ("a", "list", 1): 7, ("a", "list", 1, "q"): 8, ("a", "list", 1, "q", 0): 8,
        ("a", "list", 1, "q", 0, "k"): 9,
    }  # fmt: skip


def test_texts_lists_and_comments_hold_no_keys() -> None:
    assert lines_of_keys(VALUES) == {("a",): 1, ("b",): 3, ("d",): 5, ("e'",): 9, ("e'", "f"): 9}
