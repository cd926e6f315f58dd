"""`pipeline("multimodal-coreference", ...)`: dialogues in, clusters of mentions with their regions out.

    resolver = pipeline("multimodal-coreference", model=PATH, trust_remote_code=True)
    resolver({"sentences": ["这个男生认识她吗", "可以"], "speakers": ["A", "B"], "regions": [image, image]})

gives, for each dialogue,

    {"clusters": [{"mentions": [{"text": "这个男生", "start": 0, "end": 4, "sentence": 0, "score": 0.98}],
                   "region": 0, "region_score": 0.91, "region_scores": [0.91, 0.02]}, ...]}

`start` and `end` count characters within the utterance number `sentence`, the end exclusive as in Python slices; this
holds for token lists too, whose tokens are joined without spaces. `region` is an index into the dialogue's regions (or
boxes), None where the cluster has no visual counterpart; `region_score` is the probability of that decision;
`region_scores` are those of all regions, and what they lack to 1 is the probability of none. A dialogue without
pictures gives no region keys, but `"text_only": True` beside `"clusters"`.

A dialogue may have a `video` (a path, or a folder of frames) in the place of `regions`: the persons in it are the
regions, and the result names them beside the clusters, `"entities": [{"id": 0, "tracks": [{"shot", "times" [s],
"frames", "boxes" [[x1, y1, x2, y2] px], "scores"}], "crop": image, "frame", "time", "box"}]`; `region` is an index into
them. `pipeline.videos.options` says how they are looked for.
"""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import Pipeline

from .batch_tiktalkcoref import DialogueBatch
from .inputs_tiktalkcoref import DialogueError
from .video_tiktalkcoref import VideoReader

POOL_BATCHES = 16  # of a stream, this many batches are read ahead, so that each batch holds dialogues of one length
GIVEN = ("clusters", "mentions")
CALL = "a call takes clusters, mentions, batch_size and num_workers; what belongs to a dialogue is a key of it"
CONSTRUCTION = "it takes model, processor, device, batch_size and what every pipeline of transformers takes"
SPAN = '{"sentence": utterance number, "start": first character, "end": character after the last}'


class ArgumentError(TypeError, ValueError):
    """A call of the pipeline with an argument that it does not have, or a value that the argument does not take."""

    for_user = True  # not an error of the program: see tiktalkcoref.files.errors


