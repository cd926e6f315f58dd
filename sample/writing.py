"""The embedded default: a small synthetic corpus with pictures, written in upstream's own file format from a seed.

Two speakers talk about people in a video frame of two to four drawn heads. Who is meant can be told in one way only:
read the description (戴红帽子的男生) and look for the head it fits.

- The head spoken of is drawn uniformly, and only then described, by something that no other head of the frame has.
- Heads of one frame share the gender, and in half of the frames two of them look alike but for one attribute. The
  order of the regions (that of their labels) and of the places is random.
- No name and no combination of visible attributes occurs in two of the splits.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, TypeVar

from tiktalkcoref.files.atomic import atomic_folder
from tiktalkcoref.files.errors import UserError
from tiktalkcoref.files.jsonl import write_jsonl
from tiktalkcoref.files.progress import track

from .language import (
    ENDEARMENTS,
    GIVEN,
    NICKNAMES,
    PHRASES,
    SCENARIOS,
    SURNAMES,
    Reference,
    Trait,
    attribute_words,
    make_title,
    speak,
)
from .pictures import Box, Look, draw_frame, nearly, random_look

__all__ = ["attribute_words", "make_dialogues", "write_sample"]

Drawn = TypeVar("Drawn")
SPLITS = ["train", "train", "train", "train", "val", "test"]
TYPES = ["celeb", "no_celeb"]
PICTURED = [True] * 11 + [False]  # one dialogue in twelve has no picture
NEAR = [True, False]  # in half of the frames two heads differ in one attribute only
TWO_TRAITS = 0.3  # share of descriptions that name two attributes
QUALITY = 88  # of JPEG
ANNOTATIONS, SPLIT, TITLES = "all_textual_and_visual_annotations_format.jsonl", "split.jsonl", "video_titles.jsonl"
OWNED = [ANNOTATIONS, SPLIT, TITLES, "frames/*/*.jpg", "faces_all/*.jpg"]
ANNOTATORS_FOLDER = "/data/annotation/tiktalk_sample"  # upstream's records carry such paths; only file names count


@dataclass
class Person:
    """Somebody of one split, with a name and a look of his own."""

    given: str
    name: str
    short: str
    nick: str
    namesake: str
    look: Look
    celebrity: bool

    def said(self, traits: Sequence[Trait] = ()) -> Reference:
        """How he may be spoken of."""
        return Reference(self.look.gender, self.name, self.short, self.nick, traits)


@dataclass
class Head:
    """A region: whose it is, and the label that clusters refer to."""

    person: Person
    label: str
    box: Box = (0, 0, 0, 0)  # until it is drawn


@dataclass
class Dialogue:
    """One record before it is written. `heads` is empty where the dialogue has no picture."""

    doc_key: str
    video_type: str
    split: str
    title: str
    sentences: list[str]
    clusters: list[list[list[int]]]
    labels: list[str]
    heads: list[Head]
    frame: int


def write_sample(output: Path, seed: int = 0, dialogues: int = 3000) -> Path:
    """Write the sample corpus into `output` and return it; a folder that holds nothing but a sample is replaced.

    Files: `all_textual_and_visual_annotations_format.jsonl`, `split.jsonl`, `video_titles.jsonl`,
    `frames/<doc_key>/*.jpg` and `faces_all/*.jpg`. The same seed and number of dialogues give the same bytes.
    Two thirds are `train`, a sixth each `val` and `test`; half of each are `celeb`.

    Raises:
        UserError: fewer than 12 dialogues, one of each split and type.
        FileExistsError: `output` holds something else.
    """
    planned = make_dialogues(seed, dialogues)
    with atomic_folder(output, owned=OWNED, marker=ANNOTATIONS) as folder:
        _write(folder, planned, seed)
    return Path(output)


def make_dialogues(seed: int = 0, dialogues: int = 3000) -> list[Dialogue]:
    """The corpus before it is drawn: heads without boxes."""
    if dialogues < 12:
        raise UserError(f"dialogues is {dialogues}: the sample needs at least 12, one of each split and video type")
    rng = random.Random(f"sample {seed}")
    keys = rng.sample(range(6 * 10**18, 7 * 10**18), dialogues)
    number = min(max(24, dialogues // 6), 48)  # there are some ninety names of the rarest split
    casts = {split: _celebrities(split, number, seed, rng) for split in dict.fromkeys(SPLITS)}
    dealers = {split: _Dealer(rng) for split in casts}
    kinds = [(TYPES[n % 2], SPLITS[n // 2 % 6]) for n in range(dialogues)]
    rng.shuffle(kinds)
    return [
        _dialogue(str(key), video_type, split, casts[split], dealers[split], seed, rng)
        for key, (video_type, split) in zip(keys, kinds, strict=True)
    ]


class _Dealer:
    """Draws for one split so that a small corpus, too, uses every word, scenario and attribute about equally often."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.stacks: dict[tuple[Any, ...], list[Any]] = {}
        self.used: Counter[Trait] = Counter()

    def deal(self, items: Sequence[Drawn]) -> Drawn:
        """An item, dealt like a card: no item again before the others."""
        stack = self.stacks.setdefault(tuple(items), [])
        if not stack:
            stack.extend(self.rng.sample(items, len(items)))
        return stack.pop()

    def rarest(self, options: Sequence[tuple[Trait, ...]]) -> tuple[Trait, ...]:
        """The attributes that were named least until now."""
        chosen = min(self.rng.sample(options, len(options)), key=lambda traits: max(self.used[t] for t in traits))
        self.used.update(chosen)
        return chosen


