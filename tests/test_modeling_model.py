"""The model on small random encoders: losses against slow readable versions, invariances, errors."""

import itertools

import numpy as np
import pytest
import torch
from transformers import BertTokenizer

from tiktalkcoref.modeling.batch_tiktalkcoref import DialogueBatch
from tiktalkcoref.modeling.clustering_tiktalkcoref import (
    antecedents_of,
    close_clusters,
    clustering_loss,
    describe_mentions,
    pair_features,
)
from tiktalkcoref.modeling.configuration_tiktalkcoref import TikTalkCorefConfig
from tiktalkcoref.modeling.lexicon_tiktalkcoref import (
    OVERLAPS,
    PAIR_KINDS,
    PERSONS,
    TRAITS,
    normalise,
    overlap,
    person,
    query_rank,
    traits,
)
from tiktalkcoref.modeling.linking_tiktalkcoref import assign_regions, linking_loss, query_tokens, title_tokens
from tiktalkcoref.modeling.mentions_tiktalkcoref import Dropout, MentionHead, band_mask, mention_losses, select_mentions
from tiktalkcoref.modeling.modeling_tiktalkcoref import TikTalkCorefModel
from tiktalkcoref.modeling.processing_tiktalkcoref import TikTalkCorefProcessor

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = list("我你他她们是的不在有人这个那男生女孩帅哥认识小明大山，吗呢啊红衣蓝帽看喜欢谁自己")
TEXT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": len(SPECIALS) + len(CHARACTERS),
    "pad_token_id": 0,
}
VISION = {
    "architecture": "vit_tiny_patch16_224",
    "model_args": {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
    "image_size": 16,
}


def make_model(seed: int = 0, **config) -> TikTalkCorefModel:
    """Random weights, large enough that logits are spread out; a mention threshold that lets some through."""
    torch.manual_seed(seed)
    config = {"vision_config": VISION, "initializer_range": 0.15, "mention_threshold": 0.3, "dropout": 0.0, **config}
    config = {"projection_dim": 16, "cls_token_id": 2, "sep_token_id": 3, **config}
    text = TEXT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return TikTalkCorefModel(TikTalkCorefConfig(text_config=text, **config)).eval()


def make_processor(model: TikTalkCorefModel) -> TikTalkCorefProcessor:
    vocabulary = {token: number for number, token in enumerate(SPECIALS + CHARACTERS)}
    return TikTalkCorefProcessor.from_config(model.config, BertTokenizer(vocab=vocabulary))


def make_dialogues(count: int, seed: int = 0, pictures: bool = True) -> list[dict]:
    """Random dialogues of two to four utterances; three of four have pictures, some of these no links."""
    rng = np.random.default_rng(seed)
    dialogues = []
    for number in range(count):
        lengths = rng.integers(3, 20, rng.integers(2, 5))
        sentences = ["".join(rng.choice(CHARACTERS, n)) for n in lengths]
        offsets = np.cumsum([0, *lengths])
        spans = sorted({(int(o + a), int(o + a + w)) for o in offsets[:-1] for a, w in [rng.integers(0, 2, 2)]})
        clusters = [[list(s) for s in spans[k::2]] for k in range(2) if spans[k::2]]
        dialogue = {"sentences": sentences, "clusters": clusters}
        if pictures and number % 4:
            dialogue["regions"] = list(rng.integers(0, 255, (3, 16, 16, 3), dtype=np.uint8))
            dialogue["links"] = [-1, 0] if number % 4 == 1 else [1, -1]
            dialogue["links"] = dialogue["links"][: len(clusters)]
            dialogue["region_identities"] = ["张三" if number % 2 else None, "李四", None]
        dialogues.append(dialogue)
    return dialogues


# The lexicon.


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("我", "first"),
        ("咱们俩", "first"),
        ("泥萌", "second"),
        ("您", "second"),
        ("ＴＡ们", "third"),
        ("她自己", "third"),
        ("自己", "other"),
        ("这位", "other"),
        ("谁", "other"),
        ("小明", "none"),
        ("我妈", "none"),
    ],
)
def test_pronouns(text, wanted):
    assert PERSONS[person(normalise(text))] == wanted


