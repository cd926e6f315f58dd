"""The published test cases of the reference scorer (conll/reference-coreference-scorers, test/TestCases.README).

A letter is a mention, a word a cluster. Expected numbers are fractions.
"""

from fractions import Fraction
from math import isclose

import pytest

from tiktalkcoref.evaluate_metric import score

# (gold, predicted, {metric: "recall precision" or "recall precision F1"}); without a third number F1 is their harmonic
# mean. Upper case is another mention than lower case, as in A-5 and A-6, where it overlaps with it.
CASES = {
    "A-1": (
        "a bc def",
        "a bc def",
        {"muc": "1 1", "b_cubed": "1 1", "ceaf_m": "1 1", "ceaf_e": "1 1", "lea": "1 1", "blanc": "1 1"},
    ),
    "A-2": (
        "a bc def",
        "a de",
        {"muc": "1/3 1", "b_cubed": "7/18 1", "ceaf_m": "1/2 1", "ceaf_e": "3/5 9/10", "lea": "1/3 1"}
        | {"blanc": "19/88 1 23/65"},
    ),
    "A-3": (
        "a bc def",
        "a bcx defy z",
        {"muc": "1 3/5", "b_cubed": "1 55/108", "ceaf_m": "1 2/3", "ceaf_e": "31/35 93/140", "lea": "1 4/9"}
        | {"blanc": "1 23/54 295/494"},
    ),
    "A-4": (
        "a bc def",
        "a bcx dy z",
        {"muc": "1/3 1/3", "b_cubed": "5/9 17/42", "ceaf_m": "2/3 4/7", "ceaf_e": "11/15 11/20", "lea": "1/2 2/7"}
        | {"blanc": "31/88 37/136 17/56"},
    ),
    "A-5": (
        "a bc def",
        "a bcxB dy z",
        {"muc": "1/3 1/4", "b_cubed": "5/9 5/16", "ceaf_m": "2/3 1/2", "ceaf_e": "31/45 31/60", "lea": "1/2 5/24"}
        | {"blanc": "31/88 4/21 87/352"},
    ),
    "A-6": (
        "a bc def",
        "a bcx dy Bz",
        {"muc": "1/3 1/4", "b_cubed": "5/9 17/48", "ceaf_m": "2/3 1/2", "ceaf_e": "11/15 11/20", "lea": "1/2 1/4"}
        | {"blanc": "31/88 24/115 79/306"},
    ),
    # b twice in one cluster counts once. In A-8 and A-9 it is repeated in another cluster, which is refused here.
    "A-7": (
        "a bc def",
        "a bcxb dy z",
        {"muc": "1/3 1/3", "b_cubed": "5/9 17/42", "ceaf_m": "2/3 4/7", "ceaf_e": "11/15 11/20", "lea": "1/2 2/7"}
        | {"blanc": "31/88 37/136 17/56"},
    ),
    "A-10": (
        "a bc def",
        "a b c d e f",
        {"muc": "0 0", "b_cubed": "1/2 1", "lea": "1/6 1/6", "blanc": "1/2 11/30 11/26"},
    ),
    "A-11": ("a bc def", "abcdef", {"muc": "1 3/5", "b_cubed": "1 7/18", "lea": "5/6 4/15", "blanc": "1/2 2/15 4/19"}),
    "A-12": (
        "a bc def",
        "a x y c d e z",
        {"muc": "0 0", "b_cubed": "13/36 4/7", "lea": "1/6 1/7", "blanc": "5/22 5/42"},
    ),
    "A-13": (
        "a bc def",
        "axycdez",
        {"muc": "1/3 1/6", "b_cubed": "17/36 6/49", "lea": "1/6 1/21", "blanc": "1/8 1/42"},
    ),
    "B-1": ("ab cde", "bcx de", {"lea": "1/5 2/5", "blanc": "7/24 7/24"}),
    "C-1": ("ab cde fg", "bcx de fg", {"lea": "3/7 4/7", "blanc": "41/80 41/80"}),
    "D-1": ("12345 67 89ABC", "12345 6789ABC", {"muc": "1 9/10", "b_cubed": "1 16/21", "lea": "1 13/18"}),
    "E-1": ("12345 67 89ABC", "1234589ABC 67", {"muc": "1 9/10", "b_cubed": "1 7/12", "lea": "1 29/54"}),
    "F-1": ("ABCD", "AB CD", {"muc": "2/3 1", "lea": "1/3 1"}),
    "G-1": ("AB CD", "ABCD", {"muc": "1 2/3", "lea": "1 1/3"}),
    "H-1": ("ABCD", "ABCD", {"muc": "1 1", "lea": "1 1"}),
    "I-1": ("ABCD", "AB CD", {"muc": "2/3 1", "lea": "1/3 1"}),
    "J-1": ("ABC", "AC", {"muc": "1/2 1", "lea": "1/3 1"}),
    "K-1": ("BCDEGHJ", "ABC DEF GHI", {"muc": "1/2 1/2", "lea": "1/7 1/3"}),
    "L-1": ("ABC DEFG", "AB CD FGH", {"muc": "2/5 1/2", "lea": "5/21 3/7"}),
    # The gold has links of one kind only: BLANC is that kind's.
    "M-1": (
        "abcdef",
        "abcdef",
        {"muc": "1 1", "b_cubed": "1 1", "ceaf_m": "1 1", "ceaf_e": "1 1", "lea": "1 1", "blanc": "1 1"},
    ),
    "M-2": ("abcdef", "a b c d e f", {"muc": "0 0", "lea": "0 0", "blanc": "0 0"}),
    "M-3": ("abcdef", "ab cde f", {"lea": "4/15 5/6", "blanc": "4/15 1"}),
    "M-4": ("abcdef", "abcxyz", {"lea": "1/5 1/5", "blanc": "1/5 1/5"}),
    "M-5": ("abcdef", "a b c x y z", {"muc": "0 0", "lea": "0 0", "blanc": "0 0"}),
    "M-6": ("abcdef", "ab cxy z", {"lea": "1/15 1/3", "blanc": "1/15 1/4"}),
    "N-1": (
        "a b c d e f",
        "a b c d e f",
        {"muc": "0 0", "b_cubed": "1 1", "ceaf_m": "1 1", "ceaf_e": "1 1", "lea": "1 1", "blanc": "1 1"},
    ),
    "N-2": ("a b c d e f", "abcdef", {"muc": "0 0", "lea": "0 0", "blanc": "0 0"}),
    "N-3": ("a b c d e f", "ab cde f", {"lea": "1/6 1/6", "blanc": "11/15 1"}),
    "N-4": ("a b c d e f", "a b c x y z", {"muc": "0 0", "lea": "1/2 1/2", "blanc": "1/5 1/5"}),
    "N-5": ("a b c d e f", "abcxyz", {"lea": "0 0", "blanc": "0 0"}),
    "N-6": ("a b c d e f", "ab cxy z", {"lea": "0 0", "blanc": "2/15 2/11"}),
}


