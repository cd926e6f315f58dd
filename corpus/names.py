"""Names that the whole project shares: kinds of video, splits, configs, the label that is none, the paper."""

VIDEO_TYPES = ("celeb", "no_celeb")
SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {"train": "train", "val": "validation", "dev": "validation", "validation": "validation", "test": "test"}

RECORD_CONFIGS = ("all", *VIDEO_TYPES)  # whole records, in the three splits
CONFIGS = (*RECORD_CONFIGS, "textual", "visual")  # the last two: a part of the fields, in the six splits
DEFAULT_CONFIG = "all"
SIX_SPLITS = tuple(f"{video_type}_{split}" for video_type in VIDEO_TYPES for split in SPLITS)

NO_LABEL = "none"  # no visual counterpart, and no celebrity; some generations write ""
NO_LABELS = (NO_LABEL, "", None)

PAPER_URL = "https://aclanthology.org/2025.acl-long.1520/"
CITATION = f"""\
@inproceedings{{li-etal-2025-tiktalkcoref,
    title = "Multimodal Coreference Resolution for {{C}}hinese Social Media Dialogues: Dataset and Benchmark Approach",
    author = "Li, Xingyu and Gong, Chen and Fu, Guohong",
    booktitle = "Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics (Volume 1: Long Papers)",
    year = "2025",
    address = "Vienna, Austria",
    publisher = "Association for Computational Linguistics",
    pages = "31513--31525",
    url = "{PAPER_URL}",
}}
"""  # noqa: E501 (one field a line, as BibTeX is read)