class TikTalkCorefPipeline(Pipeline):
    """Finds who is meant in dialogues, and in which of their pictures (result: see the module).

    Args:
        model: a TikTalkCorefModel.
        processor: its TikTalkCorefProcessor.
    """

    # transformers types these as None, which they are in its base class alone
    _load_processor: Any = True
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.processor is None:
            raise ValueError("this pipeline needs a processor: give processor=TikTalkCorefProcessor.from_config(...).")
        self.videos = VideoReader()

    def __call__(  # type: ignore[override]  # what transformers leaves open is named here
        self,
        inputs: Mapping | Iterable[Mapping],
        *,
        clusters: Sequence | None = None,
        mentions: Sequence | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **unknown: Any,
    ) -> dict[str, Any] | list[dict[str, Any]] | Iterator[dict[str, Any]]:
        """Resolve one dialogue, a list of them, or a stream.

        Args:
            inputs: a dialogue (see `inputs_tiktalkcoref`), a list of them, or another iterable, which is read lazily.
            clusters: link these instead of finding clusters: a list of clusters, each a list of
                `{"sentence", "start", "end"}` as in the result (a whole result's "clusters" will do). For a list of
                dialogues, a list with one such entry (or None) each. A dialogue may carry it as its own key instead.
            mentions: cluster these instead of finding mentions: a list of `{"sentence", "start", "end"}`; likewise.
            batch_size: dialogues read at once; 1 unless told otherwise here or at construction. Batches are made of
                dialogues of like length; results come in the order of the inputs.
            num_workers: accepted as every pipeline does; batches are made in this process.
        Returns:
            one result, a list of them, or an iterator over them: as the inputs came.
        Raises:
            DialogueError (a ValueError): a dialogue or a span that cannot be read.
            ArgumentError (a ValueError): an argument that the pipeline does not have; a batch size below 1.
        """
        _refuse_unknown(unknown, CALL)
        batch_size = _read_batch_size(batch_size if batch_size is not None else self._batch_size)
        given = {key: value for key, value in zip(GIVEN, (clusters, mentions), strict=True) if value is not None}
        if isinstance(inputs, Mapping):
            return self._resolve([("dialogue", {**inputs, **given})], 1)[0]
        if isinstance(inputs, list | tuple):
            dialogues = _spread(inputs, given)
            return self._resolve([(f"dialogue {i}", dialogue) for i, dialogue in enumerate(dialogues, 1)], batch_size)
        if not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes):
            raise DialogueError(
                f"found a value of type {type(inputs).__name__}, expected a dialogue such as "
                '{"sentences": ["…", "…"], "speakers": ["A", "B"]}, or a list or stream of them.'
            )
        if given:
            raise DialogueError(
                f"{' and '.join(given)}: with a stream of dialogues, give them as keys of each dialogue."
            )
        return self._stream(inputs, batch_size)

    def _stream(self, dialogues: Iterable[Mapping], batch_size: int) -> Iterator[dict[str, Any]]:
        named = ((f"dialogue {i}", dialogue) for i, dialogue in enumerate(dialogues, 1))
        pool_size = batch_size * POOL_BATCHES if batch_size > 1 else 1
        while pool := list(itertools.islice(named, pool_size)):
            yield from self._resolve(pool, batch_size)

    def _resolve(self, named: Sequence[tuple[str, Mapping]], batch_size: int) -> list[dict[str, Any]]:
        """Results of (name, dialogue) pairs, in their order; each batch holds one kind and like lengths."""
        read = [self.videos.read(dialogue, name) for name, dialogue in named]
        named = [(name, dialogue) for (name, _), (dialogue, _) in zip(named, read, strict=True)]
        order = sorted(range(len(named)), key=lambda i: _batch_key(named[i][1]))
        results: list[dict[str, Any]] = [{}] * len(named)
        for _, kind in itertools.groupby(order, key=lambda i: _batch_key(named[i][1])[0]):
            while batch := list(itertools.islice(kind, batch_size)):
                resolved = self.run_single([named[i] for i in batch], {}, {}, {})
                for i, result in zip(batch, resolved, strict=True):
                    entities = read[i][1]
                    results[i] = result if entities is None else {**result, "entities": entities}
        return results

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict, dict, dict]:
        kwargs.pop("local_files_only", None)  # transformers.pipeline() passes it on
        _refuse_unknown(kwargs, CONSTRUCTION)
        return {}, {}, {}

    def preprocess(self, input_: Sequence[tuple[str, Mapping]], **_: Any) -> Any:
        """A batch of (name, dialogue) pairs of one kind, and their given clusters or mentions in token offsets."""
        names, dialogues = zip(*input_, strict=True)
        plain = [
            {key: value for key, value in dialogue.items() if key not in GIVEN} if _kind(dialogue) else dialogue
            for dialogue in dialogues
        ]
        processor: Any = self.processor
        batch: DialogueBatch = processor(plain, names=names)
        given: dict[str, list] = {}
        for key in _kind(dialogues[0]):
            read = _read_clusters if key == "clusters" else _read_mentions
            given[key] = [
                read(dialogue[key], _Offsets(units, lengths), f"{name}: {key}")
                for name, dialogue, units, lengths in zip(
                    names, dialogues, batch.characters, batch.sentence_lengths or (), strict=True
                )
            ]
        return batch, given

    def forward(self, model_inputs: Any, **forward_params: Any) -> Any:
        """Run the model, on its device, on what `preprocess` gives."""
        with self.device_placement(), torch.inference_mode():
            return self._forward(model_inputs, **forward_params)

    def _forward(self, input_tensors: Any, **forward_params: Any) -> Any:
        batch, given = input_tensors
        model: Any = self.model  # transformers knows no `predict`
        return batch, model.predict(batch.to(self.device), **given)

    def postprocess(self, model_outputs: Any, **_: Any) -> list[dict[str, Any]]:
        """The model's predictions in the user's form."""
        batch, predictions = model_outputs
        return [
            _format(prediction, _Offsets(units, lengths), count > 0)
            for prediction, units, lengths, count in zip(
                predictions, batch.characters, batch.sentence_lengths, batch.region_counts(), strict=True
            )
        ]