def _dialogue(
    doc_key: str, video_type: str, split: str, cast: list[Person], dealer: _Dealer, seed: int, rng: random.Random
) -> Dialogue:
    scenario = dealer.deal([scenario for scenario in SCENARIOS for _ in range(scenario.weight)])
    gender = rng.choice("mf")
    candidates = [person for person in cast if person.look.gender == gender]

    def anyone() -> Person:
        return rng.choice(candidates) if video_type == "celeb" else _person(split, gender, False, seed, rng)

    def alike(look: Look) -> Look:
        near = [other for other in nearly(look) if _owner(str(other.traits()), seed) == split]
        return rng.choice(near or [look])  # the same look cannot be told, so that others are drawn

    sizes = [3, 4] if "{r}" in scenario.first + scenario.second else [2, 3, 4]
    everyone = _group(dealer.deal(sizes), anyone, alike if dealer.deal(NEAR) else None)
    looks = [person.look for person in everyone]
    order = list(range(len(everyone)))
    rng.shuffle(order)  # who of them is p, q and r
    people = {key: _described(everyone[n], looks, dealer) for key, n in zip("pqr", order, strict=False)}
    present = {person.given for person in everyone}
    stranger = _until(anyone, lambda person: person.given not in present)
    people["x"] = stranger.said()
    people["n"] = stranger.said([rng.choice(_absent(looks))])
    people["s"] = replace(people["p"], name=everyone[order[0]].namesake)
    people["m"] = replace(people["p"], gender="fm"["mf".index(gender)])

    sentences, clusters = speak(scenario, people, dealer.deal)
    heads = [Head(person, f"C{n}") for n, person in enumerate(everyone, 1)]
    labels = {key: heads[n].label for key, n in zip("pqr", order, strict=False)}
    if not dealer.deal(PICTURED):
        heads, labels = [], {}
    names = [person.name for person in everyone] if video_type == "celeb" else []
    return Dialogue(
        doc_key=doc_key,
        video_type=video_type,
        split=split,
        title=make_title(rng.sample(names, min(2, len(names))), dealer.deal),
        sentences=sentences,
        clusters=list(clusters.values()),
        labels=[labels.get(key, "none") for key in clusters],
        heads=heads,
        frame=rng.randint(1, 900),
    )


def _group(size: int, anyone: Callable[[], Person], alike: Callable[[Look], Look] | None) -> list[Person]:
    """`size` different persons of whom each has an attribute that the others lack; some attribute none of them has.

    `alike` gives the second the look of the first but for one attribute. The last character of a given name is in no
    other name, so that a nickname tells whose it is.
    """

    def draw() -> list[Person]:
        first, second, *others = (anyone() for _ in range(size))
        return [first, replace(second, look=alike(first.look)) if alike else second, *others]

    def tellable(people: list[Person]) -> bool:
        looks = [person.look for person in people]
        different = all(one.given[-1] not in other.name for one, other in permutations(people, 2))
        return different and all(_telling(look, looks) for look in looks) and bool(_absent(looks))

    return _until(draw, tellable)


def _described(person: Person, looks: list[Look], dealer: _Dealer) -> Reference:
    """The person with words that fit no other look of the frame: one attribute, or two that only together tell."""
    telling = _telling(person.look, looks)
    common = [trait for trait in person.look.traits() if trait not in telling]
    joint = [pair for pair in combinations(common, 2) if _fits(pair, looks) == 1]
    two = joint and dealer.rng.random() < TWO_TRAITS
    return person.said(dealer.rarest(joint if two else [(trait,) for trait in telling]))


def _telling(look: Look, looks: list[Look]) -> list[Trait]:
    return [trait for trait in look.traits() if _fits([trait], looks) == 1]


def _fits(traits: Iterable[Trait], looks: list[Look]) -> int:
    return sum(set(traits) <= set(look.traits()) for look in looks)


def _absent(looks: list[Look]) -> list[Trait]:
    """What none of them has, and somebody of their gender could have."""
    other = ("extra", "earrings" if looks[0].gender == "m" else "beard")
    present = {trait for look in looks for trait in look.traits()}
    return [trait for trait in PHRASES if trait not in present and trait != other]


def _celebrities(split: str, number: int, seed: int, rng: random.Random) -> list[Person]:
    """Known people of one split, as many women as men; they come back in several of its dialogues."""
    cast: dict[str, Person] = {}
    while len(cast) < number:
        person = _person(split, "mf"[len(cast) % 2], True, seed, rng)
        cast.setdefault(person.name, person)
    return list(cast.values())