def test_names_before_nouns_before_pronouns():
    assert [query_rank(text) for text in ("刘大山", "这个男生", "你的儿子", "他")] == [0, 1, 1, 2]
    mentions = [("他", [9]), ("这个男生", [5, 6, 7, 8]), ("刘大山", [4, 4, 4]), ("他", [9])]
    assert query_tokens(mentions, [], [], 2, 3, 52) == [2, 4, 4, 4, 5, 6, 7, 8, 9, 3]
    assert query_tokens(mentions, [11, 12], [1], 2, 3, 52) == [2, 4, 4, 4, 1, 5, 6, 7, 8, 1, 9, 1, 11, 12, 3]
    assert query_tokens(mentions, [], [], 2, 3, 6) == [2, 4, 4, 4, 5, 3]


# The mention head.


@pytest.mark.parametrize("length", [5, 300, 700])
def test_band_of_spans_is_what_each_pair_scores(length):
    torch.manual_seed(0)
    head = MentionHead(8, 6, 7, 0.0).eval()
    assert head.inside_score.weight.any()  # else the pairs' insides would not be tested
    states = torch.randn(2, length, 8)
    start_logits, band = head(states)
    pairs = [(b, s, s + w) for b in range(2) for s in (0, 1, 254, 255, 256, length - 2) for w in (0, 3, 6)]
    pairs = [pair for pair in pairs if pair[1] >= 0 and pair[2] < length]
    dialogue, start, end = torch.tensor(pairs).T
    starts, scores = head.score_spans(states, dialogue, start, end)
    assert torch.allclose(band[dialogue, start, end - start], scores, atol=1e-5)
    assert torch.allclose(start_logits[dialogue, start], starts, atol=1e-5)


def test_dropout_is_torchs_in_all_but_its_mask():
    torch.manual_seed(0)
    states = torch.ones(200, 500, requires_grad=True)
    dropped = Dropout(0.3)(states)
    assert set(dropped.unique().tolist()) == {0.0, torch.ones(()).div(0.7).item()}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(torch.autograd.grad(dropped.sum(), states)[0], dropped)
    assert Dropout(0.3)(states.bfloat16()).dtype == torch.bfloat16
    for module in (Dropout(0.3).eval(), Dropout(0.0)):
        assert torch.equal(module(states), states)


def test_spans_stay_within_their_utterance():
    utterance = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 1, 1, 1, 1, 1]])
    mask = band_mask(utterance, 3)
    for b, start, width in itertools.product(range(2), range(6), range(3)):
        inside = start + width < 6 and utterance[b, start] == utterance[b, start + width] >= 0
        assert mask[b, start, width] == inside


@pytest.mark.parametrize("end_starts", ["gold", "predicted", "all"])
def test_mention_losses_are_sums_in_a_dialogue_and_means_over_dialogues(end_starts):
    torch.manual_seed(0)
    utterance = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, -1, -1]])
    start_logits, end_logits = torch.randn(2, 5), torch.randn(2, 5, 3)
    starts, spans = torch.zeros(2, 5), torch.zeros(2, 5, 3)
    starts[0, 0] = starts[0, 3] = spans[0, 0, 2] = spans[0, 3, 1] = spans[0, 0, 0] = 1
    mask = band_mask(utterance, 3)
    losses = mention_losses(start_logits, end_logits, mask, starts, spans, end_starts, 0.5)
    wanted_start, wanted_end = [], []
    for b in range(2):
        one, many = [], []
        for s in range(5):
            if utterance[b, s] < 0:
                continue
            one.append(-torch.nn.functional.logsigmoid(start_logits[b, s] * (2 * starts[b, s] - 1)))
            follow = starts[b, s] > 0 or end_starts == "all" or (end_starts == "predicted" and start_logits[b, s] > 0)
            for w in range(3):
                if follow and mask[b, s, w]:
                    many.append(-torch.nn.functional.logsigmoid(end_logits[b, s, w] * (2 * spans[b, s, w] - 1)))
        wanted_start.append(sum(one))
        wanted_end.append(sum(many))
    assert torch.allclose(losses[0], sum(wanted_start) / 2)
    assert torch.allclose(losses[1], sum(wanted_end) / 2)


