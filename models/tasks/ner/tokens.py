"""Texts to tokens with their exact places. Knows characters, no task.

Tokens are cut as treebanks and tagged news and tweets are: halves of contractions, numbers, abbreviations,
addresses, mentions and hashtags are tokens, words keep inner hyphens, any other sign stands alone or repeats
itself. A letter keeps its combining marks, an emoji all of its parts; ideographs and kana, which no space
parts, stand alone.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

JOINERS = "\u00ad\u200c\u200d\u2060"
"""Signs without width that may stand within a word or an emoji: soft hyphen, (non-)joiners."""
UNSEEN = "\\x00-\\x08\\x0e-\\x1b\\x7f-\\x9f\u200b\u200e\u200f\u202a-\u202e\u2061-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
"""Signs without width or meaning here: controls, marks of direction, zero width space. They part tokens."""
IDEOGRAPHS = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


def places(text: str) -> list[tuple[int, int]]:
    """Start and end of each token in the text, in order; what lies between is white space or cannot be seen."""
    return [match.span() for match in _token().finditer(text)]


@cache
def _token() -> re.Pattern[str]:
    """The pattern of one token. Made when first needed: the marks are looked up among 130,000 characters."""
    marks = _marks()
    inner = f"[{marks}{JOINERS}]"
    letter = f"(?:[^\\W_{IDEOGRAPHS}]{inner}*)"
    half = "['’](?:s|re|ve|ll|d|m)(?!\\w)"
    return re.compile(
        f"""
        (?:https?://|www\\.)[^\\s<>"{UNSEEN}]*[^\\s<>"{UNSEEN}.,;:!?)\\]}}'’…]     # an address
      | [\\w.+-]{{1,64}}@\\w[\\w-]*(?:\\.\\w[\\w-]*)+                               # a mail address
      | [@#](?:{letter}|_)+                                                       # a mention, a hashtag
      | (?:[^\\W\\d_{IDEOGRAPHS}]\\.){{2,}}                                       # an abbreviation: U.S.
      | \\d+(?:[.,:]\\d+)+                                                        # a number: 1,000.5 and 10:30
      | n['’]t(?!\\w) | {half}                                                    # the second half of a contraction
      | {letter}+?(?=n['’]t(?!\\w))                                               # and the first
      | {letter}+(?:(?!{half})[-'’&_]+{letter}+)*                                 # a word: Coca-Cola, O'Brien, AT&T
      | [\U0001f1e6-\U0001f1ff]{{2}}                                              # a flag
      | [{IDEOGRAPHS}]{inner}*
      | ([^\\w\\s{marks}{JOINERS}{UNSEEN}])\\1+(?!{inner})                        # a sign that repeats itself: ...
      | [^\\s{marks}{JOINERS}{UNSEEN}][{marks}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*
        (?:\u200d[^\\s\\w{UNSEEN}][{marks}\U0001f3fb-\U0001f3ff]*)*          # any other sign, an emoji of many parts
      | {inner}+                                                                  # marks that stand on nothing
        """,
        re.VERBOSE | re.IGNORECASE,
    )


def _marks() -> str:
    """Combining marks (Unicode's M*) as the inside of a character class."""
    numbers = [*range(0x0300, 0x20000), *range(0xE0100, 0xE01F0)]
    found = [n for n in numbers if unicodedata.category(chr(n)).startswith("M")]
    starts = [n for i, n in enumerate(found) if i == 0 or found[i - 1] != n - 1]
    ends = [n for i, n in enumerate(found) if i + 1 == len(found) or found[i + 1] != n + 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