def _person(split: str, gender: str, celebrity: bool, seed: int, rng: random.Random) -> Person:
    given, short, nicks, pairs = rng.choice(_names(split, gender, celebrity, seed))
    name = rng.choice(SURNAMES) + given if celebrity else short
    nick = rng.choice(nicks)
    other = rng.choice([surname for surname in SURNAMES if surname != name[0]]) + rng.choice(pairs)
    namesake = rng.choice([other, *(found for found in nicks if found != nick)])
    look = _until(lambda: random_look(gender, rng), lambda drawn: _owner(str(drawn.traits()), seed) == split)
    return Person(given, name, short, nick, namesake, look, celebrity)


@cache
def _names(split: str, gender: str, celebrity: bool, seed: int) -> list[tuple[str, str, list[str], list[str]]]:
    """Who could be of the split: given name, short name, further nicknames, given names that end like his.

    Full names have three characters and nicknames two: where one ends can be told without knowing the person.
    """
    found = []
    for given in map("".join, permutations(GIVEN, 2 if celebrity else 1)):
        last = given[-1]
        nicks = [prefix + last for prefix in NICKNAMES]
        for short in [given] if celebrity else nicks:
            further = [*(nick for nick in nicks if nick != short), *(last + ending for ending in ENDEARMENTS[gender])]
            pairs = [given] if celebrity else [first + last for first in GIVEN if first != last]
            further, pairs = ([name for name in names if _owner(name, seed) == split] for names in (further, pairs))
            if further and pairs and _owner(short, seed) == split:
                found.append((given, short, further, pairs))
    return found


@cache
def _owner(value: str, seed: int) -> str:
    """The one split that a name or a look belongs to."""
    digest = hashlib.sha256(f"{seed} {value}".encode()).digest()
    return SPLITS[int.from_bytes(digest[:4], "big") % len(SPLITS)]


def _until(draw: Callable[[], Drawn], wanted: Callable[[Drawn], bool]) -> Drawn:
    while not wanted(value := draw()):
        pass
    return value


def _write(output: Path, dialogues: list[Dialogue], seed: int) -> None:
    rng = random.Random(f"pictures {seed}")
    (output / "frames").mkdir()
    (output / "faces_all").mkdir()
    for dialogue in track(dialogues, "drawing"):
        if dialogue.heads:
            _draw(output, dialogue, rng)
    splits = [{"video_id": d.doc_key, "video_type": d.video_type, "split": d.split} for d in dialogues]
    write_jsonl(output / ANNOTATIONS, map(_record, dialogues))
    write_jsonl(output / SPLIT, splits)
    write_jsonl(output / TITLES, [{"video_id": d.doc_key, "title": d.title} for d in dialogues])


def _draw(output: Path, dialogue: Dialogue, rng: random.Random) -> None:
    places = rng.sample(dialogue.heads, len(dialogue.heads))
    image, boxes = draw_frame([head.person.look for head in places], rng)
    for head, box in zip(places, boxes, strict=True):
        head.box = box
        image.crop(box).save(output / "faces_all" / _region_name(dialogue, head), quality=QUALITY)
    folder = output / "frames" / dialogue.doc_key
    folder.mkdir()
    image.save(folder / _frame_name(dialogue), quality=QUALITY)


def _record(dialogue: Dialogue) -> dict[str, Any]:
    """One line of the annotation file, keys and shapes as upstream's newest generation has them."""
    first = len(dialogue.sentences[0])
    text = "".join(dialogue.sentences)
    return {
        "doc_key": dialogue.doc_key,
        "genre": "wb",
        "sentences": [list(sentence) for sentence in dialogue.sentences],
        "clusters": dialogue.clusters,
        "clusters_str": [[text[start : end + 1] for start, end in cluster] for cluster in dialogue.clusters],
        "speaker_ids": [[speaker] * len(s) for speaker, s in zip("AB", dialogue.sentences, strict=True)],
        "sentence_map": [[number] * len(s) for number, s in enumerate(dialogue.sentences)],
        "subtoken_map": [list(range(first)), list(range(first, len(text)))],
        "entity_label": dialogue.labels,
        "visual_annotations": [_annotation(dialogue, head) for head in dialogue.heads],
    }


def _annotation(dialogue: Dialogue, head: Head) -> dict[str, Any]:
    return {
        "cur_frame": dialogue.frame,
        "cur_frame_path": f"{ANNOTATORS_FOLDER}/frames/{dialogue.doc_key}/{_frame_name(dialogue)}",
        "bbox": list(head.box),
        "box_labels": head.label,
        "if_celebrity": head.person.name if head.person.celebrity else "",
        "region_image_path": f"{ANNOTATORS_FOLDER}/faces_all/{_region_name(dialogue, head)}",
    }


def _frame_name(dialogue: Dialogue) -> str:
    return f"{dialogue.doc_key}_{dialogue.frame}_1.jpg"


def _region_name(dialogue: Dialogue, head: Head) -> str:
    return f"{dialogue.doc_key}_{dialogue.frame}_1_{head.label}.jpg"