def test_at_most_so_many_mentions_a_character():
    mask = band_mask(torch.zeros(1, 10, dtype=torch.long), 4)
    start = torch.arange(10.0)[None]
    found = select_mentions(start + 1, torch.full((1, 10, 4), 3.0), mask, 0.5, 0.3)
    assert torch.stack(found, 1).tolist() == [[0, 8, 8], [0, 8, 9], [0, 9, 9]]


@pytest.mark.parametrize("seed", range(5))
def test_mentions_nest_but_do_not_cross(seed):
    torch.manual_seed(seed)
    mask = band_mask(torch.tensor([[0] * 9 + [1] * 6 + [-1], [0] * 16]), 5)
    start, end = torch.randn(2, 16), torch.randn(2, 16, 5)
    found = set(map(tuple, torch.stack(select_mentions(start, end, mask, 0.2, 100.0), 1).tolist()))

    def crosses(one, other):
        return one[0] == other[0] and one[1] < other[1] <= one[2] < other[2]

    score = {
        (b, s, s + w): probability
        for b, s, w in mask.nonzero().tolist()
        if (probability := float(start[b, s].sigmoid() * end[b, s, w].sigmoid())) > 0.2
    }
    assert found <= score.keys()
    assert not any(crosses(one, other) for one in found for other in found)
    assert any(one[1] <= other[1] and other[2] <= one[2] for one in found for other in found - {one})
    for span in score.keys() - found:  # what is left out crosses something better
        assert any((crosses(span, other) or crosses(other, span)) and score[other] > score[span] for other in found)


# The clustering head.


@pytest.mark.parametrize(
    ("mention", "gender", "several"),
    [
        ("他", "male", False), ("她们", "female", True), ("姐夫", "male", False), ("男友妈妈", "female", False),
        ("公主", "female", False), ("老公", "male", False), ("夫人", "female", False), ("两口子", "untold", True),
        ("大人", "untold", False), ("大家", "untold", True), ("三个人", "untold", True), ("一个人", "untold", False),
        ("和珅", "untold", False), ("李雷和韩梅", "untold", True), ("父母", "untold", True),
        ("taylor", "untold", False), ("", "untold", False),
    ],
)  # fmt: skip
def test_gender_and_number_are_what_the_last_word_and_the_plural_tell(mention, gender, several):
    assert traits(mention) == 2 * ("untold", "male", "female").index(gender) + several


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("詹姆斯", "老詹", "a_character"), ("马哥", "翔哥", "last_character"), ("老丈人", "老吴", "first_character"),
        ("小明", "黄晓明", "last_character"), ("郭天王", "刘天王", "two_characters"), ("肖战", "王一博", "none"),
        ("她", "她", "none"), ("", "她", "none"),
    ],
)  # fmt: skip
def test_what_two_names_share(first, second, shared):
    assert OVERLAPS[overlap(first, second)] == OVERLAPS[overlap(second, first)] == shared


def test_gender_number_and_overlap_of_a_pair_count(build_tiny):
    model, processor = build_tiny()
    model.eval()
    batch = processor([{"sentences": ["他们和她老公"]}])
    states = torch.zeros(1, 6, model.config.text_config.hidden_size)

    def score() -> float:
        mentions = describe_mentions([[(0, 1), (3, 5)]], batch)
        return model.clustering_head(model.clustering_head.represent(states, mentions), mentions)[1][1, 0].item()

    before = score()
    several_male, one_male = traits("他们"), traits("她老公")
    with torch.no_grad():
        model.clustering_head.agreement.weight[one_male * TRAITS + several_male] += 1.0
    after = score()
    assert after != before
    with torch.no_grad():
        model.clustering_head.overlap.weight[0] += 1.0
    assert score() != after


