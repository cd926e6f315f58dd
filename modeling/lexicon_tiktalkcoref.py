"""Chinese pronouns, as they are written in comments, and what the strings of two mentions say about the pair.

The kinds of pair follow LingMess (Otmazgin et al., 2023), reduced to what Chinese, which marks neither gender in speech
nor number on nouns, can show.
"""

from __future__ import annotations

import unicodedata

__all__ = ["PAIR_KINDS", "PERSONS", "contains", "normalise", "person"]

PERSONS = ("none", "first", "second", "third", "other")
PAIR_KINDS = ("pronoun_pronoun", "entity_pronoun", "match", "contains", "other")

# Plural by 们 (and the typo 门), reflexive by 自己, and the homophones and variants of the net are listed or generated.
_FIRST = "我 俺 咱 吾 余 朕 偶 窝 涐 莪 硪 本人 鄙人 在下 老子 劳资 老娘 老夫 本宫 本座 本王 咱家 洒家 小弟我 人家我"
_SECOND = "你 您 妳 恁 汝 伱 沵 迩 尔 尼 泥 倪 祢 阁下 你丫 乃"
_THIRD = "他 她 它 祂 牠 ta t伊 伊 其 渠 佢 tā 怹 其人 此人 彼"
_OTHER = (
    "自己 自个 自个儿 自己个儿 自身 本身 自家 谁 谁谁 哪个 哪位 哪些 大家 大伙 大伙儿 大家伙 各位 诸位 "
    "众人 别人 旁人 人家 他人 对方 双方 彼此 某人 某某 这 那 这个 那个 这位 那位 这些 那些 这人 那人 这货 那货 这厮 那厮 "
    "这家伙 那家伙 这俩 那俩 这几个 那几个 这里 那里 啥 什么"
)
_NUMBERS = ("俩", "仨", "两个", "两", "三个", "几个", "这些人", "二人", "两人", "三人")


def _table() -> dict[str, int]:
    table = {word: PERSONS.index("other") for word in _OTHER.split()}
    for words, name in ((_FIRST, "first"), (_SECOND, "second"), (_THIRD, "third")):
        code = PERSONS.index(name)
        for word in words.split():
            plural = [word + ending for ending in ("们", "门", "萌")]
            forms = [word, *plural]
            forms += [form + number for form in (word, plural[0]) for number in _NUMBERS]
            forms += [
                form + ending for form in (word, *plural[:1]) for ending in ("自己", "自个", "自个儿", "本人", "自身")
            ]
            for form in forms:
                table.setdefault(form, code)
    return table


_PRONOUNS = _table()


def normalise(text: str) -> str:
    """Full-width forms folded, lower case, no white space or zero-width characters: what strings are compared by."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


def person(text: str) -> int:
    """Index into `PERSONS` of a normalised mention: 0 where it is no pronoun."""
    return _PRONOUNS.get(text, 0)


def contains(first: str, second: str) -> bool:
    """Whether one normalised string is a part of the other."""
    return bool(first) and bool(second) and (first in second or second in first)
