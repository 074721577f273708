"""Preparation of pictures for CLIP's image encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from engine.pipelines import clip_pixels, resize_like_reference
from engine.pipelines.images import fit_to_clip_size, to_pixels, unconditional_pixels


@pytest.mark.parametrize("case", ["wide", "panorama"])
def test_pixels_equal_the_reference(golden: Path, case: str) -> None:
    recorded = load_file(golden / "clip_image" / "cases.safetensors")
    pixels = to_pixels(recorded[f"{case}.image_uint8"])
    prepared = clip_pixels(pixels, 224)
    assert prepared.shape == (1, 3, 224, 224)
    crop = prepared[..., 80:120, 100:140]
    torch.testing.assert_close(crop, recorded[f"{case}.preprocessed_crop"], rtol=0, atol=2e-5)


def test_no_picture_is_mid_grey_as_in_the_reference(golden: Path) -> None:
    recorded = load_file(golden / "clip_image" / "cases.safetensors")
    crop = unconditional_pixels(224)[..., 80:120, 100:140]
    torch.testing.assert_close(crop, recorded["zero_image.preprocessed_crop"], rtol=0, atol=1e-6)


def test_enlarging_keeps_the_corners_and_does_not_blur() -> None:
    pixels = torch.rand(2, 3, 5, 9, generator=torch.Generator().manual_seed(0))
    larger = resize_like_reference(pixels, 33)
    for row in (0, -1):
        for column in (0, -1):
            torch.testing.assert_close(larger[..., row, column], pixels[..., row, column])
    # (33 - 1) / (5 - 1) = 8: every eighth row and fourth column is a row and column of the input.
    torch.testing.assert_close(larger[..., ::8, ::4], pixels)


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    smaller = resize_like_reference(stripes, 9)
    assert float((smaller - 0.5).abs().max()) < 0.1
    flat = torch.full((1, 3, 50, 70), 0.3)
    torch.testing.assert_close(resize_like_reference(flat, 20), torch.full((1, 3, 20, 20), 0.3))


def test_a_picture_is_the_same_in_every_form() -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(array)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    expected = tensor.float()[None] / 255
    forms = [picture, tensor, tensor[None], tensor.float() / 255, [picture], (tensor,)]
    for form in forms:
        assert torch.equal(to_pixels(form), expected)
    assert to_pixels([picture, tensor]).shape == (2, 3, 6, 8)


def test_a_photo_is_turned_upright_and_laid_on_white() -> None:
    picture = Image.new("RGBA", (4, 2), (255, 0, 0, 128))
    exif = picture.getexif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    picture.info["exif"] = exif.tobytes()
    pixels = to_pixels(picture)
    assert pixels.shape == (1, 3, 4, 2)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.5, 0.5], abs=0.01)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("cat.png", "image: a PIL image"),
        ([], "image: a PIL image"),
        (torch.zeros(4, 8, 8), r"image: shape \[3, H, W\]"),
        (torch.zeros(1, 1, 3, 8, 8), r"image: shape"),
        (torch.zeros(3, 0, 8), r"image: shape"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "image: a uint8 or float"),
        (torch.full((3, 8, 8), -0.5), "image: values of a float tensor from 0 to 1"),
        (torch.full((3, 8, 8), float("nan")), "image: values of a float tensor from 0 to 1"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], "image: pictures of one size"),
    ],
)
def test_other_things_are_refused(image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_pixels(image)


def test_fitting_to_the_clip_is_bilinear_between_pixel_centres() -> None:
    pixels = torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)
    fitted = fit_to_clip_size(pixels, 2, 4)
    torch.testing.assert_close(fitted[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    assert fit_to_clip_size(pixels, 2, 2) is pixels