def describe(spans, sentences, speakers):
    utterance = torch.tensor([[n for n, sentence in enumerate(sentences) for _ in sentence]])
    speaker = torch.tensor(speakers)[utterance]
    unread = torch.empty(0, dtype=torch.long)
    batch = DialogueBatch(unread, unread, unread, unread, utterance, speaker, [list("".join(sentences))])
    return describe_mentions([spans], batch)


def test_kinds_of_pair():
    # 我认识小明 / 小明和大小明认识我自己
    mentions = describe(
        [(0, 0), (3, 4), (5, 6), (8, 10), (9, 10), (13, 13), (13, 15)], ["我认识小明", "小明和大小明认识我自己"], [0, 1]
    )
    found = {}
    for first, second in itertools.combinations(range(7), 2):
        kind, relation, _, position, *_ = pair_features(mentions, torch.tensor([second]), torch.tensor([first]))
        found[first, second] = PAIR_KINDS[kind], int(position), int(relation) // len(PERSONS) ** 2
    assert found[0, 5] == ("pronoun_pronoun", 0, 0)  # 我 of A, 我 of B
    assert found[0, 1] == ("entity_pronoun", 1, 1)
    assert found[1, 2] == ("match", 0, 0)
    assert found[2, 3] == ("contains", 1, 1)
    assert found[3, 4] == ("contains", 3, 1)  # nested
    assert found[5, 6] == ("pronoun_pronoun", 3, 1)


@pytest.mark.parametrize("top_k", [3, 8, 50])
def test_antecedents_are_the_best_of_the_same_dialogue(top_k):
    torch.manual_seed(0)
    dialogue = torch.tensor([0] * 12 + [2] * 3 + [3] * 30)
    vectors, queries = torch.randn(45, 5), torch.randn(45, 5)
    found = antecedents_of(vectors, queries, dialogue, top_k)
    for row in range(45):
        earlier = [j for j in range(row) if dialogue[j] == dialogue[row]]
        best = sorted(earlier, key=lambda j: -float(queries[row] @ vectors[j]))[:top_k]
        assert found[row][found[row] >= 0].tolist() == sorted(best, reverse=True)


def test_clustering_losses():
    antecedents = torch.tensor([[-1, -1], [0, -1], [1, 0], [-1, -1]])
    scores = torch.tensor([[-torch.inf, -torch.inf], [0.5, -torch.inf], [-1.0, 2.0], [-torch.inf, -torch.inf]])
    entity = torch.tensor([4, 5, 4, 6])
    pairs = [-0.5, 1.0, 2.0]  # logits times the sign of the label
    wanted = -torch.nn.functional.logsigmoid(torch.tensor(pairs)).sum() / 3
    assert torch.allclose(clustering_loss(antecedents, scores, entity, 3), wanted)
    e = torch.tensor([0.5, -1.0, 2.0]).exp()
    wanted = (torch.log(1 + e[0]) + torch.log((1 + e[1] + e[2]) / e[2])) / 3
    assert torch.allclose(clustering_loss(antecedents, scores, entity, 3, "marginal"), wanted)
    wrong = torch.tensor([-1, -1, -1, -1])  # wrong mentions corefer with nothing, not with one another
    assert clustering_loss(antecedents, scores, wrong, 3) > clustering_loss(antecedents, scores, entity, 3)


def test_closing_is_transitive():
    antecedents = torch.tensor([[-1, -1], [0, -1], [1, 0], [2, 1]])
    scores = torch.tensor([[-torch.inf, -torch.inf], [1.0, -torch.inf], [-1.0, -2.0], [0.1, 3.0]])
    assert close_clusters(antecedents, scores, 0.5) == [0, 0, 2, 0]
    assert close_clusters(antecedents[:, :0], scores[:, :0], 0.5) == [0, 1, 2, 3]


