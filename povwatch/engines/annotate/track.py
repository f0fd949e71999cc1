"""Follows things through a clip with SAM 2, with the memory of a few frames.

transformers keeps all frames of a clip and what it found in each. The model looks at no more than the first frame and
the last ones: so only these are kept here, and the masks are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import Sam2VideoModel, Sam2VideoProcessor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from povwatch.engines.annotate.video import Frame

UNREAD = ("high_res_masks", "pred_masks")
"""What the model keeps of a frame and does not read again."""


class Tracker:
    """SAM 2 for one clip at a time."""

    def __init__(self, folder: str, device: str) -> None:
        self._processor: Any = Sam2VideoProcessor.from_pretrained(folder, local_files_only=True)
        loaded: Any = Sam2VideoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self._model = loaded.to(device).eval()
        self._device = device

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def follow(self, pictures: Iterable[Frame], count: int, boxes: Frame) -> Iterator[Frame]:
        """The masks of each frame: bool, shape (things, height, width), in the order of the boxes.

        On a GPU it computes in bfloat16 where torch's autocast does, as upstream.

        Args:
            pictures: the clip, RGB, uint8, of shape (height, width, 3).
            count: its frames.
            boxes: where the things are in its first frame, as `detect.boxes` has them.
        """
        session = self._processor.init_video_session(inference_device=self._device)
        session.processed_frames = shown = _Shown(count)
        for number, picture in enumerate(pictures):
            size = picture.shape[:2]
            found = self._processor(images=picture, device=self._device, return_tensors="pt")
            shown[number] = found["pixel_values"][0].to(self._device)
            if number == 0:
                self._processor.add_inputs_to_inference_session(
                    session, 0, list(range(len(boxes))), input_boxes=[boxes.tolist()], original_size=size
                )
            with torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._device == "cuda"):
                low = self._model(session, frame_idx=number).pred_masks
            whole = (functional.interpolate(one[None].float(), size, mode="bilinear")[0, 0] > 0 for one in low)
            yield torch.stack([mask.cpu() for mask in whole]).numpy()
            del shown[number]
            self._forget(session, number)

    def _forget(self, session: Any, number: int) -> None:  # noqa: ANN401 - transformers' own class
        """Forget what no later frame needs."""
        config = self._model.config
        read = max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for kept in session.output_dict_per_obj.values():
            kept["non_cond_frame_outputs"].pop(number - read, None)
            for outputs in kept.values():
                if number in outputs:
                    for name in UNREAD:
                        outputs[number].pop(name, None)
        for tracked in session.frames_tracked_per_obj.values():
            tracked.pop(number - read, None)


class _Shown(dict[int, torch.Tensor]):
    """The frames of a session that are still needed; its length is the clip's, which the model asks for."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __len__(self) -> int:
        return self._count
