"""Tokens to numbers. NumPy only; knows words and counts, no task.

Every token also has *subwords*: its character n-grams (3 to 5, with the word's ends marked), hashed into
a fixed number of buckets (Bojanowski et al. 2017), so that an unknown word still says something.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

PADDING, UNKNOWN = 0, 1
"""Ids that no word has."""
SPECIAL = 2

CONTRACTED = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b")
TOKEN = re.compile(
    r"""n't | '(?:s|re|ve|ll|d|m)\b     # the second half of a contraction
      | [^\W\d_]+(?:-[^\W\d_]+)*     # a word, hyphens within
      | \d+(?:[.,]\d+)*               # a number
      | [^\w\s] | _                   # any other sign
    """,
    re.VERBOSE,
)
PLAIN = re.compile(r"n't|'(?:s|re|ve|ll|d|m)\b|[a-z]+(?:-[a-z]+)*|[0-9]+(?:[.,][0-9]+)*|\S")
"""The same of lower-case ASCII: a set of letters is looked up faster than what all alphabets call one."""


def words(text: str) -> list[str]:
    """The tokens of a text, lower-cased; contractions are cut (`n't`, `'s`), signs stand alone."""
    plain = text.lower().replace("’", "'")
    token = PLAIN if plain.isascii() else TOKEN
    return token.findall(CONTRACTED.sub(r" \1", plain) if "'" in plain else plain)


def counted(texts: Iterable[Sequence[str]], *, least: int, most: int) -> list[str]:
    """The tokens that stand at least `least` times, most frequent first, at most `most`; ties by the alphabet."""
    counts = Counter(token for tokens in texts for token in tokens)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [token for token, count in ranked if count >= least][:most]


class Vocabulary:
    """The ids of a list of tokens: the first has id `SPECIAL`."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._ids = {token: index for index, token in enumerate(tokens, start=SPECIAL)}

    def __len__(self) -> int:
        return len(self._ids) + SPECIAL

    def ids(self, tokens: Iterable[str]) -> list[int]:
        """An id per token; `UNKNOWN` for those outside the list."""
        return list(map(self._ids.get, tokens, repeat(UNKNOWN)))


def subwords(token: str, buckets: int, most: int = 16) -> tuple[int, ...]:
    """Ids from 1 to `buckets` of a token's character n-grams, at most `most` of them; 0 is padding."""
    marked = f"<{token}>"
    grams = [marked[i : i + n] for n in (3, 4, 5) for i in range(max(1, len(marked) - n + 1))]
    return tuple(1 + zlib.crc32(gram.encode()) % buckets for gram in dict.fromkeys(grams))[:most]


class Spellings(dict[str, bytes]):
    """What is read of each token, its id and K subwords: made when a token first comes, kept as bytes.

    One look-up for a token costs half of what two do: most of either is waiting for memory.
    """

    LONGEST = 40
    """Characters of a token that is kept."""

    def __init__(self, vocabulary: Sequence[str], *, buckets: int, most: int, kept: int = 65_536) -> None:
        """`most`: K, the subwords of a token at most; `kept`: tokens that are kept at most."""
        super().__init__()
        self._vocabulary, self._buckets, self._most, self._kept = Vocabulary(vocabulary), buckets, most, kept

    def __missing__(self, token: str) -> bytes:
        found = subwords(token, self._buckets, self._most)
        (word,) = self._vocabulary.ids([token])
        spelt = np.array([word, *found, *[PADDING] * (self._most - len(found))], dtype=np.int32).tobytes()
        if len(token) <= self.LONGEST:
            if len(self) >= self._kept:
                self.clear()
            self[token] = spelt
        return spelt

    def read(self, tokens: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Word ids (T,) and subword ids (T, K), padded; both of int32."""
        joined = bytearray().join(map(self.__getitem__, tokens))
        read = np.frombuffer(joined, dtype=np.int32).reshape(-1, 1 + self._most)
        return read[:, 0], read[:, 1:]