class _Offsets:
    """Token offsets over a dialogue against character offsets within its utterances."""

    def __init__(self, units: list[str], sentence_lengths: list[int]) -> None:
        self.units = units
        self.firsts = [0, *itertools.accumulate(sentence_lengths)]  # each utterance's first token, and the end
        self.characters: list[int] | None = None  # of each token: characters before it, where some token has several
        if any(len(unit) > 1 for unit in units):
            self.characters = [0, *itertools.accumulate(map(len, units))]

    def to_characters(self, start: int, end: int) -> tuple[int, int, int]:
        """(utterance, first character, character after the last) of the tokens start to end, inclusive."""
        sentence = bisect_right(self.firsts, start) - 1
        first, stop = self.firsts[sentence], end + 1
        if self.characters is not None:
            start, stop, first = self.characters[start], self.characters[stop], self.characters[first]
        return sentence, start - first, stop - first

    def to_tokens(self, span: Any, where: str) -> tuple[int, int]:
        """The inclusive token offsets of a `{"sentence", "start", "end"}`, checked."""
        sentence, start, end = _read_span(span, where)
        if not 0 <= sentence < len(self.firsts) - 1:
            raise DialogueError(f"{where}: sentence {sentence} of a dialogue of {len(self.firsts) - 1} utterances.")
        first, last = self.firsts[sentence : sentence + 2]
        borders: Sequence[int]
        if self.characters is not None:
            borders = [at - self.characters[first] for at in self.characters[first : last + 1]]
        else:
            borders = range(last - first + 1)
        if not 0 <= start < end <= borders[-1]:
            raise DialogueError(
                f"{where}: found start {start} and end {end} in an utterance of {borders[-1]} characters; expected "
                f"0 <= start < end <= {borders[-1]}, the end exclusive."
            )
        if start not in borders or end not in borders:
            raise DialogueError(f"{where}: start {start} or end {end} is inside a token; take the whole token.")
        tokens = first + borders.index(start), first + borders.index(end) - 1
        text = "".join(self.units[tokens[0] : tokens[1] + 1])
        if span.get("text", text) != text:
            raise DialogueError(f"{where}: text is {span['text']!r}, but the dialogue has {text!r} there.")
        return tokens


def _refuse_unknown(arguments: Mapping[str, Any], known: str) -> None:
    if arguments:
        raise ArgumentError(
            f"unknown arguments of the multimodal-coreference pipeline: {', '.join(arguments)}. {known[0].upper()}"
            f"{known[1:]}."
        )


def _read_batch_size(value: Any) -> int:
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"batch_size is {value!r}: expected a whole number of at least 1.")
    return value


def _format(prediction: Mapping, offsets: _Offsets, has_regions: bool) -> dict[str, Any]:
    clusters = []
    for i, (spans, scores) in enumerate(zip(prediction["clusters"], prediction["mention_scores"], strict=True)):
        mentions = []
        for (start, end), score in zip(spans, scores, strict=True):
            sentence, first, stop = offsets.to_characters(start, end)
            text = "".join(offsets.units[start : end + 1])
            mentions.append({"text": text, "start": first, "end": stop, "sentence": sentence, "score": score})
        cluster: dict[str, Any] = {"mentions": mentions}
        if has_regions:
            region, scores = prediction["regions"][i], prediction["region_scores"][i]
            cluster["region"] = region if region >= 0 else None
            cluster["region_score"] = scores[region] if region >= 0 else prediction["null_scores"][i]
            cluster["region_scores"] = scores
        clusters.append(cluster)
    return {"clusters": clusters} if has_regions else {"clusters": clusters, "text_only": True}


