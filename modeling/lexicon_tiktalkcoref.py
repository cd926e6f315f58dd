"""Chinese pronouns, as they are written in comments, and what the strings of two mentions say about the pair.

The kinds of pair follow LingMess (Otmazgin et al., 2023), reduced to what Chinese, which marks neither gender in speech
nor number on nouns, can show.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

PERSONS = ("none", "first", "second", "third", "other")
PAIR_KINDS = ("pronoun_pronoun", "entity_pronoun", "match", "contains", "other")
TRAITS = 6  # gender (untold, male, female) x number (one or untold, several)
OVERLAPS = ("none", "two_characters", "first_character", "last_character", "a_character")

# Plural by 们 (and the typo 门), reflexive by 自己, and the homophones and variants of the net are listed or generated.
_FIRST = "我 俺 咱 吾 余 朕 偶 窝 涐 莪 硪 本人 鄙人 在下 老子 劳资 老娘 老夫 本宫 本座 本王 咱家 洒家 小弟我 人家我"
_SECOND = "你 您 妳 恁 汝 伱 沵 迩 尔 尼 泥 倪 祢 阁下 你丫 乃"
_THIRD = "他 她 它 祂 牠 ta t伊 伊 其 渠 佢 tā 怹 其人 此人 彼"
_OTHER = (
    "自己 自个 自个儿 自己个儿 自身 本身 自家 谁 谁谁 哪个 哪位 哪些 大家 大伙 大伙儿 大家伙 各位 诸位 "
    "众人 别人 旁人 人家 他人 对方 双方 彼此 某人 某某 这 那 这个 那个 这位 那位 这些 那些 这人 那人 这货 那货 "
    "这厮 那厮 这家伙 那家伙 这俩 那俩 这几个 那几个 这里 那里 啥 什么"
)
_NOUN_BEGINS = ("这", "那", "一个", "一位", "两个", "有个", "有些", "某", "每", *"我你您他她咱俺")
_NOUN_ENDS = (
    "人 男生 女生 男孩 女孩 男的 女的 男子 女子 小伙 小伙子 姑娘 妹子 妹妹 姐姐 哥哥 弟弟 小哥 小姐姐 小哥哥 "
    "小姐 先生 女士 老师 老板 主播 博主 楼主 演员 明星 歌手 孩子 宝宝 儿子 女儿 妈妈 爸爸 妈 爸 老婆 老公 媳妇 "
    "爷爷 奶奶 朋友 同学 兄弟 姐妹 美女 帅哥 家伙 网友 粉丝 队友"
)
_SELVES = ("自己", "自个", "自个儿", "本人", "自身")
# The last word of a mention is its head (姐夫 is a man, 男友妈妈 a woman); pairs of both genders tell none.
_GENDERS = re.compile(
    "(?P<none>夫妻|夫妇|男女|父母|爸妈|公婆|兄妹|姐弟)|(?P<female>[女她妳妹姐妈娘婆奶姨姑婶嫂妇妻媳姥母]|夫人|公主|小姐|闺蜜)"
    "|(?P<male>[男他哥弟爸爷爹伯叔舅兄父夫帅]|先生|王子|小伙|汉子|[老公外相]公)"
)
_SEVERAL = re.compile(
    "[们俩仨群]|[两二三四五六七八九十几][个位人只]|大家|各位|诸位|众人|[这那哪有一]些|所有|两口子|情侣|夫妻|夫妇|父母|爸妈|公婆"
    "|母女|母子|父女|父子|兄妹|姐弟|姐妹|(?<=.)[和与跟、]"
)
_NUMBERS = ("俩", "仨", "两个", "两", "三个", "几个", "这些人", "二人", "两人", "三人")


def _table() -> dict[str, int]:
    table = {word: PERSONS.index("other") for word in _OTHER.split()}
    for words, name in ((_FIRST, "first"), (_SECOND, "second"), (_THIRD, "third")):
        code = PERSONS.index(name)
        for word in words.split():
            plural = word + "们"
            forms = [word, plural, word + "门", word + "萌"]
            forms += [form + ending for form in (word, plural) for ending in (*_NUMBERS, *_SELVES)]
            for form in forms:
                table.setdefault(form, code)
    return table


_PRONOUNS = _table()


def normalise(text: str) -> str:
    """Full-width forms folded, lower case, no white space or zero-width characters: what strings are compared by."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in folded if not c.isspace() and unicodedata.category(c) != "Cf")


@lru_cache(maxsize=65536)  # asked for every character of every dialogue
def is_blank(text: str) -> bool:
    """Whether a character (or token) shows nothing: white space, zero-width characters."""
    return not normalise(text)


def person(text: str) -> int:
    """Index into `PERSONS` of a normalised mention: 0 where it is no pronoun."""
    return _PRONOUNS.get(text, 0)


def traits(text: str) -> int:
    """Gender and number of a normalised mention as its words tell them: 2 x gender + whether several."""
    genders = [match.lastgroup for match in _GENDERS.finditer(text)]
    gender = ("none", "male", "female").index(genders[-1] or "none") if genders else 0
    return 2 * gender + bool(_SEVERAL.search(text))


def overlap(first: str, second: str) -> int:
    """Index into `OVERLAPS`: the most telling part that two different normalised mentions share."""
    if not first or not second or first == second:
        return 0
    short, long = sorted((first, second), key=len)
    if any(short[place : place + 2] in long for place in range(len(short) - 1)):
        return OVERLAPS.index("two_characters")
    if first[0] == second[0]:
        return OVERLAPS.index("first_character")
    if first[-1] == second[-1]:
        return OVERLAPS.index("last_character")
    return OVERLAPS.index("a_character") if set(first) & set(second) else 0


def query_rank(text: str) -> int:
    """How much a normalised mention says of who is meant: 0 a name (or what may be one), 1 a noun, 2 a pronoun."""
    if person(text):
        return 2
    return int(text.startswith(_NOUN_BEGINS) or text.endswith(tuple(_NOUN_ENDS.split())) or "的" in text)


def contains(first: str, second: str) -> bool:
    """Whether one normalised string is a part of the other."""
    return bool(first) and bool(second) and (first in second or second in first)