# Linking.


def test_linking_loss_leaves_pairs_of_the_same_person_out():
    torch.manual_seed(0)
    logits, null = torch.randn(3, 4), torch.randn(3)
    link, identity = torch.tensor([0, -1, 2]), torch.tensor([7, -1, 7, -1])
    clusters, regions = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1, 1])
    loss = linking_loss(logits, null, link, identity, clusters, regions, 2)
    e, n = logits.exp(), null.exp()
    within = -(torch.log(e[0, 0] / (e[0, 0] + e[0, 1] + n[0])) + torch.log(n[1] / (e[1, 0] + e[1, 1] + n[1])))
    within = within - torch.log(e[2, 2] / (e[2, 2] + e[2, 3] + n[2]))
    rows = -torch.log(e[0, 0] / (e[0, 0] + e[0, 1] + e[0, 3])) - torch.log(e[2, 2] / (e[2, 2] + e[2, 3] + e[2, 1]))
    columns = -torch.log(e[0, 0] / (e[0, 0] + e[1, 0])) - torch.log(e[2, 2] / (e[2, 2] + e[1, 2]))
    assert torch.allclose(loss, within / 2 + (rows + columns) / 4)
    changed = logits.clone()
    changed[0, 2] = changed[2, 0] = 100.0  # the same person in two videos: in no sum, no denominator
    assert torch.equal(loss, linking_loss(changed, null, link, identity, clusters, regions, 2))


def test_linking_loss_has_several_positives():
    logits, null = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0.5])
    identity, one = torch.tensor([7, 7, -1]), torch.zeros(1, dtype=torch.long)
    loss = linking_loss(logits, null, one, identity, one, torch.zeros(3, dtype=torch.long), 1)
    e = logits[0].exp()
    within = -torch.log((e[0] + e[1]) / (e.sum() + null.exp()[0]))
    row = -(torch.log(e[0] / e.sum()) + torch.log(e[1] / e.sum())) / 2
    assert torch.allclose(loss, within + row / 2)


def test_assignment_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        options = torch.from_numpy(rng.normal(size=(3, 4))).log_softmax(1)
        regions, null = options[:, :3], options[:, 3]
        choices = [
            c
            for c in itertools.product(range(-1, 3), repeat=3)
            if len({r for r in c if r >= 0}) == sum(r >= 0 for r in c)
        ]
        worth = [sum(float(null[k] if r < 0 else regions[k, r]) for k, r in enumerate(choice)) for choice in choices]
        assert assign_regions(regions, null) == list(choices[int(np.argmax(worth))])


# The whole.


@pytest.mark.parametrize("negatives", ["batch", "video"])
def test_batches_do_not_matter(negatives):
    model = make_model(linking_negatives=negatives)
    processor = make_processor(model)
    dialogues = make_dialogues(24)
    results = {}
    for size in (1, 5, 24):
        results[size] = [r for low in range(0, 24, size) for r in model.predict(processor(dialogues[low : low + size]))]
    assert sum(len(result["clusters"]) for result in results[1]) > 24
    assert any(len(cluster) > 1 for result in results[1] for cluster in result["clusters"])
    for size in (5, 24):
        for one, other in zip(results[1], results[size], strict=True):
            assert one["clusters"] == other["clusters"]
            assert one["regions"] == other["regions"]
            assert np.allclose(one["null_scores"], other["null_scores"], atol=1e-4)


def test_order_of_regions_does_not_matter():
    model = make_model()
    processor = make_processor(model)
    dialogue = make_dialogues(2)[1]
    order = [2, 0, 1]
    other = {**dialogue, "regions": [dialogue["regions"][i] for i in order]}
    one, two = (model.predict(processor(d))[0] for d in (dialogue, other))
    assert [order[r] if r >= 0 else -1 for r in two["regions"]] == one["regions"]
    for scores, null, moved in zip(one["region_scores"], one["null_scores"], two["region_scores"], strict=True):
        assert np.allclose([scores[i] for i in order], moved, atol=1e-5)
        assert sum(scores) + null == pytest.approx(1, abs=1e-5)