def clusters(text: str) -> list:
    """A word a cluster, a letter a mention: its code point is its span."""
    return [[[ord(letter), ord(letter) + 1] for letter in word] for word in text.split()]


def harmonic(recall, precision):
    return 2 * recall * precision / (recall + precision) if recall + precision else Fraction(0)


@pytest.mark.parametrize("name", CASES)
def test_published_case(name):
    key, response, expected = CASES[name]
    found = score([{"clusters": clusters(response)}], [{"clusters": clusters(key)}])
    for metric, numbers in expected.items():
        recall, precision, *f1 = map(Fraction, numbers.split())
        f1 = f1[0] if f1 else harmonic(recall, precision)
        for part, value in (("recall", recall), ("precision", precision), ("f1", f1)):
            assert isclose(found[f"{metric}_{part}"], value, abs_tol=1e-12), (metric, part)


def test_case_of_spans_as_published():
    """TC-A-2 with the token offsets of its files, and every number to five digits."""
    key = [[[0, 1]], [[3, 6], [9, 9]], [[11, 12], [14, 14], [16, 18]]]
    found = score([{"clusters": [[[0, 1]], [[11, 12], [14, 14]]]}], [{"clusters": key}])
    expected = {"muc": (0.33333, 1), "b_cubed": (0.38889, 1), "ceaf_m": (0.5, 1), "ceaf_e": (0.6, 0.9)}
    for metric, (recall, precision) in (expected | {"blanc": (0.21591, 1), "mention": (0.5, 1)}).items():
        assert round(found[f"{metric}_recall"], 5) == recall
        assert round(found[f"{metric}_precision"], 5) == precision
    assert round(found["conll_f1"], 5) == 0.59333


def test_counts_are_pooled_over_documents():
    """Two documents: sums are divided once, no mean over documents is taken."""
    pairs = [("a bc def", "a de"), ("gh", "gh")]
    found = score(*([{"clusters": clusters(pair[i])} for pair in pairs] for i in (1, 0)))
    assert found["muc_recall"] == 2 / 4
    assert isclose(found["b_cubed_recall"], (Fraction(7, 3) + 2) / 8)
    assert isclose(found["ceaf_e_recall"], (Fraction(9, 5) + 1) / 4)
    assert isclose(found["ceaf_e_precision"], (Fraction(9, 5) + 1) / 3)
    # coreference links 1 + 1 of 4 + 1, other links 2 of 11: the second document has none of those
    assert isclose(found["blanc_recall"], (Fraction(2, 5) + Fraction(2, 11)) / 2)


@pytest.mark.parametrize(("key", "response"), [("", "ab c"), ("ab c", ""), ("", "")])
def test_an_empty_side_scores_nothing(key, response):
    found = score([{"clusters": clusters(response)}], [{"clusters": clusters(key)}])
    assert set(found.values()) == {0.0}


def test_a_single_mention_has_no_links():
    """The reference scorer gives BLANC 0 where the gold has no link at all, and MUC 0 where all are singletons."""
    found = score([{"clusters": clusters("a")}], [{"clusters": clusters("a")}])
    assert found["blanc_f1"] == found["muc_f1"] == 0
    assert found["b_cubed_f1"] == found["ceaf_e_f1"] == found["lea_f1"] == found["mention_f1"] == 1


def test_singletons_can_be_dropped_on_both_sides():
    found = score([{"clusters": clusters("a bc d")}], [{"clusters": clusters("a bc de")}], keep_singletons=False)
    kept = score([{"clusters": clusters("bc")}], [{"clusters": clusters("bc de")}])
    assert found == kept
    assert found["b_cubed_precision"] == 1
    assert found["b_cubed_recall"] == 0.5


@pytest.mark.parametrize("gold", [[[[0, 0], [2, 2]]], [[[0, 0]], [[2, 2]]]])
def test_one_link_of_either_sort_is_enough_for_blanc(gold):
    assert score([{"clusters": gold}], [{"clusters": gold}])["blanc_f1"] == 1


def test_singletons_dropped_where_one_side_is_empty():
    pair = [{"clusters": [[[0, 0], [1, 1]]]}]
    for sides in ((pair, [{"clusters": []}]), ([{"clusters": []}], pair)):
        assert score(*sides, keep_singletons=False)["conll_f1"] == 0
