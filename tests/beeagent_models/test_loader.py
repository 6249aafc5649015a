from pathlib import Path

import numpy as np
import pytest
from beeagent.errors import BeeagentError, InputError
from beeagent_models.datasets.augment_scene import SCENE, SceneComposer, Sizes
from beeagent_models.datasets.dataset import Dataset, LabelledImage
from beeagent_models.datasets.loader import Batch, BatchLoader, LoaderOptions, make_batch
from beeagent_models.datasets.loader_pool import PoolOptions, pool_pictures
from beeagent_models.datasets.loader_store import PictureStore, StoredPicture, halve, write_store
from beeagent_models.efficientdet import config_for
from beeagent_models.training.matching import AnchorTargets
from failing_targets import failing_targets

NOTHING = np.zeros((0, 4), np.float32)
SCENES = PoolOptions(scenes=3, grounds=2, scene_label=0, ignored_border=(0, 0, 0, 0), blue_ground=False, seed=5)


def no_progress(done: int, total: int) -> None:
    assert done <= total


def loading(store: Path) -> LoaderOptions:
    return LoaderOptions(
        store=store, seed=2, size=64, batch_size=2, synthetic_fraction=1.0, sizes=Sizes(), first_step=3, last_step=8
    )


def batches(store: Path, *, workers: int) -> list[Batch]:
    targets = AnchorTargets(config_for("lite0", labels=("bee",)), 64)
    with BatchLoader(loading(store), targets, workers=workers) as loader:
        return [loader.next_batch() for _ in range(5)]


def test_a_store_gives_back_what_it_was_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (200, 301, 3), np.uint8)
    boxes = np.array([[1, 2, 30.5, 40]], np.float32)
    write_store(tmp_path, [StoredPicture(picture, boxes, np.array([3]), boxes + 1, SCENE)] * 2)
    store = PictureStore(tmp_path)
    assert store.by_kind == {SCENE: [0, 1]}
    np.testing.assert_array_equal(store.picture(1), picture)
    np.testing.assert_array_equal(store.boxes(1), boxes)
    np.testing.assert_array_equal(store.ignored(1), boxes + 1)
    assert store.class_ids(1).tolist() == [3]
    half, scale = store.shrunk(1, 0.4)
    assert scale == 0.5
    np.testing.assert_array_equal(half, halve(picture))
    assert store.shrunk(1, 0.6)[1] == 1
    with pytest.raises(ValueError, match="read-only"):
        store.picture(0)[0] = 0


def test_batches_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    write_store(tmp_path, pool_pictures((), SCENES, no_progress))
    one, two = batches(tmp_path, workers=1), batches(tmp_path, workers=2)
    composer = SceneComposer(PictureStore(tmp_path), synthetic_fraction=1.0, sizes=Sizes())
    targets = AnchorTargets(config_for("lite0", labels=("bee",)), 64)
    for number, (first, second) in enumerate(zip(one, two, strict=True)):
        here = make_batch(composer, targets, loading(tmp_path), 3 + number)
        for other in (first, second):
            np.testing.assert_array_equal(other.images, here.images)
            np.testing.assert_array_equal(other.boxes, here.boxes)
            np.testing.assert_array_equal(other.classes, here.classes)
    assert not np.array_equal(one[0].images, one[1].images)


def test_a_failure_in_a_process_is_told(tmp_path: Path) -> None:
    write_store(tmp_path, pool_pictures((), SCENES, no_progress))
    with (
        BatchLoader(loading(tmp_path), failing_targets, workers=1) as loader,
        pytest.raises(BeeagentError, match="no targets for"),
    ):
        loader.next_batch()


def test_the_same_seed_draws_the_same_pool() -> None:
    first, second = ([p.pixels for p in pool_pictures((), SCENES, no_progress)] for _ in range(2))
    assert len(first) == 5
    for here, there in zip(first, second, strict=True):
        np.testing.assert_array_equal(here, there)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bee.jpg"
    path.write_bytes(b"no picture")
    image = LabelledImage(path, 10, 10, NOTHING, np.zeros(0, np.int64))
    dataset = Dataset(name="broken", images=(image,), labels=("bee",))
    with pytest.raises(InputError, match=r"bee\.jpg"):
        list(pool_pictures((dataset,), SCENES, no_progress))