def test_micro_batches_add_up():
    model = make_model(linking_negatives="video")
    processor = make_processor(model)
    dialogues = make_dialogues(12)
    whole = model(**processor(dialogues, labels=True))
    parts = [model(**processor(dialogues[low:high], labels=True)) for low, high in ((0, 5), (5, 6), (6, 12))]
    for name in ("loss", "loss_start", "loss_end", "loss_clustering", "loss_linking"):
        total = sum((getattr(p, name) if getattr(p, name) is not None else 0.0) * p.num_dialogues for p in parts) / 12
        assert torch.allclose(whole[name], total, atol=1e-5), name


def test_queries_stay_whole_where_characters_are_masked(monkeypatch):
    model = make_model()
    batch = make_processor(model)(make_dialogues(8), labels=True)
    read = []
    plain = model._read_queries
    monkeypatch.setattr(model, "_read_queries", lambda queries: read.append(queries) or plain(queries))
    whole = model(**batch)
    masked = batch["input_ids"].masked_fill(batch["token_speaker"] > 0, SPECIALS.index("[UNK]"))
    hidden = model(**batch, masked_input_ids=masked)
    assert read[0]
    assert read[0] == read[1]
    assert not torch.allclose(whole.start_logits, hidden.start_logits)
    assert torch.equal(model(**batch, masked_input_ids=batch["input_ids"]).loss, whole.loss)


@pytest.mark.parametrize(
    "option", [{"clustering_negatives": True}, {"clustering_loss": "marginal"}, {"end_starts": "all"}]
)
def test_every_head_learns(option):
    model = make_model(**option).train()
    loss = model(**make_processor(model)(make_dialogues(8), labels=True)).loss
    loss.backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert still <= {"linking_head.context_projection.weight", "linking_head.context_projection.bias"} | {
        name
        for name in still
        if name.endswith("key.bias")  # adds the same to every score: no gradient by nature
    }


def test_pictures_without_links_train_nothing():
    model = make_model().train()
    processor = make_processor(model)
    dialogues = [{k: v for k, v in d.items() if k != "links"} for d in make_dialogues(4)]
    dialogues[1]["links"] = [-1] * len(dialogues[1]["clusters"])
    output = model(**processor(dialogues, labels=True))
    assert output.loss_linking is None
    output.loss.backward()
    assert all(p.grad is None for module in (model.vision_encoder, model.linking_head) for p in module.parameters())
    assert model(**processor(make_dialogues(4, pictures=False), labels=True)).loss_linking is None


def test_given_clusters_and_mentions():
    model = make_model()
    processor = make_processor(model)
    dialogues = make_dialogues(3)
    given = [d["clusters"][::-1] for d in dialogues]
    assert [r["clusters"] for r in model.predict(processor(dialogues), clusters=given)] == given
    mentions = [[m for c in d["clusters"] for m in c] for d in dialogues]
    found = model.predict(processor(dialogues), mentions=mentions)
    assert [sorted(m for c in r["clusters"] for m in c) for r in found] == [sorted(m) for m in mentions]
    assert all(r["clusters"] == sorted(r["clusters"]) for r in found)
    with pytest.raises(ValueError, match=r"dialogue 2 of the batch has the mention \[0, 999\]"):
        model.predict(processor(dialogues), mentions=[[], [(0, 999)], []])


