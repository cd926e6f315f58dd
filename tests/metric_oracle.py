"""The coreference scores written for reading: sets of mentions, links one by one, every alignment tried.

Each function takes gold and predicted clusters of one document (lists of sets) and gives its counts; `pooled` adds them
up over documents and divides.
"""

from fractions import Fraction
from functools import cache
from itertools import chain, combinations


def muc(gold, predicted):
    return *_muc(gold, predicted), *_muc(predicted, gold)


def _muc(gold, predicted):
    """Vilain et al. 1995: what the other side cuts a cluster into, a mention it lacks being a part of its own."""
    correct = 0
    for cluster in gold:
        parts = sum(1 for other in predicted if cluster & other)
        parts += len(cluster - set(chain.from_iterable(predicted)))
        correct += len(cluster) - parts
    return correct, sum(len(cluster) - 1 for cluster in gold)


def b_cubed(gold, predicted):
    return *_b_cubed(gold, predicted), *_b_cubed(predicted, gold)


def _b_cubed(gold, predicted):
    """Bagga and Baldwin 1998: mention by mention, the share of its cluster that it is found together with."""
    total = Fraction(0)
    for cluster in gold:
        for mention in cluster:
            home = next((other for other in predicted if mention in other), set())
            total += Fraction(len(cluster & home), len(cluster))
    return total, sum(map(len, gold))


def ceaf(gold, predicted, similarity):
    """Luo 2005: each gold cluster in turn is left alone, or aligned to any predicted cluster that is still free."""

    @cache
    def best(i, free):
        if i == len(gold):
            return Fraction(0)
        taken = (similarity(gold[i], predicted[j]) + best(i + 1, free - {j}) for j in free if gold[i] & predicted[j])
        return max([best(i + 1, free), *taken])

    total = best(0, frozenset(range(len(predicted))))
    own = [sum(similarity(cluster, cluster) for cluster in side) for side in (gold, predicted)]
    return total, own[0], total, own[1]


def ceaf_m(gold, predicted):
    return ceaf(gold, predicted, lambda one, other: len(one & other))


def ceaf_e(gold, predicted):
    return ceaf(gold, predicted, lambda one, other: Fraction(2 * len(one & other), len(one) + len(other)))


def lea(gold, predicted):
    return *_lea(gold, predicted), *_lea(predicted, gold)


def _lea(gold, predicted):
    """Moosavi and Strube 2016: links resolved, weighted by size; a singleton has one link, to itself."""
    other_links = set(chain.from_iterable(map(_lea_links, predicted)))
    total = Fraction(0)
    for cluster in gold:
        links = _lea_links(cluster)
        total += len(cluster) * Fraction(len(links & other_links), len(links))
    return total, sum(map(len, gold))


def _lea_links(cluster):
    return _links(cluster) if len(cluster) > 1 else {frozenset(cluster)}


def mention(gold, predicted):
    one, other = (set(chain.from_iterable(side)) for side in (gold, predicted))
    return len(one & other), len(one), len(one & other), len(other)


def blanc_counts(gold, predicted):
    """Luo et al. 2014: coreference links, then other links; common, gold, predicted."""
    counts = []
    for kind in (_coreference_links, _other_links):
        one, other = kind(gold), kind(predicted)
        counts += [len(one & other), len(one), len(other)]
    return tuple(counts)


def _coreference_links(clusters):
    return set(chain.from_iterable(map(_links, clusters)))


def _other_links(clusters):
    return _links(set(chain.from_iterable(clusters))) - _coreference_links(clusters)


def _links(mentions):
    return {frozenset(pair) for pair in combinations(mentions, 2)}


def pooled(documents):
    """{key: Fraction} over documents, pairs (gold clusters, predicted clusters)."""
    scores = {}
    for metric in (muc, b_cubed, ceaf_e, ceaf_m, lea, mention):
        r, rd, p, pd = (sum(counts) for counts in zip(*(metric(*document) for document in documents), strict=True))
        recall, precision = _divide(r, rd), _divide(p, pd)
        scores |= _named(metric.__name__, recall, precision, _f1(recall, precision))
    scores |= _named("blanc", *_blanc([sum(c) for c in zip(*(blanc_counts(*d) for d in documents), strict=True)]))
    scores["conll_f1"] = (scores["muc_f1"] + scores["b_cubed_f1"] + scores["ceaf_e_f1"]) / 3
    return scores


def _blanc(counts):
    kinds = []
    for common, gold, predicted in (counts[:3], counts[3:]):
        recall, precision = _divide(common, gold), _divide(common, predicted)
        if gold:
            kinds.append((recall, precision, _f1(recall, precision)))
    return [_divide(sum(kind[i] for kind in kinds), len(kinds)) for i in range(3)]


def _divide(numerator, denominator):
    return Fraction(numerator) / denominator if denominator else Fraction(0)


def _f1(recall, precision):
    return _divide(2 * recall * precision, recall + precision)


def _named(name, recall, precision, f1):
    return {f"{name}_recall": recall, f"{name}_precision": precision, f"{name}_f1": f1}
