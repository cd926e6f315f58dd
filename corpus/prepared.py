"""The folder that `prepare` writes, looked at before it is read: what `load_dataset` would answer with a traceback."""

from pathlib import Path

from .problems import CorpusError


def check_parquet(folder: Path | str) -> None:
    """Read the footer of each Parquet file below a folder; and each split that the card names must have a file.

    Raises: CorpusError, naming the file, what was found, and what to do.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from huggingface_hub import DatasetCard

    folder = Path(folder)
    remedy = "Write the folder again with `tiktalkcoref prepare`, or copy it again from where it is whole."
    for path in sorted(folder.rglob("*.parquet")):
        try:
            pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            size = path.stat().st_size if path.exists() else 0
            raise CorpusError(f"{path} is no whole Parquet file ({size:,} bytes; {error}). {remedy}") from error
    card = folder / "README.md"
    if not card.is_file():
        return
    for config in DatasetCard.load(card, ignore_metadata_errors=True).data.to_dict().get("configs") or ():
        for part in config.get("data_files") or ():
            if isinstance(part, dict) and isinstance(part.get("path"), str) and not any(folder.glob(part["path"])):
                raise CorpusError(f"{card} names the files {part['path']}, and there is none in {folder}. {remedy}")