def test_windows_cover_long_dialogues():
    model = make_model(window_size=64, window_stride=32, use_title=False, max_title_length=8)
    processor = make_processor(model)
    rng = np.random.default_rng(0)
    long = {"sentences": ["".join(rng.choice(CHARACTERS, 40)) for _ in range(30)]}
    batch = processor([long, *make_dialogues(2)])
    assert len(batch["input_ids"]) > 30
    found = model.predict(batch)
    assert max(end for cluster in found[0]["clusters"] for _, end in cluster) > 1000
    import tiktalkcoref.modeling.reading_tiktalkcoref as module

    tokens, module.TOKENS = module.TOKENS, 200  # a few windows at a time
    try:
        assert [r["clusters"] for r in model.predict(batch)] == [r["clusters"] for r in found]
    finally:
        module.TOKENS = tokens


def test_short_dialogues_read_alike_with_any_window():
    wide, narrow = make_model(), make_model(window_size=128, window_stride=64, max_title_length=8)
    dialogues = make_dialogues(4)
    one, other = (model.predict(make_processor(model)(dialogues)) for model in (wide, narrow))
    assert one == other


def test_title_is_context_and_query():
    model = make_model(use_title=True, query_title=True)
    processor = make_processor(model)
    dialogue = make_dialogues(2)[1]
    plain = model.predict(processor(dialogue))[0]
    titled = model.predict(processor({**dialogue, "title": "帅哥认识小明"}))[0]
    assert plain["region_scores"] != titled["region_scores"]
    for title in ("帅哥认识小明", None):
        batch = processor({**dialogue, "title": title})
        found = title_tokens(int(batch["character_index"][0, 0]), batch["input_ids"], batch["token_speaker"], 3)
        assert processor.tokenizer.convert_ids_to_tokens(found) == list(title or "")


def test_parameter_groups_hold_everything_once():
    model = make_model()
    groups = model.parameter_groups()
    assert sorted(groups) == ["heads", "scalars", "text_encoder", "vision_encoder"]
    numbers = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(numbers) == sorted(id(parameter) for parameter in model.parameters())
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_fresh_weights_start_where_they_say():
    model = make_model()
    assert model.mention_head.start_score.bias.item() == -2
    assert not model.speaker_embedding.weight.any()
    assert model.linking_head.context_gate.item() == 0
    assert model.linking_head.logit_scale.item() == pytest.approx(2.6592)


# The configuration.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mention_threshold": 1.5}, "mention_threshold is 1.5: expected a probability"),
        ({"max_mention_length": 0}, "max_mention_length is 0: expected a whole number"),
        ({"dropout": "0.1"}, "dropout is '0.1': expected at least 0"),
        ({"window_stride": 600}, r"window_stride is 600: expected at least 1 and below window_size \(512\)"),
        ({"window_size": 1024}, "reads at most 512 tokens: set window_size to 512 or less"),
        ({"linking_negatives": "all"}, "linking_negatives is 'all': expected one of batch, video"),
        ({"linking_weight": float("nan")}, "linking_weight is nan"),
        ({"query_title": True}, "set use_title"),
        ({"text_config": {"model_type": "bort2"}}, "model type 'bort2', which transformers .* does not know"),
        ({"vision_config": {"model_args": {}}}, "at least `architecture`"),
        ({"vision_config": {"architecture": "vit", "depth": 2}}, r"unknown fields \['depth'\].*model_args"),
    ],
)
def test_wrong_values_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TikTalkCorefConfig(**fields)


def test_config_round_trip(tmp_path):
    config = make_model(max_mention_length=20).config
    config.save_pretrained(tmp_path)
    assert TikTalkCorefConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_unknown_backbones_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"'vit_tinny_patch16_224'.*Names like it: vit_tiny_patch16_224"):
        make_model(vision_config={**VISION, "architecture": "vit_tinny_patch16_224"})
    with pytest.raises(ValueError, match=r"model_args .* do not fit"):
        make_model(vision_config={**VISION, "model_args": {"depht": 3}})
    with pytest.raises(OSError, match=r"cannot be loaded.*Give the path of a folder"):
        TikTalkCorefModel.from_encoders(tmp_path / "missing")
    with pytest.raises(ValueError, match="reads text only"):
        make_model(vision_config=None).get_image_features(torch.zeros(1, 3, 16, 16))
