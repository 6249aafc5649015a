from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import BeeagentError
from beeagent_models.augmentation.composer import Composer, Mix, Sizes
from beeagent_models.augmentation.geometry import Crop
from beeagent_models.augmentation.pool import PoolOptions, pool_images
from beeagent_models.augmentation.store import ImageStore, write_store
from beeagent_models.efficientdet.config import config_for
from beeagent_models.training.loader import MAX_OBJECTS, Batch, BatchLoader, LoaderOptions, _limit_objects, make_batch
from beeagent_models.training.matching import AnchorMatcher
from support.failing_matcher import failing_matcher

SCENES = PoolOptions(scenes=3, backgrounds=2, scene_label=0, seed=5)
MIX = Mix(weights=(), synthetic=1.0, pasted=0.0, sizes=Sizes())


def no_progress(done: int, total: int) -> None:
    assert done <= total


def matcher() -> AnchorMatcher:
    return AnchorMatcher(config_for("lite0", labels=("bee",)), width=96, height=64)


def loading(store: Path) -> LoaderOptions:
    return LoaderOptions(store=store, mix=MIX, seed=2, width=96, height=64, batch_size=2, first_step=3, last_step=8)


def batches(store: Path, *, workers: int) -> list[Batch]:
    with BatchLoader(loading(store), matcher(), workers=workers) as loader:
        return [loader.next_batch() for _ in range(5)]


def test_batches_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    write_store(tmp_path, pool_images((), SCENES, no_progress))
    one, two = batches(tmp_path, workers=1), batches(tmp_path, workers=2)
    composer = Composer(ImageStore(tmp_path), MIX)
    for number, (first, second) in enumerate(zip(one, two, strict=True)):
        here = make_batch(composer, matcher(), loading(tmp_path), 3 + number)
        assert here.images.shape == (2, 64, 96, 3)
        for other in (first, second):
            np.testing.assert_array_equal(other.images, here.images)
            np.testing.assert_array_equal(other.matches, here.matches)
            np.testing.assert_array_equal(other.boxes, here.boxes)
            np.testing.assert_array_equal(other.class_ids, here.class_ids)
    assert not np.array_equal(one[0].images, one[1].images)


def test_a_failure_in_a_process_is_reported(tmp_path: Path) -> None:
    write_store(tmp_path, pool_images((), SCENES, no_progress))
    with (
        BatchLoader(loading(tmp_path), failing_matcher, workers=1) as loader,
        pytest.raises(BeeagentError, match="no matches for"),
    ):
        loader.next_batch()


def test_objects_beyond_the_limit_count_neither_as_object_nor_as_background() -> None:
    boxes = np.array([[x, 0, x + 1, 1] for x in range(MAX_OBJECTS + 2)], np.float32)
    region = np.array([[0, 5, 9, 9]], np.float32)
    limited = _limit_objects(Crop(np.zeros((9, 200, 3), np.uint8), boxes, np.zeros(len(boxes), np.int64), region))
    np.testing.assert_array_equal(limited.boxes, boxes[:MAX_OBJECTS])
    assert len(limited.class_ids) == MAX_OBJECTS
    np.testing.assert_array_equal(limited.ignored, [*region, *boxes[MAX_OBJECTS:]])