def _read_clusters(clusters: Any, offsets: _Offsets, where: str) -> list[list[tuple[int, int]]]:
    if not isinstance(clusters, list | tuple):
        raise DialogueError(f"{where}: found a value of type {type(clusters).__name__}, expected a list of clusters.")
    read = []
    for i, cluster in enumerate(clusters):
        spans = cluster.get("mentions") if isinstance(cluster, Mapping) else cluster
        if not isinstance(spans, list | tuple) or not spans:
            raise DialogueError(f"{where}[{i}]: found {cluster!r}, expected a list of at least one {SPAN}.")
        read.append([offsets.to_tokens(span, f"{where}[{i}][{j}]") for j, span in enumerate(spans)])
    _refuse_twice(itertools.chain.from_iterable(read), offsets, where)
    return read


def _read_mentions(mentions: Any, offsets: _Offsets, where: str) -> list[tuple[int, int]]:
    if not isinstance(mentions, list | tuple):
        raise DialogueError(f"{where}: found a value of type {type(mentions).__name__}, expected a list of {SPAN}.")
    read = [offsets.to_tokens(span, f"{where}[{i}]") for i, span in enumerate(mentions)]
    _refuse_twice(read, offsets, where)
    return read


def _refuse_twice(spans: Iterable[tuple[int, int]], offsets: _Offsets, where: str) -> None:
    seen = set()
    for span in spans:
        if span in seen:
            sentence, start, end = offsets.to_characters(*span)
            raise DialogueError(f"{where}: the mention {start} to {end} of sentence {sentence} is given twice.")
        seen.add(span)


def _read_span(span: Any, where: str) -> tuple[int, int, int]:
    values: list[Any] = [span.get(key) for key in ("sentence", "start", "end")] if isinstance(span, Mapping) else []
    if not values or any(not isinstance(value, int) or isinstance(value, bool) for value in values):
        raise DialogueError(
            f"{where}: found {span!r}, expected {SPAN}. (Token offsets are labels, for training: leave them out here.)"
        )
    sentence, start, end = values
    return sentence, start, end


def _spread(dialogues: Sequence[Mapping], given: Mapping[str, Sequence]) -> list[Mapping]:
    """Give each dialogue its entry of the given clusters or mentions."""
    for key, values in given.items():
        if not isinstance(values, list | tuple) or len(values) != len(dialogues):
            found = len(values) if isinstance(values, list | tuple) else f"a value of type {type(values).__name__}"
            raise DialogueError(f"{key}: found {found} for {len(dialogues)} dialogues, expected a list with one each.")
        dialogues = [
            {**dialogue, key: value} if value is not None else dialogue
            for dialogue, value in zip(dialogues, values, strict=True)
        ]
    return list(dialogues)


def _kind(dialogue: Any) -> tuple[str, ...]:
    """Which of GIVEN a dialogue carries: the model does one kind a batch."""
    if not isinstance(dialogue, Mapping):
        return ()  # the processor says what is wrong
    kind = tuple(key for key in GIVEN if dialogue.get(key) is not None)
    if len(kind) > 1:
        raise DialogueError("both clusters and mentions are given for one dialogue; give one of the two.")
    return kind


def _batch_key(dialogue: Any) -> tuple[tuple[str, ...], int]:
    """What dialogues of one batch have in common: the kind, and roughly the length, the longest first."""
    sentences = dialogue.get("sentences") if isinstance(dialogue, Mapping) else None
    if not isinstance(sentences, list | tuple):
        return _kind(dialogue), 0
    return _kind(dialogue), -sum(len(sentence) for sentence in sentences if isinstance(sentence, str | list | tuple))
