"""Prompts of so many tokens: common words, drawn anew for each question, then a long task.

How many tokens a prompt has only its model knows; `words_for` finds out how many words it takes.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Literal

Turn = dict[str, str]
Mix = Literal["distinct", "shared"]

TASK = "Tell a very long story in which each of these words occurs. Do not end it."

WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book "
    "eye job word business issue side kind head house service friend father power hour game line "
    "end member law car city community name president team minute idea body information back "
    "parent face others level office door health person art war history party result change "
    "morning reason research girl guy moment air teacher force education foot boy age policy "
    "music market sense nation plan college interest death experience effect use class control "
    "field development role effort rate heart drug show leader light voice wife police mind price"
)

SHARED_PART = 0.75
"""How much of a prompt is the same for all where they share one: a long system turn."""

TRIES = 4
"""A line through two points finds the number of words; the rest is for words of two tokens."""


class ChatPrompts:
    """Draws prompts of `words` words; two of them never begin alike, unless they share it."""

    def __init__(self, mix: Mix, words: int, seed: int | None = None) -> None:
        """Without a seed they differ from run to run, so that nothing of them was kept."""
        self.words = words
        self._mix = mix
        self._known = WORDS.split()
        self._chance = random.Random(seed)  # noqa: S311 - variety, no secret
        self._shared = " ".join(self._chance.choices(self._known, k=int(words * SHARED_PART)))

    def turns(self) -> list[Turn]:
        """The turns of one more question."""
        if self._mix == "distinct":
            return [_user(" ".join(self._chance.choices(self._known, k=self.words)))]
        own = self.words - int(self.words * SHARED_PART)
        system = {"role": "system", "content": self._shared}
        return [system, _user(" ".join(self._chance.choices(self._known, k=max(1, own))))]


async def words_for(
    tokens: int, count: Callable[[list[Turn]], Awaitable[int]], mix: Mix, seed: int | None = None
) -> int:
    """How many words make a prompt of about `tokens` tokens; `count` has one counted.

    A prompt has a least size, its template and its task: a smaller one cannot be had.
    """
    words = max(1, tokens)
    for _ in range(TRIES):
        found = await count(ChatPrompts(mix, words, seed).turns())
        if found == tokens:
            break
        words = max(1, words + tokens - found)
    return words


def _user(words: str) -> Turn:
    return {"role": "user", "content": f"{words}\n{TASK}"}
