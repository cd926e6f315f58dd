"""The videos of the corpus: where each lies, and how long it is."""

import os
from pathlib import Path
from typing import Any

from tiktalkcoref.files.extras import need

# Real containers only: FFmpeg opens text too, as pictures of it, and playlists that name other files and hosts.
OPTIONS = {
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,m4v",
    "protocol_whitelist": "file",
}


def check_videos_dir(videos_dir: Path | str) -> None:
    """Raise FileNotFoundError unless it is a folder."""
    if not Path(videos_dir).is_dir():
        raise FileNotFoundError(f"{videos_dir} is no folder; a folder with the videos <doc_key>.mp4 was expected")


def find_video(videos_dir: Path | str | None, doc_key: str) -> Path | None:
    """`<doc_key>.mp4` in the folder, if it is there; a doc_key that is not a plain name is not looked for."""
    if videos_dir is None or Path(doc_key).name != doc_key:
        return None
    path = Path(videos_dir) / f"{doc_key}.mp4"
    return path if path.is_file() else None


def list_videos(videos_dir: Path | str | None) -> list[str]:
    """The folder and the names in it; with them a cached build is known to be out of date."""
    if videos_dir is None:
        return []
    return [os.path.abspath(videos_dir), *sorted(name for name in os.listdir(videos_dir) if name.endswith(".mp4"))]


def video_seconds(path: Path | str | None) -> float | None:
    """How long a video's pictures last, by the times of its packets (headers of fragmented files say 0 s).

    Nothing is decoded.

    Returns:
        Seconds; None where there is no file or it is no video.

    Raises:
        MissingExtraError: PyAV is not installed.
    """
    if path is None:
        return None
    need("tracking", "av")
    import av

    try:
        with av.open(str(Path(path).resolve()), options=OPTIONS, metadata_errors="replace") as container:
            if not container.streams.video:
                return None
            stream: Any = container.streams.video[0]
            packets = (packet for packet in container.demux(stream) if packet.pts is not None)
            times = [(packet.pts, packet.pts + (packet.duration or 0)) for packet in packets]
            first, end = min(times, default=(0, 0))[0], max((end for _, end in times), default=0)
            return float((end - first) * stream.time_base) if times else None
    except (OSError, av.FFmpegError):
        return None
