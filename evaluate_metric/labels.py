"""What people call the scores: the one list that tables, reports, cards and logs go by."""

METRICS = {
    "muc": "MUC",
    "b_cubed": "B³",
    "ceaf_e": "CEAF-e",
    "ceaf_m": "CEAF-m",
    "lea": "LEA",
    "blanc": "BLANC",
    "mention": "mentions",
}

# The scores that stand for their group, in the order in which they are shown.
LABELS = {
    "conll_f1": "CoNLL F1",
    "muc_f1": "MUC F1",
    "b_cubed_f1": "B³ F1",
    "ceaf_e_f1": "CEAF-e F1",
    "ceaf_m_f1": "CEAF-m F1",
    "lea_f1": "LEA F1",
    "blanc_f1": "BLANC F1",
    "mention_f1": "mention F1",
    "linking_recall_at_1": "link R@1",
    "linking_recall_at_2": "link R@2",
    "linking_recall_at_3": "link R@3",
    "linking_mrr": "link MRR",
    "linking_visual_f1": "has a counterpart F1",
    "multimodal_conll_f1": "multimodal CoNLL F1",
}
