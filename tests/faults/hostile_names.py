"""Names and addresses that would run, lead elsewhere or break something where nobody looks at them."""

from __future__ import annotations

from typing import Any

RUN = "document.title=1"

SHOWN = [
    # The first ones hold a little of everything, for a short selection.
    f"=</script><img src=x onerror={RUN}> $\\frac$ w--o",
    f'"><script>{RUN}</script>|__a__ & [x](j:a) ../../x',
    f"<script>{RUN}</script>",
    f"</style></title><script>{RUN}</script>",
    f'"><svg onload={RUN}>',
    f"' onfocus='{RUN}' autofocus='",
    "<!-- <b>",
    "]]><![CDATA[<i>",
    "&lt;b&gt; &amp; &#60;i&#62; &copy",
    "{{ 7 * 7 }}{% for x in y %}{# no",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://e.org","x")',
    "+1+2",
    "-1+2",
    "@SUM(A1)",
    "'=1",
    "''@x",
    "＝1+1",
    "a|b||c",
    "[x](javascript:alert(1))",
    "![x](http://e.org/x.png)",
    "`code` ``c``",
    "**b** __c__ *d* _e_ ~~f~~",
    "<u>u</u> <http://e.org>",
    "# head",
    "\\input{/etc/passwd}",
    "a & b % c # d ~ e ^ f _ g { h } i \\",
    "\\\\[1cm] \\end{table*}",
    "w--o ---x ``q'' ?` !` ,,",
    "$x$_2^3",
    "$\\nosuch{$",
    "50\\% $ \\$",
    "../../../x",
    "/etc/passwd",
    "..",
    ".hidden",
    "CON",
    "NA",
    "None",
    "nan",
    "1e5",
    "007",
    "😀👩‍🔬 漢字 Ünï עברית",
    "\u2800",
    "W" * 60,
]

UNSEEN = [
    "two\nlines",
    "a\ttab",
    "\x1b[31mred\x1b]0;title\x07",
    "nul\x00l",
    "\u202edetrever",
    "zero\u200bwidth",
    "half \ud800",
    "\x85\u2028",
    "return\rkey",
]
"""Refused as names; elsewhere written out."""

NO_NAMES: list[Any] = [*UNSEEN, "", " ", "x" * 61, "x" * 100_000, 3, None, ["a"], {"a": 1}]

NO_IDENTIFIERS: list[Any] = [
    *(
        "../x",
        "/x",
        "a b",
        "a-b",
        "a.b",
        "Ü",
        "ü",
        "x\n",
        "\nx",
        "x\x00",
        "Mult",
        "1x",
        "_x",
        "",
        " ",
        "x" * 41,
        "x" * 300,
    ),
    *(
        "class",
        "lambda",
        "con",
        "aux",
        "nul",
        "com1",
        "all",
        "training",
        "mult+mrm",
        "<script>",
        "=cmd()",
        "naïve",
        "x؀",
    ),
    *(3, None, ("a",)),
]

NO_LINKS = ["javascript:a", " javascript:a", "JaVaScRiPt:a", "java\nscript:a", "data:text/html,<b>", "vbscript:a", "//e.org", "file:///x"]  # fmt: skip
