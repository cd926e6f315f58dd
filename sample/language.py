"""What the sample corpus says: scenarios of two utterances, filled with words and references to persons.

A scenario is written in a small markup, filled in two steps. First every `{slot}` is replaced, by a random filler of
`WORDS` or by a reference to a person; then `[key:text]` marks a mention of the cluster `key`, and may hold others:

    "[m:{you}妈妈]说{p}{good}"  ->  "[m:[B:你]妈妈]说[p:戴红帽子的男生]跳得真好"

`{me}` and `{you}` follow the speaker: 我 of the one is 你 of the other. References to a person `p`:

    {p}        the described person, 戴红帽子的男生          {p.name}   the full name, or a nickname
    {p.named}  the same with the name, 戴红帽子的林晓雨       {p.short}  the given name
    {p.he}     他 or 她                                    {p.nick}   another nickname, 小雨 or 雨姐
    {p.look}   戴着红帽子: a description, not a mention

`p`, `q` and `r` are seen in the picture, `n` is described but absent, `x` has a name and no description, the name of
`s` shares characters with that of `p`, and `m` is a `{relative}` of the other gender.
Every description has four characters (five after the mention, 戴着红帽子), so that masking it hides its length too.

What no comparison of strings can tell, and the text does:

- 他 after `p` and `q` is who the deed makes it: 段子讲得真溜 is said of who 逗笑了, and 把 or 被 says who that is.
- 小雨 is 林晓雨 when she sings well, and another when 小雨怎么没来 is asked of a video that shows 林晓雨.
- 我 and 你 in quotation marks are whoever is quoted; in a song's title, on a screen (弹幕全是“我可以”) and in turns of
  phrase (你看，) they are no mentions, and look like those that are.
- `p和q` is a mention of its own only where 他们, 两个人 or the like takes it up.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

Choose = Callable[[Sequence[Any]], Any]
"""Draws one of the items given, as `random.choice` does."""
Trait = tuple[str, str]
"""(part of the look, its value), as ("hat_colour", "红")."""

COLOURS = {"hat_colour": "红黄绿蓝", "hair_colour": "黑黄红白", "clothes": "红黄绿蓝"}

# verb and object of each trait: 戴 + 红帽子, or 戴着红帽子
PHRASES: dict[Trait, tuple[str, str]] = {
    **{("hat_colour", colour): ("戴", f"{colour}帽子") for colour in COLOURS["hat_colour"]},
    **{("hair_colour", colour): ("染", f"{colour}头发") for colour in COLOURS["hair_colour"]},
    **{("clothes", colour): ("穿", f"{colour}衣服") for colour in COLOURS["clothes"]},
    ("eyewear", "glasses"): ("戴", "圆眼镜"),
    ("eyewear", "sunglasses"): ("戴", "大墨镜"),
    ("extra", "mask"): ("戴", "大口罩"),
    ("extra", "beard"): ("留", "大胡子"),
    ("extra", "earrings"): ("戴", "大耳环"),
}

SURNAMES = "王李张刘陈杨赵周吴林"
GIVEN = "晓雨子涵浩宇欣怡俊杰梓萱思远嘉琪诗瑶文博晨轩佳宁凯乐雪婷志恒"
NICKNAMES = "小阿老大胖二"
ENDEARMENTS = {"m": "哥总仔宝儿", "f": "姐总妹宝儿"}  # 雨哥, 雨姐

NOUNS = {
    "m": ["男生", "男生", "小伙子", "小哥哥", "帅哥", "大哥"],
    "f": ["女生", "女生", "姑娘", "小姐姐", "美女", "女孩"],
}
PRONOUNS = {"m": "他", "f": "她"}
POINTERS = ["", "", "", "那个", "这个"]

# What a slot may be filled with. 我的天, 你懂的, 吉他, 其他, 自我, 教练车 and the like look like mentions and are none.
FILLERS = """
z: 哈哈， 说真的， 我的天， 妈呀， 救命， 循环十遍了， 人山人海的， 其他不说， 你懂的，
z: 你看， 你敢信， 我说呢， 我就说嘛，
t: ！ 哈哈 ，绝了 ，吉他也好听 ，其他都不重要 ，人气肯定高 ，等一个导演剪辑版 ，不愧是主持人大赛
good: 跳得真好 笑起来真好看 唱歌好好听 演得真像 很抢眼 太可爱了 一看就练过 表情绝了 好有气质 走路带风
good: 反应好快 越看越顺眼 好会接梗 弹吉他好酷 很有人气 自我介绍好逗 动作真标准 声音好温柔 太拼了 眼神好戏
agree: 哈哈笑死了 确实 说得太对了 这也太好笑了 评论区都是人才 同款感受 真的绝了 看了十遍还想看 人生如戏啊
agree: 我的天，太真实了 吉他响起来就哭了 其他视频都不香了 大家快来看 谁懂啊 有人知道背景音乐吗 男生宿舍集体沉默
agree: 弹幕全是“我可以” 满屏的“你好美” 评论都在喊“他好帅” 那首《我和你》真好听 片尾曲是《她说》 《你》单曲循环中
thing: 这只猫怎么一直盯着镜头 那条狗比人还忙 这首歌叫什么名字 背景音乐好上头 这个吉他多少钱 教练车都比这快
thing: 迷你音箱在哪买的 男生宿舍原来长这样 导演剪辑版什么时候出 名人名言看多了吧 这道菜看着真香 那盆花是真的吗
self: 看了十遍 笑了一整天 今天第一次刷到 已经截图了 关注很久了 真的会谢 也想去现场 差点笑出声 蹲了一晚上
self: 看《我和你》看哭了 在弹幕里刷“你最棒”
both: 配合得真好 跳得好整齐 站在一起真养眼 太有默契了 笑得停不下来 是不是吵架了 唱得都不错 谁更厉害
kin: 妈妈 爸爸 姐姐 弟弟 同学 室友 朋友 老师 奶奶
act: 也来看直播了 看到要生气了 笑得好开心 会同意吗 怎么没出镜 肯定很骄傲 做饭好吃吗 也会跳舞 在旁边偷笑
role: 摄影师 主持人 导演 教练 邻居 老板 化妆师 司机
roleact: 该加鸡腿了 太难了 手都抖了 才是最累的 忍不住笑了 今天好安静 在想什么呢
thanks: 会继续努力的 练了好久呢 其实很紧张 回去再练练 都不好意思了
gone: 怎么没来 去哪了 什么时候回来 这期请假了吗 不在好可惜
title: 周末一起来跳舞 今天的现场太热闹 看到最后有惊喜 这段舞学了三天 一秒回到夏天 排练花絮来了 猜猜谁先笑场
tag: 日常 街舞 搞笑 音乐现场 花絮 校园 挑战
"""
# what one does to the other: 把 before, or 被 of, the deed; what is then said of its doer; and of the other
DEEDS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("逗笑了", ("段子讲得真溜", "模仿得好像"), ("嘴都合不拢", "笑出了眼泪")),
    ("教会了", ("讲得真清楚", "好有耐心"), ("学得真快", "一点就通")),
    ("吓到了", ("躲在门后偷笑", "面具做得真逼真"), ("腿都软了", "叫得好大声")),
    ("背起来了", ("力气真大", "走得好稳"), ("趴着不肯下来", "脚扭得不轻")),
    ("惹哭了", ("赶紧道歉了", "玩笑开过头了"), ("眼泪止不住", "委屈得很")),
]
RELATIVES = {"m": ["爸爸", "弟弟", "爷爷", "哥哥"], "f": ["妈妈", "妹妹", "奶奶", "姐姐"]}

WORDS: dict[str, list[str]] = {"z": [""] * 4, "t": [""] * 5}
for _slot_words in FILLERS.split("\n")[1:-1]:
    _name, _, _words = _slot_words.partition(": ")
    WORDS.setdefault(_name, []).extend(_words.split())


@dataclass(frozen=True)
class Scenario:
    """Two utterances in the markup; `speaker` says that the person `p` is the speaker A or B himself."""

    weight: int
    first: str
    second: str
    speaker: str = ""


SCENARIOS = [
    # one person, said once
    Scenario(4, "{z}{p}{good}{t}", "{agree}"),
    Scenario(3, "{agree}", "{z}{p}{good}{t}"),
    Scenario(2, "{z}有人认识{p}吗", "{agree}"),
    Scenario(3, "{thing}", "{z}{p}{good}{t}"),
    Scenario(2, "{z}{p}{good}", "{thing}"),
    Scenario(2, "{z}{p}{good}{t}", "{me}{self}"),
    # two persons or three, said once
    Scenario(5, "{z}{p}和{q}{both}", "{agree}"),
    Scenario(5, "{z}{p}{good}{t}", "{z}{q}也{good}"),
    Scenario(3, "{z}{p}{good}，{q}{good}", "{agree}"),
    Scenario(4, "{z}注意看{p}，{good}", "{q}才{good}"),
    Scenario(3, "{me}投{p}一票", "{me}投{q}"),
    Scenario(3, "{you}喜欢{p}还是{q}", "{me}都喜欢"),
    Scenario(3, "{p}一直在看{q}{t}", "{thing}"),
    Scenario(3, "{p}{good}，{q}都看呆了", "[o:{role}]{roleact}"),
    Scenario(3, "{z}{p}、{q}和{r}{both}", "{agree}"),
    # the same person again
    Scenario(4, "{z}{p}{good}", "{p.he}{good}{t}"),
    Scenario(3, "{z}{p}{good}，{p.he}{good}", "{agree}"),
    Scenario(2, "{z}{p}{good}", "{p.he}{good}，{me}{self}"),
    Scenario(2, "{p}{good}，{p.he}叫什么名字", "{me}也想知道"),
    Scenario(4, "{z}{p}{good}，{p.he}是谁", "{z}{q}{good}，{q.he}又是谁"),
    Scenario(3, "{me}投{p}一票，{p.he}{good}", "{me}投{q}，{q.he}{good}"),
    Scenario(3, "{me}喜欢{p}", "{you}喜欢{p.he}，{me}喜欢{q}"),
    # only the world and the order of the words tell which of them
    Scenario(2, "{z}{p}把{q}{deed}，{p.he}{did}", "{agree}"),
    Scenario(2, "{z}{p}把{q}{deed}，{q.he}{got}", "{agree}"),
    Scenario(2, "{z}{p}被{q}{deed}，{q.he}{did}", "{agree}"),
    Scenario(2, "{z}{p}被{q}{deed}，{p.he}{got}", "{agree}"),
    Scenario(2, "{z}{p}把{q}{deed}", "{p.he}{did}{t}"),
    Scenario(2, "{z}{p}把{q}{deed}", "{q.he}{got}{t}"),
    Scenario(2, "{z}{p}被{q}{deed}", "{q.he}{did}{t}"),
    Scenario(2, "{z}{p}被{q}{deed}", "{p.he}{got}{t}"),
    Scenario(1, "{z}{p}把{q}{deed}", "{p.he}{did}，{q.he}{got}"),
    Scenario(1, "{z}{p}被{q}{deed}", "{p.he}{got}，{q.he}{did}"),
    Scenario(1, "先后出场的是{p}、{q}和{r}", "{z}[p:第一个]{good}"),
    Scenario(1, "先后出场的是{p}、{q}和{r}", "{z}[q:第二个]{good}"),
    Scenario(1, "先后出场的是{p}、{q}和{r}", "{z}[r:最后一个]{good}"),
    Scenario(2, "{p}和{q}{both}", "[p:前者]{good}，[q:后者]也{good}"),
    Scenario(2, "{z}{p}夸{q}{good}", "[p:自己]也{good}{t}"),
    # a speaker is the person in the picture: 我 and 你 flip
    Scenario(3, "{p}，{you}{good}", "谢谢，{me}{thanks}", speaker="B"),
    Scenario(2, "{p}，{you}{good}", "{agree}", speaker="B"),
    Scenario(3, "{me}就是{p}{t}", "原来是{you}啊，{you}{good}", speaker="A"),
    Scenario(2, "{me}就是{p}，{me}{thanks}", "{q}{good}", speaker="A"),
    # speakers among themselves, and whom they quote
    Scenario(2, "{me}{self}，{you}呢", "{me}{self}，{p}{good}"),
    Scenario(2, "{me}{self}", "{you}不是一个人，{p}{good}"),
    Scenario(2, "{you}看{p}了吗", "{me}看了，{p.he}{good}"),
    Scenario(2, "{z}{p}说“[p:我]{thanks}”", "{agree}"),
    Scenario(2, "{z}{p}说“[p:我]{thanks}”", "{me}{self}"),
    Scenario(3, "{z}{p}对{q}说“[q:你]{good}”", "{agree}"),
    Scenario(3, "{z}{p}问{q}“[p:我]{thanks}，[q:你]呢”", "{you}{self}吗"),
    # groups
    Scenario(4, "{z}[g:{p}和{q}]{both}", "[g:{they}]{both}"),
    Scenario(3, "{z}[g:{p}和{q}]{both}，[g:两个人]{both}", "{agree}"),
    Scenario(2, "{z}[g:{p}、{q}和{r}]{both}", "[g:三个人]{both}"),
    Scenario(3, "[g:{me}和{p}]{both}", "[g:你们]{both}，{you}{good}"),
    Scenario(2, "{z}[g:{p}和[m:{p.he}的{kin}]]{both}", "[g:两个人]{both}"),
    # nested
    Scenario(2, "{z}[m:{p}的{kin}]{act}", "{agree}"),
    Scenario(3, "{z}[m:{p}的{kin}]{act}", "{q}{good}"),
    Scenario(2, "[m:{you}{kin}]{act}", "{me}{self}，{p}{good}"),
    Scenario(2, "[m:{me}{kin}]说{p}{good}", "[m:{you}{kin}]说得对"),
    Scenario(2, "{z}{p}{good}", "[m:{p.he}{kin}]{act}"),
    Scenario(2, "{z}[m:{p}的{relative}]{act}", "{p.he}{good}{t}"),
    Scenario(2, "{z}[m:{p}的{relative}]{act}", "{m.he}{good}{t}"),
    # names
    Scenario(3, "{p}是{p.name}吧", "{agree}"),
    Scenario(3, "{z}{p.named}{good}", "{p.short}{good}{t}"),
    Scenario(2, "{z}{p.named}和{q}{both}", "{agree}"),
    Scenario(4, "{z}{p.named}和{q}{both}", "{p.short}{good}{t}"),
    Scenario(2, "{z}{p.named}{good}，{p.short}{good}", "{q.named}才{good}"),
    Scenario(2, "{z}{p}是不是{p.name}", "是的，{p.he}{good}"),
    Scenario(3, "{p}是{p.name}，{q}是{q.name}", "{agree}"),
    Scenario(2, "{x.name}{gone}", "{p}{good}{t}"),
    Scenario(2, "{z}{p.named}{good}", "{x.name}{gone}"),
    # names that share characters
    Scenario(2, "{z}{p.named}{good}", "{p.nick}{good}{t}"),
    Scenario(2, "{z}{p.named}{good}", "{s.name}{gone}"),
    Scenario(1, "{z}{p.named}和{q.named}{both}", "{q.nick}{good}{t}"),
    Scenario(1, "{z}{p.named}和{q.named}{both}", "{p.nick}{good}{t}"),
    Scenario(1, "{z}{p.named}不是{s.name}", "{p.name}{good}{t}"),
    Scenario(1, "{z}{p.named}不是{s.name}", "{s.name}{gone}"),
    # the description stands beside the mentions
    Scenario(3, "{p.name}{p.look}，{good}", "{agree}"),
    Scenario(2, "{p.name}今天{p.look}", "{p.he}{good}{t}"),
    Scenario(3, "{p.name}{p.look}，{q.name}{q.look}", "{agree}"),
    Scenario(2, "{me}今天{p.look}", "{you}{good}{t}", speaker="A"),
    # nobody of the picture
    Scenario(1, "{x.name}{gone}", "{x.he}{good}，{me}{self}"),
    Scenario(2, "[o:{role}]{roleact}{t}", "{p}{good}"),
    Scenario(1, "{z}[o:{role}]{roleact}", "{agree}"),
    Scenario(1, "[m:{you}{kin}]{act}", "{agree}"),
    Scenario(2, "{z}上期{n}{gone}", "{p}{good}"),
    Scenario(1, "{z}上期{n}{gone}", "{agree}"),
]


@dataclass
class Reference:
    """How a person may be spoken of; `traits` are what describes him."""

    gender: str
    name: str
    short: str
    nick: str
    traits: Sequence[Trait] = ()

    def said(self, form: str, choose: Choose) -> str:
        """The words of one reference (`""`, `named`, `name`, `short`, `nick`, `he` or `look`)."""
        if form in ("name", "short", "nick"):
            return str(getattr(self, form))
        if form == "he":
            return PRONOUNS[self.gender]
        phrases = [PHRASES[trait] for trait in self.traits]
        if form == "look":
            return "".join(f"{verb}着{thing}" for verb, thing in phrases)
        description = "".join(verb + thing for verb, thing in phrases) + "的"
        if form == "named":
            return description + self.name
        return choose(POINTERS) + description + choose(NOUNS[self.gender])


def speak(
    scenario: Scenario, people: dict[str, Reference], choose: Choose
) -> tuple[list[str], dict[str, list[list[int]]]]:
    """Fill a scenario.

    Returns the two utterances and the clusters: key -> mentions as (start, end) over the two utterances joined, end
    inclusive; in order of the first mention.
    """
    own_words = _words_of(scenario, people["p"].gender, choose)
    texts: list[str] = []
    mentions: list[tuple[int, int, str]] = []
    for number, template in enumerate((scenario.first, scenario.second)):
        filled = fill(template, partial(_slot, "AB"[number], scenario, people, own_words, choose))
        text, found = read_markup(filled)
        offset = len("".join(texts))
        mentions += [(start + offset, end + offset, key) for start, end, key in found]
        texts.append(text)
    clusters: dict[str, list[list[int]]] = {}
    for start, end, key in sorted(mentions, key=lambda m: (m[0], -m[1])):
        clusters.setdefault(key, []).append([start, end])
    return texts, clusters


def fill(template: str, value: Callable[[str], str]) -> str:
    """Replace every `{slot}` of a template."""
    return re.sub(r"\{([^}]+)\}", lambda match: value(match.group(1)), template)


def read_markup(marked: str) -> tuple[str, list[tuple[int, int, str]]]:
    """`[key:text]`, possibly nested -> the plain text and (start, end inclusive, key) of every mention."""
    plain: list[str] = []
    found: list[tuple[int, int, str]] = []
    opened: list[tuple[int, str]] = []
    for piece in re.findall(r"\[\w+:|\]|[^\[\]]", marked):
        if piece.startswith("["):
            opened.append((len(plain), piece[1:-1]))
        elif piece == "]":
            start, key = opened.pop()
            found.append((start, len(plain) - 1, key))
        else:
            plain.append(piece)
    return "".join(plain), found


def make_title(names: Sequence[str], choose: Choose) -> str:
    """A video title with its hash tags; of persons it says at most the names."""
    return " ".join([choose(WORDS["title"]), *(f"#{tag}" for tag in [*names, choose(WORDS["tag"])])])


def attribute_words() -> list[str]:
    """Every wording of a visible attribute in the sample, longest first: mask them, and no text tells who is meant."""
    words = {f"{verb}{link}{thing}" for verb, thing in PHRASES.values() for link in ("", "着")}
    return sorted(words, key=lambda word: (-len(word), word))


def _words_of(scenario: Scenario, gender: str, choose: Choose) -> dict[str, str]:
    """What is drawn once for a dialogue: a deed with what follows from it, and words of the persons' gender."""
    words = {"they": PRONOUNS[gender] + "们"}
    if "{deed}" in scenario.first:
        words["deed"], *outcomes = choose(DEEDS)
        words["did"], words["got"] = map(choose, outcomes)
    if "{relative}" in scenario.first:
        words["relative"] = choose(RELATIVES["fm"["mf".index(gender)]])
    return words


def _slot(
    speaker: str,
    scenario: Scenario,
    people: dict[str, Reference],
    own_words: dict[str, str],
    choose: Choose,
    slot: str,
) -> str:
    """What stands for a slot in an utterance of `speaker`."""
    if slot in ("me", "you"):
        who = speaker if slot == "me" else "BA"["AB".index(speaker)]
        return f"[{'p' if who == scenario.speaker else who}:{'我' if slot == 'me' else '你'}]"
    if slot in own_words:
        return own_words[slot]
    if slot in WORDS:
        return choose(WORDS[slot])
    key, _, form = slot.partition(".")
    words = people[key].said(form, choose)
    return words if form == "look" else f"[{key}:{words}]"
