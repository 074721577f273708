"""Windows begin with the right frame in files whose seeking is not exact."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.serving.media.ffmpeg import find_ffmpeg
from training.data.video import probe_video, read_frames

FRAMES = 70
_H264 = ("-c:v", "libx264", "-crf", "3", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "30")
_MPEG4 = ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "30")
_PIECES = "frag_keyframe+empty_moov"
KINDS = {
    "fragmented": ("mp4", *_H264, "-movflags", _PIECES),
    "a fragment for each frame": ("mp4", *_H264, "-movflags", "frag_every_frame+empty_moov"),
    "DASH": ("mp4", *_H264, "-movflags", f"dash+{_PIECES}+default_base_moof"),
    "AVI of H.264": ("avi", *_H264),
    "AVI of MPEG-4": ("avi", *_MPEG4),
    "plain": ("mp4", *_H264),
    "Matroska": ("mkv", *_H264),
    "WebM": ("webm", "-c:v", "libvpx-vp9", "-crf", "4", "-b:v", "0", "-deadline", "realtime"),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_window_has_its_own_frames(tmp_path: Path, kind: tuple[str, ...]) -> None:
    """PyTorch/torchcodec#179, #180: before a key frame the first frame came twice."""
    ending, *options = kind
    levels = np.linspace(20, 230, FRAMES).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (FRAMES, 64, 64, 3))
    path = tmp_path / f"a.{ending}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x64", "-r", "30", "-i", "-"]
    command = [find_ffmpeg(), "-v", "error", "-y", *raw, *options, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    data = path.read_bytes()
    assert probe_video(io.BytesIO(data)).frames == FRAMES
    for start in (0, 1, 28, 29, 30, 31, 59, 60, FRAMES - 3):
        window = read_frames(io.BytesIO(data), range(start, start + 3))
        shown = [float(frame.mean()) for frame in window]
        # Neighbours are three levels apart.
        assert shown == pytest.approx(levels[start : start + 3].tolist(), abs=1.4), start
